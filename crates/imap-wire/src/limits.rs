//! Bounds of the reader and the parser, as values: a connection may be given tighter ones before login.

use model::limits;

/// How much one client may make the reader hold or the parser do. Exceeding one is a `BAD` for that command;
/// the connection goes on unless [`Limits::discard_bytes_max`] is exceeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Octets of one line of a command, the pieces between literals, without its line end. RFC 7162 §4 asks for
    /// at least 8192.
    pub line_bytes_max: usize,
    /// Octets of one literal that is not message data (a mailbox name, a search string, a password).
    pub literal_bytes_max: usize,
    /// Octets of a whole command with all its literals, message data not counted.
    pub command_bytes_max: usize,
    /// Octets of a refused command that are read and thrown away to find the next command; a client that
    /// announces more is disconnected.
    pub discard_bytes_max: u64,
    /// Octets of one line of a SASL exchange, base64 as sent.
    pub auth_line_bytes_max: usize,
    /// Nesting of parentheses in lists.
    pub list_depth_max: usize,
    /// Comma-separated parts of a sequence set.
    pub set_parts_max: usize,
    /// Nesting of search keys (`NOT`, `OR`, parentheses).
    pub search_depth_max: usize,
    /// Search keys in one command, at all depths.
    pub search_keys_max: usize,
    /// Elements of any other list in a command: flags, fetch items, header names, patterns.
    pub list_items_max: usize,
    /// Whether non-synchronizing literals above 4096 octets are refused: true where `LITERAL-` is offered, false
    /// for `LITERAL+` (RFC 7888 §4, §5).
    pub literal_minus: bool,
}

impl Default for Limits {
    /// The figures of [`model::limits`], with `LITERAL+`.
    fn default() -> Self {
        Limits {
            line_bytes_max: limits::IMAP_LINE_BYTES_MAX,
            literal_bytes_max: limits::IMAP_LITERAL_BYTES_MAX,
            command_bytes_max: limits::IMAP_COMMAND_BYTES_MAX,
            discard_bytes_max: limits::IMAP_DISCARD_BYTES_MAX,
            auth_line_bytes_max: limits::IMAP_AUTH_LINE_BYTES_MAX,
            list_depth_max: limits::IMAP_LIST_DEPTH_MAX,
            set_parts_max: limits::IMAP_SET_PARTS_MAX,
            search_depth_max: limits::SEARCH_DEPTH_MAX,
            search_keys_max: limits::SEARCH_KEYS_MAX,
            list_items_max: limits::IMAP_LIST_ITEMS_MAX,
            literal_minus: false,
        }
    }
}
