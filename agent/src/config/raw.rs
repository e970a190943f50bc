//! The configuration file as written: one struct a table, unknown keys refused, positions kept.

use serde::Deserialize;
use toml::Spanned;

use super::{campaign, condition, crash, gateway, privacy, recorder, validity};
use crate::outbox::Durability;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    pub(super) vehicle: Vehicle,
    #[serde(rename = "bus", default)]
    pub(super) buses: Vec<Bus>,
    pub(super) source: Option<Spanned<Source>>,
    #[serde(rename = "collect", default)]
    pub(super) collections: Vec<Collect>,
    #[serde(rename = "model", default)]
    pub(super) models: Vec<Model>,
    pub(super) profile: Option<Profile>,
    #[serde(rename = "condition", default)]
    pub(super) conditions: Vec<condition::Raw>,
    #[serde(rename = "campaign", default)]
    pub(super) campaigns: Vec<campaign::Place>,
    pub(super) crash: Option<Spanned<crash::Raw>>,
    pub(super) notify: Option<Notify>,
    pub(super) recorder: Option<recorder::Raw>,
    #[serde(default)]
    pub(super) health: Health,
    pub(super) outbox: Option<Outbox>,
    #[serde(default)]
    pub(super) uplink: gateway::RawUplink,
    #[serde(rename = "gateway", default)]
    pub(super) gateways: Vec<gateway::RawGateway>,
    #[serde(rename = "network", default)]
    pub(super) networks: Vec<gateway::RawNetwork>,
    #[serde(default)]
    pub(super) privacy: privacy::Raw,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Vehicle {
    pub(super) id: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Bus {
    pub(super) name: Spanned<String>,
    #[serde(default)]
    pub(super) dbc: Vec<Spanned<String>>,
    pub(super) bitrate: Option<Spanned<u32>>,
    pub(super) data_bitrate: Option<Spanned<u32>>,
    #[serde(default)]
    pub(super) allow_acknowledge: bool,
    #[serde(default)]
    pub(super) only_known: bool,
    #[serde(default = "default_receive_buffer_kib")]
    pub(super) receive_buffer_kib: Spanned<u32>,
    #[serde(default)]
    pub(super) forward_xl: bool,
    #[serde(default)]
    pub(super) validity: validity::Raw,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Source {
    Socketcan {},
    Replay {
        log: String,
        /// A factor, or 0 for as fast as possible.
        #[serde(default = "one")]
        speed: f64,
        #[serde(default)]
        tolerant: bool,
        /// As `+02:00`.
        utc_offset: Option<String>,
    },
    Sim {
        #[serde(default)]
        seed: u64,
        #[serde(default = "one")]
        speed: f64,
        minutes: Option<f64>,
        #[serde(default)]
        faults: Vec<String>,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Collect {
    pub(super) name: Spanned<String>,
    pub(super) signals: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) mode: CollectMode,
    pub(super) period_ms: Spanned<u64>,
    #[serde(default)]
    pub(super) heartbeat_ms: Option<Spanned<u64>>,
    #[serde(default)]
    pub(super) deadband: f64,
    #[serde(default)]
    pub(super) max_age_ms: Option<Spanned<u64>>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum CollectMode {
    #[default]
    OnChange,
    Aggregate,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Model {
    pub(super) dir: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Notify {
    pub(super) socket: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Profile {
    pub(super) file: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Health {
    pub(super) period_s: u64,
    pub(super) silent_factor: u32,
    pub(super) silent_min_ms: u64,
}

impl Default for Health {
    fn default() -> Self {
        Self { period_s: 60, silent_factor: 5, silent_min_ms: 500 }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Outbox {
    pub(super) dir: String,
    #[serde(default = "default_quota_mib")]
    pub(super) quota_mib: Spanned<u64>,
    #[serde(default = "default_memory_kib")]
    pub(super) memory_kib: Spanned<u32>,
    #[serde(default = "default_write_mib")]
    pub(super) write_mib_per_day: Spanned<u64>,
    #[serde(default)]
    pub(super) class: Classes,
}

/// What holds for one class alone.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Classes {
    #[serde(default)]
    pub(super) critical: ClassLimits,
    #[serde(default)]
    pub(super) alert: ClassLimits,
    #[serde(default)]
    pub(super) status: ClassLimits,
    #[serde(default)]
    pub(super) telemetry: ClassLimits,
    #[serde(default)]
    pub(super) bulk: ClassLimits,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClassLimits {
    pub(super) store: Option<Durability>,
    pub(super) quota_kib: Option<Spanned<u64>>,
    pub(super) max_age_s: Option<Spanned<u64>>,
}

const fn one() -> f64 {
    1.0
}
// Defaults have no place in the file: their span is empty.
fn default_receive_buffer_kib() -> Spanned<u32> {
    Spanned::new(0..0, 8192)
}
/// For a small eMMC (8 GB of 3,000 cycles) that is 16 years.
fn default_write_mib() -> Spanned<u64> {
    Spanned::new(0..0, 4096)
}

fn default_quota_mib() -> Spanned<u64> {
    Spanned::new(0..0, 64)
}
fn default_memory_kib() -> Spanned<u32> {
    Spanned::new(0..0, 1024)
}
