use super::*;

const S: u64 = 1_000_000_000;
const RIGHT: u64 = 1_800_000_000 * S;
/// A clock that starts at 2000-01-01.
const WRONG: u64 = 946_684_800 * S;

/// `s` seconds after the start of the computer, by a wall clock that was at `began` then.
fn reading(s: f64, began: u64, error_ns: Option<u64>) -> Reading {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small and positive")]
    let boot_ns = (s * 1e9) as u64;
    Reading { wall_ns: began + boot_ns, boot_ns, awake_ns: boot_ns, error_ns }
}

fn look(timeline: &mut Timeline, s: f64, began: u64, error_ns: Option<u64>) -> News {
    timeline.look(reading(s, began, error_ns))
}

#[test]
fn the_first_fix_is_told_and_puts_right_what_was_before() {
    let mut timeline = Timeline::new(reading(10.0, WRONG, None));
    let first = look(&mut timeline, 10.05, WRONG, None);
    assert_eq!(first.change, Some(ClockChange { step: 0, error: None, state: ClockState::Unset }));
    assert_eq!(look(&mut timeline, 10.1, WRONG, None), News::default());
    let before = timeline.clock(WRONG + 10 * S);
    assert_eq!(before, Clock { mono_ns: 10 * S, state: ClockState::Unset });

    let step = i64::try_from(RIGHT - WRONG).unwrap();
    let news = look(&mut timeline, 60.0, RIGHT, Some(5_000_000));
    assert_eq!(news.change, Some(ClockChange { step, error: Some(5_000_000), state: ClockState::Synced }));
    let fix = news.fix.unwrap();
    assert_eq!((fix.mono_ns, fix.state, fix.wall_ns(before.mono_ns)), (60 * S, ClockState::Synced, RIGHT + 10 * S));
    assert_eq!(timeline.clock(RIGHT + 60 * S), Clock { mono_ns: 60 * S, state: ClockState::Synced });
    // What was collected until the step is told after it, with the old clock's time.
    assert_eq!(timeline.clock(WRONG + 59 * S), Clock { mono_ns: 59 * S, state: ClockState::Unset });
}

#[test]
fn set_by_hand_then_synchronised_then_left_alone() {
    let mut timeline = Timeline::new(reading(1.0, WRONG, None));
    look(&mut timeline, 1.1, WRONG, None);
    let news = look(&mut timeline, 20.0, RIGHT + 3 * S, None);
    assert_eq!(news.fix.map(|fix| fix.state), Some(ClockState::Set));
    // Slewed to the right time, without another step.
    let news = look(&mut timeline, 40.0, RIGHT + 3 * S, Some(1));
    assert_eq!(news.change, Some(ClockChange { step: 0, error: Some(1), state: ClockState::Synced }));
    assert_eq!(news.fix.map(|fix| fix.mono_ns), Some(40 * S));
    let news = look(&mut timeline, 60.0, RIGHT + 3 * S, None);
    assert_eq!(news.change, Some(ClockChange { step: 0, error: None, state: ClockState::Set }));
    assert_eq!(news.fix, None);
}

#[test]
fn slewing_is_no_step_and_a_wrong_year_no_fix() {
    let mut timeline = Timeline::new(reading(1.0, RIGHT, Some(9)));
    let first = look(&mut timeline, 1.0, RIGHT, Some(9));
    assert!(first.fix.is_some(), "an earlier process may have stamped events by a wrong clock");
    let mut began = RIGHT;
    for i in 0..10_000u32 {
        began += 25_000;
        assert_eq!(look(&mut timeline, 1.0 + f64::from(i) * 0.05, began, Some(9)), News::default());
    }
    assert_eq!(timeline.clock(began + 500 * S).mono_ns, 500 * S, "followed");
    let news = look(&mut timeline, 600.0, WRONG, None);
    assert_eq!((news.change.map(|change| change.state), news.fix), (Some(ClockState::Unset), None));
    let mut timeline = Timeline::new(reading(1.0, WRONG, Some(9)));
    assert_eq!(look(&mut timeline, 1.0, WRONG, Some(9)).change.map(|change| change.state), Some(ClockState::Unset));
}

#[test]
fn a_clock_that_is_set_all_the_time_is_told_of_now_and_then() {
    let mut timeline = Timeline::new(reading(0.0, RIGHT, None));
    let (mut told, mut fixes, mut steps) = (0, 0, 0);
    for i in 1..=36_000u32 {
        let news = look(&mut timeline, f64::from(i) / 10.0, RIGHT + u64::from(i) * S, None);
        told += u32::from(news.change.is_some());
        fixes += u32::from(news.fix.is_some());
        steps += news.change.map_or(0, |change| change.step);
    }
    assert!((360..=366).contains(&told) && fixes == told, "an hour: {told}, {fixes}");
    assert!((3_590..=3_600).contains(&(steps / 1_000_000_000 / 10)), "all of it is told: {steps}");
}

#[test]
fn sleep_is_seen_and_moves_no_clock() {
    let mut timeline = Timeline::new(reading(10.0, RIGHT, Some(1)));
    look(&mut timeline, 10.0, RIGHT, Some(1));
    let mut after = reading(3610.0, RIGHT, Some(1));
    after.awake_ns = 10 * S + 50_000_000;
    let news = timeline.look(after);
    assert!(news.slept);
    assert_eq!((news.change, news.fix), (None, None));
    after.boot_ns += 50_000_000;
    after.wall_ns += 50_000_000;
    after.awake_ns += 50_000_000;
    assert!(!timeline.look(after).slept, "told once");
    // Busy, not asleep.
    let mut busy = after;
    busy.boot_ns += 30 * S;
    busy.wall_ns += 30 * S;
    busy.awake_ns += 30 * S;
    assert!(!timeline.look(busy).slept);
}
