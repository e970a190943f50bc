//! Whether a value can be used, and how that is known.
//!
//! A frame always has bits; whether they say something is another matter. Senders that have nothing to say send all
//! ones, a damaged sensor sends a pattern that stands for an error, a frame is cut, or was changed on its way and its
//! checksum tells. Each of these would be a number like any other: 0xFF with an offset of −40 is 215 °C. So every
//! sample is delivered, and marked: whoever looks at [`Validity`] before the value never takes such a number for a
//! measurement, and whoever searches for the fault still has it.
//!
//! What marks a value, in this order:
//!
//! 1. The frame: too short for the signal ([`Validity::Short`]), or its checksum or counter is wrong
//!    ([`Validity::Checksum`], [`Validity::Counter`], see [`crate::integrity`]).
//! 2. A raw value that stands for "not available" or "error": from the DBC's labels, from J1939's conventions where the
//!    DBC says that a message is J1939's, or from the configuration ([`Rules`]).
//! 3. A value outside the range that the DBC (or the configuration) gives.
//!
//! Ranges in real files are to be taken with care: many were filled in by a program and never looked at. A signal of 10
//! bits with the factor 0.036 and the range `[0|65535]` says nothing with it, and to believe it would throw away all
//! negative values. So a range that reaches far beyond what the signal's bits can express is not believed
//! ([`Trust::Plausible`]); [`crate::Plan::unchecked_ranges`] names them. And where most values of a range are states with
//! a label, states with a label outside of it are valid, too.
//!
//! A frame that is longer than its message is no reason to doubt its values; a frame that is too short for its own checksum
//! or counter is.
//!
//! ```
//! use can_decoders::validity::{Rules, SignalRule};
//! use can_decoders::{Database, MessageIndex, Plan, Validity};
//!
//! let dbc = "BO_ 291 M: 1 A\n SG_ Oil : 0|8@1+ (1,-40) [-40|210] \"degC\" A\n\nVAL_ 291 Oil 255 \"SNA\" ;\n";
//! let databases = [Database::parse("a.dbc", dbc.as_bytes())?];
//! let judge = |plan: &Plan, raw: u8| plan.decode(MessageIndex(0), &[raw]).signals().next().unwrap().validity;
//!
//! let plan = Plan::compile(&databases);
//! assert_eq!([130, 252, 255].map(|raw| judge(&plan, raw)),
//!     [Validity::Valid, Validity::OutOfRange, Validity::NotAvailable]);
//!
//! // What the file does not say: 0xFE is an error.
//! let oil = SignalRule { message: "M".into(), signal: "Oil".into(), error: vec![0xFE..=0xFE], ..SignalRule::default() };
//! let plan = Plan::compile_with(&databases, &Rules { signals: vec![oil], ..Rules::default() })?;
//! assert_eq!(judge(&plan, 0xFE), Validity::Error);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod j1939;
mod labels;
mod limits;
mod rules;

pub(crate) use labels::Vocabulary;
pub(crate) use limits::{Judge, Limits, Pattern, believe};
pub use rules::{J1939, RuleError, Rules, SignalRule, Trust};

/// Whether a sample's value can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Validity {
    /// It can.
    Valid,
    /// Bits of the signal lie beyond the payload; the value is NaN.
    Short,
    /// The value is NaN or infinite: a float sent like this, or a scaling that passes the range of `f64`.
    NotFinite,
    /// It is outside the signal's range, or J1939 reserves it.
    OutOfRange,
    /// The sender has no value: the raw value is the pattern that says so.
    NotAvailable,
    /// The sender knows that the value is wrong: the raw value is the pattern that says so.
    Error,
    /// The frame's checksum is wrong: any of its bits may be.
    Checksum,
    /// The frame's counter did not go on as it should: it is a repetition, or frames before it are missing.
    Counter,
}

impl Validity {
    /// All of them, in the order of [`Validity::index`].
    pub const ALL: [Self; 8] = [
        Self::Valid,
        Self::Short,
        Self::NotFinite,
        Self::OutOfRange,
        Self::NotAvailable,
        Self::Error,
        Self::Checksum,
        Self::Counter,
    ];

    /// Place in [`Validity::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// True when the value can be used.
    pub const fn is_valid(self) -> bool {
        matches!(self, Self::Valid)
    }

    /// A short name, for counters and columns.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Short => "short",
            Self::NotFinite => "not_finite",
            Self::OutOfRange => "out_of_range",
            Self::NotAvailable => "not_available",
            Self::Error => "error",
            Self::Checksum => "checksum",
            Self::Counter => "counter",
        }
    }
}

#[cfg(test)]
#[path = "validity_tests.rs"]
mod tests;
