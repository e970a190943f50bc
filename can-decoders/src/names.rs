//! Names that several messages or signals have, made unique: what follows knows them by name alone.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::Arc;

/// All names of one kind. Names as they are in the files come before made ones, so that a name that
/// only one has stays, wherever it stands.
#[derive(Debug, Default)]
pub(crate) struct Names(HashMap<Arc<str>, Name>);

#[derive(Debug, Default)]
struct Name {
    given: bool,
    /// Counted on from, so that many of one name take no longer each than the first.
    numbers: u32,
}

impl Names {
    /// All names that will be asked for.
    pub(crate) fn new<'a>(names: impl Iterator<Item = &'a Arc<str>>) -> Self {
        Self(names.map(|name| (name.clone(), Name::default())).collect())
    }

    /// True for the first that asks for the name: it keeps it.
    pub(crate) fn give(&mut self, name: &Arc<str>) -> bool {
        let name = self.0.entry(name.clone()).or_default();
        !std::mem::replace(&mut name.given, true)
    }

    /// `name_suffix`, or when that is taken `name_suffix_2` and so on.
    pub(crate) fn make(&mut self, name: &str, suffix: impl Display) -> Arc<str> {
        let made: Arc<str> = format!("{name}_{suffix}").into();
        if self.0.contains_key(&made) {
            return self.number(&made);
        }
        self.0.insert(made.clone(), Name { given: true, numbers: 0 });
        made
    }

    /// `name_2`, `name_3` and so on, the first that is free.
    pub(crate) fn number(&mut self, name: &Arc<str>) -> Arc<str> {
        let mut numbers = self.0.get(name).map_or(0, |name| name.numbers);
        let made = loop {
            numbers += 1;
            let made: Arc<str> = format!("{name}_{}", numbers + 1).into();
            if !self.0.contains_key(&made) {
                break made;
            }
        };
        self.0.entry(name.clone()).or_default().numbers = numbers;
        self.0.insert(made.clone(), Name { given: true, numbers: 0 });
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_names_avoid_names_that_stand_later() {
        let all: Vec<Arc<str>> = ["S", "S", "S", "S_2", "S_2", "T", "T"].map(Arc::from).to_vec();
        let mut names = Names::new(all.iter());
        let unique = all.iter().map(|name| if names.give(name) { name.clone() } else { names.number(name) });
        assert_eq!(unique.collect::<Vec<_>>(), ["S", "S_3", "S_4", "S_2", "S_2_2", "T", "T_2"].map(Arc::from));
        assert_eq!(&*names.make("S", "0AB"), "S_0AB");
        assert_eq!(&*names.make("S", "0AB"), "S_0AB_2");
    }
}
