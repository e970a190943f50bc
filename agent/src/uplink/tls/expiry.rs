//! When certificates and revocation lists end.

use std::path::Path;

use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

use super::{TlsConfig, certificates, revocations};

/// When one thing ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiry {
    /// `cert_file`, `ca_file`, `crl_file`, or `gateway`: the certificate that the gateway has shown.
    pub what: &'static str,
    /// Whose: the subject of a certificate, the issuer of a list.
    pub name: String,
    /// The last moment at which it is valid, seconds since the Unix epoch.
    pub not_after: i64,
}

/// What can be read of the files; what cannot is told when a connection is made.
pub(super) fn of_files(config: &TlsConfig) -> Vec<Expiry> {
    let of = |what: &'static str, path: &Path| {
        let found = certificates(what, path).unwrap_or_default();
        found.into_iter().filter_map(move |der| of_certificate(what, &der)).collect::<Vec<_>>()
    };
    let mut all = of("ca_file", &config.ca_file);
    all.extend(config.cert_file.iter().flat_map(|path| of("cert_file", path)));
    for list in config.crl_file.iter().flat_map(|path| revocations(path).unwrap_or_default()) {
        if let Ok((_, list)) = CertificateRevocationList::from_der(&list)
            && let Some(end) = list.next_update()
        {
            all.push(Expiry { what: "crl_file", name: list.issuer().to_string(), not_after: end.timestamp() });
        }
    }
    all
}

/// `None`: it cannot be read.
pub(super) fn of_certificate(what: &'static str, der: &[u8]) -> Option<Expiry> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let not_after = certificate.validity().not_after.timestamp();
    Some(Expiry { what, name: certificate.subject().to_string(), not_after })
}
