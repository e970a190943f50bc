//! The engine: frames and time in, events out.
//!
//! It is synchronous and pure: no I/O, no clock, no threads, and no allocation per frame once
//! warm (events and the ONNX library take some). The same frames with the same configuration and models give the same events, to the byte,
//! whether they come from a bus, a recording or a simulation. Time is what the frames and
//! [`Engine::advance`] say.
//!
//! A frame's whole way is [`Engine::frame`]; what happens as time passes is [`Engine::advance`]:
//!
//! ```text
//!  frame ─▶ time passes ─▶ which bus ─▶ which message ─▶ decode ─▶ last values
//!               │                                                      │
//!               ▼  due at grid points of time                          ▼
//!        detectors, collections, silence, health  ◀───── conditions ◀──┘
//! ```
//!
//! Everything that is not a frame happens at grid points: multiples of a period since the epoch; and conditions, at times that
//! follow from frames. What happens at time T sees exactly the frames with times below T.

mod anomaly;
pub mod bus;
pub mod campaign;
pub mod catalog;
pub mod collect;
pub mod conditions;
pub mod debounce;
pub mod detector;
pub mod features;
pub mod guard;
mod health;
mod state;
mod stats;
mod time;

use can_decoders::integrity::Counters;
use can_decoders::{Frame, FrameKind, SignalIndex};

pub use anomaly::{Finder, Tick};
pub use bus::{Missed, Notice, Report};
pub use campaign::{CampaignSpec, MAX_CAMPAIGNS};
pub use catalog::{ANY_BUS, Bus, Catalog, HEALTH_MESSAGE, HEALTH_SIGNALS, MessageId, NameError, SignalId};
pub use collect::{CollectSpec, Collector, Mode};
pub use conditions::{ConditionSpec, Hurry, Models, Record, RecordTrigger};
pub use detector::{Detector, Fuse, ModelFeature, ModelSpec, Network, Score, Target, Verdict};
pub use features::{FeatureSet, FeatureSpec, Function};
pub use guard::{Guard, GuardError};
pub use health::{HealthMonitor, HealthSpec};
pub use state::{MessageSlot, Slot, State};
pub use stats::{MAX_EDGES, SCORE_EDGES, Seen};

use crate::event::Event;
use campaign::Campaigns;
use conditions::{Conditions, View, Wanted};
use time::{Hurried, Job, Timer};

/// What the engine gives out.
pub trait Sink {
    /// An event.
    fn event(&mut self, event: Event);
    /// The features of model `model` at a grid point, NaN where one could not be computed.
    fn features(&mut self, _model: usize, _now_ns: u64, _values: &[f64]) {}
    /// The score of model `model` (or, one past the last of them, of the guard) at a grid point, with the part of each target, all rounded.
    fn score(&mut self, _model: usize, _now_ns: u64, _score: f64, _parts: &mut dyn Iterator<Item = f64>) {}
    /// An event that somebody in the vehicle waits for; [`Self::event`] gets it, too.
    fn notify(&mut self, _event: &Event) {}
    /// The raw frames around this moment are to be recorded.
    fn record(&mut self, _trigger: &RecordTrigger<'_>) {}
}

impl Sink for Vec<Event> {
    fn event(&mut self, event: Event) {
        self.push(event);
    }
}

/// A pause longer than this is not played through grid point by grid point: the clock was set, or
/// a recording has a hole. What was measured before it no longer says anything. Nanoseconds.
pub const JUMP_NS: u64 = 60_000_000_000;

/// A frame that is older than the engine's time by more than this says that the clock was set back; by less, that
/// frames of two buses came a little out of order. Nanoseconds.
pub const BACK_NS: u64 = 1_000_000_000;

/// Times are held below the year 2100, so that sums of times and periods never overflow, whatever a recording says.
pub(crate) const MAX_TIME_NS: u64 = 4_102_444_800_000_000_000;

/// The engine. See the module's documentation.
pub struct Engine {
    catalog: Catalog,
    state: State,
    /// By bus: the counters in messages that have one.
    counters: Vec<Counters>,
    detectors: Vec<Detector>,
    guard: Option<Guard>,
    collectors: Vec<Collector>,
    /// Collections that look more often for a while.
    hurried: Vec<Hurried>,
    campaigns: Campaigns,
    conditions: Conditions,
    wanted: Wanted,
    /// Per signal: the collectors that aggregate it, as (collector, position) pairs.
    sampled: Vec<Box<[(u16, u32)]>>,
    health: HealthMonitor,
    timers: Vec<Timer>,
    next_due_ns: u64,
    now_ns: u64,
    /// Frames of the configured buses so far. Before the first, models have nothing to look at. So they begin alike live and
    /// in a recording.
    frames: u64,
}

impl Engine {
    /// An engine for the buses of `catalog`. All memory for frames is taken here.
    pub fn new(catalog: Catalog, health: HealthSpec, collectors: Vec<Collector>, detectors: Vec<Detector>) -> Self {
        let mut sampled = vec![Vec::new(); catalog.all_signal_count()];
        for (c, collector) in (0u16..).zip(&collectors) {
            for (position, id) in (0u32..).zip(collector.sampled()) {
                sampled[id.0 as usize].push((c, position));
            }
        }
        // At one grid point, silence is found and buses are measured before models look, and health is told last.
        let mut timers = vec![
            Timer { due_ns: 0, period_ns: health::SILENCE_CHECK_NS, job: Job::Silence },
            Timer { due_ns: 0, period_ns: bus::PERIOD_NS, job: Job::Buses },
        ];
        for (i, detector) in detectors.iter().enumerate() {
            timers.push(Timer { due_ns: 0, period_ns: detector.spec().period_ns, job: Job::Detector(i) });
        }
        for (i, collector) in collectors.iter().enumerate() {
            timers.push(Timer { due_ns: 0, period_ns: collector.period_ns(), job: Job::Collector(i) });
        }
        timers.push(Timer { due_ns: 0, period_ns: health.period_ns, job: Job::Health });
        Self {
            counters: catalog.buses().iter().map(|bus| Counters::new(&bus.plan)).collect(),
            state: State::new(catalog.all_signal_count(), catalog.message_count()),
            health: HealthMonitor::new(health, &catalog),
            sampled: sampled.into_iter().map(Vec::into_boxed_slice).collect(),
            catalog,
            detectors,
            guard: None,
            collectors,
            hurried: Vec::new(),
            campaigns: Campaigns::default(),
            conditions: Conditions::default(),
            wanted: Wanted::default(),
            timers,
            next_due_ns: 0,
            now_ns: 0,
            frames: 0,
        }
    }

    /// Has the traffic watched by a profile, too.
    pub fn with_guard(mut self, guard: Guard) -> Self {
        // After the buses were measured, and before models look.
        self.timers.insert(2, Timer { due_ns: 0, period_ns: guard::PERIOD_NS, job: Job::Guard });
        self.guard = Some(guard);
        self
    }

    /// What belongs to a campaign works in its time only.
    pub fn with_campaigns(mut self, specs: Vec<CampaignSpec>) -> Self {
        self.campaigns = Campaigns::new(specs);
        if !self.campaigns.is_empty() {
            // Before anything that may belong to one.
            self.timers.insert(0, Timer { due_ns: 0, period_ns: campaign::PERIOD_NS, job: Job::Campaigns });
        }
        self
    }

    /// The campaigns, in the order of their numbers.
    pub fn campaigns(&self) -> impl Iterator<Item = &CampaignSpec> {
        self.campaigns.specs()
    }

    /// A campaign has brought enough: within a second, it works no more.
    pub fn stop_campaign(&mut self, name: &str) {
        self.campaigns.stop(name);
    }

    /// Has conditions looked at, made for its catalog. A profile has to be there first.
    pub fn with_conditions(mut self, specs: Vec<ConditionSpec>, models: Models) -> Self {
        self.conditions = Conditions::new(specs, models, &self.catalog);
        self
    }

    /// Takes one frame through.
    pub fn frame(&mut self, frame: &Frame, sink: &mut impl Sink) {
        // 1. Time: everything due before this frame happens before it.
        let time_ns = frame.time_ns.clamp(1, MAX_TIME_NS);
        if time_ns < self.now_ns && self.now_ns - time_ns <= BACK_NS {
            self.health.late_frame();
        }
        self.advance(time_ns, sink);
        let now_ns = self.now_ns;

        // 2. Bus.
        let Some(bus) = self.catalog.route(frame.bus) else {
            return self.health.unrouted(frame.bus);
        };
        self.frames += 1;
        self.health.frame(bus, frame, &self.catalog, now_ns, sink);
        match frame.kind {
            FrameKind::Error | FrameKind::Remote => return,
            FrameKind::Data | FrameKind::Fd { .. } => {}
        }

        if let Some(guard) = &mut self.guard {
            guard.frame(bus, frame, now_ns);
        }

        // 3. Message.
        let plan = &self.catalog.buses()[bus].plan;
        let Some(message) = plan.find(frame.id) else {
            return self.health.unknown(bus, frame.id);
        };
        let id = self.catalog.message_id(bus, message);
        let silent = self.health.is_silent(id);
        if silent {
            let before_ns = self.state.message(id).last_ns;
            let period_ns = health::expected_period(id, &self.state, &self.catalog).unwrap_or(0.0);
            self.health.seen(id, before_ns, &self.catalog, now_ns, period_ns, sink);
        }
        self.state.message_mut(id).seen(now_ns, silent);

        // 4. Decode.
        let mut decoded = plan.decode_frame(message, frame);
        if silent {
            self.counters[bus].forget(message);
        }
        if !self.counters[bus].check(&decoded) {
            decoded = decoded.with_wrong_counter();
        }
        let health = self.health.bus_mut(bus);
        match decoded.fit {
            can_decoders::Fit::Exact => {}
            can_decoders::Fit::Short { .. } => health.too_short += 1,
            can_decoders::Fit::Long { .. } => health.too_long += 1,
        }

        // 5. Last values.
        let base = self.catalog.signal_base(bus);
        decoded.signals().for_each(|sample| {
            let SignalIndex(index) = sample.signal;
            let id = SignalId(base + index);
            self.state.sample(id, sample.value, now_ns, sample.validity);
            if !sample.validity.is_valid() {
                health.invalid += 1;
                health.invalid_by.add(sample.validity);
                return;
            }
            for &(collector, position) in &*self.sampled[id.0 as usize] {
                self.collectors[usize::from(collector)].sample(position as usize, sample.value);
            }
        });

        // 6. Conditions.
        if silent {
            self.conditions.silences(&self.health);
        }
        if self.conditions.message(id, &self.state, now_ns) {
            self.judge(sink);
        }
    }

    /// Looks at the conditions that something concerns, and does what they want.
    fn judge(&mut self, sink: &mut impl Sink) {
        let (now_ns, frames) = (self.now_ns, self.frames);
        let view = View { state: &self.state, health: &self.health, campaigns: &self.campaigns, now_ns, frames };
        self.conditions.judge(&view, &mut self.wanted, sink);
        self.next_due_ns = self.next_due_ns.min(self.conditions.due_ns());
        while let Some(hurry) = self.wanted.hurries.pop() {
            self.hurry(hurry);
        }
    }

    /// What a live source says beside frames: states of interfaces, and times in which frames were missed.
    pub fn notice(&mut self, notice: bus::Notice, sink: &mut impl Sink) {
        // Before the first frame the engine has no time of its own.
        let now_ns = if self.now_ns == 0 { notice.time_ns() } else { self.now_ns };
        if let (Notice::Missed(missed), Some(guard)) = (&notice, &mut self.guard)
            && let Some(bus) = self.catalog.route(missed.bus)
        {
            guard.missed(bus);
        }
        self.health.notice(notice, &self.catalog, now_ns, sink);
    }

    /// The engine's time, nanoseconds since the Unix epoch; 0 before the first frame.
    pub fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// The last values.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The names.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The counters.
    pub fn health(&self) -> &HealthMonitor {
        &self.health
    }

    /// The conditions, the first to act first.
    pub fn conditions(&self) -> impl Iterator<Item = &ConditionSpec> {
        self.conditions.specs()
    }

    /// What watches the traffic.
    pub fn guard(&self) -> Option<&Guard> {
        self.guard.as_ref()
    }

    /// The models, in the order in which [`Sink`] numbers them.
    pub fn detectors(&self) -> &[Detector] {
        &self.detectors
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
