//! Accounts as the operator provisions them and as login sees them.

use std::fmt;

use model::{AccountId, CpmAddress};

/// An account, with what login needs.
#[derive(Clone, Debug)]
pub struct Account {
    /// Its identity.
    pub id: AccountId,
    /// Its address.
    pub address: CpmAddress,
    /// Whether it may be used.
    pub state: AccountState,
    /// How its owner proves who they are.
    pub credentials: Credentials,
    /// Its quota.
    pub limits: QuotaLimits,
    /// Its class of service.
    pub service: ServiceClass,
    /// When it was created, seconds since 1970-01-01 UTC.
    pub created_at: i64,
    /// Addresses of the same subscriber's other accounts, as the operator linked them, ascending. Each of them names
    /// this one and the others.
    pub linked: Vec<CpmAddress>,
}

/// Whether an account may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountState {
    /// Login works.
    Active,
    /// Login is refused with `NO [AUTHORIZATIONFAILED]`; nothing is lost.
    Disabled,
}

/// What is kept of a password; never the password.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// No login by password.
    None,
    /// Keys of SCRAM-SHA-256, which also check PLAIN and LOGIN.
    Scram(ScramVerifier),
    /// An Argon2 hash in PHC string form; checks PLAIN and LOGIN only.
    Argon2(String),
}

/// The stored form of a SCRAM-SHA-256 password. Source: RFC 5802 §3, RFC 7677.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramVerifier {
    /// Rounds of PBKDF2, 4096 or more.
    pub iterations: u32,
    /// 16 random octets or more.
    pub salt: Vec<u8>,
    /// H(HMAC(SaltedPassword, "Client Key")).
    pub stored_key: [u8; 32],
    /// HMAC(SaltedPassword, "Server Key").
    pub server_key: [u8; 32],
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "Credentials::None",
            Self::Scram(_) => "Credentials::Scram(..)",
            Self::Argon2(_) => "Credentials::Argon2(..)",
        })
    }
}

impl fmt::Debug for ScramVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScramVerifier(..)")
    }
}

/// An account to create.
#[derive(Clone, Debug)]
pub struct NewAccount {
    /// Its address.
    pub address: CpmAddress,
    /// How its owner will prove who they are.
    pub credentials: Credentials,
    /// Its quota.
    pub limits: QuotaLimits,
    /// Its class of service.
    pub service: ServiceClass,
}

/// What an operator promises of an account beyond room: how strictly the rules of a CPM message store hold in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServiceClass {
    /// What is demanded of the objects that come below `Default`.
    pub objects: ObjectRule,
    /// What its subscriber may do with folders.
    pub folders: FolderRule,
    /// What becomes of the folders below one that is deleted.
    pub delete: DeleteRule,
}

/// What is demanded of the objects that come below `Default`, where the network records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ObjectRule {
    /// Anything is stored; what is wrong is counted.
    #[default]
    Lenient,
    /// Only objects without a fault ([`cpm_mime::object`]); others are answered `Cannot`, with what is wrong.
    Strict,
}

/// What a subscriber may do with folders. Network functions and the operator are bound by none of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FolderRule {
    /// What IMAP allows.
    #[default]
    Free,
    /// What RCC.09 leaves to the subscriber: own folders only below `RCSMessageStore`; below `Default`, where the network
    /// records, nothing is stored but SMS and MMS, no object is moved in or out by itself, and no folder is renamed but
    /// to below `RCSMessageStore`.
    Cpm,
}

/// What becomes of the folders below one that is deleted. It holds for everybody, network functions included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeleteRule {
    /// They stay, and so does the name above them (RFC 3501 §6.3.4).
    #[default]
    Rfc3501,
    /// Below `Default` and `RCSMessageStore` they go along with all they hold: a conversation with its sessions. Elsewhere as
    /// the other.
    Recursive,
}

impl ServiceClass {
    /// As one octet, stored and so never to mean something else: 1 for strict objects, 2 for folders by the rules, 4 for what is below going along.
    pub fn bits(self) -> u8 {
        u8::from(self.objects == ObjectRule::Strict)
            | u8::from(self.folders == FolderRule::Cpm) << 1
            | u8::from(self.delete == DeleteRule::Recursive) << 2
    }

    /// The reverse of [`Self::bits`]; none for other octets.
    pub fn from_bits(bits: u8) -> Option<Self> {
        let objects = if bits & 1 == 0 { ObjectRule::Lenient } else { ObjectRule::Strict };
        let folders = if bits & 2 == 0 { FolderRule::Free } else { FolderRule::Cpm };
        let delete = if bits & 4 == 0 { DeleteRule::Rfc3501 } else { DeleteRule::Recursive };
        (bits < 8).then_some(Self { objects, folders, delete })
    }
}

/// What an account may use; `None` for no limit. Source: RFC 9208 §5.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuotaLimits {
    /// Octets of all messages, each copy counted. RFC 9208 STORAGE is this in units of 1024.
    pub bytes: Option<u64>,
    /// Messages. RFC 9208 MESSAGE.
    pub messages: Option<u64>,
}

/// What an account uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuotaUsage {
    /// Octets of all messages, each copy counted.
    pub bytes: u64,
    /// Messages.
    pub messages: u64,
    /// Octets of messages with \Deleted. RFC 9208 DELETED-STORAGE is this.
    pub deleted_bytes: u64,
    /// Messages with \Deleted.
    pub deleted_messages: u64,
}

/// Use and limits together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// What is used.
    pub usage: QuotaUsage,
    /// What may be used.
    pub limits: QuotaLimits,
}
