//! Checks the gateway's certificate: rustls' own checks, for another name if asked for, and pins.
//!
//! A pin stands for the gateway's own certificate, or for an authority in `ca_file`. It does not stand for intermediates:
//! a server sends what it likes beside its own, and which of them were needed is not known afterwards.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{VerifierBuilderError, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::expiry::{self, Expiry};
use super::{Pin, TlsError};

/// The certificate that the gateway has shown last.
#[derive(Debug, Default)]
pub(super) struct Seen(Mutex<Option<Expiry>>);

impl Seen {
    pub(super) fn expiry(&self) -> Option<Expiry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[derive(Debug)]
pub(super) struct Verifier {
    inner: Arc<WebPkiServerVerifier>,
    /// Trusts only the authorities that are pinned; `None` when none is.
    pinned: Option<Arc<WebPkiServerVerifier>>,
    pins: Vec<Pin>,
    /// The name that the certificate must carry, if not the one that was connected to.
    name: Option<ServerName<'static>>,
    seen: Arc<Seen>,
}

impl Verifier {
    pub(super) fn new(
        roots: Vec<CertificateDer<'static>>,
        revoked: Vec<CertificateRevocationListDer<'static>>,
        pins: Vec<Pin>,
        name: Option<ServerName<'static>>,
        provider: &Arc<CryptoProvider>,
        seen: Arc<Seen>,
    ) -> Result<Self, TlsError> {
        let verifier = |roots: Vec<CertificateDer<'static>>| {
            let mut store = RootCertStore::empty();
            store.add_parsable_certificates(roots);
            WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(provider))
                .with_crls(revoked.clone())
                .build()
                .map_err(|error| match error {
                    VerifierBuilderError::InvalidCrl(_) => TlsError::Crl(error),
                    _ => TlsError::Setup(error.to_string()),
                })
        };
        let is_pinned = |root: &&CertificateDer<'static>| pin_of(root).is_some_and(|pin| pins.contains(&pin));
        let pinned: Vec<_> = roots.iter().filter(is_pinned).cloned().collect();
        let pinned = if pinned.is_empty() { None } else { Some(verifier(pinned)?) };
        Ok(Self { inner: verifier(roots)?, pinned, pins, name, seen })
    }
}

/// The pin of a certificate. `None`: it cannot be read.
fn pin_of(der: &[u8]) -> Option<Pin> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    Some(Sha256::digest(certificate.public_key().raw).into())
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        connected_to: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let name = self.name.as_ref().unwrap_or(connected_to);
        let verify =
            |by: &WebPkiServerVerifier| by.verify_server_cert(end_entity, intermediates, name, ocsp_response, now);
        let verified = verify(&self.inner)?;
        let is_pinned = self.pins.is_empty()
            || pin_of(end_entity).is_some_and(|pin| self.pins.contains(&pin))
            || self.pinned.as_deref().is_some_and(|pinned| verify(pinned).is_ok());
        if !is_pinned {
            return Err(rustls::Error::General("the gateway's key is not pinned".into()));
        }
        *self.seen.0.lock().unwrap_or_else(PoisonError::into_inner) = expiry::of_certificate("gateway", end_entity);
        Ok(verified)
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
