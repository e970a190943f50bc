//! The simulated vehicle as frames to be paced.

use std::time::Duration;

use can_decoders::{BusId, Frame};

use super::sim::{SimConfig, SimError, Simulation};
use super::{Frames, SourceError};

/// Frames of the simulated vehicle with the numbers that the configuration gives to its buses.
pub(super) struct Simulated {
    simulation: Simulation,
    end_ns: u64,
    numbers: [BusId; 2],
}

impl Simulated {
    /// Ends after `length` of the vehicle's time. `buses` are the configured ones, in order.
    pub(super) fn new(config: SimConfig, length: Option<Duration>, buses: &[String]) -> Result<Self, SimError> {
        let length_ns = length.map_or(u64::MAX, |l| u64::try_from(l.as_nanos()).unwrap_or(u64::MAX));
        let end_ns = config.start_ns.saturating_add(length_ns);
        // Frames of a bus that is not configured get a number that no bus has: the engine counts them.
        let number = |name: &str| {
            let found = (0u8..).zip(buses).find(|(_, bus)| *bus == name);
            found.map_or(BusId(u8::MAX), |(i, _)| BusId(i))
        };
        let numbers = Simulation::bus_names().map(number);
        Ok(Self { simulation: Simulation::new(config)?, end_ns, numbers })
    }
}

impl Frames for Simulated {
    fn next_frame(&mut self) -> Result<Option<Frame>, SourceError> {
        let frame = self.simulation.next().filter(|frame| frame.time_ns < self.end_ns);
        Ok(frame.map(|mut frame| {
            frame.bus = self.numbers[usize::from(frame.bus.0)];
            frame
        }))
    }
}
