//! Objects by their IMDN-Message-ID within a transaction: a deposit that is repeated, and the message that a
//! notification is about.
//!
//! The entry of an object in the index of headers says where it came. So a look-up is one short range read, and for
//! each object found its row and its facts. The entry goes with the object's body, so that EXPUNGE and COPY pay nothing.
//!
//! A deposit is repeated where it came, so one that was expunged or moved away since is not there any more. A notification
//! is about the message wherever it is: what is not where it came is looked for among the newest MOVEs out of that
//! folder, which leave a note each. That is one short range read for each step that is followed, and there are bounds on
//! both. A copy is another message, of which nothing is noted, and so is what was copied and then expunged.
//!
//! A notification may come before its message, by another way through the network. Each leaves an entry under the id of
//! the message that it is about, and a message with an id that a network function brings is looked for there: one short
//! range read, for all messages of a command together. Messages of subscribers are not, so that their APPEND waits for
//! nothing more.

use cpm_mime::imdn::{Notification, Status};
use cpm_mime::object::Direction;
use cpm_mime::{Imdn, MessageIndex, ObjectKind};
use kv::{RangePage, RangeRequest, ReadMode};
use model::{BodyId, Flags, Keyword, MailboxId, MessageRow, Uid, UidSet};

use crate::failure::{Failure, corrupt};
use crate::keyspace::IndexedHeader;
use crate::limits::{IDS_ASKED_MAX, MOVES_FOLLOWED_MAX, MOVES_LOOKED_AT_MAX, OBJECTS_OF_AN_ID_MAX};
use crate::records::{ChangeKind, FlagNames, MoveRecord, Place};
use crate::work::Work;
use crate::work::folder::{Tally, entry};
use crate::work::origin::{Origin, flag_names};

/// By what one deposit is known to be another: its kind, its direction and its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Object<'a> {
    kind: ObjectKind,
    is_sent: Option<bool>,
    id: &'a [u8],
}

impl<'a> Object<'a> {
    /// The object that a message is; none for mail, and without an id.
    pub(crate) fn of(index: &'a MessageIndex) -> Option<Self> {
        let kind = Some(index.kind()).filter(|kind| *kind != ObjectKind::Mail)?;
        let is_sent = index.direction().map(|direction| direction == Direction::Sent);
        Some(Self { kind, is_sent, id: index.imdn_message_id()? })
    }
}

/// A message that is there.
pub(crate) struct Found {
    place: Place,
    row: MessageRow,
    index: MessageIndex,
}

impl Work<'_> {
    /// What the index has of each of these IMDN-Message-IDs: the newest messages, as many as are looked at.
    async fn entries(&mut self, ids: &[&[u8]]) -> Result<Vec<RangePage>, Failure> {
        let (keys, header) = (&self.shared.keys, IndexedHeader::ImdnMessageId);
        let mut pages = Vec::with_capacity(ids.len());
        for ids in ids.chunks(IDS_ASKED_MAX) {
            let requests: Vec<_> = ids
                .iter()
                .map(|id| {
                    let begin = keys.header(self.account, header, id, BodyId(0));
                    let end = keys.header(self.account, header, id, BodyId(self.ledger.next_id));
                    RangeRequest::new(begin, end).limit(OBJECTS_OF_AN_ID_MAX).reverse()
                })
                .collect();
            // Every change of the account is ordered by its ledger.
            pages.extend(self.trx.get_together(&[], &requests, ReadMode::Snapshot).await?.1);
        }
        Ok(pages)
    }

    /// The messages of that IMDN-Message-ID, octet for octet, by what the index has of it. `within` leaves out those that
    /// did not come to that folder or are there no more.
    async fn objects(
        &mut self,
        id: &[u8],
        page: RangePage,
        within: Option<MailboxId>,
    ) -> Result<Vec<Found>, Failure> {
        let mut found = Vec::new();
        for pair in page.pairs {
            let (_, body) = self
                .shared
                .keys
                .header_value_of(&pair.key)
                .ok_or_else(|| corrupt("header key", &pair.key))?;
            let Some(place) = Place::decode(&pair.value) else { continue };
            let standing = match within {
                Some(folder) if folder != place.mailbox => None,
                Some(_) => self.row_of(place, body).await?.map(|row| (place, row)),
                None => self.follow(place, body).await?,
            };
            let Some((place, row)) = standing else { continue };
            let key = self.shared.keys.info(self.account, body);
            let Some(raw) = self.trx.get(&key, ReadMode::Snapshot).await? else { continue };
            let index = MessageIndex::decode(raw).map_err(|_| corrupt("info", &key))?;
            // The index does not tell cases apart; ids do.
            if index.imdn_message_id() == Some(id) {
                found.push(Found { place, row, index });
            }
        }
        Ok(found)
    }

    /// The row of a message, if it is at that place.
    async fn row_of(&mut self, place: Place, body: BodyId) -> Result<Option<MessageRow>, Failure> {
        match self.load_rows(place.mailbox, Some(&UidSet::range(place.uid, place.uid))).await {
            Ok(()) => {}
            // The folder is gone.
            Err(Failure::Request(_)) => return Ok(None),
            Err(failure) => return Err(failure),
        }
        Ok(self.folder(place.mailbox)?.row(place.uid).copied().filter(|row| row.body == body))
    }

    /// The message that came to `place`, where it is now, as far as it can be followed.
    async fn follow(
        &mut self,
        mut place: Place,
        body: BodyId,
    ) -> Result<Option<(Place, MessageRow)>, Failure> {
        for _ in 0..=MOVES_FOLLOWED_MAX {
            if let Some(row) = self.row_of(place, body).await? {
                return Ok(Some((place, row)));
            }
            let moves = self.shared.keys.moves(self.account, place.mailbox);
            let request = RangeRequest::new(moves.begin, moves.end).limit(MOVES_LOOKED_AT_MAX).reverse();
            let page = self.trx.get_range(&request, ReadMode::Snapshot).await?;
            // A UID goes once.
            let next =
                page.pairs.iter().find_map(|pair| MoveRecord::decode(&pair.value)?.place_of(place.uid));
            match next {
                Some(next) => place = next,
                None => return Ok(None),
            }
        }
        Ok(None)
    }

    /// For each of the objects, the message of `target` that is the same, deposited before.
    pub(crate) async fn repeated(
        &mut self,
        target: MailboxId,
        objects: &[Object<'_>],
    ) -> Result<Vec<Option<Uid>>, Failure> {
        let ids: Vec<&[u8]> = objects.iter().map(|object| object.id).collect();
        let mut same = Vec::with_capacity(objects.len());
        for (object, page) in objects.iter().zip(self.entries(&ids).await?) {
            let found = self.objects(object.id, page, Some(target)).await?;
            let found = found.into_iter().find(|found| Object::of(&found.index).as_ref() == Some(object));
            same.push(found.map(|found| found.place.uid));
        }
        Ok(same)
    }

    /// Notes with the messages that a notification is about what it says of them. `direction` is that of the
    /// notification: one that came tells of what was sent, one that was sent of what came.
    pub(crate) async fn fold_notification(
        &mut self,
        imdn: &Imdn,
        direction: Option<Direction>,
        by: &Origin,
    ) -> Result<(), Failure> {
        let id = imdn.message_id.as_bytes();
        let Some(page) = self.entries(&[id]).await?.pop() else { return Ok(()) };
        for found in self.objects(id, page, None).await? {
            let about = found.index.direction();
            if found.index.kind() == ObjectKind::Imdn || about.is_some() && about == direction {
                continue;
            }
            let (system, keyword) = told(imdn, direction);
            self.give(found.place.mailbox, found.row, system, keyword, by)?;
        }
        Ok(())
    }

    /// Says that a notification is about a message that may come later.
    pub(crate) fn put_notified(&mut self, body: BodyId, index: &MessageIndex, place: Place) {
        if let Some(imdn) = notification(index) {
            let key = self.shared.keys.notified(self.account, imdn.message_id.as_bytes(), body);
            self.trx.set_bytes(key, place.encode().into());
        }
    }

    /// Notes with messages that have just come to `mailbox` what notifications said of them before. Of each message its
    /// UID, its id and its direction.
    pub(crate) async fn fold_earlier(
        &mut self,
        mailbox: MailboxId,
        messages: &[(Uid, &[u8], Option<Direction>)],
        by: &Origin,
    ) -> Result<(), Failure> {
        for messages in messages.chunks(IDS_ASKED_MAX) {
            let keys = &self.shared.keys;
            let about = |id: &[u8]| {
                let begin = keys.notified(self.account, id, BodyId(0));
                let end = keys.notified(self.account, id, BodyId(self.ledger.next_id));
                RangeRequest::new(begin, end).limit(OBJECTS_OF_AN_ID_MAX).reverse()
            };
            let requests: Vec<_> = messages.iter().map(|(_, id, _)| about(id)).collect();
            // Every change of the account is ordered by its ledger.
            let (_, pages) = self.trx.get_together(&[], &requests, ReadMode::Snapshot).await?;
            for ((uid, id, direction), page) in messages.iter().zip(pages) {
                for pair in page.pairs {
                    let Some((_, body)) = self.shared.keys.notified_of(&pair.key) else { continue };
                    let key = self.shared.keys.info(self.account, body);
                    let Some(raw) = self.trx.get(&key, ReadMode::Snapshot).await? else { continue };
                    let index = MessageIndex::decode(raw).map_err(|_| corrupt("info", &key))?;
                    let about_it = |imdn: &Imdn| imdn.message_id.as_bytes() == *id;
                    let Some(imdn) = notification(&index).filter(about_it) else { continue };
                    if direction.is_some() && *direction == index.direction() {
                        continue;
                    }
                    let (system, keyword) = told(&imdn, index.direction());
                    let Some(row) = self.folder(mailbox)?.row(*uid).copied() else { continue };
                    self.give(mailbox, row, system, keyword, by)?;
                }
            }
        }
        Ok(())
    }

    /// Gives a message flags that it has not. A folder without room for the keyword keeps its flags.
    fn give(
        &mut self,
        mailbox: MailboxId,
        row: MessageRow,
        system: Flags,
        keyword: Option<Keyword>,
        by: &Origin,
    ) -> Result<(), Failure> {
        let folder = self.folder(mailbox)?;
        let mut table = folder.state.keywords.clone();
        let Some(given) = folder.keyword_flags(keyword.as_slice(), row.flags, &mut table) else {
            tracing::debug!(%mailbox, "a folder has no room for the keyword of a notification");
            return Ok(());
        };
        let flags = row.flags.union(given).union(system);
        if flags == row.flags {
            return Ok(());
        }
        let modseq = folder.next_modseq();
        let new = MessageRow { flags, modseq, ..row };
        let mut tally = Tally::default();
        tally.count(&row, -1);
        tally.count(&new, 1);
        let added = flag_names(flags.without(row.flags), &table);
        folder.state.keywords = table;
        folder.replace_rows(&[new]);
        let changed = UidSet::range(row.uid, row.uid);
        let noted = entry(modseq, ChangeKind::Flags, changed, UidSet::new(), by);
        folder.note(noted.with_flags(added, FlagNames::default()));
        self.tally(mailbox, tally)
    }
}

/// What a message says of another, if it is a notification.
fn notification(index: &MessageIndex) -> Option<Imdn> {
    index.imdn().filter(|_| index.kind() == ObjectKind::Imdn)
}

/// What a notification of that direction says of its message.
fn told(imdn: &Imdn, direction: Option<Direction>) -> (Flags, Option<Keyword>) {
    match (imdn.notification, imdn.status, direction) {
        // The subscriber's own: that the message was read is what \Seen says, this that its sender knows.
        (Notification::Display, Status::Displayed, Some(Direction::Sent)) => (Flags::READ_REPORT_SENT, None),
        (_, _, Some(Direction::Sent)) => (Flags::default(), None),
        (Notification::Delivery, Status::Delivered, _) => (Flags::default(), word("$Delivered")),
        (Notification::Delivery, Status::Failed, _) => (Flags::default(), word("$DeliveryFailed")),
        (Notification::Display, Status::Displayed, _) => (Flags::default(), word("$Displayed")),
        _ => (Flags::default(), None),
    }
}

fn word(keyword: &str) -> Option<Keyword> {
    Keyword::parse(keyword).ok()
}
