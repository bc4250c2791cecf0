//! PREVIEW (RFC 8970) from the openings of the first text parts.

use crate::index::Encoding;
use crate::limits::{NAME_BYTES_MAX, PREVIEW_CHARS_MAX, PREVIEW_MARKUP_BYTES, PREVIEW_TEXT_BYTES};
use crate::quote::cut;
use crate::{charset, cpim, transfer};

/// Where a preview can come from, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    Plain,
    Cpim,
    Html,
}

/// The openings of the first part of each source.
#[derive(Debug, Default)]
pub(crate) struct Captures {
    list: Vec<Capture>,
    open: bool,
}

/// The opening of what stands in a CPIM wrapper.
#[derive(Debug)]
pub(crate) struct Wrapped {
    /// Its media type, in lower case.
    pub(crate) media_type: String,
    /// The imdn.Message-ID of the wrapper.
    pub(crate) message_id: Option<String>,
    /// Its first octets, decoded.
    pub(crate) octets: Vec<u8>,
}

#[derive(Debug)]
struct Capture {
    source: Source,
    charset: String,
    encoding: Encoding,
    octets: Vec<u8>,
}

impl Captures {
    /// A leaf begins. Attachments and what is neither text nor CPIM give no preview.
    pub(crate) fn begin(&mut self, media_type: &str, charset: &str, encoding: Encoding, is_attachment: bool) {
        let source = match media_type {
            "text/plain" => Source::Plain,
            "text/html" => Source::Html,
            "message/cpim" => Source::Cpim,
            _ => return,
        };
        let known = self.list.iter().any(|capture| capture.source == source);
        self.open = !known && !is_attachment && encoding != Encoding::Unknown;
        if self.open {
            self.list.push(Capture { source, charset: charset.to_owned(), encoding, octets: Vec::new() });
        }
    }

    /// Octets of the leaf.
    pub(crate) fn push(&mut self, octets: &[u8]) {
        if self.open
            && let Some(capture) = self.list.last_mut()
        {
            let max = if capture.source == Source::Plain { PREVIEW_TEXT_BYTES } else { PREVIEW_MARKUP_BYTES };
            let room = max - capture.octets.len();
            capture.octets.extend_from_slice(&octets[..octets.len().min(room)]);
        }
    }

    /// The leaf ends.
    pub(crate) fn close(&mut self) {
        self.open = false;
    }

    /// What stands in the CPIM wrapper that was captured, if it is one.
    pub(crate) fn wrapped(&self) -> Option<Wrapped> {
        let capture = self.list.iter().find(|capture| capture.source == Source::Cpim)?;
        let octets = transfer::decode(capture.encoding, &capture.octets).ok()?;
        let message = cpim::parse(&octets).ok()?;
        let inner = message.content_type();
        let [kind, subtype] = [&inner.kind, &inner.subtype].map(|name| cut(name, NAME_BYTES_MAX));
        Some(Wrapped {
            media_type: String::from_utf8_lossy(&[kind, b"/", subtype].concat()).into_owned(),
            message_id: message.imdn("Message-ID").map(str::to_owned),
            octets: transfer::decode(message.encoding(), &octets[message.body_start()..]).ok()?,
        })
    }

    /// The preview: of the best source that has any text, else empty; none where there is no source.
    pub(crate) fn preview(mut self) -> Option<String> {
        self.list.sort_by_key(|capture| capture.source);
        let mut best = None;
        for capture in &self.list {
            match capture.text() {
                Some(text) if !text.is_empty() => return Some(text),
                text => best = best.or(text),
            }
        }
        best
    }
}

impl Capture {
    fn text(&self) -> Option<String> {
        let mut octets = transfer::decode(self.encoding, &self.octets).ok()?;
        // The capture may have cut the last character.
        if let Err(error) = std::str::from_utf8(&octets)
            && error.error_len().is_none()
        {
            octets.truncate(error.valid_up_to());
        }
        match self.source {
            Source::Plain => Some(line(&charset::decode(self.charset.as_bytes(), &octets))),
            Source::Html => Some(html(&charset::decode(self.charset.as_bytes(), &octets))),
            Source::Cpim => {
                let message = cpim::parse(&octets).ok()?;
                let inner = message.content_type();
                let body = transfer::decode(message.encoding(), &octets[message.body_start()..]).ok()?;
                let text = charset::decode(inner.parameters.get("charset").unwrap_or(b"utf-8"), &body);
                if inner.is("text", "plain") {
                    Some(line(&text))
                } else if inner.is("text", "html") {
                    Some(html(&text))
                } else {
                    None
                }
            }
        }
    }
}

fn html(text: &str) -> String {
    line(&mail_parser::decoders::html::html_to_text(text))
}

/// Text on one line: blanks and controls collapse to single spaces; at most the allowed number of characters.
pub(crate) fn line(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(PREVIEW_CHARS_MAX));
    let mut chars = 0;
    let mut gap = false;
    for char in text.chars() {
        if char.is_whitespace() || char.is_control() || char == '\u{feff}' {
            gap = chars > 0;
            continue;
        }
        let wanted = chars + 1 + usize::from(gap);
        if wanted > PREVIEW_CHARS_MAX {
            break;
        }
        if gap {
            out.push(' ');
        }
        out.push(char);
        (chars, gap) = (wanted, false);
    }
    out
}

#[cfg(test)]
mod tests {
    use crate::limits::Limits;

    fn check(message: &str, expected: Option<&str>) {
        let index = crate::index::parse(message.as_bytes(), &Limits::default());
        assert_eq!(index.preview(), expected, "{message}");
    }

    #[test]
    fn previews() {
        check("\r\ncaf\u{e9}\r\n", Some("café"));
        check("\r\n  hello\r\n\t world \r\n", Some("hello world"));
        check(
            "Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\ncaf=E9=\r\n!",
            Some("café!"),
        );
        check(
            "Content-Type: text/html\r\n\r\n<head><title>t</title></head><p>a &amp; <b>b</b></p>",
            Some("a & b"),
        );
        check("Content-Type: image/png\r\n\r\nx", None);
        check("", Some(""));
        check("Content-Disposition: attachment\r\n\r\nx", None);
        check(
            "Content-Type: Message/CPIM\r\n\r\nFrom: <tel:+1>\r\nTo: <tel:+2>\r\n\r\nContent-Type: text/plain;charset=utf-8\r\n\r\nSalut, ça va?\r\n",
            Some("Salut, ça va?"),
        );
        check(
            "Content-Type: message/cpim\r\n\r\nFrom: a\r\n\r\nContent-Type: application/xml\r\n\r\n<x/>",
            None,
        );
        check(
            "Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>html</p>\r\n--b\r\n\r\nplain\r\n--b--\r\n",
            Some("plain"),
        );
    }

    #[test]
    fn length_is_in_characters() {
        check(
            &format!("Content-Type: text/plain; charset=utf-8\r\n\r\n{}", "é".repeat(3000)),
            Some(&"é".repeat(256)),
        );
        check(&format!("\r\n{}", "a ".repeat(3000)), Some("a ".repeat(128).trim_end()));
    }
}
