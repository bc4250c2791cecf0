//! What is told: a notice to the devices of one account.

use model::{CpmAddress, DeviceId, ModSeq, Uid, UidValidity};

/// What is told of one account at once: things of one kind, done at one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Names the notice; the same when it is sent again.
    pub push_id: String,
    /// The account.
    pub account: CpmAddress,
    /// The device that made the change, where it is known. It is told of nothing.
    pub trigger: Option<DeviceId>,
    /// The devices to tell; none for all that the enabler knows of the account but [`Notice::trigger`].
    pub targets: Vec<Target>,
    /// When the first change was made, milliseconds since 1970-01-01 UTC.
    pub changed_at_millis: i64,
    /// What kind of change.
    pub kind: NoticeKind,
    /// The objects, in the order of the changes; 1 to 32.
    pub events: Vec<Event>,
}

/// A device to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its identity.
    pub device: DeviceId,
    /// Where the enabler reaches it; empty for the account's own address.
    pub push_address: String,
}

impl Notice {
    /// Where the notice goes: the address of each target, or of the account.
    pub fn recipients(&self) -> impl Iterator<Item = (&str, Option<&DeviceId>)> {
        let whole = self.targets.is_empty().then_some((self.account.as_str(), None));
        let each = self.targets.iter().map(|target| {
            let own = Some(target.push_address.as_str()).filter(|address| !address.is_empty());
            (own.unwrap_or(self.account.as_str()), Some(&target.device))
        });
        whole.into_iter().chain(each)
    }
}

/// What kind of change a notice tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoticeKind {
    /// New objects.
    New,
    /// Flags of objects.
    Status,
    /// Objects that went.
    Deleted,
    /// Folders to look at again, since there is too much to tell, or it is not known any more.
    Resync,
}

impl NoticeKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::New, Self::Status, Self::Deleted, Self::Resync];

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Status => "status",
            Self::Deleted => "deleted",
            Self::Resync => "resync",
        }
    }
}

/// One thing that a notice tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An object is new, or its flags changed.
    Changed(Box<Object>),
    /// An object went. What it was is not known any more.
    Deleted(Place),
    /// A folder to look at again; none for the whole account.
    Resync(Option<FolderPlace>),
}

/// A folder as of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderPlace {
    /// Its name.
    pub folder: String,
    /// Its UIDVALIDITY, where it is known.
    pub uid_validity: Option<UidValidity>,
    /// Its MODSEQ at that change.
    pub modseq: ModSeq,
}

/// Where an object is, or was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The folder.
    pub folder: FolderPlace,
    /// Its UID.
    pub uid: Uid,
}

/// An object, with what a device wants to know before it looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Where it is.
    pub place: Place,
    /// Its flags now, those that devices are told of.
    pub flags: Vec<&'static str>,
    /// Flags that it, or another object of the same change, got.
    pub added: Vec<&'static str>,
    /// Flags that it, or another object of the same change, lost.
    pub removed: Vec<&'static str>,
    /// Whether it is a voicemail; else a message.
    pub voicemail: bool,
    /// Octets.
    pub size: u64,
    /// When it came, seconds since 1970-01-01 UTC.
    pub internal_date: i64,
    /// Content-Type without parameters.
    pub content_type: String,
    /// Whether the subscriber sent it, where it says so.
    pub sent: Option<bool>,
    /// The other side's address, where it is one that names a subscriber.
    pub sender: Option<String>,
    /// Conversation-ID.
    pub conversation_id: Option<String>,
    /// Contribution-ID.
    pub contribution_id: Option<String>,
    /// IMDN-Message-ID.
    pub imdn_message_id: Option<String>,
    /// Message-Correlator.
    pub correlator: Option<String>,
    /// Message-Context.
    pub context: Option<String>,
    /// P-Asserted-Service.
    pub service: Option<String>,
}

impl FolderPlace {
    /// The folder as the path of an IMAP URL (RFC 5092 §11: enc-mailbox, then UIDVALIDITY).
    pub fn path(&self) -> String {
        let mut path = String::from("/");
        for octet in self.folder.bytes() {
            match octet {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' => path.push(octet.into()),
                b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' => {
                    path.push(octet.into());
                }
                b'&' | b'=' | b':' | b'@' | b'/' => path.push(octet.into()),
                _ => path.push_str(&format!("%{octet:02X}")),
            }
        }
        if let Some(validity) = self.uid_validity {
            path.push_str(&format!(";UIDVALIDITY={}", validity.get()));
        }
        path
    }
}

impl Place {
    /// The object as the path of an IMAP URL (RFC 5092 §11).
    pub fn path(&self) -> String {
        format!("{}/;UID={}", self.folder.path(), self.uid.get())
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// A notice of two objects whose texts want escaping.
    pub(crate) fn notice() -> Notice {
        let folder = FolderPlace {
            folder: "Default/a<b>&\"c\" \u{e9}".into(),
            uid_validity: UidValidity::new(7),
            modseq: ModSeq(42),
        };
        let object = |uid, id: &str| {
            Event::Changed(Box::new(Object {
                place: Place { folder: folder.clone(), uid: Uid::new(uid).unwrap() },
                flags: vec!["\\Seen"],
                added: vec!["\\Seen"],
                removed: Vec::new(),
                voicemail: false,
                size: 123,
                internal_date: 1_700_000_000,
                content_type: "message/cpim".into(),
                sent: Some(false),
                sender: Some("tel:+33687654321".into()),
                conversation_id: Some("f81d4fae".into()),
                contribution_id: Some("abcdef".into()),
                imdn_message_id: Some(id.into()),
                correlator: None,
                context: Some("pager-message".into()),
                service: None,
            }))
        };
        Notice {
            push_id: "9-000000000000000000000001-0".into(),
            account: CpmAddress::parse("tel:+33612345678").unwrap(),
            trigger: DeviceId::parse(b"<urn:gsma:imei:1&2>").ok(),
            targets: Vec::new(),
            changed_at_millis: 1_700_000_001_500,
            kind: NoticeKind::Status,
            events: vec![object(1, "Mjkx9a1f"), object(2, "<\"&'>]]>")],
        }
    }

    #[test]
    fn paths_are_those_of_urls() {
        let notice = notice();
        let Event::Changed(object) = &notice.events[0] else { panic!("an object") };
        assert_eq!(object.place.path(), "/Default/a%3Cb%3E&%22c%22%20%C3%A9;UIDVALIDITY=7/;UID=1");
    }
}
