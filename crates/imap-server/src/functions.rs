//! Network functions: programs of the operator, such as a Participating Function, that log in under a name of their own
//! and act for subscribers.
//!
//! They are provisioned at the front end, in a text that [`Functions::parse`] reads, because it is the front end that
//! vouches for who asks. A line a function:
//!
//! ```text
//! NAME SCRAM-SHA-256$ROUNDS:SALT$STOREDKEY:SERVERKEY [from=NETWORK[,NETWORK…]]
//! ```
//!
//! The second word is the SCRAM verifier as RFC 5803 §3 writes it, salt and keys in base64. `from` names the networks
//! that the function connects from; without it, any. Empty lines and lines that begin with `#` say nothing.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ipnet::IpNet;
use model::limits::{NETWORK_FUNCTION_NAME_BYTES_MAX, NETWORK_FUNCTIONS_MAX};
use store_api::{Credentials, ScramVerifier};

/// A name that is no CPM address: it begins with a letter, and has letters, digits, `-`, `_` and `.`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FunctionName(Box<str>);

impl FunctionName {
    /// The name as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for FunctionName {
    type Err = FunctionError;

    fn from_str(text: &str) -> Result<Self, FunctionError> {
        let letters = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        let begins = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic());
        if letters && begins && text.len() <= NETWORK_FUNCTION_NAME_BYTES_MAX {
            Ok(Self(text.into()))
        } else {
            Err(FunctionError::Name)
        }
    }
}

impl fmt::Display for FunctionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is wrong with a line; never shows what the line has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FunctionError {
    /// A name that cannot be one.
    #[error(
        "the name of a network function begins with a letter and has letters, digits, '-', '_' and '.', \
         {NETWORK_FUNCTION_NAME_BYTES_MAX} at most"
    )]
    Name,
    /// Two lines of one name.
    #[error("the name stands in an earlier line")]
    Twice,
    /// The second word.
    #[error("the second word must be SCRAM-SHA-256$ROUNDS:SALT$STOREDKEY:SERVERKEY (RFC 5803)")]
    Verifier,
    /// A network of `from=`.
    #[error("from= must name networks as 192.0.2.0/24 or 2001:db8::/32, or addresses, with commas between")]
    Network,
    /// A word that means nothing.
    #[error("after name and verifier only from=NETWORK may stand")]
    Word,
    /// Too many lines.
    #[error("there are more than {NETWORK_FUNCTIONS_MAX} network functions")]
    TooMany,
}

/// One network function.
#[derive(Clone, Debug)]
pub struct NetworkFunction {
    /// What it logs in as.
    pub name: FunctionName,
    /// Checks its password: always SCRAM keys.
    pub credentials: Credentials,
    /// Where it may connect from; empty for everywhere.
    pub from: Vec<IpNet>,
}

impl NetworkFunction {
    /// Reads one line.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(line: &str) -> Result<Self, FunctionError> {
        let mut words = line.split_ascii_whitespace();
        let name = words.next().unwrap_or_default().parse()?;
        let verifier = words.next().and_then(read_verifier).ok_or(FunctionError::Verifier)?;
        let mut from = Vec::new();
        for word in words {
            for network in word.strip_prefix("from=").ok_or(FunctionError::Word)?.split(',') {
                from.push(parse_network(network).ok_or(FunctionError::Network)?);
            }
        }
        Ok(Self { name, credentials: Credentials::Scram(verifier), from })
    }

    /// The line that [`NetworkFunction::parse`] reads. It is as secret as a password file.
    pub fn line(name: &FunctionName, verifier: &ScramVerifier, from: &[IpNet]) -> String {
        let [salt, stored, server] = [&verifier.salt[..], &verifier.stored_key, &verifier.server_key]
            .map(|part| STANDARD.encode(part));
        let mut line = format!("{name} SCRAM-SHA-256${}:{salt}${stored}:{server}", verifier.iterations);
        for (number, network) in from.iter().enumerate() {
            line.push_str(if number == 0 { " from=" } else { "," });
            line.push_str(&network.to_string());
        }
        line
    }

    fn may_come_from(&self, peer: IpAddr) -> bool {
        self.from.is_empty() || contains(&self.from, peer)
    }
}

/// Whether an address lies in one of these networks; an IPv4 address mapped into IPv6 is taken as the IPv4 address.
pub(crate) fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

/// A network, or an address as the network of itself.
pub fn parse_network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

fn read_verifier(text: &str) -> Option<ScramVerifier> {
    let (rounds_and_salt, keys) = text.strip_prefix("SCRAM-SHA-256$")?.split_once('$')?;
    let (rounds, salt) = rounds_and_salt.split_once(':')?;
    let (stored, server) = keys.split_once(':')?;
    let key = |text: &str| STANDARD.decode(text).ok()?.try_into().ok();
    let verifier = ScramVerifier {
        iterations: rounds.parse().ok().filter(|rounds| (1..=10_000_000).contains(rounds))?,
        salt: STANDARD.decode(salt).ok().filter(|salt| !salt.is_empty())?,
        stored_key: key(stored)?,
        server_key: key(server)?,
    };
    Some(verifier)
}

/// All network functions of a front end, by name.
#[derive(Clone, Debug, Default)]
pub struct Functions(HashMap<FunctionName, Arc<NetworkFunction>>);

impl Functions {
    /// Reads a text of lines.
    ///
    /// # Errors
    /// The number of the first line that is wrong, counted from 1, and what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, (usize, FunctionError)> {
        let mut functions = HashMap::new();
        for (number, line) in (1..).zip(text.lines()) {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let function = NetworkFunction::parse(line).map_err(|error| (number, error))?;
            if functions.len() == NETWORK_FUNCTIONS_MAX {
                return Err((number, FunctionError::TooMany));
            }
            if functions.insert(function.name.clone(), Arc::new(function)).is_some() {
                return Err((number, FunctionError::Twice));
            }
        }
        Ok(Self(functions))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The function of that name, when it may connect from `peer`.
    pub(crate) fn find(&self, name: &str, peer: IpAddr) -> Option<Arc<NetworkFunction>> {
        let function = self.0.get(&name.parse::<FunctionName>().ok()?)?;
        function.may_come_from(peer).then(|| function.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::derive_scram_with;
    use model::CpmAddress;

    fn line(name: &str, from: &[&str]) -> String {
        let verifier =
            derive_scram_with(&b"pencil".to_vec().into(), b"salty".to_vec(), 4096).expect("a password");
        let from: Vec<_> = from.iter().map(|text| parse_network(text).expect("a network")).collect();
        NetworkFunction::line(&name.parse().expect("a name"), &verifier, &from)
    }

    #[test]
    fn what_is_written_is_read() {
        let text =
            format!("# the first\n\n{}\n{}\n", line("pf-1", &[]), line("pf-2", &["10.0.0.0/8", "::1"]));
        let functions = Functions::parse(&text).expect("two functions");
        let local = "127.0.0.1".parse().expect("an address");
        let pf_1 = functions.find("pf-1", local).expect("from anywhere");
        assert!(crate::credentials::verify(&pf_1.credentials, &b"pencil".to_vec().into()));
        assert!(functions.find("PF-1", local).is_none() && functions.find("pf-2", local).is_none());
        for from in ["10.1.2.3", "::ffff:10.1.2.3", "::1"] {
            assert!(functions.find("pf-2", from.parse().expect("an address")).is_some(), "{from}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_by_line() {
        let good = line("pf", &[]);
        let verifier = good.strip_prefix("pf ").expect("a verifier");
        for (text, error) in [
            (format!("\n1pf {verifier}"), (2, FunctionError::Name)),
            (format!("a@b {verifier}"), (1, FunctionError::Name)),
            (format!("+15550001 {verifier}"), (1, FunctionError::Name)),
            (format!("{} {verifier}", "a".repeat(65)), (1, FunctionError::Name)),
            (format!("{good}\n# more\n{good}"), (3, FunctionError::Twice)),
            ("pf".to_owned(), (1, FunctionError::Verifier)),
            ("pf secret".to_owned(), (1, FunctionError::Verifier)),
            (good.replace("4096", "0"), (1, FunctionError::Verifier)),
            (format!("{good} from="), (1, FunctionError::Network)),
            (format!("{good} from=10.0.0.0/33"), (1, FunctionError::Network)),
            (format!("{good} 10.0.0.0/8"), (1, FunctionError::Word)),
        ] {
            assert_eq!(Functions::parse(&text).map(|f| f.len()), Err(error), "{text}");
        }
    }

    /// Else a subscriber's user name could be a function's.
    #[test]
    fn no_name_is_an_address() {
        for name in ["pf", "tel", "sip", "a.b-c_d", "T15550001"] {
            assert!(name.parse::<FunctionName>().is_ok() && CpmAddress::parse(name).is_err(), "{name}");
        }
    }
}
