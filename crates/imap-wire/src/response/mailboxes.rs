//! What is told of mailboxes: their names, counters and metadata.

use bytes::BufMut;
use model::EntryName;

use super::start;
use crate::command::StatusItem;
use crate::encode;
use crate::mailbox::MailboxEncoding;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::check_written as check;

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
    fn namespaces() {
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
}
