//! URLs of message parts, as CATENATE takes them.
//!
//! ```abnf
//! url       = ["/" enc-mailbox [";UIDVALIDITY=" nz-number]] ["/"] ";UID=" nz-number
//!             [["/"] ";SECTION=" enc-section] [["/"] ";PARTIAL=" number ["." nz-number]]
//! ```
//!
//! Source: RFC 5092 §7 (relative URLs; `/` before each parameter), RFC 2192 §5 (none before `;SECTION`), RFC 4469 §3.
//! URLs with a server in them are not taken: they could name another account.

use bytes::Bytes;
use imap_wire::command::{Command, FetchItem, Partial, Section, SectionText};
use imap_wire::{Limits, parse_command};
use model::{MailboxName, Uid};

use super::super::fetch::What;

/// A part of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MessageUrl {
    /// None for the selected folder.
    pub mailbox: Option<MailboxName>,
    pub uid_validity: Option<u32>,
    pub uid: Uid,
    pub part: Vec<u32>,
    text: Option<SectionText>,
    pub partial: Option<Partial>,
}

impl MessageUrl {
    /// Which octets of the part.
    pub fn what(&self) -> What<'_> {
        What::of(self.text.as_ref())
    }
}

/// Reads a URL; none if it is not of a form that is taken.
pub(super) fn parse(url: &[u8]) -> Option<MessageUrl> {
    let url = std::str::from_utf8(url).ok()?;
    // `;` is encoded where it does not begin a parameter.
    let mut pieces = url.split(';');
    let path = pieces.next()?;
    let path = path.trim_end_matches('/');
    let mailbox = match path.strip_prefix('/') {
        Some(name) => Some(MailboxName::parse(&decode(name)?).ok()?),
        None if path.is_empty() => None,
        None => return None,
    };
    let (mut uid_validity, mut uid, mut section, mut partial) = (None, None, None, None);
    for piece in pieces {
        let (name, value) = piece.split_once('=')?;
        let value = value.trim_end_matches('/');
        let number = || value.parse::<u32>().ok().filter(|n| *n > 0);
        match name.to_ascii_uppercase().as_str() {
            "UIDVALIDITY" if uid_validity.is_none() && mailbox.is_some() && uid.is_none() => {
                uid_validity = Some(number()?);
            }
            "UID" if uid.is_none() => uid = Some(Uid::new(number()?)?),
            "SECTION" if uid.is_some() && section.is_none() => {
                section = Some(parse_section(&decode(value)?)?);
            }
            "PARTIAL" if uid.is_some() && partial.is_none() => partial = Some(parse_partial(value)?),
            _ => return None,
        }
    }
    let section = section.unwrap_or_default();
    Some(MessageUrl {
        mailbox,
        uid_validity,
        uid: uid?,
        part: section.part.iter().map(|n| n.get()).collect(),
        text: section.text,
        partial,
    })
}

/// `%xx` decoded, which must give UTF-8 without controls.
fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        if b != b'%' {
            out.push(b);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        out.push((digit()? * 16 + digit()?) as u8);
    }
    let text = String::from_utf8(out).ok()?;
    (!text.chars().any(char::is_control)).then_some(text)
}

/// A section is what stands in the brackets of a FETCH's BODY: the same parser reads it.
fn parse_section(text: &str) -> Option<Section> {
    let line = Bytes::from(format!("a FETCH 1 BODY[{text}]"));
    let Command::Fetch(fetch) = parse_command(&line, &Limits::default()).ok()?.body else { return None };
    match <[FetchItem; 1]>::try_from(fetch.items).ok()? {
        [FetchItem::BodySection { section, partial: None, .. }] => Some(section),
        _ => None,
    }
}

fn parse_partial(text: &str) -> Option<Partial> {
    let (offset, length) = match text.split_once('.') {
        Some((offset, length)) => (offset, length.parse().ok().filter(|n| *n > 0)?),
        None => (text, u64::MAX),
    };
    Some(Partial { offset: offset.parse().ok()?, length })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let check = |url: &str,
                     mailbox: Option<&str>,
                     validity,
                     uid,
                     part: &[u32],
                     text,
                     partial: Option<(u64, u64)>| {
            let parsed = parse(url.as_bytes()).unwrap_or_else(|| panic!("{url}"));
            let expected = MessageUrl {
                mailbox: mailbox.map(|name| MailboxName::parse(name).expect("a name")),
                uid_validity: validity,
                uid: Uid::new(uid).expect("positive"),
                part: part.to_vec(),
                text,
                partial: partial.map(|(offset, length)| Partial { offset, length }),
            };
            assert_eq!(parsed, expected, "{url}");
        };
        check(
            "/INBOX;UIDVALIDITY=785799047/;UID=113330/;section=1.5.9",
            Some("INBOX"),
            Some(785_799_047),
            113_330,
            &[1, 5, 9],
            None,
            None,
        );
        check(
            "/Drafts;UIDVALIDITY=385759045/;UID=20/;section=HEADER",
            Some("Drafts"),
            Some(385_759_045),
            20,
            &[],
            Some(SectionText::Header),
            None,
        );
        check(";UID=4", None, None, 4, &[], None, None);
        check("/;UID=4;SECTION=2.mime", None, None, 4, &[2], Some(SectionText::Mime), None);
        check("/a%2Fb/%C3%A9/;uid=9/;partial=10.20", Some("a/b/\u{e9}"), None, 9, &[], None, Some((10, 20)));
        check(
            "/x/;UID=9/;SECTION=TEXT/;PARTIAL=7",
            Some("x"),
            None,
            9,
            &[],
            Some(SectionText::Text),
            Some((7, u64::MAX)),
        );
    }

    #[test]
    fn what_is_not_taken() {
        for url in [
            "",
            "/INBOX",
            "imap://host/INBOX/;UID=1",
            "//host/INBOX/;UID=1",
            "INBOX/;UID=1",
            ";UID=0",
            ";UID=x",
            ";UID=1;UID=2",
            ";UIDVALIDITY=4/;UID=1",
            "/a%0/;UID=1",
            "/a%ff/;UID=1",
            "/a%0d/;UID=1",
            ";UID=1;SECTION=1.FOO",
            ";UID=1;SECTION=1] BODY[2",
            ";UID=1;PARTIAL=1.0",
            ";UID=1;EXPIRE=2005",
        ] {
            assert_eq!(parse(url.as_bytes()), None, "{url}");
        }
    }
}
