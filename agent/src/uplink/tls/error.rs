//! Why certificates or keys cannot be used, and what to do when a handshake fails.

use std::path::PathBuf;

use rustls::client::VerifierBuilderError;
use rustls::pki_types::InvalidDnsNameError;
use rustls::pki_types::pem::Error as PemError;
use thiserror::Error;

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
    /// The file is PEM but does not hold what it should.
    #[error("{what} {path}: nothing in it; expected a BEGIN {section} section")]
    Nothing {
        /// Which file.
        what: &'static str,
        /// Its path.
        path: PathBuf,
        /// What it should hold.
        section: &'static str,
    },
    /// A secret that is none.
    #[error(
        "{path}: other users may read or change it (mode {mode:03o}); chmod 600 it, or hand it over as a systemd credential"
    )]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
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
    /// A revocation list that cannot be read.
    #[error("crl_file: {0}; it must hold lists of version 2 (RFC 5280, section 5)")]
    Crl(VerifierBuilderError),
    /// Only one of the pair.
    #[error("cert_file and key_file go together; {missing} is missing")]
    HalfAPair {
        /// The one that is missing.
        missing: &'static str,
    },
    /// A key of a kind that is not known.
    #[error("key_file {path}: {source}; use an ECDSA (P-256, P-384), Ed25519 or RSA key")]
    Key {
        /// The path.
        path: PathBuf,
        /// What is wrong.
        source: rustls::Error,
    },
    /// The key does not belong to the certificate.
    #[error("cert_file {cert} with {key}: {source}; do they belong together?")]
    Pair {
        /// The certificate's path.
        cert: PathBuf,
        /// The key's path.
        key: PathBuf,
        /// What is wrong.
        source: rustls::Error,
    },
    /// The key store has no key for the certificate.
    #[error("key store: {0}")]
    KeyStore(String),
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

/// What to do about a handshake that failed, by rustls' words.
pub(crate) fn hint(text: &str) -> &'static str {
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if says(&["UnknownIssuer"]) {
        "the gateway's certificate is not signed by an authority in ca_file"
    } else if says(&["NotValidForName", "not valid for name"]) {
        "the gateway's certificate is for another name; set the host or server_name to one that it carries"
    } else if says(&["UnknownRevocationStatus"]) {
        "crl_file has no list of the authority that signed it; add the lists of all authorities of the chain"
    } else if says(&["Revoked", "revoked"]) {
        "the authority has revoked the gateway's certificate"
    } else if says(&["received fatal alert: CertificateExpired", "received fatal alert: ExpiredCertificate"]) {
        "the gateway finds this vehicle's certificate expired; renew cert_file"
    } else if says(&["Expired", "expired", "not valid yet", "NotValidYet"]) {
        "check this computer's clock, then the certificate's dates"
    } else if says(&["ProtocolVersion", "UnsupportedProtocol", "NoSupportedProtocol", "PeerIncompatible"]) {
        "the gateway speaks an older TLS only; it must speak 1.2 or 1.3 (and min_tls, if set)"
    } else if says(&["pinned"]) {
        "the gateway has another key than those in pins; renew pins, or find out who answers there"
    } else if says(&["alert"]) {
        "the gateway refused the handshake; check cert_file and key_file and which authority it trusts"
    } else {
        "check that the gateway speaks TLS on this port"
    }
}
