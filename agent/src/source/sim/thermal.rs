//! Coolant, oil and intake air of the engine; oil of the gearbox; cabin.

use super::maths::{interpolate, lag, uniform};

/// Pressure of an intact, full cooling system (bar above ambient) over its temperature (°C).
const COOLANT_PRESSURE: [(f64, f64); 7] =
    [(20.0, 0.02), (60.0, 0.25), (80.0, 0.6), (90.0, 0.85), (100.0, 1.15), (110.0, 1.5), (120.0, 1.9)];
/// Heat capacity of block and coolant, J/K.
const HEAT_CAPACITY: f64 = 62_000.0;
/// Level of the expansion tank when full, percent.
const FULL: f64 = 92.0;
/// Level at which a leak at half height stops, percent.
const LEAK_FLOOR: f64 = 18.0;

/// What heats and cools in a step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heat {
    /// W in the fuel.
    pub(super) fuel_power: f64,
    /// Engine speed, rpm.
    pub(super) engine_speed: f64,
    /// Engine load, 0 to 1.
    pub(super) load: f64,
    /// Power lost in converter and gears, W.
    pub(super) gearbox_loss: f64,
    /// Road speed, m/s.
    pub(super) speed: f64,
    /// °C.
    pub(super) ambient: f64,
    pub(super) compressor: bool,
    /// Coolant runs out.
    pub(super) leak: bool,
}

/// Temperatures (°C), pressures (bar), level (percent), fan (0 to 1).
#[derive(Debug)]
pub(super) struct Thermal {
    pub(super) coolant: f64,
    pub(super) coolant_pressure: f64,
    pub(super) coolant_level: f64,
    pub(super) fan: f64,
    pub(super) oil: f64,
    pub(super) oil_pressure: f64,
    pub(super) intake: f64,
    pub(super) gearbox_oil: f64,
    pub(super) cabin: f64,
    thermostat: f64,
    tightness: f64,
    fan_on: bool,
}

impl Thermal {
    pub(super) fn new(rng: &mut fastrand::Rng, ambient: f64) -> Self {
        // Anything from a cold start to one after a short break.
        let warm = uniform(rng, 0.0, 1.0);
        let coolant = ambient + warm * (85.0 - ambient);
        Self {
            coolant,
            coolant_pressure: interpolate(&COOLANT_PRESSURE, coolant),
            coolant_level: FULL,
            fan: 0.0,
            oil: ambient + 0.9 * warm * (85.0 - ambient),
            oil_pressure: 2.0,
            intake: ambient + 5.0,
            gearbox_oil: ambient + 0.7 * warm * (80.0 - ambient),
            cabin: ambient + 0.6 * warm * (21.0 - ambient),
            thermostat: 0.0,
            tightness: 1.0,
            fan_on: false,
        }
    }

    pub(super) fn step(&mut self, dt: f64, heat: &Heat) {
        self.cool(dt, heat);
        self.hold_pressure(dt, heat);
        lag(&mut self.oil, self.coolant + 6.0 + 22.0 * heat.load * heat.engine_speed / 3000.0, dt, 140.0);
        let viscosity = (1.5 - 0.006 * self.oil).max(0.5);
        lag(&mut self.oil_pressure, (0.5 + heat.engine_speed / 1300.0).min(4.6) * viscosity, dt, 0.25);
        let intake = heat.ambient + 4.0 + 18.0 / (1.0 + 0.25 * heat.speed) + 8.0 * heat.load;
        lag(&mut self.intake, intake, dt, 25.0);
        let gearbox_cooling = 25.0 * (self.gearbox_oil - 0.55 * self.coolant - 0.45 * heat.ambient - 12.0);
        self.gearbox_oil += (heat.gearbox_loss - gearbox_cooling) * dt / 16_000.0;
        lag(&mut self.cabin, 21.5 + 0.05 * (heat.ambient - 20.0), dt, 300.0);
    }

    fn cool(&mut self, dt: f64, heat: &Heat) {
        lag(&mut self.thermostat, ((self.coolant - 84.0) / 9.0).clamp(0.0, 1.0), dt, 6.0);
        self.fan_on = self.coolant > if self.fan_on { 95.0 } else { 99.0 };
        let base = if heat.compressor && heat.speed < 12.0 { 0.3 } else { 0.0 };
        let wanted = if self.fan_on { ((self.coolant - 93.0) / 12.0).clamp(0.35, 1.0) } else { base };
        lag(&mut self.fan, wanted, dt, 1.2);
        let filled = ((self.coolant_level - 10.0) / 50.0).clamp(0.12, 1.0);
        let radiator = (110.0 + 45.0 * heat.speed + 950.0 * self.fan) * self.thermostat * filled;
        let block = 18.0 + 1.2 * heat.speed;
        // Above boiling, steam carries the surplus away.
        let boiling = 900.0 * (self.coolant - 116.0).max(0.0);
        let gain = 0.27 * heat.fuel_power + 0.9 * heat.engine_speed;
        let loss = (radiator + block) * (self.coolant - heat.ambient) + boiling;
        self.coolant += (gain - loss) * dt / HEAT_CAPACITY;
    }

    fn hold_pressure(&mut self, dt: f64, heat: &Heat) {
        let rate = if heat.leak { -1.2 } else { 6.0 };
        self.coolant_level = (self.coolant_level + rate * dt).clamp(LEAK_FLOOR, FULL);
        // The level rises with expansion; what leaks out takes the pressure with it.
        lag(&mut self.tightness, if heat.leak { 0.25 } else { 1.0 }, dt, 4.0);
        let full = interpolate(&COOLANT_PRESSURE, self.coolant) + 0.06 * heat.engine_speed / 6000.0;
        lag(&mut self.coolant_pressure, full * self.tightness, dt, 0.8);
    }

    /// The level as the sensor in the expansion tank shows it, percent.
    pub(super) fn shown_level(&self) -> f64 {
        self.coolant_level + 0.06 * (self.coolant - 60.0)
    }
}
