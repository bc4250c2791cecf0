//! Bounds of asking.

use std::time::Duration;

/// Longest that a login waits for a provider, unless the operator says less. A phone gives a login 30 seconds or more;
/// this leaves most of it to the rest.
pub const BUDGET_MAX: Duration = Duration::from_secs(5);

/// Addresses whose set is remembered, most. About 200 bytes each; beyond it those not asked for longest are forgotten.
pub const REMEMBERED_MAX: u64 = 500_000;

/// Addresses that are asked for again behind a login's back at a time; further ones are asked at their next login.
pub const RETRIES_AT_ONCE_MAX: usize = 1_000;

/// Attempts behind a login's back for one address, and the pause before the first, which doubles: 31 seconds of pauses.
pub const RETRY_ATTEMPTS_MAX: u32 = 5;

/// See [`RETRY_ATTEMPTS_MAX`].
pub const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Departures that wait for a slow listener; it then misses the oldest and knows that it did.
pub const DEPARTURES_WAITING_MAX: usize = 1_024;
