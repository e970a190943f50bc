//! Buses as they tell of themselves: by their frames, by error frames, by the interface.

use super::*;
use crate::event::{BlindCause, BusHealth, BusState};

const SECOND: u64 = 1000;

fn engine(collect: &[&str]) -> Engine {
    let mut catalog = catalog(&["can0"]);
    let bus = Bus { bitrate: Some(500_000), data_bitrate: Some(2_000_000), ..catalog.buses()[0].clone() };
    catalog = Catalog::new(vec![bus]);
    let collectors = collect.iter().map(|pattern| super::collect(&catalog, pattern, ON_CHANGE, 0.0)).collect();
    Engine::new(catalog, HEALTH, collectors, vec![])
}

const ON_CHANGE: Mode = Mode::OnChange { heartbeat_ns: 0 };

fn signal(engine: &Engine, name: &str) -> Option<f64> {
    let id = engine.catalog().find_signal(&format!("BusHealth.{name}")).unwrap();
    engine.state().signal(id).usable(engine.now_ns(), 1000 * MS)
}

fn report(ms: u64, state: Option<BusState>) -> Notice {
    Notice::Report(Report {
        bus: BusId(0),
        time_ns: START + ms * MS,
        state,
        counters: state.filter(|state| (*state as u8) < BusState::Lost as u8).map(|_| (7, 9)),
        bitrate: state.map(|_| 250_000),
        data_bitrate: None,
        dropped: 3,
        overflow: 4,
        xl: 5,
        unreadable: 6,
    })
}

fn error(ms: u64, class: u32, data: [u8; 8]) -> Frame {
    Frame::new(START + ms * MS, BusId(0), CanId::extended(class).unwrap(), FrameKind::Error, &data).unwrap()
}

/// The health in each `bus` event, with its time in milliseconds.
fn told(events: &[Event]) -> Vec<(u64, BusHealth)> {
    let bus = |event: &Event| if let Body::Bus(status) = &event.body { Some(status.health) } else { None };
    events.iter().filter_map(|event| Some(((event.time_ns - START) / MS, bus(event)?))).collect()
}

#[test]
fn rate_and_load_are_those_of_the_last_whole_second() {
    let mut engine = engine(&[]);
    let mut events = Vec::new();
    for ms in 0..2 * SECOND {
        engine.frame(&motor(ms, 1), &mut events);
    }
    // An identifier that nobody knows, remote, extended, FD at one rate and at two, in the third second.
    let extended = CanId::extended(0x18FE_F100).unwrap();
    let fd = |brs| FrameKind::Fd { brs, esi: false };
    for (i, (id, kind)) in [
        (CanId::standard(0x700).unwrap(), FrameKind::Data),
        (extended, FrameKind::Data),
        (extended, fd(false)),
        (extended, fd(true)),
    ]
    .into_iter()
    .enumerate()
    {
        let time_ns = START + (2 * SECOND + i as u64) * MS;
        engine.frame(&Frame::new(time_ns, BusId(0), id, kind, &[0; 8]).unwrap(), &mut events);
    }
    engine.advance(START + 2 * SECOND * MS, &mut events);
    // A frame of 8 bytes: 98 bits that may be stuffed, 7 of which are on average, and 13 that may not.
    assert_eq!((signal(&engine, "FrameRate"), signal(&engine, "Load")), (Some(1000.0), Some(23.6)));
    assert_eq!(signal(&engine, "Bitrate"), Some(500_000.0), "as configured");
    engine.advance(START + 3 * SECOND * MS, &mut events);
    assert_eq!((signal(&engine, "FrameRate"), signal(&engine, "UnknownRate")), (Some(4.0), Some(4.0)));
    assert_eq!(signal(&engine, "UnknownIds"), Some(2.0));
    // 118, 54 + 64 + 8 + 13, and FD: 36 + 2 + 12 with 5 + 64 + 4 + 27 + 1.
    let bits = 118.0 + 139.0 + 2.0 * 50.0 + 101.0 + 101.0 / 4.0;
    assert_eq!(signal(&engine, "Load"), Some((bits / 500.0_f64).round() / 10.0));
    assert!(told(&events).is_empty(), "nothing has changed its state: {events:?}");
}

#[test]
fn a_state_is_told_at_once_and_flapping_once_a_second() {
    let mut engine = engine(&[]);
    let mut events = Vec::new();
    engine.frame(&motor(10, 1), &mut events);
    engine.frame(&error(100, 0x004, [0, 0x08, 0, 0, 0, 0, 96, 0]), &mut events);
    for ms in 101..3000 {
        let detail = if ms % 2 == 0 { 0x08 } else { 0x40 };
        engine.frame(&error(ms, 0x004, [0, detail, 0, 0, 0, 0, 90, 0]), &mut events);
    }
    let told = told(&events);
    assert_eq!((told[0].0, told[0].1.state, told[0].1.tx_errors), (100, Some(BusState::ErrorWarning), Some(96)));
    assert!((3..=4).contains(&told.len()), "{told:?}");
    assert_eq!(engine.health().bus(0).errors, 2900);
}

#[test]
fn what_error_frames_say_is_counted_by_cause() {
    let mut engine = engine(&[]);
    let mut events = Vec::new();
    for (ms, class, detail) in
        [(1, 0x020, 0), (2, 0x002, 0), (3, 0x008, 0), (4, 0x004, 1), (5, 0x040, 0), (6, 0x100, 0)]
    {
        engine.frame(&error(ms, class, [0, detail, 0, 0, 0, 0, 0, 0]), &mut events);
    }
    let bus = engine.health().bus(0);
    assert_eq!((bus.errors, bus.no_ack, bus.lost_arbitration, bus.protocol_errors), (6, 1, 1, 1));
    assert_eq!((bus.overflow, bus.bus_off, bus.restarts, bus.state), (1, 1, 1, Some(BusState::ErrorActive)));
    // Bus-off was told at once; what came in the same second after it is told when that is over.
    engine.advance(START + 2 * SECOND * MS, &mut events);
    let states: Vec<Option<BusState>> = told(&events).iter().map(|(_, health)| health.state).collect();
    assert_eq!(states, [Some(BusState::BusOff), Some(BusState::ErrorActive)]);
}

#[test]
fn the_interface_knows_more_than_its_frames() {
    let mut engine = engine(&[]);
    let mut events = Vec::new();
    engine.frame(&motor(10, 1), &mut events);
    engine.notice(report(20, Some(BusState::ErrorPassive)), &mut events);
    let bus = *engine.health().bus(0);
    assert_eq!(
        (bus.state, bus.bitrate, bus.tx_errors, bus.rx_errors),
        (Some(BusState::ErrorPassive), Some(250_000), Some(7), Some(9))
    );
    assert_eq!((bus.dropped, bus.overflow, bus.xl_frames, bus.unreadable), (3, 4, 5, 6));
    engine.advance(START + SECOND * MS, &mut events);
    let value = |name| signal(&engine, name);
    assert_eq!((value("State"), value("TxErrors"), value("RxErrors")), (Some(2.0), Some(7.0), Some(9.0)));
    assert_eq!((value("Dropped"), value("Overflow"), value("Bitrate")), (Some(3.0), Some(4.0), Some(250_000.0)));
    assert_eq!(value("Load"), None, "of less than a second");

    // Lost, and back as a virtual interface without a state.
    engine.notice(report(1500, Some(BusState::Lost)), &mut events);
    engine.advance(START + 3 * SECOND * MS, &mut events);
    engine.notice(report(3100, None), &mut events);
    let states: Vec<Option<BusState>> = told(&events).iter().map(|(_, health)| health.state).collect();
    assert_eq!(states, [Some(BusState::ErrorPassive), Some(BusState::Lost), None]);
    // What an error frame says of a virtual bus is not unsaid by an interface that has nothing to say.
    engine.frame(&error(3200, 0x040, [0; 8]), &mut events);
    engine.notice(report(3300, None), &mut events);
    assert_eq!(engine.health().bus(0).state, Some(BusState::BusOff));
}

#[test]
fn what_was_not_heard_is_an_event() {
    let mut engine = engine(&[]);
    let mut events = Vec::new();
    engine.frame(&motor(10, 1), &mut events);
    let missed =
        Missed { bus: BusId(0), cause: BlindCause::Dropped, from_ns: START, to_ns: START + 5, frames: Some(12) };
    engine.notice(Notice::Missed(missed), &mut events);
    engine.notice(Notice::Missed(Missed { bus: BusId(9), ..missed }), &mut events);
    let [Event { class: Class::Status, body: Body::Blind(blind), .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!((&*blind.bus, blind.from, blind.to, blind.frames), ("can0", START, START + 5, Some(12)));
}

/// A controller that only sends error frames about what it lost is believed; one that also counts tells it once.
#[test]
fn an_overflow_that_nobody_counted_is_told_without_a_number() {
    for (counted, until) in [(false, 5000), (true, 5000), (false, 700)] {
        let mut engine = engine(&[]);
        let mut events = Vec::new();
        for ms in (0..until).step_by(10) {
            engine.frame(&motor(ms, 1), &mut events);
            if ms == 500 || ms == 600 {
                engine.frame(&error(ms, 0x004, [0, 0x01, 0, 0, 0, 0, 0, 0]), &mut events);
            }
            if counted && ms == 1300 {
                let (from_ns, to_ns) = (START + 300 * MS, START + 1300 * MS);
                let missed = Missed { bus: BusId(0), cause: BlindCause::Overflow, from_ns, to_ns, frames: Some(7) };
                engine.notice(Notice::Missed(missed), &mut events);
                // One that comes out of a backlog after that.
                engine.frame(&error(1290, 0x004, [0, 0x01, 0, 0, 0, 0, 0, 0]), &mut events);
            }
        }
        engine.finish(&mut events);
        let told: Vec<_> = events
            .iter()
            .filter_map(|e| {
                if let Body::Blind(b) = &e.body { Some((b.from - START, b.to - START, b.frames)) } else { None }
            })
            .collect();
        let expected = match (counted, until) {
            (true, _) => (300 * MS, 1300 * MS, Some(7)),
            (false, 5000) => (500 * MS, 3000 * MS, None),
            // The end comes before the interface could say anything.
            (false, _) => (500 * MS, 690 * MS, None),
        };
        assert_eq!(told, [expected]);
    }
}

/// Before the first frame the engine has no time of its own.
#[test]
fn what_is_told_before_the_first_frame_has_its_own_time() {
    let mut engine = engine(&[]);
    let mut events = Vec::new();
    engine.notice(report(20, Some(BusState::Lost)), &mut events);
    let missed = Missed { bus: BusId(0), cause: BlindCause::Interface, from_ns: START, to_ns: START + 9, frames: None };
    engine.notice(Notice::Missed(missed), &mut events);
    assert_eq!(events.iter().map(|e| e.time_ns).collect::<Vec<_>>(), [START + 20 * MS, START + 9]);
}

/// A value that the interface no longer tells is no value, at once.
#[test]
fn what_is_no_longer_known_has_no_value() {
    let mut engine = engine(&[]);
    let mut events = Vec::new();
    engine.frame(&motor(10, 1), &mut events);
    engine.notice(report(20, Some(BusState::ErrorPassive)), &mut events);
    engine.advance(START + 2 * SECOND * MS, &mut events);
    assert_eq!((signal(&engine, "State"), signal(&engine, "TxErrors")), (Some(2.0), Some(7.0)));
    engine.notice(report(2500, Some(BusState::Refused)), &mut events);
    engine.advance(START + 3 * SECOND * MS, &mut events);
    assert_eq!((signal(&engine, "State"), signal(&engine, "TxErrors")), (Some(7.0), None));
    engine.notice(report(3500, None), &mut events);
    engine.advance(START + 4 * SECOND * MS, &mut events);
    assert_eq!(signal(&engine, "State"), None);
}

/// A frame that switches to a bitrate that nobody has told takes a time that nobody knows.
#[test]
fn without_a_data_bitrate_the_load_of_switching_frames_is_not_known() {
    let catalog = catalog(&["can0"]);
    let bus = Bus { bitrate: Some(500_000), ..catalog.buses()[0].clone() };
    let mut engine = Engine::new(Catalog::new(vec![bus]), HEALTH, vec![], vec![]);
    let mut events = Vec::new();
    for second in 0..3 {
        let id = CanId::standard(0x700).unwrap();
        let time_ns = START + (second * SECOND + 500) * MS;
        let kind = FrameKind::Fd { brs: second == 1, esi: false };
        engine.frame(&Frame::new(time_ns, BusId(0), id, kind, &[0; 8]).unwrap(), &mut events);
        engine.advance(START + (second + 1) * SECOND * MS, &mut events);
        assert_eq!(signal(&engine, "Load").is_some(), second == 2, "second {second}");
    }
}

#[test]
fn a_frame_that_nothing_reads_is_sent_on_as_it_came() {
    let mut engine = engine(&[]);
    let mut events = Vec::new();
    engine.frame(&motor(10, 1), &mut events);
    let mut bytes = vec![1, 0, 0, 0, 0x80, 3, 4, 0, 9, 0, 0, 0];
    bytes.extend([1, 2, 3, 4]);
    let xl = can_decoders::XlFrame::read(&bytes, START + 5 * MS, BusId(0)).unwrap();
    engine.notice(Notice::Xl(xl), &mut events);
    let [Event { time_ns, class: Class::Bulk, body: Body::Xl(xl), .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!((*time_ns, &*xl.bus, xl.sdt, xl.af, &*xl.data), (START + 5 * MS, "can0", 3, 9, &[1, 2, 3, 4][..]));
}

#[test]
fn a_bus_has_signals_like_any_other_but_not_among_all() {
    let mut engine = engine(&["*", "BusHealth.*"]);
    let catalog = engine.catalog();
    assert_eq!(catalog.select("*").unwrap().len(), 3);
    assert_eq!(catalog.select("can0:BusHealth.*").unwrap().len(), HEALTH_SIGNALS.len());
    // The DBC has a signal of that name, too: that is the one without a message.
    assert_eq!(catalog.find_signal("Load"), catalog.find_signal("Motor.Load"));
    assert_ne!(catalog.find_signal("BusHealth.Load"), catalog.find_signal("Load"));
    assert!(matches!(catalog.find_signal("FrameRate"), Err(NameError::Unknown { .. })));
    assert_eq!(catalog.signal(catalog.find_signal("can0:BusHealth.Load").unwrap()).unit, "%");

    let mut features =
        FeatureSet::new(&[spec("rate", Function::Value, "BusHealth.FrameRate", 0)], 100 * MS, catalog).unwrap();
    let mut events = Vec::new();
    for ms in 0..2 * SECOND {
        engine.frame(&motor(ms, 1), &mut events);
    }
    engine.advance(START + 2 * SECOND * MS, &mut events);
    assert_eq!(features.tick(engine.state(), START + 2 * SECOND * MS), [1000.0]);
    let of_the_bus = events.iter().rfind(|event| matches!(&event.body, Body::Signals(s) if s.values.entries().iter().any(|(name, value)| &**name == "BusHealth.FrameRate" && *value == Some(1000.0))));
    assert!(of_the_bus.is_some(), "{events:?}");
}

#[test]
fn silent_messages_are_counted_on_their_bus() {
    let mut engine = engine(&[]);
    let mut events = Vec::new();
    for ms in (0..500).step_by(10) {
        engine.frame(&motor(ms, 1), &mut events);
    }
    engine.advance(START + 2000 * MS, &mut events);
    assert_eq!((engine.health().bus(0).silent, signal(&engine, "Silent")), (1, Some(1.0)));
    engine.frame(&motor(2100, 1), &mut events);
    assert_eq!(engine.health().bus(0).silent, 0);
}
