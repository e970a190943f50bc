use super::*;

const FAILOVER: Duration = Duration::from_secs(10);
const FAILBACK: Duration = Duration::from_secs(100);

fn terms(region: &str, classes: &[Class]) -> Terms {
    let mut accepted = [false; 5];
    classes.iter().for_each(|class| accepted[class.rank()] = true);
    Terms { classes: accepted, region: (!region.is_empty()).then(|| region.into()) }
}

fn dispatch(gateways: &[Terms], critical_copies: usize, now: Instant) -> Dispatch {
    let copies = [critical_copies, 1, 1, 1, 1];
    Dispatch::new(gateways.to_vec(), copies, (FAILOVER, FAILBACK), &[regions("eu"), regions("eu,uk")], now)
}

fn regions(names: &str) -> Regions {
    Regions::new(names.split(',')).unwrap()
}

fn everything(region: &str) -> Terms {
    terms(region, &Class::ALL)
}

#[test]
fn a_reserve_is_tried_only_after_a_while_and_left_when_the_better_one_has_proved_itself() {
    let start = Instant::now();
    let mut d = dispatch(&[everything(""), everything("")], 1, start);
    assert!(d.wanted(0, start) && !d.wanted(1, start));
    d.up(0, start);
    assert_eq!(d.carriers(Class::Alert, None, start), 0b01);
    assert!(!d.wanted(1, start + FAILBACK * 10));

    d.down(0, start);
    assert!(!d.wanted(1, start + FAILOVER / 3), "it may come back at once");
    let later = start + FAILOVER * 2;
    assert!(d.wanted(1, later) && d.wanted(0, later));
    d.up(1, later);
    assert_eq!(d.carriers(Class::Alert, None, later), 0b10, "nothing else is there: at once");

    d.up(0, later);
    assert_eq!(d.carriers(Class::Alert, None, later), 0b10, "on trial");
    assert!(d.wanted(1, later));
    // Lost on trial: the other one goes on, and is wanted all the time.
    d.down(0, later);
    assert!(d.wanted(1, later));
    d.up(0, later);
    let proved = later + FAILBACK * 2;
    assert_eq!(d.next_change(later).map(|at| at <= proved), Some(true));
    assert_eq!(d.carriers(Class::Alert, None, proved), 0b01);
    assert!(!d.wanted(1, proved));
}

#[test]
fn on_trial_it_carries_when_the_other_one_is_lost() {
    let start = Instant::now();
    let mut d = dispatch(&[everything(""), everything("")], 1, start);
    d.up(1, start);
    d.up(0, start);
    assert_eq!(d.carriers(Class::Bulk, None, start), 0b10);
    d.down(1, start);
    assert_eq!(d.carriers(Class::Bulk, None, start), 0b01);
}

#[test]
fn what_is_to_get_to_two_places_does_and_the_rest_does_not() {
    let start = Instant::now();
    let mut d = dispatch(&[everything("a"), everything("b"), everything("c")], 2, start);
    assert!(d.wanted(0, start) && d.wanted(1, start) && !d.wanted(2, start));
    (0..2).for_each(|gateway| d.up(gateway, start));
    // The second came up while the first carried: it is a place all the same.
    assert_eq!(d.carriers(Class::Critical, None, start), 0b011);
    assert_eq!(d.carriers(Class::Alert, None, start), 0b001);
    d.down(1, start);
    let later = start + FAILOVER * 2;
    assert!(d.wanted(2, later));
    d.up(2, later);
    assert_eq!(d.carriers(Class::Critical, None, later), 0b101);
    assert_eq!((d.places(Class::Critical, None), d.places(Class::Critical, Some(&regions("eu")))), (2, 0));
    assert_eq!(dispatch(&[everything("")], 2, start).places(Class::Critical, None), 1, "more than there are");
}

#[test]
fn regions_and_classes_decide_before_preference() {
    let start = Instant::now();
    let gateways = [everything("us"), terms("eu", &[Class::Alert, Class::Critical]), everything("uk")];
    let mut d = dispatch(&gateways, 1, start);
    (0..3).for_each(|gateway| d.up(gateway, start));
    let later = start + FAILBACK * 2;
    assert_eq!(d.carriers(Class::Alert, None, later), 0b001);
    assert_eq!(d.carriers(Class::Alert, Some(&regions("eu")), later), 0b010);
    assert_eq!(d.carriers(Class::Alert, Some(&regions("eu,uk")), later), 0b010);
    assert_eq!(d.carriers(Class::Telemetry, Some(&regions("eu,uk")), later), 0b100);
    assert_eq!(d.carriers(Class::Telemetry, Some(&regions("eu")), later), 0, "it waits");
    assert!((0..3).all(|gateway| d.wanted(gateway, later)), "each for what only it may have");
    d.down(1, later);
    assert_eq!(d.carriers(Class::Alert, Some(&regions("eu")), later), 0, "nobody else gets it");
}

/// A fleet that loses its gateway at once does not knock at the next one at once.
#[test]
fn times_are_spread() {
    let start = Instant::now();
    let mut at: Vec<f64> = (0..1000)
        .map(|_| {
            let mut d = dispatch(&[everything("")], 1, start);
            d.up(0, start);
            d.down(0, start);
            (d.next_change(start).unwrap() - start).as_secs_f64()
        })
        .collect();
    at.sort_by(f64::total_cmp);
    assert!(at[0] >= 5.0 && at[999] <= 15.0);
    assert!((at[100] - 6.0).abs() < 0.7 && (at[900] - 14.0).abs() < 0.7, "evenly: {} {}", at[100], at[900]);
}

#[test]
fn the_gateway_for_events_that_nobody_announced_is_wanted_when_they_are_found() {
    let now = Instant::now();
    let mut d = dispatch(&[everything("us"), everything("mars")], 1, now);
    d.up(0, now);
    assert!(!d.wanted(1, now));
    assert!(d.learn(&regions("mars")) && !d.learn(&regions("mars")));
    assert!(d.wanted(1, now));
    for n in 0..1000 {
        d.learn(&regions(&format!("r{n}")));
    }
    assert_eq!(d.audiences.len(), MAX_AUDIENCES);
}
