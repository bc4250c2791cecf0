//! Every bound of the system, with its unit, its reason and who sees it.
//!
//! The engine's own limits stand in `kv::limits`; relations between both are asserted where both are seen.

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

// --- names and identities ------------------------------------------------------------------------------------

/// Network functions provisioned at a front end. The operator sees it when the list is read; it bounds metrics, which are
/// labelled by their names.
pub const NETWORK_FUNCTIONS_MAX: usize = 1_000;

/// Octets of a network function's name. The operator sees it when the list is read.
pub const NETWORK_FUNCTION_NAME_BYTES_MAX: usize = 64;

/// Longest CPM address, bytes of its text. Seen by who creates an account or logs in.
pub const ADDRESS_BYTES_MAX: usize = 255;
/// Longest identity of a device, bytes of its text. Seen by the device that names itself.
pub const DEVICE_ID_BYTES_MAX: usize = 255;
/// Most accounts of one subscriber, so that what accompanies every call stays small. Seen by who links them.
pub const ACCOUNTS_PER_SUBSCRIBER_MAX: usize = 16;
/// Longest folder name, bytes of UTF-8 over all levels; keeps keys far below the engine's limit.
pub const FOLDER_NAME_BYTES_MAX: usize = 1_000;
/// Most levels of a folder name.
pub const FOLDER_DEPTH_MAX: usize = 32;
/// Most folders of an account; beyond it CREATE answers `NO [LIMIT]`. Bounds LIST and the folder tree in memory.
pub const FOLDERS_PER_ACCOUNT_MAX: usize = 20_000;
/// Mailboxes that one DELETE removes where it takes those below along; `NO [LIMIT]` beyond, and nothing is deleted. One
/// transaction clears and notes each of them.
pub const DELETE_FOLDERS_MAX: usize = 4_000;
/// Most entries of a folder's access control list. Seen as `NO [LIMIT]`. Bounds the tree of an account's folders.
pub const ACL_ENTRIES_MAX: usize = 64;
/// Octets of the access control lists of an account's folders together, 48 of each entry beside its address. Seen as
/// `NO [LIMIT]`. Bounds the tree in memory, and what a RENAME of many folders writes.
pub const ACL_BYTES_PER_ACCOUNT_MAX: usize = 1 << 20;
/// Most accounts whose sharing with one account is noted, to be listed; further ones are reached by name alone.
pub const SHARERS_MAX: usize = 256;
/// Longest keyword, bytes.
pub const KEYWORD_BYTES_MAX: usize = 128;
/// Most keywords in use in one folder: what fits beside the system flags in 64 bits. Beyond it STORE and APPEND
/// answer `NO [LIMIT]`, and PERMANENTFLAGS loses `\*`.
pub const KEYWORDS_PER_FOLDER_MAX: usize = 56;
/// Longest name of a metadata entry, bytes. Seen as `BAD`.
pub const ENTRY_NAME_BYTES_MAX: usize = 255;
/// Largest value of a metadata entry, octets. Beyond it SETMETADATA answers `NO [METADATA MAXSIZE n]` (RFC 5464 §4.3).
pub const ENTRY_VALUE_BYTES_MAX: usize = 32 * 1024;
/// Octets of all entries of one scope of a folder, names included: they stand in one value of the engine. Seen as
/// `NO [METADATA TOOMANY]`.
pub const ENTRIES_BYTES_MAX: usize = 64 * 1024;
/// Most entries of one scope of a folder. Seen as `NO [METADATA TOOMANY]`.
pub const ENTRIES_PER_FOLDER_MAX: usize = 200;
/// Largest value of an annotation of a message, octets. Announced with SELECT as `[ANNOTATIONS n]`, seen as
/// `NO [ANNOTATE TOOBIG]` (RFC 5257 §4.1, which asks for 1 024 at least).
pub const ANNOTATION_VALUE_BYTES_MAX: usize = 6 * 1024;
/// Most annotations that all see of one message, and most that one account has for itself of it. Seen as
/// `NO [ANNOTATE TOOMANY]`.
pub const ANNOTATIONS_PER_MESSAGE_MAX: usize = 64;
/// Octets of those, names included: they stand in one value of the engine. Seen as `NO [ANNOTATE TOOMANY]`.
pub const ANNOTATIONS_BYTES_MAX: usize = 64 * 1024;
/// Most accounts beside the owner that may have annotations for themselves of one message: they count towards the
/// owner's quota. Seen as `NO [ANNOTATE TOOMANY]`.
pub const ANNOTATORS_PER_MESSAGE_MAX: usize = 16;
/// Most changes of annotations in one STORE, or with one message of an APPEND. Seen as `BAD`.
pub const ANNOTATION_CHANGES_MAX: usize = 2 * ANNOTATIONS_PER_MESSAGE_MAX;
/// Most patterns of entries in one FETCH of annotations. Seen as `BAD`.
pub const ANNOTATION_PATTERNS_MAX: usize = 64;
/// Octets of those that have wildcards, together: each of them is held against each octet of a message's names. Seen as
/// `BAD`.
pub const ANNOTATION_PATTERNS_BYTES_MAX: usize = 2 * 1024;
/// Longest password, bytes; bounds the work of a password check.
pub const PASSWORD_BYTES_MAX: usize = 1_024;

// --- messages --------------------------------------------------------------------------------------------------

/// Largest message, octets. Advertised as APPENDLIMIT (RFC 7889).
pub const APPEND_BYTES_MAX: u64 = 128 * MIB;
/// Octets of a body stored under one key.
pub const BODY_CHUNK_BYTES: usize = 32 * 1024;
/// Bodies up to this size are written in the transaction that makes their message visible; larger ones are
/// staged ahead.
pub const BODY_INLINE_BYTES_MAX: usize = 256 * 1024;
/// How long a staged body may wait to become a message, seconds; then it is swept.
pub const STAGED_SECONDS_MAX: u64 = 3_600;
/// Most messages of one folder.
pub const MESSAGES_PER_FOLDER_MAX: u64 = 10_000_000;
/// Most messages in one MULTIAPPEND, REPLACE or CATENATE command.
pub const MULTIAPPEND_MESSAGES_MAX: usize = 2_000;
/// Most messages that one transaction changes; longer commands are paged.
pub const TRANSACTION_MESSAGES_MAX: usize = 20_000;
/// UIDs of a block of message rows under one key: row of UID u stands in block u / this.
pub const BLOCK_UIDS: u32 = 128;

// --- requests --------------------------------------------------------------------------------------------------

/// Most messages asked for in one request for message facts.
pub const INFOS_PER_REQUEST_MAX: usize = 1_000;
/// Most folders whose metadata is asked for in one request; with their bounds it stays below what one answer may be.
pub const METADATA_PER_REQUEST_MAX: usize = 64;
/// Folders that one request searches. A front end asks again for more.
pub const SEARCH_FOLDERS_MAX: usize = 256;
/// Messages that a request to search several folders looks through, unless the first folder alone has more: with these
/// even an answer that names every second message stays far below what a message of the storage tier may have.
pub const SEARCH_MANY_MESSAGES_MAX: u64 = 100_000;
/// Most folders that a device's checkpoint names; the largest record stays below what a value may be. Of others the
/// device is told again than it need be.
pub const CHECKPOINT_FOLDERS_MAX: usize = 4_096;
/// Changes of folders without a MODSEQ that an account remembers: of each folder the last of its name, kind or rights, also
/// its removal, and the last of its metadata. A client whose token is older than the oldest is told of the whole account.
/// Bounds what such a change writes.
pub const CHANGES_REMEMBERED_MAX: usize = 1_024;
/// Devices of an account with a checkpoint; the one that was away longest makes room for a new one.
pub const CHECKPOINTS_PER_ACCOUNT_MAX: usize = 32;
/// Longest text of a SEARCH string, bytes.
pub const SEARCH_TEXT_BYTES_MAX: usize = 1_024;
/// Deepest nesting of a SEARCH program.
pub const SEARCH_DEPTH_MAX: usize = 32;
/// Most keys of a SEARCH program.
pub const SEARCH_KEYS_MAX: usize = 256;
/// Longest URL of a message with authorization, octets; every octet of the longest folder name may be encoded. Seen as
/// a URL that names nothing.
pub const REFERENCE_BYTES_MAX: usize = 8 * 1024;
/// Octets a piece of a streamed body holds at most.
pub const BODY_PIECE_BYTES: usize = 64 * 1024;

// --- IMAP commands ---------------------------------------------------------------------------------------------

/// Longest line of an IMAP command, octets, literals not counted. RFC 7162 §4 asks for 8 192 and sets of UIDs grow
/// longer; seen by clients as `BAD`. Bounds a connection's input buffer together with the next two.
pub const IMAP_LINE_BYTES_MAX: usize = 64 * 1024;
/// Largest literal in an IMAP command that is not message data, octets. Seen as `BAD`.
pub const IMAP_LITERAL_BYTES_MAX: usize = 64 * 1024;
/// Largest IMAP command with its literals, octets, message data not counted. Seen as `BAD`.
pub const IMAP_COMMAND_BYTES_MAX: usize = 256 * 1024;
/// Octets of a refused IMAP command that are read and thrown away before the client is disconnected: a refused
/// message of a size that would be taken, and what stands around it.
pub const IMAP_DISCARD_BYTES_MAX: u64 = APPEND_BYTES_MAX + MIB;
/// Longest line of a SASL exchange, octets of base64; tokens of OAuth and SCRAM are far below. RFC 9051 §6.2.2
/// leaves the bound to the mechanisms.
pub const IMAP_AUTH_LINE_BYTES_MAX: usize = 16 * 1024;
/// Deepest nesting of lists in an IMAP command; the grammar needs 4.
pub const IMAP_LIST_DEPTH_MAX: usize = 16;
/// Most parts of one set of sequence numbers or UIDs. Seen as `BAD`; a line cannot hold many more.
pub const IMAP_SET_PARTS_MAX: usize = 16_384;
/// Most elements of any other list in an IMAP command: flags, data items, header names, patterns, CATENATE parts.
pub const IMAP_LIST_ITEMS_MAX: usize = 1_024;

/// Devices that an operator may make known of an account; a notice names them all.
pub const DEVICES_PER_ACCOUNT_MAX: usize = 64;
/// Octets of the address at which the PUSH enabler reaches a device.
pub const PUSH_ADDRESS_BYTES_MAX: usize = 255;
const _: () = assert!(
    IMAP_LINE_BYTES_MAX <= IMAP_COMMAND_BYTES_MAX && IMAP_LITERAL_BYTES_MAX <= IMAP_COMMAND_BYTES_MAX
);
const _: () = assert!(IMAP_AUTH_LINE_BYTES_MAX <= IMAP_LINE_BYTES_MAX);
const _: () = assert!(KEYWORDS_PER_FOLDER_MAX + 8 <= 64);
// RFC 5257 §4.1: ten annotations of the largest size, whatever their names.
const _: () = assert!(
    ANNOTATIONS_PER_MESSAGE_MAX >= 10
        && 10 * (ENTRY_NAME_BYTES_MAX + ANNOTATION_VALUE_BYTES_MAX + 8) <= ANNOTATIONS_BYTES_MAX
);
const _: () = assert!(ENTRY_NAME_BYTES_MAX <= ANNOTATION_PATTERNS_BYTES_MAX);
const _: () = assert!(BODY_CHUNK_BYTES <= BODY_PIECE_BYTES);
const _: () = assert!(BODY_CHUNK_BYTES < BODY_INLINE_BYTES_MAX);
const _: () = assert!(APPEND_BYTES_MAX < u32::MAX as u64);
const _: () = assert!(BLOCK_UIDS.is_power_of_two());
const _: () = assert!(3 * FOLDER_NAME_BYTES_MAX + 6 * ADDRESS_BYTES_MAX + 1_024 < REFERENCE_BYTES_MAX);
