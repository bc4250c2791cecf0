//! Where the network or a client put an object.

use model::{MailboxId, Uid, varint};

/// The folder and the UID under which an object came: the value of its entry in the index of IMDN-Message-ID. It says
/// where to look, not what is there: the row may have gone since, by EXPUNGE or MOVE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The folder.
    pub mailbox: MailboxId,
    /// The UID.
    pub uid: Uid,
}

const VERSION: u8 = 1;

impl Place {
    /// The stored form: a version, then the numbers.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(8);
        out.push(VERSION);
        varint::put(&mut out, self.mailbox.0);
        varint::put(&mut out, u64::from(self.uid.get()));
        out
    }

    /// Reads a stored form; none if it is not one.
    pub fn decode(record: &[u8]) -> Option<Self> {
        let (&VERSION, mut input) = record.split_first()? else { return None };
        let mailbox = MailboxId(varint::take(&mut input)?);
        let uid = Uid::new(u32::try_from(varint::take(&mut input)?).ok()?)?;
        input.is_empty().then_some(Self { mailbox, uid })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_form_stays_as_it_is() {
        let place = Place { mailbox: MailboxId(300), uid: Uid::new(5).expect("positive") };
        let stored = place.encode();
        assert_eq!(stored, b"\x01\xac\x02\x05");
        assert_eq!(Place::decode(&stored), Some(place));
        for bad in [&b""[..], b"\x01", b"\x01\x05", b"\x01\x05\x00", b"\x01\x05\x05\x05", b"\x02\x05\x05"] {
            assert_eq!(Place::decode(bad), None, "{bad:?}");
        }
    }
}
