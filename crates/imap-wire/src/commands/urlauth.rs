//! `GENURLAUTH`, `RESETKEY`, `URLFETCH`.
//!
//! ```abnf
//! genurlauth      = "GENURLAUTH" 1*(SP url-rump SP mechanism)
//! resetkey        = "RESETKEY" [SP mailbox *(SP mechanism)]
//! urlfetch        = "URLFETCH" 1*(SP url-fetch-arg)
//! url-fetch-arg   = url-full / "(" url-full *(SP url-fetch-param) ")"
//! url-fetch-param = "BODY" / "BINARY" / "BODYPARTSTRUCTURE"
//! url-rump        = astring
//! url-full        = astring
//! mechanism       = atom
//! ```
//!
//! Source: RFC 4467 §9, RFC 5524 §4.

use bytes::Bytes;

use crate::command::Command;
use crate::cursor::Cursor;
use crate::error::{Fail, Parse, ParseErrorKind};
use crate::mailbox::MailboxArg;
use crate::string::IString;

/// Arguments of `GENURLAUTH`: URLs to sign, each with the name of its mechanism.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GenUrlAuth(pub Vec<(IString, Bytes)>);

/// Arguments of `RESETKEY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResetKey {
    /// Of which mailbox; none for all.
    pub mailbox: Option<MailboxArg>,
    /// Names of mechanisms; empty for all.
    pub mechanisms: Vec<Bytes>,
}

/// A URL of `URLFETCH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlFetch {
    /// The URL.
    pub url: IString,
    /// What of it; empty for the octets without further words.
    pub items: Vec<UrlFetchItem>,
}

/// What `URLFETCH` tells of a part. Source: RFC 5524 §3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlFetchItem {
    /// `BODYPARTSTRUCTURE`: its MIME structure.
    BodyPartStructure,
    /// `BODY`: its octets.
    Body,
    /// `BINARY`: its octets, decoded.
    Binary,
}

pub(crate) fn genurlauth(c: &mut Cursor<'_>) -> Parse<Command> {
    let mut pairs = Vec::new();
    repeated(c, "a URL and the name of a mechanism", |c| {
        let url = c.astring("a URL")?;
        c.space("the name of the URL's mechanism")?;
        pairs.push((url, c.atom("the name of the URL's mechanism")?));
        Ok(())
    })?;
    Ok(Command::GenUrlAuth(GenUrlAuth(pairs)))
}

pub(crate) fn resetkey(c: &mut Cursor<'_>) -> Parse<Command> {
    let (mut mailbox, mut mechanisms) = (None, Vec::new());
    if !c.at_end() {
        c.space("a mailbox name")?;
        mailbox = Some(c.mailbox()?);
    }
    if !c.at_end() {
        repeated(c, "the name of a mechanism", |c| {
            mechanisms.push(c.atom("the name of a mechanism")?);
            Ok(())
        })?;
    }
    Ok(Command::ResetKey(ResetKey { mailbox, mechanisms }))
}

pub(crate) fn urlfetch(c: &mut Cursor<'_>) -> Parse<Command> {
    let mut urls = Vec::new();
    repeated(c, "a URL", |c| {
        let mut items = Vec::new();
        if !c.eat(b'(') {
            urls.push(UrlFetch { url: c.astring("a URL")?, items });
            return Ok(());
        }
        let url = c.astring("a URL")?;
        while !c.eat(b')') {
            c.space("BODY, BINARY or BODYPARTSTRUCTURE")?;
            let item = match c.word("BODY, BINARY or BODYPARTSTRUCTURE")?.to_ascii_uppercase().as_slice() {
                b"BODYPARTSTRUCTURE" => UrlFetchItem::BodyPartStructure,
                b"BODY" => UrlFetchItem::Body,
                b"BINARY" => UrlFetchItem::Binary,
                _ => return Err(Fail::syntax("a URL is fetched by BODY, BINARY and BODYPARTSTRUCTURE")),
            };
            let octets = |item: &UrlFetchItem| *item != UrlFetchItem::BodyPartStructure;
            if items.contains(&item) || octets(&item) && items.iter().any(octets) {
                return Err(Fail::syntax("a URL's octets are fetched once, by BODY or BINARY"));
            }
            items.push(item);
        }
        urls.push(UrlFetch { url, items });
        Ok(())
    })?;
    Ok(Command::UrlFetch(urls))
}

/// `1*(SP item)` up to the command's end.
fn repeated(
    c: &mut Cursor<'_>,
    what: &'static str,
    mut item: impl FnMut(&mut Cursor<'_>) -> Parse<()>,
) -> Parse<()> {
    let mut items = 0;
    loop {
        c.space(what)?;
        items += 1;
        if items > c.limits.list_items_max {
            let text = format!("a command may have at most {} of them here", c.limits.list_items_max);
            return Err(Fail::new(ParseErrorKind::TooMany, text));
        }
        item(c)?;
        if c.at_end() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, refuse};

    const URL: &str = "imap://joe@example.com/INBOX/;uid=20/;section=1.2;urlauth=submit+fred";

    #[test]
    fn to_sign() {
        let pair = |mechanism: &'static str| (IString::from(URL), Bytes::from_static(mechanism.as_bytes()));
        check(
            &format!("GENURLAUTH \"{URL}\" INTERNAL"),
            Command::GenUrlAuth(GenUrlAuth(vec![pair("INTERNAL")])),
        );
        check(
            &format!("genurlauth {URL} internal {{{}+}}\r\n{URL} X-A", URL.len()),
            Command::GenUrlAuth(GenUrlAuth(vec![pair("internal"), pair("X-A")])),
        );
        refuse("GENURLAUTH", "a URL");
        refuse("GENURLAUTH x", "mechanism");
        refuse("GENURLAUTH x INTERNAL ", "URL");
        refuse("GENURLAUTH x INTERNAL y", "mechanism");
        refuse("GENURLAUTH x \"INTERNAL\"", "mechanism");
    }

    #[test]
    fn keys() {
        let reset = |mailbox: Option<&'static str>, mechanisms: &[&'static str]| {
            let mechanisms = mechanisms.iter().map(|name| Bytes::from_static(name.as_bytes())).collect();
            let mailbox = mailbox.map(|name| MailboxArg::new(name.into()));
            Command::ResetKey(ResetKey { mailbox, mechanisms })
        };
        check("RESETKEY", reset(None, &[]));
        check("resetkey \"a b\"", reset(Some("a b"), &[]));
        check("RESETKEY INBOX INTERNAL X", reset(Some("INBOX"), &["INTERNAL", "X"]));
        refuse("RESETKEY ", "mailbox");
        refuse("RESETKEY INBOX ", "mechanism");
        refuse("RESETKEY INBOX (INTERNAL)", "mechanism");
    }

    #[test]
    fn to_fetch() {
        use UrlFetchItem::{Binary, Body, BodyPartStructure};
        let url =
            |url: &'static str, items: &[UrlFetchItem]| UrlFetch { url: url.into(), items: items.to_vec() };
        check("URLFETCH a \"b\"", Command::UrlFetch(vec![url("a", &[]), url("b", &[])]));
        check(
            "urlfetch (a) (\"b\" bodypartstructure Binary) c (d BODY)",
            Command::UrlFetch(vec![
                url("a", &[]),
                url("b", &[BodyPartStructure, Binary]),
                url("c", &[]),
                url("d", &[Body]),
            ]),
        );
        refuse("URLFETCH", "a URL");
        refuse("URLFETCH ()", "a URL");
        refuse("URLFETCH (a TEXT)", "BODYPARTSTRUCTURE");
        refuse("URLFETCH (a BODY BINARY)", "once");
        refuse("URLFETCH (a BODY BODY)", "once");
        refuse("URLFETCH (a BODY", "ends");
    }
}
