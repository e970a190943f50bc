//! Learning a profile: passes over the recordings, each of which needs what the one before has found.
//!
//! 1. traffic: identifiers, lengths, times, bits, and what may be counters and checksums;
//! 2. movement: fields, which the bits of the first pass give away where no DBC file describes them;
//! 3. and 4. relations between fields that move a lot.
//!
//! The recordings are read anew for each, so that memory does not depend on how long they are.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use can_decoders::integrity::Algorithm;
use can_decoders::{BusId, CanId, Database, Frame, FrameKind, MessageIndex, Plan};

use super::fields::{self, Described};
use super::movement::Movement;
use super::relation::{self, Residuals, Together};
use super::traffic::{Traffic, algorithms, number, seconds};
use super::{BusProfile, FORMAT, MAX_FIELDS, MAX_MESSAGES, Message, Place, Profile, Provenance};
use crate::engine::MAX_TIME_NS;
use crate::engine::guard::is_unavailable;

/// A pause this long, or a step back in time, parts recordings from each other. Nanoseconds.
const PAUSE_NS: u64 = 10_000_000_000;

/// A frame that is older than the one before by less is only written late. Nanoseconds.
const LATE_NS: u64 = 1_000_000_000;

/// Why nothing was learned. The recordings have to be others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LearnError {
    /// There is nothing to learn from.
    #[error("there are no data frames in the recordings: give recordings of a healthy vehicle that drives")]
    Empty,
    /// There are more identifiers than any vehicle has.
    #[error("more than {MAX_MESSAGES} identifiers: that is no healthy bus; leave out recordings of attacks and tests")]
    TooMany,
}

/// One identifier of one bus.
type Key = (BusId, CanId);

/// A field's last value, and when.
#[derive(Clone, Copy)]
struct Last {
    value: f64,
    time_ns: u64,
}

enum Pass {
    Traffic,
    Movement(Vec<(Plan, BTreeMap<CanId, Option<MessageIndex>>)>),
    Together(Box<Together>),
    Residuals(Residuals),
    Over,
}

/// Learns a profile. Give it all frames with [`Learner::frame`], then ask [`Learner::again`] whether it wants to see them
/// once more.
pub struct Learner {
    databases: Vec<(String, Vec<Database>)>,
    algorithms: Vec<Algorithm>,
    pass: Pass,
    traffic: BTreeMap<Key, Traffic>,
    movement: BTreeMap<Key, Movement>,
    buses: Vec<String>,
    /// By bus: when its last new identifier came, nanoseconds heard by then.
    newest_ns: [u64; 256],
    dbc: Vec<String>,
    /// What people call them, and whether a DBC file describes them.
    names: BTreeMap<Key, (String, bool)>,
    relations: Vec<super::Relation>,
    /// Of the fields that are compared: by identifier, their signals and places among `lasts`.
    compared: BTreeMap<Key, (MessageIndex, Vec<(u32, usize)>)>,
    plans: Vec<Plan>,
    lasts: Vec<Last>,
    values: Vec<f64>,
    grid_ns: u64,
    /// Time of the last frame.
    now_ns: u64,
    /// Time heard in this pass, without pauses; and in a whole pass.
    heard_ns: u64,
    length_ns: u64,
    halved: bool,
    frames: u64,
    too_many: bool,
}

impl Learner {
    /// Learns with what DBC files say of each bus; `*` is for all buses that have none of their own.
    pub fn new(databases: Vec<(String, Vec<Database>)>) -> Self {
        Self {
            databases,
            algorithms: algorithms(),
            pass: Pass::Traffic,
            traffic: BTreeMap::new(),
            movement: BTreeMap::new(),
            buses: Vec::new(),
            newest_ns: [0; 256],
            dbc: Vec::new(),
            names: BTreeMap::new(),
            relations: Vec::new(),
            compared: BTreeMap::new(),
            plans: Vec::new(),
            lasts: Vec::new(),
            values: Vec::new(),
            grid_ns: 0,
            now_ns: 0,
            heard_ns: 0,
            length_ns: 0,
            halved: false,
            frames: 0,
            too_many: false,
        }
    }

    /// A frame of the recordings, in their order.
    pub fn frame(&mut self, frame: &Frame) {
        if !matches!(frame.kind, FrameKind::Data | FrameKind::Fd { .. }) {
            return;
        }
        // As the engine takes it: an undated recording may begin at 0.
        let now_ns = frame.time_ns.clamp(1, MAX_TIME_NS);
        let passed = now_ns.checked_sub(self.now_ns).filter(|passed| *passed < PAUSE_NS);
        // Recorders of several buses write their frames a little out of order.
        let late = now_ns < self.now_ns && self.now_ns - now_ns < LATE_NS;
        match passed {
            _ if self.now_ns == 0 => self.now_ns = now_ns,
            Some(passed) => {
                self.heard_ns += passed;
                self.now_ns = now_ns;
            }
            None if late => {}
            None => {
                self.pause();
                self.now_ns = now_ns;
            }
        }
        let (now_ns, key) = (self.now_ns, (frame.bus, frame.id));
        match &mut self.pass {
            Pass::Traffic => {
                self.frames += 1;
                let full = self.traffic.len() >= MAX_MESSAGES;
                if full && !self.traffic.contains_key(&key) {
                    self.too_many = true;
                    return;
                }
                let new = || {
                    self.newest_ns[usize::from(frame.bus.0)] = self.heard_ns;
                    Traffic::new()
                };
                self.traffic.entry(key).or_insert_with(new).frame(frame, now_ns, &self.algorithms);
            }
            Pass::Movement(plans) => {
                if !self.halved && self.heard_ns >= self.length_ns / 2 {
                    self.halved = true;
                    self.movement.values_mut().for_each(Movement::half_time);
                }
                if let (Some(movement), Some((plan, _))) =
                    (self.movement.get_mut(&key), plans.get(usize::from(frame.bus.0)))
                {
                    movement.frame(frame, now_ns, plan);
                }
            }
            Pass::Together(_) | Pass::Residuals(_) => {
                while self.grid_ns <= now_ns {
                    if self.grid_ns == 0 || now_ns - self.grid_ns > PAUSE_NS {
                        self.grid_ns = now_ns.next_multiple_of(relation::GRID_NS);
                        continue;
                    }
                    self.grid_point();
                    self.grid_ns += relation::GRID_NS;
                }
                self.keep(frame, now_ns);
            }
            Pass::Over => {}
        }
    }

    fn keep(&mut self, frame: &Frame, now_ns: u64) {
        let Some((message, fields)) = self.compared.get(&(frame.bus, frame.id)) else { return };
        let Some(plan) = self.plans.get(usize::from(frame.bus.0)) else { return };
        for sample in plan.decode_frame(*message, frame).signals() {
            if sample.validity.is_valid()
                && !is_unavailable(sample.raw, plan.signal(sample.signal).bits)
                && let Ok(place) = fields.binary_search_by_key(&sample.signal.0, |(signal, _)| *signal)
            {
                self.lasts[fields[place].1] = Last { value: sample.value, time_ns: now_ns };
            }
        }
    }

    fn grid_point(&mut self) {
        let fresh =
            |last: &Last| last.time_ns != 0 && self.grid_ns.saturating_sub(last.time_ns) <= relation::MAX_AGE_NS;
        for (value, last) in self.values.iter_mut().zip(&self.lasts) {
            *value = if fresh(last) { last.value } else { f64::NAN };
        }
        match &mut self.pass {
            Pass::Together(together) => together.sample(&self.values, usize::from(self.heard_ns >= self.length_ns / 2)),
            Pass::Residuals(residuals) => residuals.sample(&self.values),
            Pass::Traffic | Pass::Movement(_) | Pass::Over => {}
        }
    }

    fn pause(&mut self) {
        self.traffic.values_mut().for_each(Traffic::pause);
        self.movement.values_mut().for_each(Movement::pause);
        self.lasts.iter_mut().for_each(|last| last.time_ns = 0);
        self.grid_ns = 0;
    }

    /// A pass is over; `buses` are the names of the buses by the numbers that the frames have. True when the recordings are
    /// to be read once more.
    pub fn again(&mut self, buses: &[String]) -> bool {
        self.pause();
        match std::mem::replace(&mut self.pass, Pass::Over) {
            Pass::Traffic => {
                self.buses = buses.to_vec();
                self.length_ns = self.heard_ns;
                self.pass = Pass::Movement(self.describe());
            }
            Pass::Movement(plans) => {
                let together = self.compare(plans);
                if seconds(self.length_ns) >= relation::MIN_SECONDS && together.places().len() > 1 {
                    self.pass = Pass::Together(Box::new(together));
                }
            }
            Pass::Together(together) => {
                let residuals = Residuals::new(&together);
                if !residuals.is_empty() {
                    self.pass = Pass::Residuals(residuals);
                }
            }
            Pass::Residuals(residuals) => self.relations = residuals.finish(),
            Pass::Over => {}
        }
        (self.now_ns, self.heard_ns) = (0, 0);
        !matches!(self.pass, Pass::Over)
    }

    /// Describes the fields of all messages, bus by bus.
    fn describe(&mut self) -> Vec<(Plan, BTreeMap<CanId, Option<MessageIndex>>)> {
        let mut plans = Vec::new();
        for (bus, bus_name) in self.buses.iter().enumerate() {
            let named = |name: &str| self.databases.iter().find(|(bus, _)| bus == name).map(|(_, databases)| databases);
            let databases = named(bus_name).or_else(|| named(crate::engine::ANY_BUS));
            let theirs = databases.map(|databases| Plan::compile(databases));
            let (mut text, mut end) = (fields::HEADER.to_string(), String::new());
            let mut ids = Vec::new();
            for (&(on, id), traffic) in self.traffic.iter().filter(|((on, _), _)| usize::from(on.0) == bus) {
                let counters = traffic.counters();
                let mut taken = vec![0_u8; traffic.flips.len() / 8];
                for counter in &counters {
                    taken[counter.byte] |= u8::try_from(((1_u16 << counter.bits) - 1) << counter.shift).unwrap_or(0);
                }
                if let Some(checksum) = traffic.checksum(&self.algorithms) {
                    taken[checksum.byte] =
                        if checksum.algorithm == "honda" { taken[checksum.byte] | 0xF } else { 0xFF };
                }
                let found = theirs.as_ref().and_then(|plan| Some(plan.message(plan.find(id)?)));
                let def = found.and_then(|message| {
                    let mut defs = databases.into_iter().flatten().flat_map(Database::messages);
                    defs.find(|def| def.id == message.id)
                });
                // The message of a parameter group may come from several senders.
                let name = match def {
                    Some(def) if def.id == id => fields::clean(&def.name),
                    Some(def) => format!("{}_{id}", fields::clean(&def.name)),
                    None => format!("ID_{id}"),
                };
                let (length, changes) = (traffic.flips.len() / 8, traffic.timing().map_or(0, |timing| timing.gaps));
                let Described { message, end: more } = match def {
                    Some(def) => fields::from_dbc(id, &name, length, def, &taken),
                    None => fields::from_bits(id, &name, length, &traffic.flips, changes, &taken),
                };
                let _ = write!(text, "{message}");
                let _ = write!(end, "{more}");
                self.names.insert((on, id), (name, def.is_some()));
                ids.push(id);
            }
            text.push('\n');
            text.push_str(&end);
            // What was just written can be read; were it not so, [`Profile::usable`] would say so in the end.
            let plan = Database::parse(bus_name, text.as_bytes()).map(|database| Plan::compile(&[database]));
            let plan = plan.unwrap_or_else(|_| Plan::compile(&[]));
            let messages: BTreeMap<CanId, Option<MessageIndex>> = ids.iter().map(|id| (*id, plan.find(*id))).collect();
            for (&id, &message) in &messages {
                let key = (BusId(u8::try_from(bus).unwrap_or(u8::MAX)), id);
                let traffic = &self.traffic[&key];
                let gaps = traffic.timing().map_or(0, |timing| timing.gaps);
                let movement = Movement::new(&plan, message, traffic.counters(), &traffic.flips, gaps);
                self.movement.insert(key, movement);
            }
            self.dbc.push(text);
            plans.push((plan, messages));
        }
        plans
    }

    /// Picks the fields that move most.
    fn compare(&mut self, plans: Vec<(Plan, BTreeMap<CanId, Option<MessageIndex>>)>) -> Together {
        let mut lively: Vec<(u64, Key, usize)> = Vec::new();
        for (key, movement) in &self.movement {
            for (number, field) in movement.fields().iter().enumerate() {
                let moves = field.values >= 32 && field.changes >= 100 && field.turns >= 10;
                lively.extend(moves.then_some((field.changes, *key, number)));
            }
        }
        lively.sort_by_key(|(changes, key, number)| (std::cmp::Reverse(*changes), *key, *number));
        lively.truncate(relation::MAX_COMPARED);
        lively.sort_by_key(|(_, key, number)| (*key, *number));
        let mut places = Vec::new();
        for (_, key, number) in lively {
            let (plan, messages) = &plans[usize::from(key.0.0)];
            let Some(message) = messages.get(&key.1).copied().flatten() else { continue };
            let fields = self.movement[&key].fields();
            let name = &fields[number].name;
            let signal = plan.message(message).signal_indices().find(|s| *plan.signal(*s).name == **name);
            let Some(signal) = signal else { continue };
            let (_, signals) = self.compared.entry(key).or_insert((message, Vec::new()));
            signals.push((signal.0, places.len()));
            let bus = self.buses[usize::from(key.0.0)].clone();
            places.push(Place { bus, id: key.1.to_string(), field: name.clone() });
        }
        self.lasts = vec![Last { value: 0.0, time_ns: 0 }; places.len()];
        self.values = vec![f64::NAN; places.len()];
        self.plans = plans.into_iter().map(|(plan, _)| plan).collect();
        Together::new(places)
    }

    /// What was learned, once [`Learner::again`] has said no.
    ///
    /// # Errors
    /// When there was nothing to learn, or too much.
    pub fn finish(self, name: &str, version: &str, recordings: Vec<String>) -> Result<Profile, LearnError> {
        if self.traffic.is_empty() {
            return Err(LearnError::Empty);
        }
        if self.too_many {
            return Err(LearnError::TooMany);
        }
        let mut buses: Vec<BusProfile> = Vec::new();
        let mut left = MAX_FIELDS;
        for (bus, name) in self.buses.iter().enumerate() {
            let of_bus = |(key, _): &(&Key, &Traffic)| usize::from(key.0.0) == bus;
            let messages: Vec<Message> = self
                .traffic
                .iter()
                .filter(of_bus)
                .map(|(key, traffic)| {
                    let movement = self.movement.get(key);
                    let mut fields = movement.map(Movement::fields).unwrap_or_default();
                    fields.truncate(left);
                    left -= fields.len();
                    let checksum = traffic.checksum(&self.algorithms);
                    let (name, described) = self.names.get(key).cloned().unwrap_or_default();
                    Message {
                        id: key.1.to_string(),
                        name,
                        described,
                        frames: traffic.frames,
                        lengths: traffic.lengths.iter().copied().collect(),
                        flips: traffic.flips.clone(),
                        surprise: movement.map_or(0.0, |m| (m.surprise * 100.0).round() / 100.0),
                        timing: traffic.timing(),
                        counter: movement.and_then(|m| m.counter(checksum.as_ref().map(|checksum| checksum.byte))),
                        checksum,
                        fields,
                    }
                })
                .collect();
            if !messages.is_empty() {
                let newest_s = (seconds(self.newest_ns[bus]) * 10.0).round() / 10.0;
                buses.push(BusProfile { name: name.clone(), newest_s, dbc: self.dbc[bus].clone(), messages });
            }
        }
        Ok(Profile {
            format: FORMAT,
            name: name.into(),
            version: version.into(),
            hash: String::new(),
            provenance: Provenance {
                recordings,
                outrider: env!("CARGO_PKG_VERSION").into(),
                seconds: (number(self.length_ns) / 1e9 * 10.0).round() / 10.0,
                frames: self.frames,
            },
            buses,
            relations: self.relations,
        })
    }
}
