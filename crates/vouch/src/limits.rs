//! Bounds of asking others who a client is.

use std::time::Duration;

/// Octets of a token. Clients that send more are refused; those of most servers have one to two thousand.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Octets of a key set. Its server sees that it is not taken; a key has 200 to 3000, with its certificates.
pub const KEY_SET_BYTES_MAX: usize = 256 * 1024;

/// Keys of a set: each may be tried for one token. Servers have two or three.
pub const KEYS_MAX: usize = 32;

/// Longest time for one look at a key set; a client that waits for it sees it.
pub const KEYS_WAIT_MAX: Duration = Duration::from_secs(5);

/// Between two looks at a key set, whatever asks for one: tokens of unknown keys, which anybody can make, cost its server
/// no more than this.
pub const KEYS_PAUSE_MIN: Duration = Duration::from_secs(10);

/// How long keys are used while nobody can tell whether they still hold.
pub const KEYS_AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
