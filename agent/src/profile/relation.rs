//! The third and fourth pass over the recordings: which fields follow from others.
//!
//! Wheels of one axle, the speed and its copy in another message: where one field has been a straight line of another all
//! along, one that leaves it alone is at fault. A short recording is full of such lines that mean nothing (speed and engine
//! speed, as long as nobody changes gear); so both halves of it must show the same one, each with fields that move far.

use super::{MAX_RELATIONS, Relation};
use crate::profile::Place;

/// Fields are looked at so often, nanoseconds,
pub(super) const GRID_NS: u64 = 200_000_000;
/// and those that are older than this not at all.
pub(super) const MAX_AGE_NS: u64 = 2_000_000_000;
/// No relations are looked for in less, seconds.
pub(super) const MIN_SECONDS: f64 = 300.0;
/// Most fields that are compared, each with each.
pub(super) const MAX_COMPARED: usize = 256;
/// Correlation from which two fields are held to move together.
const CORRELATION: f64 = 0.995;
/// And of what both do within so many grid points, two seconds: two temperatures rise together for a quarter of an hour, and
/// have nothing to do with each other.
const MOVES: usize = 10;
/// See [`MOVES`].
const MOVES_CORRELATION: f64 = 0.9;
/// By how much the slopes in both halves may differ.
const SLOPES: f64 = 0.05;
/// Each half covers so much of the whole range at least.
const COVERS: f64 = 0.5;
/// Grid points that each half needs.
const MIN_SAMPLES: f64 = 200.0;
/// A relation that was off by more than this share of the range is none.
const OFF: f64 = 0.2;

/// Sums over pairs of fields, one half of the recordings after the other.
pub(super) struct Together {
    places: Vec<Place>,
    halves: [Sums; 2],
    /// Of the differences to the values of [`MOVES`] grid points before, which are these, the oldest next.
    moves: [Sums; 2],
    before: Vec<Vec<f64>>,
    next: usize,
    differences: Vec<f64>,
}

#[derive(Clone)]
struct Sums {
    /// By pair, `x * fields + y` with x before y: samples, sums of x, y, xx, xy, yy.
    pairs: Vec<[f64; 6]>,
    /// By field.
    ranges: Vec<(f64, f64)>,
}

impl Sums {
    fn add(&mut self, values: &[f64]) {
        let n = values.len();
        for (i, x) in values.iter().enumerate().filter(|(_, x)| !x.is_nan()) {
            let range = &mut self.ranges[i];
            *range = (range.0.min(*x), range.1.max(*x));
            for (j, y) in values.iter().enumerate().skip(i + 1).filter(|(_, y)| !y.is_nan()) {
                let pair = &mut self.pairs[i * n + j];
                for (sum, term) in pair.iter_mut().zip([1.0, *x, *y, x * x, x * y, y * y]) {
                    *sum += term;
                }
            }
        }
    }

    /// Of a pair, x first.
    fn pair(&self, x: usize, y: usize) -> [f64; 6] {
        let n = self.ranges.len();
        let [c, sx, sy, sxx, sxy, syy] = self.pairs[x.min(y) * n + x.max(y)];
        if x < y { [c, sx, sy, sxx, sxy, syy] } else { [c, sy, sx, syy, sxy, sxx] }
    }
}

/// A line through the values of two fields.
#[derive(Debug, Clone, Copy)]
struct Line {
    slope: f64,
    offset: f64,
    correlation: f64,
}

impl Together {
    pub(super) fn new(places: Vec<Place>) -> Self {
        let n = places.len();
        let sums = Sums { pairs: vec![[0.0; 6]; n * n], ranges: vec![(f64::INFINITY, f64::NEG_INFINITY); n] };
        let [halves, moves] = [[sums.clone(), sums.clone()], [sums.clone(), sums]];
        let before = vec![vec![f64::NAN; n]; MOVES];
        Self { places, halves, moves, before, next: 0, differences: vec![f64::NAN; n] }
    }

    pub(super) fn places(&self) -> &[Place] {
        &self.places
    }

    /// A grid point: the fields' values, NaN where there is none.
    pub(super) fn sample(&mut self, values: &[f64], half: usize) {
        let half = half.min(1);
        self.halves[half].add(values);
        let before = &mut self.before[self.next];
        for ((difference, before), value) in self.differences.iter_mut().zip(before).zip(values) {
            *difference = value - std::mem::replace(before, *value);
        }
        self.next = (self.next + 1) % MOVES;
        self.moves[half].add(&self.differences);
    }

    /// For each field the one that it follows from best, if any; how far off it is comes later.
    pub(super) fn relations(&self) -> Vec<Relation> {
        let n = self.places.len();
        let mut found = Vec::new();
        for y in 0..n {
            let lines = (0..n).filter(|x| *x != y).filter_map(|x| Some((x, self.line(x, y)?)));
            let best = lines.max_by(|a, b| a.1.correlation.total_cmp(&b.1.correlation));
            if let Some((x, line)) = best
                && found.len() < MAX_RELATIONS
            {
                let (x, y) = (self.places[x].clone(), self.places[y].clone());
                found.push(Relation { x, y, slope: line.slope, offset: line.offset, off: 0.0 });
            }
        }
        found
    }

    /// The line from field `x` to field `y`, if both halves agree on it.
    fn line(&self, x: usize, y: usize) -> Option<Line> {
        let span = |(low, high): (f64, f64)| high - low;
        let whole = |i: usize| {
            let [a, b] = [self.halves[0].ranges[i], self.halves[1].ranges[i]];
            span((a.0.min(b.0), a.1.max(b.1)))
        };
        let covers = |half: &Sums| [x, y].into_iter().all(|i| span(half.ranges[i]) >= COVERS * whole(i));
        if !self.halves.iter().all(covers) {
            return None;
        }
        let moves = |half: &Sums| fit(half.pair(x, y)).is_some_and(|line| line.correlation >= MOVES_CORRELATION);
        if !self.moves.iter().all(moves) {
            return None;
        }
        let [a, b] = [self.halves[0].pair(x, y), self.halves[1].pair(x, y)];
        let (first, second) = (fit(a)?, fit(b)?);
        let agree = (first.slope - second.slope).abs() <= SLOPES * first.slope.abs();
        let good = agree && first.correlation >= CORRELATION && second.correlation >= CORRELATION;
        let mut all = a;
        all.iter_mut().zip(b).for_each(|(sum, more)| *sum += more);
        fit(all).filter(|_| good)
    }
}

/// Least squares.
fn fit([count, sx, sy, sxx, sxy, syy]: [f64; 6]) -> Option<Line> {
    if count < MIN_SAMPLES {
        return None;
    }
    let (vx, vy, c) = (sxx - sx * sx / count, syy - sy * sy / count, sxy - sx * sy / count);
    // Sums that cancel leave nothing but rounding.
    if vx <= 1e-9 * sxx || vy <= 1e-9 * syy {
        return None;
    }
    let slope = c / vx;
    Some(Line { slope, offset: (sy - slope * sx) / count, correlation: c.abs() / (vx * vy).sqrt() })
}

/// How far off relations are.
pub(super) struct Residuals {
    /// With the places of x and y among the fields.
    relations: Vec<(Relation, usize, usize)>,
    ranges: Vec<(f64, f64)>,
}

impl Residuals {
    pub(super) fn new(together: &Together) -> Self {
        let at = |place: &Place| together.places.iter().position(|p| p == place).unwrap_or(usize::MAX);
        let relations = together.relations();
        let relations = relations.into_iter().map(|r| (at(&r.x), at(&r.y), r)).map(|(x, y, r)| (r, x, y)).collect();
        Self { relations, ranges: vec![(f64::INFINITY, f64::NEG_INFINITY); together.places.len()] }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.relations.is_empty()
    }

    pub(super) fn sample(&mut self, values: &[f64]) {
        for (range, value) in self.ranges.iter_mut().zip(values).filter(|(_, value)| !value.is_nan()) {
            *range = (range.0.min(*value), range.1.max(*value));
        }
        for (relation, x, y) in &mut self.relations {
            let (x, y) = (values[*x], values[*y]);
            if !x.is_nan() && !y.is_nan() {
                relation.off = relation.off.max((relation.slope * x + relation.offset - y).abs());
            }
        }
    }

    /// Those that were never far off.
    pub(super) fn finish(self) -> Vec<Relation> {
        let near = |(relation, _, y): &(Relation, usize, usize)| {
            let (low, high) = self.ranges[*y];
            relation.off <= OFF * (high - low)
        };
        self.relations.iter().filter(|r| near(r)).map(|(relation, ..)| relation.clone()).collect()
    }
}
