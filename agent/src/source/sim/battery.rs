//! The 48 V side: twelve lithium-ion cells in series, the belt-driven machine, and the converter to 12 V.

use super::maths::{interpolate, lag, uniform};
use super::powertrain::RPM;

/// Cells in series.
pub(super) const CELLS: usize = 12;
/// Capacity, As (10 Ah).
const CAPACITY: f64 = 36_000.0;
/// Open-circuit voltage (V) over state of charge (0 to 1).
const OPEN_CIRCUIT: [(f64, f64); 11] = [
    (0.0, 3.0),
    (0.1, 3.45),
    (0.2, 3.55),
    (0.3, 3.60),
    (0.4, 3.64),
    (0.5, 3.69),
    (0.6, 3.77),
    (0.7, 3.87),
    (0.8, 3.97),
    (0.9, 4.07),
    (1.0, 4.18),
];
/// Belt ratio between machine and crankshaft.
pub(super) const BELT: f64 = 2.7;
/// Share of charge that the machine's control aims at.
const CHARGE_TARGET: f64 = 0.6;

#[derive(Debug, Clone, Copy)]
struct Cell {
    charge: f64,
    resistance: f64,
    polarisation: f64,
}

/// Demands on the 48 V side in a step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Demand {
    pub(super) accelerator: f64,
    pub(super) brake: f64,
    /// The car moves and the gearbox carries torque from the wheels: braking can charge.
    pub(super) recuperate: bool,
    /// Engine speed, rpm.
    pub(super) engine_speed: f64,
    /// Consumers on 12 V, W.
    pub(super) consumers: f64,
    /// °C.
    pub(super) ambient: f64,
    /// The cell (from 0) that leaks, when one does.
    pub(super) leaking_cell: Option<usize>,
}

/// State of the 48 V and 12 V net.
#[derive(Debug)]
pub(super) struct Battery {
    cells: [Cell; CELLS],
    /// A; positive discharges.
    pub(super) current: f64,
    /// V of each cell.
    pub(super) voltages: [f64; CELLS],
    /// Module temperatures, °C.
    pub(super) temps: [f64; 3],
    /// Fan of the battery, 0 to 1.
    pub(super) fan: f64,
    /// Torque at the machine's own shaft, Nm.
    pub(super) torque: f64,
    /// Electric power of the machine, W; positive drives.
    pub(super) machine_power: f64,
    /// °C.
    pub(super) machine_temp: f64,
    /// Current into the 12 V net, A.
    pub(super) converter_current: f64,
    pub(super) converter_temp: f64,
    /// 12 V net: V, A (positive charges), state of charge (0 to 1).
    pub(super) supply: f64,
    pub(super) low_current: f64,
    pub(super) low_charge: f64,
}

impl Battery {
    pub(super) fn new(rng: &mut fastrand::Rng, ambient: f64) -> Self {
        let charge = uniform(rng, 0.52, 0.66);
        let cells = std::array::from_fn(|_| Cell {
            charge: charge + uniform(rng, -0.004, 0.004),
            resistance: 0.001_2 * uniform(rng, 0.96, 1.04),
            polarisation: 0.0,
        });
        Self {
            cells,
            current: 0.0,
            voltages: [3.7; CELLS],
            temps: std::array::from_fn(|_| ambient + uniform(rng, 1.0, 6.0)),
            fan: 0.0,
            torque: 0.0,
            machine_power: 0.0,
            machine_temp: ambient + uniform(rng, 5.0, 30.0),
            converter_current: 30.0,
            converter_temp: ambient + uniform(rng, 5.0, 20.0),
            supply: 14.2,
            low_current: 1.0,
            low_charge: uniform(rng, 0.75, 0.9),
        }
    }

    /// Mean state of charge, 0 to 1.
    pub(super) fn charge(&self) -> f64 {
        self.cells.iter().map(|cell| cell.charge).sum::<f64>() / 12.0
    }

    /// Voltage at the terminals, V.
    pub(super) fn voltage(&self) -> f64 {
        self.voltages.iter().sum()
    }

    /// Lowest and highest cell voltage, V.
    pub(super) fn extremes(&self) -> (f64, f64) {
        self.voltages.iter().fold((f64::MAX, f64::MIN), |(low, high), &v| (low.min(v), high.max(v)))
    }

    /// Torque of the machine at the crankshaft, Nm.
    pub(super) fn crank_torque(&self) -> f64 {
        self.torque * BELT
    }

    pub(super) fn step(&mut self, dt: f64, demand: &Demand) {
        self.machine(dt, demand);
        self.low_voltage(dt, demand);
        let converter_power = self.converter_current * self.supply / 0.94;
        self.current = (self.machine_power + converter_power) / self.voltage().max(30.0);
        for (index, cell) in self.cells.iter_mut().enumerate() {
            let leaking = demand.leaking_cell == Some(index);
            cell.charge -= self.current * dt / CAPACITY;
            lag(&mut cell.polarisation, self.current * 0.000_8, dt, 20.0);
            let warm = 1.0 + (25.0 - self.temps[index / 4]) * 0.008;
            self.voltages[index] =
                interpolate(&OPEN_CIRCUIT, cell.charge) - self.current * cell.resistance * warm - cell.polarisation;
            // An internal short discharges the cell and raises its resistance.
            let resistance = if leaking { 0.003_5 } else { cell.resistance.min(0.001_25) };
            lag(&mut cell.resistance, resistance, dt, 4.0);
        }
        self.balance(dt, demand.leaking_cell);
        let heat = self.current * self.current * 0.015;
        let hot = self.temps.iter().fold(f64::MIN, |a, &b| a.max(b));
        let fan = if hot > 32.0 { ((hot - 30.0) / 15.0).clamp(0.2, 1.0) } else { 0.0 };
        lag(&mut self.fan, fan, dt, 2.0);
        for (position, temp) in [1.0, 1.15, 0.95].into_iter().zip(&mut self.temps) {
            let cooling = (3.0 + 14.0 * self.fan) * (*temp - demand.ambient - 2.0);
            *temp += (heat * position / 3.0 - cooling / 3.0) * dt / 2400.0;
        }
    }

    /// Moves the cells' charges together, slowly; a leaking one drops to 30 % below the others.
    fn balance(&mut self, dt: f64, leaking: Option<usize>) {
        let mean = self.charge();
        for (index, cell) in self.cells.iter_mut().enumerate() {
            let offset = cell.charge - mean;
            if leaking == Some(index) {
                if offset > -0.3 {
                    cell.charge -= 0.015 * dt;
                }
            } else if offset.abs() > 0.006 {
                cell.charge -= offset.signum() * 0.012 * dt;
            }
            cell.charge = cell.charge.clamp(0.02, 0.99);
        }
    }

    fn machine(&mut self, dt: f64, demand: &Demand) {
        let omega = demand.engine_speed * BELT / RPM;
        let charge = self.charge();
        let power = if demand.recuperate && demand.brake > 0.02 && charge < 0.8 {
            -9000.0 * (demand.brake * 6.0).min(1.0)
        } else if demand.accelerator > 0.5 && charge > 0.45 {
            9000.0 * ((demand.accelerator - 0.5) * 3.0).min(1.0)
        } else {
            -900.0 - 16_000.0 * (CHARGE_TARGET - charge)
        };
        let most = 45.0;
        let torque = (power.clamp(-9500.0, 9500.0) / omega.max(100.0)).clamp(-most, most);
        lag(&mut self.torque, torque, dt, 0.1);
        let mechanical = self.torque * omega;
        self.machine_power = if mechanical > 0.0 { mechanical / 0.88 } else { mechanical * 0.88 };
        let loss = (mechanical - self.machine_power).abs();
        self.machine_temp += (loss - 14.0 * (self.machine_temp - demand.ambient - 15.0)) * dt / 4000.0;
    }

    fn low_voltage(&mut self, dt: f64, demand: &Demand) {
        let wanted = demand.consumers / self.supply + self.low_current;
        lag(&mut self.converter_current, wanted, dt, 0.08);
        let supply = 14.35 - 0.003 * self.converter_current - 0.004 * (demand.ambient - 20.0);
        lag(&mut self.supply, supply, dt, 0.3);
        lag(&mut self.low_current, (0.97 - self.low_charge) * 25.0, dt, 1.0);
        self.low_charge += self.low_current * dt / 250_000.0;
        let loss = self.converter_current * self.supply * 0.06;
        self.converter_temp += (loss - 4.0 * (self.converter_temp - demand.ambient - 8.0)) * dt / 900.0;
    }
}
