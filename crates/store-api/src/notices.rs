//! What is kept for notices to the PUSH enabler, as the operator sees it.

use bytes::Bytes;
use model::{AccountId, CpmAddress, DeviceId, Partition};

/// Dead letters that one call returns, at most; each has up to 82 kB.
pub const LETTERS_PAGE_MAX: usize = 16;

/// A device of an account that the operator has made known. Where some are known, notices of the account go to each of
/// them but the one that made the change, and to nobody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushDevice {
    /// Its identity, as it gives it in ID.
    pub device: DeviceId,
    /// Where the PUSH enabler reaches it, up to [`model::limits::PUSH_ADDRESS_BYTES_MAX`] octets; empty for the
    /// account's address.
    pub push_address: String,
    /// When it was made known, seconds since 1970-01-01 UTC.
    pub added_at: i64,
}

/// Names a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LetterId {
    /// The partition of its account.
    pub partition: Partition,
    /// Ascends within the partition with the time of giving up.
    pub number: u64,
}

/// A notice that was given up, with all that it takes to send it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its name.
    pub id: LetterId,
    /// The account that it is about.
    pub account: AccountId,
    /// Its address; none when it was removed meanwhile.
    pub address: Option<CpmAddress>,
    /// When it was given up, milliseconds since 1970-01-01 UTC.
    pub given_up_at_millis: i64,
    /// How often it was sent.
    pub attempts: u32,
    /// What names the notice towards the enabler.
    pub push_id: String,
    /// Why it was given up.
    pub reason: String,
    /// Content-Type of the request.
    pub content_type: String,
    /// Other header fields of the request that go with the notice.
    pub headers: Vec<(String, String)>,
    /// The request; empty when it was too large to be kept.
    pub body: Bytes,
}
