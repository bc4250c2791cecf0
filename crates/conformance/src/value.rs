//! A response as the tree of tokens that RFC 9051 §9 builds it from, with as little interpretation as comparing needs.

/// One token of a response, or of the pattern for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Anything unquoted: atoms, numbers, flags, `BODY[…]<…>`, sequence sets.
    Atom(Vec<u8>),
    /// A quoted string or a literal: their octets.
    Text(Vec<u8>),
    /// A parenthesised list.
    List(Vec<Value>),
    /// A response code, the brackets of a status response.
    Code(Vec<Value>),
    /// The human text that ends a status response or a continuation.
    Human(Vec<u8>),
}

/// Why bytes are no response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// A `)` or `]` without its opening, or the other way round.
    #[error("unbalanced brackets at octet {0}")]
    Unbalanced(usize),
    /// A quoted string without its end.
    #[error("unterminated string at octet {0}")]
    Unterminated(usize),
    /// A literal that announces more than there is.
    #[error("literal longer than the response at octet {0}")]
    ShortLiteral(usize),
    /// Two spaces, or a space before `)`: RFC 9051 §9 has single spaces between tokens only.
    #[error("stray space at octet {0}")]
    StraySpace(usize),
}

/// How strictly spaces are judged: a server's responses strictly, patterns written by people leniently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spaces {
    /// One space between tokens, none elsewhere.
    Strict,
    /// Any number.
    Lenient,
}

impl Value {
    /// An atom from text.
    pub fn atom(text: &str) -> Self {
        Self::Atom(text.as_bytes().to_vec())
    }

    /// The atom's text in upper case, when this is one.
    pub fn keyword(&self) -> Option<String> {
        match self {
            Self::Atom(octets) => Some(String::from_utf8_lossy(octets).to_ascii_uppercase()),
            _ => None,
        }
    }

    /// The octets of an atom or string.
    pub fn octets(&self) -> Option<&[u8]> {
        match self {
            Self::Atom(octets) | Self::Text(octets) | Self::Human(octets) => Some(octets),
            Self::List(_) | Self::Code(_) => None,
        }
    }

    /// The value as it could stand on the wire, for messages and for variables.
    pub fn display(&self) -> String {
        match self {
            Self::Atom(octets) | Self::Human(octets) => String::from_utf8_lossy(octets).into_owned(),
            Self::Text(octets) => String::from_utf8_lossy(octets).into_owned(),
            Self::List(items) => format!("({})", display_all(items)),
            Self::Code(items) => format!("[{}]", display_all(items)),
        }
    }
}

/// Items with single spaces between.
pub fn display_all(items: &[Value]) -> String {
    items.iter().map(Value::display).collect::<Vec<_>>().join(" ")
}

/// Parses one response, without its final CRLF. The first value is `*`, `+` or a tag; status responses
/// (OK, NO, BAD, BYE, PREAUTH) get their code and human text as values of their own.
pub fn parse_response(octets: &[u8], spaces: Spaces) -> Result<Vec<Value>, ValueError> {
    let mut reader = Reader { octets, at: 0, spaces };
    let mut values = Vec::new();
    values.push(reader.atom());
    reader.space()?;
    if values[0] == Value::atom("+") {
        if reader.at < octets.len() {
            values.push(Value::Human(octets[reader.at..].to_vec()));
        }
        return Ok(values);
    }
    if reader.at < octets.len() {
        values.push(reader.value()?);
        let status = values[1].keyword().unwrap_or_default();
        if matches!(status.as_str(), "OK" | "NO" | "BAD" | "BYE" | "PREAUTH") {
            reader.space()?;
            if reader.peek() == Some(b'[') {
                reader.at += 1;
                values.push(Value::Code(reader.values(Some(b']'))?));
                // RFC 9051 §9 resp-text wants a space here, RFC 3501 servers leave it out with empty text.
                while reader.peek() == Some(b' ') {
                    reader.at += 1;
                }
            }
            if reader.at < octets.len() {
                values.push(Value::Human(octets[reader.at..].to_vec()));
            }
            return Ok(values);
        }
        if reader.at < octets.len() {
            reader.space()?;
            values.extend(reader.values(None)?);
        }
    }
    Ok(values)
}

/// Parses values separated by spaces.
pub fn parse_values(octets: &[u8], spaces: Spaces) -> Result<Vec<Value>, ValueError> {
    Reader { octets, at: 0, spaces }.values(None)
}

struct Reader<'a> {
    octets: &'a [u8],
    at: usize,
    spaces: Spaces,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.octets.get(self.at).copied()
    }

    fn space(&mut self) -> Result<(), ValueError> {
        let start = self.at;
        while self.peek() == Some(b' ') {
            self.at += 1;
        }
        if self.spaces == Spaces::Strict && self.at - start > 1 {
            return Err(ValueError::StraySpace(start));
        }
        Ok(())
    }

    fn values(&mut self, close: Option<u8>) -> Result<Vec<Value>, ValueError> {
        let mut values = Vec::new();
        if self.spaces == Spaces::Lenient {
            self.space()?;
        }
        loop {
            match self.peek() {
                None if close.is_none() => return Ok(values),
                None => return Err(ValueError::Unbalanced(self.at)),
                Some(octet) if Some(octet) == close => {
                    self.at += 1;
                    return Ok(values);
                }
                Some(b')') => return Err(ValueError::Unbalanced(self.at)),
                Some(b' ') => return Err(ValueError::StraySpace(self.at)),
                Some(_) => values.push(self.value()?),
            }
            let before = self.at;
            self.space()?;
            // Parenthesised lists may follow each other without a space: RFC 9051 §9 body-type-mpart, address lists.
            if self.spaces == Spaces::Strict && self.at > before && self.peek() == close && close.is_some() {
                return Err(ValueError::StraySpace(before));
            }
        }
    }

    fn value(&mut self) -> Result<Value, ValueError> {
        match self.peek() {
            Some(b'(') => {
                self.at += 1;
                Ok(Value::List(self.values(Some(b')'))?))
            }
            Some(b'"') => self.quoted(),
            Some(b'{') => self.literal(),
            Some(b'~') if self.octets.get(self.at + 1) == Some(&b'{') => {
                self.at += 1;
                self.literal()
            }
            _ => Ok(self.atom()),
        }
    }

    fn quoted(&mut self) -> Result<Value, ValueError> {
        let start = self.at;
        self.at += 1;
        let mut text = Vec::new();
        loop {
            match self.peek() {
                None => return Err(ValueError::Unterminated(start)),
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Value::Text(text));
                }
                Some(b'\\') => {
                    let next = self.octets.get(self.at + 1).ok_or(ValueError::Unterminated(start))?;
                    text.push(*next);
                    self.at += 2;
                }
                Some(octet) => {
                    text.push(octet);
                    self.at += 1;
                }
            }
        }
    }

    fn literal(&mut self) -> Result<Value, ValueError> {
        let start = self.at;
        let rest = &self.octets[start..];
        let end = rest.windows(3).position(|w| w == b"}\r\n").ok_or(ValueError::ShortLiteral(start))?;
        let length = std::str::from_utf8(&rest[1..end])
            .ok()
            .and_then(|digits| digits.parse::<usize>().ok())
            .ok_or(ValueError::ShortLiteral(start))?;
        let from = start + end + 3;
        let text = self.octets.get(from..from + length).ok_or(ValueError::ShortLiteral(start))?;
        self.at = from + length;
        Ok(Value::Text(text.to_vec()))
    }

    /// An unquoted token. A `[` inside one (`BODY[HEADER.FIELDS (To)]`) carries it to the matching `]`.
    fn atom(&mut self) -> Value {
        let start = self.at;
        let mut inside = 0usize;
        let mut quoted = false;
        while let Some(octet) = self.peek() {
            if inside == 0 {
                if octet == b' ' || octet == b'(' || octet == b')' || octet == b'"' {
                    break;
                }
                if octet == b']' {
                    break;
                }
            }
            match octet {
                b'"' => quoted = !quoted,
                b'[' if !quoted => inside += 1,
                b']' if !quoted => inside = inside.saturating_sub(1),
                _ => {}
            }
            self.at += 1;
        }
        if self.at == start {
            self.at += 1; // a lone `]`: keep going, it will not match anything
        }
        Value::Atom(self.octets[start..self.at].to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &str, expected: &str) {
        let values = parse_response(input.as_bytes(), Spaces::Strict);
        let shown = values.map_or_else(|error| error.to_string(), |values| format!("{values:?}"));
        let shown = shown.replace("Atom", "A").replace("Text", "T").replace("List", "L");
        let mut plain = String::new();
        // Octet vectors as text, so that the table below can be read.
        let mut rest = shown.as_str();
        while let Some((before, after)) = rest.split_once("([") {
            let (numbers, tail) = after.split_once("])").unwrap_or((after, ""));
            if numbers.chars().all(|c| c.is_ascii_digit() || ", ".contains(c))
                && !before.ends_with(['L', 'e'])
            {
                let text: Vec<u8> = numbers.split(", ").filter_map(|n| n.parse().ok()).collect();
                plain.push_str(&format!("{before}<{}>", String::from_utf8_lossy(&text)));
                rest = tail;
            } else {
                plain.push_str(&format!("{before}(["));
                rest = after;
            }
        }
        plain.push_str(rest);
        assert_eq!(plain, expected, "{input}");
    }

    #[test]
    fn responses_become_values() {
        check("* 2 EXPUNGE", "[A<*>, A<2>, A<EXPUNGE>]");
        check("+ idling", "[A<+>, Human<idling>]");
        check("a OK [READ-WRITE] done now", "[A<a>, A<OK>, Code([A<READ-WRITE>]), Human<done now>]");
        check("* LIST () \"/\" a", "[A<*>, A<LIST>, L([]), T</>, A<a>]");
        check(
            "* 1 FETCH (BODY[HEADER.FIELDS (\"To\")]<0> {2}\r\nab)",
            "[A<*>, A<1>, A<FETCH>, L([A<BODY[HEADER.FIELDS (\"To\")]<0>>, T<ab>])]",
        );
        check("* 1 FETCH (X ((1)(2)))", "[A<*>, A<1>, A<FETCH>, L([A<X>, L([L([A<1>]), L([A<2>])])])]");
    }

    #[test]
    fn malformed_responses_are_told() {
        check("* LIST ( a)", "stray space at octet 8");
        check("* LIST (a ) x", "stray space at octet 9");
        check("* LIST  a", "stray space at octet 6");
        check("* LIST (a", "unbalanced brackets at octet 9");
        check("* LIST \"a", "unterminated string at octet 7");
        check("* X {5}\r\nab", "literal longer than the response at octet 4");
    }
}
