//! `SORT [RETURN (options)] (criteria) charset keys`, `UID SORT`.
//!
//! Source: RFC 5256 §3, RFC 5267 §3 (RETURN), §4 (CONTEXT, UPDATE), RFC 5957 (DISPLAYFROM, DISPLAYTO),
//! RFC 5257 §4.9 (ANNOTATION), RFC 7162 §3.1.5 (MODSEQ).
//! Answers: as SEARCH; NO `[LIMIT]` when there is too much to sort.
//!
//! Texts compare by i;unicode-casemap (RFC 5051): titlecase, then decomposed, then octet by octet.

pub(crate) mod collation;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use cpm_mime::MessageIndex;
use imap_wire::command::{Sort, SortCriterion, SortKey};
use imap_wire::response;
use model::{MessageRow, Uid, UidSet};

use self::collation::Collation;
use super::search::Kept;
use super::search::results::{self, Results};
use super::{annotation, fetch, search};
use crate::connection::Output;
use crate::contexts::Order;
use crate::progress::{Progress, patiently};
use crate::reply::Reply;
use crate::session::Session;
use crate::turns::{self, Turn};
use crate::view::FolderRef;

/// Messages whose indexes are read at once.
const INDEXES_AT_ONCE: usize = 256;
/// Octets of keys that one command may hold: about half a million messages by subject. Beyond, NO `[LIMIT]`.
const KEYS_BYTES_MAX: usize = 64 * 1024 * 1024;

pub(crate) async fn run(session: &mut Session, out: &mut Output, sort: Sort) -> Result<Reply, Reply> {
    let charset = search::charset(Some(&sort.charset))?;
    let update = sort.returns.is_some_and(|options| options.update);
    if update {
        search::check_tag(session)?;
    }
    let found = search::matching(session, out, &sort.key, charset).await?;
    let _turn = turn(session, out, &found.uids).await?;
    let mut keyed = keyed(session, out, &sort.criteria, &found.uids).await?;
    let mod_seq = search::mod_seq(session, &found, None).await?;
    let criteria: Arc<[SortCriterion]> = sort.criteria.into();
    let by = criteria.clone();
    let sorted = off_the_way(keyed.len(), move || {
        keyed.sort_by(|a, b| compare(&by, a, b));
        keyed.into_iter().map(|message| message.uid).collect::<Vec<u32>>()
    });
    let uids = patiently(session, out, sorted).await??;

    if let Some(options) = sort.returns.filter(|options| options.save) {
        session.view_mut()?.saved = Results::in_order(&uids).saved(&options);
    }
    let order = update.then(|| uids.clone());
    let view = session.view()?;
    let numbers: Vec<u32> = if sort.uid {
        uids
    } else {
        uids.into_iter().filter_map(|uid| view.seq.seq(Uid::new(uid)?)).collect()
    };
    match sort.returns {
        None => response::sort(out.text(), numbers, mod_seq),
        Some(options) if search::is_save_alone(&options) => {}
        Some(options) => {
            results::esearch(sort.uid, &options, &Results::in_order(&numbers), mod_seq, |data| {
                response::esearch(out.text(), &session.tag, data);
            });
        }
    }
    if let Some(order) = order {
        let (uid, key, items) = (sort.uid, &sort.key, &sort.update_items);
        let results = order.iter().filter_map(|uid| Uid::new(*uid)).collect();
        let order = Some(Order::new(criteria, order));
        search::keep(session, out, Kept { named: None, uid, key, charset, items, results, order })?;
    }
    Ok(Reply::ok("SORT completed"))
}

/// Messages of the selected folder with what they are sorted by, in the order of their UIDs; those that are gone are
/// left out.
///
/// # Errors
/// NO `[LIMIT]` when that is too much, and what the store answers.
pub(crate) async fn keyed(
    session: &mut Session,
    out: &mut Output,
    criteria: &[SortCriterion],
    uids: &UidSet,
) -> Result<Vec<Keyed>, Reply> {
    let mut keyed = Vec::new();
    let mut room = Room(KEYS_BYTES_MAX);
    let beside = beside(session, out, criteria, uids, &mut room).await?;
    let of_rows =
        |c: &SortCriterion| matches!(c.key, SortKey::Arrival | SortKey::Size | SortKey::Annotation(..));
    if criteria.iter().all(of_rows) {
        let snapshot = session.snapshot().await?;
        for row in snapshot.rows_in(uids) {
            let criteria = criteria.iter().zip(&beside);
            let keys = criteria.map(|(c, beside)| Key::of_row(&c.key, row, beside)).collect();
            keyed.push(Keyed { uid: row.uid.get(), keys });
        }
        return Ok(keyed);
    }
    let collation = Collation::new();
    for_each_index(session, out, uids, |row, index| {
        let criteria = criteria.iter().zip(&beside);
        let keys: Box<[Key]> =
            criteria.map(|(c, beside)| Key::of(&c.key, row, index, &collation, beside)).collect();
        room.take(keys.iter().map(Key::weight).sum::<usize>() + size_of::<Keyed>())?;
        keyed.push(Keyed { uid: row.uid.get(), keys });
        Ok(())
    })
    .await?;
    Ok(keyed)
}

/// Of each criterion the keys of the messages that have an annotation which it names; nothing for any other.
async fn beside(
    session: &Session,
    out: &mut Output,
    criteria: &[SortCriterion],
    uids: &UidSet,
    room: &mut Room,
) -> Result<Vec<BTreeMap<Uid, Box<[u8]>>>, Reply> {
    let mut all = Vec::with_capacity(criteria.len());
    for criterion in criteria {
        let mut keys = BTreeMap::new();
        if let SortKey::Annotation(name, scope) = &criterion.key {
            let collation = Collation::new();
            let (ctx, folder) = (session.ctx(), session.view()?.folder());
            let (store, entries) = (session.store(), vec![name.clone().into()]);
            let mut read =
                annotation::Reading::new((store, &ctx), folder, uids.clone(), entries, Some(*scope));
            let read = async {
                while let Some((uid, found)) = read.any().await? {
                    if let Some(value) = found.get(name).and_then(|values| values.of(*scope)) {
                        let key = collation.key(&String::from_utf8_lossy(value));
                        room.take(key.len() + size_of::<Key>())?;
                        keys.insert(uid, key);
                    }
                }
                Ok::<(), Reply>(())
            };
            patiently(session, out, read).await??;
        }
        all.push(keys);
    }
    Ok(all)
}

/// Octets that may still be held.
pub(super) struct Room(pub usize);

impl Room {
    /// # Errors
    /// NO `[LIMIT]` when there is no room left.
    pub fn take(&mut self, octets: usize) -> Result<(), Reply> {
        self.0 = self.0.checked_sub(octets).ok_or_else(|| {
            Reply::no_code("LIMIT", "there is too much to put in order; ask for fewer messages")
        })?;
        Ok(())
    }
}

/// Waits until the account may order as many messages as these; few need no turn.
///
/// # Errors
/// The reply with which a handler ends when the client is lost.
pub(super) async fn turn(session: &Session, out: &mut Output, uids: &UidSet) -> Result<Option<Turn>, Reply> {
    if uids.len() < turns::MESSAGES_MIN {
        return Ok(None);
    }
    let account = session.account()?;
    patiently(session, out, session.server.turns.order(account)).await.map(Some)
}

/// Hands each message of `uids` that is there, with its index, to `each`, ascending.
///
/// # Errors
/// What `each` answers, and the store.
pub(super) async fn for_each_index(
    session: &mut Session,
    out: &mut Output,
    uids: &UidSet,
    mut each: impl FnMut(&MessageRow, &MessageIndex) -> Result<(), Reply>,
) -> Result<(), Reply> {
    let snapshot = session.snapshot().await?;
    let (FolderRef { account, mailbox }, ctx) = (session.view()?.folder(), session.ctx());
    let mut rows = fetch::rows(&snapshot, uids);
    let (mut done, mut progress) = (0, Progress::new(session));
    loop {
        let batch: Vec<&MessageRow> = rows.by_ref().take(INDEXES_AT_ONCE).collect();
        if batch.is_empty() {
            return Ok(());
        }
        let bodies: Vec<_> = batch.iter().map(|row| row.body).collect();
        let indexes = session.store().infos(&ctx, account, mailbox, &bodies).await?;
        done += bodies.len() as u64;
        for (row, index) in batch.into_iter().zip(indexes) {
            if let Some(index) = index {
                each(row, &index)?;
            }
        }
        progress.at(session, out, done, uids.len()).await?;
    }
}

/// Runs `work` over `messages` messages, elsewhere when they are many: other sessions of the thread wait meanwhile.
///
/// # Errors
/// NO `[SERVERBUG]` if it panics.
pub(super) async fn off_the_way<T: Send + 'static>(
    messages: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Reply> {
    /// About a millisecond of sorting.
    const MESSAGES_IN_PLACE: usize = 2_000;
    if messages <= MESSAGES_IN_PLACE {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!(%error, "ordering messages failed");
        Reply::no_code("SERVERBUG", "the messages could not be put in order")
    })
}

/// A message with what it is sorted by, a key for each criterion.
#[derive(Debug)]
pub(crate) struct Keyed {
    pub uid: u32,
    keys: Box<[Key]>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Number(i64),
    Text(Box<[u8]>),
}

impl Key {
    /// The key of a criterion that rows suffice for, and what stands beside them.
    fn of_row(key: &SortKey, row: &MessageRow, beside: &BTreeMap<Uid, Box<[u8]>>) -> Self {
        match key {
            SortKey::Size => Self::Number(i64::from(row.size)),
            SortKey::Annotation(..) => Self::Text(beside.get(&row.uid).cloned().unwrap_or_default()),
            _ => Self::Number(row.internal_date),
        }
    }

    fn of(
        key: &SortKey,
        row: &MessageRow,
        index: &MessageIndex,
        collation: &Collation,
        beside: &BTreeMap<Uid, Box<[u8]>>,
    ) -> Self {
        let text = |text: Option<&str>| Self::Text(collation.key(text.unwrap_or_default()));
        match key {
            SortKey::Arrival | SortKey::Size | SortKey::Annotation(..) => Self::of_row(key, row, beside),
            SortKey::Date => Self::Number(sent(row, index)),
            SortKey::Subject => text(Some(index.base_subject())),
            SortKey::From => text(index.first_from().map(|name| name.mailbox)),
            SortKey::To => text(index.first_to().map(|name| name.mailbox)),
            SortKey::Cc => text(index.first_cc().map(|name| name.mailbox)),
            SortKey::DisplayFrom => text(index.first_from().map(|name| name.display)),
            SortKey::DisplayTo => text(index.first_to().map(|name| name.display)),
        }
    }

    fn weight(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Number(_) => 0,
                Self::Text(text) => text.len(),
            }
    }
}

/// The sent date (RFC 5256 §2.2): that of the header, INTERNALDATE without one.
pub(super) fn sent(row: &MessageRow, index: &MessageIndex) -> i64 {
    index.sent_date().map_or(row.internal_date, |date| date.unix_seconds)
}

/// By the criteria in their order, then by UID, which is the order of sequence numbers (RFC 5256 §3).
pub(crate) fn compare(criteria: &[SortCriterion], a: &Keyed, b: &Keyed) -> Ordering {
    let keys = criteria.iter().zip(a.keys.iter().zip(b.keys.iter()));
    let by_keys = keys
        .map(|(criterion, (a, b))| if criterion.reverse { b.cmp(a) } else { a.cmp(b) })
        .find(|order| order.is_ne());
    by_keys.unwrap_or(Ordering::Equal).then(a.uid.cmp(&b.uid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order() {
        let message = |uid, size, subject: &str| Keyed {
            uid,
            keys: Box::new([Key::Number(size), Key::Text(subject.as_bytes().into())]),
        };
        let criterion = |reverse, key| SortCriterion { reverse, key };
        let check = |first: bool, second: bool, expected: [u32; 4]| {
            let criteria = [criterion(first, SortKey::Size), criterion(second, SortKey::Subject)];
            let mut all = [message(1, 5, "b"), message(2, 5, "a"), message(3, 4, "z"), message(4, 5, "b")];
            all.sort_by(|a, b| compare(&criteria, a, b));
            assert_eq!(all.map(|m| m.uid), expected);
        };
        check(false, false, [3, 2, 1, 4]);
        check(true, false, [2, 1, 4, 3]);
        // Reversal is of the keys; ties still ascend.
        check(false, true, [3, 1, 4, 2]);
    }

    #[test]
    fn room_ends() {
        let mut room = Room(10);
        assert!(room.take(10).is_ok());
        assert_eq!(room.take(1).expect_err("full").code.as_deref(), Some("LIMIT"));
    }
}
