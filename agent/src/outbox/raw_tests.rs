use super::super::generation::Generation;
use super::chunk::{MOST, cut};
use super::*;

fn record(first: u64, bytes: usize) -> Record {
    let payload = (0..bytes).map(|n| u8::try_from(n % 251).unwrap()).collect();
    let events = vec![(first, u32::try_from(bytes).unwrap())];
    Record { class: Class::Alert, ordinal: 3, events, times: (1, 2), regions: None, payload }
}

#[test]
fn chunks_in_any_order_among_anything_make_the_record_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(DATA);
    let bytes = record::encode(&record(77, 64_000), 3);
    let mut chunks: Vec<Vec<u8>> = cut(9, 1, 77, &bytes).map(|(_, chunk)| chunk).collect();
    assert!(chunks.len() > 40 && chunks.iter().all(|chunk| chunk.len() <= MOST));
    chunks.reverse();
    let mut raw = b"ORK1 is no chunk".to_vec();
    for (n, chunk) in chunks.iter().enumerate() {
        raw.extend_from_slice(chunk);
        raw.resize(raw.len() + n * 5000 % 300_000, 7);
    }
    // Of another generation, of another version of the record, and one that is cut.
    raw.extend(cut(8, 1, 78, &record::encode(&record(78, 10), 0)).flat_map(|(_, chunk)| chunk));
    raw.extend(cut(9, 1, 77, &record::encode(&record(77, 2000), 2)).flat_map(|(_, chunk)| chunk));
    raw.extend_from_slice(&chunks[0][..chunks[0].len() - 1]);
    std::fs::write(&path, &raw).unwrap();
    let mut carved = open(dir.path(), 9).unwrap().unwrap();
    assert_eq!(carved.names(), [(Class::Alert, 77)]);
    assert_eq!(carved.record(Class::Alert, 77).unwrap(), Some(record(77, 64_000)), "the later version");
    assert_eq!(carved.record(Class::Alert, 78).unwrap(), None);
    // One chunk less, and the older version is what is left.
    let at = memchr::memmem::find(&raw, &chunks[5]).unwrap();
    raw[at + 100] ^= 1;
    std::fs::write(&path, &raw).unwrap();
    assert_eq!(
        open(dir.path(), 9).unwrap().unwrap().record(Class::Alert, 77).unwrap(),
        Some(Record { ordinal: 2, ..record(77, 2000) })
    );
}

/// The promise that all this rests on.
#[test]
fn sled_writes_values_in_one_piece() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gen");
    let mut generation = Generation::create(&path, 5).unwrap();
    for n in 0..200_u64 {
        let record = record(1 + n * 3, usize::try_from(n * 97 % 9000).unwrap());
        generation.put(&[(Class::Alert, record.first(), record::encode(&record, 0))], None).unwrap();
    }
    let mut carved = open(&path, 5).unwrap().unwrap();
    assert_eq!(carved.names().len(), 200);
    for n in 0..200_u64 {
        let wanted = record(1 + n * 3, usize::try_from(n * 97 % 9000).unwrap());
        assert_eq!(carved.record(Class::Alert, 1 + n * 3).unwrap().map(|r| r.payload), Some(wanted.payload));
    }
}
