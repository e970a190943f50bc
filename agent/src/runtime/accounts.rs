//! What campaigns have brought: events and bytes, over restarts of the agent.
//!
//! Counted on the way into the queue, after the rules of privacy: what the vehicle sends for a campaign. A recording counts once, when it
//! is finished, with the size of its file. Noted in the outbox's directory, by the thread that has the disk, at most once a minute: a power cut
//! forgets what came since.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::engine::Engine;
use crate::event::{Body, CampaignState, Event, Identity, RecordingState};

/// How often it is noted, at most.
const NOTE_EVERY: Duration = Duration::from_secs(60);
/// Largest note that is read, bytes.
const MAX_NOTE: u64 = 1 << 20;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Account {
    events: u64,
    bytes: u64,
    /// Frames up to the last start of the agent.
    frames: u64,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Accounts {
    note: Option<PathBuf>,
    by_name: BTreeMap<String, Account>,
    /// Frames before this start, and what campaigns said last of theirs.
    frames: BTreeMap<String, (u64, u64)>,
    /// Bytes of each recording that were counted: one that goes on is finished twice.
    recordings: BTreeMap<String, u64>,
    limits: BTreeMap<String, u64>,
    changed: bool,
    noted: Option<Instant>,
    buffer: Vec<u8>,
}

impl Accounts {
    /// With what was noted in a file before, if there is one; from now on kept there.
    pub fn open(note: Option<PathBuf>) -> Self {
        let read = |path: &PathBuf| -> io::Result<BTreeMap<String, Account>> {
            let file = std::fs::File::open(path)?;
            Ok(serde_json::from_reader(io::Read::take(file, MAX_NOTE))?)
        };
        let by_name = match note.as_ref().map(read) {
            Some(Ok(by_name)) => by_name,
            Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => {
                tracing::error!("what campaigns have brought is not known: {error}; they begin anew");
                BTreeMap::new()
            }
            _ => BTreeMap::new(),
        };
        Self { note, by_name, ..Self::default() }
    }

    /// An engine goes to work: what is not a campaign of it any more is forgotten, and what has brought enough does not work.
    pub(crate) fn begin(&mut self, engine: &mut Engine) {
        self.limits = engine.campaigns().map(|spec| (spec.name.to_string(), spec.volume_bytes)).collect();
        let Self { by_name, limits, frames, .. } = self;
        by_name.retain(|name, _| limits.contains_key(name));
        *frames = by_name.iter().map(|(name, account)| (name.clone(), (account.frames, 0))).collect();
        self.stop_spent(engine);
    }

    /// Stops campaigns that have brought enough.
    pub(crate) fn stop_spent(&self, engine: &mut Engine) {
        let spent =
            |(name, account): &(&String, &Account)| self.limits.get(*name).is_some_and(|limit| account.bytes >= *limit);
        self.by_name.iter().filter(spent).for_each(|(name, _)| engine.stop_campaign(name));
    }

    /// An event is sent. What it says of a campaign gets its numbers.
    pub(crate) fn count(&mut self, event: &mut Event, identity: &Identity) {
        let Some(name) = event.campaign.clone() else { return };
        let account = self.by_name.entry(name.to_string()).or_default();
        if let Body::Campaign(campaign) = &mut event.body {
            let (before, now) = self.frames.entry(name.to_string()).or_default();
            // A start counts from its first frame.
            *now = campaign.frames.max(if campaign.state == CampaignState::Started { 0 } else { *now });
            account.frames = *before + *now;
            (campaign.events, campaign.bytes, campaign.frames) = (account.events, account.bytes, account.frames);
        }
        self.buffer.clear();
        // Its number is not known yet; most have as many bytes.
        if event.encode(identity, u64::from(u32::MAX), &mut self.buffer).is_ok() {
            account.bytes += self.buffer.len() as u64;
        }
        account.events += 1;
        if let Body::Recording(recording) = &event.body
            && recording.state == RecordingState::Finished
        {
            let counted = self.recordings.entry(recording.id.to_string()).or_default();
            account.bytes += recording.bytes.saturating_sub(*counted);
            *counted = recording.bytes;
            while self.recordings.len() > 64 {
                self.recordings.pop_first();
            }
        }
        self.changed = true;
    }

    /// Events and bytes of a campaign.
    pub(crate) fn of(&self, name: &str) -> (u64, u64) {
        self.by_name.get(name).map_or((0, 0), |account| (account.events, account.bytes))
    }

    /// What is to be noted and where, if there is something new and it is time.
    pub(super) fn note(&mut self, now: bool) -> Option<(PathBuf, Vec<u8>)> {
        let path = self.note.as_ref()?;
        if !self.changed || (!now && self.noted.is_some_and(|noted| noted.elapsed() < NOTE_EVERY)) {
            return None;
        }
        (self.changed, self.noted) = (false, Some(Instant::now()));
        // Numbers by name: it always encodes.
        Some((path.clone(), serde_json::to_vec(&self.by_name).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Campaign, Class, NameMap, Signals};

    #[test]
    fn bytes_and_events_are_counted_over_restarts() {
        let dir = tempfile::tempdir().unwrap();
        let note = dir.path().join("campaigns");
        let identity = Identity { vehicle: "v".into(), boot: "b".into() };
        let signals = || {
            let body =
                Body::Signals(Signals { group: "g".into(), values: NameMap::new(vec![("S".into(), Some(1.5))]) });
            Event { campaign: Some("winter".into()), ..Event::new(1_700_000_000_000_000_000, Class::Telemetry, body) }
        };
        let told = |frames| {
            let state = CampaignState::Running;
            let body = Body::Campaign(Campaign { name: "winter".into(), bytes: 0, state, events: 0, frames });
            Event { campaign: Some("winter".into()), ..Event::new(1, Class::Status, body) }
        };
        let mut bytes = 0;
        for start in 0..3 {
            let mut accounts = Accounts::open(Some(note.clone()));
            let frames = accounts.by_name.get("winter").map_or(0, |account| account.frames);
            accounts.frames = BTreeMap::from([("winter".to_owned(), (frames, 0))]);
            for _ in 0..5 {
                let mut event = signals();
                accounts.count(&mut event, &identity);
                let mut encoded = Vec::new();
                event.encode(&identity, u64::from(u32::MAX), &mut encoded).unwrap();
                bytes += encoded.len() as u64;
            }
            accounts.count(&mut Event { campaign: None, ..signals() }, &identity);
            let mut event = told(100);
            accounts.count(&mut event, &identity);
            let Body::Campaign(campaign) = &event.body else { panic!("{event:?}") };
            assert_eq!((campaign.events, campaign.bytes, campaign.frames), (5 + start * 6, bytes, 100 * (start + 1)));
            bytes = accounts.by_name["winter"].bytes;
            let (path, content) = accounts.note(true).unwrap();
            assert_eq!(accounts.note(true), None, "nothing new");
            std::fs::write(path, content).unwrap();
        }
        std::fs::write(&note, "not what we wrote").unwrap();
        assert!(Accounts::open(Some(note)).by_name.is_empty());
    }
}
