//! The driver: follows the road with two pedals and a steering wheel, late and imprecisely as people do.

use super::cycle::Road;
use super::maths::{GRAVITY, gaussian, lag, ramp};

/// Steering wheel angle over road wheel angle.
pub(super) const STEERING_RATIO: f64 = 15.2;
/// Wheelbase, m.
pub(super) const WHEELBASE: f64 = 2.68;
/// Speed at which understeer doubles the steering that a curve needs, m/s.
pub(super) const CHARACTERISTIC_SPEED: f64 = 27.0;

/// A PI controller of speed with reaction time, two feet that are slow and never pressed at once, and tremor.
#[derive(Debug)]
pub(super) struct Driver {
    rng: fastrand::Rng,
    /// Accelerator pedal, 0 to 1.
    pub(super) accelerator: f64,
    /// Brake pedal, 0 to 1.
    pub(super) brake: f64,
    /// Steering wheel, degrees; positive to the left.
    pub(super) steering: f64,
    /// Its rate, degrees a second.
    pub(super) steering_rate: f64,
    perceived_error: f64,
    integral: f64,
    foot_left_s: f64,
    braking: bool,
    tremor: f64,
    hand: f64,
}

impl Driver {
    pub(super) fn new(rng: fastrand::Rng) -> Self {
        Self {
            rng,
            accelerator: 0.0,
            brake: 0.3,
            steering: 0.0,
            steering_rate: 0.0,
            perceived_error: 0.0,
            integral: 0.0,
            foot_left_s: 0.0,
            braking: true,
            tremor: 0.0,
            hand: 0.0,
        }
    }

    /// Acts on what is seen of the road at `speed` (m/s).
    pub(super) fn step(&mut self, dt: f64, road: &Road, speed: f64) {
        let tremor = gaussian(&mut self.rng);
        lag(&mut self.tremor, tremor * 2.0, dt, 0.6);
        let hand = gaussian(&mut self.rng);
        lag(&mut self.hand, hand * 3.0, dt, 0.5);
        lag(&mut self.perceived_error, road.speed - speed, dt, 0.3);

        let wanted = road.acceleration + 0.55 * self.perceived_error + 0.12 * self.integral;
        // What the driver knows of the car: resistance, and the thrust that a full pedal gives at this speed.
        let resistance = 0.11 + 0.00028 * speed * speed + GRAVITY * road.grade * 0.8;
        let thrust = (70.0 / (speed + 2.0)).min(5.0);
        let holding = road.speed < 0.1 && speed < 1.0;

        self.foot_left_s -= dt;
        let effort = wanted + resistance;
        if self.foot_left_s <= 0.0 {
            let brake_now = holding || if self.braking { effort < 0.05 } else { effort < -0.35 };
            if brake_now != self.braking {
                self.braking = brake_now;
                self.foot_left_s = 0.35;
            }
        }
        let between_pedals = self.foot_left_s > 0.15;
        let (accelerator, brake) = if between_pedals {
            (0.0, 0.0)
        } else if holding {
            // Gently to a halt, then firmly against the creeping of the automatic gearbox.
            (0.0, if speed > 0.0 { 0.11 } else { 0.28 })
        } else if self.braking {
            (0.0, (-effort / 9.5).clamp(0.0, 0.7))
        } else {
            ((effort / thrust * (1.0 + 0.06 * self.tremor)).clamp(0.0, 1.0), 0.0)
        };
        ramp(&mut self.accelerator, accelerator, dt, 2.2);
        ramp(&mut self.brake, brake, dt, 2.5);
        if self.accelerator < 1.0 && self.brake < 0.6 {
            self.integral = (self.integral + self.perceived_error * dt).clamp(-6.0, 6.0);
        }
        if holding {
            self.integral = 0.0;
        }
        self.steer(dt, road, speed);
    }

    /// Takes both feet to where an impact throws them: off the accelerator, on the brake.
    pub(super) fn stop(&mut self, dt: f64) {
        self.braking = true;
        self.integral = 0.0;
        self.perceived_error = 0.0;
        self.accelerator = 0.0;
        ramp(&mut self.brake, 0.6, dt, 6.0);
        self.steering_rate = 0.0;
    }

    fn steer(&mut self, dt: f64, road: &Road, speed: f64) {
        let understeer = 1.0 + speed * speed / (CHARACTERISTIC_SPEED * CHARACTERISTIC_SPEED);
        let degrees = 57.295_779_513_082_32 * STEERING_RATIO * WHEELBASE * road.curvature * understeer;
        let steady = if speed > 0.5 { degrees + self.hand * 0.6 } else { self.steering };
        let before = self.steering;
        let mut next = before;
        lag(&mut next, steady, dt, 0.15);
        ramp(&mut self.steering, next, dt, 500.0);
        let rate = (self.steering - before) / dt;
        lag(&mut self.steering_rate, rate, dt, 0.03);
    }
}
