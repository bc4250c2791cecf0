//! URLs of messages and parts of messages, with and without authorization, both directions.
//!
//! ```abnf
//! url           = relative / authorized
//! relative      = ["/" enc-mailbox [uidvalidity]] part
//! authorized    = "imap://" enc-user [";AUTH=" auth] "@" host [":" port] "/" enc-mailbox [uidvalidity] part
//!                 [";EXPIRE=" date-time] ";URLAUTH=" access [":" mechanism ":" token]
//! uidvalidity   = ";UIDVALIDITY=" nz-number
//! part          = ["/"] ";UID=" nz-number [["/"] ";SECTION=" enc-section]
//!                 [["/"] ";PARTIAL=" number ["." nz-number]]
//! access        = "submit+" enc-user / "user+" enc-user / "authuser" / "anonymous"
//! mechanism     = 1*(ALPHA / DIGIT / "-" / ".")
//! token         = 32*HEXDIG
//! ```
//!
//! What stands before the mechanism is the rump, which a server signs; it is kept as the octets it came in.
//!
//! Source: RFC 5092 §11 (`/` before each parameter), RFC 2192 §5 (none before `;SECTION`), RFC 4467 §9, RFC 4469 §3. A URL
//! with a server in it is taken only with authorization: without, it could name another account.

use std::fmt;
use std::num::NonZeroU32;

use bytes::Bytes;
use model::limits::REFERENCE_BYTES_MAX;

use crate::command::{Command, FetchItem, Partial, Section};
use crate::date::Date;
use crate::limits::Limits;
use crate::parse_command;
use crate::response::fetch::section_name;

/// Longest section of a URL, octets once decoded; bounds the names of `HEADER.FIELDS`.
const SECTION_BYTES_MAX: usize = 1024;
/// Octets of a token: RFC 4467 §9 asks for 16 or more.
const TOKEN_BYTES: std::ops::RangeInclusive<usize> = 16..=128;

/// A message or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageUrl {
    /// The mailbox's name; none for the selected one.
    pub mailbox: Option<String>,
    /// The UIDVALIDITY that the mailbox must have.
    pub uid_validity: Option<NonZeroU32>,
    /// The message.
    pub uid: NonZeroU32,
    /// The part; empty for the whole message.
    pub section: Section,
    /// Which octets of it.
    pub partial: Option<Partial>,
}

/// A message or a part of one on a named server, with who may read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizedUrl {
    /// Whose mailbox it is.
    pub user: String,
    /// The server, with its port if one was given.
    pub host: String,
    /// What is named; the mailbox is always there.
    pub message: MessageUrl,
    /// Until when, seconds since 1970-01-01 UTC.
    pub expires: Option<i64>,
    /// Who may read it.
    pub access: Access,
    /// What proves that the owner says so; none where it has yet to be made.
    pub verifier: Option<Verifier>,
    /// The octets before the mechanism.
    pub rump: Bytes,
}

/// Who may read what an authorized URL names. Source: RFC 4467 §3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    Anonymous,
    /// Everybody who is logged in.
    AuthUser,
    /// This user.
    User(String),
    /// Who may submit messages for this user.
    Submit(String),
}

/// A mechanism and its token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verifier {
    /// The mechanism as written.
    pub mechanism: String,
    /// The token.
    pub token: Bytes,
}

impl MessageUrl {
    /// Reads a URL without a server; none if it is not of a form that is taken.
    pub fn parse(url: &[u8]) -> Option<Self> {
        let (message, rest) = message(text_of(url)?, true)?;
        rest.is_empty().then_some(message)
    }
}

impl AuthorizedUrl {
    /// Reads a URL with authorization, whether it has its token yet or not; none if it is none.
    pub fn parse(url: &[u8]) -> Option<Self> {
        let text = text_of(url)?;
        const SCHEME: &str = "imap://";
        let rest = text.get(SCHEME.len()..).filter(|_| text[..SCHEME.len()].eq_ignore_ascii_case(SCHEME))?;
        let (server, _) = rest.split_once('/')?;
        let (user, host) = server.split_once('@')?;
        // How the client would have to log in says nothing of who may read.
        let user = match user.split_once(';') {
            None => user,
            Some((user, auth)) => {
                auth.get(..5).filter(|name| name.eq_ignore_ascii_case("AUTH="))?;
                user
            }
        };
        let host_is_one =
            !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]_".contains(&b));
        if !host_is_one {
            return None;
        }
        let (message, rest) = message(&rest[server.len()..], false)?;
        let (mut expires, mut authorization) = (None, None);
        for piece in rest {
            let (name, value) = piece.split_once('=')?;
            if name.eq_ignore_ascii_case("EXPIRE") && expires.is_none() && authorization.is_none() {
                expires = Some(rfc3339(value)?);
            } else if name.eq_ignore_ascii_case("URLAUTH") && authorization.is_none() {
                authorization = Some(value);
            } else {
                return None;
            }
        }
        let (access, verifier) = match authorization?.split_once(':') {
            None => (authorization?, None),
            Some((access, verifier)) => (access, Some(verifier)),
        };
        let rump_len = text.len() - verifier.map_or(0, |verifier| verifier.len() + 1);
        Some(Self {
            user: user_of(user)?,
            host: host.to_owned(),
            message,
            expires,
            access: access_of(access)?,
            verifier: match verifier {
                None => None,
                Some(verifier) => Some(verifier_of(verifier)?),
            },
            rump: Bytes::copy_from_slice(&url[..rump_len]),
        })
    }
}

fn text_of(url: &[u8]) -> Option<&str> {
    if url.len() > REFERENCE_BYTES_MAX || !url.iter().all(u8::is_ascii_graphic) {
        return None;
    }
    std::str::from_utf8(url).ok()
}

/// Reads mailbox, UID, section and partial, and gives back the parameters that follow.
fn message(text: &str, relative: bool) -> Option<(MessageUrl, Vec<&str>)> {
    // `;` is encoded where it does not begin a parameter.
    let mut pieces = text.split(';').peekable();
    let path = pieces.next()?.trim_end_matches('/');
    let mailbox = match path.strip_prefix('/') {
        Some(name) => Some(decode(name)?),
        None if path.is_empty() && relative => None,
        None => return None,
    };
    let (mut uid_validity, mut uid, mut section, mut partial) = (None, None, None, None);
    while let Some(piece) = pieces.peek() {
        let (name, value) = piece.split_once('=')?;
        let value = value.trim_end_matches('/');
        let number =
            || value.parse::<NonZeroU32>().ok().filter(|_| value.bytes().all(|b| b.is_ascii_digit()));
        match name.to_ascii_uppercase().as_str() {
            "UIDVALIDITY" if uid_validity.is_none() && mailbox.is_some() && uid.is_none() => {
                uid_validity = Some(number()?);
            }
            "UID" if uid.is_none() => uid = Some(number()?),
            "SECTION" if uid.is_some() && section.is_none() => section = Some(section_of(&decode(value)?)?),
            "PARTIAL" if uid.is_some() && partial.is_none() => partial = Some(partial_of(value)?),
            _ => break,
        }
        pieces.next();
    }
    let section = section.unwrap_or_default();
    Some((MessageUrl { mailbox, uid_validity, uid: uid?, section, partial }, pieces.collect()))
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

/// `enc-user`: what is not an `achar` stands encoded.
fn user_of(text: &str) -> Option<String> {
    let plain = text.bytes().all(|b| b == b'%' || is_achar(b));
    decode(text).filter(|user| plain && !user.is_empty())
}

/// A section is what stands in the brackets of a FETCH's BODY: the same parser reads it.
fn section_of(text: &str) -> Option<Section> {
    if text.len() > SECTION_BYTES_MAX || !text.is_ascii() {
        return None;
    }
    let line = Bytes::from(format!("a FETCH 1 BODY[{text}]"));
    let Command::Fetch(fetch) = parse_command(&line, &Limits::default()).ok()?.body else { return None };
    match <[FetchItem; 1]>::try_from(fetch.items).ok()? {
        [FetchItem::BodySection { section, partial: None, .. }] => Some(section),
        _ => None,
    }
}

fn partial_of(text: &str) -> Option<Partial> {
    let number = |text: &str| text.parse().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
    let (offset, length) = match text.split_once('.') {
        Some((offset, length)) => (offset, number(length).filter(|n| *n > 0)?),
        None => (text, u64::MAX),
    };
    Some(Partial { offset: number(offset)?, length })
}

fn access_of(text: &str) -> Option<Access> {
    if text.eq_ignore_ascii_case("anonymous") {
        return Some(Access::Anonymous);
    }
    if text.eq_ignore_ascii_case("authuser") {
        return Some(Access::AuthUser);
    }
    let (kind, user) = text.split_once('+')?;
    match kind.to_ascii_lowercase().as_str() {
        "user" => user_of(user).map(Access::User),
        "submit" => user_of(user).map(Access::Submit),
        _ => None,
    }
}

fn verifier_of(text: &str) -> Option<Verifier> {
    let (mechanism, token) = text.split_once(':')?;
    let named =
        !mechanism.is_empty() && mechanism.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b));
    let mut octets = Vec::with_capacity(token.len() / 2);
    let mut digits = token.chars().map(|c| c.to_digit(16));
    while let Some(high) = digits.next() {
        octets.push((high? * 16 + digits.next()??) as u8);
    }
    (named && TOKEN_BYTES.contains(&octets.len()))
        .then(|| Verifier { mechanism: mechanism.to_owned(), token: octets.into() })
}

/// `date-time` of RFC 3339 §5.6, as seconds since 1970-01-01 UTC; fractions of a second are cut off.
fn rfc3339(text: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| {
        let digits = text.get(range)?;
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse::<u16>().ok())?
    };
    let is = |at: usize, allowed: &[u8]| text.as_bytes().get(at).is_some_and(|b| allowed.contains(b));
    let apart = is(4, b"-") && is(7, b"-") && is(10, b"Tt") && is(13, b":") && is(16, b":");
    let date = Date::new(number(0..4)?, number(5..7)? as u8, number(8..10)? as u8)?;
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    if !apart || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut at = 19;
    if is(at, b".") {
        let digits = text[20..].bytes().take_while(u8::is_ascii_digit).count();
        (digits > 0).then_some(())?;
        at += 1 + digits;
    }
    let offset = match text.get(at..)? {
        "Z" | "z" => 0,
        zone if zone.len() == 6 && is(at, b"+-") && is(at + 3, b":") => {
            let (hours, minutes) = (number(at + 1..at + 3)?, number(at + 4..at + 6)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let minutes = i64::from(hours) * 60 + i64::from(minutes);
            if is(at, b"-") { -minutes } else { minutes }
        }
        _ => return None,
    };
    let of_day = i64::from(hour) * 3_600 + i64::from(minute) * 60 + i64::from(second);
    let seconds = date.days() * 86_400 + of_day - offset * 60;
    // The zone must not lead out of the years that can be written.
    let days = seconds.div_euclid(86_400);
    (Date::from_days(days).days() == days).then_some(seconds)
}

/// `achar` of RFC 5092 §11, but `%`.
fn is_achar(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"-._~!$'()*+,&=".contains(&b)
}

/// Writes `text` with all encoded that is neither an `achar` nor among `also`.
fn encode(f: &mut fmt::Formatter<'_>, text: &[u8], also: &[u8]) -> fmt::Result {
    for &b in text {
        if is_achar(b) || also.contains(&b) {
            write!(f, "{}", char::from(b))?;
        } else {
            write!(f, "%{b:02X}")?;
        }
    }
    Ok(())
}

impl fmt::Display for MessageUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(mailbox) = &self.mailbox {
            f.write_str("/")?;
            // A slash at the end would be taken for the one before the parameters.
            encode(f, mailbox.as_bytes(), if mailbox.ends_with('/') { b":@" } else { b":@/" })?;
            if let Some(validity) = self.uid_validity {
                write!(f, ";UIDVALIDITY={validity}")?;
            }
        }
        write!(f, "/;UID={}", self.uid)?;
        if self.section != Section::default() {
            f.write_str("/;SECTION=")?;
            let mut section = Vec::new();
            section_name(&mut section, &self.section);
            encode(f, &section, b":@")?;
        }
        if let Some(partial) = self.partial {
            write!(f, "/;PARTIAL={}", partial.offset)?;
            if partial.length != u64::MAX {
                write!(f, ".{}", partial.length)?;
            }
        }
        Ok(())
    }
}

/// The canonical form. A URL that was signed in another form is not this one: a server echoes the octets it was given.
impl fmt::Display for AuthorizedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("imap://")?;
        encode(f, self.user.as_bytes(), b"")?;
        write!(f, "@{}{}", self.host, self.message)?;
        if let Some(expires) = self.expires {
            let (date, second) = (Date::from_days(expires.div_euclid(86_400)), expires.rem_euclid(86_400));
            let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
            let Date { year, month, day } = date;
            write!(f, ";EXPIRE={year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")?;
        }
        f.write_str(";URLAUTH=")?;
        match &self.access {
            Access::Anonymous => f.write_str("anonymous")?,
            Access::AuthUser => f.write_str("authuser")?,
            Access::User(user) => {
                f.write_str("user+")?;
                encode(f, user.as_bytes(), b"")?;
            }
            Access::Submit(user) => {
                f.write_str("submit+")?;
                encode(f, user.as_bytes(), b"")?;
            }
        }
        if let Some(Verifier { mechanism, token }) = &self.verifier {
            write!(f, ":{mechanism}:{token:x}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::SectionText;
    use crate::testing::nz;

    #[test]
    fn relative() {
        let check = |url: &str,
                     mailbox: Option<&str>,
                     validity: u32,
                     uid,
                     part: &[u32],
                     text,
                     partial: Option<(u64, u64)>| {
            let parsed = MessageUrl::parse(url.as_bytes()).unwrap_or_else(|| panic!("{url}"));
            let expected = MessageUrl {
                mailbox: mailbox.map(str::to_owned),
                uid_validity: NonZeroU32::new(validity),
                uid: nz(uid),
                section: Section { part: part.iter().map(|n| nz(*n)).collect(), text },
                partial: partial.map(|(offset, length)| Partial { offset, length }),
            };
            assert_eq!(parsed, expected, "{url}");
            assert_eq!(MessageUrl::parse(parsed.to_string().as_bytes()), Some(expected), "{parsed}");
        };
        check(
            "/INBOX;UIDVALIDITY=785799047/;UID=113330/;section=1.5.9",
            Some("INBOX"),
            785_799_047,
            113_330,
            &[1, 5, 9],
            None,
            None,
        );
        check(
            "/Drafts;UIDVALIDITY=385759045/;UID=20/;section=HEADER",
            Some("Drafts"),
            385_759_045,
            20,
            &[],
            Some(SectionText::Header),
            None,
        );
        check(";UID=4", None, 0, 4, &[], None, None);
        check("/;UID=4;SECTION=2.mime", None, 0, 4, &[2], Some(SectionText::Mime), None);
        check("/a%2Fb/%C3%A9/;uid=9/;partial=10.20", Some("a/b/\u{e9}"), 0, 9, &[], None, Some((10, 20)));
        check("//a%2F/;UID=9", Some("/a/"), 0, 9, &[], None, None);
        check(
            "/x/;UID=9/;SECTION=TEXT/;PARTIAL=7",
            Some("x"),
            0,
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
            "INBOX/;UID=1",
            ";UID=0",
            ";UID=x",
            ";UID=+1",
            ";UID=1;UID=2",
            ";UIDVALIDITY=4/;UID=1",
            "/a%0/;UID=1",
            "/a%ff/;UID=1",
            "/a%0d/;UID=1",
            "/a b/;UID=1",
            ";UID=1;SECTION=1.FOO",
            ";UID=1;SECTION=1] BODY[2",
            ";UID=1;SECTION=HEADER.FIELDS%20(%C3%A9)",
            ";UID=1;PARTIAL=1.0",
            ";UID=1;EXPIRE=2005-01-01T00:00:00Z",
            ";UID=1;URLAUTH=anonymous",
        ] {
            assert_eq!(MessageUrl::parse(url.as_bytes()), None, "{url}");
        }
        let long = format!("/{}/;UID=1", "x".repeat(REFERENCE_BYTES_MAX));
        assert_eq!(MessageUrl::parse(long.as_bytes()), None);
    }

    const TOKEN: &str = "91354a473744909de610943775f92038";

    #[test]
    fn authorized() {
        let rump = "imap://joe@example.com/INBOX/;uid=20/;section=1.2;urlauth=submit+fred";
        let url = format!("{rump}:internal:{TOKEN}");
        let parsed = AuthorizedUrl::parse(url.as_bytes()).expect("a URL");
        assert_eq!((parsed.user.as_str(), parsed.host.as_str()), ("joe", "example.com"));
        assert_eq!(parsed.rump, rump);
        assert_eq!(parsed.access, Access::Submit("fred".to_owned()));
        let verifier = parsed.verifier.clone().expect("a token");
        assert_eq!((verifier.mechanism.as_str(), verifier.token.len()), ("internal", 16));
        assert_eq!(
            parsed.to_string(),
            format!("imap://joe@example.com/INBOX/;UID=20/;SECTION=1.2;URLAUTH=submit+fred:internal:{TOKEN}")
        );

        let check = |rump: &str, user: &str, mailbox: &str, expires: Option<i64>, access: Access| {
            let parsed = AuthorizedUrl::parse(rump.as_bytes()).unwrap_or_else(|| panic!("{rump}"));
            assert_eq!(
                (parsed.user.as_str(), parsed.message.mailbox.as_deref()),
                (user, Some(mailbox)),
                "{rump}"
            );
            assert_eq!(
                (parsed.expires, &parsed.access, &parsed.verifier),
                (expires, &access, &None),
                "{rump}"
            );
            assert_eq!(parsed.rump, rump);
            let again = AuthorizedUrl::parse(parsed.to_string().as_bytes()).expect("its own form");
            assert_eq!(AuthorizedUrl { rump: parsed.rump.clone(), ..again }, parsed);
        };
        check(
            "imap://tel%3A%2B33612345678@[::1]:143/RCS/Store;UIDVALIDITY=7/;UID=9/;PARTIAL=0.10;EXPIRE=2026-11-21T10:00:00.5+01:00;URLAUTH=user+sip%3aalice%40example.com",
            "tel:+33612345678",
            "RCS/Store",
            Some(1_795_251_600),
            Access::User("sip:alice@example.com".to_owned()),
        );
        check("IMAP://+336;AUTH=*@h/a/;UID=1;URLAUTH=AUTHUSER", "+336", "a", None, Access::AuthUser);
        check(
            "imap://a@h/b/;UID=1;EXPIRE=1996-12-19T16:39:57-08:00;URLAUTH=anonymous",
            "a",
            "b",
            Some(851_042_397),
            Access::Anonymous,
        );
    }

    #[test]
    fn what_carries_no_authorization() {
        let whole = format!("imap://a@h/b/;UID=1;URLAUTH=anonymous:INTERNAL:{TOKEN}");
        assert!(AuthorizedUrl::parse(whole.as_bytes()).is_some());
        for url in [
            "imap://a@h/b/;UID=1".to_owned(),
            "imap://a@h/b/;URLAUTH=anonymous".to_owned(),
            "imap://a@h/;URLAUTH=anonymous".to_owned(),
            "imap://a@h/b?TEXT%20x;URLAUTH=anonymous".to_owned(),
            "imap://h/b/;UID=1;URLAUTH=anonymous".to_owned(),
            "imap://@h/b/;UID=1;URLAUTH=anonymous".to_owned(),
            "imap://a:b@h/b/;UID=1;URLAUTH=anonymous".to_owned(),
            "imap://a@/b/;UID=1;URLAUTH=anonymous".to_owned(),
            "imap://a@h@i/b/;UID=1;URLAUTH=anonymous".to_owned(),
            "http://a@h/b/;UID=1;URLAUTH=anonymous".to_owned(),
            "/b/;UID=1;URLAUTH=anonymous".to_owned(),
            "imap://a@h/b/;UID=1;URLAUTH=everybody".to_owned(),
            "imap://a@h/b/;UID=1;URLAUTH=user+".to_owned(),
            "imap://a@h/b/;UID=1;URLAUTH=anonymous;EXPIRE=2026-11-21T10:00:00Z".to_owned(),
            "imap://a@h/b/;UID=1;EXPIRE=2026-02-30T10:00:00Z;URLAUTH=anonymous".to_owned(),
            "imap://a@h/b/;UID=1;EXPIRE=2026-11-21;URLAUTH=anonymous".to_owned(),
            "imap://a@h/b/;UID=1;EXPIRE=9999-12-31T23:59:59-01:00;URLAUTH=anonymous".to_owned(),
            "imap://a@h/b/;UID=1;URLAUTH=anonymous:INTERNAL".to_owned(),
            "imap://a@h/b/;UID=1;URLAUTH=anonymous:INTERNAL:00".to_owned(),
            "imap://a@h/b/;UID=1;URLAUTH=anonymous:INT_ERNAL:91354a473744909de610943775f92038".to_owned(),
            format!("{whole}0"),
            format!("{whole}zz"),
            format!("{whole}:x"),
        ] {
            assert_eq!(AuthorizedUrl::parse(url.as_bytes()), None, "{url}");
        }
    }
}
