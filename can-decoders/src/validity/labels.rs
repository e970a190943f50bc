//! Labels that say "no value".
//!
//! A table of labels may be shared by thousands of signals and have thousands of entries, in a hostile file both. So what
//! a table says is found once, as a few runs of raw values, and each signal looks at those only.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::Rules;
use crate::dbc::Labels;

/// Runs of one table that are believed. A table that says so of more is not about values.
const MAX_RUNS: usize = 16;

/// Words that turn the one that follows into its opposite.
const DENIALS: [&str; 9] = ["no", "not", "non", "without", "kein", "keine", "keinen", "nicht", "ohne"];
/// Of these, such that do so with others in between, as in "no internal error".
const NOUN_DENIALS: [&str; 6] = ["no", "without", "kein", "keine", "keinen", "ohne"];

/// What a label says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Not available.
    Missing,
    /// An error, where the raw value is one of the topmost.
    Wrong,
}

/// Raw values of a table that are none.
pub(super) type Runs = Arc<[(RangeInclusive<i64>, Meaning)]>;

/// The words that are known, and the tables that were looked at.
#[derive(Debug)]
pub(crate) struct Vocabulary {
    missing: Vec<String>,
    wrong: Vec<String>,
    tables: HashMap<*const (i64, Arc<str>), Runs>,
}

impl Vocabulary {
    pub(crate) fn new(rules: &Rules) -> Self {
        let plain = |names: &[String]| names.iter().map(|name| plain(name)).filter(|name| !name.is_empty()).collect();
        Self { missing: plain(&rules.not_available_labels), wrong: plain(&rules.error_labels), tables: HashMap::new() }
    }

    /// What a table says.
    pub(super) fn runs(&mut self, labels: &Labels) -> Runs {
        if labels.is_empty() {
            return Runs::default();
        }
        if let Some(known) = self.tables.get(&labels.as_ptr()) {
            return known.clone();
        }
        let mut runs: Vec<(RangeInclusive<i64>, Meaning)> = Vec::new();
        // Sorted by raw value.
        for (raw, label) in &**labels {
            let Some(meaning) = self.meaning(label) else { continue };
            if let Some((run, same)) = runs.last_mut()
                && *same == meaning
                && run.end().checked_add(1) == Some(*raw)
            {
                *run = *run.start()..=*raw;
            } else if runs.len() > MAX_RUNS {
                break;
            } else {
                runs.push((*raw..=*raw, meaning));
            }
        }
        let runs: Runs = if runs.len() > MAX_RUNS { Runs::default() } else { runs.into() };
        self.tables.insert(labels.as_ptr(), runs.clone());
        runs
    }

    /// What a label says: it is one of the names, or ends with one and does not deny it before.
    fn meaning(&self, label: &str) -> Option<Meaning> {
        let label = plain(label);
        // What is before one of the names.
        let before = |name: &String| {
            let before = label.strip_suffix(name.as_str()).filter(|rest| rest.is_empty() || rest.ends_with(' '))?;
            let denied = before.split_whitespace().next_back().is_some_and(|word| DENIALS.contains(&word));
            (!denied).then_some(before)
        };
        // "No data, SNA" says it twice.
        if self.missing.iter().any(|name| before(name).is_some()) {
            return Some(Meaning::Missing);
        }
        let denies = |before: &str| before.split_whitespace().any(|word| NOUN_DENIALS.contains(&word));
        let says = |name: &String| before(name).is_some_and(|before| !denies(before));
        self.wrong.iter().any(says).then_some(Meaning::Wrong)
    }

    /// True when a label has one of the names in it.
    pub(super) fn mentions(&self, label: &str) -> bool {
        let label = plain(label);
        self.missing.iter().chain(&self.wrong).any(|name| label.contains(name.as_str()))
    }
}

/// Lower case, blanks for what stands between words.
fn plain(text: &str) -> String {
    let text = text.to_lowercase().replace(|c: char| !c.is_alphanumeric() && c != '/', " ");
    text.trim().to_owned()
}
