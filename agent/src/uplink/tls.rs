//! rustls from PEM files. The provider is named here, so nothing depends on a process-wide default.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use thiserror::Error;

use super::config::TlsConfig;

/// Why certificates or keys cannot be used. Fixing the file is enough: files are read at each connection.
#[derive(Debug, Error)]
pub enum TlsError {
    /// No authority to trust.
    #[error("ca_file is empty; name the PEM file of the authority that signed the gateway's certificate")]
    NoCa,
    /// The file cannot be read or is not PEM.
    #[error("{what} {path}: {source}; it must be a readable PEM file")]
    File {
        /// Which file.
        what: &'static str,
        /// Its path.
        path: PathBuf,
        /// What is wrong.
        source: PemError,
    },
    /// The file is PEM but holds no certificate.
    #[error("{what} {path}: no certificate in it; expected a BEGIN CERTIFICATE section")]
    NoCertificate {
        /// Which file.
        what: &'static str,
        /// Its path.
        path: PathBuf,
    },
    /// A certificate that rustls does not take.
    #[error("ca_file {path}: certificate {index} cannot be used: {source}")]
    Ca {
        /// The path.
        path: PathBuf,
        /// Which certificate of the file, from 1.
        index: usize,
        /// What is wrong.
        source: rustls::Error,
    },
    /// Only one of the pair.
    #[error("cert_file and key_file go together; {missing} is missing")]
    HalfAPair {
        /// The one that is missing.
        missing: &'static str,
    },
    /// The key is of an unknown kind or does not belong to the certificate.
    #[error("cert_file {cert} with key_file {key}: {source}; do they belong together?")]
    Pair {
        /// The certificate's path.
        cert: PathBuf,
        /// The key's path.
        key: PathBuf,
        /// What is wrong.
        source: rustls::Error,
    },
    /// Not a name that a certificate could carry.
    #[error("{name:?} is neither a DNS name nor an IP address: {source}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong.
        source: InvalidDnsNameError,
    },
    /// rustls refuses the combination.
    #[error("{0}")]
    Setup(String),
}

/// Reads the files and makes rustls' configuration for a connection to `host`.
pub(crate) fn client_config(config: &TlsConfig, host: &str) -> Result<Arc<ClientConfig>, TlsError> {
    if config.ca_file.as_os_str().is_empty() {
        return Err(TlsError::NoCa);
    }
    server_name(host)?;
    let roots = Arc::new(roots(&config.ca_file)?);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Setup(error.to_string()))?;
    let builder = match &config.server_name {
        None => builder.with_root_certificates(roots),
        Some(name) => {
            let inner = WebPkiServerVerifier::builder_with_provider(roots, provider)
                .build()
                .map_err(|error| TlsError::Setup(error.to_string()))?;
            let name = server_name(name)?;
            builder.dangerous().with_custom_certificate_verifier(Arc::new(OtherName { name, inner }))
        }
    };
    let client = match (&config.cert_file, &config.key_file) {
        (None, None) => builder.with_no_client_auth(),
        (Some(_), None) => return Err(TlsError::HalfAPair { missing: "key_file" }),
        (None, Some(_)) => return Err(TlsError::HalfAPair { missing: "cert_file" }),
        (Some(cert), Some(key)) => {
            let chain = certificates("cert_file", cert)?;
            let private = PrivateKeyDer::from_pem_file(key).map_err(|source| TlsError::File {
                what: "key_file",
                path: key.clone(),
                source,
            })?;
            builder.with_client_auth_cert(chain, private).map_err(|source| TlsError::Pair {
                cert: cert.clone(),
                key: key.clone(),
                source,
            })?
        }
    };
    Ok(Arc::new(client))
}

fn server_name(name: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(name.to_owned()).map_err(|source| TlsError::Name { name: name.to_owned(), source })
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let fail = |source| TlsError::File { what, path: path.to_owned(), source };
    let found: Vec<_> = CertificateDer::pem_file_iter(path).map_err(fail)?.collect::<Result<_, _>>().map_err(fail)?;
    if found.is_empty() {
        return Err(TlsError::NoCertificate { what, path: path.to_owned() });
    }
    Ok(found)
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for (i, certificate) in certificates("ca_file", path)?.into_iter().enumerate() {
        roots.add(certificate).map_err(|source| TlsError::Ca { path: path.to_owned(), index: i + 1, source })?;
    }
    Ok(roots)
}

/// Checks as usual, but for another name than the one that was connected to.
#[derive(Debug)]
struct OtherName {
    name: ServerName<'static>,
    inner: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for OtherName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _connected_to: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.inner.verify_server_cert(end_entity, intermediates, &self.name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tls(ca: &Path) -> TlsConfig {
        TlsConfig { ca_file: ca.to_owned(), cert_file: None, key_file: None, server_name: None }
    }

    #[test]
    fn errors_name_the_file_and_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing.pem");
        let empty = dir.path().join("empty.pem");
        std::fs::write(&empty, "nothing here\n").unwrap();
        let garbage = dir.path().join("garbage.pem");
        std::fs::write(&garbage, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();

        let error = |config: &TlsConfig| client_config(config, "gateway").unwrap_err().to_string();
        assert!(error(&tls(Path::new(""))).contains("name the PEM file"));
        assert!(error(&tls(&missing)).contains("missing.pem"));
        assert!(error(&tls(&empty)).contains("BEGIN CERTIFICATE"));
        let text = error(&tls(&garbage));
        assert!(text.contains("garbage.pem") && text.contains("certificate 1"), "{text}");
    }

    #[test]
    fn a_bad_host_name_is_refused_before_connecting() {
        let error = client_config(&tls(Path::new("x")), "not a name").unwrap_err();
        assert!(matches!(error, TlsError::Name { .. }), "{error}");
    }
}
