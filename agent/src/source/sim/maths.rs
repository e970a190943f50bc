//! The arithmetic that the models share: only `+ - * /`, comparisons and exact roundings.
//!
//! IEEE 754 fixes the results of these to the last bit, on x86 and on ARM; it does not for `sin`, `exp` or `powf`,
//! which come from the platform's libm. Curves are therefore tables or polynomials.

/// Gravity, m/s².
pub(super) const GRAVITY: f64 = 9.81;

/// Moves `state` towards `target` as a first-order lag with time constant `tau` (s) does in `dt` (s).
pub(super) fn lag(state: &mut f64, target: f64, dt: f64, tau: f64) {
    *state += (target - *state) * dt / (tau + dt);
}

/// Moves `state` towards `target` by at most `rate` (units a second).
pub(super) fn ramp(state: &mut f64, target: f64, dt: f64, rate: f64) {
    let most = rate * dt;
    *state += (target - *state).clamp(-most, most);
}

/// Linear interpolation in a table of ascending x; constant beyond its ends.
pub(super) fn interpolate(table: &[(f64, f64)], x: f64) -> f64 {
    let upper = table.partition_point(|&(at, _)| at <= x);
    match (upper.checked_sub(1).and_then(|i| table.get(i)), table.get(upper)) {
        (Some(&(x0, y0)), Some(&(x1, y1))) => y0 + (y1 - y0) * (x - x0) / (x1 - x0),
        (Some(&(_, y)), None) | (None, Some(&(_, y))) => y,
        (None, None) => 0.0,
    }
}

/// A value between `low` and `high`, uniformly.
pub(super) fn uniform(rng: &mut fastrand::Rng, low: f64, high: f64) -> f64 {
    low + (high - low) * rng.f64()
}

/// Roughly normal with standard deviation 1: the sum of four uniform numbers, so never beyond ±3.47.
pub(super) fn gaussian(rng: &mut fastrand::Rng) -> f64 {
    let bits = rng.u64(..);
    let sum: f64 = [0, 16, 32, 48].map(|shift| f64::from((bits >> shift & 0xFFFF) as u16)).iter().sum();
    // Four uniforms on 0..65535: mean 131070, standard deviation 65535 / sqrt(3).
    (sum - 131_070.0) * (1.732_050_807_568_877_2 / 65_535.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpolation_holds_at_points_between_and_beyond() {
        let table = [(0.0, 1.0), (2.0, 5.0), (3.0, 5.0)];
        for (x, y) in [(-1.0, 1.0), (0.0, 1.0), (1.0, 3.0), (2.0, 5.0), (3.0, 5.0), (9.0, 5.0)] {
            assert_eq!(interpolate(&table, x), y, "at {x}");
        }
    }

    #[test]
    fn gaussian_has_mean_0_and_deviation_1() {
        let mut rng = fastrand::Rng::with_seed(7);
        let samples: Vec<f64> = (0..20_000).map(|_| gaussian(&mut rng)).collect();
        let mean = samples.iter().sum::<f64>() / 20_000.0;
        let variance = samples.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / 20_000.0;
        assert!(mean.abs() < 0.03, "{mean}");
        assert!((variance - 1.0).abs() < 0.05, "{variance}");
    }
}
