//! What a client says in OAUTHBEARER (RFC 7628 §3.1).
//!
//! ```text
//! client-resp = (gs2-header kvsep *kvpair kvsep) / kvsep
//! kvpair      = key "=" value kvsep          ; key: letters; kvsep: 1
//! gs2-header  = ("n" / "y") "," ["a=" saslname] ","
//! ```

use secrecy::SecretString;

use super::{canonical, sasl};

/// The first message.
#[derive(Debug)]
pub(crate) struct BearerFirst {
    pub authorize_as: Option<String>,
    /// Empty where the client only asks which authorization server to go to (§4.3).
    pub token: SecretString,
}

impl BearerFirst {
    /// None when the message does not follow the grammar. Host and port, which tell a server of many names apart, are
    /// passed over: this one has one set of accounts.
    pub fn parse(message: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(message).ok()?;
        let (header, pairs) = text.split_once('\x01')?;
        let mut header = header.splitn(3, ',');
        // No channel binding (§3.1), and no other form of message.
        if !matches!(header.next()?, "n" | "y") {
            return None;
        }
        let authorize_as = match header.next()? {
            "" => None,
            id => Some(sasl::saslname(id.strip_prefix("a=")?)?),
        };
        if !header.next()?.is_empty() {
            return None;
        }
        let mut token = None;
        for pair in pairs.strip_suffix("\x01\x01")?.split('\x01') {
            let (key, value) = pair.split_once('=')?;
            let printable = |b: u8| b.is_ascii_graphic() || b" \t\r\n".contains(&b);
            if key.is_empty()
                || !key.bytes().all(|b| b.is_ascii_alphabetic())
                || !value.bytes().all(printable)
            {
                return None;
            }
            if key == "auth" {
                let given = match value.split_once(' ') {
                    Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
                    None if value.is_empty() => "",
                    _ => return None,
                };
                if token.replace(given).is_some() {
                    return None;
                }
            }
        }
        Some(Self { authorize_as, token: token?.into() })
    }

    /// What failures are counted by, besides where they come from: the name that the client gives, or the token itself.
    /// One count for all tokens would let a few phones with old ones shut out all behind the same carrier's address.
    pub fn counted_by(&self) -> String {
        use secrecy::ExposeSecret;
        match &self.authorize_as {
            Some(name) => canonical(name),
            None => self.token.expose_secret().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn read(text: &str) -> Option<(Option<String>, String)> {
        let read = BearerFirst::parse(text.as_bytes())?;
        Some((read.authorize_as, read.token.expose_secret().to_owned()))
    }

    #[test]
    fn first_messages() {
        // RFC 7628 §4.1 and §4.3.
        assert_eq!(
            read(
                "n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=Bearer vF9dft4q==\x01\x01"
            ),
            Some((Some("user@example.com".into()), "vF9dft4q==".into()))
        );
        assert_eq!(read("y,,\x01auth=bearer x\x01\x01"), Some((None, "x".into())));
        assert_eq!(read("n,,\x01auth=\x01\x01"), Some((None, String::new())));
        for bad in [
            "",
            "\x01",
            "n,,",
            "n,,\x01\x01",
            "n,,\x01auth=Bearer x",
            "n,,\x01auth=Bearer x\x01",
            "n,,\x01host=a\x01\x01",
            "n,,x\x01auth=Bearer x\x01\x01",
            "p=tls-exporter,,\x01auth=Bearer x\x01\x01",
            "n,user,\x01auth=Bearer x\x01\x01",
            "n,a=a=,\x01auth=Bearer x\x01\x01",
            "n,,\x01auth=Basic x\x01\x01",
            "n,,\x01auth=Bearer x\x01auth=Bearer y\x01\x01",
            "n,,\x01auth=Bearer \u{e9}\x01\x01",
            "n,,\x01=a\x01auth=Bearer x\x01\x01",
        ] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }
}
