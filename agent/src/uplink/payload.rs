//! From a batch to payloads that fit.
//!
//! A batch is a CBOR sequence of events. As CBOR it goes out as it is stored, and is only looked
//! into when it is too big. As JSON each event becomes one line. Either way what does not fit is
//! divided at the boundaries between events, and a single event that does not fit is named so
//! that it can be reported as lost.

use bytes::Bytes;
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Serialize, Serializer};
use serde_cbor::Value;
use thiserror::Error;

use super::PayloadFormat;
use crate::event::base64url;
use crate::outbox::Batch;

/// How many bytes a payload may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    /// A single event that is larger cannot be sent at all.
    pub(crate) hard: usize,
    /// Several events together should not be larger. At most `hard`.
    pub(crate) soft: usize,
}

/// One payload: a whole batch or some of its events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// Sequence number of its first event.
    pub(crate) first_seq: u64,
    /// Sequence number of its last event.
    pub(crate) last_seq: u64,
    /// Its events' numbers; `None` when it is the whole batch.
    pub(crate) seqs: Option<Vec<u64>>,
    /// Number of events.
    pub(crate) count: u32,
    /// The encoding.
    pub(crate) payload: Bytes,
}

/// What became of a batch. Every event of the batch is in exactly one of the fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Encoded {
    /// What can be sent, in order of sequence.
    pub(crate) parts: Vec<Part>,
    /// Numbers of the events that do not fit even alone.
    pub(crate) oversize: Vec<u64>,
}

/// The batch is not what the outbox promises: a sequence of CBOR maps with a `seq`. Sending it again will not help.
#[derive(Debug, Error)]
pub(crate) enum PayloadError {
    /// Not CBOR, or without `seq`.
    #[error("event {index} of the batch at byte {offset}: {source}")]
    Cbor {
        /// Place of the event in the batch, from 0.
        index: usize,
        /// Where it starts.
        offset: usize,
        /// What is wrong.
        source: serde_cbor::Error,
    },
    /// JSON has no way to say it.
    #[error("event {index} of the batch cannot be written as JSON: {source}")]
    Json {
        /// Place of the event in the batch, from 0.
        index: usize,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// An event's `seq` is not a number.
    #[error("event {index} of the batch has no sequence number")]
    NoSeq {
        /// Place of the event in the batch, from 0.
        index: usize,
    },
}

/// Encodes `batch` so that each part keeps to `room`.
///
/// # Errors
/// When the batch has to be looked into and is damaged.
pub(crate) fn encode(batch: &Batch, format: PayloadFormat, room: Room) -> Result<Encoded, PayloadError> {
    match format {
        PayloadFormat::Cbor if batch.payload.len() <= room.soft => Ok(Encoded {
            parts: vec![Part {
                first_seq: batch.first_seq,
                last_seq: batch.last_seq,
                seqs: None,
                count: batch.count,
                payload: Bytes::copy_from_slice(&batch.payload),
            }],
            oversize: Vec::new(),
        }),
        PayloadFormat::Cbor => Ok(pack(items(&batch.payload)?, room)),
        PayloadFormat::Json => Ok(pack(lines(&batch.payload)?, room)),
    }
}

/// One encoded event.
struct Item<B> {
    seq: u64,
    bytes: B,
}

/// The part of an envelope that dividing needs.
#[derive(Deserialize)]
struct Head {
    seq: u64,
}

/// The events of a CBOR sequence, as slices.
fn items(payload: &[u8]) -> Result<Vec<Item<&[u8]>>, PayloadError> {
    let mut items = Vec::new();
    let mut start = 0;
    let mut stream = serde_cbor::Deserializer::from_slice(payload).into_iter::<Head>();
    while let Some(head) = stream.next() {
        let index = items.len();
        let head = head.map_err(|source| PayloadError::Cbor { index, offset: start, source })?;
        let end = stream.byte_offset();
        items.push(Item { seq: head.seq, bytes: &payload[start..end] });
        start = end;
    }
    Ok(items)
}

/// The events of a CBOR sequence as JSON lines, each with its line feed.
fn lines(payload: &[u8]) -> Result<Vec<Item<Vec<u8>>>, PayloadError> {
    let mut items = Vec::new();
    let mut start = 0;
    let mut stream = serde_cbor::Deserializer::from_slice(payload).into_iter::<Value>();
    while let Some(value) = stream.next() {
        let index = items.len();
        let value = value.map_err(|source| PayloadError::Cbor { index, offset: start, source })?;
        start = stream.byte_offset();
        let seq = seq_of(&value).ok_or(PayloadError::NoSeq { index })?;
        let mut bytes = serde_json::to_vec(&Json(&value)).map_err(|source| PayloadError::Json { index, source })?;
        bytes.push(b'\n');
        items.push(Item { seq, bytes });
    }
    Ok(items)
}

fn seq_of(value: &Value) -> Option<u64> {
    let Value::Map(map) = value else { return None };
    match map.get(&Value::Text("seq".to_owned()))? {
        Value::Integer(seq) => u64::try_from(*seq).ok(),
        _ => None,
    }
}

/// Joins events in order into parts of at most `room.soft`; one alone may have `room.hard`.
fn pack<B: AsRef<[u8]>>(items: Vec<Item<B>>, room: Room) -> Encoded {
    let mut encoded = Encoded::default();
    let mut open: Vec<Item<B>> = Vec::new();
    let mut size = 0;
    let total = items.len();
    for item in items {
        let len = item.bytes.as_ref().len();
        if size + len > room.soft {
            close(&mut open, &mut encoded.parts);
            size = 0;
        }
        if len > room.hard {
            encoded.oversize.push(item.seq);
            continue;
        }
        size += len;
        open.push(item);
    }
    close(&mut open, &mut encoded.parts);
    if let [part] = encoded.parts.as_mut_slice()
        && part.seqs.as_ref().is_some_and(|seqs| seqs.len() == total)
    {
        part.seqs = None;
    }
    encoded
}

fn close<B: AsRef<[u8]>>(open: &mut Vec<Item<B>>, parts: &mut Vec<Part>) {
    let (Some(first), Some(last)) = (open.first(), open.last()) else { return };
    let (first_seq, last_seq) = (first.seq, last.seq);
    let mut payload = Vec::with_capacity(open.iter().map(|item| item.bytes.as_ref().len()).sum());
    for item in open.iter() {
        payload.extend_from_slice(item.bytes.as_ref());
    }
    let seqs: Vec<u64> = open.drain(..).map(|item| item.seq).collect();
    let count = u32::try_from(seqs.len()).unwrap_or(u32::MAX);
    parts.push(Part { first_seq, last_seq, seqs: Some(seqs), count, payload: payload.into() });
}

/// Writes a CBOR value as JSON, as RFC 8949 section 6.1 advises: integers keep all digits, byte
/// strings become base64url, numbers that JSON has no way to write become null.
struct Json<'a>(&'a Value);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Bool(b) => serializer.serialize_bool(*b),
            Value::Integer(i) => serializer.serialize_i128(*i),
            // serde_json writes NaN and infinities as null.
            Value::Float(f) => serializer.serialize_f64(*f),
            Value::Bytes(bytes) => serializer.serialize_str(&base64url(bytes)),
            Value::Text(text) => serializer.serialize_str(text),
            Value::Tag(_, inner) => Json(inner).serialize(serializer),
            Value::Array(values) => {
                let mut seq = serializer.serialize_seq(Some(values.len()))?;
                for value in values {
                    seq.serialize_element(&Json(value))?;
                }
                seq.end()
            }
            Value::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    match key {
                        Value::Text(key) => map.serialize_entry(key, &Json(value))?,
                        // Envelopes have text keys only; a foreign key is kept readable.
                        other => map.serialize_entry(&format!("{other:?}"), &Json(value))?,
                    }
                }
                map.end()
            }
            // Null, and what serde_cbor may add to its non-exhaustive type.
            _ => serializer.serialize_unit(),
        }
    }
}

#[cfg(test)]
#[path = "payload_tests.rs"]
mod tests;
