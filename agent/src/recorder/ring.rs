//! The last seconds, as members of a recording, in memory that is taken once.
//!
//! Members lie one after the other, and from the beginning again when the end is reached; one that would reach over the end
//! begins at the beginning. What is in the way of the next is forgotten, and so is what is too old.

use std::collections::VecDeque;

use crate::engine::BACK_NS;

/// Average bytes of a member, at least: that many there is room for.
const LEAST: usize = 512;

/// A member in the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chunk {
    /// Counted from 0.
    pub(super) number: u64,
    /// Times of its earliest and its latest frame, nanoseconds since the Unix epoch.
    pub(super) first_ns: u64,
    pub(super) last_ns: u64,
    pub(super) frames: u32,
    /// Frames in all members before it.
    pub(super) before: u64,
    /// Of its frames, those that are missing.
    pub(super) missed: u64,
    at: usize,
    length: usize,
}

/// What a member is of.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Span {
    pub(super) first_ns: u64,
    pub(super) last_ns: u64,
    pub(super) frames: u32,
    pub(super) missed: u64,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Ring {
    memory: Vec<u8>,
    chunks: VecDeque<Chunk>,
    keep_ns: u64,
    /// Number of the next one, and frames in all before it.
    next: u64,
    frames: u64,
    /// Where it would begin.
    at: usize,
}

impl Ring {
    /// With so many bytes, and for what is not older than `keep_ns`.
    pub(super) fn new(bytes: usize, keep_ns: u64) -> Self {
        // Written to, so that it is there: a page of zeros is not until somebody writes.
        Self {
            memory: vec![1; bytes],
            chunks: VecDeque::with_capacity(bytes / LEAST),
            keep_ns,
            next: 0,
            frames: 0,
            at: 0,
        }
    }

    pub(super) fn set_keep(&mut self, keep_ns: u64) {
        self.keep_ns = keep_ns;
    }

    /// Takes a member. One that is larger than the ring is not kept.
    pub(super) fn push(&mut self, member: &[u8], about: Span) {
        let Span { first_ns, last_ns, frames, missed } = about;
        let (number, before) = (self.next, self.frames);
        (self.next, self.frames) = (number + 1, before + u64::from(frames));
        // After the clock was set back, what is there is of no time that anybody will ask for.
        let back = |newest: &Chunk| last_ns.saturating_add(BACK_NS) < newest.first_ns;
        if member.len() > self.memory.len() || self.chunks.back().is_some_and(back) {
            self.clear();
        }
        if member.len() > self.memory.len() {
            return;
        }
        if self.at + member.len() > self.memory.len() {
            // What lies up to the end is the oldest.
            while self.chunks.front().is_some_and(|chunk| chunk.at >= self.at) {
                self.chunks.pop_front();
            }
            self.at = 0;
        }
        let (at, end) = (self.at, self.at + member.len());
        while self.chunks.front().is_some_and(|chunk| {
            let in_the_way = chunk.at < end && at < chunk.at + chunk.length;
            // A clock that was set back makes nothing old.
            let old = chunk.last_ns < last_ns.saturating_sub(self.keep_ns);
            in_the_way || old || self.chunks.len() == self.chunks.capacity()
        }) {
            self.chunks.pop_front();
        }
        self.memory[at..end].copy_from_slice(member);
        self.at = end;
        self.chunks.push_back(Chunk { number, first_ns, last_ns, frames, before, missed, at, length: member.len() });
    }

    /// Forgets all that is there.
    pub(super) fn clear(&mut self) {
        self.chunks.clear();
    }

    /// Number of the first member that has something from `from_ns` on, or of the next that comes.
    pub(super) fn first_from(&self, from_ns: u64) -> u64 {
        self.chunks.iter().find(|chunk| chunk.last_ns >= from_ns).map_or(self.next, |chunk| chunk.number)
    }

    /// The first member from this number on that is still there, and its bytes.
    pub(super) fn get(&self, number: u64) -> Option<(Chunk, &[u8])> {
        let first = self.chunks.front()?.number;
        let place = usize::try_from(number.saturating_sub(first)).ok()?;
        let chunk = self.chunks.get(place)?;
        Some((*chunk, &self.memory[chunk.at..chunk.at + chunk.length]))
    }

    /// Bytes of all members from this number on.
    pub(super) fn bytes_from(&self, number: u64) -> u64 {
        self.chunks.iter().filter(|chunk| chunk.number >= number).map(|chunk| chunk.length as u64).sum()
    }

    /// How far back it reaches, nanoseconds.
    #[cfg(test)]
    fn span_ns(&self) -> u64 {
        self.chunks.back().map_or(0, |last| last.last_ns) - self.chunks.front().map_or(0, |first| first.first_ns)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn span(first_ns: u64, last_ns: u64) -> Span {
        Span { first_ns, last_ns, frames: 1, missed: 0 }
    }

    #[test]
    fn it_keeps_so_many_seconds() {
        let mut ring = Ring::new(100_000, 30);
        for n in 0..100 {
            ring.push(&[7; 100], span(n * 10, n * 10 + 9));
        }
        assert_eq!(ring.span_ns(), 39, "whole members");
        assert_eq!((ring.first_from(975), ring.first_from(0), ring.first_from(2000)), (97, 96, 100));
        assert_eq!(ring.get(50).unwrap().0.number, 96, "those before are gone");
        assert!(ring.get(100).is_none());
        // The clock is set back.
        let later = 10 * BACK_NS;
        ring.push(&[7; 100], span(later, later + 9));
        ring.push(&[7; 100], span(5, 9));
        assert_eq!((ring.first_from(0), ring.get(0).unwrap().0.number), (101, 101));
    }

    proptest! {
        /// Against a list of all that came: the last ones that fit are there, as they came.
        #[test]
        fn what_is_there_is_the_newest_and_whole(
            lengths in proptest::collection::vec(0_usize..400, 1..200), bytes in 900_usize..2000,
        ) {
            let mut ring = Ring::new(bytes, u64::MAX);
            let mut all: Vec<Vec<u8>> = Vec::new();
            for (n, length) in (0_u64..).zip(lengths) {
                let member = vec![u8::try_from(n % 251).unwrap(); length];
                ring.push(&member, span(n, n));
                all.push(member);
                let mut number = ring.first_from(0);
                let mut kept = 0;
                while let Some((chunk, found)) = ring.get(number) {
                    prop_assert_eq!(chunk.number, number);
                    prop_assert_eq!(found, &all[usize::try_from(number).unwrap()][..]);
                    kept += found.len();
                    number += 1;
                }
                prop_assert_eq!(number, n + 1, "the newest is there");
                // Nothing is forgotten while there is room: the largest member may not fit behind the last.
                let total: usize = all.iter().map(Vec::len).sum();
                prop_assert!(kept >= total.min(bytes - 800) || ring.chunks.len() >= bytes / LEAST, "{} of {}", kept, total);
            }
        }
    }
}
