//! Names instead of names: keyed hashes, with a key for each period.
//!
//! `HMAC-SHA256(K, "period" || n)` is the key of the n-th period since 1970, and a pseudonym is a keyed hash under that: who
//! has not `K`, the key file, can neither tell whose it is, by trying all that it could be, nor tell that two of different
//! periods belong together. Whoever has `K` can do both; handing out a period's key opens that period alone.

use std::sync::Arc;
use std::time::Duration;

use ring::hmac;
use thiserror::Error;

use crate::event::Identity;

/// Fewest bytes of a key: as many as the hash has (RFC 2104, section 3).
pub const MIN_KEY_BYTES: usize = 32;
/// How the name of a vehicle begins that is a pseudonym.
pub const PSEUDONYM: &str = "p-";
/// Numbers of a name that is not the vehicle's first one begin beyond this: less than that many events has no name.
pub const LATER_NAMES_FROM: u64 = 1 << 36;
/// Bits of a hash that stand for a number: as many as a double holds, and JSON readers take.
const NUMBER_BITS: u32 = 52;
/// Bytes of a hash that stand for a name.
const NAME_BYTES: usize = 12;

/// A key file does not do.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "the key has {0} characters; it needs at least {MIN_KEY_BYTES} that nobody can guess, as `openssl rand -hex 32` makes them"
)]
pub struct KeyError(usize);

/// Makes pseudonyms.
#[derive(Debug, Clone)]
pub struct Pseudonyms {
    key: hmac::Key,
    period_ns: u64,
}

/// A span of time in which pseudonyms stay the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period(u64);

impl Pseudonyms {
    /// With a key and the time after which pseudonyms change; `None`: never.
    ///
    /// # Errors
    /// When the key is too short.
    pub fn new(key: &[u8], rotate: Option<Duration>) -> Result<Self, KeyError> {
        if key.len() < MIN_KEY_BYTES {
            return Err(KeyError(key.len()));
        }
        let period_ns = rotate.map_or(u64::MAX, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        Ok(Self { key: hmac::Key::new(hmac::HMAC_SHA256, key), period_ns: period_ns.max(1) })
    }

    /// The period of a time, nanoseconds since the Unix epoch.
    pub fn period(&self, time_ns: u64) -> Period {
        Period(time_ns / self.period_ns)
    }

    fn hash(&self, Period(period): Period, parts: &[&[u8]]) -> [u8; 32] {
        let mut key = hmac::Context::with_key(&self.key);
        key.update(b"outrider period");
        key.update(&period.to_be_bytes());
        let mut hash = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key.sign().as_ref()));
        for part in parts {
            // With their lengths, so that no two lists of parts are the same bytes.
            hash.update(&(part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let mut bytes = [0; 32];
        bytes.copy_from_slice(hash.sign().as_ref());
        bytes
    }

    /// What stands for a value of a signal: a whole number below 2^52.
    #[expect(clippy::cast_precision_loss, reason = "52 bits fit")]
    pub fn number(&self, period: Period, signal: &str, value: f64) -> f64 {
        // There are two zeros.
        let value = if value == 0.0 { 0.0 } else { value };
        let hash = self.hash(period, &[b"signal", signal.as_bytes(), &value.to_bits().to_be_bytes()]);
        let (first, _) = hash.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
        (u64::from_be_bytes(*first) >> (u64::BITS - NUMBER_BITS)) as f64
    }

    fn vehicle(&self, period: Period, vehicle: &str) -> Arc<str> {
        format!("{PSEUDONYM}{}", hex(&self.hash(period, &[b"vehicle", vehicle.as_bytes()]))).into()
    }

    fn boot(&self, name: &str, boot: &str) -> Arc<str> {
        // The name is of its period.
        hex(&self.hash(Period(0), &[b"boot", name.as_bytes(), boot.as_bytes()])).into()
    }
}

fn hex(hash: &[u8]) -> String {
    hash.iter().take(NAME_BYTES).map(|byte| format!("{byte:02x}")).collect()
}

/// Who sends, and by which name.
#[derive(Debug, Clone)]
pub struct Naming {
    plain: Identity,
    pseudonyms: Option<Arc<Pseudonyms>>,
}

impl Naming {
    /// By a pseudonym.
    pub fn pseudonymous(plain: Identity, pseudonyms: Arc<Pseudonyms>) -> Self {
        Self { plain, pseudonyms: Some(pseudonyms) }
    }

    /// The name that is due, nanoseconds since the Unix epoch; `None`: its own, always.
    pub fn due(&self, now_ns: u64) -> Option<Arc<str>> {
        let pseudonyms = self.pseudonyms.as_ref()?;
        Some(pseudonyms.vehicle(pseudonyms.period(now_ns), &self.plain.vehicle))
    }

    /// Who it is under a name that was due once; `None`: under its own.
    pub fn under(&self, name: Option<Arc<str>>) -> Identity {
        match (name, &self.pseudonyms) {
            (Some(name), Some(pseudonyms)) => {
                Identity { boot: pseudonyms.boot(&name, &self.plain.boot), vehicle: name }
            }
            _ => self.plain.clone(),
        }
    }
}

impl From<Identity> for Naming {
    fn from(plain: Identity) -> Self {
        Self { plain, pseudonyms: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400_000_000_000;

    fn pseudonyms(key: &str) -> Pseudonyms {
        Pseudonyms::new(key.as_bytes(), Some(Duration::from_secs(30 * 86_400))).unwrap()
    }

    #[test]
    fn a_name_depends_on_the_key_the_period_and_the_vehicle() {
        let plain = |vehicle: &str| Identity { vehicle: vehicle.into(), boot: "b".into() };
        let name = |key: &str, vehicle, days| {
            Naming::pseudonymous(plain(vehicle), pseudonyms(key).into()).due(days * DAY).unwrap()
        };
        let (one, other) = ("k".repeat(32), "l".repeat(32));
        let here = name(&one, "vin", 31);
        assert_eq!(here, name(&one, "vin", 59), "the same period");
        for there in [name(&one, "vin", 60), name(&one, "vin", 29), name(&one, "nin", 31), name(&other, "vin", 31)] {
            assert_ne!(here, there);
        }
        // Known for good, and to others: Python's hmac gives the same.
        assert_eq!(&*here, "p-c155f6729ad97bbe70c138c7");
        assert_eq!(Naming::from(plain("vin")).due(DAY), None);
    }

    #[test]
    fn the_name_of_a_start_changes_with_the_vehicles() {
        let plain = Identity { vehicle: "vin".into(), boot: "b".into() };
        let naming = Naming::pseudonymous(plain.clone(), pseudonyms(&"k".repeat(32)).into());
        let (one, other) = (naming.under(Some("p-1".into())), naming.under(Some("p-2".into())));
        assert_eq!(&*one.vehicle, "p-1");
        assert!(one.boot != other.boot && one.boot != plain.boot);
        assert_eq!(naming.under(None), plain);
    }

    #[test]
    fn numbers_are_whole_and_tell_values_and_signals_apart() {
        let pseudonyms = pseudonyms(&"k".repeat(32));
        let period = pseudonyms.period(0);
        let of = |signal, value| pseudonyms.number(period, signal, value);
        for value in [0.0, 1.0, -1.5, 1e300] {
            let number = of("a", value);
            assert!(number.fract() == 0.0 && (0.0..4_503_599_627_370_496.0).contains(&number));
            assert!(number != of("b", value) && number != of("a", value + 1e290));
        }
        assert_eq!(of("a", 0.0).to_bits(), of("a", -0.0).to_bits());
    }

    #[test]
    fn a_short_key_is_refused_with_the_remedy() {
        let error = Pseudonyms::new(b"secret", None).unwrap_err().to_string();
        assert!(error.contains("6 characters") && error.contains("openssl rand"), "{error}");
    }
}
