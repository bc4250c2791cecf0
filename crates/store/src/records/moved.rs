//! Where messages went that were moved out of a folder.

use model::{MailboxId, Uid, UidSet};

use super::codec::{Reader, Writer};
use super::place::Place;

const VERSION: u8 = 1;

/// What one MOVE did: messages of a folder came into another, or into the same one anew, in their order and without gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MoveRecord {
    /// The UIDs that they had.
    pub from: UidSet,
    /// Where the first of them came.
    pub to: Place,
}

impl MoveRecord {
    /// Where the message came that had this UID; none for one that was not moved.
    pub fn place_of(&self, uid: Uid) -> Option<Place> {
        if !self.from.contains(uid) {
            return None;
        }
        let before: u32 = self
            .from
            .ranges()
            .take_while(|(first, _)| *first <= uid.get())
            .map(|(first, last)| last.min(uid.get()) - first + u32::from(last < uid.get()))
            .sum();
        Some(Place { mailbox: self.to.mailbox, uid: Uid::new(self.to.uid.get().checked_add(before)?)? })
    }

    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new(VERSION, 24);
        self.from.encode(out.buffer());
        out.number(self.to.mailbox.0).number(u64::from(self.to.uid.get()));
        out.done()
    }

    /// Reads a stored form; none if it is not one.
    pub fn decode(record: &[u8]) -> Option<Self> {
        let (VERSION, mut input) = Reader::new(record)? else { return None };
        let from = UidSet::decode(input.input())?;
        let to = Place { mailbox: MailboxId(input.number()?), uid: Uid::new(input.u32()?)? };
        let last = u64::from(to.uid.get()) + from.len().checked_sub(1)?;
        let fits = u32::try_from(last).is_ok();
        input.end(Self { from, to }).filter(|_| fits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(uid: u32) -> Uid {
        Uid::new(uid).expect("positive")
    }

    #[test]
    fn who_went_where() {
        let to = Place { mailbox: MailboxId(9), uid: uid(100) };
        let record = MoveRecord { from: UidSet::from_ranges([(3, 3), (5, 7), (20, 21)]), to };
        let went = |at: u32| record.place_of(uid(at)).map(|place| place.uid.get());
        let all: Vec<_> = [2, 3, 4, 5, 6, 7, 8, 20, 21, 22].map(went).to_vec();
        let expected =
            [None, Some(100), None, Some(101), Some(102), Some(103), None, Some(104), Some(105), None];
        assert_eq!(all, expected);
        assert_eq!(record.place_of(uid(3)), Some(to));
    }

    #[test]
    fn the_stored_form_stays_as_it_is() {
        let to = Place { mailbox: MailboxId(300), uid: uid(5) };
        let record = MoveRecord { from: UidSet::from_ranges([(7, 7)]), to };
        let stored = record.encode();
        assert_eq!(stored, b"\x01\x01\x07\x00\xac\x02\x05");
        assert_eq!(MoveRecord::decode(&stored), Some(record.clone()));
        for cut in 0..stored.len() {
            assert_eq!(MoveRecord::decode(&stored[..cut]), None, "{cut}");
        }
        for bad in [
            MoveRecord { from: UidSet::new(), ..record.clone() },
            MoveRecord {
                from: UidSet::from_ranges([(1, 2)]),
                to: Place { mailbox: MailboxId(1), uid: uid(u32::MAX) },
            },
        ] {
            assert_eq!(MoveRecord::decode(&bad.encode()), None, "{bad:?}");
        }
    }
}
