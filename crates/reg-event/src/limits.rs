//! Bounds of listening to the SIP/IP core.

use std::time::Duration;

/// Addresses whose registration is listened to at a time, by one front end. About 2 kB each; for others a login is told
/// that it cannot be known.
pub const SUBSCRIPTIONS_MAX: usize = 200_000;

/// How long after the last question an address is still listened to. Phones log in anew once a day at least; departures
/// are heard of this long.
pub const KEPT: Duration = Duration::from_secs(24 * 3_600);

/// Octets of a reginfo document. SIP messages have 65 535 at most.
pub const DOCUMENT_BYTES_MAX: usize = 64 * 1024;

/// Deepest nesting of a reginfo document; its schema needs 4.
pub const DOCUMENT_DEPTH_MAX: usize = 16;

/// Registrations of a document, and of what is known of an address: more than an implicit registration set has.
pub const REGISTRATIONS_MAX: usize = 64;

/// Contacts of one registration: devices of a subscriber.
pub const CONTACTS_MAX: usize = 64;

/// Longest id, address or URI in a document, octets.
pub const TEXT_BYTES_MAX: usize = 1_024;

/// Longest wait for the answer to a SUBSCRIBE: Timer F of RFC 3261 §17.1.2.2.
pub const ANSWER_WAIT: Duration = Duration::from_secs(32);

/// Longest wait for the first NOTIFY: Timer N of RFC 6665 §4.1.2.4.
pub const NOTIFY_WAIT: Duration = Duration::from_secs(32);

/// Shortest and longest pause before a subscription that was lost is tried again; it doubles between them.
pub const PAUSE_MIN: Duration = Duration::from_secs(1);
/// See [`PAUSE_MIN`].
pub const PAUSE_MAX: Duration = Duration::from_secs(300);

/// Requests of the core that are answered at a time.
pub const ANSWERS_AT_ONCE_MAX: usize = 256;

/// Things to do that wait for one subscription; when they are so many, one of them is what a further one would be.
pub const NUDGES_WAITING_MAX: usize = 8;
