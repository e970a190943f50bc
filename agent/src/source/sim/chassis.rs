//! Longitudinal and lateral motion, brakes, wheels, tyres and springs.

use super::driver::{CHARACTERISTIC_SPEED, STEERING_RATIO, WHEELBASE};
use super::maths::{GRAVITY, lag, uniform};

/// Mass with driver, kg.
const MASS: f64 = 1540.0;
/// Half of air density times drag area, kg/m.
const DRAG: f64 = 0.40;
const ROLLING: f64 = 0.0105;
/// Track width, m.
const TRACK: f64 = 1.54;
/// Brake force of both wheels of an axle over pressure, N/bar.
const FRONT_BRAKE: f64 = 105.0;
const REAR_BRAKE: f64 = 42.0;
/// Longitudinal stiffness of an axle's tyres, N per unit of slip.
const SLIP_STIFFNESS: f64 = 150_000.0;
/// Deceleration of an impact, m/s²: its peak, reached after a few hundredths of a second.
const IMPACT: f64 = 48.0;
/// Shortest duration of an impact, s; it lasts longer when the car is too fast to stop in it.
const IMPACT_S: f64 = 0.12;

/// Front left, front right, rear left, rear right.
pub(super) type Wheels = [f64; 4];

/// What acts on the chassis in a step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Forces {
    /// At the driven front wheels, N.
    pub(super) traction: f64,
    /// Brake pedal, 0 to 1.
    pub(super) brake: f64,
    /// Steering wheel, degrees.
    pub(super) steering: f64,
    /// Gradient.
    pub(super) grade: f64,
    /// °C.
    pub(super) ambient: f64,
}

/// State of the chassis.
#[derive(Debug)]
pub(super) struct Chassis {
    /// m/s.
    pub(super) speed: f64,
    /// What an accelerometer feels lengthwise (gravity included) and sideways, m/s².
    pub(super) long_acceleration: f64,
    pub(super) lat_acceleration: f64,
    /// rad/s, positive to the left.
    pub(super) yaw_rate: f64,
    /// Course, degrees, clockwise from north.
    pub(super) course: f64,
    /// bar.
    pub(super) master_pressure: f64,
    pub(super) brake_pressures: Wheels,
    pub(super) abs_active: bool,
    /// Circumferential speeds, m/s.
    pub(super) wheels: Wheels,
    /// bar above ambient, °C.
    pub(super) tyre_pressures: Wheels,
    pub(super) tyre_temps: Wheels,
    /// mm.
    pub(super) heights: Wheels,
    /// Mean of the rear wheels as the brake controller filters it, and the satellite receiver's later one, m/s.
    pub(super) indicated_speed: f64,
    pub(super) gps_speed: f64,
    /// km.
    pub(super) odometer: f64,
    cold_pressures: Wheels,
    impact_s: Option<f64>,
}

impl Chassis {
    pub(super) fn new(rng: &mut fastrand::Rng, ambient: f64) -> Self {
        Self {
            speed: 0.0,
            long_acceleration: 0.0,
            lat_acceleration: 0.0,
            yaw_rate: 0.0,
            course: uniform(rng, 0.0, 360.0),
            master_pressure: 30.0,
            brake_pressures: [30.0; 4],
            abs_active: false,
            wheels: [0.0; 4],
            tyre_pressures: [2.3; 4],
            tyre_temps: [ambient + uniform(rng, 0.0, 12.0); 4],
            heights: [0.0; 4],
            indicated_speed: 0.0,
            gps_speed: 0.0,
            odometer: uniform(rng, 5_000.0, 90_000.0),
            cold_pressures: std::array::from_fn(|_| uniform(rng, 2.15, 2.35)),
            impact_s: None,
        }
    }

    /// Starts an impact, unless one is under way.
    pub(super) fn hit(&mut self) {
        self.impact_s.get_or_insert(0.0);
    }

    pub(super) fn step(&mut self, dt: f64, forces: &Forces) {
        self.brake(dt, forces.brake);
        let braking = 0.5
            * (FRONT_BRAKE * (self.brake_pressures[0] + self.brake_pressures[1])
                + REAR_BRAKE * (self.brake_pressures[2] + self.brake_pressures[3]));
        let slope = MASS * GRAVITY * forces.grade;
        let before = self.speed;
        let resisting = braking + DRAG * before * before + MASS * GRAVITY * ROLLING;
        let pushing = forces.traction - slope;
        // Brakes and rolling resistance hold a standing car; they never push it.
        let force = if before == 0.0 && pushing.abs() <= resisting { 0.0 } else { pushing - resisting };
        let impact = self.impact(dt);
        self.speed = (before + (force / (MASS * 1.06) - impact) * dt).max(0.0);
        // An obstacle that hits a standing car is felt although the wheels do not turn.
        let felt = if impact > 0.0 { -impact } else { (self.speed - before) / dt };
        lag(&mut self.long_acceleration, felt + GRAVITY * forces.grade, dt, if impact > 0.0 { 0.008 } else { 0.03 });
        self.odometer += self.speed * dt / 1000.0;
        self.turn(dt, forces.steering);
        self.roll(dt, forces.traction - 0.5 * FRONT_BRAKE * (self.brake_pressures[0] + self.brake_pressures[1]));
        self.warm_tyres(dt, forces.ambient);
    }

    /// Deceleration by the impact, m/s².
    fn impact(&mut self, dt: f64) -> f64 {
        let Some(elapsed) = self.impact_s else { return 0.0 };
        if elapsed >= IMPACT_S && self.speed == 0.0 {
            self.impact_s = None;
            return 0.0;
        }
        self.impact_s = Some(elapsed + dt);
        IMPACT * ((elapsed + dt) / 0.03).min(1.0)
    }

    fn brake(&mut self, dt: f64, pedal: f64) {
        lag(&mut self.master_pressure, 115.0 * pedal, dt, 0.06);
        self.abs_active = self.master_pressure > 60.0 && self.speed > 3.0;
        let limit = if self.abs_active { 72.0 } else { 250.0 };
        for (pressure, share) in self.brake_pressures.iter_mut().zip([1.0, 0.995, 0.985, 0.98]) {
            lag(pressure, (self.master_pressure * share).min(limit), dt, 0.04);
        }
    }

    fn turn(&mut self, dt: f64, steering: f64) {
        let road_wheel = steering / STEERING_RATIO * 0.017_453_292_519_943_295;
        let grip = 1.0 + self.speed * self.speed / (CHARACTERISTIC_SPEED * CHARACTERISTIC_SPEED);
        lag(&mut self.yaw_rate, self.speed * road_wheel / (WHEELBASE * grip), dt, 0.08);
        lag(&mut self.lat_acceleration, self.speed * self.yaw_rate, dt, 0.04);
        let course = self.course - self.yaw_rate * 57.295_779_513_082_32 * dt;
        self.course = if course < 0.0 {
            course + 360.0
        } else if course >= 360.0 {
            course - 360.0
        } else {
            course
        };
        let pitch = self.long_acceleration.clamp(-12.0, 12.0) * 3.2;
        let roll = self.lat_acceleration * 3.6;
        for (index, height) in self.heights.iter_mut().enumerate() {
            let nose = if index < 2 { 1.0 } else { -1.1 };
            let side = if index % 2 == 0 { -1.0 } else { 1.0 };
            lag(height, nose * pitch + side * roll, dt, 0.12);
        }
    }

    /// Wheel speeds from path and slip.
    fn roll(&mut self, dt: f64, front_force: f64) {
        let rear_force = -0.5 * REAR_BRAKE * (self.brake_pressures[2] + self.brake_pressures[3]);
        let steer = if self.speed > 0.3 { WHEELBASE * self.yaw_rate / self.speed } else { 0.0 };
        let half = 0.5 * TRACK * self.yaw_rate;
        for (index, wheel) in self.wheels.iter_mut().enumerate() {
            let side = if index % 2 == 0 { -half } else { half };
            let (longer, force) = if index < 2 { (1.0 + 0.5 * steer * steer, front_force) } else { (1.0, rear_force) };
            let slip = (force / SLIP_STIFFNESS).clamp(-0.12, 0.08);
            // A standing car's wheels stand, although the filtered yaw rate has not quite died away.
            let moving = if self.speed > 0.0 { self.speed * longer + side } else { 0.0 };
            *wheel = (moving * (1.0 + slip)).max(0.0);
        }
        let rear = 0.5 * (self.wheels[2] + self.wheels[3]);
        lag(&mut self.indicated_speed, rear, dt, 0.04);
        // A filter that only approaches zero would never show a standstill.
        if rear == 0.0 && self.indicated_speed < 0.02 {
            self.indicated_speed = 0.0;
        }
        lag(&mut self.gps_speed, self.speed, dt, 0.35);
    }

    fn warm_tyres(&mut self, dt: f64, ambient: f64) {
        for (index, temp) in self.tyre_temps.iter_mut().enumerate() {
            let front = if index < 2 { 1.1 } else { 0.95 };
            let warm = ambient + (0.75 * self.speed + 1.2 * self.lat_acceleration.abs()) * front;
            lag(temp, warm, dt, 350.0);
            self.tyre_pressures[index] = (self.cold_pressures[index] + 1.013) * (*temp + 273.15) / 293.15 - 1.013;
        }
    }
}
