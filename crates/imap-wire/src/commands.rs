//! The table of commands, and the way from a command's text to its value.

use bytes::Bytes;

use crate::command::{Command, Tagged};
use crate::cursor::Cursor;
use crate::error::{Fail, Parse, ParseError, ParseErrorKind};
use crate::limits::Limits;
use crate::string::Tag;

pub mod acl;
pub mod annotation;
pub mod append;
pub mod authenticate;
pub mod cancel_update;
pub mod changes;
pub mod convert;
pub mod create;
pub mod enable;
pub mod esearch;
pub mod fetch;
pub mod id;
pub mod list;
pub mod login;
pub mod lsub;
pub mod metadata;
pub mod notify;
pub mod quota;
pub mod rename;
pub mod search;
pub mod select;
pub mod selecta;
pub mod simple;
pub mod sort;
pub mod status;
pub mod store;
pub mod thread;
pub mod transfer;
pub mod urlauth;

/// Reads a command's arguments, from just behind its name to its end.
type Parser = fn(&mut Cursor<'_>) -> Parse<Command>;

/// Every command but those whose message data is streamed (APPEND, REPLACE): its name in upper case, its source,
/// its parser. To add one, write its file under `commands/`, its variant in [`Command`], and its row here.
#[rustfmt::skip]
const TABLE: &[(&[u8], &str, Parser)] = &[
    // The first rows are the commands of busy sessions; the search is linear and compares lengths first.
    (b"FETCH",           "RFC 9051 §6.4.5",  fetch::parse),
    (b"STORE",           "RFC 9051 §6.4.6",  store::parse),
    (b"NOOP",            "RFC 9051 §6.1.2",  simple::noop),
    (b"IDLE",            "RFC 9051 §6.3.13", simple::idle),
    (b"SELECT",          "RFC 9051 §6.3.2",  select::select),
    (b"STATUS",          "RFC 9051 §6.3.11", status::parse),
    (b"SEARCH",          "RFC 9051 §6.4.4",  search::parse),
    (b"ESEARCH",         "RFC 7377 §2",      esearch::parse),
    (b"COPY",            "RFC 9051 §6.4.7",  transfer::copy),
    (b"MOVE",            "RFC 9051 §6.4.8",  transfer::r#move),
    (b"EXPUNGE",         "RFC 9051 §6.4.3",  simple::expunge),
    (b"CAPABILITY",      "RFC 9051 §6.1.1",  simple::capability),
    (b"LOGOUT",          "RFC 9051 §6.1.3",  simple::logout),
    (b"ID",              "RFC 2971 §3.1",    id::parse),
    (b"STARTTLS",        "RFC 9051 §6.2.1",  simple::starttls),
    (b"AUTHENTICATE",    "RFC 9051 §6.2.2",  authenticate::parse),
    (b"LOGIN",           "RFC 9051 §6.2.3",  login::parse),
    (b"UNAUTHENTICATE",  "RFC 8437 §2",      simple::unauthenticate),
    (b"COMPRESS",        "RFC 4978 §3",      simple::compress),
    (b"ENABLE",          "RFC 9051 §6.3.1",  enable::parse),
    (b"EXAMINE",         "RFC 9051 §6.3.3",  select::examine),
    (b"CREATE",          "RFC 9051 §6.3.4",  create::parse),
    (b"DELETE",          "RFC 9051 §6.3.5",  simple::delete),
    (b"RENAME",          "RFC 9051 §6.3.6",  rename::parse),
    (b"SUBSCRIBE",       "RFC 9051 §6.3.7",  simple::subscribe),
    (b"UNSUBSCRIBE",     "RFC 9051 §6.3.8",  simple::unsubscribe),
    (b"LIST",            "RFC 9051 §6.3.9",  list::parse),
    (b"LSUB",            "RFC 3501 §6.3.9",  lsub::parse),
    (b"NAMESPACE",       "RFC 9051 §6.3.10", simple::namespace),
    (b"GETQUOTA",        "RFC 9208 §4.1.1",  quota::get_quota),
    (b"GETQUOTAROOT",    "RFC 9208 §4.1.2",  quota::get_quota_root),
    (b"SETQUOTA",        "RFC 9208 §4.1.3",  quota::set_quota),
    (b"GETMETADATA",     "RFC 5464 §4.2",    metadata::get),
    (b"SETMETADATA",     "RFC 5464 §4.3",    metadata::set),
    (b"NOTIFY",          "RFC 5465 §3.1",    notify::parse),
    (b"GENURLAUTH",      "RFC 4467 §7",      urlauth::genurlauth),
    (b"RESETKEY",        "RFC 4467 §7",      urlauth::resetkey),
    (b"URLFETCH",        "RFC 4467 §7; RFC 5524", urlauth::urlfetch),
    (b"SETACL",          "RFC 4314 §3.1",    acl::set),
    (b"DELETEACL",       "RFC 4314 §3.2",    acl::delete),
    (b"GETACL",          "RFC 4314 §3.3",    acl::get),
    (b"LISTRIGHTS",      "RFC 4314 §3.4",    acl::list_rights),
    (b"MYRIGHTS",        "RFC 4314 §3.5",    acl::my_rights),
    (b"CANCELUPDATE",    "RFC 5267 §4.3.5",  cancel_update::parse),
    (b"CONVERT",         "RFC 5259 §6",      convert::parse),
    (b"CONVERSIONS",     "RFC 5259 §5.1",    convert::conversions),
    (b"CHECK",           "RFC 3501 §6.4.1",  simple::check),
    (b"CLOSE",           "RFC 9051 §6.4.1",  simple::close),
    (b"UNSELECT",        "RFC 9051 §6.4.2",  simple::unselect),
    (b"SORT",            "RFC 5256 §3",      sort::parse),
    (b"THREAD",          "RFC 5256 §3",      thread::parse),
    (b"SELECTA",         "OMA-TS-CPM_MessageStorage §6.2.1.2", selecta::parse),
    (b"LISTA",           "OMA-TS-CPM_MessageStorage §6.2.1.2", simple::lista),
    (b"XCPMCHANGES",     "XCPM-CHANGES",     changes::parse),
];

/// The commands that `UID` goes before.
#[rustfmt::skip]
const UID_TABLE: &[(&[u8], &str, Parser)] = &[
    (b"FETCH",   "RFC 9051 §6.4.9", fetch::parse_uid),
    (b"STORE",   "RFC 9051 §6.4.9", store::parse_uid),
    (b"SEARCH",  "RFC 9051 §6.4.9", search::parse_uid),
    (b"COPY",    "RFC 9051 §6.4.9", transfer::uid_copy),
    (b"MOVE",    "RFC 9051 §6.4.9", transfer::uid_move),
    (b"EXPUNGE", "RFC 9051 §6.4.9", simple::uid_expunge),
    (b"SORT",    "RFC 5256 §3",     sort::parse_uid),
    (b"CONVERT", "RFC 5259 §6",     convert::parse_uid),
    (b"THREAD",  "RFC 5256 §3",     thread::parse_uid),
];

/// Reads one whole command: its text without the last line end, with its literals in place. APPEND and REPLACE
/// are not read here but by the [reader](crate::reader), which streams their messages.
///
/// # Errors
/// What is wrong, with the tag if there is one.
pub fn parse_command(text: &Bytes, limits: &Limits) -> Result<Tagged, ParseError> {
    let mut cursor = Cursor::new(text, limits);
    let tag = tag(&mut cursor).map_err(|fail| fail.with_tag(None))?;
    match body(&mut cursor) {
        Ok(body) => Ok(Tagged { tag, body }),
        Err(fail) => Err(fail.with_tag(Some(tag))),
    }
}

/// Reads a command's text up to a literal's announcement, of which the octets are not here yet.
pub(crate) fn check_prefix(text: &Bytes, limits: &Limits) -> Parse<()> {
    let mut cursor = Cursor::new(text, limits);
    tag(&mut cursor)?;
    match body(&mut cursor) {
        Err(fail) if fail.is_incomplete() => Ok(()),
        Err(fail) => Err(fail),
        // The grammar takes a literal's announcement for nothing else.
        Ok(_) => Err(Fail::syntax("a literal stands where the command takes none")),
    }
}

/// `tag SP`, before a command's name.
pub(crate) fn tag(cursor: &mut Cursor<'_>) -> Parse<Tag> {
    let fail = |message| Err(Fail::new(ParseErrorKind::Tag, message));
    match cursor.tag() {
        _ if cursor.at_end() && cursor.position() == 0 => fail("an empty line is no command"),
        None => fail("a command begins with a tag, of letters and digits for example"),
        Some(tag) if cursor.eat(b' ') => Ok(tag),
        Some(_) if cursor.at_end() => fail("a command is a tag, a space and a name"),
        Some(_) => fail("a tag has a character that tags may not have"),
    }
}

#[inline]
fn body(cursor: &mut Cursor<'_>) -> Parse<Command> {
    let name = cursor.word("a command name after the tag and one space")?;
    let (table, name) = if name.eq_ignore_ascii_case(b"UID") {
        cursor.space("the name of a command that takes UIDs")?;
        (UID_TABLE, cursor.word("the name of a command that takes UIDs")?)
    } else {
        (TABLE, name)
    };
    let row = table.iter().find(|(row, ..)| row.len() == name.len() && row.eq_ignore_ascii_case(name));
    let Some((_, _, parser)) = row else {
        return Err(Fail::new(ParseErrorKind::UnknownCommand, "this command is not known"));
    };
    let command = parser(cursor)?;
    cursor.end()?;
    Ok(command)
}

/// The commands that the reader streams.
const STREAMED: &[(&str, &str)] = &[
    ("APPEND", "RFC 9051 §6.3.12; RFC 3502; RFC 4469"),
    ("REPLACE", "RFC 8508 §3"),
    ("UID REPLACE", "RFC 8508 §3"),
];

/// Every command's name in upper case, with its source: `UID` forms and the streamed commands included.
pub fn names() -> impl Iterator<Item = (String, &'static str)> {
    let name = |prefix: &str, name: &[u8]| format!("{prefix}{}", String::from_utf8_lossy(name));
    let plain = TABLE.iter().map(move |row| (name("", row.0), row.1));
    let uid = UID_TABLE.iter().map(move |row| (name("UID ", row.0), row.1));
    plain.chain(uid).chain(STREAMED.iter().map(|row| (row.0.to_owned(), row.1)))
}
