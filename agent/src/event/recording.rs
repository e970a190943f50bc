//! Bodies of the flight recorder.

use std::sync::Arc;

use serde::Serialize;

/// Body of kind `recording`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Recording {
    /// Its name, never used twice by a vehicle.
    pub id: Arc<str>,
    /// Time of its latest frame, nanoseconds since the Unix epoch; 0 without frames.
    pub to: u64,
    /// Time of its earliest frame.
    pub from: u64,
    /// Its size.
    pub bytes: u64,
    /// What has become of it.
    pub state: RecordingState,
    /// SHA-256 of the file, hexadecimal, once it is finished.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Frames in it.
    pub frames: u64,
    /// Frames that should be in it and are not.
    pub missed: u64,
    /// Why, where something went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The conditions that asked for it, in the order of time.
    pub triggers: Vec<Arc<str>>,
}

/// What has become of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordingState {
    /// The seconds before the trigger are on disk.
    Started,
    /// It is complete, up to a power cut or the end of the agent if there was one.
    Finished,
    /// There was no room for it any more, and it had not been sent as a whole.
    Evicted,
    /// It was not made.
    Refused,
}

/// Body of kind `recording_chunk`: a piece of a recording's file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecordingChunk {
    /// See [`Recording::id`].
    pub id: Arc<str>,
    /// How many pieces there are.
    pub of: u32,
    /// Its bytes; in JSON, base64url.
    #[serde(serialize_with = "super::bus::bytes")]
    pub data: Vec<u8>,
    /// Its place, from 0. All pieces but the last have the same size.
    pub index: u32,
    /// See [`Recording::digest`].
    pub digest: Arc<str>,
}
