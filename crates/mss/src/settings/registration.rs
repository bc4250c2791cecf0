//! `[registration]`: who knows which addresses of a subscriber are registered together.

use std::net::SocketAddr;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::listen_address;

/// `[registration]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Registration {
    /// Whoever knows.
    pub provider: Provider,
    /// Seconds that a login waits for the provider.
    pub wait_seconds_max: u64,
    /// `host:port` of the proxy that SUBSCRIBE requests go to.
    pub sip_proxy: String,
    /// How messages travel between the two.
    pub sip_transport: SipTransport,
    /// Where the SIP/IP core sends NOTIFY requests: an address of this machine that it reaches.
    pub sip_listen: String,
    /// Who asks: the SIP URI by which the core knows this server.
    pub sip_uri: String,
}

/// Who knows registration sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// `mss account link`.
    Provisioned,
    /// The SIP/IP core.
    Sip,
}

/// How SIP messages travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SipTransport {
    /// A datagram each.
    Udp,
    /// One connection.
    Tcp,
}

impl Default for Registration {
    fn default() -> Self {
        Self {
            provider: Provider::Provisioned,
            wait_seconds_max: 5,
            sip_proxy: String::new(),
            sip_transport: SipTransport::Udp,
            sip_listen: String::new(),
            sip_uri: String::new(),
        }
    }
}

impl Registration {
    /// How the SIP/IP core is asked; none if it is not.
    ///
    /// # Errors
    /// One sentence that names the key.
    pub fn sip(&self) -> anyhow::Result<Option<reg_event::Options>> {
        if self.provider == Provider::Provisioned {
            return Ok(None);
        }
        let is_proxy = self
            .sip_proxy
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0));
        anyhow::ensure!(
            is_proxy && self.sip_proxy.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.:[]".contains(&b)),
            "registration.sip_proxy is {:?}, but must be a host and port of the SIP/IP core, like scscf.example.com:5060",
            self.sip_proxy
        );
        let listen = listen_address("registration.sip_listen", &self.sip_listen)?;
        let listen: SocketAddr =
            listen.context("registration.sip_listen is empty, but must be set for SIP")?;
        anyhow::ensure!(
            !listen.ip().is_unspecified() && listen.port() > 0,
            "registration.sip_listen is {listen}, but must be one address and port that the SIP/IP core reaches"
        );
        let transport = match self.sip_transport {
            SipTransport::Udp => reg_event::Transport::Udp,
            SipTransport::Tcp => reg_event::Transport::Tcp,
        };
        reg_event::check_uri(&self.sip_uri)
            .map_err(|error| anyhow::anyhow!("registration.sip_uri: {error}"))?;
        Ok(Some(reg_event::Options::new(self.sip_proxy.clone(), transport, listen, self.sip_uri.clone())))
    }
}
