//! From a message to records: one for each event, keyed by the vehicle.

use std::collections::BTreeMap;
use std::sync::Arc;

use rskafka::chrono::{DateTime, Utc};
use rskafka::record::Record;
use serde::Deserialize;

use crate::event::SCHEMA_VERSION;
use crate::uplink::PayloadFormat;
use crate::uplink::delivery::Message;

/// What the headers say of an event.
#[derive(Deserialize)]
struct Head {
    seq: u64,
    boot: String,
    vehicle: Arc<str>,
}

/// The records of a message's events, stamped with the time of sending: brokers delete by that, so that the event's own
/// time, which may be years off or long ago, would have them delete what has just come. `None`: it is damaged.
pub(super) fn of_message(message: &Message, format: PayloadFormat, now_ms: Option<i64>) -> Option<Vec<Record>> {
    // Kafka's word for "no timestamp".
    let timestamp = DateTime::<Utc>::from_timestamp_millis(now_ms.unwrap_or(-1))?;
    let payload = &message.part.payload;
    let mut records = Vec::with_capacity(usize::try_from(message.part.count).ok()?.min(payload.len()));
    let mut add = |head: Head, value: &[u8]| {
        let headers = BTreeMap::from([
            ("schema".to_owned(), SCHEMA_VERSION.to_string().into_bytes()),
            ("class".to_owned(), message.class.name().as_bytes().to_vec()),
            ("seq".to_owned(), head.seq.to_string().into_bytes()),
            ("boot".to_owned(), head.boot.into_bytes()),
            ("content-type".to_owned(), format.content_type_of_one().as_bytes().to_vec()),
        ]);
        let key = Some(head.vehicle.as_bytes().to_vec());
        records.push(Record { key, value: Some(value.to_vec()), headers, timestamp });
    };
    match format {
        PayloadFormat::Cbor => {
            let mut items = serde_cbor::Deserializer::from_slice(payload).into_iter::<Head>();
            let mut start = 0;
            while let Some(head) = items.next() {
                let (head, end) = (head.ok()?, items.byte_offset());
                add(head, payload.get(start..end)?);
                start = end;
            }
        }
        PayloadFormat::Json => {
            for line in payload.split_inclusive(|byte| *byte == b'\n') {
                add(serde_json::from_slice(line).ok()?, line.trim_ascii_end());
            }
        }
    }
    Some(records)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Body, Class, Event, Identity, NameMap, Signals};
    use crate::outbox::Batch;
    use crate::uplink::payload::{self, Room};

    fn message(format: PayloadFormat) -> (Message, Vec<Vec<u8>>) {
        let identity = Identity { vehicle: "truck-1".into(), boot: "b00t".into() };
        let encodings: Vec<Vec<u8>> = (7..10)
            .map(|seq| {
                let values = NameMap::new(vec![("x".into(), Some(0.5))]);
                let event = Event::new(seq, Class::Alert, Body::Signals(Signals { group: "g".into(), values }));
                let mut bytes = Vec::new();
                event.encode(&identity, seq, &mut bytes).unwrap();
                bytes
            })
            .collect();
        let batch = Batch {
            class: Class::Alert,
            first_seq: 7,
            last_seq: 9,
            count: 3,
            regions: None,
            payload: encodings.concat(),
        };
        let mut encoded = payload::encode(&batch, format, Room { hard: 10_000, soft: 10_000 }).unwrap();
        (Message { class: Class::Alert, batch: 7, part: encoded.parts.remove(0) }, encodings)
    }

    #[test]
    fn an_event_is_a_record_with_its_own_headers() {
        let (message, encodings) = message(PayloadFormat::Cbor);
        let records = of_message(&message, PayloadFormat::Cbor, Some(1_700_000_000_123)).unwrap();
        assert_eq!(records.len(), 3);
        for ((seq, record), encoding) in (7..).zip(&records).zip(&encodings) {
            assert_eq!(record.key.as_deref(), Some("truck-1".as_bytes()));
            assert_eq!(record.value.as_ref(), Some(encoding));
            assert_eq!(record.timestamp.timestamp_millis(), 1_700_000_000_123);
            let header = |name: &str| String::from_utf8(record.headers[name].clone()).unwrap();
            assert_eq!(header("seq"), format!("{seq}"));
            let others = ["schema", "class", "boot", "content-type"].map(header);
            assert_eq!(others, ["1", "alert", "b00t", "application/cbor"]);
        }
    }

    #[test]
    fn json_is_one_object_a_record() {
        let (message, _) = message(PayloadFormat::Json);
        let records = of_message(&message, PayloadFormat::Json, None).unwrap();
        let seqs: Vec<_> = records
            .iter()
            .map(|record| serde_json::from_slice::<serde_json::Value>(record.value.as_ref().unwrap()).unwrap())
            .map(|event| event["seq"].as_u64().unwrap())
            .collect();
        assert_eq!(seqs, [7, 8, 9]);
        assert_eq!(records[0].timestamp.timestamp_millis(), -1, "no timestamp");
    }

    #[test]
    fn damage_is_noticed() {
        let (mut message, _) = message(PayloadFormat::Cbor);
        message.part.payload = message.part.payload.slice(..message.part.payload.len() - 1);
        assert_eq!(of_message(&message, PayloadFormat::Cbor, None), None);
    }
}
