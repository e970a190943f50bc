//! Privacy: what of an event may leave the vehicle, and to where.
//!
//! Rules are applied to the engine's events before the outbox gets them: what they take away is on no disk and in no
//! message. They say per signal and class:
//!
//! * `drop`, `round`, a grid for positions, a pseudonym for identifiers: what becomes of the value;
//! * `bucket`: how exactly the time of an event that has the signal is told. All times in the event are rounded down, and
//!   its time since the start of the computer is moved along: the difference of both would tell the time by other events;
//! * `regions`: where an event that has the signal may go. An event with signals of different rules is divided.
//!
//! Detectors speak of signals as well. What a model says in an anomaly of a signal with a rule is treated in the same way; all
//! events of a model that reads a signal restricted to regions are restricted. A profile ([`crate::profile`]) has fields of
//! its own: what it says of a message that has a signal with a rule comes without the values. Conditions are treated as models
//! are: what they say is said of all that they ask for.
//!
//! Recordings ([`crate::recorder`]) have raw frames: those of a message that has a signal with a rule are left out.
//!
//! What stays: scores, which are made of many values; the order of events, which tells the time of one roughly by its
//! neighbours; the names of signals. Gap events say nothing but numbers and times, and go everywhere.

mod grid;
mod pseudonym;
mod rule;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use thiserror::Error;

pub use pseudonym::{KeyError, LATER_NAMES_FROM, MIN_KEY_BYTES, Naming, PSEUDONYM, Period, Pseudonyms};
pub use rule::{Measure, PrivacySpec, Rule};

use crate::engine::{Catalog, ConditionSpec, Engine, Function, MessageId, SignalId};
use crate::event::{
    Aggregate, Aggregates, Anomaly, Body, Class, Condition, Event, ModelStats, NameMap, Regions, Signals, Snapshot,
};

/// Rules that contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PrivacyError {
    /// Two rules say different things of the same values.
    #[error("privacy: two rules say what becomes of `{signal}` in class {class}; leave one out")]
    Twice {
        /// The signal.
        signal: Arc<str>,
        /// The class.
        class: Class,
    },
    /// A recording would tell what a rule hides.
    #[error(
        "privacy: condition \"{condition}\" begins a recording, which tells the exact time to all gateways, and {why}; leave out its \
         `record`, or the rule"
    )]
    Recording {
        /// The condition.
        condition: Arc<str>,
        /// What is hidden.
        why: &'static str,
    },
    /// What is said may go nowhere.
    #[error(
        "privacy: the regions of the rules for {what} in class {class} have none in common; name one in all of them"
    )]
    Nowhere {
        /// A signal or a model.
        what: Arc<str>,
        /// The class.
        class: Class,
    },
}

/// What becomes of a signal in events of one class.
#[derive(Debug, Clone, Default, PartialEq)]
struct Treatment {
    value: Option<Measure>,
    terms: Terms,
}

/// How an event is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Terms {
    bucket_ns: Option<u64>,
    regions: Option<Regions>,
}

impl Terms {
    /// Both hold. `None`: there is no region where both do.
    fn and(&self, other: &Self) -> Option<Self> {
        let regions = match (&self.regions, &other.regions) {
            (Some(one), Some(other)) => Some(one.and(other)?),
            (one, other) => one.as_ref().or(other.as_ref()).cloned(),
        };
        Some(Self { bucket_ns: self.bucket_ns.max(other.bucket_ns), regions })
    }
}

type ByClass<T> = [T; 5];
/// By signal.
type Named<T> = Vec<(Arc<str>, T)>;

/// Rules at work.
#[derive(Debug, Default)]
pub struct Privacy {
    /// Whole events.
    whole: ByClass<Terms>,
    /// By the name that events give to a signal.
    signals: HashMap<Arc<str>, (SignalId, ByClass<Treatment>)>,
    /// By model.
    models: HashMap<Arc<str>, Model>,
    /// By condition.
    conditions: HashMap<Arc<str>, Terms>,
    /// Fields that the profile speaks of begin with one of these.
    fields: Vec<Arc<str>>,
    pseudonyms: Option<Arc<Pseudonyms>>,
    /// The row of the grid of the last position, degrees.
    rows: HashMap<SignalId, Option<f64>>,
}

#[derive(Debug, Default)]
struct Model {
    terms: ByClass<Terms>,
    /// By the name of a feature: the signal that it is of, and whether it has that one's unit.
    features: HashMap<Arc<str>, (Arc<str>, bool)>,
}

impl Privacy {
    /// Puts rules to work on the events of `engine`.
    ///
    /// # Errors
    /// When rules contradict each other.
    pub fn new(spec: &PrivacySpec, engine: &Engine) -> Result<Self, PrivacyError> {
        let mut this = Self { pseudonyms: spec.pseudonyms.clone(), ..Self::default() };
        for (class, terms) in Class::ALL.into_iter().zip(&mut this.whole) {
            for rule in spec.rules.iter().filter(|rule| rule.signals.is_empty() && rule.classes[class.rank()]) {
                let all = || PrivacyError::Nowhere { what: "all events".into(), class };
                *terms = terms.and(&rule.terms()).ok_or_else(all)?;
            }
        }
        for rule in &spec.rules {
            this.add(rule, engine.catalog())?;
        }
        for detector in engine.detectors() {
            let named = detector.spec().features.iter().map(|feature| &feature.spec).filter_map(|feature| {
                let of_message = feature.function.of_times() && engine.catalog().find_message(&feature.of).is_ok();
                let id = engine.catalog().find_signal(&feature.of).ok().filter(|_| !of_message)?;
                let is_value =
                    !feature.function.of_times() && !matches!(feature.function, Function::Run | Function::Valid);
                Some((feature.name.clone(), (engine.catalog().signal_names(&[id]).pop()?, is_value)))
            });
            let features: HashMap<_, _> = named.filter(|(_, (signal, _))| this.signals.contains_key(signal)).collect();
            let mut model = Model { terms: this.whole.clone(), features };
            let name = &detector.spec().finder.name;
            let conditions = detector.spec().features.iter().filter_map(|feature| {
                let (name, _) = feature.spec.only_if.as_ref()?;
                engine.catalog().signal_names(&[engine.catalog().find_signal(name).ok()?]).pop()
            });
            let read: Vec<Arc<str>> =
                model.features.values().map(|(signal, _)| signal.clone()).chain(conditions).collect();
            for (class, terms) in Class::ALL.into_iter().zip(&mut model.terms) {
                let what = || PrivacyError::Nowhere { what: format!("the signals of model {name}").into(), class };
                for treatments in read.iter().filter_map(|signal| this.signals.get(signal)) {
                    *terms = terms.and(&treatments.1[class.rank()].terms).ok_or_else(what)?;
                }
            }
            this.models.insert(name.clone(), model);
        }
        if let Some(guard) = engine.guard() {
            for (id, _) in this.signals.values() {
                let Some((bus, index)) = engine.catalog().place(*id) else { continue };
                let plan = &engine.catalog().buses()[bus].plan;
                let message = plan.signal(index).message;
                this.fields.extend(guard.fields_of(bus, |id| plan.find(id) == Some(message)));
            }
        }
        for spec in engine.conditions() {
            let terms = this.terms_of_condition(spec, engine.catalog())?;
            let fault = |why| PrivacyError::Recording { condition: spec.name.clone(), why };
            if spec.record.is_some() {
                let own = &this.whole[spec.class.rank()];
                if terms != *own {
                    return Err(fault("asks for signals with a rule about time or regions"));
                }
                let others = [Class::Status, Class::Bulk].map(|class| &this.whole[class.rank()]);
                if own.bucket_ns.is_some() || others.iter().any(|other| other.regions != own.regions) {
                    return Err(fault(
                        "all events of its class have a rule about time, or other regions than those of class status and bulk",
                    ));
                }
                if [Class::Status, Class::Bulk].iter().any(|class| this.whole[class.rank()].bucket_ns.is_some()) {
                    return Err(fault("a rule is about the time of all events of class status or bulk"));
                }
            }
            this.conditions.insert(spec.name.clone(), terms);
        }
        Ok(this)
    }

    /// Messages with a signal that has a rule: their frames are not for recordings.
    pub fn hidden(&self, catalog: &Catalog) -> HashSet<MessageId> {
        let message = |(id, _): &(SignalId, _)| {
            let (bus, index) = catalog.place(*id)?;
            Some(catalog.message_id(bus, catalog.buses()[bus].plan.signal(index).message))
        };
        self.signals.values().filter_map(message).collect()
    }

    /// The regions whose gateways may have all events of a class; `None`: all.
    pub fn regions(&self, class: Class) -> Option<Regions> {
        self.whole[class.rank()].regions.clone()
    }

    /// What a condition says, it says of the signals and models that it asks for.
    fn terms_of_condition(&self, spec: &ConditionSpec, catalog: &Catalog) -> Result<Terms, PrivacyError> {
        let rank = spec.class.rank();
        let what = || PrivacyError::Nowhere {
            what: format!("what condition {} asks for", spec.name).into(),
            class: spec.class,
        };
        let mut terms = self.whole[rank].clone();
        for program in std::iter::once(&spec.when).chain(&spec.until) {
            let mut signals = program.signals.clone();
            signals.extend(program.features.iter().filter_map(|feature| catalog.find_signal(&feature.of).ok()));
            for name in catalog.signal_names(&signals) {
                if let Some((_, treatment)) = self.treatment(rank, &name) {
                    terms = terms.and(&treatment.terms).ok_or_else(what)?;
                }
            }
            for model in program.models.iter().filter_map(|model| spec.models.get(usize::from(*model))) {
                terms = terms.and(&self.terms_of_model(rank, model)).ok_or_else(what)?;
            }
        }
        Ok(terms)
    }

    fn add(&mut self, rule: &Rule, catalog: &Catalog) -> Result<(), PrivacyError> {
        for &id in &rule.signals {
            let Some(signal) = catalog.signal_names(&[id]).pop() else { continue };
            let whole = self.whole.iter().map(|terms| Treatment { value: None, terms: terms.clone() });
            let whole: Vec<Treatment> = whole.collect();
            let new = || (id, std::array::from_fn(|rank| whole[rank].clone()));
            let (_, treatments) = self.signals.entry(signal.clone()).or_insert_with(new);
            for class in Class::ALL.into_iter().filter(|class| rule.classes[class.rank()]) {
                let treatment = &mut treatments[class.rank()];
                if treatment.value.is_some() && rule.value.is_some() && treatment.value != rule.value {
                    return Err(PrivacyError::Twice { signal, class });
                }
                treatment.value = treatment.value.or(rule.value);
                let both = treatment.terms.and(&rule.terms());
                treatment.terms = both.ok_or_else(|| PrivacyError::Nowhere { what: signal.clone(), class })?;
            }
        }
        Ok(())
    }

    /// What of an event may leave the vehicle: nothing, or one event, or several that go to different places.
    pub fn apply(&mut self, mut event: Event, mut out: impl FnMut(Event)) {
        let rank = event.class.rank();
        let campaign = event.campaign.clone();
        let mut out = |event: Event| out(Event { campaign: campaign.clone(), ..event });
        match event.body {
            Body::Signals(Signals { group, values }) => {
                let now_ns = event.time_ns;
                self.note_rows(rank, values.entries().iter().filter_map(|(name, value)| Some((name, (*value)?))));
                let kept = values.entries().iter().filter_map(|(name, value)| {
                    let kept = match value {
                        Some(value) => self.value(rank, name, *value, now_ns)?,
                        None => self.value(rank, name, f64::NAN, now_ns).map(|_| None)?,
                    };
                    Some((name.clone(), kept))
                });
                for (terms, values) in self.divide(rank, kept) {
                    let body = Body::Signals(Signals { group: group.clone(), values: NameMap::new(values) });
                    out(told(Event { clock: event.clock, ..Event::new(event.time_ns, event.class, body) }, &terms));
                }
            }
            Body::Aggregates(Aggregates { group, stats, period_ms }) => {
                self.note_rows(rank, stats.entries().iter().map(|(name, stats)| (name, stats.last)));
                let kept = stats
                    .entries()
                    .iter()
                    .filter_map(|(name, stats)| Some((name.clone(), self.aggregate(rank, name, *stats)?)));
                for (terms, stats) in self.divide(rank, kept) {
                    let (group, stats) = (group.clone(), NameMap::new(stats));
                    let body = Body::Aggregates(Aggregates { group, stats, period_ms });
                    out(told(Event { clock: event.clock, ..Event::new(event.time_ns, event.class, body) }, &terms));
                }
            }
            Body::Anomaly(ref mut anomaly) => {
                self.anomaly(rank, anomaly, event.time_ns);
                let terms = self.terms_of_model(rank, &anomaly.model);
                out(told(event, &terms));
            }
            Body::ModelStats(ref mut stats) => {
                self.model_stats(rank, stats);
                let terms = self.terms_of_model(rank, &stats.name);
                out(told(event, &terms));
            }
            Body::Condition(condition) => {
                let terms = self.conditions.get(&condition.name).unwrap_or(&self.whole[rank]).clone();
                let (now_ns, clock, class) = (event.time_ns, event.clock, event.class);
                let tell = |body| Event { clock, ..Event::new(now_ns, class, Body::Condition(body)) };
                let Some(values) = &condition.values else { return out(told(tell(condition), &terms)) };
                let entries = values.entries();
                self.note_rows(rank, entries.iter().filter_map(|(name, snapshot)| Some((name, snapshot.v?))));
                let kept = entries.iter().filter_map(|(name, snapshot)| {
                    let v = self.value(rank, name, snapshot.v.unwrap_or(f64::NAN), now_ns)?;
                    Some((name.clone(), Snapshot { v: v.filter(|_| snapshot.v.is_some()), ..*snapshot }))
                });
                // What the condition itself says goes in any case; signals with other terms, after it.
                let mut groups = vec![(terms.clone(), Vec::new())];
                for (of, values) in self.divide(rank, kept) {
                    // Where both hold; what may go nowhere with it does not go.
                    let Some(both) = of.and(&terms) else { continue };
                    match groups.iter_mut().find(|(of, _)| *of == both) {
                        Some((_, group)) => group.extend(values),
                        None => groups.push((both, values)),
                    }
                }
                for (terms, values) in groups {
                    let values = Some(NameMap::new(values));
                    out(told(tell(Condition { values, ..condition.clone() }), &terms));
                }
            }
            Body::Model(ref state) => {
                let terms = self.terms_of_model(rank, &state.name);
                out(told(event, &terms));
            }
            _ => out(told(event, &self.whole[rank].clone())),
        }
    }

    fn treatment(&self, rank: usize, name: &str) -> Option<(SignalId, &Treatment)> {
        self.signals.get(name).map(|(id, treatments)| (*id, &treatments[rank]))
    }

    /// Notes where the vehicle is, for the width of the cells there.
    fn note_rows<'a>(&mut self, rank: usize, values: impl Iterator<Item = (&'a Arc<str>, f64)>) {
        for (name, value) in values {
            if let Some((id, Treatment { value: Some(Measure::Latitude(metres)), .. })) = self.treatment(rank, name) {
                let row = grid::latitude(value, *metres);
                self.rows.insert(id, row);
            }
        }
    }

    /// What is told of a value: outer `None`, not even that there is one; inner `None`, not which.
    fn value(&self, rank: usize, name: &str, value: f64, now_ns: u64) -> Option<Option<f64>> {
        let Some((_, Treatment { value: Some(measure), .. })) = self.treatment(rank, name) else {
            return Some(Some(value));
        };
        Some(match *measure {
            Measure::Drop => return None,
            Measure::Round(step) => Some(round(value, step)),
            Measure::Latitude(metres) => grid::latitude(value, metres),
            Measure::Longitude(metres, latitude) => {
                self.rows.get(&latitude).copied().flatten().and_then(|row| grid::longitude(value, row, metres))
            }
            Measure::Pseudonym => {
                self.pseudonyms.as_ref().map(|pseudonyms| pseudonyms.number(pseudonyms.period(now_ns), name, value))
            }
        })
    }

    fn aggregate(&self, rank: usize, name: &str, stats: Aggregate) -> Option<Aggregate> {
        if self.treatment(rank, name).is_some_and(|(_, treatment)| treatment.value == Some(Measure::Pseudonym)) {
            // Of a pseudonym there is no mean.
            return None;
        }
        let value = |value| self.value(rank, name, value, 0).flatten();
        let Aggregate { n, max, min, last, mean } = stats;
        Some(Aggregate { n, max: value(max)?, min: value(min)?, last: value(last)?, mean: value(mean)? })
    }

    /// Values by how they are told.
    fn divide<T>(&self, rank: usize, values: impl Iterator<Item = (Arc<str>, T)>) -> Vec<(Terms, Named<T>)> {
        let mut groups: Vec<(Terms, Named<T>)> = Vec::new();
        for (name, value) in values {
            let terms = self.treatment(rank, &name).map_or(&self.whole[rank], |(_, treatment)| &treatment.terms);
            match groups.iter_mut().find(|(of, _)| of == terms) {
                Some((_, group)) => group.push((name, value)),
                None => groups.push((terms.clone(), vec![(name, value)])),
            }
        }
        groups
    }

    fn anomaly(&self, rank: usize, anomaly: &mut Anomaly, now_ns: u64) {
        let features = self.models.get(&anomaly.model).map(|model| &model.features);
        anomaly.top.retain_mut(|contribution| {
            if let Some((signal, is_value)) = features.and_then(|features| features.get(&contribution.name)) {
                let measure = self.treatment(rank, signal).and_then(|(_, treatment)| treatment.value);
                let told = |value: f64| match measure {
                    // Windows, lags and differences of these would tell where it was, or who.
                    Some(Measure::Latitude(_) | Measure::Longitude(..) | Measure::Pseudonym) => None,
                    // Seconds, or a number of samples.
                    _ if !is_value => Some(value),
                    _ => self.value(rank, signal, value, now_ns).flatten(),
                };
                contribution.expected = contribution.expected.and_then(told);
                contribution.observed = contribution.observed.and_then(told);
                return measure != Some(Measure::Drop);
            }
            if features.is_none() && self.fields.iter().any(|field| contribution.name.starts_with(&**field)) {
                (contribution.expected, contribution.observed) = (None, None);
            }
            true
        });
    }

    fn model_stats(&self, rank: usize, stats: &mut ModelStats) {
        let Some(model) = self.models.get(&stats.name) else { return };
        let dropped = |(signal, _): &(Arc<str>, bool)| {
            self.treatment(rank, signal).is_some_and(|(_, treatment)| treatment.value == Some(Measure::Drop))
        };
        stats.inputs.retain(|input| !model.features.get(&input.name).is_some_and(dropped));
    }

    fn terms_of_model(&self, rank: usize, name: &str) -> Terms {
        self.models.get(name).map_or(&self.whole, |model| &model.terms)[rank].clone()
    }
}

impl Rule {
    fn terms(&self) -> Terms {
        Terms { bucket_ns: self.bucket_ns, regions: self.regions.clone() }
    }
}

/// The event, told as the terms say.
fn told(mut event: Event, terms: &Terms) -> Event {
    event.regions.clone_from(&terms.regions);
    let Some(bucket) = terms.bucket_ns else { return event };
    let floor = |time: &mut u64| *time -= *time % bucket;
    let before = event.time_ns;
    floor(&mut event.time_ns);
    if let Some(clock) = &mut event.clock {
        clock.mono_ns = clock.mono_ns.saturating_sub(before - event.time_ns);
    }
    match &mut event.body {
        Body::Anomaly(anomaly) => {
            floor(&mut anomaly.since);
            // As good as a clock.
            anomaly.frame = 0;
        }
        Body::Condition(condition) => {
            floor(&mut condition.since);
            condition.frame = 0;
        }
        Body::ModelStats(stats) => floor(&mut stats.since),
        Body::Message(message) => floor(&mut message.last),
        Body::Blind(blind) => {
            floor(&mut blind.from);
            floor(&mut blind.to);
        }
        _ => {}
    }
    event
}

/// To the next multiple of `step`.
fn round(value: f64, step: f64) -> f64 {
    let inverse = (1.0 / step).round();
    // 0.1 is no double; 10 is.
    if step < 1.0 && (inverse * step - 1.0).abs() < 1e-9 {
        (value * inverse).round() / inverse
    } else {
        (value / step).round() * step
    }
}

#[cfg(test)]
mod tests;
