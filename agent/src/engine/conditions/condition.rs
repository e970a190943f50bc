//! One condition: looked at, and acting.

use std::sync::Arc;

use super::machine::{Machine, Step};
use super::watch::Watch;
use super::{ConditionSpec, Inputs, Memory, Program, RecordTrigger, Samples, Wanted};
use crate::engine::campaign::Campaigns;
use crate::engine::features::FeatureSet;
use crate::engine::health::HealthMonitor;
use crate::engine::{Catalog, MessageId, SignalId, Sink, State};
use crate::event::{Body, Condition as ConditionEvent, ConditionPhase, Event, NameMap, Snapshot};

#[derive(Debug)]
pub(super) struct Condition {
    pub(super) spec: ConditionSpec,
    pub(super) machine: Machine,
    /// Of both programs, `when`'s first.
    pub(super) memories: Vec<Memory>,
    pub(super) features: [Option<FeatureSet>; 2],
    names: Vec<Arc<str>>,
    /// Whether its schedule has it active, and until when that is so.
    pub(super) active: (bool, u64),
}

/// What is looked at.
pub(in crate::engine) struct View<'a> {
    pub(in crate::engine) state: &'a State,
    pub(in crate::engine) health: &'a HealthMonitor,
    pub(in crate::engine) now_ns: u64,
    /// Frames so far; before the first, nothing is looked at.
    pub(in crate::engine) frames: u64,
    pub(in crate::engine) campaigns: &'a Campaigns,
}

impl Condition {
    /// `names` has those of its snapshot next.
    pub(super) fn new(spec: ConditionSpec, names: &mut impl Iterator<Item = Arc<str>>, catalog: &Catalog) -> Self {
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
    pub(super) fn next_point(&self, now_ns: u64) -> u64 {
        self.spec.period_ns.map_or(u64::MAX, |period_ns| now_ns.saturating_add(1).next_multiple_of(period_ns))
    }

    pub(super) fn judge(&mut self, view: &View<'_>, watch: &Watch, models: &[(f64, bool)], wake_ns: &mut u64) -> Step {
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

    pub(super) fn act(
        &mut self,
        step: Step,
        view: &View<'_>,
        models: &[(f64, bool)],
        wanted: &mut Wanted,
        sink: &mut impl Sink,
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
