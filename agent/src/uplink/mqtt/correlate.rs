//! Which acknowledgement belongs to which message.
//!
//! The client library does not say which packet identifier a message gets. It reports the
//! identifiers in the order in which it takes messages from its channel, so a queue on this side
//! tells which message it was. When the next identifier is still in use (the gateway acknowledges
//! out of order) the library parks the message, and reports it as sent once that identifier is free.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Instant;

use thiserror::Error;

/// The library or the gateway did what cannot be: the connection has to be given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum CorrelateError {
    /// The library sent what it was not given.
    #[error("packet {0} was sent without a message")]
    NothingQueued(u16),
    /// An acknowledgement of nothing.
    #[error("packet {0} was acknowledged but not sent")]
    NotSent(u16),
}

/// Messages handed to the library and not yet acknowledged.
#[derive(Debug)]
pub(super) struct Correlator<T> {
    /// All of them by the order in which they were handed over.
    unacked: BTreeMap<u64, T>,
    /// Handed over, no identifier known yet.
    queued: VecDeque<u64>,
    /// Waits for its identifier to become free.
    parked: Option<(u16, u64)>,
    by_id: HashMap<u16, u64>,
    next: u64,
    /// Since when the oldest has been the oldest. Gateways acknowledge in order, so it is time
    /// without progress, whatever the window and the speed of the link.
    oldest_since: Instant,
}

impl<T> Correlator<T> {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            unacked: BTreeMap::new(),
            queued: VecDeque::new(),
            parked: None,
            by_id: HashMap::new(),
            next: 0,
            oldest_since: now,
        }
    }

    /// Messages not yet acknowledged.
    pub(super) fn len(&self) -> usize {
        self.unacked.len()
    }

    /// A message was handed to the library.
    pub(super) fn handed(&mut self, message: T, now: Instant) {
        if self.unacked.is_empty() {
            self.oldest_since = now;
        }
        self.unacked.insert(self.next, message);
        self.queued.push_back(self.next);
        self.next += 1;
    }

    /// The library has sent a message as packet `id`.
    pub(super) fn sent(&mut self, id: u16) -> Result<(), CorrelateError> {
        let order = match self.parked {
            Some((parked, order)) if parked == id => {
                self.parked = None;
                order
            }
            _ => self.queued.pop_front().ok_or(CorrelateError::NothingQueued(id))?,
        };
        self.by_id.insert(id, order);
        Ok(())
    }

    /// The library keeps a message back until packet `id` is acknowledged.
    pub(super) fn parked(&mut self, id: u16) -> Result<(), CorrelateError> {
        let order = self.queued.pop_front().ok_or(CorrelateError::NothingQueued(id))?;
        self.parked = Some((id, order));
        Ok(())
    }

    /// Whether a message waits for packet `id` to be acknowledged.
    pub(super) fn waits_for(&self, id: u16) -> bool {
        self.parked.is_some_and(|(parked, _)| parked == id)
    }

    /// Packet `id` was acknowledged: the message, which is forgotten here.
    pub(super) fn acked(&mut self, id: u16, now: Instant) -> Result<T, CorrelateError> {
        let order = self.by_id.remove(&id).ok_or(CorrelateError::NotSent(id))?;
        if self.unacked.first_key_value().is_some_and(|(oldest, _)| *oldest == order) {
            self.oldest_since = now;
        }
        self.unacked.remove(&order).ok_or(CorrelateError::NotSent(id))
    }

    /// The oldest message that is not acknowledged, and since when it has been the oldest.
    pub(super) fn oldest(&self) -> Option<(&T, Instant)> {
        self.unacked.first_key_value().map(|(_, message)| (message, self.oldest_since))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn identifiers_follow_the_order_of_the_channel() {
        let now = Instant::now();
        let mut c = Correlator::new(now);
        for name in ["a", "b", "c"] {
            c.handed(name, now);
        }
        c.sent(1).unwrap();
        c.sent(2).unwrap();
        assert_eq!(c.acked(2, now), Ok("b"));
        assert_eq!(c.acked(2, now), Err(CorrelateError::NotSent(2)));
        c.sent(3).unwrap();
        assert_eq!(c.acked(1, now), Ok("a"));
        assert_eq!(c.acked(3, now), Ok("c"));
        assert_eq!(c.len(), 0);
        assert_eq!(c.sent(4), Err(CorrelateError::NothingQueued(4)));
    }

    #[test]
    fn a_parked_message_takes_its_identifier_when_it_is_free() {
        let now = Instant::now();
        let mut c = Correlator::new(now);
        for name in ["a", "b", "c", "d"] {
            c.handed(name, now);
        }
        c.sent(1).unwrap();
        c.sent(2).unwrap();
        assert_eq!(c.acked(2, now), Ok("b"));
        c.parked(1).unwrap();
        assert!(c.waits_for(1) && !c.waits_for(2));
        assert_eq!(c.acked(1, now), Ok("a"));
        c.sent(1).unwrap();
        c.sent(2).unwrap();
        assert_eq!(c.acked(1, now), Ok("c"));
        assert_eq!(c.acked(2, now), Ok("d"));
    }

    #[test]
    fn the_oldest_ages_from_when_it_became_the_oldest() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let mut c = Correlator::new(start);
        assert_eq!(c.oldest(), None);
        c.handed("a", at(1));
        c.handed("b", at(2));
        c.handed("c", at(3));
        for id in 1..=3 {
            c.sent(id).unwrap();
        }
        assert_eq!(c.oldest(), Some((&"a", at(1))));
        c.acked(2, at(4)).unwrap();
        assert_eq!(c.oldest(), Some((&"a", at(1))), "an ack out of order is no progress");
        c.acked(1, at(5)).unwrap();
        assert_eq!(c.oldest(), Some((&"c", at(5))));
        c.acked(3, at(6)).unwrap();
        c.handed("d", at(9));
        assert_eq!(c.oldest(), Some((&"d", at(9))));
    }
}
