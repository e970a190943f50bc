//! What the links share: one thread's worth of state, behind the desk that each of them has.
//!
//! When it changes who carries what, no link hands over anything before all that are up have had everything settled that
//! they have in flight: an event is not on two ways at once, and order holds across the change.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::sync::watch;

use super::custody::{Custody, Outcome};
use super::dispatch::{Dispatch, Places};
use super::link::LinkMonitor;
use super::network::{Networks, Permits, Way};
use crate::event::{Class, Identity, Regions};
use crate::outbox::{Batch, Outbox, OutboxError, lock};

/// What a link may do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Hand nothing over.
    Wait,
    /// Hand over.
    Go,
    /// Hand over, looking at all that waits: what is this link's has changed.
    GoAnew,
}

/// Shared by the links.
pub(crate) struct Hub<O: ?Sized> {
    outbox: Arc<Mutex<O>>,
    monitors: Vec<Arc<LinkMonitor>>,
    state: RefCell<State>,
    changed: watch::Sender<()>,
    networks: Rc<Networks>,
    /// Who sends, as far as the links know.
    identity: watch::Sender<Identity>,
}

struct State {
    dispatch: Dispatch,
    custody: Custody,
    plan: Vec<Places>,
    /// The gateways that carried anything when that was last told.
    told: Places,
    /// When time alone may change the plan next.
    due: Option<Instant>,
    /// Counts the changes of the plan.
    version: u64,
    /// By gateway: the version that it works by, and whether it has begun to.
    at: Vec<(u64, bool)>,
}

impl<O: Outbox + ?Sized> Hub<O> {
    pub(crate) fn new(
        outbox: Arc<Mutex<O>>,
        dispatch: Dispatch,
        monitors: Vec<Arc<LinkMonitor>>,
        identity: Identity,
        networks: Rc<Networks>,
    ) -> Rc<Self> {
        let at = vec![(0, false); dispatch.len()];
        let (plan, custody) = (dispatch.plan(Instant::now()), Custody::default());
        let state =
            State { due: dispatch.next_change(Instant::now()), dispatch, custody, plan, told: 0, version: 0, at };
        let (changed, identity) = (watch::Sender::new(()), watch::Sender::new(identity));
        Rc::new(Self { outbox, monitors, state: RefCell::new(state), changed, networks, identity })
    }

    /// The place where the link of that number works.
    pub(crate) fn desk(self: &Rc<Self>, gateway: usize) -> Desk<O> {
        let (changed, identity) = (self.changed.subscribe(), self.identity.subscribe());
        Desk { changed, identity, way: Rc::default(), hub: Rc::clone(self), gateway }
    }

    /// Looks whether it has changed who carries what.
    fn look(&self, state: &mut State, now: Instant) {
        state.due = state.dispatch.next_change(now);
        let plan = state.dispatch.plan(now);
        if plan == state.plan {
            return;
        }
        let carrying = plan.iter().fold(0, |all, places| all | places);
        let is_in = |places: Places, i: usize| places & 1 << i != 0;
        for (i, monitor) in self.monitors.iter().enumerate() {
            monitor.carries(is_in(carrying, i));
        }
        // While nothing carries there is nobody to tell it to; and the same one again is no news.
        if carrying != 0 && carrying != state.told {
            let of = |places: Places| self.monitors.iter().enumerate().filter(move |(i, _)| is_in(places, *i));
            let reasons: Vec<_> = of(state.told & !carrying)
                .map(|(_, monitor)| format!("{}: {}", monitor.name(), monitor.last_error()))
                .collect();
            // The first one is no change: a recording gives the same events whatever the links do.
            let is_change = state.told != 0;
            of(carrying & !state.told).for_each(|(_, monitor)| monitor.took_over(reasons.join("; "), is_change));
            state.told = carrying;
        }
        state.plan = plan;
        state.version += 1;
        self.changed.send_replace(());
    }

    fn tell_outbox(&self, up: bool) {
        if let Err(error) = lock(&self.outbox).link(up) {
            tracing::error!("{error}; events wait in memory as far as there is room");
        }
    }
}

/// A link's access to the outbox and to what is agreed with the others.
pub(crate) struct Desk<O: ?Sized> {
    hub: Rc<Hub<O>>,
    gateway: usize,
    changed: watch::Receiver<()>,
    identity: watch::Receiver<Identity>,
    /// The way that the link takes.
    way: Rc<Cell<Way>>,
}

impl<O: Outbox + ?Sized> Desk<O> {
    /// The gateway has accepted us.
    pub(crate) fn up(&self, now: Instant) {
        self.hub.tell_outbox(true);
        let state = &mut *self.hub.state.borrow_mut();
        state.dispatch.up(self.gateway, now);
        self.hub.look(state, now);
    }

    /// The connection has ended.
    pub(crate) fn down(&self, now: Instant) {
        self.hub.networks.closed(self.way.get());
        let state = &mut *self.hub.state.borrow_mut();
        state.dispatch.down(self.gateway, now);
        self.hub.look(state, now);
        // The others may have waited for this one.
        self.hub.changed.send_replace(());
        if (0..state.dispatch.len()).all(|i| !state.dispatch.is_up(i)) {
            self.hub.tell_outbox(false);
        }
    }

    /// Who sends; [`Self::is_renamed`] tells when that is no longer so.
    pub(crate) fn identity(&mut self) -> Identity {
        self.identity.borrow_and_update().clone()
    }

    /// Whether it is no longer who [`Self::identity`] said.
    pub(crate) fn is_renamed(&self) -> bool {
        self.identity.has_changed().unwrap_or(false)
    }

    /// Whether there ought to be a connection, or to go on being this one.
    pub(crate) fn wanted(&self, now: Instant) -> bool {
        !self.is_renamed() && self.hub.state.borrow().dispatch.wanted(self.gateway, now)
    }

    /// When [`Self::wanted`] or [`Self::turn`] may change by time alone.
    pub(crate) fn next_change(&self, now: Instant) -> Option<Instant> {
        self.hub.state.borrow().dispatch.next_change(now)
    }

    /// Waits until [`Self::wanted`] or [`Self::turn`] may have changed otherwise.
    pub(crate) async fn changed(&mut self) {
        if self.changed.changed().await.is_err() {
            std::future::pending().await
        }
    }

    /// What the link, which is up and has so much in flight, may do.
    pub(crate) fn turn(&self, in_flight: usize, now: Instant) -> Turn {
        let state = &mut *self.hub.state.borrow_mut();
        if state.due.is_some_and(|due| due <= now) {
            self.hub.look(state, now);
        }
        if state.at[self.gateway].0 != state.version {
            if in_flight > 0 {
                return Turn::Wait;
            }
            state.at[self.gateway] = (state.version, false);
            self.hub.changed.send_replace(());
        }
        let ready = |i: usize| !state.dispatch.is_up(i) || state.at[i].0 == state.version;
        if !(0..state.dispatch.len()).all(ready) {
            return Turn::Wait;
        }
        if std::mem::replace(&mut state.at[self.gateway].1, true) { Turn::Go } else { Turn::GoAnew }
    }

    /// The way that the link takes.
    pub(crate) fn way(&self) -> &Rc<Cell<Way>> {
        &self.way
    }

    /// Which classes may go over it now.
    pub(crate) fn permits(&self, now: Instant) -> Permits {
        self.hub.networks.permits(self.way.get(), now)
    }

    /// So many bytes were handed over.
    pub(crate) fn handed(&self, bytes: usize) {
        self.hub.networks.handed(self.way.get(), bytes);
    }

    /// The first batch of `class` beyond `after`.
    pub(crate) fn read(&self, class: Class, after: u64) -> Result<Option<Batch>, OutboxError> {
        let mut outbox = lock(&self.hub.outbox);
        if let Some(identity) = outbox.identity()
            && *identity != *self.hub.identity.borrow()
        {
            // What there is now is for connections under the new name; nothing of the old one's waits.
            self.hub.identity.send_replace(identity.clone());
            self.hub.changed.send_replace(());
        }
        if self.is_renamed() {
            return Ok(None);
        }
        let batch = outbox.read(class, after)?;
        drop(outbox);
        if let Some(first) = batch.as_ref().map(|batch| batch.first_seq).filter(|_| after == 0) {
            self.hub.state.borrow_mut().custody.forget_before(class, first);
        }
        Ok(batch)
    }

    /// Whether this link is to send the batch.
    pub(crate) fn carries(&self, batch: &Batch, now: Instant) -> bool {
        let state = &mut *self.hub.state.borrow_mut();
        // Stored when other rules held.
        if batch.regions.as_ref().is_some_and(|regions| state.dispatch.learn(regions)) {
            self.hub.look(state, now);
            self.hub.changed.send_replace(());
        }
        let name = (batch.class.rank(), batch.first_seq, batch.last_seq);
        let places = state.dispatch.carriers(batch.class, batch.regions.as_ref(), now);
        places & 1 << self.gateway != 0 && !state.custody.has(self.gateway, name)
    }

    /// The gateway has settled a batch. Returns whether that has led to a gap event.
    pub(crate) fn settle(&self, batch: &Batched, outcome: Outcome) -> Result<bool, (&'static str, OutboxError)> {
        let (class, first) = (batch.class, batch.first);
        let done = {
            let state = &mut *self.hub.state.borrow_mut();
            let needed = state.dispatch.places(class, batch.regions.as_ref());
            state.custody.settle(self.gateway, (class.rank(), first, batch.last), outcome, needed)
        };
        let Some(outcome) = done else { return Ok(false) };
        let mut outbox = lock(&self.hub.outbox);
        let failed = |doing| move |error| (doing, error);
        match outcome {
            Outcome::Taken => outbox.ack(class, first).map_err(failed("ack")).map(|()| false),
            Outcome::Refused(cause) => outbox.reject(class, first, cause).map_err(failed("reject")).map(|()| true),
            Outcome::RefusedSome(seqs, cause) => {
                outbox.reject_events(class, first, &seqs, cause).map_err(failed("reject")).map(|()| true)
            }
        }
    }
}

/// A batch without its payload.
#[derive(Debug, Clone)]
pub(crate) struct Batched {
    pub(crate) class: Class,
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) regions: Option<Regions>,
}

impl From<&Batch> for Batched {
    fn from(batch: &Batch) -> Self {
        let Batch { class, first_seq: first, last_seq: last, ref regions, .. } = *batch;
        Self { class, first, last, regions: regions.clone() }
    }
}
