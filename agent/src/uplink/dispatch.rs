//! Which gateways carry what: pure, told what happens to the links and when.
//!
//! Gateways are in order of preference. An event goes to the first of those that may have it (by class and region) and
//! are up, or to the first `copies` of them. A gateway is tried only while too few of the better ones are up, so that an
//! idle fleet does not hold connections to its reserves.
//!
//! ```text
//!            better ones down for failover_after           up, at once if it is the only one
//!   not wanted ─────────────────────────────▶ wanted: down ──────────────────────────────▶ carries
//!       ▲                                        ▲   │ up, while another carries            │
//!       │                                        │   ▼                                      │
//!       │                                        │  on trial for failback_after ──▶ carries │
//!       └────────────── better ones carry ───────┴──────────────────────────────────────────┘
//! ```
//!
//! Both times are spread by half of themselves to either side: vehicles that lost the same gateway at the same moment do
//! not knock at the next one together, nor come back together.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::event::{Class, Regions};

/// Most gateways that a configuration may name.
pub(crate) const MAX_GATEWAYS: usize = 16;

/// Different sets of regions that are known, at most.
const MAX_AUDIENCES: usize = 64;

/// A set of gateways, by their places in the order of preference.
pub(crate) type Places = u16;

/// What is fixed about a gateway.
#[derive(Debug, Clone, Default)]
pub(crate) struct Terms {
    /// By class rank: whether it may have events of the class.
    pub(crate) classes: [bool; 5],
    /// Where it is.
    pub(crate) region: Option<Arc<str>>,
}

impl Terms {
    /// Whether it may have events of `class` that may go to `regions` only, if given.
    pub(crate) fn allow(&self, class: Class, regions: Option<&Regions>) -> bool {
        let is_in = |regions: &Regions| self.region.as_deref().is_some_and(|region| regions.contains(region));
        self.classes[class.rank()] && regions.is_none_or(is_in)
    }
}

#[derive(Debug, Clone, Copy)]
enum Link {
    /// Others are tried from then on.
    Down { failover_at: Instant },
    /// It carries from then on, and earlier where nothing else does.
    Up { settled_at: Instant },
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Dispatch {
    gateways: Vec<(Terms, Link)>,
    /// By class rank: to how many gateways an event has to get.
    copies: [usize; 5],
    failover_after: Duration,
    failback_after: Duration,
    /// The kinds of events there are, by where they may go.
    audiences: Vec<Option<Regions>>,
}

impl Dispatch {
    /// Of `gateways`, the preferred first, all down at `now`. `audiences` are the sets of regions that events may be
    /// restricted to.
    pub(crate) fn new(
        gateways: Vec<Terms>,
        copies: [usize; 5],
        (failover_after, failback_after): (Duration, Duration),
        audiences: &[Regions],
        now: Instant,
    ) -> Self {
        let failover_at = now + spread(failover_after);
        Self {
            gateways: gateways.into_iter().map(|terms| (terms, Link::Down { failover_at })).collect(),
            copies,
            failover_after,
            failback_after,
            audiences: std::iter::once(None).chain(audiences.iter().cloned().map(Some)).collect(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.gateways.len()
    }

    /// The gateway has accepted us.
    pub(crate) fn up(&mut self, gateway: usize, now: Instant) {
        let others = self.gateways.iter().enumerate().any(|(i, (_, link))| i != gateway && settled(link, now));
        let settled_at = if others { now + spread(self.failback_after) } else { now };
        if let Some((_, link)) = self.gateways.get_mut(gateway) {
            *link = Link::Up { settled_at };
        }
    }

    /// The connection to the gateway is lost or given up.
    pub(crate) fn down(&mut self, gateway: usize, now: Instant) {
        let failover_at = now + spread(self.failover_after);
        if let Some((_, link)) = self.gateways.get_mut(gateway) {
            match link {
                Link::Down { .. } => {}
                // Lost while on trial: whoever carried meanwhile goes on.
                Link::Up { settled_at } if *settled_at > now => *link = Link::Down { failover_at: now },
                Link::Up { .. } => *link = Link::Down { failover_at },
            }
        }
    }

    pub(crate) fn is_up(&self, gateway: usize) -> bool {
        self.gateways.get(gateway).is_some_and(|(_, link)| matches!(link, Link::Up { .. }))
    }

    /// Whether there ought to be a connection to the gateway.
    pub(crate) fn wanted(&self, gateway: usize, now: Instant) -> bool {
        let Some((terms, _)) = self.gateways.get(gateway) else { return false };
        let better = &self.gateways[..gateway];
        self.kinds().any(|(class, regions)| {
            let serves = |link: &Link| match link {
                Link::Up { .. } => settled(link, now),
                Link::Down { failover_at } => now < *failover_at,
            };
            let served = better.iter().filter(|(terms, link)| terms.allow(class, regions) && serves(link)).count();
            terms.allow(class, regions) && served < self.copies[class.rank()]
        })
    }

    /// There are events that may go to these regions only. True: that was not known.
    pub(crate) fn learn(&mut self, regions: &Regions) -> bool {
        let is_new = self.audiences.len() < MAX_AUDIENCES && !self.audiences.iter().flatten().any(|of| of == regions);
        if is_new {
            self.audiences.push(Some(regions.clone()));
        }
        is_new
    }

    fn kinds(&self) -> impl Iterator<Item = (Class, Option<&Regions>)> {
        let audiences = || self.audiences.iter().map(Option::as_ref);
        Class::ALL.into_iter().flat_map(move |class| audiences().map(move |regions| (class, regions)))
    }

    /// The gateways to which an event is to be sent now.
    pub(crate) fn carriers(&self, class: Class, regions: Option<&Regions>, now: Instant) -> Places {
        let (mut found, mut places) = (0, 0);
        for on_trial in [false, true] {
            for (i, (terms, link)) in self.gateways.iter().enumerate() {
                let fits = matches!(link, Link::Up { .. }) && settled(link, now) != on_trial;
                if fits && found < self.copies[class.rank()] && terms.allow(class, regions) {
                    found += 1;
                    places |= 1 << i;
                }
            }
        }
        places
    }

    /// Who carries what, to be compared.
    pub(crate) fn plan(&self, now: Instant) -> Vec<Places> {
        self.kinds().map(|(class, regions)| self.carriers(class, regions, now)).collect()
    }

    /// How many gateways must have an event before it is delivered: as many as asked for, if there are so many. 0: none
    /// may have it.
    pub(crate) fn places(&self, class: Class, regions: Option<&Regions>) -> usize {
        let allowed = self.gateways.iter().filter(|(terms, _)| terms.allow(class, regions)).count();
        allowed.min(self.copies[class.rank()])
    }

    /// When time alone changes something next.
    pub(crate) fn next_change(&self, now: Instant) -> Option<Instant> {
        let at = |link: &Link| match link {
            Link::Down { failover_at: at } | Link::Up { settled_at: at } => *at,
        };
        self.gateways.iter().map(|(_, link)| at(link)).filter(|at| *at > now).min()
    }
}

fn settled(link: &Link, now: Instant) -> bool {
    matches!(link, Link::Up { settled_at } if *settled_at <= now)
}

/// Half of it to one and a half of it.
fn spread(time: Duration) -> Duration {
    time.mul_f64(0.5 + fastrand::f64())
}

#[cfg(test)]
#[path = "dispatch_tests.rs"]
mod tests;
