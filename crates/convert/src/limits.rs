//! Bounds that are not settings: each with its unit, its reason, and who sees it.

use std::time::Duration;

/// Octets of one result. Clients see a refusal. Bounds what a front end holds beside its cache, with the workers.
pub const OUTPUT_BYTES_MAX: usize = 32 << 20;

/// Width and height that a picture may be asked in, pixels: screens have fewer. Clients see BADPARAMETERS.
pub const PIXELS_PER_SIDE_ASKED_MAX: u32 = 8_192;

/// Width and height of a picture that is read, pixels. Clients see a refusal.
pub const PIXELS_PER_SIDE_READ_MAX: u32 = 32_768;

/// Octets of what stands in place of characters that a charset lacks. Clients see BADPARAMETERS.
pub const REPLACEMENT_BYTES_MAX: usize = 32;

/// Octets of a charset's name. Those of charsets that are known have fewer.
pub const CHARSET_BYTES_MAX: usize = 64;

/// Octets of a header block whose encoded words are converted: more than a header has that is not made on purpose.
pub const HEADER_BYTES_MAX: u64 = 1 << 20;

/// Share of a worker's memory that a decoder may take for its own and the picture, the rest being for what is made of it.
pub const DECODER_MEMORY_SHARE: (u64, u64) = (3, 4);

/// Requests that wait for a worker, for each worker: beyond, they are told at once to come later.
pub const WAITING_PER_WORKER_MAX: usize = 64;

/// Conversions of one worker, after which another takes its place: what a decoder may leave behind does not add up.
pub const CONVERSIONS_PER_WORKER_MAX: u32 = 256;

/// How long a result or refusal is kept. A session needs the same answer for as long as it lasts (RFC 5259 §8.3), which a
/// conversion done anew gives, too; this bounds how long a refusal counts.
pub const CACHE_TIME: Duration = Duration::from_secs(3_600);

/// What an entry of the cache takes beside its octets, roughly.
pub const CACHE_ENTRY_BYTES: usize = 256;

/// Quality of JPEG, of 100: hardly seen on a phone's screen.
pub const JPEG_QUALITY: u8 = 80;

const _: () = assert!(OUTPUT_BYTES_MAX < u32::MAX as usize);
