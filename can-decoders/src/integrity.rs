//! Checksums and counters in payloads: frames that were changed, repeated or lost on their way.
//!
//! A gateway that hangs goes on sending its last frame; a gateway that is attacked sends frames of another. For this,
//! messages that matter carry a checksum over their bytes and a counter that goes on with each frame (AUTOSAR calls this
//! end-to-end protection). DBC files have a signal for each but no standard way to say how it is computed, so that it
//! has to be told: by [`crate::validity::Rules`], or in the file by two attributes of signals:
//!
//! ```text
//! BA_DEF_ SG_ "OutriderChecksum" STRING ;
//! BA_DEF_ SG_ "OutriderCounter" INT 1 255;
//! BA_ "OutriderChecksum" SG_ 37 CHECKSUM "toyota";
//! BA_ "OutriderCounter" SG_ 740 COUNTER 1;
//! ```
//!
//! All values of a frame with a wrong checksum are [`Validity::Checksum`](crate::Validity::Checksum). The counter needs
//! the frame before, so that whoever decodes keeps [`Counters`], one for each bus.
//!
//! ```
//! use can_decoders::integrity::Counters;
//! use can_decoders::{Database, MessageIndex, Plan, Validity};
//!
//! let dbc = r#"BO_ 37 M: 3 A
//!  SG_ S : 0|8@1+ (1,0) [0|0] "" A
//!  SG_ COUNTER : 8|4@1+ (1,0) [0|15] "" A
//!  SG_ CHECKSUM : 16|8@1+ (1,0) [0|255] "" A
//!
//! BA_ "OutriderChecksum" SG_ 37 CHECKSUM "xor8";
//! BA_ "OutriderCounter" SG_ 37 COUNTER 1;
//! "#;
//! let plan = Plan::compile(&[Database::parse("a.dbc", dbc.as_bytes())?]);
//! let mut counters = Counters::new(&plan);
//! let mut judge = |payload: [u8; 3]| {
//!     let mut decoded = plan.decode(MessageIndex(0), &payload);
//!     if !counters.check(&decoded) {
//!         decoded = decoded.with_wrong_counter();
//!     }
//!     decoded.signals().next().unwrap().validity
//! };
//! assert_eq!(judge([7, 1, 6]), Validity::Valid);
//! assert_eq!(judge([7, 2, 6]), Validity::Checksum);
//! assert_eq!(judge([7, 2, 5]), Validity::Valid);
//! assert_eq!(judge([7, 2, 5]), Validity::Counter, "sent once more");
//! # Ok::<(), can_decoders::DbcError>(())
//! ```

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crc::{Crc, Table};

use crate::decode::Decoded;
use crate::plan::{MessageIndex, Plan};

/// How a checksum is computed. By name: `sum8`, `xor8`, `toyota`, `honda`, or a name from the catalogue of
/// parametrised CRCs (<https://reveng.sourceforge.io/crc-catalogue/>) of 8 or 16 bits, as `CRC-8/SAE-J1850`,
/// `CRC-8/AUTOSAR` (AUTOSAR's CRC8H2F) or `CRC-16/IBM-3740` (CCITT-FALSE).
#[derive(Clone)]
pub struct Algorithm(Kind);

#[derive(Clone)]
enum Kind {
    /// Sum of all other bytes.
    Sum,
    /// Exclusive or of all other bytes.
    Xor,
    /// Sum of all other bytes, the identifier's bytes and the length.
    Toyota,
    /// Sum of all other half-bytes and the identifier's, subtracted from 8.
    Honda,
    Crc8(&'static str, Arc<Crc<u8, Table<1>>>),
    Crc16(&'static str, Arc<Crc<u16, Table<1>>>),
}

/// The catalogue's CRCs of 8 bits,
const CRC8: &[(&str, &crc::Algorithm<u8>)] = &[
    ("CRC-8/AUTOSAR", &crc::CRC_8_AUTOSAR),
    ("CRC-8/BLUETOOTH", &crc::CRC_8_BLUETOOTH),
    ("CRC-8/CDMA2000", &crc::CRC_8_CDMA2000),
    ("CRC-8/DARC", &crc::CRC_8_DARC),
    ("CRC-8/DVB-S2", &crc::CRC_8_DVB_S2),
    ("CRC-8/GSM-A", &crc::CRC_8_GSM_A),
    ("CRC-8/GSM-B", &crc::CRC_8_GSM_B),
    ("CRC-8/I-432-1", &crc::CRC_8_I_432_1),
    ("CRC-8/I-CODE", &crc::CRC_8_I_CODE),
    ("CRC-8/LTE", &crc::CRC_8_LTE),
    ("CRC-8/MAXIM-DOW", &crc::CRC_8_MAXIM_DOW),
    ("CRC-8/MIFARE-MAD", &crc::CRC_8_MIFARE_MAD),
    ("CRC-8/NRSC-5", &crc::CRC_8_NRSC_5),
    ("CRC-8/OPENSAFETY", &crc::CRC_8_OPENSAFETY),
    ("CRC-8/ROHC", &crc::CRC_8_ROHC),
    ("CRC-8/SAE-J1850", &crc::CRC_8_SAE_J1850),
    ("CRC-8/SMBUS", &crc::CRC_8_SMBUS),
    ("CRC-8/TECH-3250", &crc::CRC_8_TECH_3250),
    ("CRC-8/WCDMA", &crc::CRC_8_WCDMA),
];

/// and of 16.
const CRC16: &[(&str, &crc::Algorithm<u16>)] = &[
    ("CRC-16/ARC", &crc::CRC_16_ARC),
    ("CRC-16/GENIBUS", &crc::CRC_16_GENIBUS),
    ("CRC-16/IBM-3740", &crc::CRC_16_IBM_3740),
    ("CRC-16/IBM-SDLC", &crc::CRC_16_IBM_SDLC),
    ("CRC-16/KERMIT", &crc::CRC_16_KERMIT),
    ("CRC-16/MODBUS", &crc::CRC_16_MODBUS),
    ("CRC-16/SPI-FUJITSU", &crc::CRC_16_SPI_FUJITSU),
    ("CRC-16/USB", &crc::CRC_16_USB),
    ("CRC-16/XMODEM", &crc::CRC_16_XMODEM),
];

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(text: &str) -> Result<Self, UnknownAlgorithm> {
        let kind = match text.to_ascii_lowercase().as_str() {
            "sum8" => Some(Kind::Sum),
            "xor8" => Some(Kind::Xor),
            "toyota" => Some(Kind::Toyota),
            "honda" => Some(Kind::Honda),
            _ => None,
        };
        let crc8 = || {
            let (name, parameters) = CRC8.iter().find(|entry| entry.0.eq_ignore_ascii_case(text))?;
            Some(Kind::Crc8(name, Arc::new(Crc::<u8, Table<1>>::new(parameters))))
        };
        let crc16 = || {
            let (name, parameters) = CRC16.iter().find(|entry| entry.0.eq_ignore_ascii_case(text))?;
            Some(Kind::Crc16(name, Arc::new(Crc::<u16, Table<1>>::new(parameters))))
        };
        kind.or_else(crc8).or_else(crc16).map(Self).ok_or(UnknownAlgorithm)
    }
}

impl Algorithm {
    /// Its name, as it is parsed.
    pub fn name(&self) -> &'static str {
        match self.0 {
            Kind::Sum => "sum8",
            Kind::Xor => "xor8",
            Kind::Toyota => "toyota",
            Kind::Honda => "honda",
            Kind::Crc8(name, _) | Kind::Crc16(name, _) => name,
        }
    }

    /// True when nothing can come before or after the payload in its computation.
    pub(crate) fn is_fixed(&self) -> bool {
        matches!(self.0, Kind::Honda)
    }

    /// How far the checksum in byte `place` of a payload is from what is computed of the other bytes: the exclusive or of
    /// both for `xor8` and CRCs, the difference for sums, of the half byte for `honda`. All frames of one length that have
    /// such a checksum have the same distance, whatever goes into the computation before or after the payload: who looks for
    /// checksums need not know that. `None` when there is no such byte, and for checksums of 16 bits.
    pub fn distance(&self, payload: &[u8], place: usize) -> Option<u8> {
        let stored = *payload.get(place)?;
        let (before, after) = (&payload[..place], &payload[place + 1..]);
        let others = before.iter().chain(after).copied();
        Some(match &self.0 {
            Kind::Sum | Kind::Toyota => stored.wrapping_sub(others.fold(0, u8::wrapping_add)),
            Kind::Xor => others.fold(stored, |all, byte| all ^ byte),
            Kind::Honda => payload.iter().fold(0_u8, |all, byte| all.wrapping_add((byte >> 4) + (byte & 0xF))) & 0xF,
            Kind::Crc8(_, crc) => {
                let mut digest = crc.digest();
                digest.update(before);
                digest.update(after);
                digest.finalize() ^ stored
            }
            Kind::Crc16(..) => return None,
        })
    }

    /// Width of its checksums in bits.
    pub fn bits(&self) -> u32 {
        match self.0 {
            Kind::Honda => 4,
            Kind::Crc16(..) => 16,
            Kind::Sum | Kind::Xor | Kind::Toyota | Kind::Crc8(..) => 8,
        }
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Algorithm {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl PartialEq for Algorithm {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl fmt::Debug for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Algorithm({})", self.name())
    }
}

/// There is no algorithm of this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "no checksum is called like this: use sum8, xor8, toyota, honda, or a CRC of the catalogue, as CRC-8/SAE-J1850"
)]
pub struct UnknownAlgorithm;

/// A signal that is a checksum of its frame.
#[derive(Debug, Clone, PartialEq)]
pub struct ChecksumRule {
    /// The message's name; `*` for all messages that have such a signal.
    pub message: String,
    /// The signal's name.
    pub signal: String,
    /// How it is computed.
    pub algorithm: Algorithm,
    /// Bytes that come before the payload's in the computation: AUTOSAR's data identifier in profile 1.
    pub prefix: Vec<u8>,
    /// Bytes that come after the payload's: one list for all frames, or 16 lists of one byte each, one for each value of
    /// the message's counter, as in AUTOSAR's profile 2. The message then needs a [`CounterRule`].
    pub suffix: Suffix,
}

/// What comes after the payload in the computation of a checksum.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Suffix {
    /// Nothing.
    #[default]
    None,
    /// These bytes.
    Bytes(Vec<u8>),
    /// The byte of the counter's value.
    ByCounter([u8; 16]),
}

/// A signal that goes on by one with each frame of its message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CounterRule {
    /// The message's name; `*` for all messages that have such a signal.
    pub message: String,
    /// The signal's name.
    pub signal: String,
    /// By how much it may go on from one frame to the next: frames that the bus lost are tolerated up to here. From 1.
    pub max_jump: u32,
    /// Values that it has; 0 for all that its bits can express. 15 in AUTOSAR's profile 1.
    pub modulus: u32,
}

/// The checks of a message, in a plan.
#[derive(Debug, Clone, Default)]
pub(crate) struct Check {
    pub(crate) checksum: Option<Checksum>,
    pub(crate) counter: Option<Counter>,
}

#[derive(Debug, Clone)]
pub(crate) struct Checksum {
    pub(crate) signal: u32,
    pub(crate) algorithm: Algorithm,
    /// The checksum's bytes.
    pub(crate) place: std::ops::Range<usize>,
    pub(crate) prefix: Vec<u8>,
    pub(crate) suffix: Suffix,
}

#[derive(Debug, Clone)]
pub(crate) struct Counter {
    pub(crate) signal: u32,
    pub(crate) max_jump: u64,
    pub(crate) modulus: u64,
}

impl Checksum {
    /// True when the payload has the checksum `stored`.
    pub(crate) fn holds(&self, id: u32, payload: &[u8], stored: u64, counter: Option<u64>) -> bool {
        let (Some(before), Some(after)) = (payload.get(..self.place.start), payload.get(self.place.end..)) else {
            return false;
        };
        let by_counter;
        let suffix: &[u8] = match &self.suffix {
            Suffix::None => &[],
            Suffix::Bytes(bytes) => bytes,
            Suffix::ByCounter(bytes) => {
                let counter = counter.and_then(|counter| usize::try_from(counter).ok());
                let Some(byte) = counter.and_then(|counter| bytes.get(counter)) else { return false };
                by_counter = [*byte];
                &by_counter
            }
        };
        let parts = [&self.prefix, before, after, suffix];
        let bytes = || parts.iter().flat_map(|part| part.iter().copied());
        let sum = |bytes: &mut dyn Iterator<Item = u8>| bytes.fold(0_u8, u8::wrapping_add);
        let computed: u64 = match &self.algorithm.0 {
            Kind::Sum => sum(&mut bytes()).into(),
            Kind::Xor => bytes().fold(0, |all, byte| all ^ byte).into(),
            Kind::Toyota => {
                let length = payload.len().to_le_bytes()[0];
                sum(&mut bytes().chain(id.to_be_bytes()).chain([length])).into()
            }
            Kind::Honda => return honda(id, payload, &self.place, stored),
            Kind::Crc8(_, crc) => {
                let mut digest = crc.digest();
                parts.iter().for_each(|part| digest.update(part));
                digest.finalize().into()
            }
            Kind::Crc16(_, crc) => {
                let mut digest = crc.digest();
                parts.iter().for_each(|part| digest.update(part));
                digest.finalize().into()
            }
        };
        computed == stored
    }
}

/// The checksum is the lower half of its byte.
fn honda(id: u32, payload: &[u8], place: &std::ops::Range<usize>, stored: u64) -> bool {
    let halves = |byte: u8| u64::from(byte >> 4) + u64::from(byte & 0xF);
    let all: u64 = payload.iter().map(|byte| halves(*byte)).sum();
    let own = payload.get(place.start).map_or(0, |byte| u64::from(byte & 0xF));
    let identifier: u64 = id.to_be_bytes().into_iter().map(halves).sum();
    let extended = if id > 0x7FF { 3 } else { 0 };
    (8 + extended + own).wrapping_sub(all + identifier) & 0xF == stored
}

/// The counters of a bus's messages: what each was last.
#[derive(Debug, Clone)]
pub struct Counters {
    /// By message; [`NEW`] when the next frame may have any.
    last: Vec<u64>,
}

const NEW: u64 = u64::MAX;

impl Counters {
    /// Of all messages of a plan. All memory is taken here.
    pub fn new(plan: &Plan) -> Self {
        Self { last: vec![NEW; plan.messages().len()] }
    }

    /// Takes the counter of a frame; false when it did not go on as it should, or the frame is too short for it. A
    /// frame of a message without a counter, one whose checksum is wrong, and the first after [`Counters::forget`] are
    /// always good.
    #[inline]
    pub fn check(&mut self, decoded: &Decoded<'_>) -> bool {
        let Some((counter, value)) = decoded.counter() else { return true };
        let Some(value) = value else { return false };
        let MessageIndex(message) = decoded.index();
        let Some(last) = self.last.get_mut(message as usize) else { return true };
        let before = std::mem::replace(last, value);
        // Beyond the modulus is no counter: AUTOSAR sends 15 where it has none.
        if value >= counter.modulus {
            *last = NEW;
            return false;
        }
        before == NEW || (1..=counter.max_jump).contains(&((value + counter.modulus - before) % counter.modulus))
    }

    /// The next frame of the message may have any counter: it was silent, or its sender started anew.
    pub fn forget(&mut self, message: MessageIndex) {
        if let Some(last) = self.last.get_mut(message.0 as usize) {
            *last = NEW;
        }
    }

    /// The next frame of each message may have any counter.
    pub fn forget_all(&mut self) {
        self.last.fill(NEW);
    }
}

#[cfg(test)]
#[path = "integrity_tests.rs"]
mod tests;
