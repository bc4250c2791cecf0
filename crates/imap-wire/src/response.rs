//! Responses, each appended to the output whole: line end included, nothing allocated.
//!
//! Data that may be long (message parts) is not here: [`fetch::FetchWriter`] announces it and the caller lets it follow.

use bytes::BufMut;
use model::{EntryName, Rights, UidSet};

use crate::codes::Code;
use crate::command::{PartialRange, StatusItem};
use crate::encode;
use crate::mailbox::MailboxEncoding;
use crate::string::Tag;

pub mod converted;
pub mod fetch;
pub mod thread;

/// The kind of a status response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    /// `OK`
    Ok,
    /// `NO`
    No,
    /// `BAD`
    Bad,
    /// `BYE`, untagged only.
    Bye,
    /// `PREAUTH`, the greeting only.
    PreAuth,
}

impl Condition {
    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Condition::Ok => "OK",
            Condition::No => "NO",
            Condition::Bad => "BAD",
            Condition::Bye => "BYE",
            Condition::PreAuth => "PREAUTH",
        }
    }
}

/// `tag OK [CODE] text`: ends a command.
pub fn tagged<B: BufMut>(out: &mut B, tag: &Tag, condition: Condition, code: Option<&Code<'_>>, text: &str) {
    out.put_slice(tag.as_bytes());
    status_response(out, condition, code, text);
}

/// `* OK [CODE] text`
pub fn untagged<B: BufMut>(out: &mut B, condition: Condition, code: Option<&Code<'_>>, text: &str) {
    out.put_u8(b'*');
    status_response(out, condition, code, text);
}

fn status_response<B: BufMut>(out: &mut B, condition: Condition, code: Option<&Code<'_>>, text: &str) {
    out.put_u8(b' ');
    out.put_slice(condition.name().as_bytes());
    out.put_u8(b' ');
    if let Some(code) = code {
        out.put_u8(b'[');
        code.encode(out);
        out.put_slice(b"] ");
    }
    encode::text(out, text);
    out.put_slice(b"\r\n");
}

/// `+ text`: a continuation request; for SASL, `text` is the challenge in base64, which may be empty.
pub fn continuation<B: BufMut>(out: &mut B, text: &str) {
    out.put_slice(b"+ ");
    if !text.is_empty() {
        encode::text(out, text);
    }
    out.put_slice(b"\r\n");
}

/// `* CAPABILITY ...`
pub fn capability<B: BufMut>(out: &mut B, names: impl IntoIterator<Item = impl AsRef<[u8]>>) {
    words(out, "CAPABILITY", names);
}

/// `* ENABLED ...`
pub fn enabled<B: BufMut>(out: &mut B, names: impl IntoIterator<Item = impl AsRef<[u8]>>) {
    words(out, "ENABLED", names);
}

fn words<B: BufMut>(out: &mut B, name: &str, words: impl IntoIterator<Item = impl AsRef<[u8]>>) {
    start(out, name);
    for word in words {
        out.put_u8(b' ');
        out.put_slice(word.as_ref());
    }
    out.put_slice(b"\r\n");
}

fn start<B: BufMut>(out: &mut B, name: &str) {
    out.put_slice(b"* ");
    out.put_slice(name.as_bytes());
}

/// `* n EXISTS`
pub fn exists<B: BufMut>(out: &mut B, messages: u32) {
    numbered(out, messages, " EXISTS\r\n");
}

/// `* n RECENT` (RFC 3501)
pub fn recent<B: BufMut>(out: &mut B, messages: u32) {
    numbered(out, messages, " RECENT\r\n");
}

/// `* n EXPUNGE`
pub fn expunge<B: BufMut>(out: &mut B, sequence_number: u32) {
    numbered(out, sequence_number, " EXPUNGE\r\n");
}

fn numbered<B: BufMut>(out: &mut B, value: u32, name: &str) {
    out.put_slice(b"* ");
    encode::number(out, value);
    out.put_slice(name.as_bytes());
}

/// `* VANISHED uids`, or `* VANISHED (EARLIER) uids` for messages expunged before (RFC 7162 §3.2.10). Nothing
/// for an empty set.
pub fn vanished<B: BufMut>(out: &mut B, earlier: bool, uids: &UidSet) {
    if uids.is_empty() {
        return;
    }
    out.put_slice(if earlier { b"* VANISHED (EARLIER) " } else { b"* VANISHED " });
    encode::uid_set(out, uids);
    out.put_slice(b"\r\n");
}

/// `* FLAGS (...)`: the flags that messages of the mailbox may have.
pub fn flags<B: BufMut>(out: &mut B, names: impl IntoIterator<Item = impl AsRef<[u8]>>) {
    out.put_slice(b"* FLAGS ");
    encode::name_list(out, names);
    out.put_slice(b"\r\n");
}

/// One line of `LIST` or `LSUB`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListData<'a> {
    /// Attributes with their backslashes.
    pub attributes: &'a [&'a str],
    /// The hierarchy separator; nothing for a flat name.
    pub separator: Option<char>,
    /// The name in Unicode.
    pub name: &'a str,
    /// `OLDNAME`: the name that the client used, or the mailbox had before RENAME (RFC 9051 §6.3.9.7).
    pub old_name: Option<&'a str>,
    /// `CHILDINFO`: selection options that a child matches (RFC 5258 §3.5); empty for none.
    pub child_info: &'a [&'a str],
    /// `MAILBOXID` (RFC 8474 §4), in answers of XCPMCHANGES.
    pub mailbox_id: Option<&'a str>,
}

/// `* LIST (attributes) "/" name ...`
pub fn list<B: BufMut>(out: &mut B, data: &ListData<'_>, encoding: MailboxEncoding) {
    list_start(out, "LIST ", data, encoding);
    let mut opening = " (";
    let mut item = |out: &mut B, name: &str| {
        out.put_slice(std::mem::replace(&mut opening, " ").as_bytes());
        encode::quoted(out, name.as_bytes());
        out.put_slice(b" (");
    };
    if let Some(old_name) = data.old_name {
        item(out, "OLDNAME");
        encode::mailbox(out, old_name, encoding);
        out.put_u8(b')');
    }
    if !data.child_info.is_empty() {
        item(out, "CHILDINFO");
        for (i, option) in data.child_info.iter().enumerate() {
            out.put_slice(if i > 0 { b" " } else { b"" });
            encode::quoted(out, option.as_bytes());
        }
        out.put_u8(b')');
    }
    if let Some(id) = data.mailbox_id {
        item(out, "MAILBOXID");
        out.put_slice(id.as_bytes());
        out.put_u8(b')');
    }
    out.put_slice(if opening == " " { b")\r\n" } else { b"\r\n" });
}

/// `* LSUB (attributes) "/" name` (RFC 3501 §7.2.3); extended data is not sent.
pub fn lsub<B: BufMut>(out: &mut B, data: &ListData<'_>, encoding: MailboxEncoding) {
    list_start(out, "LSUB ", data, encoding);
    out.put_slice(b"\r\n");
}

/// `* LISTA (attributes) address`: an account that SELECTA may name.
pub fn lista<B: BufMut>(out: &mut B, attributes: &[&str], address: &str) {
    start(out, "LISTA ");
    encode::name_list(out, attributes);
    out.put_u8(b' ');
    encode::astring(out, address.as_bytes(), false);
    out.put_slice(b"\r\n");
}

/// `* XCPMCHANGES GONE (id ...)`: mailboxes that are no more, by MAILBOXID. At least one.
pub fn changed_gone<B: BufMut>(out: &mut B, ids: impl IntoIterator<Item = impl AsRef<[u8]>>) {
    start(out, "XCPMCHANGES GONE ");
    encode::name_list(out, ids);
    out.put_slice(b"\r\n");
}

/// `* XCPMCHANGES METADATA name`: its metadata changed; the empty name is the server.
pub fn changed_metadata<B: BufMut>(out: &mut B, name: &str, encoding: MailboxEncoding) {
    start(out, "XCPMCHANGES METADATA ");
    encode::mailbox(out, name, encoding);
    out.put_slice(b"\r\n");
}

/// `* XCPMCHANGES SUBSCRIPTIONS`: the names subscribed to changed.
pub fn changed_subscriptions<B: BufMut>(out: &mut B) {
    start(out, "XCPMCHANGES SUBSCRIPTIONS\r\n");
}

fn list_start<B: BufMut>(out: &mut B, name: &str, data: &ListData<'_>, encoding: MailboxEncoding) {
    start(out, name);
    encode::name_list(out, data.attributes);
    out.put_u8(b' ');
    separator(out, data.separator);
    out.put_u8(b' ');
    encode::mailbox(out, data.name, encoding);
}

fn separator<B: BufMut>(out: &mut B, separator: Option<char>) {
    match separator {
        Some(c) => encode::quoted(out, c.encode_utf8(&mut [0; 4]).as_bytes()),
        None => out.put_slice(b"NIL"),
    }
}

/// A value in a `STATUS` response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusValue<'a> {
    /// Most of them.
    Number(u64),
    /// `NIL`: no APPENDLIMIT.
    Nil,
    /// MAILBOXID, in parentheses.
    Id(&'a str),
}

/// `* STATUS name (ITEM value ...)`
pub fn status<'a, B: BufMut>(
    out: &mut B,
    name: &str,
    encoding: MailboxEncoding,
    values: impl IntoIterator<Item = (StatusItem, StatusValue<'a>)>,
) {
    out.put_slice(b"* STATUS ");
    encode::mailbox(out, name, encoding);
    out.put_slice(b" (");
    let mut first = true;
    for (item, value) in values {
        if !first {
            out.put_u8(b' ');
        }
        first = false;
        out.put_slice(item.name().as_bytes());
        out.put_u8(b' ');
        match value {
            StatusValue::Number(value) => encode::number(out, value),
            StatusValue::Nil => out.put_slice(b"NIL"),
            StatusValue::Id(id) => {
                out.put_u8(b'(');
                out.put_slice(id.as_bytes());
                out.put_u8(b')');
            }
        }
    }
    out.put_slice(b")\r\n");
}

/// `* METADATA name (entry value ...)` (RFC 5464 §4.4.1); the empty name is the server. An entry without a value is
/// told as `NIL`. At least one entry.
pub fn metadata<'a, B: BufMut>(
    out: &mut B,
    name: &str,
    encoding: MailboxEncoding,
    utf8: bool,
    entries: impl IntoIterator<Item = (&'a EntryName, Option<&'a [u8]>)>,
) {
    out.put_slice(b"* METADATA ");
    encode::mailbox(out, name, encoding);
    out.put_slice(b" (");
    for (i, (entry, value)) in entries.into_iter().enumerate() {
        out.put_slice(if i > 0 { b" " } else { b"" });
        encode::astring(out, entry.as_str().as_bytes(), false);
        out.put_u8(b' ');
        match value {
            Some(value) if memchr::memchr(0, value).is_some() => {
                encode::literal_header(out, value.len() as u64, true);
                out.put_slice(value);
            }
            value => encode::nstring(out, value, utf8),
        }
    }
    out.put_slice(b")\r\n");
}

/// `* METADATA name entry ...` (RFC 5464 §4.4.2): these entries changed. At least one.
pub fn metadata_changed<'a, B: BufMut>(
    out: &mut B,
    name: &str,
    encoding: MailboxEncoding,
    entries: impl IntoIterator<Item = &'a EntryName>,
) {
    out.put_slice(b"* METADATA ");
    encode::mailbox(out, name, encoding);
    for entry in entries {
        out.put_u8(b' ');
        encode::astring(out, entry.as_str().as_bytes(), false);
    }
    out.put_slice(b"\r\n");
}

/// `* GENURLAUTH url ...` (RFC 4467 §8), of one URL or more.
pub fn gen_url_auth<B: BufMut>(out: &mut B, urls: impl IntoIterator<Item = impl AsRef<[u8]>>) {
    out.put_slice(b"* GENURLAUTH");
    for url in urls {
        out.put_u8(b' ');
        encode::string(out, url.as_ref(), false);
    }
    out.put_slice(b"\r\n");
}

/// `* URLFETCH url` (RFC 4467 §8, RFC 5524 §3), behind which come a space and what the URL names, and the line's end.
pub fn url_fetch<B: BufMut>(out: &mut B, url: &[u8]) {
    out.put_slice(b"* URLFETCH ");
    encode::string(out, url, false);
}

/// `* ACL name (identifier rights)...` (RFC 4314 §3.6).
pub fn acl<'a, B: BufMut>(
    out: &mut B,
    name: &str,
    encoding: MailboxEncoding,
    entries: impl IntoIterator<Item = (&'a str, Rights)>,
) {
    out.put_slice(b"* ACL ");
    encode::mailbox(out, name, encoding);
    for (identifier, rights) in entries {
        out.put_u8(b' ');
        encode::astring(out, identifier.as_bytes(), false);
        out.put_u8(b' ');
        put_rights(out, rights);
    }
    out.put_slice(b"\r\n");
}

/// `* LISTRIGHTS name identifier required optional...` (RFC 4314 §3.7): each of `optional` can be given alone.
pub fn list_rights<B: BufMut>(
    out: &mut B,
    name: &str,
    encoding: MailboxEncoding,
    identifier: &str,
    required: Rights,
    optional: &[&str],
) {
    out.put_slice(b"* LISTRIGHTS ");
    encode::mailbox(out, name, encoding);
    out.put_u8(b' ');
    encode::astring(out, identifier.as_bytes(), false);
    out.put_u8(b' ');
    put_rights(out, required);
    for rights in optional {
        out.put_u8(b' ');
        out.put_slice(rights.as_bytes());
    }
    out.put_slice(b"\r\n");
}

/// `* MYRIGHTS name rights` (RFC 4314 §3.8).
pub fn my_rights<B: BufMut>(out: &mut B, name: &str, encoding: MailboxEncoding, rights: Rights) {
    out.put_slice(b"* MYRIGHTS ");
    encode::mailbox(out, name, encoding);
    out.put_u8(b' ');
    put_rights(out, rights);
    out.put_slice(b"\r\n");
}

/// Rights, with the `c` and `d` of RFC 2086 where any of the rights that they stand for is there, for clients that know no
/// others (RFC 4314 §2.1.1).
fn put_rights<B: BufMut>(out: &mut B, rights: Rights) {
    let mut text = rights.to_string();
    if rights.has_any(Rights::CREATE | Rights::DELETE_MAILBOX) {
        text.push('c');
    }
    if rights.has_any(Rights::DELETE_MAILBOX | Rights::DELETE_MESSAGE | Rights::EXPUNGE) {
        text.push('d');
    }
    encode::astring(out, text.as_bytes(), false);
}

/// `* SEARCH n ...`, with `(MODSEQ n)` where the search had a MODSEQ key and found something (RFC 7162 §3.1.5).
pub fn search<B: BufMut>(out: &mut B, numbers: impl IntoIterator<Item = u32>, mod_seq: Option<u64>) {
    numbers_line(out, "SEARCH", numbers, mod_seq);
}

/// `* SORT n ...` (RFC 5256 §4), with `(MODSEQ n)` as in [`search`].
pub fn sort<B: BufMut>(out: &mut B, numbers: impl IntoIterator<Item = u32>, mod_seq: Option<u64>) {
    numbers_line(out, "SORT", numbers, mod_seq);
}

fn numbers_line<B: BufMut>(
    out: &mut B,
    name: &str,
    numbers: impl IntoIterator<Item = u32>,
    mod_seq: Option<u64>,
) {
    start(out, name);
    for number in numbers {
        out.put_u8(b' ');
        encode::number(out, number);
    }
    if let Some(mod_seq) = mod_seq {
        out.put_slice(b" (MODSEQ ");
        encode::number(out, mod_seq);
        out.put_u8(b')');
    }
    out.put_slice(b"\r\n");
}

/// Results next to each other (RFC 5267 §4.3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The place of the first among all results, from 1; 0 where results are in the order of the mailbox.
    pub position: u32,
    /// The results as inclusive ranges, in the order of the results; at least one.
    pub ranges: Vec<(u32, u32)>,
}

/// The mailbox that an `ESEARCH` response is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Searched<'a> {
    /// Its name, in Unicode.
    pub name: &'a str,
    /// How the connection writes names.
    pub encoding: MailboxEncoding,
    /// Its UIDVALIDITY.
    pub uid_validity: u32,
}

/// What an `ESEARCH` response tells; what is absent is not told.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ESearch<'a> {
    /// `MAILBOX` and `UIDVALIDITY`: whose results they are, where a command searches several (RFC 7377 §2.1).
    pub mailbox: Option<Searched<'a>>,
    /// The numbers are UIDs.
    pub uid: bool,
    /// `MIN`
    pub min: Option<u32>,
    /// `MAX`
    pub max: Option<u32>,
    /// `ALL`: ranges in order; an empty result is not told (RFC 9051 §7.3.4). For SORT, not ascending
    /// (RFC 5267 §3.1).
    pub all: Option<&'a [(u32, u32)]>,
    /// `COUNT`
    pub count: Option<u32>,
    /// `PARTIAL`: what was asked, and that part of the result, `NIL` when empty (RFC 9394 §3.1).
    pub partial: Option<(PartialRange, &'a [(u32, u32)])>,
    /// `ADDTO`: what became a result (RFC 5267 §4.3.3), each put in its place when those before it are; not told when
    /// empty.
    pub add_to: &'a [Placed],
    /// `REMOVEFROM`: what is no result any more (RFC 5267 §4.3.4), each taken out when those before it are; not told
    /// when empty.
    pub remove_from: &'a [Placed],
    /// `MODSEQ` (RFC 7162 §3.1.10)
    pub mod_seq: Option<u64>,
}

/// `* ESEARCH (TAG "...") UID MIN n ...` (RFC 9051 §7.3.4), `* ESEARCH (TAG "..." MAILBOX name UIDVALIDITY n) ...`
/// (RFC 7377 §2.1)
pub fn esearch<B: BufMut>(out: &mut B, tag: &Tag, data: &ESearch<'_>) {
    out.put_slice(b"* ESEARCH (TAG ");
    encode::quoted(out, tag.as_bytes());
    if let Some(Searched { name, encoding, uid_validity }) = data.mailbox {
        out.put_slice(b" MAILBOX ");
        encode::mailbox(out, name, encoding);
        out.put_slice(b" UIDVALIDITY ");
        encode::number(out, uid_validity);
    }
    out.put_u8(b')');
    if data.uid {
        out.put_slice(b" UID");
    }
    let item = |out: &mut B, name: &str, value: Option<u64>| {
        if let Some(value) = value {
            out.put_slice(name.as_bytes());
            encode::number(out, value);
        }
    };
    item(out, " MIN ", data.min.map(u64::from));
    item(out, " MAX ", data.max.map(u64::from));
    if let Some(all) = data.all.filter(|all| !all.is_empty()) {
        out.put_slice(b" ALL ");
        encode::ranges(out, all.iter().copied());
    }
    item(out, " COUNT ", data.count.map(u64::from));
    if let Some((range, result)) = data.partial {
        let sign: &[u8] = if range.from_end { b"-" } else { b"" };
        out.put_slice(b" PARTIAL (");
        out.put_slice(sign);
        encode::number(out, range.first.get());
        out.put_u8(b':');
        out.put_slice(sign);
        encode::number(out, range.last.get());
        out.put_u8(b' ');
        if result.is_empty() {
            out.put_slice(b"NIL");
        } else {
            encode::ranges(out, result.iter().copied());
        }
        out.put_u8(b')');
    }
    for (name, placed) in [(" REMOVEFROM (", data.remove_from), (" ADDTO (", data.add_to)] {
        let mut before: &[u8] = name.as_bytes();
        for Placed { position, ranges } in placed {
            out.put_slice(std::mem::replace(&mut before, b" "));
            encode::number(out, *position);
            out.put_u8(b' ');
            encode::ranges(out, ranges.iter().copied());
        }
        if !placed.is_empty() {
            out.put_u8(b')');
        }
    }
    item(out, " MODSEQ ", data.mod_seq);
    out.put_slice(b"\r\n");
}

/// One resource in a `QUOTA` response; `STORAGE` in units of 1024 octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaResource<'a> {
    /// `STORAGE`, `MESSAGE`, ...
    pub name: &'a str,
    /// How much is used.
    pub usage: u64,
    /// How much may be used.
    pub limit: u64,
}

/// `* QUOTA root (NAME usage limit ...)` (RFC 9208 §4.2.1)
pub fn quota<'a, B: BufMut>(
    out: &mut B,
    root: &str,
    resources: impl IntoIterator<Item = QuotaResource<'a>>,
    utf8: bool,
) {
    out.put_slice(b"* QUOTA ");
    encode::astring(out, root.as_bytes(), utf8);
    out.put_slice(b" (");
    let mut first = true;
    for QuotaResource { name, usage, limit } in resources {
        if !first {
            out.put_u8(b' ');
        }
        first = false;
        out.put_slice(name.as_bytes());
        out.put_u8(b' ');
        encode::number(out, usage);
        out.put_u8(b' ');
        encode::number(out, limit);
    }
    out.put_slice(b")\r\n");
}

/// `* QUOTAROOT name root ...` (RFC 9208 §4.2.2)
pub fn quota_root<'a, B: BufMut>(
    out: &mut B,
    name: &str,
    encoding: MailboxEncoding,
    roots: impl IntoIterator<Item = &'a str>,
) {
    out.put_slice(b"* QUOTAROOT ");
    encode::mailbox(out, name, encoding);
    for root in roots {
        out.put_u8(b' ');
        encode::astring(out, root.as_bytes(), encoding == MailboxEncoding::Utf8);
    }
    out.put_slice(b"\r\n");
}

/// A namespace: its prefix and separator.
pub type Namespace<'a> = (&'a str, Option<char>);

/// `* NAMESPACE personal others shared` (RFC 9051 §7.3.2); an empty one is `NIL`.
pub fn namespace<B: BufMut>(
    out: &mut B,
    personal: &[Namespace<'_>],
    others: &[Namespace<'_>],
    shared: &[Namespace<'_>],
    encoding: MailboxEncoding,
) {
    out.put_slice(b"* NAMESPACE");
    for group in [personal, others, shared] {
        if group.is_empty() {
            out.put_slice(b" NIL");
            continue;
        }
        out.put_slice(b" (");
        for (prefix, hierarchy) in group {
            out.put_u8(b'(');
            match encoding {
                MailboxEncoding::Utf8 => encode::string(out, prefix.as_bytes(), true),
                MailboxEncoding::ModifiedUtf7 => {
                    encode::string(out, crate::utf7::encode(prefix).as_bytes(), false);
                }
            }
            out.put_u8(b' ');
            separator(out, *hierarchy);
            out.put_u8(b')');
        }
        out.put_u8(b')');
    }
    out.put_slice(b"\r\n");
}

/// `* ID ("name" "value" ...)` (RFC 2971 §3.2), `NIL` for nothing.
pub fn id<B: BufMut>(out: &mut B, fields: &[(&str, Option<&str>)], utf8: bool) {
    out.put_slice(b"* ID ");
    if fields.is_empty() {
        return out.put_slice(b"NIL\r\n");
    }
    for (i, (name, value)) in fields.iter().enumerate() {
        out.put_u8(if i == 0 { b'(' } else { b' ' });
        encode::string(out, name.as_bytes(), utf8);
        out.put_u8(b' ');
        encode::nstring(out, value.map(str::as_bytes), utf8);
    }
    out.put_slice(b")\r\n");
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    #[track_caller]
    fn check(write: impl FnOnce(&mut Vec<u8>), expected: &str) {
        let mut out = Vec::new();
        write(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), format!("{expected}\r\n"));
    }

    fn tag() -> Tag {
        Tag::new(b"A1").unwrap()
    }

    #[test]
    fn status_responses() {
        let code = Code::TryCreate;
        check(|out| tagged(out, &tag(), Condition::Ok, None, "NOOP completed"), "A1 OK NOOP completed");
        check(|out| tagged(out, &tag(), Condition::No, Some(&code), "no such"), "A1 NO [TRYCREATE] no such");
        check(|out| untagged(out, Condition::Bad, None, "what\r\nA1 OK"), "* BAD what??A1 OK");
        check(|out| untagged(out, Condition::Bye, Some(&Code::Unavailable), ""), "* BYE [UNAVAILABLE] done");
        check(|out| untagged(out, Condition::PreAuth, None, "hello"), "* PREAUTH hello");
        check(|out| continuation(out, "idling"), "+ idling");
        check(|out| continuation(out, ""), "+ ");
    }

    #[test]
    fn metadata_that_changed() {
        let (comment, other) =
            (EntryName::parse(b"/shared/comment").unwrap(), EntryName::parse(b"/private/a b").unwrap());
        check(
            |out| metadata_changed(out, "INBOX", MailboxEncoding::Utf8, [&comment, &other]),
            "* METADATA INBOX /shared/comment \"/private/a b\"",
        );
        check(
            |out| metadata_changed(out, "", MailboxEncoding::Utf8, [&comment]),
            "* METADATA \"\" /shared/comment",
        );
    }

    #[test]
    fn rights() {
        let text = |write: &dyn Fn(&mut Vec<u8>)| {
            let mut out = Vec::new();
            write(&mut out);
            String::from_utf8(out).expect("text")
        };
        let (all, some) = (Rights::ALL, Rights::LOOKUP | Rights::CREATE);
        let utf7 = MailboxEncoding::ModifiedUtf7;
        let entries = [("tel:+331", all), ("-a@b", some), ("anyone", Rights::NONE)];
        assert_eq!(
            text(&|out| acl(out, "é", utf7, entries)),
            "* ACL &AOk- tel:+331 lrswipkxteancd -a@b lkc anyone \"\"\r\n"
        );
        assert_eq!(
            text(&|out| list_rights(out, "a", utf7, "anyone", Rights::NONE, &["l", "r"])),
            "* LISTRIGHTS a anyone \"\" l r\r\n"
        );
        assert_eq!(text(&|out| my_rights(out, "a b", utf7, Rights::EXPUNGE)), "* MYRIGHTS \"a b\" ed\r\n");
    }

    #[test]
    fn metadata_entries() {
        let comment = EntryName::parse(b"/private/comment").unwrap();
        let other = EntryName::parse(b"/shared/a b").unwrap();
        let told = |out: &mut Vec<u8>, entries: &[(&EntryName, Option<&[u8]>)]| {
            metadata(out, "é", MailboxEncoding::ModifiedUtf7, false, entries.iter().copied());
        };
        check(|out| told(out, &[(&comment, Some(b"x"))]), "* METADATA &AOk- (/private/comment \"x\")");
        check(
            |out| told(out, &[(&comment, None), (&other, Some(b"a\0"))]),
            "* METADATA &AOk- (/private/comment NIL \"/shared/a b\" ~{2}\r\na\0)",
        );
    }

    #[test]
    fn sizes_and_numbers() {
        check(|out| exists(out, 23), "* 23 EXISTS");
        check(|out| recent(out, 0), "* 0 RECENT");
        check(|out| expunge(out, 44), "* 44 EXPUNGE");
        let uids = UidSet::from_ranges([(41, 41), (43, 116)]);
        check(|out| vanished(out, false, &uids), "* VANISHED 41,43:116");
        check(|out| vanished(out, true, &uids), "* VANISHED (EARLIER) 41,43:116");
        let mut out = Vec::new();
        vanished(&mut out, true, &UidSet::new());
        assert!(out.is_empty());
        check(|out| search(out, [2, 3, 6], None), "* SEARCH 2 3 6");
        check(|out| search(out, [], None), "* SEARCH");
        check(|out| search(out, [2, 5], Some(917162500)), "* SEARCH 2 5 (MODSEQ 917162500)");
        check(|out| sort(out, [5, 3, 4], None), "* SORT 5 3 4");
    }

    #[test]
    fn names() {
        check(|out| capability(out, ["IMAP4rev1", "IDLE"]), "* CAPABILITY IMAP4rev1 IDLE");
        check(|out| enabled(out, ["CONDSTORE"]), "* ENABLED CONDSTORE");
        check(|out| enabled(out, [] as [&str; 0]), "* ENABLED");
        check(|out| flags(out, ["\\Seen", "$x"]), "* FLAGS (\\Seen $x)");
        check(|out| id(out, &[], false), "* ID NIL");
        check(
            |out| id(out, &[("name", Some("a\"b")), ("os", None)], false),
            "* ID (\"name\" \"a\\\"b\" \"os\" NIL)",
        );
        let personal = [("", Some('/'))];
        check(
            |out| namespace(out, &personal, &[], &[], MailboxEncoding::Utf8),
            "* NAMESPACE ((\"\" \"/\")) NIL NIL",
        );
        let others = [("~", Some('/')), ("ü.", None)];
        check(
            |out| namespace(out, &personal, &others, &[], MailboxEncoding::ModifiedUtf7),
            "* NAMESPACE ((\"\" \"/\")) ((\"~\" \"/\")(\"&APw-.\" NIL)) NIL",
        );
    }

    #[test]
    fn mailboxes() {
        let data = ListData {
            attributes: &["\\HasChildren", "\\Subscribed"],
            separator: Some('/'),
            name: "a b",
            ..ListData::default()
        };
        let utf8 = MailboxEncoding::Utf8;
        check(|out| list(out, &data, utf8), "* LIST (\\HasChildren \\Subscribed) \"/\" \"a b\"");
        check(|out| lsub(out, &data, utf8), "* LSUB (\\HasChildren \\Subscribed) \"/\" \"a b\"");
        let flat = ListData { attributes: &[], separator: None, name: "INBOX", ..data };
        check(|out| list(out, &flat, utf8), "* LIST () NIL INBOX");
        let quoted = ListData { separator: Some('\\'), ..flat };
        check(|out| list(out, &quoted, utf8), "* LIST () \"\\\\\" INBOX");
        let extended = ListData { old_name: Some("old"), child_info: &["SUBSCRIBED"], ..flat };
        check(
            |out| list(out, &extended, utf8),
            "* LIST () NIL INBOX (\"OLDNAME\" (old) \"CHILDINFO\" (\"SUBSCRIBED\"))",
        );
        let with_id = ListData { mailbox_id: Some("f7"), ..flat };
        check(|out| list(out, &with_id, utf8), "* LIST () NIL INBOX (\"MAILBOXID\" (f7))");
        let child_info = ListData { child_info: &["SUBSCRIBED", "SPECIAL-USE"], ..flat };
        check(
            |out| list(out, &child_info, utf8),
            "* LIST () NIL INBOX (\"CHILDINFO\" (\"SUBSCRIBED\" \"SPECIAL-USE\"))",
        );
        let values = [
            (StatusItem::Messages, StatusValue::Number(231)),
            (StatusItem::AppendLimit, StatusValue::Nil),
            (StatusItem::MailboxId, StatusValue::Id("F2212ea87")),
        ];
        check(
            |out| status(out, "ü", MailboxEncoding::ModifiedUtf7, values),
            "* STATUS &APw- (MESSAGES 231 APPENDLIMIT NIL MAILBOXID (F2212ea87))",
        );
    }

    #[test]
    fn accounts() {
        check(|out| lista(out, &["\\Active", "\\Primary"], "tel:+1"), "* LISTA (\\Active \\Primary) tel:+1");
        check(|out| lista(out, &[], "sip:(a)@x.example"), "* LISTA () \"sip:(a)@x.example\"");
    }

    #[test]
    fn esearches() {
        let data = ESearch::default();
        check(|out| esearch(out, &tag(), &data), "* ESEARCH (TAG \"A1\")");
        let counted = ESearch { uid: true, count: Some(0), all: Some(&[]), ..data };
        check(|out| esearch(out, &tag(), &counted), "* ESEARCH (TAG \"A1\") UID COUNT 0");
        let placed = |position, ranges: &[(u32, u32)]| Placed { position, ranges: ranges.to_vec() };
        let changed = ESearch {
            uid: true,
            add_to: &[placed(1, &[(9, 9), (4, 5)]), placed(7, &[(2, 2)])],
            remove_from: &[placed(0, &[(2, 2)])],
            ..ESearch::default()
        };
        let expected = r#"* ESEARCH (TAG "A1") UID REMOVEFROM (0 2) ADDTO (1 9,4:5 7 2)"#;
        check(|out| esearch(out, &tag(), &changed), expected);
        let searched = |name, encoding| Some(Searched { name, encoding, uid_validity: 7 });
        let of_one = ESearch { uid: true, mailbox: searched("a b", MailboxEncoding::Utf8), ..data };
        check(|out| esearch(out, &tag(), &of_one), r#"* ESEARCH (TAG "A1" MAILBOX "a b" UIDVALIDITY 7) UID"#);
        let of_one = ESearch { mailbox: searched("ü", MailboxEncoding::ModifiedUtf7), ..data };
        check(|out| esearch(out, &tag(), &of_one), r#"* ESEARCH (TAG "A1" MAILBOX &APw- UIDVALIDITY 7)"#);
        let full = ESearch {
            mailbox: None,
            add_to: &[],
            remove_from: &[],
            uid: false,
            min: Some(2),
            max: Some(47),
            all: Some(&[(2, 2), (10, 15)]),
            count: Some(7),
            partial: None,
            mod_seq: Some(1236),
        };
        check(
            |out| esearch(out, &tag(), &full),
            "* ESEARCH (TAG \"A1\") MIN 2 MAX 47 ALL 2,10:15 COUNT 7 MODSEQ 1236",
        );
        let range = |from_end| PartialRange {
            first: NonZeroU32::new(1).unwrap(),
            last: NonZeroU32::new(100).unwrap(),
            from_end,
        };
        let partial = ESearch { partial: Some((range(true), &[(200, 250)][..])), ..data };
        check(|out| esearch(out, &tag(), &partial), "* ESEARCH (TAG \"A1\") PARTIAL (-1:-100 200:250)");
        let none = ESearch { partial: Some((range(false), &[][..])), ..data };
        check(|out| esearch(out, &tag(), &none), "* ESEARCH (TAG \"A1\") PARTIAL (1:100 NIL)");
    }

    #[test]
    fn quotas() {
        let resources = [
            QuotaResource { name: "STORAGE", usage: 10, limit: 512 },
            QuotaResource { name: "MESSAGE", usage: 1, limit: 9 },
        ];
        check(|out| quota(out, "", resources, false), "* QUOTA \"\" (STORAGE 10 512 MESSAGE 1 9)");
        check(|out| quota(out, "r", [], false), "* QUOTA r ()");
        check(|out| quota_root(out, "INBOX", MailboxEncoding::Utf8, [""]), "* QUOTAROOT INBOX \"\"");
        check(|out| quota_root(out, "x", MailboxEncoding::Utf8, []), "* QUOTAROOT x");
    }
}
