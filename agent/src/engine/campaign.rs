//! Campaigns: collections and conditions that work from one day to another, or until they have brought so much.
//!
//! The engine knows when, and counts the frames that they have seen. How many events and bytes they have led to is known to whoever
//! sends them, and [`super::Engine::stop_campaign`] is for when those are too many.

use std::sync::Arc;

use super::Sink;
use crate::event::{Body, Campaign as CampaignEvent, CampaignState, Class, Event};

/// How often it is looked which are active, nanoseconds.
pub(super) const PERIOD_NS: u64 = 1_000_000_000;
/// How often those that are tell how they do, nanoseconds.
const TELL_NS: u64 = 3_600_000_000_000;
/// Campaigns, at most.
pub const MAX_CAMPAIGNS: usize = 32;

/// A campaign as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CampaignSpec {
    /// Its name in events.
    pub name: Arc<str>,
    /// From when on it is active, nanoseconds since the Unix epoch.
    pub from_ns: u64,
    /// Until when.
    pub to_ns: u64,
    /// How much it may send, bytes.
    pub volume_bytes: u64,
}

#[derive(Debug)]
struct Campaign {
    spec: CampaignSpec,
    active: bool,
    /// It has brought enough.
    spent: bool,
    /// Frames that it has seen up to `since`, frames of the engine when it last became active.
    frames: u64,
    since: u64,
    told_ns: u64,
}

impl Campaign {
    fn event(&self, state: CampaignState, now_ns: u64, frames: u64) -> Event {
        let body =
            CampaignEvent { name: self.spec.name.clone(), bytes: 0, state, events: 0, frames: self.seen(frames) };
        Event { campaign: Some(self.spec.name.clone()), ..Event::new(now_ns, Class::Status, Body::Campaign(body)) }
    }

    fn seen(&self, frames: u64) -> u64 {
        self.frames + if self.active { frames.saturating_sub(self.since) } else { 0 }
    }
}

/// The campaigns of an engine.
#[derive(Debug, Default)]
pub(super) struct Campaigns(Vec<Campaign>);

impl Campaigns {
    pub(super) fn new(specs: Vec<CampaignSpec>) -> Self {
        let campaign = |spec| Campaign { spec, active: false, spent: false, frames: 0, since: 0, told_ns: 0 };
        Self(specs.into_iter().map(campaign).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn specs(&self) -> impl Iterator<Item = &CampaignSpec> {
        self.0.iter().map(|campaign| &campaign.spec)
    }

    /// Whether what belongs to it works; what belongs to none always does.
    #[inline]
    pub(super) fn works(&self, campaign: Option<u16>) -> bool {
        campaign.is_none_or(|place| self.0[usize::from(place)].active)
    }

    pub(super) fn name(&self, campaign: Option<u16>) -> Option<Arc<str>> {
        campaign.map(|place| self.0[usize::from(place)].spec.name.clone())
    }

    /// It has brought enough: from the next look on, it does not work any more.
    pub(super) fn stop(&mut self, name: &str) {
        self.0.iter_mut().filter(|campaign| *campaign.spec.name == *name).for_each(|campaign| campaign.spent = true);
    }

    /// Looks which are active; `frames` is what the engine has taken. Gives the places of those for which that has changed.
    pub(super) fn look(&mut self, now_ns: u64, frames: u64, sink: &mut impl Sink) -> Vec<u16> {
        let mut changed = Vec::new();
        for (place, campaign) in (0..).zip(&mut self.0) {
            let active = (campaign.spec.from_ns..campaign.spec.to_ns).contains(&now_ns) && !campaign.spent;
            if active != campaign.active {
                changed.push(place);
                campaign.frames = campaign.seen(frames);
                (campaign.active, campaign.since, campaign.told_ns) = (active, frames, now_ns);
                let state = match (active, campaign.spent) {
                    (true, _) => CampaignState::Started,
                    (false, true) => CampaignState::Spent,
                    (false, false) => CampaignState::Ended,
                };
                sink.event(campaign.event(state, now_ns, frames));
            } else if active && now_ns.abs_diff(campaign.told_ns) >= TELL_NS {
                campaign.told_ns = now_ns;
                sink.event(campaign.event(CampaignState::Running, now_ns, frames));
            }
        }
        changed
    }

    /// The end: how those that are active have done.
    pub(super) fn finish(&self, now_ns: u64, frames: u64, sink: &mut impl Sink) {
        for campaign in self.0.iter().filter(|campaign| campaign.active) {
            sink.event(campaign.event(CampaignState::Running, now_ns, frames));
        }
    }
}
