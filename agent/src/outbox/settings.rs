//! What of the outbox is configured.

use std::time::Duration;

/// The smallest quota: room for some generations of sled's least size.
pub const MIN_QUOTA_BYTES: u64 = 4 << 20;

/// When events of a class are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Before they are sent.
    Always,
    /// While the link is down, and when the gateway takes too long. Gap events are stored always, whatever their class.
    Offline,
}

/// What holds for one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClassLimits {
    /// When its events are stored.
    pub store: Durability,
    /// Bytes of its events in the outbox, as encoded. Beyond, its oldest go, with cause `quota`.
    pub quota_bytes: u64,
    /// Older ones go, with cause `age`.
    pub max_age: Duration,
}

impl ClassLimits {
    const fn new(store: Durability) -> Self {
        Self { store, quota_bytes: u64::MAX, max_age: Duration::MAX }
    }
}

/// Settings of the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboxConfig {
    /// What the directory may take on disk, at least [`MIN_QUOTA_BYTES`]. While room is made it may take up to one
    /// generation (an eighth) more.
    pub quota_bytes: u64,
    /// Bytes of events that wait in memory when the disk refuses; beyond, the least important are dropped.
    pub pending_bytes: usize,
    /// Bytes of events that wait in memory for a gateway that is there; beyond, they go to the disk.
    pub memory_bytes: usize,
    /// Bytes a day that may be written before less important classes are thinned (`wear.rs`).
    pub write_budget: Option<u64>,
    /// How long events of classes that are stored only offline may wait offline to be stored together: each time costs
    /// some pages of flash, however little it is.
    pub linger: Duration,
    /// By class rank.
    pub classes: [ClassLimits; 5],
}

impl OutboxConfig {
    /// A quota; no budget of writes; 1 MiB of memory for times when the disk refuses, and as much for what is not stored while the link is up:
    /// all but `critical` and `alert`.
    pub const fn new(quota_bytes: u64) -> Self {
        let (always, offline) = (ClassLimits::new(Durability::Always), ClassLimits::new(Durability::Offline));
        let classes = [always, always, offline, offline, offline];
        let linger = Duration::from_secs(5);
        Self { quota_bytes, pending_bytes: 1 << 20, memory_bytes: 1 << 20, write_budget: None, linger, classes }
    }
}
