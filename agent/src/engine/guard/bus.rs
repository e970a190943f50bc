//! A bus under the guard: its identifiers, and those that it should not have.

use std::sync::Arc;

use can_decoders::{CanId, Frame, MessageIndex, Plan};

use super::limits::FieldLimits;
use super::watch::{Watch, whole};
use crate::profile::{BusProfile, Profile, Relation, parse_id};

/// A bus with so many identifiers that can be missed is large.
const LARGE: usize = 3;
/// Identifiers that never came are not missed so soon after a bus woke, seconds.
const GRACE_S: f64 = 30.0;
/// Unknown identifiers that are told apart on a bus.
const MAX_STRANGERS: usize = 16;
/// A frame of an unknown identifier is this share of what is needed to raise it; and what each second takes away. First on a
/// bus on which all identifiers were soon known, then on one where new ones came all along.
const STRANGER: [(f64, f64); 2] = [(0.6, 0.05), (0.25, 0.2)];
/// See [`STRANGER`]: the share of the recording.
const OPEN_SHARE: f64 = 0.5;
/// Frames of a bus's unknown identifiers within this time count once: what is longer than a frame comes in several.
const STRANGER_NS: u64 = 200_000_000;
/// What speaks for them is held to this.
const STRANGER_MAX: f64 = 1.2;

/// An identifier that the profile does not have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stranger {
    pub(super) id: CanId,
    pub(super) frames: u32,
}

/// A bus.
pub(super) struct GuardBus {
    pub(super) name: Arc<str>,
    pub(super) plan: Plan,
    /// By message of the plan.
    pub(super) watches: Vec<Watch>,
    pub(super) names: Vec<Arc<str>>,
    /// What speaks for them, and who they are, as long as anything does.
    pub(super) unknown: f64,
    pub(super) strangers: Vec<Stranger>,
    stranger_ns: u64,
    /// When it woke; 0 while it sleeps.
    pub(super) woke_ns: u64,
    /// Time of its last known frame.
    pub(super) heard_ns: u64,
    /// A silence from which it sleeps, nanoseconds.
    pub(super) patience_ns: u64,
    /// It has identifiers enough to tell that one is missing from that it sleeps; else other buses have to.
    pub(super) is_large: bool,
    /// New identifiers came until late.
    is_open: bool,
}

impl GuardBus {
    pub(super) fn new(
        profile: &BusProfile,
        several: bool,
        seconds: f64,
        relations: &[Relation],
    ) -> Result<Self, String> {
        let plan = Profile::plan(profile)?;
        let mut slots: Vec<Option<(Watch, Arc<str>)>> = (0..plan.messages().len()).map(|_| None).collect();
        for message in &profile.messages {
            let wrong = |what: &str| format!("bus {}: message {}: {what}", profile.name, message.id);
            let id = parse_id(&message.id).ok_or_else(|| wrong("no identifier"))?;
            let index = plan.find(id).filter(|index| plan.message(*index).id == id);
            let index = index.ok_or_else(|| wrong("the bus's DBC text does not have it"))?;
            let name = &plan.message(index).name;
            let fields = plan.message(index).signal_indices().map(|signal| {
                let field = message.fields.iter().find(|field| *field.name == *plan.signal(signal).name);
                let whole = whole(plan.signal(signal));
                field.map_or(NOTHING, |field| FieldLimits::of(field, message.described, whole, seconds))
            });
            let mut fields: Vec<FieldLimits> = fields.collect();
            // Nothing to watch: no need to decode.
            let mut places = relations.iter().flat_map(|relation| [&relation.x, &relation.y]);
            let is_related = places.any(|place| place.bus == profile.name && place.id == message.id);
            if !is_related && !fields.iter().any(FieldLimits::watches) {
                fields.clear();
            }
            let name = if several { format!("{}:{name}", profile.name).into() } else { name.clone() };
            slots[index.0 as usize] = Some((Watch::new(message, fields, seconds), name));
        }
        let count = slots.len();
        let (watches, names): (Vec<_>, Vec<_>) = slots.into_iter().flatten().unzip();
        if watches.len() != count {
            return Err(format!("bus {}: its DBC text has messages that are not in the profile", profile.name));
        }
        let strangers = Vec::with_capacity(MAX_STRANGERS);
        let is_open = profile.newest_s > OPEN_SHARE * seconds;
        let name = profile.name.as_str().into();
        let missing = watches.iter().filter_map(|watch: &Watch| watch.limits.missing_s);
        let (count, soonest) = missing.fold((0, f64::INFINITY), |(count, least), s| (count + 1, least.min(s)));
        Ok(Self {
            name,
            plan,
            watches,
            names,
            unknown: 0.0,
            strangers,
            stranger_ns: 0,
            woke_ns: 0,
            heard_ns: 0,
            patience_ns: 2_000_000_000 + if count > 0 { nanoseconds(soonest * 1e9) } else { 0 },
            is_large: count >= LARGE,
            is_open,
        })
    }

    /// A data frame.
    pub(super) fn frame(&mut self, frame: &Frame, now_ns: u64) {
        let Some(message) = self.plan.find(frame.id) else { return self.stranger(frame.id, now_ns) };
        let MessageIndex(number) = message;
        self.heard_ns = now_ns;
        if self.woke_ns == 0 {
            self.woke_ns = now_ns;
        }
        let decoded = self.plan.decode_frame(message, frame);
        self.watches[number as usize].frame(frame, now_ns, &self.plan, &decoded);
    }

    /// What came before says nothing about what comes now.
    pub(super) fn forget(&mut self) {
        (self.woke_ns, self.heard_ns) = (0, 0);
        self.watches.iter_mut().for_each(Watch::forget);
    }

    /// The clock jumped.
    pub(super) fn time_jumped(&mut self) {
        self.forget();
        (self.unknown, self.stranger_ns) = (0.0, 0);
        self.strangers.clear();
    }

    /// A grid point; `heard_ns` is the time of the last frame of any bus.
    pub(super) fn tick(&mut self, now_ns: u64, heard_ns: u64) {
        // Measured at the last frame: when all fall silent, none is missed.
        let heard_ns = if self.is_large { self.heard_ns } else { heard_ns };
        if self.woke_ns != 0 && now_ns.saturating_sub(heard_ns) > self.patience_ns {
            self.forget();
        }
        for watch in &mut self.watches {
            let age_s = match (self.woke_ns, watch.last_ns) {
                (0, _) => None,
                (woke, 0) => Some((seconds(heard_ns.saturating_sub(woke)) - GRACE_S).max(0.0)),
                (_, last) => Some(seconds(heard_ns.saturating_sub(last))),
            };
            watch.tick(now_ns, age_s);
        }
    }

    /// After the evidence of a grid point was looked at: it counts for less from now on.
    pub(super) fn fade(&mut self, period_s: f64) {
        self.watches.iter_mut().for_each(|watch| watch.fade(period_s));
        self.unknown = (self.unknown - STRANGER[usize::from(self.is_open)].1 * period_s).max(0.0);
        if self.unknown <= 0.0 {
            self.strangers.clear();
        }
    }

    fn stranger(&mut self, id: CanId, now_ns: u64) {
        if now_ns.saturating_sub(self.stranger_ns) >= STRANGER_NS {
            self.stranger_ns = now_ns;
            self.unknown = (self.unknown + STRANGER[usize::from(self.is_open)].0).min(STRANGER_MAX);
        }
        if let Some(stranger) = self.strangers.iter_mut().find(|stranger| stranger.id == id) {
            stranger.frames = stranger.frames.saturating_add(1);
        } else if self.strangers.len() < MAX_STRANGERS {
            self.strangers.push(Stranger { id, frames: 1 });
        }
    }

    pub(super) fn field(&self, message: usize, field: u32) -> Arc<str> {
        let signals = &self.plan.messages()[message].signals;
        let name = &self.plan.signals()[(signals.start + field) as usize].name;
        format!("{}.{name}", self.names[message]).into()
    }
}

const NOTHING: FieldLimits = FieldLimits {
    step: f64::INFINITY,
    seen: (0.0, 0.0),
    far: f64::INFINITY,
    whole: f64::INFINITY,
    still_s: f64::INFINITY,
};

#[expect(clippy::cast_precision_loss, reason = "durations; the last bits do not matter")]
fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not below zero")]
fn nanoseconds(ns: f64) -> u64 {
    ns as u64
}
