//! Body of campaigns.

use std::sync::Arc;

use serde::Serialize;

/// Body of kind `campaign`. Counts are from the campaign's start, over restarts of the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Campaign {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Bytes of its events and recordings.
    pub bytes: u64,
    /// What has become of it.
    pub state: CampaignState,
    /// Its events.
    pub events: u64,
    /// Frames of the configured buses while it was active.
    pub frames: u64,
}

/// What has become of a campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CampaignState {
    /// It is active from here on.
    Started,
    /// It is; told once an hour, and when the agent ends.
    Running,
    /// It has sent as much as it may.
    Spent,
    /// Its time is over.
    Ended,
}
