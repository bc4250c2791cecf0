//! CPM addresses: the names of accounts.

use std::fmt;
use std::hash::Hasher;

use siphasher::sip::SipHasher24;

use crate::limits::ADDRESS_BYTES_MAX;

/// Number of partitions that accounts hash to. Fixed for the life of an installation.
pub const PARTITIONS: u16 = 4096;

/// One of [`PARTITIONS`] slots; storage nodes own partitions, and each has its own change log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(pub u16);

/// A CPM User address in canonical form: `tel:+<digits>` or `sip:<user>@<host>`.
///
/// Two spellings of one address compare equal: visual separators of a telephone number are dropped, URI
/// parameters and headers stripped, `sips:` taken as `sip:`, the host folded to lower case, and escapes of
/// unreserved characters undone. The user part of a SIP URI keeps its case. Source: RFC 3966 §3 and §5.1.1,
/// RFC 3261 §19.1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CpmAddress(Box<str>);

/// Why a text is not a CPM address; its message says what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a CPM address: {reason}; allowed are tel:+<digits>, +<digits> and [sip:]user@host")]
pub struct AddressError {
    reason: &'static str,
}

impl CpmAddress {
    /// Parses and canonicalises `text`. `tel:` and `sip:` may be left out.
    ///
    /// # Errors
    /// [`AddressError`] says what is wrong and what is allowed.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let fail = |reason| Err(AddressError { reason });
        let text = text.trim();
        if text.is_empty() {
            return fail("it is empty");
        }
        if text.len() > ADDRESS_BYTES_MAX {
            return fail("it is longer than 255 bytes");
        }
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return fail("it has a space, a control or a non-ASCII character");
        }
        let canonical = if let Some(rest) = strip_scheme(text, "tel:") {
            telephone(rest)
        } else if let Some(rest) = strip_scheme(text, "sip:").or_else(|| strip_scheme(text, "sips:")) {
            sip(rest)
        } else if text.contains('@') {
            sip(text)
        } else {
            telephone(text)
        };
        match canonical {
            Ok(canonical) => Ok(Self(canonical.into_boxed_str())),
            Err(reason) => fail(reason),
        }
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The partition that the address hashes to: SipHash-2-4 with a zero key over the canonical text, modulo
    /// [`PARTITIONS`]. Stable across versions and machines.
    pub fn partition(&self) -> Partition {
        let mut hasher = SipHasher24::new();
        hasher.write(self.0.as_bytes());
        Partition((hasher.finish() % u64::from(PARTITIONS)) as u16)
    }
}

impl fmt::Display for CpmAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn strip_scheme<'a>(text: &'a str, scheme: &str) -> Option<&'a str> {
    let head = text.get(..scheme.len())?;
    head.eq_ignore_ascii_case(scheme).then(|| &text[scheme.len()..])
}

/// `global-number` of RFC 3966: `+`, then digits and visual separators; 15 digits at most (ITU-T E.164).
fn telephone(text: &str) -> Result<String, &'static str> {
    let number = text.split(';').next().unwrap_or_default();
    let Some(digits) = number.strip_prefix('+') else {
        return Err("a telephone number must be in international form and start with +");
    };
    let mut canonical = String::with_capacity(20);
    canonical.push_str("tel:+");
    for c in digits.chars() {
        match c {
            '0'..='9' => canonical.push(c),
            '-' | '.' | '(' | ')' => {}
            _ => return Err("a telephone number has a character that is not a digit"),
        }
    }
    match canonical.len() - "tel:+".len() {
        0 => Err("the telephone number has no digits"),
        1..=15 => Ok(canonical),
        _ => Err("the telephone number has more than 15 digits"),
    }
}

fn sip(text: &str) -> Result<String, &'static str> {
    let text = text.split(['?']).next().unwrap_or_default();
    let Some((user, host)) = text.rsplit_once('@') else {
        return Err("a SIP address must have a user and a host");
    };
    let host = host.split(';').next().unwrap_or_default().to_ascii_lowercase();
    let user = user.split(';').next().unwrap_or_default();
    let user = user.split(':').next().unwrap_or_default();
    if user.is_empty() {
        return Err("the user part is empty");
    }
    if !valid_host(&host) {
        return Err("the host is not a domain name or IP address");
    }
    Ok(format!("sip:{}@{host}", unescape(user)?))
}

/// A domain name, an IPv4 address or a bracketed IPv6 reference, with an optional port.
fn valid_host(host: &str) -> bool {
    if let Some(rest) = host.strip_prefix('[') {
        let Some((inner, port)) = rest.split_once(']') else { return false };
        return inner.parse::<std::net::Ipv6Addr>().is_ok() && valid_port(port);
    }
    let (name, port) = match host.find(':') {
        Some(at) => host.split_at(at),
        None => (host, ""),
    };
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    valid_port(port) && name.trim_end_matches('.').split('.').all(label)
}

fn valid_port(port: &str) -> bool {
    port.is_empty() || port.strip_prefix(':').is_some_and(|p| p.parse::<u16>().is_ok())
}

/// Undoes escapes of unreserved characters; keeps all others, with upper-case hexadecimal digits.
fn unescape(user: &str) -> Result<String, &'static str> {
    let mut out = String::with_capacity(user.len());
    let bytes = user.as_bytes();
    let mut i = 0;
    while i < bytes.len() {
        let b = bytes[i];
        if b == b'%' {
            let hex = user.get(i + 1..i + 3).ok_or("a % escape is cut short")?;
            let value = u8::from_str_radix(hex, 16).map_err(|_| "a % escape is not hexadecimal")?;
            if value.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&value) {
                out.push(value as char);
            } else {
                out.push('%');
                out.push_str(&hex.to_ascii_uppercase());
            }
            i += 3;
        } else if b.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,?/".contains(&b) {
            out.push(b as char);
            i += 1;
        } else {
            return Err("the user part has a character that must be escaped");
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::CpmAddress;

    #[test]
    fn canonical_forms() {
        for (input, expected) in [
            ("tel:+33612345678", "tel:+33612345678"),
            ("+33612345678", "tel:+33612345678"),
            ("TEL:+33-6-12(34)56.78;phone-context=x", "tel:+33612345678"),
            ("sip:Alice@Example.COM", "sip:Alice@example.com"),
            ("sips:alice@example.com;transport=tls?subject=x", "sip:alice@example.com"),
            ("alice@example.com", "sip:alice@example.com"),
            ("sip:al%69ce%40@example.com:5061", "sip:alice%40@example.com:5061"),
            ("sip:+1555;ext=1:secret@[::1]", "sip:+1555@[::1]"),
        ] {
            assert_eq!(CpmAddress::parse(input).map(|a| a.to_string()), Ok(expected.to_owned()), "{input}");
        }
    }

    #[test]
    fn refused() {
        for input in [
            "",
            "tel:",
            "+",
            "0612345678",
            "alice",
            "@example.com",
            "sip:alice@",
            "sip:a b@example.com",
            "+1234567890123456",
            "sip:a%4@h",
            "sip:alice@-bad-.com",
            "tel:+12a",
        ] {
            assert!(CpmAddress::parse(input).is_err(), "{input}");
        }
    }

    #[test]
    fn partition_is_stable() {
        // Known answers: a change here would strand every stored account.
        let part = |text: &str| CpmAddress::parse(text).map(|a| a.partition().0);
        assert_eq!(part("tel:+33612345678"), Ok(352));
        assert_eq!(part("sip:alice@example.com"), Ok(2440));
    }
}
