//! Conditions: when something is the case, and what happens then.
//!
//! An expression ([`Program`]) is looked at when one of its inputs has changed in a way that matters ([`watch`](self)), at a time
//! that it has named itself, or, if it has a period, at multiples of that and never else. What it comes to goes
//! through a [`Timing`]: it has to hold, rests afterwards, repeats. When it acts, it makes an event with a snapshot of signals, and
//! may have a collection look more often for a while, raw frames recorded, and listeners in the vehicle told at once.
//!
//! All conditions that one frame concerns see all of that frame, and act in the order of their priority.

mod condition;
mod machine;
mod program;
mod schedule;
mod spec;
mod table;
mod watch;

pub use machine::Timing;
pub use program::{Inputs, MAX_DEPTH, MAX_OPERATIONS, Memory, Operation, Program, Samples, Trigger};
pub use schedule::Schedule;
pub use spec::{ConditionSpec, Hurry, Models, Record, RecordTrigger};

use super::catalog::{Catalog, MessageId, SignalId};
use super::features::FeatureSet;
use super::health::HealthMonitor;
use super::state::State;
use condition::Condition;
pub(super) use condition::View;
use machine::Step;
use watch::{Place, Watch, Wish};

/// Conditions, at most.
pub const MAX_CONDITIONS: usize = 1024;

/// What conditions want done by the engine or around it.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) hurries: Vec<Hurry>,
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

#[cfg(test)]
mod tests;
