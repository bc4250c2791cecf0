//! From entries of the log to notices: what a device wants to know of the objects, and which devices.

use std::collections::BTreeMap;
use std::sync::Arc;

use cpm_mime::MessageIndex;
use model::limits::INFOS_PER_REQUEST_MAX;
use model::{
    AccountId, DeviceId, ErrorKind, Flags, FolderSnapshot, Keyword, MailboxId, ModSeq, Result, UidSet,
};
use store::records::{ChangeKind, FeedEntry, FeedItem, FeedUids, FlagNames};
use store_api::{Ctx, FolderTree, MailStore, Requestor};

use crate::database::Addressee;
use crate::limits::{BACKLOG_EVENTS_MAX, EVENTS_PER_NOTICE_MAX, RESYNC_FOLDERS_MAX, TEXT_BYTES_MAX};
use crate::notice::{Event, FolderPlace, Notice, NoticeKind, Object, Place, Target};

/// The flags whose changes are told: those that a subscriber's other devices show.
const TOLD: Flags = Flags(
    Flags::SEEN.0 | Flags::DELETED.0 | Flags::ANSWERED.0 | Flags::FLAGGED.0 | Flags::READ_REPORT_SENT.0,
);

/// The keywords whose changes are told: what disposition notifications said of a message.
const TOLD_KEYWORDS: [&str; 3] = ["$Delivered", "$Displayed", "$DeliveryFailed"];

/// Notices of one account, and what was left out of them.
#[derive(Debug, Default)]
pub(crate) struct Resolved {
    /// In the order of the changes; without their ids.
    pub(crate) notices: Vec<Notice>,
    /// Runs of changes that nobody is told of, since the account's only device made them.
    pub(crate) suppressed: u64,
    /// Whether there was too much to tell one by one.
    pub(crate) collapsed: bool,
}

/// Whether something waits that is better told at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    /// Each object, while there are few.
    Objects,
    /// Each folder once.
    Folders,
}

/// What is told of these entries, all of one account.
///
/// # Errors
/// Whatever the store fails with; what is gone is left out.
pub(crate) async fn resolve(
    store: &dyn MailStore,
    account: AccountId,
    to: &Addressee,
    entries: &[FeedEntry],
    detail: Detail,
) -> Result<Resolved> {
    let items = entries.iter().flat_map(|entry| entry.items.iter().map(move |item| (entry.at_millis, item)));
    let items: Vec<(i64, &FeedItem)> = items.filter(|(_, item)| concerns(item)).collect();
    let mut resolved = Resolved::default();
    if items.is_empty() {
        return Ok(resolved);
    }
    let ctx = Ctx { request_id: rand::random(), deadline: None, requestor: Requestor::Operator };
    let folders = match store.folders(&ctx, account).await {
        Ok(folders) => folders,
        Err(error) if error.kind() == ErrorKind::NoSuchAccount => return Ok(resolved),
        Err(error) => return Err(error),
    };
    let mut builder = Builder { to, resolved: &mut resolved, open: None };
    let waiting: u64 = items.iter().map(|(_, item)| objects(item)).fold(0, u64::saturating_add);
    if detail == Detail::Folders || waiting > BACKLOG_EVENTS_MAX {
        builder.resolved.collapsed = true;
        collapse(&mut builder, &folders, &items);
    } else {
        let mut resolver =
            Resolver { store, ctx: &ctx, account, folders: &folders, snapshots: BTreeMap::new() };
        for (at_millis, item) in items {
            for (kind, events) in resolver.events(item).await? {
                builder.add(at_millis, item.device.as_ref(), kind, events);
            }
        }
    }
    builder.close();
    Ok(resolved)
}

/// One notice for the whole account, when what changed is not known any more.
pub(crate) fn resync(to: &Addressee, at_millis: i64) -> Notice {
    notice(to, to.devices.clone(), at_millis, None, NoticeKind::Resync, vec![Event::Resync(None)])
}

fn notice(
    to: &Addressee,
    targets: Vec<Target>,
    changed_at_millis: i64,
    trigger: Option<DeviceId>,
    kind: NoticeKind,
    events: Vec<Event>,
) -> Notice {
    let account = to.address.clone();
    Notice { push_id: String::new(), account, trigger, targets, changed_at_millis, kind, events }
}

/// Whether something of an entry is told to devices.
pub(crate) fn concerns_anybody(entry: &FeedEntry) -> bool {
    entry.items.iter().any(concerns)
}

/// Whether a change is one that devices are told of.
fn concerns(item: &FeedItem) -> bool {
    let told = |flags: &FlagNames| !names(flags.system, &flags.keywords).is_empty();
    match item.kind {
        ChangeKind::Flags => {
            let unknown = item.flags_added.is_empty() && item.flags_removed.is_empty();
            // Entries of an earlier release do not say which flags.
            let unknown = unknown && item.changed == FeedUids::Many;
            item.mailbox.is_some() && (unknown || told(&item.flags_added) || told(&item.flags_removed))
        }
        ChangeKind::Append
        | ChangeKind::Expunge
        | ChangeKind::Copy
        | ChangeKind::Move
        | ChangeKind::Replace
        | ChangeKind::Folders => item.mailbox.is_some(),
        _ => false,
    }
}

/// Whether a folder went or has another name now. Its objects are elsewhere or nowhere, and the log does not know what it was
/// called: devices are told to look at the account's list again.
fn is_of_the_list(item: &FeedItem) -> bool {
    item.kind == ChangeKind::Folders
}

/// How many objects a change concerns; very many when it does not say.
fn objects(item: &FeedItem) -> u64 {
    let count = |uids: &FeedUids| match uids {
        FeedUids::Few(uids) => uids.len(),
        FeedUids::Many => u64::MAX,
    };
    count(&item.changed).saturating_add(count(&item.removed))
}

/// Puts each folder into one event, told to all devices but one that made all changes of it.
fn collapse(builder: &mut Builder<'_>, folders: &FolderTree, items: &[(i64, &FeedItem)]) {
    let mut changed: BTreeMap<MailboxId, (ModSeq, Option<&DeviceId>)> = BTreeMap::new();
    for (_, item) in items {
        let Some(mailbox) = item.mailbox else { continue };
        let device = item.device.as_ref();
        let known = changed.entry(mailbox).or_insert((item.modseq, device));
        known.0 = known.0.max(item.modseq);
        if known.1 != device {
            known.1 = None;
        }
    }
    let first = items.first().map_or(0, |(at, _)| *at);
    if changed.len() > RESYNC_FOLDERS_MAX || items.iter().any(|(_, item)| is_of_the_list(item)) {
        let device = items.first().and_then(|(_, item)| item.device.as_ref());
        let device =
            device.filter(|device| items.iter().all(|(_, item)| item.device.as_ref() == Some(device)));
        builder.add(first, device, NoticeKind::Resync, vec![Event::Resync(None)]);
        return;
    }
    let mut by_device: BTreeMap<Option<&DeviceId>, Vec<Event>> = BTreeMap::new();
    for (mailbox, (modseq, device)) in changed {
        let Some(entry) = folders.by_id(mailbox) else { continue };
        let folder = FolderPlace { folder: entry.name.as_str().to_owned(), uid_validity: None, modseq };
        by_device.entry(device).or_default().push(Event::Resync(Some(folder)));
    }
    for (device, events) in by_device {
        builder.add(first, device, NoticeKind::Resync, events);
    }
}

/// Joins neighbours of one kind and device into notices.
struct Builder<'a> {
    to: &'a Addressee,
    resolved: &'a mut Resolved,
    open: Option<Notice>,
}

impl Builder<'_> {
    fn add(&mut self, at_millis: i64, device: Option<&DeviceId>, kind: NoticeKind, events: Vec<Event>) {
        for event in events {
            let fits = self.open.as_ref().is_some_and(|open| {
                open.kind == kind
                    && open.trigger.as_ref() == device
                    && open.events.len() < EVENTS_PER_NOTICE_MAX
            });
            if !fits {
                self.close();
                let others = self.to.devices.iter().filter(|target| Some(&target.device) != device);
                let targets = others.cloned().collect();
                self.open = Some(notice(self.to, targets, at_millis, device.cloned(), kind, Vec::new()));
            }
            // To look at the whole account need not be said twice.
            let again = Event::Resync(None);
            if let Some(open) = &mut self.open
                && (event != again || open.events.last() != Some(&again))
            {
                open.events.push(event);
            }
        }
    }

    fn close(&mut self) {
        let Some(notice) = self.open.take() else { return };
        // The operator made known which devices there are, and no other is left.
        if notice.targets.is_empty() && !self.to.devices.is_empty() {
            self.resolved.suppressed += 1;
        } else {
            self.resolved.notices.push(notice);
        }
    }
}

/// Looks up what a change is about.
struct Resolver<'a> {
    store: &'a dyn MailStore,
    ctx: &'a Ctx,
    account: AccountId,
    folders: &'a FolderTree,
    /// The folders read for these entries; none for one that is gone.
    snapshots: BTreeMap<MailboxId, Option<Arc<FolderSnapshot>>>,
}

impl Resolver<'_> {
    async fn events(&mut self, item: &FeedItem) -> Result<Vec<(NoticeKind, Vec<Event>)>> {
        if is_of_the_list(item) {
            return Ok(vec![(NoticeKind::Resync, vec![Event::Resync(None)])]);
        }
        let Some(mailbox) = item.mailbox else { return Ok(Vec::new()) };
        let Some(name) = self.folders.by_id(mailbox).map(|entry| entry.name.as_str().to_owned()) else {
            return Ok(Vec::new());
        };
        let Some(snapshot) = self.snapshot(mailbox).await? else { return Ok(Vec::new()) };
        let uid_validity = Some(snapshot.state.uid_validity);
        let folder = FolderPlace { folder: name, uid_validity, modseq: item.modseq };
        let mut told = Vec::new();
        if let FeedUids::Few(removed) = &item.removed {
            let gone = removed.iter().map(|uid| Event::Deleted(Place { folder: folder.clone(), uid }));
            told.push((NoticeKind::Deleted, gone.collect()));
        }
        if let FeedUids::Few(changed) = &item.changed {
            let kind = if item.kind == ChangeKind::Flags { NoticeKind::Status } else { NoticeKind::New };
            told.push((kind, self.changed(item, &folder, &snapshot, changed).await?));
        }
        Ok(told)
    }

    async fn snapshot(&mut self, mailbox: MailboxId) -> Result<Option<Arc<FolderSnapshot>>> {
        if let Some(known) = self.snapshots.get(&mailbox) {
            return Ok(known.clone());
        }
        let found = match self.store.folder(self.ctx, self.account, mailbox).await {
            Ok(snapshot) => Some(snapshot),
            Err(error) if matches!(error.kind(), ErrorKind::NoSuchMailbox | ErrorKind::NoSuchAccount) => None,
            Err(error) => return Err(error),
        };
        self.snapshots.insert(mailbox, found.clone());
        Ok(found)
    }

    /// What changed and is still there; what went meanwhile is told of when its removal is.
    async fn changed(
        &self,
        item: &FeedItem,
        folder: &FolderPlace,
        snapshot: &FolderSnapshot,
        uids: &UidSet,
    ) -> Result<Vec<Event>> {
        let rows: Vec<_> = snapshot.rows_in(uids).copied().collect();
        let mut events = Vec::with_capacity(rows.len());
        for page in rows.chunks(INFOS_PER_REQUEST_MAX) {
            let bodies: Vec<_> = page.iter().map(|row| row.body).collect();
            let infos = self.store.infos(self.ctx, self.account, snapshot.mailbox, &bodies).await?;
            for (row, info) in page.iter().zip(infos) {
                let Some(info) = info.filter(|info| is_told(info)) else { continue };
                let place = Place { folder: folder.clone(), uid: row.uid };
                let text = |octets: Option<&[u8]>| {
                    let octets = octets.filter(|octets| octets.len() <= TEXT_BYTES_MAX)?;
                    Some(String::from_utf8_lossy(octets).into_owned())
                };
                let context = text(info.message_context());
                let direction = info.message_direction();
                let sent = match direction {
                    Some(word) if word.eq_ignore_ascii_case(b"sent") => Some(true),
                    Some(word) if word.eq_ignore_ascii_case(b"received") => Some(false),
                    _ => None,
                };
                let sender = info.first_from().map(|name| name.mailbox.to_owned());
                events.push(Event::Changed(Box::new(Object {
                    place,
                    flags: names(row.flags, keywords_of(row.flags, snapshot)),
                    added: names(item.flags_added.system, &item.flags_added.keywords),
                    removed: names(item.flags_removed.system, &item.flags_removed.keywords),
                    voicemail: is_voicemail(context.as_deref()),
                    size: row.size.into(),
                    internal_date: row.internal_date,
                    content_type: info.root().media_type.to_owned(),
                    sent,
                    // Other addresses are not kept whole.
                    sender: sender.filter(|sender| sender.starts_with("tel:")),
                    conversation_id: text(info.conversation_id()),
                    contribution_id: text(info.contribution_id()),
                    imdn_message_id: text(info.imdn_message_id()),
                    correlator: text(info.message_correlator()),
                    context,
                    service: text(info.p_asserted_service()),
                })));
            }
        }
        Ok(events)
    }
}

/// The names of the flags and keywords that are told.
fn names<'k>(flags: Flags, keywords: impl IntoIterator<Item = &'k Keyword>) -> Vec<&'static str> {
    let told = Flags::SYSTEM.iter().filter(|(flag, _)| TOLD.contains(*flag) && flags.contains(*flag));
    let words = keywords
        .into_iter()
        .filter_map(|keyword| TOLD_KEYWORDS.iter().find(|told| told.eq_ignore_ascii_case(keyword.as_str())));
    told.map(|(_, name)| *name).chain(words.copied()).collect()
}

fn keywords_of(flags: Flags, snapshot: &FolderSnapshot) -> impl Iterator<Item = &Keyword> {
    flags.keyword_indexes().filter_map(|index| snapshot.state.keywords.get(index))
}

fn is_voicemail(context: Option<&str>) -> bool {
    context.is_some_and(|context| context.trim_matches('"').eq_ignore_ascii_case("voice-message"))
}

/// Whether an object is a message or a voicemail, and no record of a session, a group or a file transfer (OMA CPM
/// Message Storage §5.4: notices are of these two).
fn is_told(info: &MessageIndex) -> bool {
    const RECORDS: [&str; 4] = [
        "application/x-cpm-session",
        "application/x-cpm-file-transfer",
        "application/group-state-object+xml",
        "application/conference-info+xml",
    ];
    let root = info.root();
    // A multipart/related is of the type of its root, which comes first.
    let first = info.parts().nth(1).filter(|_| root.media_type == "multipart/related");
    ![Some(root), first].into_iter().flatten().any(|part| RECORDS.contains(&part.media_type))
}
