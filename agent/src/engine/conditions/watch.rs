//! Which conditions a frame concerns.
//!
//! Most values of most frames change nothing: a speed goes from 83 to 84, and no condition asks about a number in between.
//! So each signal that is asked for has the interval around its value in which no comparison comes out otherwise, and a
//! frame costs two comparisons for each such signal, however many conditions there are. Only what leaves its interval is
//! looked at; then the conditions that compare it with a number on the way are, where that makes a difference ([`Table`]).

use super::super::State;
use super::super::catalog::{Catalog, SignalId};
use super::program::{Program, Samples, Trigger};
use super::table::Table;

/// A condition's place.
pub(super) type Place = u16;

/// What every frame is held against.
#[derive(Debug, Clone, Copy)]
struct Calm {
    /// While its value is from here to there, nothing changes. Nowhere, while it has none.
    from: f64,
    to: f64,
    id: SignalId,
}

/// A signal that conditions ask for.
#[derive(Debug)]
struct Watched {
    /// It has a value that can be used.
    known: bool,
    /// Its value when last looked at.
    last: f64,
    /// Samples when last looked at.
    samples: u32,
    /// A value older than this cannot be used, nanoseconds.
    max_age_ns: u64,
    /// Numbers with which it is compared, ascending, and by whom.
    limits: Vec<(f64, Vec<Link>)>,
    /// Conditions that any change of its value concerns.
    always: Vec<Place>,
    /// Those, and all others that ask for it.
    all: Vec<Place>,
    /// Each sample counts: place of its history.
    history: Option<usize>,
}

/// Who compares a signal with a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    /// A condition that has to be computed.
    Condition(Place),
    /// An atom of a table.
    Atom { table: u16, atom: u8 },
}

/// The last two samples of a signal of which each counts.
#[derive(Debug, Clone, Copy)]
struct History {
    id: SignalId,
    value: f64,
    time_ns: u64,
    seen: Samples,
}

const NOTHING: Samples = Samples { step: f64::NAN, gap: f64::NAN, run: f64::NAN };
const NOWHERE: (f64, f64) = (f64::INFINITY, f64::NEG_INFINITY);

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Watch {
    calm: Vec<Calm>,
    /// Of the same signals.
    watched: Vec<Watched>,
    /// By message, and then by bus for what buses say about themselves: where its signals are in those. Empty when no signal is
    /// asked for.
    groups: Vec<(u32, u32)>,
    tables: Vec<Judged>,
    histories: Vec<History>,
    /// By condition: it is raised, and its end counts.
    raised: Vec<bool>,
    /// When the first value gets too old, at the earliest.
    pub(super) expires_ns: u64,
    marks: Marks,
}

/// What a program of a condition comes to.
#[derive(Debug)]
struct Judged {
    condition: Place,
    /// It is the end of the condition: nobody asks before that is raised.
    is_end: bool,
    table: Table,
}

/// Conditions to be looked at, each once.
#[derive(Debug, Default)]
struct Marks {
    list: Vec<Place>,
    is_in: Vec<bool>,
}

/// Programs that are to be looked at when something changes.
pub(super) struct Wish<'a> {
    pub(super) condition: Place,
    pub(super) program: &'a Program,
    /// It says when the condition ends.
    pub(super) is_end: bool,
    pub(super) max_age_ns: u64,
    /// Only what lies between two samples is to be kept: it is looked at on a grid.
    pub(super) on_grid: bool,
}

impl Watch {
    pub(super) fn new<'a>(conditions: usize, wishes: impl IntoIterator<Item = Wish<'a>>, catalog: &Catalog) -> Self {
        if conditions == 0 {
            return Self::default();
        }
        let mut making = Making::default();
        wishes.into_iter().for_each(|wish| making.add(&wish));
        let group = |id: SignalId| match catalog.place(id) {
            Some((bus, index)) => {
                let message = catalog.buses()[bus].plan.signal(index).message;
                catalog.message_id(bus, message).0 as usize
            }
            None => catalog.message_count() + catalog.bus_of_health(id),
        };
        making.signals.sort_by_key(|(id, _)| (group(*id), *id));
        let mut groups = vec![(0, 0); catalog.message_count() + catalog.buses().len()];
        for (place, (id, one)) in (0u32..).zip(&mut making.signals) {
            let range = &mut groups[group(*id)];
            *range = if range.1 == 0 { (place, place + 1) } else { (range.0, place + 1) };
            one.limits.sort_by(|a, b| a.0.total_cmp(&b.0));
            one.all.sort_unstable();
            one.all.dedup();
        }
        let (ids, watched): (Vec<_>, Vec<_>) = making.signals.into_iter().unzip();
        let (from, to) = NOWHERE;
        Self {
            calm: ids.into_iter().map(|id| Calm { from, to, id }).collect(),
            watched,
            groups,
            tables: making.tables,
            histories: making.histories,
            raised: vec![false; conditions],
            expires_ns: u64::MAX,
            marks: Marks { list: Vec::with_capacity(conditions), is_in: vec![false; conditions] },
        }
    }

    /// A frame of the message (or news of a bus) with this number has come.
    #[inline]
    pub(super) fn came(&mut self, group: usize, state: &State, now_ns: u64) {
        let Some(&(from, to)) = self.groups.get(group) else { return };
        for place in from as usize..to as usize {
            let calm = &self.calm[place];
            let slot = state.signal(calm.id);
            // One branch for all three.
            let is_calm = (calm.from <= slot.value) & (slot.value <= calm.to) & slot.validity.is_valid();
            if !is_calm {
                self.look(place, state, now_ns);
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn look(&mut self, place: usize, state: &State, now_ns: u64) {
        let Self { calm, watched, tables, histories, raised, expires_ns, marks, .. } = self;
        let (calm, one) = (&mut calm[place], &mut watched[place]);
        let slot = state.signal(calm.id);
        let value = slot.usable(now_ns, one.max_age_ns);
        // Another signal of the same message has come.
        if slot.samples == one.samples && value.is_some() == one.known {
            return;
        }
        one.samples = slot.samples;
        let Some(value) = value else {
            if std::mem::take(&mut one.known) {
                (calm.from, calm.to) = NOWHERE;
                one.atoms().for_each(|(table, atom)| _ = tables[table].table.set(atom, None));
                one.all.iter().for_each(|place| marks.add(*place));
            }
            return;
        };
        if let Some(history) = one.history {
            histories[history].sample(value, slot.time_ns, slot.run);
        }
        let last = std::mem::replace(&mut one.last, value);
        if std::mem::replace(&mut one.known, true) {
            let (from, to) = (last.min(value), last.max(value));
            let first = one.limits.partition_point(|(limit, _)| *limit < from);
            for (_, links) in one.limits[first..].iter().take_while(|(limit, _)| *limit <= to) {
                for link in links {
                    match *link {
                        Link::Condition(place) => marks.add(place),
                        Link::Atom { table, atom } => {
                            let Judged { condition, is_end, table } = &mut tables[usize::from(table)];
                            let differs = table.set(atom, Some(table.atoms[usize::from(atom)].is_true(value)));
                            if differs && (!*is_end || raised[usize::from(*condition)]) {
                                marks.add(*condition);
                            }
                        }
                    }
                }
            }
            one.always.iter().for_each(|place| marks.add(*place));
        } else {
            *expires_ns = (*expires_ns).min(slot.time_ns.saturating_add(one.max_age_ns).saturating_add(1));
            for (table, atom) in one.atoms() {
                let table = &mut tables[table].table;
                table.set(atom, Some(table.atoms[usize::from(atom)].is_true(value)));
            }
            one.all.iter().for_each(|place| marks.add(*place));
        }
        (calm.from, calm.to) = match (one.history, one.always.is_empty()) {
            (Some(_), _) => NOWHERE,
            (None, false) => (value, value),
            (None, true) => one.around(value),
        };
    }

    /// Looks for values that have become too old, and says when the next ones do.
    pub(super) fn expire(&mut self, state: &State, now_ns: u64) {
        self.expires_ns = u64::MAX;
        for place in 0..self.watched.len() {
            if self.watched[place].known {
                self.look(place, state, now_ns);
            }
            let (calm, one) = (&self.calm[place], &self.watched[place]);
            if one.known {
                let ends_ns = state.signal(calm.id).time_ns.saturating_add(one.max_age_ns);
                self.expires_ns = self.expires_ns.min(ends_ns.saturating_add(1));
            }
        }
    }

    /// Nothing is known any more.
    pub(super) fn forget(&mut self) {
        for (calm, one) in self.calm.iter_mut().zip(&mut self.watched) {
            (calm.from, calm.to) = NOWHERE;
            one.known = false;
            one.atoms().for_each(|(table, atom)| _ = self.tables[table].table.set(atom, None));
        }
        for history in &mut self.histories {
            (history.value, history.seen) = (f64::NAN, NOTHING);
        }
        self.expires_ns = u64::MAX;
    }

    /// Whether a condition is raised.
    pub(super) fn set_raised(&mut self, condition: Place, raised: bool) {
        self.raised[usize::from(condition)] = raised;
    }

    /// A condition is to be looked at.
    pub(super) fn mark(&mut self, condition: Place) {
        self.marks.add(condition);
    }

    pub(super) fn has_work(&self) -> bool {
        !self.marks.list.is_empty()
    }

    /// Conditions to be looked at, the first first.
    pub(super) fn take(&mut self) -> Option<Place> {
        let marks = &mut self.marks;
        let next = marks.list.iter().enumerate().min_by_key(|(_, place)| **place).map(|(i, _)| i)?;
        let place = marks.list.swap_remove(next);
        marks.is_in[usize::from(place)] = false;
        Some(place)
    }

    pub(super) fn samples(&self, id: SignalId) -> Samples {
        self.histories.iter().find(|history| history.id == id).map_or(NOTHING, |history| history.seen)
    }
}

/// A [`Watch`] that is being made.
#[derive(Default)]
struct Making {
    signals: Vec<(SignalId, Watched)>,
    tables: Vec<Judged>,
    histories: Vec<History>,
}

impl Making {
    fn add(&mut self, wish: &Wish<'_>) {
        let &Wish { condition, program, is_end, max_age_ns, on_grid } = wish;
        let table = if on_grid { None } else { Table::of(program) };
        for &(id, trigger) in program.triggers.iter().filter(|(_, trigger)| !on_grid || *trigger == Trigger::Samples) {
            let one = self.signal(id, max_age_ns);
            one.all.push(condition);
            match trigger {
                Trigger::Validity => {}
                // The table's atoms stand for it.
                Trigger::Passes(_) if table.is_some() => {}
                Trigger::Passes(limit) => one.link(limit, Link::Condition(condition)),
                Trigger::Changes => one.always.push(condition),
                Trigger::Samples => {
                    one.always.push(condition);
                    let history = self.history(id);
                    self.signal(id, max_age_ns).history = Some(history);
                }
            }
        }
        if let Some(table) = table {
            // No more than two for each condition.
            let place = u16::try_from(self.tables.len()).unwrap_or(u16::MAX);
            for (number, atom) in (0u8..).zip(&table.atoms) {
                self.signal(atom.signal, max_age_ns).link(atom.limit, Link::Atom { table: place, atom: number });
            }
            self.tables.push(Judged { condition, is_end, table });
        }
    }

    fn signal(&mut self, id: SignalId, max_age_ns: u64) -> &mut Watched {
        let is_it = |(other, one): &(SignalId, Watched)| *other == id && one.max_age_ns == max_age_ns;
        let place = self.signals.iter().position(is_it).unwrap_or_else(|| {
            self.signals.push((id, Watched::new(max_age_ns)));
            self.signals.len() - 1
        });
        &mut self.signals[place].1
    }

    fn history(&mut self, id: SignalId) -> usize {
        self.histories.iter().position(|history| history.id == id).unwrap_or_else(|| {
            self.histories.push(History { id, value: f64::NAN, time_ns: 0, seen: NOTHING });
            self.histories.len() - 1
        })
    }
}

impl Marks {
    fn add(&mut self, condition: Place) {
        if !std::mem::replace(&mut self.is_in[usize::from(condition)], true) {
            self.list.push(condition);
        }
    }
}

impl Watched {
    fn new(max_age_ns: u64) -> Self {
        Self {
            known: false,
            last: f64::NAN,
            samples: 0,
            max_age_ns,
            limits: Vec::new(),
            always: Vec::new(),
            all: Vec::new(),
            history: None,
        }
    }

    fn link(&mut self, limit: f64, link: Link) {
        match self.limits.iter_mut().find(|(other, _)| other.total_cmp(&limit).is_eq()) {
            Some((_, links)) if links.contains(&link) => {}
            Some((_, links)) => links.push(link),
            None => self.limits.push((limit, vec![link])),
        }
    }

    /// Atoms of tables, by their numbers.
    fn atoms(&self) -> impl Iterator<Item = (usize, u8)> {
        self.limits.iter().flat_map(|(_, links)| links).filter_map(|link| match *link {
            Link::Atom { table, atom } => Some((usize::from(table), atom)),
            Link::Condition(_) => None,
        })
    }

    /// The values around this one that compare with all limits as it does.
    fn around(&self, value: f64) -> (f64, f64) {
        let below = self.limits.partition_point(|(limit, _)| *limit < value);
        let from = below.checked_sub(1).map_or(f64::NEG_INFINITY, |i| self.limits[i].0.next_up());
        match self.limits.get(below).map(|(limit, _)| *limit) {
            None => (from, f64::INFINITY),
            #[expect(clippy::float_cmp, reason = "on the limit itself")]
            Some(limit) if limit == value => (value, value),
            Some(limit) => (from, limit.next_down()),
        }
    }
}

impl History {
    fn sample(&mut self, value: f64, time_ns: u64, run: u32) {
        let gap = std::time::Duration::from_nanos(time_ns.saturating_sub(self.time_ns).max(1)).as_secs_f64();
        let run = f64::from(run);
        self.seen = if self.value.is_nan() {
            Samples { run, ..NOTHING }
        } else {
            Samples { step: value - self.value, gap, run }
        };
        (self.value, self.time_ns) = (value, time_ns);
    }
}
