//! What events say of buses.

use std::sync::Arc;

use can_decoders::{Validity, XlFrame};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// How one bus is, and its counters since the agent's start. What is not known is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct BusHealth {
    /// Time of the last second that frames were on the wire, percent.
    pub load: Option<f64>,
    /// Frames in the last second.
    pub rate: Option<f64>,
    /// State; `None` for a bus without one, such as a virtual one.
    pub state: Option<BusState>,
    /// Error frames.
    pub errors: u64,
    /// Frames of all kinds.
    pub frames: u64,
    /// Of the error frames: nobody acknowledged what was sent.
    pub no_ack: u64,
    /// Messages of this bus that are silent now.
    pub silent: u64,
    /// Bits per second.
    pub bitrate: Option<u32>,
    /// Of the error frames: the controller left the bus.
    pub bus_off: u64,
    /// Frames that the kernel dropped because they were not read in time.
    pub dropped: u64,
    /// Signals whose value was not valid.
    pub invalid: u64,
    /// Data frames that no DBC message describes.
    pub unknown: u64,
    /// Frames, or times of losing some, that the controller or its driver had no room for.
    pub overflow: u64,
    /// Of the error frames: the controller was restarted after bus-off.
    pub restarts: u64,
    /// Frames longer than the DBC says.
    pub too_long: u64,
    /// Receive error counter of the controller.
    pub rx_errors: Option<u16>,
    /// Frames shorter than the DBC says.
    pub too_short: u64,
    /// Transmit error counter of the controller.
    pub tx_errors: Option<u16>,
    /// CAN XL frames: not decoded, and not among `frames`.
    pub xl_frames: u64,
    /// The signals whose value was not valid, by cause.
    pub invalid_by: InvalidBy,
    /// What came from the interface and is no frame.
    pub unreadable: u64,
    /// Different identifiers among the unknown frames; counting stops at 1024.
    pub unknown_ids: u64,
    /// Of the error frames: a frame violated the protocol.
    pub protocol_errors: u64,
    /// Of the error frames: another frame was more important.
    pub lost_arbitration: u64,
    /// Of the error frames: the transceiver reports a fault of the wires.
    pub transceiver_errors: u64,
}

/// How many values were not valid, by cause; causes that never came are left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InvalidBy([u64; Validity::ALL.len()]);

impl InvalidBy {
    /// One more.
    pub fn add(&mut self, cause: Validity) {
        self.0[cause.index()] += 1;
    }

    /// How many of a cause.
    pub fn count(&self, cause: Validity) -> u64 {
        self.0[cause.index()]
    }
}

impl Serialize for InvalidBy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // CBOR's order of keys (RFC 8949, 4.2.3): the shorter first.
        let mut causes = Validity::ALL;
        causes.sort_unstable_by_key(|cause| (cause.name().len(), cause.name()));
        let counted = || causes.iter().filter(|cause| self.count(**cause) > 0);
        // The number is told first: a map of unknown length has another encoding.
        let mut map = serializer.serialize_map(Some(counted().count()))?;
        counted().try_for_each(|cause| map.serialize_entry(cause.name(), &self.count(*cause)))?;
        map.end()
    }
}

/// State of a bus, as its interface or its error frames tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum BusState {
    /// The controller takes part in full.
    ErrorActive,
    /// One of its error counters has reached 96.
    ErrorWarning,
    /// One has reached 128.
    ErrorPassive,
    /// It has left the bus.
    BusOff,
    /// It is switched off.
    Stopped,
    /// It sleeps.
    Sleeping,
    /// The interface is down or gone.
    Lost,
    /// It is up, but would take part in the bus, and may not: it is not listened to.
    Refused,
}

/// Body of kind `bus`: what changed on a bus.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BusStatus {
    /// The bus.
    pub bus: Arc<str>,
    /// How it is now.
    pub health: BusHealth,
}

/// Body of kind `blind`: a time in which not all frames of a bus were heard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Blind {
    /// Until when, nanoseconds since the Unix epoch.
    pub to: u64,
    /// The bus.
    pub bus: Arc<str>,
    /// From when.
    pub from: u64,
    /// Why.
    pub cause: BlindCause,
    /// How many frames were missed; `None` when nobody knows.
    pub frames: Option<u64>,
}

/// Body of kind `xl`: a CAN XL frame as it came (CiA 610-1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Xl {
    /// Acceptance field.
    pub af: u32,
    /// The bus.
    pub bus: Arc<str>,
    /// Service data unit type.
    pub sdt: u8,
    /// Simple extended content.
    pub sec: bool,
    /// The payload: a byte string; in JSON, base64url.
    #[serde(serialize_with = "bytes")]
    pub data: Box<[u8]>,
    /// Virtual CAN network identifier.
    pub vcid: u8,
    /// Priority identifier.
    pub priority: u16,
}

impl Xl {
    pub(crate) fn new(bus: Arc<str>, frame: XlFrame) -> Self {
        let XlFrame { priority, vcid, sec, sdt, af, payload, .. } = frame;
        Self { af, bus, sdt, sec, data: payload, vcid, priority }
    }
}

pub(super) fn bytes<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    if !serializer.is_human_readable() {
        return serializer.serialize_bytes(bytes);
    }
    serializer.serialize_str(&super::base64url(bytes))
}

/// Why frames were not heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BlindCause {
    /// The agent did not read them in time, and the kernel's buffer was full.
    Dropped,
    /// The controller or its driver had no room.
    Overflow,
    /// The interface was down or gone.
    Interface,
    /// The computer slept.
    Suspend,
}
