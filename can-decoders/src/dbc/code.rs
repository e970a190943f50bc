//! What can be odd in a DBC file: a name for each, to be listed and looked up, and what to do.

/// A kind of [`super::Warning`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
pub enum Code {
    /// Nothing in the file.
    EmptyFile,
    /// A keyword that DBC does not have.
    UnknownKeyword,
    /// A statement that says nothing about decoding and does not parse.
    NotUnderstood,
    /// Two messages of one identifier.
    DuplicateIdentifier,
    /// An identifier beyond 29 bits.
    IdentifierRange,
    /// An identifier beyond 11 bits without the extended flag.
    NotExtended,
    /// Two messages of one name.
    DuplicateMessage,
    /// A message longer than a frame.
    LongMessage,
    /// A message with more signals than make sense.
    ManySignals,
    /// Two signals of one name.
    DuplicateSignal,
    /// A signal of no bits, of more than 64, or far outside.
    SignalWidth,
    /// A factor or an offset that makes nothing of a value.
    Scaling,
    /// A signal that is not wholly in its message.
    BeyondMessage,
    /// Signals that share bits.
    SharedBits,
    /// A float of a width that floats do not have.
    FloatWidth,
    /// A multiplexed signal without a value of the multiplexor.
    NoMultiplexorValue,
    /// A multiplexed signal in a message without a multiplexor.
    NoMultiplexor,
    /// `m` where `M` was meant.
    SmallM,
    /// A signal that is selected by two multiplexors.
    TwoMultiplexors,
    /// A multiplexor that selects itself.
    MultiplexorLoop,
    /// A statement about a message that is not there.
    UnknownMessage,
    /// A statement about a signal that is not there.
    UnknownSignal,
    /// A value table that is not there.
    UnknownTable,
    /// A name longer than is sensible.
    LongName,
    /// A checksum or a counter that cannot be checked.
    Integrity,
    /// More warnings than are kept.
    More,
    /// A note: the file begins with a byte order mark.
    ByteOrderMark,
    /// A note: lines end with a carriage return.
    CarriageReturns,
    /// A note: the file is in code page 1252.
    CodePage,
    /// A note: a section that DBC files have is not there.
    MissingSection,
    /// A note: a range that is not believed.
    UncheckedRange,
}

impl Code {
    /// Its name: lower case, with hyphens. Names do not change from version to version.
    pub const fn name(self) -> &'static str {
        match self {
            Self::EmptyFile => "empty-file",
            Self::UnknownKeyword => "unknown-keyword",
            Self::NotUnderstood => "not-understood",
            Self::DuplicateIdentifier => "duplicate-identifier",
            Self::IdentifierRange => "identifier-range",
            Self::NotExtended => "not-extended",
            Self::DuplicateMessage => "duplicate-message",
            Self::LongMessage => "long-message",
            Self::ManySignals => "many-signals",
            Self::DuplicateSignal => "duplicate-signal",
            Self::SignalWidth => "signal-width",
            Self::Scaling => "scaling",
            Self::BeyondMessage => "beyond-message",
            Self::SharedBits => "shared-bits",
            Self::FloatWidth => "float-width",
            Self::NoMultiplexorValue => "no-multiplexor-value",
            Self::NoMultiplexor => "no-multiplexor",
            Self::SmallM => "small-m",
            Self::TwoMultiplexors => "two-multiplexors",
            Self::MultiplexorLoop => "multiplexor-loop",
            Self::UnknownMessage => "unknown-message",
            Self::UnknownSignal => "unknown-signal",
            Self::UnknownTable => "unknown-table",
            Self::LongName => "long-name",
            Self::Integrity => "integrity",
            Self::More => "more",
            Self::ByteOrderMark => "byte-order-mark",
            Self::CarriageReturns => "carriage-returns",
            Self::CodePage => "code-page-1252",
            Self::MissingSection => "missing-section",
            Self::UncheckedRange => "unchecked-range",
        }
    }

    /// What to do about it.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::EmptyFile => "check that this is the right file",
            Self::UnknownKeyword => "remove the statement, or correct its keyword",
            Self::NotUnderstood => "correct the statement, or remove it: it says nothing about how frames are decoded",
            Self::DuplicateIdentifier => "keep one of the messages",
            Self::IdentifierRange => {
                "correct the identifier: 0 to 2047, or an extended one of up to 29 bits plus 2147483648 (bit 31)"
            }
            Self::NotExtended => "add 2147483648 (bit 31) to the identifier",
            Self::DuplicateMessage => "give one of the messages another name",
            Self::LongMessage => {
                "correct the length: a classic frame has up to 8 bytes, an FD frame 64; only transport protocols more"
            }
            Self::ManySignals => "divide the message",
            Self::DuplicateSignal => "give one of the signals another name",
            Self::SignalWidth => "correct the start bit and the length: 1 to 64 bits",
            Self::Scaling => "correct factor and offset: (1,0) leaves the value as it is",
            Self::BeyondMessage => "correct the signal's start bit or length, or the message's length",
            Self::SharedBits => "correct the start bit or the length of one of the signals",
            Self::FloatWidth => "make the signal 32 (SIG_VALTYPE_ 1) or 64 bits long (SIG_VALTYPE_ 2)",
            Self::NoMultiplexorValue => "write the multiplexor's value behind the m, as in m5",
            Self::NoMultiplexor => "mark the multiplexor with M",
            Self::SmallM => "write M for the multiplexor",
            Self::TwoMultiplexors => "keep one of the SG_MUL_VAL_ statements",
            Self::MultiplexorLoop => "correct the SG_MUL_VAL_ statements",
            Self::UnknownMessage => "correct the identifier, or remove the statement",
            Self::UnknownSignal => "correct the signal's name, or remove the statement",
            Self::UnknownTable => "define the table with VAL_TABLE_, or correct its name",
            Self::LongName => "shorten the name",
            Self::Integrity => "correct the attribute: a checksum's name and width, or how far a counter goes on",
            Self::More => "mend those above first",
            Self::ByteOrderMark | Self::CarriageReturns => "nothing has to be done; some other tools need it without",
            Self::CodePage => "nothing has to be done; as UTF-8 it is read the same everywhere",
            Self::MissingSection => "nothing has to be done; some other tools need it",
            Self::UncheckedRange => "correct the range, or leave it as [0|0] when there is none",
        }
    }
}
