//! What the targets of all recordings have in common: any bytes, read strictly and tolerantly.

use std::io::Cursor;

use can_decoders::log::{Fault, Format, LogReader, Options};

/// Does nothing when the bytes look like another format: that one has a target of its own.
pub fn read(format: Format, bytes: &[u8]) {
    let open = |tolerant| {
        let options = Options { tolerant, ..Options::default() };
        LogReader::from_reader("fuzz", Cursor::new(bytes.to_vec()), options)
    };
    let Ok(mut tolerant) = open(true) else { return };
    if tolerant.format() != format {
        return;
    }
    let mut strict = open(false).expect("it was opened before");
    let mut last = None;
    let mut failed = false;
    // Each frame, skipped line and other event takes bytes: reading comes to an end. Compressed ones give more than they are.
    for (n, frame) in tolerant.by_ref().enumerate() {
        let Ok(frame) = frame else { break };
        assert!(frame.payload().len() <= frame.len());
        if !failed {
            match strict.next() {
                Some(Ok(same)) => assert_eq!(same, frame, "frame {n}"),
                // From here on, the tolerant reader has skipped something.
                _ => failed = true,
            }
        }
        last = Some(frame);
    }
    let bad = tolerant.bad_lines();
    assert_eq!(bad.total(), Fault::ALL.iter().map(|fault| bad.count(*fault)).sum::<u64>());
    assert!(bad.first().len() <= 10 && tolerant.buses().len() <= 255);
    assert!(!failed || bad.total() > 0, "a strict reader fails where a tolerant one counts");
    if let Some(frame) = last {
        assert!(tolerant.buses().len() > usize::from(frame.bus.0));
    }
    assert!(tolerant.next().is_none());
}
