//! Numbers as commands print them.

use std::io::{self, Write};

/// Seconds with all digits that the nanoseconds have, at least six: candump's form.
pub(super) fn write_seconds(out: &mut impl Write, ns: u64) -> io::Result<()> {
    let (seconds, rest) = (ns / 1_000_000_000, ns % 1_000_000_000);
    if rest % 1000 == 0 { write!(out, "{seconds}.{:06}", rest / 1000) } else { write!(out, "{seconds}.{rest:09}") }
}

/// The shortest form that reads back as the same number; nothing for one that is not finite.
pub(super) fn write_number(out: &mut impl Write, x: f64) -> io::Result<()> {
    if !x.is_finite() {
        return Ok(());
    }
    serde_json::to_writer(out, &x).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_keep_every_digit() {
        let text = |ns| {
            let mut out = Vec::new();
            write_seconds(&mut out, ns).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(text(1_500_046_408_584_959_000), "1500046408.584959");
        assert_eq!(text(1_000_000_001), "1.000000001");
        assert_eq!(text(0), "0.000000");
    }
}
