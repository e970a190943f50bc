//! What the configuration asks for.

use std::sync::Arc;

use crate::engine::SignalId;
use crate::event::{Identity, Regions};

use super::{Naming, Pseudonyms};

/// All of it.
#[derive(Debug, Clone, Default)]
pub struct PrivacySpec {
    /// In the order of the configuration.
    pub rules: Vec<Rule>,
    /// Makes pseudonyms; there if any rule, or the vehicle, needs them.
    pub pseudonyms: Option<Arc<Pseudonyms>>,
    /// The vehicle goes by a pseudonym.
    pub vehicle: bool,
}

/// What is done to some signals in some classes.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// The signals; empty: whole events of the classes.
    pub signals: Vec<SignalId>,
    /// By class rank: where it holds.
    pub classes: [bool; 5],
    /// What becomes of values.
    pub value: Option<Measure>,
    /// Times are rounded down to a multiple of this, nanoseconds.
    pub bucket_ns: Option<u64>,
    /// The regions whose gateways alone may have it.
    pub regions: Option<Regions>,
}

/// What becomes of a value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Measure {
    /// It does not leave the vehicle.
    Drop,
    /// To the next multiple of this, in the signal's unit.
    Round(f64),
    /// A latitude in degrees, to the middle of its cell of so many metres.
    Latitude(f64),
    /// A longitude in degrees, to the middle of its cell of so many metres, beside this latitude.
    Longitude(f64, SignalId),
    /// A pseudonym in its place.
    Pseudonym,
}

impl PrivacySpec {
    /// By which name a vehicle goes.
    pub fn naming(&self, plain: Identity) -> Naming {
        match &self.pseudonyms {
            Some(pseudonyms) if self.vehicle => Naming::pseudonymous(plain, pseudonyms.clone()),
            _ => plain.into(),
        }
    }

    /// All sets of regions that events may be restricted to by these rules.
    pub fn audiences(&self) -> Vec<Regions> {
        let mut all: Vec<Regions> = Vec::new();
        for regions in self.rules.iter().filter_map(|rule| rule.regions.as_ref()) {
            // What two rules have in common, too.
            let more: Vec<Regions> =
                all.iter().filter_map(|other| other.and(regions)).chain([regions.clone()]).collect();
            more.into_iter().for_each(|set| {
                if !all.contains(&set) {
                    all.push(set);
                }
            });
        }
        all
    }
}
