//! Bounds of a router.

use std::time::Duration;

/// Most times one call is asked, over all nodes. A call that waits for a node to come back uses few of them.
pub(crate) const TRIES_MAX: u32 = 64;
/// First and longest pause between two rounds over all nodes.
pub(crate) const ROUND_PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));
/// First and longest time that a node which failed is passed over.
pub(crate) const CIRCUIT_OPEN: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(2));
/// How long the one call that tries such a node has it to itself.
pub(crate) const PROBE: Duration = Duration::from_millis(500);
/// First and longest pause before a lost stream is opened again.
pub(crate) const STREAM_PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// Longest wait for a node to confirm that it listens to an account.
pub(crate) const CONFIRM_WAIT: Duration = Duration::from_secs(10);
/// How often accounts that nobody listens to any more are given back.
pub(crate) const TIDY_EVERY: Duration = Duration::from_secs(30);
/// Octets of a staged body that are kept until it is certain that its node takes it.
pub(crate) const STAGED_KEPT_BYTES_MAX: usize = 2 << 20;
/// Times that the reading of one body moves to another node.
pub(crate) const BODY_MOVES_MAX: u32 = 8;
