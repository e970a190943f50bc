//! The road: an endless drive cycle drawn from the seed, in phases of town, country road and motorway.
//!
//! Each phase is a row of segments. A segment leads to a speed, holds it, and gives way to the next; stops, turns at
//! crossings, curves and gradients come from the same random stream.

use super::maths::{lag, ramp, uniform};

/// Speeds above this are for the motorway only, m/s (100 km/h).
const MOTORWAY_SPEED: f64 = 27.8;
/// Lateral acceleration at which this driver takes curves at most, m/s².
const CURVE_ACCELERATION: f64 = 2.4;

/// What the road asks of the driver now.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Road {
    /// Speed to drive, m/s.
    pub(super) speed: f64,
    /// Its rate of change, m/s²: what a driver who looks ahead knows.
    pub(super) acceleration: f64,
    /// Curvature, 1/m; positive to the left.
    pub(super) curvature: f64,
    /// Gradient, rise over run; positive uphill.
    pub(super) grade: f64,
    /// Turn indicator: -1 right, 0 off, 1 left.
    pub(super) indicator: i8,
    /// Time left of a stop that is long enough for a door to be opened, s; 0 otherwise.
    pub(super) parked_s: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Town,
    Country,
    Motorway,
}

#[derive(Debug, Clone, Copy)]
struct Segment {
    speed: f64,
    rate: f64,
    hold_s: f64,
    turn: f64,
}

/// The generator; steps with the simulation.
#[derive(Debug)]
pub(super) struct Cycle {
    rng: fastrand::Rng,
    phase: Phase,
    phase_left_s: f64,
    segment: Segment,
    curve: f64,
    curve_left_s: f64,
    curve_smooth: f64,
    grade_target: f64,
    grade_left_s: f64,
    road: Road,
}

impl Cycle {
    pub(super) fn new(mut rng: fastrand::Rng) -> Self {
        let phase_left_s = uniform(&mut rng, 120.0, 360.0);
        let standing = Segment { speed: 0.0, rate: 1.0, hold_s: 4.0, turn: 0.0 };
        Self {
            rng,
            phase: Phase::Town,
            phase_left_s,
            segment: standing,
            curve: 0.0,
            curve_left_s: 10.0,
            curve_smooth: 0.0,
            grade_target: 0.0,
            grade_left_s: 20.0,
            road: Road::default(),
        }
    }

    /// The road `dt` seconds on.
    pub(super) fn step(&mut self, dt: f64) -> Road {
        self.phase_left_s -= dt;
        let before = self.road.speed;
        // Cars accelerate less at speed: the demand has to stay feasible.
        let rate =
            if self.segment.speed > before { self.segment.rate * (1.0 - before / 55.0) } else { self.segment.rate };
        ramp(&mut self.road.speed, self.segment.speed, dt, rate);
        self.road.acceleration = (self.road.speed - before) / dt;
        if self.road.speed == self.segment.speed {
            self.segment.hold_s -= dt;
            if self.segment.hold_s <= 0.0 {
                self.segment = self.next_segment();
            }
        }
        self.bend(dt);
        self.slope(dt);
        let stopped = self.road.speed == 0.0 && self.segment.speed == 0.0;
        self.road.parked_s = if stopped && self.segment.hold_s > 12.0 { self.segment.hold_s } else { 0.0 };
        self.road.indicator = if self.segment.turn > 0.0 {
            1
        } else if self.segment.turn < 0.0 {
            -1
        } else {
            0
        };
        self.road
    }

    /// Begins anew from standstill, as after an impact.
    pub(super) fn restart(&mut self) {
        self.road = Road { grade: self.road.grade, ..Road::default() };
        self.segment = Segment { speed: 0.0, rate: 1.0, hold_s: 3.0, turn: 0.0 };
        self.curve_smooth = 0.0;
    }

    fn next_segment(&mut self) -> Segment {
        if self.phase_left_s <= 0.0 {
            self.next_phase();
        }
        let rng = &mut self.rng;
        let kmh = |x: f64| x / 3.6;
        let mut segment = Segment { speed: 0.0, rate: uniform(rng, 0.7, 1.9), hold_s: 0.0, turn: 0.0 };
        match self.phase {
            Phase::Town if self.segment.speed > 0.0 && rng.f64() < 0.42 => {
                segment.hold_s = if rng.f64() < 0.15 { uniform(rng, 20.0, 45.0) } else { uniform(rng, 3.0, 20.0) };
            }
            Phase::Town if rng.f64() < 0.3 => {
                segment.speed = kmh(uniform(rng, 14.0, 24.0));
                let radius = uniform(rng, 12.0, 22.0);
                // A quarter of a circle.
                segment.hold_s = 1.571 * radius / segment.speed;
                segment.turn = if rng.bool() { 1.0 / radius } else { -1.0 / radius };
            }
            Phase::Town => {
                segment.speed = kmh(uniform(rng, 22.0, 58.0));
                segment.hold_s = uniform(rng, 6.0, 35.0);
            }
            Phase::Country => {
                segment.speed = kmh(uniform(rng, 55.0, 102.0));
                segment.hold_s = uniform(rng, 10.0, 60.0);
            }
            Phase::Motorway => {
                segment.speed = kmh(uniform(rng, 90.0, 136.0));
                segment.hold_s = uniform(rng, 15.0, 90.0);
            }
        }
        segment
    }

    fn next_phase(&mut self) {
        let up = self.rng.bool();
        self.phase = match self.phase {
            Phase::Town | Phase::Motorway => Phase::Country,
            Phase::Country if up => Phase::Motorway,
            Phase::Country => Phase::Town,
        };
        self.phase_left_s = uniform(&mut self.rng, 120.0, 420.0);
    }

    fn bend(&mut self, dt: f64) {
        self.curve_left_s -= dt;
        if self.curve_left_s <= 0.0 {
            let straight = self.curve != 0.0 && self.rng.f64() < 0.6;
            let sharp = if self.road.speed > MOTORWAY_SPEED { 0.35 } else { 1.0 };
            let share = uniform(&mut self.rng, -sharp, sharp);
            // The share of what grip and comfort allow; a town street is never tighter than 60 m.
            self.curve = if straight { 0.0 } else { share };
            self.curve_left_s = uniform(&mut self.rng, 2.0, 9.0);
        }
        let speed = self.road.speed.max(1.0);
        let allowed = (CURVE_ACCELERATION / (speed * speed)).min(1.0 / 60.0);
        let turning = self.segment.turn != 0.0 && self.road.speed == self.segment.speed;
        let wanted = if turning { self.segment.turn } else { self.curve * allowed };
        lag(&mut self.curve_smooth, wanted, dt, 0.5);
        lag(&mut self.road.curvature, self.curve_smooth, dt, 0.4);
    }

    fn slope(&mut self, dt: f64) {
        self.grade_left_s -= dt;
        if self.grade_left_s <= 0.0 {
            let steep = if self.phase == Phase::Country { 0.05 } else { 0.025 };
            self.grade_target = uniform(&mut self.rng, -steep, steep);
            self.grade_left_s = uniform(&mut self.rng, 15.0, 60.0);
        }
        lag(&mut self.road.grade, self.grade_target, dt, 5.0);
    }
}
