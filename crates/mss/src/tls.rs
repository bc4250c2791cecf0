//! The certificate of the IMAP listeners, from PEM files.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::settings::Tls;

/// Reads the certificate chain and key; none if none are configured. TLS 1.2 and 1.3 only (RFC 8996).
///
/// # Errors
/// One sentence that names the key of the file that cannot be used.
pub fn load(settings: &Tls) -> anyhow::Result<Option<imap_server::Tls>> {
    let (Some(certificate), Some(key)) = (&settings.certificate, &settings.key) else { return Ok(None) };
    let chain = read_chain(certificate)
        .with_context(|| format!("tls.certificate: {} cannot be used", certificate.display()))?;
    let key = PrivateKeyDer::from_pem_file(key)
        .with_context(|| format!("tls.key: {} has no private key in PEM form", key.display()))?;
    let first = chain.first().cloned();
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .context("tls.certificate and tls.key do not belong together")?;
    Ok(Some(imap_server::Tls { config: Arc::new(config), certificate: first }))
}

fn read_chain(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let chain = CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>()?;
    anyhow::ensure!(!chain.is_empty(), "it has no certificate in PEM form");
    Ok(chain)
}
