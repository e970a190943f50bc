//! The whole car: road, driver and the physical parts, stepped together at 100 Hz.

use super::battery::{self, Battery};
use super::chassis::{Chassis, Forces};
use super::cycle::{Cycle, Road};
use super::driver::Driver;
use super::maths::{lag, uniform};
use super::powertrain::{Load, Powertrain};
use super::thermal::{Heat, Thermal};

/// Length of a step, s.
pub(super) const STEP_S: f64 = 0.01;
/// How long the car stands after an impact before it drives on, s.
const RECOVERY_S: f64 = 8.0;

/// Physical faults that act in this step.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Damage {
    /// Coolant runs out.
    pub(super) leak: bool,
    /// Cell (from 0) with an internal short.
    pub(super) cell: Option<usize>,
    /// An impact begins.
    pub(super) impact: bool,
    /// The consequences of an impact still hold the car.
    pub(super) wrecked: bool,
}

/// State of the car and of what it sees.
#[derive(Debug)]
pub(super) struct Vehicle {
    cycle: Cycle,
    pub(super) road: Road,
    pub(super) driver: Driver,
    pub(super) powertrain: Powertrain,
    pub(super) chassis: Chassis,
    pub(super) thermal: Thermal,
    pub(super) battery: Battery,
    /// °C, kPa.
    pub(super) ambient: f64,
    pub(super) barometer: f64,
    /// l.
    pub(super) fuel_level: f64,
    /// h.
    pub(super) engine_hours: f64,
    pub(super) low_beam: bool,
    /// 0 off, 1 slow, 2 fast.
    pub(super) wiper: u8,
    pub(super) compressor: bool,
    pub(super) door_driver: bool,
    pub(super) door_passenger: bool,
    pub(super) hazard: bool,
    standing_s: f64,
    ambient_target: f64,
    weather_left_s: f64,
    passenger: bool,
    rng: fastrand::Rng,
}

impl Vehicle {
    pub(super) fn new(mut rng: fastrand::Rng) -> Self {
        let ambient = uniform(&mut rng, -2.0, 30.0);
        Self {
            cycle: Cycle::new(fastrand::Rng::with_seed(rng.u64(..))),
            driver: Driver::new(fastrand::Rng::with_seed(rng.u64(..))),
            road: Road::default(),
            powertrain: Powertrain::new(),
            chassis: Chassis::new(&mut rng, ambient),
            thermal: Thermal::new(&mut rng, ambient),
            battery: Battery::new(&mut rng, ambient),
            ambient,
            barometer: uniform(&mut rng, 97.5, 102.5),
            fuel_level: uniform(&mut rng, 25.0, 50.0),
            engine_hours: uniform(&mut rng, 200.0, 2500.0),
            low_beam: rng.bool(),
            wiper: 0,
            compressor: ambient > 20.0,
            door_driver: false,
            door_passenger: false,
            hazard: false,
            standing_s: 0.0,
            ambient_target: ambient,
            weather_left_s: 60.0,
            passenger: false,
            rng,
        }
    }

    /// Drives on by [`STEP_S`].
    pub(super) fn step(&mut self, damage: &Damage) {
        let dt = STEP_S;
        self.weather(dt);
        if damage.impact {
            self.chassis.hit();
            self.hazard = true;
            self.standing_s = 0.0;
        }
        if self.hazard {
            // Road and driver wait until the car has stood for a while and nothing holds it any more.
            self.driver.stop(dt);
            self.road.indicator = 0;
            if self.chassis.speed == 0.0 {
                self.standing_s += dt;
            }
            if self.standing_s > RECOVERY_S && !damage.wrecked {
                self.hazard = false;
                self.cycle.restart();
            }
        } else {
            self.road = self.cycle.step(dt);
            self.driver.step(dt, &self.road, self.chassis.speed);
        }
        self.move_on(dt, damage);
        self.doors();
    }

    fn move_on(&mut self, dt: f64, damage: &Damage) {
        let speed = self.chassis.speed;
        let traction = self.powertrain.step(
            dt,
            &Load {
                accelerator: self.driver.accelerator,
                speed,
                assist: self.battery.crank_torque(),
                accessories: if self.compressor { 9.0 } else { 2.0 },
                coolant_temp: self.thermal.coolant,
                intake_temp: self.thermal.intake,
            },
        );
        self.chassis.step(
            dt,
            &Forces {
                traction,
                brake: self.driver.brake,
                steering: self.driver.steering,
                grade: self.road.grade,
                ambient: self.ambient,
            },
        );
        let consumers = 330.0
            + if self.low_beam { 110.0 } else { 0.0 }
            + f64::from(self.wiper) * 45.0
            + if self.compressor { 160.0 } else { 90.0 }
            + 420.0 * self.thermal.fan
            + 1.2 * self.driver.steering_rate.abs().min(300.0)
            + 40.0 * self.battery.fan;
        self.battery.step(
            dt,
            &battery::Demand {
                accelerator: self.driver.accelerator,
                brake: self.driver.brake,
                recuperate: speed > 3.0,
                engine_speed: self.powertrain.speed,
                consumers,
                ambient: self.ambient,
                leaking_cell: damage.cell,
            },
        );
        let slip = (self.powertrain.speed - self.powertrain.turbine).abs();
        self.thermal.step(
            dt,
            &Heat {
                fuel_power: self.powertrain.fuel_power(),
                engine_speed: self.powertrain.speed,
                load: self.powertrain.load,
                gearbox_loss: 150.0 + slip * self.powertrain.turbine_torque.abs() * 0.05 + 12.0 * speed,
                speed,
                ambient: self.ambient,
                compressor: self.compressor,
                leak: damage.leak,
            },
        );
        self.fuel_level -= self.powertrain.fuel * dt / 3600.0;
        if self.fuel_level < 4.0 && speed == 0.0 {
            // The drive is endless; the tank is not.
            self.fuel_level = 48.0;
        }
        self.engine_hours += dt / 3600.0;
    }

    fn weather(&mut self, dt: f64) {
        self.weather_left_s -= dt;
        if self.weather_left_s <= 0.0 {
            self.weather_left_s = uniform(&mut self.rng, 60.0, 400.0);
            self.ambient_target = (self.ambient + uniform(&mut self.rng, -3.0, 3.0)).clamp(-10.0, 36.0);
            self.wiper = if self.rng.f64() < 0.25 { 1 + u8::from(self.rng.bool()) } else { 0 };
            self.low_beam = self.wiper > 0 || self.rng.f64() < 0.5;
            self.compressor = self.ambient > 17.0 && self.rng.f64() < 0.8;
        }
        lag(&mut self.ambient, self.ambient_target, dt, 200.0);
    }

    fn doors(&mut self) {
        let parked = self.road.parked_s;
        if parked == 0.0 {
            self.passenger = self.rng.u8(..) < 128;
        }
        let open = self.chassis.speed == 0.0 && parked > 14.0 && parked < 22.0 && !self.hazard;
        self.door_passenger = open && self.passenger;
        self.door_driver = open && !self.passenger;
    }

    /// What the turn indicators show: 0 off, 1 left, 2 right, 3 hazard.
    pub(super) fn indicator(&self) -> u8 {
        match (self.hazard, self.road.indicator) {
            (true, _) => 3,
            (false, 1) => 1,
            (false, -1) => 2,
            (false, _) => 0,
        }
    }
}
