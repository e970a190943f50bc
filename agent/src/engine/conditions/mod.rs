//! Conditions: when something is the case, and what happens then.
//!
//! An expression ([`Program`]) is looked at when one of its inputs has changed in a way that matters ([`watch`](self)), at a time
//! that it has named itself, or, if it has a period, at multiples of that and never else. What it comes to goes
//! through a [`Timing`]: it has to hold, rests afterwards, repeats. When it acts, it makes an event with a snapshot of signals, and
//! may have a collection look more often for a while, raw frames recorded, and listeners in the vehicle told at once.
//!
//! All conditions that one frame concerns see all of that frame, and act in the order of their priority.

mod machine;
mod program;
mod schedule;
mod table;
mod watch;

use std::sync::Arc;

pub use machine::Timing;
pub use program::{Inputs, MAX_DEPTH, MAX_OPERATIONS, Memory, Operation, Program, Samples, Trigger};
pub use schedule::Schedule;

use super::campaign::Campaigns;
use super::catalog::{Catalog, MessageId, SignalId};
use super::features::FeatureSet;
use super::health::HealthMonitor;
use super::state::State;
use crate::event::{Body, Class, Condition as ConditionEvent, ConditionPhase, Event, NameMap, Snapshot};
use machine::{Machine, Step};
use watch::{Place, Watch, Wish};

/// Conditions, at most.
pub const MAX_CONDITIONS: usize = 1024;

/// A condition as configured.
#[derive(Debug, Clone, PartialEq)]
pub struct ConditionSpec {
    /// Its name in events.
    pub name: Arc<str>,
    /// What its programs call models, by their number.
    pub models: Arc<[Arc<str>]>,
    /// What has to be true.
    pub when: Program,
    /// What has to be true for it to end; `None`: `when` is no longer.
    pub until: Option<Program>,
    /// When it acts.
    pub timing: Timing,
    /// When it is looked at.
    pub schedule: Schedule,
    /// The grid on which it is looked at, nanoseconds; `None`: when something changes.
    pub period_ns: Option<u64>,
    /// A signal older than this has no value, nanoseconds.
    pub max_age_ns: u64,
    /// Of several that act at one moment, the lowest is first.
    pub priority: u8,
    /// The class of its events.
    pub class: Class,
    /// Signals in its events.
    pub snapshot: Vec<SignalId>,
    /// Has a collection look more often when it acts.
    pub hurry: Option<Hurry>,
    /// The campaign that it belongs to.
    pub campaign: Option<u16>,
    /// Has the raw frames recorded when it acts.
    pub record: Option<Record>,
    /// Listeners in the vehicle are told at once.
    pub notify: bool,
}

impl ConditionSpec {
    /// How much of the time before matters for whether it acts, nanoseconds; without what models remember, its rest and its
    /// limit.
    pub fn looks_back_ns(&self) -> u64 {
        let windows = |program: &Program| {
            let grid = self.period_ns.unwrap_or(0);
            let features =
                program.features.iter().map(|feature| feature.window as u64 * grid + feature.max_age_ns).max();
            let operations = program.operations.iter().map(|operation| match operation {
                Operation::Within(_, ns) | Operation::Lasting(_, ns) => *ns,
                _ => 0,
            });
            operations.sum::<u64>().saturating_add(features.unwrap_or(0))
        };
        let programs = std::iter::once(&self.when).chain(&self.until).map(windows).max().unwrap_or(0);
        programs.saturating_add(self.timing.hold_ns)
    }
}

/// A recording that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// What of the time before is in it, nanoseconds.
    pub before_ns: u64,
    /// And of the time after.
    pub after_ns: u64,
}

/// Why a recording begins, or goes on.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordTrigger<'a> {
    /// When, nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// The condition.
    pub name: &'a Arc<str>,
    /// The class of its events.
    pub class: Class,
    /// What is asked for.
    pub record: Record,
    /// Frames of the configured buses up to then, the one that led to it among them.
    pub frame: u64,
    /// The campaign that it belongs to.
    pub campaign: Option<Arc<str>>,
    /// The models' last scores, by name.
    pub scores: Vec<(Arc<str>, f64)>,
}

/// A collection that looks more often for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hurry {
    /// Number of the collection.
    pub collector: usize,
    /// Its grid meanwhile, nanoseconds.
    pub period_ns: u64,
    /// For how long, nanoseconds.
    pub for_ns: u64,
}

/// Models that conditions speak of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Models {
    /// How many there are for conditions: those that were refused, too.
    pub names: usize,
    /// By the number that [`super::Sink::score`] gives a model: its number for conditions.
    pub places: Vec<Option<usize>>,
}

/// What conditions want done by the engine or around it.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) hurries: Vec<Hurry>,
}

#[derive(Debug)]
struct Condition {
    spec: ConditionSpec,
    machine: Machine,
    /// Of both programs, `when`'s first.
    memories: Vec<Memory>,
    features: [Option<FeatureSet>; 2],
    names: Vec<Arc<str>>,
    /// Whether its schedule has it active, and until when that is so.
    active: (bool, u64),
}

/// The conditions of an engine.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    /// The first first.
    all: Vec<Condition>,
    watch: Watch,
    /// By the engine's number of a model: what conditions call it.
    places: Vec<Option<usize>>,
    /// By model: its score, and whether an anomaly is raised.
    models: Vec<(f64, bool)>,
    /// By model: conditions that ask for it.
    by_model: Vec<Vec<Place>>,
    /// Messages whose silence is asked for: whether they are silent, and by which conditions.
    silences: Vec<(MessageId, bool, Vec<Place>)>,
    /// When each wants to be looked at next, and when the first does.
    wakes_ns: Vec<u64>,
    due_ns: u64,
}

/// What is looked at.
pub(super) struct View<'a> {
    pub(super) state: &'a State,
    pub(super) health: &'a HealthMonitor,
    pub(super) now_ns: u64,
    /// Frames so far; before the first, nothing is looked at.
    pub(super) frames: u64,
    pub(super) campaigns: &'a Campaigns,
}

impl Conditions {
    pub(super) fn new(mut specs: Vec<ConditionSpec>, models: Models, catalog: &Catalog) -> Self {
        let Models { names: models, places } = models;
        specs.sort_by_key(|spec| spec.priority);
        let (mut by_model, mut silences) = (vec![Vec::new(); models], Vec::<(MessageId, bool, Vec<Place>)>::new());
        for (place, spec) in (0..).zip(&specs) {
            let programs = || std::iter::once(&spec.when).chain(&spec.until);
            if spec.period_ns.is_none() {
                for &model in programs().flat_map(|program| &program.models) {
                    by_model[usize::from(model)].push(place);
                }
                for &message in programs().flat_map(|program| &program.messages) {
                    match silences.iter_mut().find(|(id, ..)| *id == message) {
                        Some((.., conditions)) => conditions.push(place),
                        None => silences.push((message, false, vec![place])),
                    }
                }
            }
        }
        let wishes = (0..).zip(&specs).flat_map(|(condition, spec)| {
            let (max_age_ns, on_grid) = (spec.max_age_ns, spec.period_ns.is_some());
            let wish = move |program, is_end| Wish { condition, program, is_end, max_age_ns, on_grid };
            std::iter::once(wish(&spec.when, false)).chain(spec.until.as_ref().map(|until| wish(until, true)))
        });
        let watch = Watch::new(specs.len(), wishes, catalog);
        // Told all at once: each time, all names have to be gone through.
        let asked: Vec<SignalId> = specs.iter().flat_map(|spec| spec.snapshot.iter().copied()).collect();
        let mut names = catalog.signal_names(&asked).into_iter();
        let wakes_ns = vec![u64::MAX; specs.len()];
        let all = specs.into_iter().map(|spec| Condition::new(spec, &mut names, catalog)).collect();
        let models = vec![(f64::NAN, false); models];
        Self { watch, models, places, by_model, silences, wakes_ns, due_ns: u64::MAX, all }
    }

    pub(super) fn specs(&self) -> impl Iterator<Item = &ConditionSpec> {
        self.all.iter().map(|condition| &condition.spec)
    }

    /// When [`Self::due`] is to be called.
    pub(super) fn due_ns(&self) -> u64 {
        self.due_ns.min(self.watch.expires_ns)
    }

    /// A frame of a message has come. Whether [`Self::judge`] has something to do.
    #[inline]
    pub(super) fn message(&mut self, id: MessageId, state: &State, now_ns: u64) -> bool {
        self.watch.came(id.0 as usize, state, now_ns);
        self.has_work()
    }

    /// What buses say about themselves has come.
    pub(super) fn buses(&mut self, catalog: &Catalog, state: &State, now_ns: u64) {
        for bus in 0..catalog.buses().len() {
            self.watch.came(catalog.message_count() + bus, state, now_ns);
        }
    }

    /// A campaign has become active, or is no longer.
    pub(super) fn campaign_changed(&mut self, campaign: u16) {
        for (place, condition) in (0..).zip(&self.all) {
            if condition.spec.campaign == Some(campaign) && condition.spec.period_ns.is_none() {
                self.watch.mark(place);
            }
        }
    }

    /// Messages may have fallen silent or come back.
    pub(super) fn silences(&mut self, health: &HealthMonitor) {
        for (id, was, conditions) in &mut self.silences {
            let is = health.is_silent(*id);
            if std::mem::replace(was, is) != is {
                conditions.iter().for_each(|place| self.watch.mark(*place));
            }
        }
    }

    /// A model has come to a score, or to none.
    pub(super) fn scored(&mut self, model: usize, score: Option<f64>, raised: bool) {
        let Some(model) = self.places.get(model).copied().flatten() else { return };
        let now = (score.unwrap_or(f64::NAN), raised);
        let before = std::mem::replace(&mut self.models[model], now);
        if before.0.to_bits() != now.0.to_bits() || before.1 != raised {
            self.by_model[model].iter().for_each(|place| self.watch.mark(*place));
        }
    }

    /// The clock jumped, or time begins.
    pub(super) fn time_jumped(&mut self, now_ns: u64) {
        self.watch.forget();
        for ((place, condition), wake_ns) in (0..).zip(&mut self.all).zip(&mut self.wakes_ns) {
            condition.machine.time_jumped(now_ns);
            condition.memories.fill(Memory::default());
            condition.features.iter_mut().flatten().for_each(FeatureSet::reset);
            condition.active = (false, 0);
            match condition.spec.period_ns {
                Some(period_ns) => *wake_ns = now_ns.next_multiple_of(period_ns),
                None => {
                    *wake_ns = u64::MAX;
                    self.watch.mark(place);
                }
            }
        }
        self.plan();
    }

    /// Time has come to [`Self::due_ns`].
    pub(super) fn due(&mut self, view: &View<'_>) {
        if self.watch.expires_ns <= view.now_ns {
            self.watch.expire(view.state, view.now_ns);
        }
        if view.frames == 0 {
            for (condition, wake_ns) in self.all.iter().zip(&mut self.wakes_ns) {
                *wake_ns = condition.next_point(view.now_ns);
            }
            return self.plan();
        }
        for (place, wake_ns) in (0..).zip(&self.wakes_ns) {
            if *wake_ns <= view.now_ns {
                self.watch.mark(place);
            }
        }
    }

    fn plan(&mut self) {
        self.due_ns = self.wakes_ns.iter().copied().min().unwrap_or(u64::MAX);
    }

    /// Whether [`Self::judge`] has something to do.
    pub(super) fn has_work(&self) -> bool {
        self.watch.has_work()
    }

    /// Looks at the conditions that something concerns.
    pub(super) fn judge(&mut self, view: &View<'_>, wanted: &mut Wanted, sink: &mut impl super::Sink) {
        if view.frames == 0 {
            return;
        }
        let mut planned = true;
        while let Some(place) = self.watch.take() {
            let (condition, wake_ns) = (&mut self.all[usize::from(place)], &mut self.wakes_ns[usize::from(place)]);
            // With a period, frames between two grid points do not count.
            if condition.spec.period_ns.is_some() && *wake_ns > view.now_ns {
                continue;
            }
            let before_ns = *wake_ns;
            let step = condition.judge(view, &self.watch, &self.models, wake_ns);
            self.watch.set_raised(place, condition.machine.raised);
            if step != Step::Quiet {
                condition.act(step, view, &self.models, wanted, sink);
            }
            // One that was the first, and is no longer: then it is to be found which is.
            planned &= before_ns != self.due_ns || *wake_ns <= before_ns;
            self.due_ns = self.due_ns.min(*wake_ns);
        }
        if !planned {
            self.plan();
        }
    }
}

impl Condition {
    /// `names` has those of its snapshot next.
    fn new(spec: ConditionSpec, names: &mut impl Iterator<Item = Arc<str>>, catalog: &Catalog) -> Self {
        let features = [Some(&spec.when), spec.until.as_ref()].map(|program| {
            // Names were resolved when the expression was compiled, for this catalog: none can be missing.
            FeatureSet::new(&program?.features, spec.period_ns?, catalog).ok()
        });
        let memories = spec.when.memories + spec.until.as_ref().map_or(0, |until| until.memories);
        Self {
            machine: Machine::new(spec.timing),
            memories: vec![Memory::default(); memories],
            features,
            names: names.take(spec.snapshot.len()).collect(),
            active: (false, 0),
            spec,
        }
    }

    /// The next point of its grid, if it has one.
    fn next_point(&self, now_ns: u64) -> u64 {
        self.spec.period_ns.map_or(u64::MAX, |period_ns| now_ns.saturating_add(1).next_multiple_of(period_ns))
    }

    fn judge(&mut self, view: &View<'_>, watch: &Watch, models: &[(f64, bool)], wake_ns: &mut u64) -> Step {
        let now_ns = view.now_ns;
        *wake_ns = self.next_point(now_ns);
        if now_ns >= self.active.1 {
            let mut ends_ns = u64::MAX;
            self.active = (self.spec.schedule.is_active(now_ns, &mut ends_ns), ends_ns);
        }
        *wake_ns = (*wake_ns).min(self.active.1);
        let active = self.active.0 && view.campaigns.works(self.spec.campaign);
        let (first, second) = self.memories.split_at_mut(self.spec.when.memories);
        let [features, others] = self.features.each_mut().map(|set| match set {
            Some(set) => set.tick(view.state, now_ns),
            None => &[],
        });
        let sight = |features| Sight { view, watch, models, max_age_ns: self.spec.max_age_ns, features };
        let mut when = self.spec.when.run(&sight(features), now_ns, first, wake_ns);
        // One that remembers has to see everything.
        let asked = |until: &&Program| until.memories > 0 || when == 1.0 || self.machine.raised;
        let until = self.spec.until.as_ref().filter(asked);
        let until = until.map(|until| until.run(&sight(others), now_ns, second, wake_ns));
        if !active {
            when = 0.0;
        }
        // Outside of its times it ends, too.
        let until = if active { until } else { until.map(|_| 1.0) };
        let step = self.machine.step(when, until, now_ns, wake_ns);
        if self.machine.raised && until == Some(1.0) {
            // It ends as soon as it has begun, be it kept from acting or not.
            *wake_ns = now_ns.saturating_add(1);
        }
        // Nothing happens between two points of a grid.
        if self.spec.period_ns.is_some() {
            *wake_ns = self.next_point(now_ns);
        }
        step
    }

    fn act(
        &mut self,
        step: Step,
        view: &View<'_>,
        models: &[(f64, bool)],
        wanted: &mut Wanted,
        sink: &mut impl super::Sink,
    ) {
        let phase = match step {
            Step::Quiet => return,
            Step::Raised => ConditionPhase::Raised,
            Step::Holding => ConditionPhase::Holding,
            Step::Cleared => ConditionPhase::Cleared,
        };
        let spec = &self.spec;
        let values = if phase == ConditionPhase::Cleared { None } else { Some(self.snapshot(view)) };
        let body = Body::Condition(ConditionEvent {
            name: spec.name.clone(),
            frame: view.frames,
            phase,
            since: self.machine.since_ns,
            values,
            suppressed: if phase == ConditionPhase::Cleared { 0 } else { std::mem::take(&mut self.machine.suppressed) },
        });
        let campaign = view.campaigns.name(spec.campaign);
        let event = Event { campaign: campaign.clone(), ..Event::new(view.now_ns, spec.class, body) };
        if spec.notify {
            sink.notify(&event);
        }
        if let Some(record) = spec.record.filter(|_| phase != ConditionPhase::Cleared) {
            let scores = spec.models.iter().zip(models).filter(|(_, (score, _))| !score.is_nan());
            sink.record(&RecordTrigger {
                time_ns: view.now_ns,
                name: &spec.name,
                class: spec.class,
                record,
                frame: view.frames,
                campaign,
                scores: scores.map(|(name, (score, _))| (name.clone(), *score)).collect(),
            });
        }
        sink.event(event);
        if phase != ConditionPhase::Cleared {
            wanted.hurries.extend(spec.hurry);
        }
    }

    fn snapshot(&self, view: &View<'_>) -> NameMap<Snapshot> {
        let of = |(id, name): (&SignalId, &Arc<str>)| {
            let slot = view.state.signal(*id);
            let came = slot.time_ns != 0;
            let snapshot = Snapshot {
                v: (came && slot.value.is_finite()).then_some(slot.value),
                age: came.then(|| view.now_ns.saturating_sub(slot.time_ns) / 1_000_000),
                why: (came && !slot.validity.is_valid()).then(|| slot.validity.name()),
            };
            (name.clone(), snapshot)
        };
        NameMap::new(self.spec.snapshot.iter().zip(&self.names).map(of).collect())
    }
}

/// What a program sees.
struct Sight<'a> {
    view: &'a View<'a>,
    watch: &'a Watch,
    models: &'a [(f64, bool)],
    max_age_ns: u64,
    features: &'a [f64],
}

impl Inputs for Sight<'_> {
    fn signal(&self, id: SignalId) -> f64 {
        self.view.state.signal(id).usable(self.view.now_ns, self.max_age_ns).unwrap_or(f64::NAN)
    }

    fn samples(&self, id: SignalId) -> Samples {
        if self.signal(id).is_nan() {
            return Samples { step: f64::NAN, gap: f64::NAN, run: f64::NAN };
        }
        self.watch.samples(id)
    }

    fn feature(&self, place: u16) -> f64 {
        self.features.get(usize::from(place)).copied().unwrap_or(f64::NAN)
    }

    fn score(&self, model: u16) -> f64 {
        self.models[usize::from(model)].0
    }

    fn raised(&self, model: u16) -> bool {
        self.models[usize::from(model)].1
    }

    fn silent(&self, id: MessageId) -> bool {
        self.view.health.is_silent(id)
    }
}

#[cfg(test)]
mod tests;
