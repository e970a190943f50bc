//! The keys of a gateway that are about TLS.

use super::{ConfigError, Keys, raw};
use crate::uplink::TlsConfig;
use crate::uplink::tls::{Pin, TlsVersion};

pub(super) fn config(keys: &Keys, secure: bool) -> Result<Option<TlsConfig>, ConfigError> {
    let raw = keys.raw;
    if !secure {
        let given = [&raw.ca_file, &raw.cert_file, &raw.key_file, &raw.crl_file, &raw.server_name];
        if given.into_iter().any(Option::is_some) || raw.pins.is_some() || raw.min_tls.is_some() {
            return Err(keys.error(
                "ca_file, cert_file, key_file, crl_file, server_name, pins and min_tls need a url that starts with mqtts:// or kafkas://",
            ));
        }
        return Ok(None);
    }
    if raw.cert_file.is_some() != raw.key_file.is_some() {
        return Err(keys.error("cert_file and key_file go together"));
    }
    let Some(ca_file) = &raw.ca_file else {
        return Err(keys.error(
            "mqtts:// and kafkas:// need ca_file, the PEM file of the CA that signed the broker's certificate",
        ));
    };
    let mut config = TlsConfig::new(keys.path(ca_file));
    config.cert_file = raw.cert_file.as_deref().map(|file| keys.path(file));
    config.key_file = raw.key_file.as_deref().map(|file| keys.path(file));
    config.crl_file = raw.crl_file.as_deref().map(|file| keys.path(file));
    config.server_name.clone_from(&raw.server_name);
    config.min_version = match raw.min_tls {
        None | Some(raw::MinTls::V12) => TlsVersion::V12,
        Some(raw::MinTls::V13) => TlsVersion::V13,
    };
    for text in raw.pins.iter().flatten() {
        let pin = pin(text.get_ref()).ok_or_else(|| {
            let form = "write \"sha256/\" and 44 characters of base64, as curl's --pinnedpubkey takes it";
            keys.reader.error(text, format!("gateway.pins: \"{}\": {form}", text.get_ref()))
        })?;
        config.pins.push(pin);
    }
    Ok(Some(config))
}

/// `sha256/` or `sha256//`, and base64 (RFC 4648, section 4).
fn pin(text: &str) -> Option<Pin> {
    let digits = text.strip_prefix("sha256/")?;
    let digits = digits.strip_prefix('/').filter(|rest| rest.len() == 44).unwrap_or(digits);
    let digits = digits.strip_suffix('=').filter(|digits| digits.len() == 43)?;
    let value = |c: u8| {
        Some(match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        })
    };
    let (mut bytes, mut word, mut bits) = (Vec::with_capacity(32), 0u32, 0);
    for c in digits.bytes() {
        word = word << 6 | u32::from(value(c)?);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(word >> bits & 0xff).ok()?);
        }
    }
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::pin;

    #[test]
    fn pins_are_base64() {
        let text = "sha256/AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        let expected: Vec<u8> = (0..32).collect();
        assert_eq!(pin(text).unwrap().to_vec(), expected);
        assert_eq!(pin(&text.replace("sha256/", "sha256//")).unwrap().to_vec(), expected);
        let slash = format!("sha256/{}=", "/".repeat(43));
        assert_eq!(pin(&slash).unwrap(), [255; 32]);
        for bad in ["", "sha256/", "sha1/AAAA", &text[..text.len() - 1], &text.replace('A', "*"), &format!("{text}=")] {
            assert_eq!(pin(bad), None, "{bad}");
        }
    }
}
