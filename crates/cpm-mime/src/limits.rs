//! What bounds the work and the memory that one message may cost.
//!
//! A message is hostile input: it may nest, repeat and grow as its sender likes. Past a bound nothing fails; the
//! index says less (a part is opaque, a list is cut), while every octet range that it does give stays exact.

/// Bounds of one index. All are inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Parts in the tree, counting multiparts and nested messages. Later ones are not indexed.
    pub parts_max: usize,
    /// Levels of the tree. A multipart or message below the last is an opaque leaf.
    pub depth_max: usize,
    /// Octets of one header block that are read; later fields are in the ranges, but not in the answers.
    pub header_bytes_max: usize,
    /// Octets of one rendered ENVELOPE; address lists are cut to fit.
    pub envelope_bytes_max: usize,
    /// Octets of BODYSTRUCTURE and part table, nested envelopes included. Once they are taken, no more parts are
    /// indexed; the last one may pass it by [`STRUCTURE_PART_BYTES_MAX`] and a quarter of an envelope.
    pub structure_bytes_max: usize,
}

/// Longest boundary that is honoured, octets. RFC 2046 §5.1.1 allows 70; some senders write more.
pub const BOUNDARY_BYTES_MAX: usize = 200;
/// Longest single string (parameter value, description, content id …) in a BODYSTRUCTURE, octets; cut beyond.
pub const STRUCTURE_STRING_BYTES_MAX: usize = 1024;
/// Longest type, subtype, encoding, parameter name or language, octets; cut beyond. RFC 6838 §4.2 allows 127.
pub const NAME_BYTES_MAX: usize = 127;
/// Longest share of one part in a BODYSTRUCTURE, octets. Beyond, its descriptive fields are left out.
pub const STRUCTURE_PART_BYTES_MAX: usize = 8 * 1024;
/// Parameters of one Content-Type or Content-Disposition; later ones are dropped.
pub const PARAMETERS_MAX: usize = 32;
/// Longest value of a header fact (CPM ids, message ids, display names), octets. A longer id is left out, because a
/// shortened id is another id; longer text is cut.
pub const FACT_BYTES_MAX: usize = 512;
/// Octets of all References kept for THREAD. The first and the newest are kept.
pub const REFERENCES_BYTES_MAX: usize = 2048;
/// Levels of elements of a disposition notification (RFC 5438 §11 needs 4); deeper ones are none.
pub const IMDN_DEPTH_MAX: usize = 16;
/// Characters of a PREVIEW. RFC 8970 §3.2 demands at most 256.
pub const PREVIEW_CHARS_MAX: usize = 256;
/// Raw octets of a plain text part that are kept for its PREVIEW.
pub const PREVIEW_TEXT_BYTES: usize = 2 * 1024;
/// Raw octets of an HTML or CPIM part that are kept for its PREVIEW: these open with much that is not text.
pub const PREVIEW_MARKUP_BYTES: usize = 8 * 1024;

impl Default for Limits {
    /// An index within these encodes to less than 90 kB, so that it is one value of the store.
    fn default() -> Self {
        Self {
            parts_max: 1000,
            depth_max: 50,
            header_bytes_max: 128 * 1024,
            envelope_bytes_max: 16 * 1024,
            structure_bytes_max: 48 * 1024,
        }
    }
}
