//! Bounds of keys that both sides know.

use std::ops::RangeInclusive;
use std::time::Duration;

/// Keys of a file, about 300 bytes each. The operator sees that a file with more is refused.
pub const KEYS_MAX: usize = 1_000_000;

/// Octets of a file of keys.
pub const FILE_BYTES_MAX: u64 = 256 << 20;

/// Octets of an identity in a file: RFC 4279 §5.3 wants that 128 are taken, and OpenSSL takes no more in TLS 1.2.
pub const IDENTITY_BYTES_MAX: usize = 128;

/// Octets of a key: as strong as the suites at least, and as RFC 4279 §5.3 wants at most.
pub const KEY_BYTES: RangeInclusive<usize> = 16..=64;

/// Addresses of one identity.
pub const ADDRESSES_MAX: usize = 64;

/// Octets of an identity hint; OpenSSL's own bound is 128.
pub const HINT_BYTES_MAX: usize = 128;

/// Longest time for one question to a bootstrapping server function, connecting included; the client that waits sees it.
pub const BSF_WAIT_MAX: Duration = Duration::from_secs(3);

/// Octets of its answer: one with the settings of some dozens of services has a few thousand.
pub const BSF_ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Questions at once. Each holds a thread while it waits, so clients beyond fail their handshake and try again; anybody can
/// make up identities to ask for.
pub const BSF_ASKED_MAX: usize = 64;

/// Bootstrapped keys that are kept, about 500 bytes each.
pub const BOOTSTRAPPED_MAX: u64 = 50_000;

/// How long a bootstrapped key is used without asking again, if it does not end before: what the operator changed in a
/// subscriber's identities takes that long to be seen.
pub const BOOTSTRAPPED_AGE_MAX: Duration = Duration::from_secs(600);

/// Identities that nobody has which are kept, about 200 bytes each.
pub const NOBODY_MAX: u64 = 10_000;

/// How long an identity that nobody has is not asked for again.
pub const NOBODY_AGE_MAX: Duration = Duration::from_secs(10);
