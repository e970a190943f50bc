//! A simulated vehicle: a small physical model of a petrol car with 48 V assistance that drives an endless, random
//! cycle and sends what its sensors measure on two buses.
//!
//! ```text
//! cycle ─▶ driver ─▶ powertrain ─▶ chassis ─▶ signals ─▶ bus ─▶ frames
//!  seed              battery · thermal         noise      periods, arbitration
//!                        ▲ physical faults       ▲ sensor and frame faults
//! ```
//!
//! It is there for demonstrations, tests and the training of the demonstration model: everything that a fault on one
//! sensor contradicts is on the buses too. Time is virtual: frames come as fast as they are asked for. The same seed
//! and the same faults give the same bytes, on every platform, because the models
//! use nothing but arithmetic that IEEE 754 fixes; faults of sensors and
//! frames leave everything else as it would have been without them, physical faults act on all that depends on them.
//!
//! The messages are described by `demo-powertrain.dbc` (`can0`) and `demo-body.dbc` (`can1`), see [`DBC`].

mod battery;
mod bus;
mod chassis;
mod cycle;
mod driver;
mod fault;
mod maths;
mod powertrain;
mod signals;
mod tamper;
mod thermal;
mod vehicle;

use std::collections::VecDeque;

use can_decoders::{BusId, DbcError, EncodeError, Frame};
use thiserror::Error;

pub use fault::{FaultError, FaultKind, MessageName, ScheduledFault, Sensor};

use bus::Bus;
use tamper::Tampering;
use vehicle::Vehicle;

/// The buses and the DBC file of each: name of the bus, name of the file, its text.
pub const DBC: [(&str, &str, &str); 2] = [
    ("can0", "demo-powertrain.dbc", include_str!("../../../../can-decoders/dbc/demo-powertrain.dbc")),
    ("can1", "demo-body.dbc", include_str!("../../../../can-decoders/dbc/demo-body.dbc")),
];

/// Length of a step, µs.
const STEP_US: u64 = 10_000;

/// What to simulate.
#[derive(Debug, Clone, Default)]
pub struct SimConfig {
    /// Decides over road, driver, weather, tolerances and noise.
    pub seed: u64,
    /// Time at the start, nanoseconds since the Unix epoch; whole microseconds, so that candump logs keep the times.
    pub start_ns: u64,
    /// What goes wrong.
    pub faults: Vec<ScheduledFault>,
}

/// The simulation cannot be set up. The DBC files are part of the program, so this is a fault of the build.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SimError {
    /// A built-in DBC file is refused.
    #[error("built-in DBC file of the simulated vehicle: {0}")]
    Dbc(#[from] DbcError),
    /// A built-in DBC file and the model do not fit together.
    #[error("the simulated vehicle has no source for {0} of its built-in DBC files; this build is broken, report it")]
    Unbound(String),
    /// A value does not fit its signal.
    #[error("the simulated vehicle: {0}; this build is broken, report it")]
    Encode(#[from] EncodeError),
}

/// The simulated vehicle; an endless iterator over its frames, in strict order of their times.
#[derive(Debug)]
pub struct Simulation {
    start_ns: u64,
    now_us: u64,
    last_us: u64,
    vehicle: Vehicle,
    buses: [Bus; 2],
    tampering: Tampering,
    received: Vec<(u64, Frame)>,
    ready: VecDeque<Frame>,
}

impl Simulation {
    /// Sets the vehicle up, at standstill with its engine running.
    ///
    /// # Errors
    /// When the built-in DBC files and the model do not fit together.
    pub fn new(config: SimConfig) -> Result<Self, SimError> {
        let mut rng = fastrand::Rng::with_seed(config.seed);
        // Each part has a stream of its own: a change in one leaves the others as they are.
        let vehicle = Vehicle::new(fastrand::Rng::with_seed(rng.u64(..)));
        let mut bus = |number: u8| {
            let (_, file, text) = DBC[usize::from(number)];
            Bus::new(BusId(number), file, text, &mut rng)
        };
        Ok(Self {
            start_ns: config.start_ns,
            now_us: 0,
            last_us: 0,
            vehicle,
            buses: [bus(0)?, bus(1)?],
            tampering: Tampering::new(&config.faults),
            received: Vec::with_capacity(128),
            ready: VecDeque::with_capacity(128),
        })
    }

    /// Names of the buses; a [`BusId`] is a place in it.
    pub const fn bus_names() -> [&'static str; 2] {
        [DBC[0].0, DBC[1].0]
    }

    /// One step of the vehicle and what the buses carry during it.
    fn step(&mut self) -> Result<(), SimError> {
        let damage = self.tampering.advance(self.now_us);
        self.vehicle.step(&damage);
        self.now_us += STEP_US;
        for bus in &mut self.buses {
            bus.run(self.now_us, &self.vehicle, &mut self.tampering, &mut self.received)?;
        }
        self.received.sort_by_key(|(time, frame)| (*time, frame.bus));
        for (time, mut frame) in self.received.drain(..) {
            // Both buses may deliver in the same microsecond: one is stamped after the other.
            self.last_us = time.max(self.last_us + 1);
            frame.time_ns = self.start_ns.saturating_add(self.last_us * 1000);
            self.ready.push_back(frame);
        }
        Ok(())
    }
}

impl Iterator for Simulation {
    type Item = Frame;

    /// The next frame. Never `None` in a sound build: a value that does not fit its signal would end it.
    fn next(&mut self) -> Option<Frame> {
        while self.ready.is_empty() {
            self.step().ok()?;
        }
        self.ready.pop_front()
    }
}

#[cfg(test)]
#[path = "sim_tests.rs"]
mod tests;
