//! Identifiers, one type each.

use std::fmt;
use std::num::NonZeroU32;

use crate::{CpmAddress, Partition};

macro_rules! id_u64 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:016x}", self.0)
            }
        }
    };
}

id_u64! {
    /// An account: the partition of its address in the upper 12 bits, a random number in the lower 52. Never
    /// reused, and not derived from the address, so that an address given again gets a new, empty account.
    AccountId
}
id_u64! {
    /// A folder of an account; unique within the account for ever, unchanged by RENAME. MAILBOXID (RFC 8474)
    /// is its hexadecimal form.
    MailboxId
}
id_u64! {
    /// The octets of a message, shared by all its copies within the account; never reused. EMAILID (RFC 8474)
    /// is its hexadecimal form.
    BodyId
}

impl AccountId {
    /// An id in the partition of `address`; `random` supplies the lower 52 bits.
    pub fn new(address: &CpmAddress, random: u64) -> Self {
        Self((u64::from(address.partition().0) << 52) | (random & ((1 << 52) - 1)))
    }

    /// The partition that the account belongs to.
    pub fn partition(self) -> Partition {
        Partition((self.0 >> 52) as u16)
    }
}

/// The position of a change in the history of a folder: 1 to 2^63 - 1. Source: RFC 7162 §3.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModSeq(pub u64);

impl ModSeq {
    /// The largest value that the protocol can carry.
    pub const MAX: Self = Self(i64::MAX as u64);

    /// The one after this.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for ModSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A message's number in its folder, 1 to 2^32 - 1, strictly ascending, never reused. Source: RFC 9051 §2.3.1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid(pub NonZeroU32);

impl Uid {
    /// The first UID of a folder.
    pub const MIN: Self = Self(NonZeroU32::MIN);
    /// The last UID a folder can give.
    pub const MAX: Self = Self(NonZeroU32::MAX);

    /// The UID `n`; none for 0.
    pub fn new(n: u32) -> Option<Self> {
        NonZeroU32::new(n).map(Self)
    }

    /// As a number.
    pub fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Changes whenever a folder's UIDs start anew, 1 to 2^32 - 1. Source: RFC 9051 §2.3.1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UidValidity(pub NonZeroU32);

impl UidValidity {
    /// The value `n`; none for 0.
    pub fn new(n: u32) -> Option<Self> {
        NonZeroU32::new(n).map(Self)
    }

    /// As a number.
    pub fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for UidValidity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
