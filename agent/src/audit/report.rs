//! The audit's result in words.

use std::fmt;

use super::Audit;
use crate::event::Class;

/// Holes that are named.
const SHOWN: usize = 10;

/// Prints an [`Audit`].
#[derive(Debug)]
pub struct Report<'a> {
    pub(super) audit: &'a Audit,
    pub(super) first: Option<u64>,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.audit.vehicles.is_empty() {
            return writeln!(f, "no events");
        }
        for (name, vehicle) in &self.audit.vehicles {
            let first = vehicle.start(name, self.first);
            let holes = vehicle.holes(first);
            let missing: u64 = holes.iter().map(|(a, b)| b - a + 1).sum();
            writeln!(
                f,
                "{name}: numbers {first} to {}: {} events arrived, {} duplicates, {} lost and explained, {missing} missing, {} out of order",
                vehicle.highest(),
                vehicle.events(),
                vehicle.duplicates(),
                vehicle.explained(),
                vehicle.out_of_order(),
            )?;
            for (class, audit) in Class::ALL.iter().zip(&vehicle.classes) {
                if audit.events + audit.lost == 0 {
                    continue;
                }
                write!(
                    f,
                    "  class {class}: {} events, {} duplicates, {} lost by gap events, {} out of order",
                    audit.events, audit.duplicates, audit.lost, audit.out_of_order
                )?;
                let delays = &audit.delays;
                if let (Some(half), Some(most), Some(nearly_all)) =
                    (delays.quantile(0.5), delays.quantile(0.9), delays.quantile(0.99))
                {
                    let longest = delays.longest();
                    write!(
                        f,
                        "; delay p50 {half:.3} s, p90 {most:.3} s, p99 {nearly_all:.3} s, longest {longest:.3} s"
                    )?;
                }
                writeln!(f)?;
            }
            for (kind, count) in &vehicle.kinds {
                writeln!(f, "  {kind}: {count}")?;
            }
            for (cause, count) in &vehicle.lost {
                writeln!(f, "  in gap events, cause {cause}: {count}")?;
            }
            for (first, last) in holes.iter().take(SHOWN) {
                writeln!(f, "  missing: {first} to {last}")?;
            }
            if holes.len() > SHOWN {
                writeln!(f, "  and {} more holes", holes.len() - SHOWN)?;
            }
        }
        Ok(())
    }
}
