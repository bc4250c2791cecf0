//! Settings of the notices to the PUSH enabler.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// `[push]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Push {
    /// Where notices are posted, http or https; empty for no notices.
    pub url: String,
    /// The form of notices.
    pub encoder: Encoder,
    /// File with `user:password` for Basic authentication (RFC 7617).
    pub basic_file: Option<PathBuf>,
    /// File with the token of Bearer authentication (RFC 6750).
    pub bearer_file: Option<PathBuf>,
    /// PEM file of the authorities one of which must have signed the enabler's certificate.
    pub ca_file: PathBuf,
    /// What this service is called in notices.
    pub service: String,
    /// Seconds for which a change is worth telling in detail; told to the enabler, too.
    pub ttl_seconds: u64,
    /// Notices under way at once.
    pub workers: usize,
    /// Seconds to wait for the enabler's answer.
    pub answer_seconds_max: u64,
    /// Posts of one notice that the enabler fails at, after which it is a dead letter.
    pub attempts_max: u32,
    /// Longest pause between two posts of a notice, and between two tries of an enabler that is down, seconds.
    pub retry_seconds_max: u64,
}

/// The form of notices, by the name that operators use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoder {
    /// JSON with an event list as of OMA NMS.
    Json,
    /// The event report of CPM networks, XML.
    Evfw,
    /// OMA PAP 2.1 with the event report as its content.
    Pap,
}

impl Default for Push {
    fn default() -> Self {
        Self {
            url: String::new(),
            encoder: Encoder::Json,
            basic_file: None,
            bearer_file: None,
            ca_file: "/etc/ssl/certs/ca-certificates.crt".into(),
            service: "mss".into(),
            ttl_seconds: 3_600,
            workers: 32,
            answer_seconds_max: 10,
            attempts_max: 8,
            retry_seconds_max: 60,
        }
    }
}

/// Bounds that a type alone does not tell.
pub fn check(push: &Push) -> anyhow::Result<()> {
    if !push.url.is_empty() {
        let url = push.url.parse::<http::Uri>().ok();
        let usable =
            url.is_some_and(|url| matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some());
        anyhow::ensure!(usable, "push.url is {:?}, but must be an http or https URL", push.url);
    }
    anyhow::ensure!(
        push.basic_file.is_none() || push.bearer_file.is_none(),
        "push.basic_file and push.bearer_file are two ways to authenticate: set one"
    );
    let fits = !push.service.is_empty()
        && push.service.len() <= 64
        && push.service.bytes().all(|b| b.is_ascii_graphic());
    anyhow::ensure!(
        fits,
        "push.service is {:?}, but must be 1 to 64 printable ASCII characters without spaces",
        push.service
    );
    Ok(())
}
