//! The indexed headers of a folder, packed in memory: what SEARCH HEADER looks through.
//!
//! SEARCH asks for parts of values (RFC 9051 §6.4.4), so that no order of keys leads to them: all values are looked
//! through. That takes well under a millisecond for 100 000 messages once they stand beside each other, folded, each
//! distinct value once. A pack says up to which UID it covers its folder. What came since is asked of the messages'
//! facts and added; what went is no row of the folder any more. So a pack needs no other proof that it is current: UIDs
//! become visible in order and are never reused, and the facts of a message never change.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use cpm_mime::MessageIndex;
use cpm_mime::search::{Needle, fold};
use kv::{RangeRequest, ReadMode};
use model::limits::INFOS_PER_REQUEST_MAX;
use model::{AccountId, BodyId, FolderSnapshot, MessageRow, Uid, UidSet, UidValidity};
use store_api::Ctx;

use super::break_if_late;
use crate::bodies::infos;
use crate::failure::{Failure, corrupt};
use crate::keyspace::{IndexedHeader, KeyRange};
use crate::limits::{HEADER_FACTS_MAX, HEADER_KEYS_PER_MESSAGE_MAX, HEADER_LATE_MAX};
use crate::retry::reading;
use crate::shared::Shared;
use crate::snapshot::after;

/// Stands behind each value: no octet of UTF-8, so that no match reaches from one value into the next.
const END: u8 = 0xff;
/// Values looked through between two chances for others to run.
const VALUES_AT_ONCE: usize = 50_000;

/// The values of one header in one folder.
pub(crate) struct HeaderPack {
    /// Of the folder when it was packed; another one begins anew.
    uid_validity: UidValidity,
    /// Every message with a smaller UID is in here, if it has the header.
    below: u64,
    base: Arc<Base>,
    /// Messages that came after `base` was made, with their folded values.
    late: Vec<(Uid, Arc<str>)>,
}

/// Messages by value.
#[derive(Default)]
struct Base {
    /// Each distinct value, folded, and [`END`].
    text: Vec<u8>,
    /// Where each value begins in `text`.
    starts: Vec<usize>,
    /// Where the messages of each value begin in `uids`; those of the last go on to its end.
    firsts: Vec<u32>,
    /// Messages, by value.
    uids: Vec<Uid>,
}

impl Base {
    fn value(&self, number: usize) -> &[u8] {
        let end = self.starts.get(number + 1).copied().unwrap_or(self.text.len());
        &self.text[self.starts[number]..end - 1]
    }

    fn uids_of(&self, number: usize) -> &[Uid] {
        let end = self.firsts.get(number + 1).map_or(self.uids.len(), |end| *end as usize);
        &self.uids[self.firsts[number] as usize..end]
    }

    /// The messages whose value has `needle`, of the values `first..last`, into `found`.
    fn find(&self, needle: &Needle, first: usize, last: usize, found: &mut Vec<Uid>) {
        let text_end = self.starts.get(last).copied().unwrap_or(self.text.len());
        let mut at = self.starts[first];
        while at < text_end
            && let Some(hit) = needle.find_in_folded(&self.text[at..text_end])
        {
            let number = self.starts.partition_point(|start| *start <= at + hit) - 1;
            found.extend_from_slice(self.uids_of(number));
            // One match in a value is enough.
            at = self.starts.get(number + 1).copied().unwrap_or(text_end);
        }
    }

    fn of(values: HashMap<Box<[u8]>, Vec<Uid>>) -> Self {
        let mut base = Self::default();
        base.text.reserve_exact(values.keys().map(|value| value.len() + 1).sum());
        base.uids.reserve_exact(values.values().map(Vec::len).sum());
        base.starts.reserve_exact(values.len());
        base.firsts.reserve_exact(values.len());
        for (value, uids) in values {
            base.starts.push(base.text.len());
            base.firsts.push(base.uids.len() as u32);
            base.text.extend_from_slice(&value);
            base.text.push(END);
            base.uids.extend(uids);
        }
        base
    }

    fn with(&self, late: &[(Uid, Arc<str>)]) -> Self {
        let mut values: HashMap<Box<[u8]>, Vec<Uid>> =
            (0..self.starts.len()).map(|at| (self.value(at).into(), self.uids_of(at).to_vec())).collect();
        for (uid, value) in late {
            values.entry(value.as_bytes().into()).or_default().push(*uid);
        }
        Self::of(values)
    }
}

impl HeaderPack {
    fn new(uid_validity: UidValidity) -> Self {
        Self { uid_validity, below: 0, base: Arc::default(), late: Vec::new() }
    }

    /// Heap bytes, for the bound of the cache.
    pub(crate) fn weight(&self) -> usize {
        let base = &self.base;
        let late: usize = self.late.iter().map(|(_, value)| value.len() + 48).sum();
        base.text.len() + base.starts.len() * 12 + base.uids.len() * 4 + late
    }

    /// The messages whose value has `needle`; some of them may be gone.
    async fn find(&self, needle: &Needle) -> UidSet {
        let mut found = Vec::new();
        let mut first = 0;
        while first < self.base.starts.len() {
            self.base.find(needle, first, first + VALUES_AT_ONCE, &mut found);
            first += VALUES_AT_ONCE;
            tokio::task::yield_now().await;
        }
        let late = self.late.iter().filter(|(_, value)| needle.find_in_folded(value.as_bytes()).is_some());
        found.extend(late.map(|(uid, _)| *uid));
        found.into_iter().collect()
    }
}

/// The fact that a header is.
pub(super) fn value_of(header: IndexedHeader, info: &MessageIndex) -> Option<&[u8]> {
    match header {
        IndexedHeader::ImdnMessageId => info.imdn_message_id(),
        IndexedHeader::ConversationId => info.conversation_id(),
        IndexedHeader::ContributionId => info.contribution_id(),
    }
}

/// The messages of `folder` with `needle` in that header; some may be of before or after it.
pub(super) async fn messages_with(
    shared: &Shared,
    ctx: &Ctx,
    account: AccountId,
    folder: &FolderSnapshot,
    header: IndexedHeader,
    needle: &Needle,
) -> Result<UidSet, Failure> {
    let covers = |pack: &Arc<HeaderPack>| {
        pack.uid_validity == folder.state.uid_validity && pack.below >= folder.state.uid_next
    };
    let cached = || shared.caches.headers(account, folder.mailbox, header);
    if let Some(pack) = cached().filter(covers) {
        return Ok(pack.find(needle).await);
    }
    // One packs; those that come meanwhile find it done.
    let flight = shared.header_flights.enter((account, folder.mailbox)).await;
    let known = cached();
    let pack = match known {
        Some(pack) if covers(&pack) => pack,
        known => {
            let pack = Arc::new(extend(shared, ctx, account, folder, header, known.as_deref()).await?);
            shared.caches.put_headers(account, folder.mailbox, header, pack.clone());
            pack
        }
    };
    drop(flight);
    Ok(pack.find(needle).await)
}

/// A pack that covers `folder`.
async fn extend(
    shared: &Shared,
    ctx: &Ctx,
    account: AccountId,
    folder: &FolderSnapshot,
    header: IndexedHeader,
    known: Option<&HeaderPack>,
) -> Result<HeaderPack, Failure> {
    let uid_validity = folder.state.uid_validity;
    let fresh = HeaderPack::new(uid_validity);
    let known = known.filter(|known| known.uid_validity == uid_validity).unwrap_or(&fresh);
    let from = u32::try_from(known.below.max(1)).ok().and_then(Uid::new);
    let rows: Vec<MessageRow> = from.map_or_else(Vec::new, |from| folder.rows_from(from).copied().collect());
    let scanned =
        if rows.len() > HEADER_FACTS_MAX { scan(shared, ctx, account, header, &rows).await? } else { None };
    let came = match scanned {
        Some(came) => came,
        None => ask_facts(shared, ctx, account, header, &rows).await?,
    };
    let mut late = known.late.clone();
    late.extend(came);
    let below = folder.state.uid_next;
    if late.len() <= HEADER_LATE_MAX {
        return Ok(HeaderPack { uid_validity, below, base: known.base.clone(), late });
    }
    tokio::task::yield_now().await;
    Ok(HeaderPack { uid_validity, below, base: Arc::new(known.base.with(&late)), late: Vec::new() })
}

fn folded(value: &[u8]) -> Arc<str> {
    fold(&String::from_utf8_lossy(value)).into()
}

/// The values of `rows` from the facts of each.
async fn ask_facts(
    shared: &Shared,
    ctx: &Ctx,
    account: AccountId,
    header: IndexedHeader,
    rows: &[MessageRow],
) -> Result<Vec<(Uid, Arc<str>)>, Failure> {
    let mut values = Vec::new();
    for page in rows.chunks(INFOS_PER_REQUEST_MAX) {
        break_if_late(ctx)?;
        let bodies: Vec<BodyId> = page.iter().map(|row| row.body).collect();
        let infos = infos(shared, account, &bodies).await?;
        for (row, info) in page.iter().zip(infos) {
            // A message that went meanwhile matches nothing.
            let Some(info) = info else { continue };
            if let Some(value) = value_of(header, &info) {
                values.push((row.uid, folded(value)));
            }
        }
        tokio::task::yield_now().await;
    }
    Ok(values)
}

/// The values of `rows` from the index of the account; none when that has so many other messages that to ask for the
/// facts of these is better.
async fn scan(
    shared: &Shared,
    ctx: &Ctx,
    account: AccountId,
    header: IndexedHeader,
    rows: &[MessageRow],
) -> Result<Option<Vec<(Uid, Arc<str>)>>, Failure> {
    let wanted: HashSet<BodyId> = rows.iter().map(|row| row.body).collect();
    let mut values: HashMap<BodyId, Arc<str>> = HashMap::new();
    let mut last: (Vec<u8>, Arc<str>) = (Vec::new(), "".into());
    let mut keys_left = rows.len().saturating_mul(HEADER_KEYS_PER_MESSAGE_MAX);
    let KeyRange { mut begin, end } = shared.keys.header_values(account, header);
    loop {
        break_if_late(ctx)?;
        // Pages have their own transactions: entries of bodies older than the folder's rows never change.
        let request = RangeRequest::new(begin, end.clone());
        let page = reading!(Ok(shared.begin("search").get_range(&request, ReadMode::Snapshot).await?));
        for pair in &page.pairs {
            let (value, body) =
                shared.keys.header_value_of(&pair.key).ok_or_else(|| corrupt("header key", &pair.key))?;
            if !wanted.contains(&body) {
                continue;
            }
            // Messages of one conversation are neighbours with the same value.
            if value != last.0 {
                last = (value.to_vec(), folded(value));
            }
            values.insert(body, last.1.clone());
        }
        match page.pairs.last() {
            Some(last) if page.more => begin = after(&last.key),
            _ => break,
        }
        if page.pairs.len() > keys_left {
            return Ok(None);
        }
        keys_left -= page.pairs.len();
        tokio::task::yield_now().await;
    }
    let found = rows.iter().filter_map(|row| Some((row.uid, values.get(&row.body)?.clone())));
    Ok(Some(found.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(number: u32) -> Uid {
        Uid::new(number).expect("positive")
    }

    fn pack() -> HeaderPack {
        let late: Vec<(Uid, Arc<str>)> = [(1, "one"), (2, "ONE two"), (3, ""), (4, "one"), (5, "é-3")]
            .map(|(n, v)| (uid(n), folded(v.as_bytes())))
            .into();
        HeaderPack {
            uid_validity: UidValidity::new(1).expect("positive"),
            below: 8,
            base: Arc::new(Base::default().with(&late[..4]).with(&late[4..])),
            late: vec![(uid(7), folded(b"late one"))],
        }
    }

    #[tokio::test]
    async fn parts_of_values_are_found_and_nothing_across_two() {
        let pack = pack();
        for (needle, expected) in [
            ("one", "1:2,4,7"),
            ("One T", "2"),
            ("e\u{301}-", "5"),
            ("twoone", ""),
            ("", "1:5,7"),
            ("late", "7"),
            ("absent", ""),
        ] {
            assert_eq!(pack.find(&Needle::new(needle)).await.to_string(), expected, "{needle:?}");
        }
        assert_eq!(pack.base.starts.len(), 4, "each value stands once");
    }
}
