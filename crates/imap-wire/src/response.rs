//! Responses, each appended to the output whole: line end included, nothing allocated.
//!
//! Data that may be long (message parts) is not here: [`fetch::FetchWriter`] announces it and the caller lets it follow.

use bytes::BufMut;
use model::UidSet;

use crate::codes::Code;
use crate::encode;
use crate::string::Tag;

pub mod converted;
pub mod fetch;
mod mailboxes;
mod results;
mod rules;
pub mod thread;

pub use mailboxes::*;
pub use results::*;
pub use rules::*;

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

/// `* LISTA (attributes) address`: an account that SELECTA may name.
pub fn lista<B: BufMut>(out: &mut B, attributes: &[&str], address: &str) {
    start(out, "LISTA ");
    encode::name_list(out, attributes);
    out.put_u8(b' ');
    encode::astring(out, address.as_bytes(), false);
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
    use super::*;
    use crate::testing::{check_written as check, tag};

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
    }

    #[test]
    fn accounts() {
        check(|out| lista(out, &["\\Active", "\\Primary"], "tel:+1"), "* LISTA (\\Active \\Primary) tel:+1");
        check(|out| lista(out, &[], "sip:(a)@x.example"), "* LISTA () \"sip:(a)@x.example\"");
    }
}
