//! How surprising a payload is after the one before it, by nothing but how often each bit changes in healthy traffic.
//!
//! Fields in payloads have bits that change with nearly every frame, at their lower end, and bits that rarely do, if ever.
//! A bit that changes in a share p of the frames adds ln((1 - p) / p) - 3 when it changes, nothing when that is below zero:
//! all but for the constant, the log-likelihood ratio of a change against none, bits taken as independent. Forged payloads change
//! rare bits, many of them at once, and again and again; healthy ones do so once, when something in the vehicle is switched.
//! So what counts is the [`Excess`], a cumulative sum (Page, "Continuous Inspection Schemes", Biometrika 1954): it grows by
//! what a change is more surprising than most of a random one, shrinks by what it is less, and is never below zero. (Bit-flip rates as a description of payloads: Marchetti, Stabili, "READ: Reverse
//! Engineering of Automotive Data Frames", IEEE TIFS 2019.)

/// Random changes have to surprise at least so much, or there is no telling them from healthy ones.
const TELLING: f64 = 8.0;

/// See the module's documentation: the share that is most.
const MOST: f64 = 0.7;
/// What bits that change in a twentieth of the frames would add is taken from all: signed numbers around zero change most of
/// their bits in every other frame, now and then for minutes.
const COMMON: f64 = 3.0;

/// What each bit adds, the least significant of the first byte first, and what bits beyond the longest frame do.
#[derive(Debug, Clone)]
pub struct Weights {
    bits: Box<[f32]>,
    /// What a bit adds that never changed.
    rarest: f64,
}

impl Weights {
    /// Of bits that flipped so often in `changes` changes from one frame to the next.
    pub fn new(flips: &[u32], changes: u64) -> Self {
        let plain = |count: f64| {
            let share = (count + 0.5) / (number(changes) + 1.0);
            ((1.0 - share) / share).ln()
        };
        // With few changes known, none is rare.
        let common = COMMON.min(plain(0.0) / 2.0);
        let weight = |count: f64| (plain(count) - common).max(0.0);
        Self { bits: flips.iter().map(|&count| narrow(weight(count.into()))).collect(), rarest: weight(0.0) }
    }

    /// What a bit adds that never changed.
    pub fn rarest(&self) -> f64 {
        self.rarest
    }

    /// What a random payload adds, on average, after a healthy one: half of all bits change. `None` when that is too little
    /// to tell it from a healthy one.
    pub fn of_random(&self) -> Option<f64> {
        let random = self.bits.iter().map(|weight| f64::from(*weight)).sum::<f64>() / 2.0;
        (random >= TELLING).then_some(random)
    }

    /// The surprise of `next` after `last`, over the bits that both have.
    #[inline]
    pub fn of(&self, last: &[u8], next: &[u8]) -> f64 {
        let mut sum = 0.0_f32;
        for ((weights, a), b) in self.bits.as_chunks::<8>().0.iter().zip(last).zip(next) {
            let mut changed = a ^ b;
            while changed != 0 {
                sum += weights[changed.trailing_zeros() as usize];
                changed &= changed - 1;
            }
        }
        sum.into()
    }
}

/// How surprising the changes of an identifier's payloads were lately. See the module's documentation.
#[derive(Debug, Clone, Copy, Default)]
pub struct Excess(f64);

impl Excess {
    /// Takes the surprise of a change, where random ones have `of_random`; held to `most`.
    #[inline]
    pub fn add(&mut self, surprise: f64, of_random: f64, most: f64) -> f64 {
        self.0 = (self.0 + surprise - MOST * of_random).clamp(0.0, most);
        self.0
    }

    /// Takes away what time does.
    pub fn fade(&mut self, by: f64) {
        self.0 = (self.0 - by).max(0.0);
    }

    /// As it is.
    pub fn level(self) -> f64 {
        self.0
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts; the last bits do not matter")]
fn number(n: u64) -> f64 {
    n as f64
}

#[expect(clippy::cast_possible_truncation, reason = "a few digits are enough")]
fn narrow(x: f64) -> f32 {
    x as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rare_bits_surprise_and_lively_ones_do_not() {
        let mut flips = vec![0; 16];
        (flips[0], flips[1], flips[2], flips[3]) = (1000, 500, 250, 10);
        let weights = Weights::new(&flips, 1000);
        assert_eq!(weights.of(&[0, 0], &[3, 0]), 0.0);
        assert_eq!(weights.of(&[0, 0], &[4, 0]), 0.0);
        assert!((weights.of(&[0, 0], &[8, 0]) - (99.0_f64.ln() - 3.0)).abs() < 0.06);
        assert!((weights.of(&[0, 0], &[0, 0x81]) - 2.0 * weights.rarest()).abs() < 1e-3);
        assert!((weights.rarest() - (2001.0_f64.ln() - 3.0)).abs() < 0.01);
        assert_eq!(weights.of(&[7], &[7, 0xFF]), 0.0, "only what both have");
        assert!(weights.of_random().unwrap() > 5.0 * weights.rarest());
        assert_eq!(Weights::new(&[500; 64], 1000).of_random(), None, "all of it is noise");
        let mut excess = Excess::default();
        let mut add = |surprise: f64, most: f64| excess.add(surprise, 2.0 / MOST, most);
        assert_eq!([add(5.0, 10.0), add(9.0, 8.0), add(0.0, 8.0)], [3.0, 8.0, 6.0]);
        excess.fade(7.0);
        assert_eq!(excess.level(), 0.0);
    }
}
