//! Who may do what with a mailbox (RFC 4314), and how much an account may hold (RFC 9208).

use bytes::BufMut;
use model::Rights;

use crate::encode;
use crate::mailbox::MailboxEncoding;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::check_written as check;

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
