//! Annotations of messages, as readers ask for them.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bytes::Bytes;
use cpm_mime::search::Needle;
use kv::{RangeRequest, ReadMode};
use model::limits::BLOCK_UIDS;
use model::{
    AccountId, AnnotationName, AnnotationPattern, BlockNo, EntryScope, MailboxId, ModSeq, Uid, UidSet,
};
use store_api::{AnnotationNews, AnnotationPage, AnnotationQuery, Annotations, Ctx, Identities};

use crate::failure::{Failure, corrupt};
use crate::identities::{IdentityHeader, messages_with as messages_by_device};
use crate::keyspace::Annotator;
use crate::limits::{ANNOTATION_ANSWER_BYTES, ANNOTATION_BLOCKS_MAX, ANNOTATION_READ_BYTES};
use crate::records::{AnnotationRecord, IdentityBlock};
use crate::retry::reading;
use crate::shared::Shared;
use crate::snapshot::{after, log_since};

/// Whose private annotations a requestor has: those of the active account; the operator's tools act for the owner.
pub(crate) fn annotator(ctx: &Ctx, owner: AccountId) -> AccountId {
    ctx.requestor.user().map_or(owner, |user| user.account)
}

/// Calls `each` with the records of the messages of `within` that `reader` may see, ascending, until it says stop. Reads
/// a page a transaction; what a folder without annotations costs is one empty page.
async fn scan<B>(
    shared: &Shared,
    (account, mailbox): (AccountId, MailboxId),
    within: &UidSet,
    reader: AccountId,
    mut each: impl FnMut(Uid, EntryScope, AnnotationRecord) -> ControlFlow<B>,
) -> Result<Option<B>, Failure> {
    let (Some(first), Some(last)) = (within.first(), within.last()) else { return Ok(None) };
    let mut range = shared.keys.annotations_between(account, mailbox, first, last);
    loop {
        let request = RangeRequest {
            bytes: ANNOTATION_READ_BYTES,
            ..RangeRequest::new(range.begin.clone(), range.end.clone())
        };
        let page = reading!(Ok(shared.begin("annotations").get_range(&request, ReadMode::Snapshot).await?));
        for pair in &page.pairs {
            let named = shared.keys.annotations_of(&pair.key);
            let (_, uid, annotator) = named.ok_or_else(|| corrupt("annotations", &pair.key))?;
            let scope = match annotator {
                Annotator::All => EntryScope::Shared,
                Annotator::One(account) if account == reader => EntryScope::Private,
                Annotator::One(_) => continue,
            };
            if !within.contains(uid) {
                continue;
            }
            let record = AnnotationRecord::decode(&pair.value);
            let record = record.ok_or_else(|| corrupt("annotations", &pair.key))?;
            if let ControlFlow::Break(end) = each(uid, scope, record) {
                return Ok(Some(end));
            }
        }
        let Some(pair) = page.pairs.last().filter(|_| page.more) else { return Ok(None) };
        // On to the next message that is asked for.
        let (_, uid, _) =
            shared.keys.annotations_of(&pair.key).ok_or_else(|| corrupt("annotations", &pair.key))?;
        let rest = within.intersection(&UidSet::range(uid, Uid::MAX));
        let Some(next) = rest.first() else { return Ok(None) };
        let next = shared.keys.annotations_between(account, mailbox, next, last).begin;
        range.begin = after(&pair.key).max(next);
    }
}

/// The annotations of messages that the requestor sees, as many as one answer holds.
pub(crate) async fn annotations(
    shared: &Shared,
    ctx: &Ctx,
    account: AccountId,
    query: &AnnotationQuery,
) -> Result<AnnotationPage, Failure> {
    let AnnotationQuery { mailbox, uids, entries, scope } = query;
    let wanted = |name: &str| entries.iter().any(|pattern| pattern.matches(name));
    let shows = |of: EntryScope| scope.is_none_or(|scope| scope == of);
    let devices = shows(EntryScope::Shared)
        && (wanted(AnnotationName::SEEN_IDENTITY) || wanted(AnnotationName::DELETE_IDENTITY));
    let mut within = uids.clone();
    let mut next = None;
    let mut acted = Vec::new();
    if devices {
        let (found, through) = devices_of(shared, (account, *mailbox), uids).await?;
        acted = found;
        if let Some(last) = through {
            within = uids.intersection(&UidSet::range(Uid::MIN, last));
            next = uids.difference(&within).first();
        }
    }

    let mut found: BTreeMap<Uid, Annotations> = BTreeMap::new();
    let mut octets = 0;
    let reader = annotator(ctx, account);
    let cut = scan(shared, (account, *mailbox), &within, reader, |uid, scope, record| {
        if octets >= ANNOTATION_ANSWER_BYTES && !found.contains_key(&uid) {
            return ControlFlow::Break(uid);
        }
        if shows(scope) {
            for (name, value) in record.entries.into_iter().filter(|(name, _)| wanted(name.as_str())) {
                octets += name.as_str().len() + value.len();
                found.entry(uid).or_default().entry(name).or_default().set(scope, Some(value));
            }
        }
        ControlFlow::Continue(())
    })
    .await?;
    if let Some(uid) = cut {
        acted.retain(|(acted, _)| *acted < uid);
        next = Some(uid);
    }
    for (uid, of) in acted {
        for (name, device) in entries_of(&of).filter(|(name, _)| wanted(name)) {
            let Ok(name) = AnnotationName::parse(name.as_bytes()) else { continue };
            let entry = found.entry(uid).or_default().entry(name).or_default();
            entry.set(EntryScope::Shared, Some(Bytes::copy_from_slice(device.as_bytes())));
        }
    }
    Ok(AnnotationPage { messages: found.into_iter().collect(), next })
}

/// Of the messages of `uids` that have any, the devices that read and deleted them, as many records as one answer reads;
/// and the last message that it answers, where there are more.
async fn devices_of(
    shared: &Shared,
    (account, mailbox): (AccountId, MailboxId),
    uids: &UidSet,
) -> Result<(Vec<(Uid, Identities)>, Option<Uid>), Failure> {
    let (Some(first), Some(last)) = (uids.first(), uids.last()) else { return Ok((Vec::new(), None)) };
    let block = |uid| shared.keys.identities(account, mailbox, BlockNo::of(uid));
    let request = RangeRequest::new(block(first), after(&block(last))).limit(ANNOTATION_BLOCKS_MAX);
    let page = reading!(Ok(shared.begin("identities").get_range(&request, ReadMode::Snapshot).await?));
    let (mut found, mut through) = (Vec::new(), None);
    for pair in &page.pairs {
        let known = shared.keys.identities_of(&pair.key).zip(IdentityBlock::decode(&pair.value));
        let ((_, number), block) = known.ok_or_else(|| corrupt("identities", &pair.key))?;
        let asked = block.iter(number).filter(|(uid, _)| uids.contains(*uid));
        found.extend(asked.map(|(uid, identities)| (uid, identities.clone())));
        through = Uid::new((number.0 + 1).saturating_mul(BLOCK_UIDS).saturating_sub(1));
    }
    Ok((found, through.filter(|_| page.more)))
}

/// The entries that show the devices which read and deleted a message.
fn entries_of(of: &Identities) -> impl Iterator<Item = (&'static str, &str)> {
    [(AnnotationName::SEEN_IDENTITY, &of.seen), (AnnotationName::DELETE_IDENTITY, &of.deleted)]
        .into_iter()
        .filter_map(|(name, device)| Some((name, device.as_ref()?.as_str())))
}

/// The messages of a folder with `needle` in an annotation that the requestor sees, of such an entry and scope. Reads all
/// annotations of the folder, a page a transaction.
pub(crate) async fn messages_with(
    shared: &Shared,
    ctx: &Ctx,
    account: AccountId,
    folder: &model::FolderSnapshot,
    (pattern, scope): (&AnnotationPattern, Option<EntryScope>),
    needle: &Needle,
) -> Result<UidSet, Failure> {
    let mut matching = UidSet::new();
    let reader = annotator(ctx, account);
    let everything = UidSet::range(Uid::MIN, Uid::MAX);
    let place = (account, folder.mailbox);
    scan(shared, place, &everything, reader, |uid, of, record| -> ControlFlow<()> {
        let matches = scope.is_none_or(|scope| scope == of)
            && record.entries.iter().any(|(name, value)| {
                pattern.matches(name.as_str()) && needle.is_in(&String::from_utf8_lossy(value))
            });
        if matches {
            matching.insert(uid);
        }
        ControlFlow::Continue(())
    })
    .await?;
    if scope != Some(EntryScope::Private) {
        for (name, header) in [
            (AnnotationName::SEEN_IDENTITY, IdentityHeader::Seen),
            (AnnotationName::DELETE_IDENTITY, IdentityHeader::Deleted),
        ] {
            if pattern.matches(name) {
                let more = messages_by_device(shared, account, folder, header, needle).await?;
                matching = matching.union(&more);
            }
        }
    }
    Ok(matching)
}

/// Which annotations that the requestor sees were changed after `since`, as far as the log tells.
pub(crate) async fn news(
    shared: &Shared,
    ctx: &Ctx,
    account: AccountId,
    mailbox: MailboxId,
    since: ModSeq,
) -> Result<Vec<AnnotationNews>, Failure> {
    let entries =
        reading!(log_since(shared, shared.begin("annotations").as_mut(), account, mailbox, since).await);
    let reader = annotator(ctx, account);
    let news = entries.unwrap_or_default().into_iter().filter_map(|entry| {
        let annotated = entry.annotated?;
        let mut entries = annotated.shared;
        if annotated.by == reader {
            entries.extend(annotated.private);
            entries.sort_unstable();
            entries.dedup();
        }
        (!entries.is_empty()).then_some(AnnotationNews { uids: entry.changed, entries })
    });
    Ok(news.collect())
}
