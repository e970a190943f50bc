//! `[source]`.

use std::path::PathBuf;
use std::time::Duration;

use can_decoders::log::UtcOffset;
use toml::Spanned;

use super::{ConfigError, Reader, raw};
use crate::engine::{ANY_BUS, Catalog};
use crate::source::sim::ScheduledFault;
use crate::source::socketcan::Listen;

/// Where frames come from.
#[derive(Debug, Clone)]
pub enum SourceConfig {
    /// The CAN interfaces that the buses are named after.
    SocketCan {
        /// How each is listened to, by the buses' numbers.
        listen: Vec<Listen>,
    },
    /// A recording.
    Replay {
        /// The file, `-` for standard input.
        log: PathBuf,
        /// Times faster than it was recorded; `None` as fast as possible.
        speed: Option<f64>,
        /// Count bad lines and go on.
        tolerant: bool,
        /// Where the recorder's clock was.
        utc_offset: UtcOffset,
    },
    /// The simulated vehicle.
    Sim {
        /// Seed of the drive.
        seed: u64,
        /// Times faster than real; `None` as fast as possible.
        speed: Option<f64>,
        /// Ends after so much of the vehicle's time.
        length: Option<Duration>,
        /// Faults and when.
        faults: Vec<ScheduledFault>,
    },
}

/// From the raw table.
pub(super) fn source(
    reader: &Reader,
    raw: Spanned<raw::Source>,
    catalog: &Catalog,
    listen: Vec<Listen>,
) -> Result<SourceConfig, ConfigError> {
    let check_speed = |speed: f64| {
        if speed == 0.0 {
            return Ok(None);
        }
        if speed.is_finite() && (0.001..=100_000.0).contains(&speed) {
            return Ok(Some(speed));
        }
        Err(reader.error(&raw, format!("source.speed = {speed}: from 0.001 to 100000, or 0 for as fast as possible")))
    };
    Ok(match raw.get_ref() {
        raw::Source::Socketcan {} if catalog.buses().is_empty() => {
            return Err(
                reader.error(&raw, "source \"socketcan\" needs a [[bus]] for each interface that it is to read")
            );
        }
        raw::Source::Socketcan {} if catalog.buses().iter().any(|bus| &*bus.name == ANY_BUS) => {
            return Err(reader.error(&raw, "source \"socketcan\" opens interfaces by name: there is none named \"*\""));
        }
        raw::Source::Socketcan {} => SourceConfig::SocketCan { listen },
        raw::Source::Replay { log, speed, tolerant, utc_offset } => {
            let utc_offset = utc_offset.as_deref().map_or(Ok(UtcOffset::default()), str::parse);
            let utc_offset = utc_offset.map_err(|error| reader.error(&raw, format!("source.utc_offset: {error}")))?;
            let speed = check_speed(*speed)?;
            SourceConfig::Replay { log: reader.resolve(log), speed, tolerant: *tolerant, utc_offset }
        }
        raw::Source::Sim { seed, speed, minutes, faults } => {
            let length = match minutes {
                None => None,
                Some(m) if *m > 0.0 && *m <= 1e6 => Some(Duration::from_secs_f64(m * 60.0)),
                Some(m) => return Err(reader.error(&raw, format!("source.minutes = {m}: it must be above zero"))),
            };
            let faults = faults
                .iter()
                .map(|f| f.parse().map_err(|e| reader.error(&raw, format!("source.faults: `{f}`: {e}"))))
                .collect::<Result<_, _>>()?;
            SourceConfig::Sim { seed: *seed, speed: check_speed(*speed)?, length, faults }
        }
    })
}
