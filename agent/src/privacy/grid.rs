//! Positions on a grid: a cell stands for every place in it.
//!
//! Rows of one height from pole to pole, and in each row cells of one width: a degree of longitude is shorter the nearer
//! the pole, so that its cells are more degrees wide. The width is that of the row's middle; errors of the sphere for the
//! ellipsoid are below one percent.

/// Of a degree of latitude, metres.
const METRES: f64 = 111_320.0;
/// Rows nearer to the pole than this cosine tells have the width of the last one that is not.
const LEAST_COSINE: f64 = 0.01;

/// The middle of a latitude's row, degrees; `None` for what is no latitude.
pub(super) fn latitude(degrees: f64, metres: f64) -> Option<f64> {
    (-90.0..=90.0).contains(&degrees).then(|| middle(degrees, 90.0, metres / METRES))
}

/// The middle of a longitude's cell in the row of `latitude`, degrees; `None` for what is no longitude.
pub(super) fn longitude(degrees: f64, latitude: f64, metres: f64) -> Option<f64> {
    let width = metres / METRES / latitude.to_radians().cos().max(LEAST_COSINE);
    (-180.0..=180.0).contains(&degrees).then(|| middle(degrees, 180.0, width))
}

/// Cells of `width` from `-end` to `end`; the last one may be smaller.
fn middle(degrees: f64, end: f64, width: f64) -> f64 {
    let cells = (2.0 * end / width).ceil().max(1.0);
    let cell = ((degrees + end) / width).floor().clamp(0.0, cells - 1.0);
    let middle = ((cell + 0.5) * width).min(2.0 * end) - end;
    // 0.1 m; more digits say nothing.
    (middle * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_cell_is_near_and_the_same_for_all_in_it(
            lat in -89.0..89.0f64, lon in -180.0..180.0f64, metres in 10.0..50_000.0f64, within in 0.0..1.0f64
        ) {
            let row = latitude(lat, metres).unwrap();
            let cell = longitude(lon, row, metres).unwrap();
            prop_assert!((row - lat).abs() * METRES <= metres / 2.0 + 1.0);
            let width = METRES * row.to_radians().cos().max(LEAST_COSINE);
            prop_assert!((cell - lon).abs() * width <= metres / 2.0 + 1.0, "{cell} {lon}");
            // What is told says nothing more than itself.
            let other = (row + (within - 0.5) * 0.99 * metres / METRES).clamp(-90.0, 90.0);
            prop_assert_eq!(latitude(other, metres), Some(row));
            prop_assert_eq!(longitude(cell, row, metres), Some(cell));
        }
    }

    #[test]
    fn places_that_there_are_not() {
        for bad in [f64::NAN, f64::INFINITY, 90.001, -91.0] {
            assert_eq!(latitude(bad, 1000.0), None);
        }
        assert_eq!(longitude(181.0, 0.0, 1000.0), None);
        for end in [-180.0, 180.0] {
            assert!(longitude(end, 89.9, 50_000.0).is_some_and(|cell| cell.abs() <= 180.0));
        }
        assert!(latitude(90.0, 1000.0).is_some_and(|row| row <= 90.0));
    }
}
