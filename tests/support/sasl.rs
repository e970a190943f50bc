//! The broker's side of SASL, written from the RFCs and not with the library under test: PLAIN (RFC 4616) and SCRAM
//! (RFC 5802, RFC 7677).

use std::num::NonZeroU32;

use ring::{digest, hmac, pbkdf2};

/// Who may log in, and how.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    pub(crate) mechanism: &'static str,
    pub(crate) user: &'static str,
    pub(crate) password: &'static str,
}

/// One login under way.
#[derive(Debug, Default)]
pub(crate) struct Exchange {
    /// Of SCRAM: what both have said so far, and what the proof has to be.
    first: Option<(String, String)>,
}

const SALT: &[u8] = b"0123456789abcdef";
const ROUNDS: u32 = 4096;

impl Exchange {
    /// The answer to what the client says; `None` refuses it.
    pub(crate) fn step(&mut self, login: &Login, said: &[u8]) -> Option<Vec<u8>> {
        let said = std::str::from_utf8(said).ok()?;
        if login.mechanism == "PLAIN" {
            return (said == format!("\0{}\0{}", login.user, login.password)).then(Vec::new);
        }
        let Some((client, server)) = self.first.take() else {
            let bare = said.strip_prefix("n,,")?;
            let (user, nonce) = bare.strip_prefix("n=")?.split_once(",r=")?;
            if user != login.user {
                return None;
            }
            let server = format!("r={nonce}SERVER,s={},i={ROUNDS}", base64(SALT));
            self.first = Some((bare.to_owned(), server.clone()));
            return Some(server.into_bytes());
        };
        let (without_proof, proof) = said.rsplit_once(",p=")?;
        let (prf, hash, hash_hmac) = match login.mechanism {
            "SCRAM-SHA-256" => (pbkdf2::PBKDF2_HMAC_SHA256, &digest::SHA256, hmac::HMAC_SHA256),
            _ => (pbkdf2::PBKDF2_HMAC_SHA512, &digest::SHA512, hmac::HMAC_SHA512),
        };
        let mut salted = vec![0; hash.output_len()];
        pbkdf2::derive(prf, NonZeroU32::new(ROUNDS).unwrap(), SALT, login.password.as_bytes(), &mut salted);
        let mac = |key: &[u8], data: &[u8]| hmac::sign(&hmac::Key::new(hash_hmac, key), data);
        let client_key = mac(&salted, b"Client Key");
        let stored = digest::digest(hash, client_key.as_ref());
        let said_by_both = format!("{client},{server},{without_proof}");
        let signature = mac(stored.as_ref(), said_by_both.as_bytes());
        let expected: Vec<u8> = client_key.as_ref().iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
        if proof != base64(&expected) {
            return None;
        }
        let server_key = mac(&salted, b"Server Key");
        Some(format!("v={}", base64(mac(server_key.as_ref(), said_by_both.as_bytes()).as_ref())).into_bytes())
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = |chunk: &[u8]| {
        let word = (0..3).fold(0u32, |word, i| word << 8 | u32::from(chunk.get(i).copied().unwrap_or(0)));
        (0..4).map(move |i| (i, word >> (18 - 6 * i) & 63)).collect::<Vec<_>>()
    };
    let text = |chunk: &[u8]| -> String {
        let used = chunk.len() + 1;
        digits(chunk)
            .into_iter()
            .map(|(i, digit)| if i < used { char::from(DIGITS[digit as usize]) } else { '=' })
            .collect()
    };
    bytes.chunks(3).map(text).collect()
}
