//! The IMAP front end of a process, from its settings; over a store here or elsewhere.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use imap_server::functions::Functions;
use imap_server::{CleartextLogin, Literals, Security, Server};
use reg_event::RegEvent;
use registration::{Provider, Provisioned, Registrations};
use store_api::{ChangeFeed, MailStore};
use tokio::net::TcpListener;
use vouch::oauth::Tokens;

use crate::commands::function;
use crate::keys::{self, Keys};
use crate::settings::{Registration, Settings, listen_address, proxies};
use crate::{oauth, reload, tls};

/// The IMAP listeners, bound and not served yet.
pub struct Front {
    imap: Option<TcpListener>,
    imaps: Option<TcpListener>,
    proxied: Option<TcpListener>,
    psk: Option<TcpListener>,
    keys: Keys,
    tls: Option<imap_server::Tls>,
    functions: Functions,
    registrations: Registrations,
    tokens: Option<Arc<Tokens>>,
}

impl Front {
    /// Binds the listeners of `settings` and reads the certificate.
    ///
    /// # Errors
    /// One sentence that names the key.
    pub async fn bind(settings: &Settings) -> anyhow::Result<Self> {
        let functions = settings.network_functions.file.as_deref().map(function::load).transpose();
        Ok(Self {
            functions: functions.context("network_functions.file")?.unwrap_or_default(),
            tokens: oauth::load(&settings.auth.oauth).await?,
            tls: tls::load(&settings.tls)?.inspect(tls::show_expiry),
            registrations: registrations(&settings.registration).await?,
            imap: bind("imap.listen", &settings.imap.listen).await?,
            imaps: bind("imap.tls_listen", &settings.imap.tls_listen).await?,
            proxied: bind("imap.proxy_listen", &settings.imap.proxy_listen).await?,
            psk: bind("imap.psk_listen", &settings.imap.psk_listen).await?,
            keys: keys::load(&settings.auth.psk)?,
        })
    }

    /// Where it listens, by the words of the ready line.
    pub fn addresses(&self) -> anyhow::Result<[(&'static str, Option<SocketAddr>); 4]> {
        Ok([
            ("imap", address(self.imap.as_ref())?),
            ("imaps", address(self.imaps.as_ref())?),
            ("proxied", address(self.proxied.as_ref())?),
            ("psk", address(self.psk.as_ref())?),
        ])
    }

    /// Serves this store and feed, and looks after files that may change.
    ///
    /// # Errors
    /// If the system gives no SIGHUP.
    pub fn serve(
        self,
        settings: &Settings,
        store: Arc<dyn MailStore>,
        feed: Arc<dyn ChangeFeed>,
        decoy_key: [u8; 32],
    ) -> anyhow::Result<Server> {
        if self.tls.is_none() && self.imap.is_some() {
            tracing::warn!(
                "no certificate is configured: login in clear is allowed on loopback addresses only"
            );
        }
        let options = imap_server::Options {
            functions: self.functions,
            tokens: self.tokens.clone(),
            psk: self.keys.acceptor,
            proxies: proxies(&settings.imap)?,
            registrations: self.registrations,
            ..options(settings, self.tls, decoy_key)
        };
        let server = Server::new(store, feed, options);
        if let Some(tokens) = &self.tokens {
            tokio::spawn(tokens.clone().keep_fresh());
        }
        reload::watch(settings, server.clone(), self.keys.file)?;
        let listeners = [
            (self.imap, Security::Cleartext),
            (self.imaps, Security::Tls),
            (self.proxied, Security::Proxied),
            (self.psk, Security::Psk),
        ];
        for (listener, security) in listeners {
            if let Some(listener) = listener {
                let server = server.clone();
                tokio::spawn(async move { server.serve(listener, security).await });
            }
        }
        Ok(server)
    }
}

/// Whoever knows registration sets, by the settings.
async fn registrations(settings: &Registration) -> anyhow::Result<Registrations> {
    let provider: Arc<dyn Provider> = match settings.sip()? {
        None => Arc::new(Provisioned),
        Some(options) => {
            let started = RegEvent::start(options).await;
            Arc::new(started.map_err(|error| anyhow::anyhow!("registration.sip_listen: {error}"))?)
        }
    };
    let budget = Duration::from_secs(settings.wait_seconds_max);
    Ok(Registrations::new(provider, registration::Options { budget, ..registration::Options::default() }))
}

fn options(settings: &Settings, tls: Option<imap_server::Tls>, decoy_key: [u8; 32]) -> imap_server::Options {
    let limits = &settings.limits;
    imap_server::Options {
        tls,
        cleartext_login: CleartextLogin::Loopback,
        decoy_key: Some(decoy_key.to_vec().into()),
        comment: Some(settings.imap.comment.clone()).filter(|text| !text.is_empty()),
        admin: Some(settings.imap.admin.clone()).filter(|text| !text.is_empty()),
        url_host: Some(settings.imap.url_host.clone()).filter(|text| !text.is_empty()),
        literals: if settings.imap.literal_minus { Literals::Minus } else { Literals::Plus },
        siblings: settings.imap.siblings,
        functions: Functions::default(),
        conversion: settings.convert.conversion(),
        proxies: Vec::new(),
        limits: imap_server::Limits {
            connections_max: limits.connections_max,
            connections_per_address_max: limits.connections_per_address_max,
            sessions_per_account_max: limits.connections_per_account_max,
            login_time_max: Duration::from_secs(limits.login_seconds_max),
            silence_max: Duration::from_secs(limits.idle_seconds_max),
            write_stall_max: Duration::from_secs(limits.write_stall_seconds_max),
            login_failures_per_account_max: limits.login_failures_max,
            idle_keepalive: Duration::from_secs(settings.imap.idle_keepalive_seconds),
            line_bytes_max: limits.command_line_bytes_max,
            ..imap_server::Limits::default()
        },
        ..imap_server::Options::default()
    }
}

/// Binds one listener; none for an empty address.
///
/// # Errors
/// One sentence that names `key`.
pub async fn bind(key: &str, address: &str) -> anyhow::Result<Option<TcpListener>> {
    match listen_address(key, address)? {
        None => Ok(None),
        Some(address) => TcpListener::bind(address)
            .await
            .map(Some)
            .with_context(|| format!("{key}: {address} cannot be listened on")),
    }
}

/// Where a listener listens.
pub fn address(listener: Option<&TcpListener>) -> anyhow::Result<Option<SocketAddr>> {
    Ok(listener.map(TcpListener::local_addr).transpose()?)
}

/// The one line that says a role is ready, on standard output.
pub fn announce(addresses: impl IntoIterator<Item = (&'static str, Option<SocketAddr>)>) {
    let mut line = "ready".to_owned();
    for (name, address) in addresses {
        if let Some(address) = address {
            line.push_str(&format!(" {name}={address}"));
        }
    }
    println!("{line}");
    let _ = std::io::Write::flush(&mut std::io::stdout());
}
