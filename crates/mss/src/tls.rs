//! The certificate of the IMAP listeners, from PEM files.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use metrics::{Unit, describe_gauge, gauge};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::settings::Tls;

/// Reads the certificate chain and key, and the authorities of clients; none if none are configured. TLS 1.2 and 1.3 only
/// (RFC 8996).
///
/// # Errors
/// One sentence that names the key of the file that cannot be used.
pub fn load(settings: &Tls) -> anyhow::Result<Option<imap_server::Tls>> {
    let (Some(certificate), Some(key)) = (&settings.certificate, &settings.key) else {
        anyhow::ensure!(
            settings.client_ca.is_none(),
            "tls.client_ca is set, so tls.certificate and tls.key must name PEM files"
        );
        return Ok(None);
    };
    let chain = read_chain(certificate)
        .with_context(|| format!("tls.certificate: {} cannot be used", certificate.display()))?;
    let key = PrivateKeyDer::from_pem_file(key)
        .with_context(|| format!("tls.key: {} has no private key in PEM form", key.display()))?;
    let first = chain.first().cloned();
    let builder = match &settings.client_ca {
        None => rustls::ServerConfig::builder().with_no_client_auth(),
        Some(path) => {
            let roots = read_roots(path)
                .with_context(|| format!("tls.client_ca: {} cannot be used", path.display()))?;
            // Clients need no certificate; one that they show must be good.
            let verifier = WebPkiClientVerifier::builder(Arc::new(roots))
                .allow_unauthenticated()
                .build()
                .context("tls.client_ca")?;
            rustls::ServerConfig::builder().with_client_cert_verifier(verifier)
        }
    };
    let config = builder.with_single_cert(chain, key).map_err(|error| {
        let what = wrong(&error);
        anyhow::Error::new(error).context(what)
    })?;
    Ok(Some(imap_server::Tls { config: Arc::new(config), certificate: first }))
}

/// What is wrong with a certificate and its key.
fn wrong(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::InconsistentKeys(_) => "tls.certificate and tls.key do not belong together",
        // Of version 1, say, which has no names of hosts.
        rustls::Error::InvalidCertificate(_) => "tls.certificate is none that clients could take",
        _ => "tls.certificate and tls.key cannot be used",
    }
}

fn read_chain(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let chain = CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>()?;
    anyhow::ensure!(!chain.is_empty(), "it has no certificate in PEM form");
    Ok(chain)
}

fn read_roots(path: &Path) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in read_chain(path)? {
        roots.add(certificate)?;
    }
    Ok(roots)
}

/// Shows when the certificate that clients are shown ends.
pub fn show_expiry(tls: &imap_server::Tls) {
    describe_gauge!(
        "mss_tls_certificate_expiry_seconds",
        Unit::Seconds,
        "When the certificate that clients are shown ends, in Unix time."
    );
    let Some(certificate) = &tls.certificate else { return };
    if let Ok((_, certificate)) = X509Certificate::from_der(certificate) {
        gauge!("mss_tls_certificate_expiry_seconds").set(certificate.validity().not_after.timestamp() as f64);
    }
}

#[cfg(test)]
mod tests {
    use rustls::{CertificateError, Error, InconsistentKeys};

    use super::wrong;

    #[test]
    fn what_is_wrong_is_told_of_what_is_to_blame() {
        let mismatch = Error::InconsistentKeys(InconsistentKeys::KeyMismatch);
        assert_eq!(wrong(&mismatch), "tls.certificate and tls.key do not belong together");
        let unusable = Error::InvalidCertificate(CertificateError::BadEncoding);
        assert_eq!(wrong(&unusable), "tls.certificate is none that clients could take");
    }
}
