use can_decoders::Database;

use super::*;

/// A multiplexed message: A and B in turns, 100 ms each; and another on the same bus.
const DBC: &[u8] = b"VERSION \"\"\nBU_: X\nBO_ 256 Mux: 4 X\n SG_ Which M : 0|8@1+ (1,0) [0|0] \"\" X\n SG_ A m1 : 8|8@1+ (0.5,0) [0|0] \"\" X\n SG_ Beside m1 : 16|8@1+ (1,0) [0|0] \"\" X\n SG_ B m2 : 8|8@1+ (1,0) [0|0] \"\" X\nBO_ 257 Other: 1 X\n SG_ O : 0|8@1+ (1,0) [0|0] \"\" X\n";
const MS: u64 = 1_000_000;
const S: u64 = 1000 * MS;

fn plan() -> Arc<Plan> {
    Arc::new(Plan::compile(&[Database::parse("t.dbc", DBC).unwrap()]))
}

fn signal(message: &str, name: &str) -> SignalAt {
    let plan = plan();
    let message = plan.find_message(message).unwrap();
    let signal = plan.find_signal(message, name).unwrap();
    SignalAt { name: name.into(), bus: BusId(0), others_from: None, plan, message, signal }
}

fn id(id: u32) -> CanId {
    CanId::standard(id).unwrap()
}

/// 200 s; A goes up and down between 0 and 120.
fn recording() -> Vec<Frame> {
    let frame = |at, id: CanId, payload: &[u8]| Frame::new(S + at, BusId(0), id, FrameKind::Data, payload).unwrap();
    let mut frames = Vec::new();
    for i in 0..1000_u64 {
        let up = u8::try_from((i * 3) % 480).unwrap_or_else(|_| u8::try_from(480 - (i * 3) % 480).unwrap());
        let up = up.min(240);
        frames.push(frame(i * 200 * MS, id(256), &[1, up, u8::try_from(i % 200).unwrap(), 9]));
        frames.push(frame(i * 200 * MS + 50 * MS, id(257), &[u8::try_from(i % 7).unwrap()]));
        frames.push(frame(i * 200 * MS + 100 * MS, id(256), &[2, 77, 3, 9]));
    }
    frames
}

fn attacked(kind: Kind, victim: Victim, seed: u64) -> (Vec<Frame>, Vec<Frame>, Attack) {
    let clean = recording();
    let attack = Attack { kind, victim, start_ns: 80 * S, end_ns: 90 * S, seed };
    let mut frames = clean.clone();
    apply(&attack, &clean, &mut frames);
    assert!(frames.is_sorted_by_key(|frame| frame.time_ns), "{kind}");
    (clean, frames, attack)
}

fn values(signal: &SignalAt, frames: &[Frame], attack: &Attack) -> Vec<f64> {
    let within = |frame: &&Frame| (attack.start_ns..attack.end_ns).contains(&frame.time_ns);
    frames.iter().filter(within).filter_map(|frame| signal.of(frame)).collect()
}

#[test]
fn a_signal_is_changed_and_nothing_beside_it() {
    let a = signal("Mux", "A");
    for (kind, _) in Kind::ALL.into_iter().filter(|(kind, _)| !kind.is_of_bus()) {
        for seed in 0..20 {
            let (clean, frames, attack) = attacked(kind, Victim::Signal(a.clone()), seed);
            if matches!(kind, Kind::Suppress | Kind::Flooding) {
                continue;
            }
            let mut changed = 0;
            for (before, after) in clean.iter().zip(&frames) {
                assert_eq!((before.time_ns, before.id, before.len()), (after.time_ns, after.id, after.len()));
                let mut expected = before.payload().to_vec();
                if let Some(value) = a.of(after) {
                    changed += usize::from(a.of(before) != Some(value));
                    expected[1] = after.payload()[1];
                }
                assert_eq!(after.payload(), expected, "{kind}: other bits");
                let within = (attack.start_ns..attack.end_ns).contains(&before.time_ns);
                assert!(within || before == after, "{kind}: outside of its time");
            }
            assert!(changed >= 10, "{kind} with seed {seed}: {changed} of 50 samples changed");
        }
    }
}

#[test]
fn each_kind_does_what_it_says() {
    let a = signal("Mux", "A");
    for seed in 0..20 {
        let of = |kind| {
            let (clean, frames, attack) = attacked(kind, Victim::Signal(a.clone()), seed);
            (values(&a, &clean, &attack), values(&a, &frames, &attack))
        };
        let (_, plateau) = of(Kind::Plateau);
        assert!(plateau.windows(2).all(|pair| pair[0] == pair[1]), "{plateau:?}");
        let (clean, stuck) = of(Kind::Stuck);
        assert!(stuck.iter().all(|v| (v - clean[0]).abs() <= 1.5), "{stuck:?}");
        let (clean, drift) = of(Kind::Continuous);
        let off: Vec<f64> = clean.iter().zip(&drift).map(|(a, b)| (b - a).abs()).collect();
        assert!(off[0] < 1.0 && off.iter().copied().fold(0.0, f64::max) > 20.0, "{off:?}");
        let (clean, playback) = of(Kind::Playback);
        assert_ne!(clean, playback);
        let (clean, offset) = of(Kind::Offset);
        assert!(clean.iter().zip(&offset).all(|(a, b)| (a - b).abs() < 40.0));
        let (_, gone) = of(Kind::Suppress);
        assert!(gone.is_empty());
        let (clean, flood) = of(Kind::Flooding);
        assert!((2 * clean.len()..=25 * clean.len()).contains(&flood.len()), "{} {}", clean.len(), flood.len());
        let (clean, delayed) = of(Kind::Delayed);
        assert!((1..20).any(|late| clean[..clean.len() - late] == delayed[late..]), "{clean:?} {delayed:?}");
    }
}

#[test]
fn the_other_values_of_a_multiplexor_are_left_alone() {
    let (clean, frames, _) = attacked(Kind::Suppress, Victim::Signal(signal("Mux", "A")), 1);
    assert_eq!(clean.len() - frames.len(), 50);
    let b = signal("Mux", "B");
    let count = |frames: &[Frame]| frames.iter().filter(|frame| b.of(frame).is_some()).count();
    assert_eq!(count(&clean), count(&frames));
}

#[test]
fn attacks_on_a_bus_add_frames() {
    for (kind, number) in [(Kind::Unknown, 0x7FF), (Kind::Fuzzing, 257)] {
        let (clean, frames, attack) = attacked(kind, Victim::Frames { bus: BusId(0), id: id(number) }, 3);
        let added = frames.len() - clean.len();
        assert!(added >= 5, "{kind}: {added}");
        let new = frames.iter().filter(|frame| frame.id == id(number) && !clean.contains(frame));
        assert!(new.clone().all(|frame| (attack.start_ns..attack.end_ns).contains(&frame.time_ns)));
        assert!(new.count() >= added * 9 / 10);
    }
}

#[test]
fn names_and_kinds_belong_together() {
    for (kind, name) in Kind::ALL {
        assert_eq!(name.parse(), Ok(kind));
        assert_eq!(kind.to_string(), name);
    }
    assert!("replay".parse::<Kind>().unwrap_err().to_string().contains("playback"));
}
