//! Objects by their IMDN-Message-ID within a transaction: a deposit that is repeated, and the message that a
//! notification is about.
//!
//! The entry of an object in the index of headers says where it came. So a look-up is one short range read, and for
//! each object found its row and its facts; an object that was expunged or moved away since is not there any more. The
//! entry goes with the object's body, so that EXPUNGE, MOVE and COPY pay nothing.

use cpm_mime::imdn::{Notification, Status};
use cpm_mime::object::Direction;
use cpm_mime::{Imdn, MessageIndex, ObjectKind};
use kv::{RangeRequest, ReadMode};
use model::{BodyId, Flags, Keyword, MailboxId, MessageRow, Uid, UidSet};

use crate::failure::{Failure, corrupt};
use crate::keyspace::IndexedHeader;
use crate::limits::OBJECTS_OF_AN_ID_MAX;
use crate::records::{ChangeKind, FlagNames, Place};
use crate::work::Work;
use crate::work::folder::{Tally, entry};
use crate::work::origin::{Origin, flag_names};

/// A message that stands where it came.
pub(crate) struct Found {
    place: Place,
    row: MessageRow,
    index: MessageIndex,
}

impl Work<'_> {
    /// The messages of that IMDN-Message-ID, octet for octet, that stand where they came: the newest, as many as are
    /// looked at. `within` leaves out all other folders.
    async fn objects(&mut self, id: &[u8], within: Option<MailboxId>) -> Result<Vec<Found>, Failure> {
        let keys = &self.shared.keys;
        let header = IndexedHeader::ImdnMessageId;
        let begin = keys.header(self.account, header, id, BodyId(0));
        let end = keys.header(self.account, header, id, BodyId(self.ledger.next_id));
        let request =
            RangeRequest { reverse: true, ..RangeRequest::new(begin, end).limit(OBJECTS_OF_AN_ID_MAX) };
        // Every change of the account is ordered by its ledger.
        let page = self.trx.get_range(&request, ReadMode::Snapshot).await?;
        let mut found = Vec::new();
        for pair in page.pairs {
            let (_, body) = self
                .shared
                .keys
                .header_value_of(&pair.key)
                .ok_or_else(|| corrupt("header key", &pair.key))?;
            let Some(place) = Place::decode(&pair.value) else { continue };
            if within.is_some_and(|folder| folder != place.mailbox) {
                continue;
            }
            match self.load_rows(place.mailbox, Some(&UidSet::range(place.uid, place.uid))).await {
                Ok(()) => {}
                // The folder is gone.
                Err(Failure::Request(_)) => continue,
                Err(failure) => return Err(failure),
            }
            let row = self.folder(place.mailbox)?.row(place.uid).copied().filter(|row| row.body == body);
            let Some(row) = row else { continue };
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

    /// The message of `target` that `index` repeats: of the same kind, id and direction, deposited before. What is no
    /// object repeats nothing.
    pub(crate) async fn repeated(
        &mut self,
        target: MailboxId,
        index: &MessageIndex,
    ) -> Result<Option<Uid>, Failure> {
        let (kind, direction) = (index.kind(), index.direction());
        let Some(id) = index.imdn_message_id().filter(|_| kind != ObjectKind::Mail) else { return Ok(None) };
        let same = self
            .objects(id, Some(target))
            .await?
            .into_iter()
            .find(|found| found.index.kind() == kind && found.index.direction() == direction);
        Ok(same.map(|found| found.place.uid))
    }

    /// Notes with the messages that a notification is about what it says of them. `direction` is that of the
    /// notification: one that came tells of what was sent, one that was sent of what came.
    pub(crate) async fn fold_notification(
        &mut self,
        imdn: &Imdn,
        direction: Option<Direction>,
        by: &Origin,
    ) -> Result<(), Failure> {
        for found in self.objects(imdn.message_id.as_bytes(), None).await? {
            let about = found.index.direction();
            if found.index.kind() == ObjectKind::Imdn || about.is_some() && about == direction {
                continue;
            }
            let (system, keyword) = told(imdn, direction);
            self.give(found.place.mailbox, found.row, system, keyword, by)?;
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
