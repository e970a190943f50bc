//! The first pass over the recordings: what there is of each identifier, when, and which bits change.

use std::collections::BTreeSet;

use can_decoders::Frame;
use can_decoders::integrity::Algorithm;

use super::{Checksum, Counter, Timing};
use crate::engine::guard::WINDOWS_NS;
use crate::engine::guard::window::Window;

/// Checksums of 8 bits and less that are looked for. CRCs that differ only in what they start with or end with have a fixed
/// distance from each other, so one of each polynomial and direction is enough.
const ALGORITHMS: [&str; 13] = [
    "sum8",
    "xor8",
    "CRC-8/SAE-J1850",
    "CRC-8/AUTOSAR",
    "CRC-8/SMBUS",
    "CRC-8/MAXIM-DOW",
    "CRC-8/CDMA2000",
    "CRC-8/WCDMA",
    "CRC-8/BLUETOOTH",
    "CRC-8/DARC",
    "CRC-8/DVB-S2",
    "CRC-8/GSM-B",
    "honda",
];
/// A checksum is believed when its frames had at least so many different payloads, one after the other,
const MIN_CHANGES: u64 = 32;
/// and itself so many values; of a half byte, half as many.
const MIN_VALUES: u32 = 16;

/// All algorithms that are looked for.
pub(super) fn algorithms() -> Vec<Algorithm> {
    ALGORITHMS.iter().filter_map(|name| name.parse().ok()).collect()
}

/// What may be a checksum: the algorithm's number, its byte, its distance.
type Candidate = (usize, usize, u8);

/// The frames of one identifier.
pub(super) struct Traffic {
    pub(super) frames: u64,
    pub(super) lengths: BTreeSet<u8>,
    /// See [`super::Message::flips`].
    pub(super) flips: Vec<u32>,
    gaps: u64,
    /// Seconds, and their squares.
    sums: (f64, f64),
    shortest_ns: u64,
    longest_ns: u64,
    second_ns: u64,
    windows: [Window; 3],
    busiest: [f64; 3],
    /// Payloads that were others than the one before.
    changed: u64,
    last: Option<(u64, Vec<u8>)>,
    /// Checksums that hold so far, of the first frame's length.
    candidates: Option<(usize, Vec<Candidate>)>,
    /// By byte: the values it had.
    values: Vec<[u64; 4]>,
}

impl Traffic {
    pub(super) fn new() -> Self {
        Self {
            frames: 0,
            lengths: BTreeSet::new(),
            flips: Vec::new(),
            gaps: 0,
            sums: (0.0, 0.0),
            shortest_ns: u64::MAX,
            longest_ns: 0,
            second_ns: 0,
            windows: WINDOWS_NS.map(Window::new),
            busiest: [0.0; 3],
            changed: 0,
            last: None,
            candidates: None,
            values: Vec::new(),
        }
    }

    /// There is a pause in the recordings.
    pub(super) fn pause(&mut self) {
        self.last = None;
        self.windows.iter_mut().for_each(Window::clear);
    }

    pub(super) fn frame(&mut self, frame: &Frame, now_ns: u64, algorithms: &[Algorithm]) {
        let payload = frame.payload();
        self.frames += 1;
        self.lengths.insert(u8::try_from(payload.len()).unwrap_or(u8::MAX));
        if self.flips.len() < 8 * payload.len() {
            self.flips.resize(8 * payload.len(), 0);
            self.values.resize(payload.len(), [0; 4]);
        }
        for (window, busiest) in self.windows.iter_mut().zip(&mut self.busiest) {
            *busiest = window.add(now_ns).max(*busiest);
        }
        for (values, byte) in self.values.iter_mut().zip(payload) {
            values[usize::from(byte / 64)] |= 1 << (byte % 64);
        }
        let mut changed = true;
        if let Some((last_ns, last)) = &mut self.last {
            let gap_ns = now_ns.saturating_sub(*last_ns);
            self.gaps += 1;
            self.shortest_ns = self.shortest_ns.min(gap_ns);
            self.second_ns = self.second_ns.max(gap_ns.min(self.longest_ns));
            self.longest_ns = self.longest_ns.max(gap_ns);
            let seconds = seconds(gap_ns);
            self.sums = (self.sums.0 + seconds, self.sums.1 + seconds * seconds);
            for (flips, (a, b)) in self.flips.chunks_exact_mut(8).zip(last.iter().zip(payload)) {
                for (bit, flip) in flips.iter_mut().enumerate() {
                    *flip += u32::from((a ^ b) >> bit & 1);
                }
            }
            changed = last != payload;
            *last_ns = now_ns;
            last.clear();
            last.extend_from_slice(payload);
        } else {
            self.last = Some((now_ns, payload.to_vec()));
        }
        if changed {
            self.changed += 1;
            self.check(payload, algorithms);
        }
    }

    fn check(&mut self, payload: &[u8], algorithms: &[Algorithm]) {
        let Some((length, candidates)) = &mut self.candidates else {
            // In long frames, checksums are at one of the ends.
            let places = |byte: &usize| payload.len() <= 8 || *byte == 0 || *byte == payload.len() - 1;
            let mut candidates = Vec::new();
            for byte in (0..payload.len()).filter(places) {
                for (number, algorithm) in algorithms.iter().enumerate() {
                    candidates.extend(algorithm.distance(payload, byte).map(|distance| (number, byte, distance)));
                }
            }
            self.candidates = Some((payload.len(), candidates));
            return;
        };
        if *length == payload.len() {
            candidates
                .retain(|(number, byte, distance)| algorithms[*number].distance(payload, *byte) == Some(*distance));
        }
    }

    pub(super) fn timing(&self) -> Option<Timing> {
        let mean = self.sums.0 / number(self.gaps);
        let ms = |ns: u64| round(seconds(ns) * 1e3, 1e3);
        (self.gaps > 0).then(|| Timing {
            gaps: self.gaps,
            mean_ms: round(mean * 1e3, 1e3),
            deviation_ms: round((self.sums.1 / number(self.gaps) - mean * mean).max(0.0).sqrt() * 1e3, 1e3),
            shortest_ms: ms(self.shortest_ns),
            longest_ms: ms(self.longest_ns),
            second_ms: ms(self.second_ns),
            busiest: self.busiest.map(|count| round(count, 1e2)),
        })
    }

    /// A checksum that all frames had. Of several, the last byte's: the others follow from it.
    pub(super) fn checksum(&self, algorithms: &[Algorithm]) -> Option<Checksum> {
        let (_, candidates) = self.candidates.as_ref().filter(|_| self.lengths.len() == 1)?;
        let believed = |&&(number, byte, _): &&Candidate| {
            let values: u32 = self.values[byte].iter().map(|word| word.count_ones()).sum();
            let half = algorithms[number].bits() < 8;
            self.changed >= MIN_CHANGES && values >= if half { MIN_VALUES / 2 } else { MIN_VALUES }
        };
        let &(number, byte, distance) =
            candidates.iter().filter(believed).max_by_key(|(number, byte, _)| (*byte, std::cmp::Reverse(*number)))?;
        Some(Checksum { algorithm: algorithms[number].name().into(), byte, distance })
    }

    /// What may be a counter: its lowest bit changes with (nearly) every frame, the next with every other, and so on.
    pub(super) fn counters(&self) -> Vec<Counter> {
        let mut found = Vec::new();
        let share = |bit: usize| f64::from(self.flips[bit]) / number(self.gaps.max(1));
        for first in 0..self.flips.len() {
            if self.gaps < MIN_CHANGES || share(first) < 0.9 {
                continue;
            }
            let (byte, shift) = (first / 8, first % 8);
            let mut expected = 1.0;
            for bits in 1..=(8 - shift) {
                if (share(first + bits - 1) - expected).abs() > 0.25 * expected {
                    break;
                }
                expected /= 2.0;
                if bits >= 2 {
                    let full = 1_u16 << bits;
                    // AUTOSAR's counters leave out the last value.
                    for modulus in [full, full - 1] {
                        let (shift, bits) = (shift_of(shift), shift_of(bits));
                        found.push(Counter { byte, shift, bits, modulus, breaks: 0 });
                    }
                }
            }
        }
        found
    }
}

fn shift_of(bits: usize) -> u32 {
    u32::try_from(bits).unwrap_or(0)
}

/// Of what people read.
fn round(x: f64, steps: f64) -> f64 {
    (x * steps).round() / steps
}

#[expect(clippy::cast_precision_loss, reason = "durations and counts; the last bits do not matter")]
pub(super) fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

#[expect(clippy::cast_precision_loss, reason = "counts; the last bits do not matter")]
pub(super) fn number(n: u64) -> f64 {
    n as f64
}
