//! Any bytes as a DBC file: it is refused or used, and what it describes decodes any payload.

#![no_main]

use can_decoders::{Database, Plan, Sample};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(database) = Database::parse("fuzz.dbc", bytes) else { return };
    assert!(database.notes().len() < 2100);
    let plan = Plan::compile(&[database]);
    assert!(plan.warnings().len() < 2100);
    let mut buffer = vec![Sample::default(); plan.most_signals()];
    let payload = [0xA5; 64];
    for message in plan.messages() {
        let index = plan.find(message.id).expect("each identifier is found");
        assert_eq!(plan.message(index).id, message.id);
        for length in [0, 1, 7, 8, message.size.min(64), 64] {
            let samples = plan.decode(index, &payload[..length]).write(&mut buffer);
            assert!(samples.len() <= message.signals.len());
        }
        assert!(plan.mask(index).len() >= message.size);
    }
});
