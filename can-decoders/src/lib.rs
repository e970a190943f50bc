//! CAN frames, DBC databases compiled to decode plans, and recordings (candump, ASC, BLF, TRC).
//!
//! An agent on a vehicle's buses sees thousands of frames a second on a small processor, and what
//! describes them, DBC files, was written by many hands over twenty years. This crate keeps the two
//! apart. Once, at start, a [`Database`] is read with patience: oddities become warnings, and only what
//! cannot be decoded rightly is refused, with file, line and remedy. The databases of a bus are compiled
//! to a [`Plan`], in which almost every signal is two shifts, a multiplication and a comparison, and every
//! multiplexed signal knows which raw values of which other signal put it into the frame. Then, for each
//! frame, decoding is one look-up of the identifier and one pass over the message's signals, without
//! allocation and without a way to fail: a payload of any length gives samples, and each [`Sample`] says
//! whether its value can be used ([`Validity`]): bytes that a frame does not have, patterns that stand for
//! "not available", values out of range and frames with a wrong checksum are delivered, and marked.
//!
//! What is guaranteed for any DBC file, payload and recording, however hostile: no panic, no unbounded
//! memory, and nothing dropped in silence. What a DBC file says and cannot be used is in its warnings; a
//! line of a recording that is skipped is counted by its fault. There is no unsafe code.
//!
//! Values are those that cantools computes: raw · factor + offset in doubles, or exactly where factor and
//! offset are integers and a double would round on the way.
//!
//! | Module | |
//! |---|---|
//! | [`frame`] | a CAN or CAN FD frame |
//! | [`dbc`] | DBC text to [`Database`] |
//! | [`plan`] | [`Database`] to [`Plan`] |
//! | [`decode`] | payload to samples: an iterator, or into a buffer |
//! | [`validity`] | which values can be used, and the rules for it |
//! | [`integrity`] | checksums and counters in payloads |
//! | [`encode`] | physical values to payload, for simulation |
//! | [`log`] | recordings: candump, Vector ASC and BLF, PEAK TRC; plain, gzip or zstd |
//!
//! The plan is made of [`dbc::MessageDef`]s and knows nothing of DBC text, so that there is room for other readers (KCD,
//! ARXML). With the feature `serde`, frames and samples can be written and read, and what a DBC file says written.
//!
//! Not here: putting messages of transport protocols together. Their payloads decode once they are.
//!
//! # Example
//!
//! ```
//! use can_decoders::log::Options;
//! use can_decoders::{Database, LogReader, Plan, Validity};
//!
//! let dbc = r#"
//! BU_: Engine
//!
//! BO_ 291 EngineState: 4 Engine
//!  SG_ Speed : 7|16@0+ (0.25,0) [0|8000] "rpm" Engine
//!  SG_ Gear : 16|4@1- (1,0) [-1|6] "" Engine
//!
//! VAL_ 291 Gear -1 "Reverse" 0 "Neutral" ;
//! "#;
//! let plan = Plan::compile(&[Database::parse("engine.dbc", dbc.as_bytes())?]);
//! assert!(plan.warnings().is_empty());
//!
//! let log = "(1700000000.000000) can0 123#0C800F00\n(1700000000.010000) can0 123#0C\n";
//! let mut shown = Vec::new();
//! for frame in LogReader::from_reader("drive.log", log.as_bytes(), Options::default())? {
//!     let frame = frame?;
//!     let Some(message) = plan.find(frame.id) else { continue };
//!     for sample in plan.decode(message, frame.payload()).signals() {
//!         let signal = plan.signal(sample.signal);
//!         let label = sample.raw.as_i64().and_then(|raw| signal.label(raw)).unwrap_or("");
//!         if sample.validity == Validity::Valid {
//!             shown.push(format!("{} {} {}{label}", signal.name, sample.value, signal.unit));
//!         } else {
//!             shown.push(format!("{} {:?}", signal.name, sample.validity));
//!         }
//!     }
//! }
//! assert_eq!(shown, ["Speed 800 rpm", "Gear -1 Reverse", "Speed Short", "Gear Short"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod choice;
mod compile;
pub mod dbc;
pub mod decode;
pub mod encode;
pub mod error_frame;
pub mod frame;
mod index;
pub mod integrity;
pub mod log;
mod names;
mod op;
pub mod plan;
mod step;
pub mod validity;
pub mod xl;

pub use dbc::{Database, DbcError};
pub use decode::{Decoded, Fit, Raw, Sample, Samples};
pub use encode::EncodeError;
pub use error_frame::{ControllerState, ErrorFrame};
pub use frame::{BusId, CanId, Frame, FrameKind};
pub use log::{LogError, LogReader, LogWriter};
pub use plan::{Message, MessageIndex, Plan, Signal, SignalIndex};
pub use validity::{Rules, Validity};
pub use xl::{MAX_XL_PAYLOAD, XL_BYTES, XlFrame};

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
