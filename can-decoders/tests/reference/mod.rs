//! A decoder that follows the DBC's definitions bit by bit: slow, and plain enough to be believed.

use can_decoders::Raw;

/// Where a signal is and what it means.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) start: u32,
    pub(crate) bits: u32,
    pub(crate) little: bool,
    pub(crate) signed: bool,
    pub(crate) float: bool,
    pub(crate) factor: f64,
    pub(crate) offset: f64,
    /// The place of another signal, and the ranges of its raw values.
    pub(crate) selected: Option<(usize, Vec<(u64, u64)>)>,
}

/// The signal's bits, one by one; `None` when one of them is beyond the payload.
pub(crate) fn reference_bits(layout: &Layout, payload: &[u8]) -> Option<u64> {
    let bit = |position: u32| payload.get(position as usize / 8).map(|byte| u64::from(byte >> (position % 8) & 1));
    let mut value = 0;
    if layout.little {
        for n in 0..layout.bits {
            value |= bit(layout.start + n)? << n;
        }
    } else {
        // Motorola: from the most significant bit downwards, then on at the next byte's bit 7.
        let mut position = layout.start;
        for _ in 0..layout.bits {
            value = value << 1 | bit(position)?;
            position = if position.is_multiple_of(8) { position + 15 } else { position - 1 };
        }
    }
    Some(value)
}

pub(crate) fn reference_active(layouts: &[Layout], index: usize, payload: &[u8]) -> bool {
    let Some((by, ranges)) = &layouts[index].selected else { return true };
    let raw = reference_bits(&layouts[*by], payload);
    reference_active(layouts, *by, payload)
        && raw.is_some_and(|raw| ranges.iter().any(|(low, high)| raw >= *low && raw <= *high))
}

/// Exact where factor and offset are integers, in doubles otherwise: as cantools does it.
pub(crate) fn reference_value(layout: &Layout, bits: u64) -> (Raw, f64) {
    let Layout { factor, offset, .. } = *layout;
    if layout.float {
        let float = if layout.bits == 32 {
            f64::from(f32::from_bits(u32::try_from(bits).unwrap()))
        } else {
            f64::from_bits(bits)
        };
        return (Raw::Float(float), float * factor + offset);
    }
    let negative = layout.signed && bits >> (layout.bits - 1) == 1;
    let exact = i128::from(bits) - if negative { 1_i128 << layout.bits } else { 0 };
    let raw = if layout.signed { Raw::Signed(i64::try_from(exact).unwrap()) } else { Raw::Unsigned(bits) };
    let integer = |number: f64| number.fract() == 0.0 && number.abs() <= 2_f64.powi(53);
    let value = if integer(factor) && integer(offset) {
        (exact * format!("{factor}").parse::<i128>().unwrap() + format!("{offset}").parse::<i128>().unwrap()) as f64
    } else {
        exact as f64 * factor + offset
    };
    (raw, value)
}
