//! The files of an export that describe it.

use anyhow::Context as _;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use model::{
    AclAction, AclChange, AnnotationName, DeviceId, EntryName, EntryScope, Flags, Identifier, Keyword,
    KeywordTable, MessageRow, ModSeq, Rights, Uid,
};
use serde::{Deserialize, Serialize};
use store_api::{
    Annotation, AnnotationChange, Annotations, Credentials, Identities, Metadata, MetadataChange, PushDevice,
    ScramVerifier,
};

/// `account.json`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Head {
    /// [`super::FORMAT`].
    pub format: String,
    /// [`super::VERSION`].
    pub version: u32,
    /// The account's address.
    pub address: String,
    /// Whether logins were refused.
    pub disabled: bool,
    /// Octets of all messages that it may have.
    pub quota_bytes: Option<u64>,
    /// Messages that it may have.
    pub quota_messages: Option<u64>,
    /// Whether what is not as its kind of object demands was refused below `Default`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub strict_objects: bool,
    /// Whether the subscriber was bound by the rules of RCC.09 on folders.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cpm_folders: bool,
    /// Whether a deleted mailbox below `Default` or `RCSMessageStore` took those below it along.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recursive_delete: bool,
    /// When it was created, seconds since 1970-01-01 UTC.
    pub created_at: i64,
    /// When the export ended, seconds since 1970-01-01 UTC.
    pub exported_at: i64,
    /// Whether all folders are as of one moment.
    pub of_one_moment: bool,
    /// How its owner proves who they are; only where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credential>,
    /// Folders, by name: levels come before what is below them.
    pub folders: Vec<FolderLine>,
    /// Names subscribed to.
    pub subscriptions: Vec<String>,
    /// Metadata of the account itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metadata: Vec<MetadataLine>,
    /// Devices made known for notices to the PUSH enabler.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<DeviceLine>,
}

/// A device in `account.json`.
#[derive(Debug, Serialize, Deserialize)]
pub struct DeviceLine {
    /// Its identity.
    pub device: String,
    /// Where the enabler reaches it; empty for the account's address.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub push_address: String,
    /// When it was made known, seconds since 1970-01-01 UTC.
    pub added_at: i64,
}

impl DeviceLine {
    /// Of a device.
    pub fn of(device: PushDevice) -> Self {
        let PushDevice { device, push_address, added_at } = device;
        Self { device: device.to_string(), push_address, added_at }
    }

    /// The device.
    ///
    /// # Errors
    /// When the identity is none.
    pub fn device(&self) -> anyhow::Result<PushDevice> {
        let device = DeviceId::parse(self.device.as_bytes());
        let device = device.with_context(|| format!("account.json: device {}", self.device))?;
        Ok(PushDevice { device, push_address: self.push_address.clone(), added_at: self.added_at })
    }
}

/// A folder in `account.json`.
#[derive(Debug, Serialize, Deserialize)]
pub struct FolderLine {
    /// Its number below `folders/`.
    pub number: u32,
    /// Its name, levels separated by `/`.
    pub name: String,
    /// RFC 6154 attribute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub special_use: Option<String>,
    /// Only a name; all further fields are 0 then.
    pub noselect: bool,
    /// UIDVALIDITY.
    pub uid_validity: u32,
    /// UIDNEXT.
    pub uid_next: u64,
    /// HIGHESTMODSEQ: the folder is as it stood then.
    pub highest_modseq: u64,
    /// Messages from this UID on had been shown to no session as \Recent.
    pub recent_uid: u64,
    /// Messages.
    pub messages: u64,
    /// Octets of all messages.
    pub bytes: u64,
    /// Its metadata.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metadata: Vec<MetadataLine>,
    /// What others may do in it (RFC 4314).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub acl: Vec<AclLine>,
}

/// A line of `messages.jsonl`.
#[derive(Debug, Serialize, Deserialize)]
pub struct MessageLine {
    /// UID.
    pub uid: u32,
    /// MODSEQ.
    pub modseq: u64,
    /// INTERNALDATE, seconds since 1970-01-01 UTC.
    pub internal_date: i64,
    /// Its zone, minutes east of UTC.
    pub zone_minutes: i16,
    /// SAVEDATE, seconds since 1970-01-01 UTC.
    pub saved_at: i64,
    /// System flags and keywords.
    pub flags: Vec<String>,
    /// The device that read it, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_by: Option<String>,
    /// The device that deleted it, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_by: Option<String>,
    /// Its annotations: those that all see, and the owner's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub annotations: Vec<AnnotationLine>,
    /// The body's number, from which EMAILID is made. Not kept by an import.
    pub body: String,
    /// Octets.
    pub size: u64,
    /// SHA-256 of the octets, hexadecimal.
    pub sha256: String,
}

/// An entry of an access control list.
#[derive(Debug, Serialize, Deserialize)]
pub struct AclLine {
    /// A CPM address or `anyone`, behind `-` when the rights are taken away.
    pub identifier: String,
    /// The letters of RFC 4314 §2.1.
    pub rights: String,
}

/// A metadata entry (RFC 5464).
#[derive(Debug, Serialize, Deserialize)]
pub struct MetadataLine {
    /// Its name.
    pub entry: String,
    /// Its value, base64.
    pub value: String,
}

/// An annotation of a message (RFC 5257); values in base64.
#[derive(Debug, Serialize, Deserialize)]
pub struct AnnotationLine {
    /// Its entry.
    pub entry: String,
    /// What the owner alone sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private: Option<String>,
    /// What all see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared: Option<String>,
}

/// What is kept of a password; octets in base64.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Credential {
    /// SCRAM-SHA-256.
    ScramSha256 {
        /// Rounds of PBKDF2.
        iterations: u32,
        /// The salt.
        salt: String,
        /// `StoredKey`.
        stored_key: String,
        /// `ServerKey`.
        server_key: String,
    },
    /// PHC string form.
    Argon2(String),
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credential(..)")
    }
}

impl Credential {
    /// What is kept of `credentials`; none where there is no password.
    pub fn of(credentials: &Credentials) -> Option<Self> {
        match credentials {
            Credentials::None => None,
            Credentials::Argon2(hash) => Some(Self::Argon2(hash.clone())),
            Credentials::Scram(keys) => Some(Self::ScramSha256 {
                iterations: keys.iterations,
                salt: BASE64_STANDARD.encode(&keys.salt),
                stored_key: BASE64_STANDARD.encode(keys.stored_key),
                server_key: BASE64_STANDARD.encode(keys.server_key),
            }),
        }
    }

    /// The credentials of an account.
    ///
    /// # Errors
    /// When a key is not base64 of 32 octets.
    pub fn read(&self) -> anyhow::Result<Credentials> {
        let key = |text: &str| -> anyhow::Result<[u8; 32]> {
            let octets = BASE64_STANDARD.decode(text).context("a key is not base64")?;
            octets.try_into().map_err(|_| anyhow::anyhow!("a key has not 32 octets"))
        };
        Ok(match self {
            Self::Argon2(hash) => Credentials::Argon2(hash.clone()),
            Self::ScramSha256 { iterations, salt, stored_key, server_key } => {
                Credentials::Scram(ScramVerifier {
                    iterations: *iterations,
                    salt: BASE64_STANDARD.decode(salt).context("the salt is not base64")?,
                    stored_key: key(stored_key)?,
                    server_key: key(server_key)?,
                })
            }
        })
    }
}

impl AclLine {
    /// What sets the entry, in place of one that is there.
    ///
    /// # Errors
    /// When it is none.
    pub fn change(&self) -> anyhow::Result<AclChange> {
        let identifier = Identifier::parse(&self.identifier);
        Ok(AclChange {
            identifier: identifier.with_context(|| format!("{} is no identifier", self.identifier))?,
            action: AclAction::Set,
            rights: Rights::parse(&self.rights).with_context(|| format!("{} are no rights", self.rights))?,
        })
    }
}

impl MetadataLine {
    /// All entries of a folder.
    pub fn all(metadata: &Metadata) -> Vec<Self> {
        let line = |(name, value): (&EntryName, &Bytes)| Self {
            entry: name.as_str().to_owned(),
            value: BASE64_STANDARD.encode(value),
        };
        metadata.iter().map(line).collect()
    }

    /// What sets the entry.
    ///
    /// # Errors
    /// When it is none.
    pub fn change(&self) -> anyhow::Result<MetadataChange> {
        let name = EntryName::parse(self.entry.as_bytes())?;
        Ok((name, Some(BASE64_STANDARD.decode(&self.value).context("a value is not base64")?.into())))
    }
}

impl AnnotationLine {
    /// All annotations of a message that clients set; which devices read and deleted it stands beside them.
    pub fn all(annotations: &Annotations) -> Vec<Self> {
        let value = |value: &Option<Bytes>| value.as_ref().map(|value| BASE64_STANDARD.encode(value));
        let of_clients = annotations.iter().filter(|(name, _)| !name.is_of_server());
        let line = |(name, values): (&AnnotationName, &Annotation)| Self {
            entry: name.as_str().to_owned(),
            private: value(&values.private),
            shared: value(&values.shared),
        };
        of_clients.map(line).collect()
    }

    /// What sets the entry.
    ///
    /// # Errors
    /// When it is none.
    pub fn changes(&self) -> anyhow::Result<Vec<AnnotationChange>> {
        let name = AnnotationName::parse(self.entry.as_bytes())?;
        let values = [(EntryScope::Private, &self.private), (EntryScope::Shared, &self.shared)];
        let set = values.into_iter().filter_map(|(scope, value)| Some((scope, value.as_ref()?)));
        set.map(|(scope, value)| {
            let value = BASE64_STANDARD.decode(value).context("a value is not base64")?;
            Ok(AnnotationChange { name: name.clone(), scope, value: Some(value.into()) })
        })
        .collect()
    }
}

impl MessageLine {
    /// The line of a row.
    pub fn of(
        row: &MessageRow,
        keywords: &KeywordTable,
        identities: Option<&Identities>,
        sha256: &[u8],
    ) -> Self {
        let name = |device: &Option<DeviceId>| device.as_ref().map(ToString::to_string);
        let system = Flags::SYSTEM.iter().filter(|(flag, _)| row.flags.contains(*flag));
        let named = row.flags.keyword_indexes().filter_map(|index| keywords.get(index));
        Self {
            uid: row.uid.get(),
            modseq: row.modseq.0,
            internal_date: row.internal_date,
            zone_minutes: row.zone_minutes,
            saved_at: row.saved_at,
            flags: system.map(|(_, name)| (*name).to_owned()).chain(named.map(ToString::to_string)).collect(),
            seen_by: identities.and_then(|of| name(&of.seen)),
            deleted_by: identities.and_then(|of| name(&of.deleted)),
            annotations: Vec::new(),
            body: row.body.to_string(),
            size: u64::from(row.size),
            sha256: hexadecimal(sha256),
        }
    }

    /// UID and MODSEQ.
    ///
    /// # Errors
    /// When they are none.
    pub fn numbers(&self) -> anyhow::Result<(Uid, ModSeq)> {
        Ok((Uid::new(self.uid).context("a UID is 0")?, ModSeq(self.modseq)))
    }

    /// The devices that read and deleted it.
    ///
    /// # Errors
    /// When one is no identity of a device.
    pub fn identities(&self) -> anyhow::Result<Identities> {
        let device =
            |name: &Option<String>| name.as_ref().map(|name| DeviceId::parse(name.as_bytes())).transpose();
        Ok(Identities { seen: device(&self.seen_by)?, deleted: device(&self.deleted_by)? })
    }

    /// What sets its annotations.
    ///
    /// # Errors
    /// When one is none.
    pub fn annotations(&self) -> anyhow::Result<Vec<AnnotationChange>> {
        let each = self.annotations.iter().map(AnnotationLine::changes);
        Ok(each.collect::<anyhow::Result<Vec<_>>>()?.into_iter().flatten().collect())
    }

    /// System flags and keywords.
    ///
    /// # Errors
    /// When one is neither.
    pub fn flags(&self) -> anyhow::Result<(Flags, Vec<Keyword>)> {
        let (mut flags, mut keywords) = (Flags::default(), Vec::new());
        for name in &self.flags {
            match Flags::system(name) {
                Some(flag) => flags = flags.union(flag),
                None => keywords.push(Keyword::parse(name)?),
            }
        }
        Ok((flags, keywords))
    }
}

/// Octets as hexadecimal digits.
pub(super) fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().fold(String::with_capacity(octets.len() * 2), |mut text, octet| {
        text.push(char::from_digit(u32::from(octet >> 4), 16).unwrap_or('0'));
        text.push(char::from_digit(u32::from(octet & 15), 16).unwrap_or('0'));
        text
    })
}
