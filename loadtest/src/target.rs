//! A server to measure: where it is, who logs in, and which processes are its own.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use crate::processes::ProcessSource;
use crate::users::UserPattern;

/// How the connection is protected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tls {
    /// Cleartext.
    #[default]
    None,
    /// TLS from the first octet (RFC 8314).
    Implicit,
    /// The STARTTLS command (RFC 9051 §6.2.1).
    Starttls,
}

impl FromStr for Tls {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "none" => Self::None,
            "implicit" => Self::Implicit,
            "starttls" => Self::Starttls,
            _ => bail!("tls is none, implicit or starttls, not {text:?}"),
        })
    }
}

/// One server. In TOML the keys are the fields' names; in the compact form (see [`Target::parse`]) the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Name in tables; the address when empty.
    #[serde(default)]
    pub name: String,
    /// `host:port`.
    pub address: String,
    /// How the connection is protected.
    #[serde(default)]
    pub tls: Tls,
    /// The accounts' names.
    #[serde(default = "default_users")]
    pub users: UserPattern,
    /// How many accounts there are, numbered from 1.
    #[serde(default = "default_count")]
    pub count: u32,
    /// The password of all of them; never written to a report.
    #[serde(default, skip_serializing)]
    pub password: String,
    /// Which processes are the server's.
    #[serde(default)]
    pub pid: ProcessSource,
    /// The server's data directory, for profiles that drop its files from the page cache.
    #[serde(default)]
    pub data: Option<PathBuf>,
    /// Acknowledge at once what the server sends (Linux TCP_QUICKACK): for servers that leave Nagle's algorithm on.
    #[serde(default)]
    pub quickack: bool,
    /// `host:port` at which this program plays the server's PUSH enabler, for profiles about notices.
    #[serde(default)]
    pub push: String,
}

fn default_users() -> UserPattern {
    // The literal is a pattern by this module's own test.
    "user{n}".parse().unwrap_or_else(|_| unreachable!("a valid pattern"))
}

fn default_count() -> u32 {
    1
}

impl Target {
    /// Reads a target from a TOML file when `spec` ends in `.toml`, else from its compact form:
    /// `host:port[,key=value]…`, for example
    /// `127.0.0.1:1143,name=mss,users=tel:+1555{n:07},count=100,password=secret,pid=auto,data=/var/lib/x`.
    ///
    /// # Errors
    /// What is wrong with the file or the text, for people.
    pub fn parse(spec: &str) -> anyhow::Result<Self> {
        let mut target = if Path::new(spec).extension().is_some_and(|e| e == "toml") {
            let text = std::fs::read_to_string(spec).with_context(|| format!("cannot read target {spec}"))?;
            toml::from_str(&text).with_context(|| format!("target {spec}"))?
        } else {
            Self::parse_compact(spec).with_context(|| format!("target {spec:?}"))?
        };
        if target.host_and_port().is_none() {
            bail!("target address {:?} is not host:port", target.address);
        }
        if target.count == 0 {
            bail!("target {}: count must be at least 1", target.address);
        }
        if target.name.is_empty() {
            target.name.clone_from(&target.address);
        }
        Ok(target)
    }

    fn parse_compact(spec: &str) -> anyhow::Result<Self> {
        let mut parts = spec.split(',');
        let mut target = Self {
            name: String::new(),
            address: parts.next().unwrap_or_default().to_owned(),
            tls: Tls::None,
            users: default_users(),
            count: default_count(),
            password: String::new(),
            pid: ProcessSource::default(),
            data: None,
            quickack: false,
            push: String::new(),
        };
        for part in parts {
            let (key, value) = part.split_once('=').unwrap_or((part, "true"));
            match key {
                "name" => value.clone_into(&mut target.name),
                "tls" => target.tls = value.parse()?,
                "users" => target.users = value.parse()?,
                "count" => target.count = value.parse().context("count is a number")?,
                "password" => value.clone_into(&mut target.password),
                "pid" => target.pid = value.parse()?,
                "data" => target.data = Some(value.into()),
                "push" => value.clone_into(&mut target.push),
                "quickack" => target.quickack = value.parse().context("quickack is true or false")?,
                _ => bail!("{key:?} is no key; known: name tls users count password pid data quickack push"),
            }
        }
        Ok(target)
    }

    /// The two halves of the address; brackets around an IPv6 host are taken off.
    pub fn host_and_port(&self) -> Option<(&str, u16)> {
        let (host, port) = self.address.rsplit_once(':')?;
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        (!host.is_empty()).then_some(())?;
        Some((host, port.parse().ok()?))
    }

    /// The account that connection `index` (from 0) uses.
    pub fn user(&self, index: u32) -> String {
        self.users.name(index % self.count + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compact_form_and_toml_say_the_same() {
        let compact = Target::parse(
            "127.0.0.1:1143,name=a,users=tel:+1555{n:07},count=9,password=p,pid=auto,tls=implicit,data=/d,quickack",
        )
        .unwrap();
        let toml: Target = toml::from_str(
            r#"
            name = "a"
            address = "127.0.0.1:1143"
            tls = "implicit"
            users = "tel:+1555{n:07}"
            count = 9
            password = "p"
            pid = "auto"
            data = "/d"
            quickack = true
            "#,
        )
        .unwrap();
        assert_eq!(compact, toml);
        assert_eq!(compact.user(0), "tel:+15550000001");
        assert_eq!(compact.user(9), "tel:+15550000001");
        assert_eq!(compact.host_and_port(), Some(("127.0.0.1", 1143)));
        assert!(!serde_json::to_string(&compact).unwrap().contains("password"));
    }

    #[test]
    fn what_is_wrong_is_refused() {
        for spec in
            ["", "host", "host:99999", "h:1,colour=red", "h:1,count=0", "h:1,tls=maybe", "h:1,pid=zero"]
        {
            assert!(Target::parse(spec).is_err(), "{spec}");
        }
        assert_eq!(Target::parse("[::1]:143").unwrap().host_and_port(), Some(("::1", 143)));
    }
}
