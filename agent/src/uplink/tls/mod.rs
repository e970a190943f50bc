//! TLS by rustls with ring: whom to trust, and how to prove who we are. The provider is named here, so nothing depends on
//! a process-wide default.
//!
//! Files are looked at once a minute. When one has changed and all of them can be used, the connection is made anew with
//! them; until then the old ones go on. rustls speaks TLS 1.2 and 1.3, nothing older.

mod error;
mod expiry;
mod keys;
mod verifier;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore};

pub use error::TlsError;
pub(crate) use error::hint;
pub use expiry::Expiry;
pub use keys::KeyStore;
pub(crate) use keys::check_permissions;

use self::verifier::{Seen, Verifier};

/// SHA-256 over a SubjectPublicKeyInfo (RFC 7469, section 2.4).
pub type Pin = [u8; 32];

/// The oldest TLS that is spoken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TlsVersion {
    /// RFC 5246.
    #[default]
    V12,
    /// RFC 8446.
    V13,
}

/// Whom to trust, and how to prove who we are. Files are PEM.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsConfig {
    /// Certificates of the authorities that may sign the gateway's certificate.
    pub ca_file: PathBuf,
    /// Our certificate with its intermediates; goes together with a key.
    pub cert_file: Option<PathBuf>,
    /// Our private key.
    pub key_file: Option<PathBuf>,
    /// Signs in place of `key_file`: a TPM, a token.
    pub key_store: Option<KeyHandle>,
    /// The name that the gateway's certificate must carry, when it is not `host`. The name that is
    /// asked for in the handshake (SNI) stays `host`.
    pub server_name: Option<String>,
    /// Revocation lists of the authorities. With them, a certificate whose state they do not tell is refused.
    pub crl_file: Option<PathBuf>,
    /// If there are any: the public key of the gateway's certificate, or of the authority in `ca_file` that signed it,
    /// must be one of these.
    pub pins: Vec<Pin>,
    /// The oldest TLS that is spoken.
    pub min_version: TlsVersion,
}

impl TlsConfig {
    /// Trusts the authorities in `ca_file`, and proves nothing.
    pub fn new(ca_file: impl Into<PathBuf>) -> Self {
        Self {
            ca_file: ca_file.into(),
            cert_file: None,
            key_file: None,
            key_store: None,
            server_name: None,
            crl_file: None,
            pins: Vec::new(),
            min_version: TlsVersion::V12,
        }
    }

    fn files(&self) -> impl Iterator<Item = &Path> {
        let optional = [&self.cert_file, &self.key_file, &self.crl_file];
        std::iter::once(&*self.ca_file).chain(optional.into_iter().flatten().map(PathBuf::as_path))
    }
}

/// A [`KeyStore`] that is shared.
#[derive(Clone)]
pub struct KeyHandle(pub Arc<dyn KeyStore>);

impl fmt::Debug for KeyHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHandle(…)")
    }
}

impl PartialEq for KeyHandle {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for KeyHandle {}

/// When and how long each file was when it was last looked at; `None` where it is not there.
type Stamps = Vec<Option<(SystemTime, u64)>>;

/// What a gateway's connections are made with.
#[derive(Debug)]
pub(crate) struct Credentials {
    config: TlsConfig,
    /// What the last connection was made with.
    loaded: Mutex<Stamps>,
    seen: Arc<Seen>,
}

impl Credentials {
    pub(crate) fn new(config: TlsConfig) -> Self {
        Self { config, loaded: Mutex::default(), seen: Arc::default() }
    }

    /// Reads the files and makes rustls' configuration for a connection to `host`.
    pub(crate) fn client_config(&self, host: &str) -> Result<Arc<ClientConfig>, TlsError> {
        let stamps = self.stamps();
        let made = self.make(host)?;
        *self.loaded.lock().unwrap_or_else(PoisonError::into_inner) = stamps;
        Ok(made)
    }

    /// Whether the files have changed since the last connection was made, and can be used.
    pub(crate) fn are_renewed(&self, host: &str) -> bool {
        self.stamps() != *self.loaded.lock().unwrap_or_else(PoisonError::into_inner) && self.make(host).is_ok()
    }

    /// When what is used ends, the gateway's certificate included once it was seen.
    pub(crate) fn expiries(&self) -> Vec<Expiry> {
        let mut all = expiry::of_files(&self.config);
        all.extend(self.seen.expiry());
        all
    }

    fn stamps(&self) -> Stamps {
        let stamp = |path: &Path| {
            let data = std::fs::metadata(path).ok()?;
            Some((data.modified().ok()?, data.len()))
        };
        self.config.files().map(stamp).collect()
    }

    fn make(&self, host: &str) -> Result<Arc<ClientConfig>, TlsError> {
        let config = &self.config;
        if config.ca_file.as_os_str().is_empty() {
            return Err(TlsError::NoCa);
        }
        server_name(host)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = Verifier::new(
            roots(&config.ca_file)?,
            config.crl_file.as_deref().map(revocations).transpose()?.unwrap_or_default(),
            config.pins.clone(),
            config.server_name.as_deref().map(server_name).transpose()?,
            &provider,
            Arc::clone(&self.seen),
        )?;
        let versions = match config.min_version {
            TlsVersion::V12 => &[&TLS13, &TLS12][..],
            TlsVersion::V13 => &[&TLS13],
        };
        let setup = |error: rustls::Error| TlsError::Setup(error.to_string());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(setup)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        Ok(Arc::new(match self.certified_key(&provider)? {
            None => builder.with_no_client_auth(),
            Some(key) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key))),
        }))
    }

    fn certified_key(&self, provider: &CryptoProvider) -> Result<Option<CertifiedKey>, TlsError> {
        let TlsConfig { cert_file, key_file, key_store, .. } = &self.config;
        let Some(cert) = cert_file else {
            let is_alone = key_file.is_some() || key_store.is_some();
            return if is_alone { Err(TlsError::HalfAPair { missing: "cert_file" }) } else { Ok(None) };
        };
        let chain = certificates("cert_file", cert)?;
        let key = match (key_store, key_file) {
            (Some(store), _) => store.0.signing_key(&chain).map_err(TlsError::KeyStore)?,
            (None, Some(file)) => keys::from_file(file, provider)?,
            (None, None) => return Err(TlsError::HalfAPair { missing: "key_file" }),
        };
        let pair = CertifiedKey::new(chain, key);
        match pair.keys_match() {
            // A store that does not tell its public key is believed.
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(Some(pair)),
            Err(source) => {
                let key = key_file.clone().unwrap_or_else(|| "the key store".into());
                Err(TlsError::Pair { cert: cert.clone(), key, source })
            }
        }
    }
}

fn server_name(name: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(name.to_owned()).map_err(|source| TlsError::Name { name: name.to_owned(), source })
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let fail = |source| TlsError::File { what, path: path.to_owned(), source };
    let found: Vec<_> = CertificateDer::pem_file_iter(path).map_err(fail)?.collect::<Result<_, _>>().map_err(fail)?;
    if found.is_empty() {
        return Err(TlsError::Nothing { what, path: path.to_owned(), section: "CERTIFICATE" });
    }
    Ok(found)
}

fn revocations(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let what = "crl_file";
    let fail = |source| TlsError::File { what, path: path.to_owned(), source };
    let lists = CertificateRevocationListDer::pem_file_iter(path).map_err(fail)?;
    let found: Vec<_> = lists.collect::<Result<_, _>>().map_err(fail)?;
    if found.is_empty() {
        return Err(TlsError::Nothing { what, path: path.to_owned(), section: "X509 CRL" });
    }
    Ok(found)
}

fn roots(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = certificates("ca_file", path)?;
    for (i, certificate) in found.iter().enumerate() {
        let usable = RootCertStore::empty().add(certificate.clone());
        usable.map_err(|source| TlsError::Ca { path: path.to_owned(), index: i + 1, source })?;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_file_and_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let empty = file("empty.pem", "nothing here\n");
        let garbage = file("garbage.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        let error = |ca: &Path| Credentials::new(TlsConfig::new(ca)).client_config("gateway").unwrap_err().to_string();
        assert!(error(Path::new("")).contains("name the PEM file"));
        assert!(error(&dir.path().join("missing.pem")).contains("missing.pem"));
        assert!(error(&empty).contains("BEGIN CERTIFICATE"));
        let text = error(&garbage);
        assert!(text.contains("garbage.pem") && text.contains("certificate 1"), "{text}");
    }

    #[test]
    fn a_bad_host_name_is_refused_before_connecting() {
        let error = Credentials::new(TlsConfig::new("x")).client_config("not a name").unwrap_err();
        assert!(matches!(error, TlsError::Name { .. }), "{error}");
    }
}
