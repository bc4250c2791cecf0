//! The CPIM message format (RFC 3862), as `message/cpim` carries it.
//!
//! Message headers, an empty line, the header of the encapsulated MIME entity, an empty line, its content. Lines end
//! with CRLF; bare LF is taken too. Names are case-sensitive (§2.1) and may have a prefix that an `NS` header binds:
//! `imdn.Message-ID` after `NS: imdn <urn:ietf:params:imdn>` (RFC 5438 §6). Prefixes are resolved to their URIs, so
//! that a sender's choice of prefix does not matter.

use std::borrow::Cow;

use crate::header;
use crate::index::Encoding;
use crate::param::{self, ContentType};

/// Headers of one message that are read; more is an error.
pub const HEADERS_MAX: usize = 128;
/// Octets of the message headers and the MIME header together; more is an error.
pub const HEADER_BYTES_MAX: usize = 64 * 1024;

/// The namespace of IMDN headers (RFC 5438 §15.2).
pub const IMDN_NAMESPACE: &str = "urn:ietf:params:imdn";
/// The namespace of headers without a prefix (RFC 3862 §5).
pub const CORE_NAMESPACE: &str = "urn:ietf:params:cpim-headers:";

/// Why octets are no CPIM message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CpimError {
    /// No empty line ends the message headers.
    #[error("message headers do not end")]
    Unterminated,
    /// A line is no header.
    #[error("malformed header line")]
    Header,
    /// More headers, or longer ones, than are read.
    #[error("too many or too long headers")]
    TooLong,
    /// A header has a prefix that no NS header before it binds (§3.4).
    #[error("unknown namespace prefix")]
    Prefix,
}

/// A header of the message, from its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header<'a> {
    /// The URI that the prefix is bound to; [`CORE_NAMESPACE`] or the default where there is no prefix.
    pub namespace: &'a str,
    /// The name without its prefix, as written.
    pub name: &'a str,
    /// The `;lang=` parameter, where one is given.
    pub language: Option<&'a str>,
    /// The value as written, escapes included; see [`unescape`].
    pub value: &'a str,
}

/// An address: `"Formal name" <uri>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address<'a> {
    /// Unescaped, without quotes.
    pub name: Option<Cow<'a, str>>,
    /// What stands in the angle brackets.
    pub uri: &'a str,
}

/// A message, borrowing from its octets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message<'a> {
    headers: Vec<Header<'a>>,
    mime_start: usize,
    mime_header: &'a [u8],
    body_start: usize,
}

/// Reads the headers of a message. `octets` may be cut anywhere after the MIME header; the content is not looked at.
///
/// # Errors
/// See [`CpimError`].
pub fn parse(octets: &[u8]) -> Result<Message<'_>, CpimError> {
    let mut namespaces: Vec<(&str, &str)> = Vec::new();
    let mut default = CORE_NAMESPACE;
    let mut headers = Vec::new();
    let mut at = 0;
    loop {
        let rest = octets.get(at..).unwrap_or_default();
        let Some(lf) = memchr::memchr(b'\n', rest) else { return Err(CpimError::Unterminated) };
        at += lf + 1;
        if at > HEADER_BYTES_MAX || headers.len() == HEADERS_MAX {
            return Err(CpimError::TooLong);
        }
        let line = rest[..lf].strip_suffix(b"\r").unwrap_or(&rest[..lf]);
        if line.is_empty() {
            break;
        }
        let line = std::str::from_utf8(line).map_err(|_| CpimError::Header)?;
        let (full_name, value) = line.split_once(':').ok_or(CpimError::Header)?;
        // `Subject:;lang=fr Bonjour`: parameters stand directly after the colon (§3.3).
        let (language, value) = language(value);
        let value = value.trim_matches([' ', '\t']);
        let (prefix, name) = match full_name.split_once('.') {
            Some((prefix, name)) => (Some(prefix), name),
            None => (None, full_name),
        };
        if !is_token(name) || prefix.is_some_and(|prefix| !is_token(prefix)) {
            return Err(CpimError::Header);
        }
        let namespace = match prefix {
            None => default,
            Some(prefix) => {
                let bound = namespaces.iter().rev().find(|(known, _)| *known == prefix);
                match bound {
                    Some((_, uri)) => uri,
                    // Live senders use the prefix of RFC 5438 without binding it.
                    None if prefix == "imdn" => IMDN_NAMESPACE,
                    None => return Err(CpimError::Prefix),
                }
            }
        };
        if prefix.is_none() && name == "NS" {
            let (prefix, uri) = value.split_once('<').ok_or(CpimError::Header)?;
            let uri = uri.strip_suffix('>').ok_or(CpimError::Header)?;
            match prefix.trim_end() {
                "" => default = uri,
                prefix => namespaces.push((prefix, uri)),
            }
        }
        headers.push(Header { namespace, name, language, value });
    }
    let mime_start = at;
    let body_start = at + header::body_start(&octets[at..]);
    if body_start > HEADER_BYTES_MAX {
        return Err(CpimError::TooLong);
    }
    Ok(Message { headers, mime_start, mime_header: &octets[mime_start..body_start], body_start })
}

/// Splits `;lang=xx` off the front of a value.
fn language(value: &str) -> (Option<&str>, &str) {
    let mut language = None;
    let mut rest = value;
    while let Some(parameter) = rest.strip_prefix(';') {
        let end = parameter.find([' ', '\t', ';']).unwrap_or(parameter.len());
        language = parameter[..end].strip_prefix("lang=").or(language);
        rest = &parameter[end..];
    }
    (language, rest)
}

fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"(),./:;<=>?@[\\]{}".contains(&byte))
}

/// A value without its escapes (§2.3.1): `\t`, `\n`, `\uXXXX` and escaped octets.
pub fn unescape(value: &str) -> Cow<'_, str> {
    if !value.contains('\\') {
        return value.into();
    }
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(char) = chars.next() {
        if char != '\\' {
            out.push(char);
            continue;
        }
        match chars.next() {
            Some('t') => out.push('\t'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('b') => out.push('\u{8}'),
            Some('u') => {
                let digits = chars.as_str().get(..4);
                match digits.and_then(|hex| u32::from_str_radix(hex, 16).ok()).and_then(char::from_u32) {
                    Some(named) => {
                        out.push(named);
                        chars = chars.as_str()[4..].chars();
                    }
                    None => out.push('u'),
                }
            }
            Some(other) => out.push(other),
            None => out.push('\\'),
        }
    }
    out.into()
}

/// Reads `"Formal name" <uri>`, `name <uri>` or `<uri>`.
pub fn address(value: &str) -> Option<Address<'_>> {
    let open = value.rfind('<')?;
    let uri = value[open + 1..].split('>').next()?.trim();
    let name = value[..open].trim();
    let name = name.strip_prefix('"').and_then(|name| name.strip_suffix('"')).unwrap_or(name);
    Some(Address { name: (!name.is_empty()).then(|| unescape(name)), uri })
}

impl<'a> Message<'a> {
    /// The message headers, in order.
    pub fn headers(&self) -> &[Header<'a>] {
        &self.headers
    }

    /// The value of the first header of this name, such as `From`, `cc`, `DateTime`, `Subject`.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.get_in(CORE_NAMESPACE, name)
    }

    /// The value of the first IMDN header of this name, such as `Message-ID` or `Disposition-Notification`.
    pub fn imdn(&self, name: &str) -> Option<&'a str> {
        self.get_in(IMDN_NAMESPACE, name)
    }

    /// The value of the first header `name` of `namespace`.
    pub fn get_in(&self, namespace: &str, name: &str) -> Option<&'a str> {
        self.headers
            .iter()
            .find(|header| header.name == name && header.namespace == namespace)
            .map(|header| header.value)
    }

    /// Addresses of all headers `name`: From stands once, To and cc any number of times.
    pub fn addresses(&self, name: &str) -> impl Iterator<Item = Address<'a>> {
        self.headers
            .iter()
            .filter(move |header| header.name == name && header.namespace == CORE_NAMESPACE)
            .filter_map(|header| address(header.value))
    }

    /// Offset of the MIME header in the octets.
    pub fn mime_start(&self) -> usize {
        self.mime_start
    }

    /// The MIME header of the encapsulated entity, empty line included.
    pub fn mime_header(&self) -> &'a [u8] {
        self.mime_header
    }

    /// Offset of the content in the octets.
    pub fn body_start(&self) -> usize {
        self.body_start
    }

    /// The type of the content; text/plain where none is said. Its charset is UTF-8 unless said otherwise.
    pub fn content_type(&self) -> ContentType {
        header::first(self.mime_header, "content-type").and_then(param::content_type).unwrap_or_else(|| {
            param::content_type(b"text/plain; charset=utf-8").unwrap_or_else(ContentType::text_plain)
        })
    }

    /// How the content is encoded.
    pub fn encoding(&self) -> Encoding {
        Encoding::named(
            header::first(self.mime_header, "content-transfer-encoding").and_then(param::encoding).as_deref(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_3862() {
        let octets = "From: MR SANDERS <im:piglet@100akerwood.com>\r\n\
             To: Depressed Donkey <im:eeyore@100akerwood.com>\r\n\
             DateTime: 2000-12-13T13:40:00-08:00\r\n\
             Subject: the weather will be fine today\r\n\
             Subject:;lang=fr beau temps prevu pour aujourd'hui\r\n\
             NS: MyFeatures <mid:MessageFeatures@id.foo.com>\r\n\
             Require: MyFeatures.VitalMessageOption\r\n\
             MyFeatures.VitalMessageOption: Confirmation-requested\r\n\
             MyFeatures.WackyMessageOption: Use-silly-font\r\n\
             \r\n\
             Content-type: text/xml; charset=utf-8\r\n\
             Content-ID: <1234567890@foo.com>\r\n\
             \r\n\
             <body>\r\nHere is the text of my message.\r\n</body>\r\n";
        let message = parse(octets.as_bytes()).expect("valid");
        assert_eq!(message.get("DateTime"), Some("2000-12-13T13:40:00-08:00"));
        assert_eq!(message.get("Subject"), Some("the weather will be fine today"));
        assert_eq!(message.headers()[4].language, Some("fr"));
        assert_eq!(message.headers()[4].value, "beau temps prevu pour aujourd'hui");
        assert_eq!(
            message.get_in("mid:MessageFeatures@id.foo.com", "VitalMessageOption"),
            Some("Confirmation-requested")
        );
        let from: Vec<_> = message.addresses("From").collect();
        assert_eq!(from, [Address { name: Some("MR SANDERS".into()), uri: "im:piglet@100akerwood.com" }]);
        assert!(message.content_type().is("text", "xml"));
        assert!(octets[message.mime_start()..].starts_with("Content-type"));
        assert!(octets[message.body_start()..].starts_with("<body>"));
    }

    #[test]
    fn a_chat_message_with_imdn_headers() {
        let octets = "From: <sip:anonymous@anonymous.invalid>\r\nTo: <sip:anonymous@anonymous.invalid>\r\n\
             NS: i <urn:ietf:params:imdn>\r\ni.Message-ID: Msg34jk324j\r\n\
             DateTime: 2006-04-04T12:16:49-05:00\r\n\
             i.Disposition-Notification: positive-delivery, display\r\n\r\n\
             Content-Type: text/plain;charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\naGk=";
        let message = parse(octets.as_bytes()).expect("valid");
        assert_eq!(message.imdn("Message-ID"), Some("Msg34jk324j"));
        assert_eq!(message.imdn("Disposition-Notification"), Some("positive-delivery, display"));
        assert_eq!(message.get("Message-ID"), None);
        assert_eq!(message.encoding(), Encoding::Base64);
    }

    #[test]
    fn edges() {
        for (octets, expected) in [
            ("", CpimError::Unterminated),
            ("From: <a>\r\n", CpimError::Unterminated),
            ("no colon\r\n\r\n", CpimError::Header),
            (": x\r\n\r\n", CpimError::Header),
            ("a.b.c: x\r\n\r\n", CpimError::Header),
            ("x.y: z\r\n\r\n", CpimError::Prefix),
            ("NS: x\r\n\r\n", CpimError::Header),
        ] {
            assert_eq!(parse(octets.as_bytes()), Err(expected), "{octets}");
        }
        assert_eq!(parse("A: b\r\n".repeat(1000).as_bytes()), Err(CpimError::TooLong));
        assert_eq!(
            parse(format!("A: {}\r\n", "b".repeat(HEADER_BYTES_MAX)).as_bytes()),
            Err(CpimError::TooLong)
        );
        let message = parse(b"imdn.Message-ID: x\n\n\nbody").expect("valid");
        assert_eq!((message.imdn("Message-ID"), message.body_start()), (Some("x"), 21));
        assert!(message.content_type().is("text", "plain"));
        let message = parse(b"\r\nno mime header end").expect("valid");
        assert_eq!(message.body_start(), 20);
    }

    #[test]
    fn escapes() {
        for (value, expected) in [
            ("a", "a"),
            ("a\\\"b\\\\", "a\"b\\"),
            ("\\u00e9\\t", "é\t"),
            ("\\u00", "u00"),
            ("\\", "\\"),
            ("\\ué", "ué"),
        ] {
            assert_eq!(unescape(value), expected, "{value}");
        }
    }
}
