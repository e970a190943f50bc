//! Private keys: from files that nobody else may read, or from where they cannot be read at all.

use std::fmt::Debug;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::SigningKey;

use super::TlsError;

/// Where private keys are, when not in a file: the seam for a TPM or a PKCS#11 token. rustls asks the key that it gives
/// for a signature in each handshake, and never for the key itself.
pub trait KeyStore: Debug + Send + Sync {
    /// What signs for the holder of the certificate chain, the holder's own certificate first. Called for each connection.
    ///
    /// # Errors
    /// Why there is none, in words for the log.
    fn signing_key(&self, chain: &[CertificateDer<'static>]) -> Result<Arc<dyn SigningKey>, String>;
}

pub(super) fn from_file(path: &Path, provider: &CryptoProvider) -> Result<Arc<dyn SigningKey>, TlsError> {
    check_permissions(path)?;
    let key = PrivateKeyDer::from_pem_file(path).map_err(|source| TlsError::File {
        what: "key_file",
        path: path.to_owned(),
        source,
    })?;
    provider.key_provider.load_private_key(key).map_err(|source| TlsError::Key { path: path.to_owned(), source })
}

/// Refuses a secret that other users may read, or the group may change. systemd guards its credentials otherwise (by
/// access lists, which look like permissions of the group).
pub(crate) fn check_permissions(path: &Path) -> Result<(), TlsError> {
    const FORBIDDEN: u32 = 0o027;
    let is_credential = std::env::var_os("CREDENTIALS_DIRECTORY").is_some_and(|dir| path.starts_with(dir));
    match std::fs::metadata(path) {
        Ok(data) if !is_credential && data.permissions().mode() & FORBIDDEN != 0 => {
            Err(TlsError::Permissions { path: path.to_owned(), mode: data.permissions().mode() & 0o777 })
        }
        // That it cannot be read is told by whoever reads it.
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, "secret").unwrap();
        for (mode, good) in
            [(0o600, true), (0o400, true), (0o640, true), (0o644, false), (0o660, false), (0o604, false)]
        {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            let checked = check_permissions(&path);
            assert_eq!(checked.is_ok(), good, "{mode:o}");
            if let Err(error) = checked {
                let text = error.to_string();
                assert!(text.contains("chmod 600") && text.contains(&format!("{mode:o}")), "{text}");
            }
        }
    }
}
