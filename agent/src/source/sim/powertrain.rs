//! Combustion engine, torque converter and six-speed automatic gearbox.
//!
//! Speeds follow from the wheels and the converter's slip, torques from the pedal; both through lags that stand for
//! inertia and air path. That keeps the model stable at 100 Hz and gives the couplings that a detector can learn:
//! engine speed with gear and road speed, manifold pressure with torque, fuel with air.

use super::maths::{interpolate, lag};

/// Gear ratios; index 0 is neutral.
const RATIOS: [f64; 7] = [0.0, 4.17, 2.34, 1.52, 1.14, 0.87, 0.69];
/// Final drive ratio.
const FINAL_DRIVE: f64 = 3.42;
/// Rolling radius of the tyres, m.
pub(super) const WHEEL_RADIUS: f64 = 0.316;
/// Revolutions a minute of one radian a second.
pub(super) const RPM: f64 = 9.549_296_585_513_72;
/// Full-load torque (Nm) over speed (rpm).
const FULL_LOAD: [(f64, f64); 8] = [
    (600.0, 100.0),
    (1000.0, 150.0),
    (1500.0, 205.0),
    (2000.0, 240.0),
    (4000.0, 245.0),
    (5000.0, 225.0),
    (6000.0, 185.0),
    (6600.0, 100.0),
];
/// Longest time between the start of a shift and the new gear's full grip, s.
const SHIFT_S: f64 = 0.36;
/// Lower heating value of petrol, J/kg.
pub(super) const HEATING_VALUE: f64 = 43.2e6;
/// Density of petrol, kg/l.
const PETROL_DENSITY: f64 = 0.745;
/// Displacement, m³.
const DISPLACEMENT: f64 = 0.002;

/// State of the converter's lock-up clutch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lockup {
    Open,
    Slipping,
    Locked,
}

/// What acts on the powertrain in a step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    /// Accelerator pedal, 0 to 1.
    pub(super) accelerator: f64,
    /// Road speed, m/s.
    pub(super) speed: f64,
    /// Torque of the electric machine at the crankshaft, Nm.
    pub(super) assist: f64,
    /// Torque that the compressor of the air conditioning takes, Nm.
    pub(super) accessories: f64,
    /// Coolant temperature, °C.
    pub(super) coolant_temp: f64,
    /// Air before the throttle, °C.
    pub(super) intake_temp: f64,
}

/// State of the powertrain; units in the names of the signals that carry them.
#[derive(Debug)]
pub(super) struct Powertrain {
    /// Engine speed, rpm.
    pub(super) speed: f64,
    /// Torque at the crankshaft, Nm.
    pub(super) torque: f64,
    /// Torque asked for, Nm.
    pub(super) torque_demand: f64,
    /// Friction torque, Nm.
    pub(super) friction: f64,
    /// Indicated torque over the largest possible now, 0 to 1.
    pub(super) load: f64,
    /// Throttle angle, 0 to 1.
    pub(super) throttle: f64,
    /// Ignition before top dead centre, degrees.
    pub(super) ignition: f64,
    /// Manifold pressure, kPa.
    pub(super) manifold: f64,
    /// Air mass flow, g/s.
    pub(super) air: f64,
    /// Air ratio.
    pub(super) lambda: f64,
    /// Fuel, l/h.
    pub(super) fuel: f64,
    /// Fuel is cut because the car drives the engine.
    pub(super) overrun: bool,
    /// Gear in use and gear aimed at.
    pub(super) gear: usize,
    pub(super) target_gear: usize,
    /// Turbine of the converter, rpm.
    pub(super) turbine: f64,
    /// Gearbox output, rpm.
    pub(super) output: f64,
    /// Torque at the turbine, Nm.
    pub(super) turbine_torque: f64,
    pub(super) lockup: Lockup,
    indicated: f64,
    ratio: f64,
    shift_left_s: f64,
    since_shift_s: f64,
}

impl Powertrain {
    pub(super) fn new() -> Self {
        Self {
            speed: 750.0,
            torque: 0.0,
            torque_demand: 0.0,
            friction: 20.0,
            load: 0.1,
            throttle: 0.05,
            ignition: 10.0,
            manifold: 35.0,
            air: 4.0,
            lambda: 1.0,
            fuel: 0.8,
            overrun: false,
            gear: 1,
            target_gear: 1,
            turbine: 0.0,
            output: 0.0,
            turbine_torque: 0.0,
            lockup: Lockup::Open,
            indicated: 30.0,
            ratio: RATIOS[1],
            shift_left_s: 0.0,
            since_shift_s: 10.0,
        }
    }

    /// A shift is under way.
    pub(super) fn shifting(&self) -> bool {
        self.shift_left_s > 0.0
    }

    /// Power in the fuel that burns, W.
    pub(super) fn fuel_power(&self) -> f64 {
        self.fuel / 3600.0 * PETROL_DENSITY * HEATING_VALUE
    }

    /// Steps and returns the force at the driven wheels, N.
    pub(super) fn step(&mut self, dt: f64, load: &Load) -> f64 {
        self.shift(dt, load);
        self.output = load.speed / WHEEL_RADIUS * FINAL_DRIVE * RPM;
        self.turbine = self.output * self.ratio;
        self.burn(dt, load);
        self.couple(dt, load)
    }

    /// Chooses the gear and moves the ratio to it.
    fn shift(&mut self, dt: f64, load: &Load) {
        self.since_shift_s += dt;
        if self.shift_left_s > 0.0 {
            self.shift_left_s = (self.shift_left_s - dt).max(0.0);
            if self.shift_left_s == 0.0 {
                self.gear = self.target_gear;
            }
        } else {
            let pedal = load.accelerator;
            let shaft = load.speed / WHEEL_RADIUS * FINAL_DRIVE * RPM;
            let here = shaft * RATIOS[self.gear];
            let cold = if load.coolant_temp < 50.0 { 350.0 } else { 0.0 };
            let up = 1750.0 + cold + 500.0 * pedal + 3300.0 * pedal * pedal;
            let down = 1080.0 + 700.0 * pedal + 600.0 * pedal * pedal;
            if self.since_shift_s > 1.2 || here > 6000.0 {
                if self.gear < 6 && here > up && shaft * RATIOS[self.gear + 1] > 1150.0 + 300.0 * pedal {
                    self.target_gear = self.gear + 1;
                } else if self.gear > 1 && here < down && shaft * RATIOS[self.gear - 1] < 5500.0 {
                    self.target_gear = self.gear - 1;
                }
                if self.target_gear != self.gear {
                    self.shift_left_s = SHIFT_S;
                    self.since_shift_s = 0.0;
                }
            }
        }
        lag(&mut self.ratio, RATIOS[self.target_gear], dt, 0.09);
    }

    /// Torque, air and fuel.
    fn burn(&mut self, dt: f64, load: &Load) {
        let idle = 740.0 + (60.0 - load.coolant_temp).max(0.0) * 4.0;
        let full = interpolate(&FULL_LOAD, self.speed);
        let cold = 1.0 + (85.0 - load.coolant_temp).max(0.0) * 0.006;
        self.friction = (13.0 + 0.0045 * self.speed) * cold;
        let largest = full + self.friction;
        let pedal = load.accelerator;
        // Progressive pedal: half of it gives 40 % of the torque.
        let asked = (pedal * (0.6 + 0.4 * pedal)) * largest;
        self.overrun = pedal < 0.005 && self.speed > if self.overrun { 1050.0 } else { 1300.0 };
        let keep_idle = self.friction + load.accessories + 12.0 + (idle - self.speed) * 0.12;
        let mut demand = if self.overrun { 0.0 } else { asked.max(keep_idle.clamp(0.0, 0.35 * largest)) };
        if self.shifting() && self.target_gear > self.gear {
            demand *= 0.55;
        }
        demand *= ((6500.0 - self.speed) / 200.0).clamp(0.0, 1.0);
        self.torque_demand = demand - self.friction;
        lag(&mut self.indicated, demand, dt, 0.12);
        self.torque = self.indicated - self.friction;
        self.load = self.indicated / largest;

        let omega = self.speed / RPM;
        let efficiency = 0.36 + 0.03 * self.load;
        let power = self.indicated * omega / efficiency;
        let burning = if self.overrun && self.indicated < 6.0 { 0.0 } else { power / HEATING_VALUE };
        self.fuel = burning / PETROL_DENSITY * 3600.0;
        let kelvin = load.intake_temp + 273.15;
        // Air that a stroke takes in at one kPa, g/s: half the displacement a revolution, volumetric efficiency 0.9.
        let swallow = DISPLACEMENT * self.speed / 120.0 * 0.9 * 1e6 / (287.0 * kelvin);
        let needed = power / HEATING_VALUE * 14_700.0 / swallow;
        lag(&mut self.manifold, needed.max(22.0), dt, 0.06);
        self.air = self.manifold * swallow;
        let mixture = if burning == 0.0 { 1.95 } else { 1.0 - 0.12 * (self.load - 0.85).max(0.0) };
        lag(&mut self.lambda, mixture, dt, 0.15);
        let open = 0.03 + 0.8 * self.load * (0.4 + 0.6 * self.speed / 6000.0) + 0.12 * self.load;
        lag(&mut self.throttle, open.clamp(0.02, 1.0), dt, 0.05);
        let advance = 12.0 + 0.004 * self.speed - 22.0 * self.load;
        let retard = if self.shifting() { 8.0 } else { 0.0 };
        lag(&mut self.ignition, advance - retard, dt, 0.04);
    }

    /// Converter and gearbox: engine speed and wheel force.
    fn couple(&mut self, dt: f64, load: &Load) -> f64 {
        let idle = 740.0 + (60.0 - load.coolant_temp).max(0.0) * 4.0;
        let may_lock = self.target_gear >= 2 && self.turbine > 1150.0;
        self.lockup = match (may_lock, self.shifting() || self.since_shift_s < 0.7) {
            (false, _) => Lockup::Open,
            (true, true) => Lockup::Slipping,
            (true, false) => Lockup::Locked,
        };
        let crank = self.torque + load.assist - load.accessories;
        let (target, tau) = match self.lockup {
            Lockup::Locked => (self.turbine, 0.05),
            Lockup::Slipping => (self.turbine + 0.5 * crank.max(0.0), 0.1),
            Lockup::Open => {
                let ratio = (self.turbine / self.speed.max(1.0)).min(1.0);
                let slip = 115.0 * crank.max(0.0).sqrt() * (1.0 - 0.75 * ratio);
                ((self.turbine * 0.98 + slip).max(idle), 0.12)
            }
        };
        lag(&mut self.speed, target.clamp(idle * 0.9, 6600.0), dt, tau);
        let ratio = (self.turbine / self.speed).clamp(0.0, 1.1);
        let driven = match self.lockup {
            Lockup::Open => {
                let gain = 1.0 + 0.9 * (1.0 - ratio / 0.88).max(0.0);
                let creep = 16.0 * (1.0 - ratio * 1.6);
                if load.accelerator > 0.01 { (crank * gain).max(creep) } else { creep.max(-self.friction) }
            }
            Lockup::Slipping | Lockup::Locked => crank,
        };
        lag(&mut self.turbine_torque, driven, dt, 0.04);
        self.turbine_torque * self.ratio * FINAL_DRIVE * 0.94 / WHEEL_RADIUS
    }
}
