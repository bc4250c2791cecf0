//! The certificate that roles show each other, and connections to storage nodes.

use std::path::PathBuf;

use anyhow::Context as _;
use store_rpc::{Channel, Endpoint, Tls};

use crate::settings::{RpcTls, Settings, roles};

/// Reads the files of `[rpc_tls]`; none if none are configured.
///
/// # Errors
/// One sentence that names the key of the file that cannot be read.
pub fn tls(settings: &RpcTls) -> anyhow::Result<Option<Tls>> {
    let (Some(certificate), Some(key), Some(ca)) =
        (&settings.certificate, &settings.key, &settings.client_ca)
    else {
        return Ok(None);
    };
    let read = |name: &str, path: &PathBuf| {
        std::fs::read(path).with_context(|| format!("rpc_tls.{name}: {} cannot be read", path.display()))
    };
    Ok(Some(Tls {
        certificate: read("certificate", certificate)?,
        key: read("key", key)?,
        ca: read("client_ca", ca)?,
    }))
}

/// Refuses an address to which passwords and mail would go in clear over a network.
///
/// # Errors
/// One sentence that names `key`.
pub fn check_address(key: &str, endpoint: &Endpoint, tls: &RpcTls) -> anyhow::Result<()> {
    let Endpoint::Http(url) = endpoint else { return Ok(()) };
    if tls.allow_clear {
        return Ok(());
    }
    let host = url.trim_start_matches("http://").rsplit_once(':').map_or("", |(host, _)| host);
    let ip = host.trim_matches(['[', ']']).parse().ok();
    if host == "localhost" || ip.is_some_and(|ip: std::net::IpAddr| ip.is_loopback()) {
        return Ok(());
    }
    anyhow::bail!(
        "{key} is {url}, in clear beyond this machine: it must be https, or rpc_tls.allow_clear must be true"
    )
}

/// Channels to one storage node, for a tool.
///
/// # Errors
/// One sentence that says what is wrong with the address.
pub fn channels(endpoint: &Endpoint, settings: &Settings) -> anyhow::Result<Vec<Channel>> {
    check_address("--store", endpoint, &settings.rpc_tls)?;
    Ok(store_rpc::connect(endpoint, tls(&settings.rpc_tls)?.as_ref())?)
}

/// The nodes of a front end.
///
/// # Errors
/// One sentence that names the key.
pub fn nodes(settings: &Settings) -> anyhow::Result<Vec<Endpoint>> {
    let endpoints = roles::endpoints(&settings.front)?;
    for endpoint in &endpoints {
        check_address("front.store", endpoint, &settings.rpc_tls)?;
    }
    Ok(endpoints)
}
