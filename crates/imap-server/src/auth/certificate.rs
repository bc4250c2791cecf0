//! What a client's certificate says of the client, once TLS has verified who signed it.
//!
//! Subject alternative names of the form URI are read: `sip:`, `sips:` and `tel:` name accounts that the client may log in
//! to by SASL EXTERNAL; one that is the identity of a device (`urn:gsma:imei:…`, `urn:uuid:…`) names the device.
//! Source: RFC 5280 §4.2.1.6, RFC 4422 appendix A.

use model::{CpmAddress, DeviceId};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Names of one certificate that are looked at, at most; the authority that made it sees it.
const NAMES_MAX: usize = 64;

/// Who a verified certificate names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClientCertificate {
    /// Accounts, in the certificate's order; repeated ones once.
    pub addresses: Vec<CpmAddress>,
    /// The first device.
    pub device: Option<DeviceId>,
}

impl ClientCertificate {
    /// Of a certificate in DER. One that cannot be read names nobody.
    pub fn read(der: &[u8]) -> Self {
        let mut read = Self::default();
        let Ok((_, certificate)) = X509Certificate::from_der(der) else { return read };
        let Ok(Some(names)) = certificate.subject_alternative_name() else { return read };
        for name in names.value.general_names.iter().take(NAMES_MAX) {
            let GeneralName::URI(uri) = name else { continue };
            let scheme = uri.split(':').next().unwrap_or_default().to_ascii_lowercase();
            match scheme.as_str() {
                "sip" | "sips" | "tel" => {
                    if let Ok(address) = CpmAddress::parse(uri)
                        && !read.addresses.contains(&address)
                    {
                        read.addresses.push(address);
                    }
                }
                "urn" if read.device.is_none() => read.device = DeviceId::parse(uri.as_bytes()).ok(),
                _ => {}
            }
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(uris: &[&str]) -> (Vec<String>, Option<String>) {
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
        for uri in uris {
            params.subject_alt_names.push(rcgen::SanType::URI((*uri).try_into().expect("ASCII")));
        }
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        let read = ClientCertificate::read(certificate.der());
        let addresses = read.addresses.iter().map(ToString::to_string).collect();
        (addresses, read.device.map(|device| device.to_string()))
    }

    #[test]
    fn names() {
        let imei = "urn:gsma:imei:90420156-025763-0";
        assert_eq!(read(&[]), (vec![], None));
        assert_eq!(read(&["http://example.net/", "+15550001"]), (vec![], None));
        assert_eq!(
            read(&["tel:+1-555-0001", "SIP:alice@Example.COM", imei, "tel:+15550001", "urn:uuid:x"]),
            (vec!["tel:+15550001".to_owned(), "sip:alice@example.com".to_owned()], Some(imei.to_owned()))
        );
        assert_eq!(ClientCertificate::read(b"no certificate"), ClientCertificate::default());
    }
}
