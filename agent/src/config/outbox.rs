//! `[outbox]`.

use std::path::PathBuf;
use std::time::Duration;

use super::{ConfigError, Reader, raw};
use crate::event::Class;
use crate::outbox::OutboxConfig;

/// The outbox's directory and bounds.
#[derive(Debug, Clone)]
pub struct OutboxPlace {
    /// Its directory.
    pub dir: PathBuf,
    /// Its bounds.
    pub config: OutboxConfig,
}

/// From the raw table.
pub(super) fn outbox(reader: &Reader, outbox: raw::Outbox) -> Result<OutboxPlace, ConfigError> {
    let mib = reader.in_range("outbox.quota_mib", &outbox.quota_mib, 4..=16 << 10)?;
    let kib = reader.in_range("outbox.memory_kib", &outbox.memory_kib, 64..=1 << 20)?;
    let mut config = OutboxConfig::new(mib << 20);
    config.memory_bytes = kib as usize * 1024;
    let mib = reader.in_range("outbox.write_mib_per_day", &outbox.write_mib_per_day, 1..=16 << 20)?;
    config.write_budget = Some(mib << 20);
    let given = outbox.class;
    let given = [given.critical, given.alert, given.status, given.telemetry, given.bulk];
    for ((class, limits), given) in Class::ALL.into_iter().zip(&mut config.classes).zip(given) {
        limits.store = given.store.unwrap_or(limits.store);
        if let Some(kib) = &given.quota_kib {
            let key = format!("outbox.class.{class}.quota_kib");
            limits.quota_bytes = reader.in_range(&key, kib, 16..=16 << 20)? << 10;
        }
        if let Some(seconds) = &given.max_age_s {
            let key = format!("outbox.class.{class}.max_age_s");
            limits.max_age = Duration::from_secs(reader.in_range(&key, seconds, 60..=10 * 366 * 86_400)?);
        }
    }
    Ok(OutboxPlace { dir: reader.resolve(&outbox.dir), config })
}
