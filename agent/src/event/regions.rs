//! Where an event may go.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// A set of regions, at least one: only gateways of these may have an event.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Regions(Arc<str>);

impl Regions {
    /// The set of `names`, which hold no comma; `None` for no names.
    pub fn new<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> Option<Self> {
        let mut names: Vec<T> = names.into_iter().collect();
        names.sort_unstable_by(|a, b| a.as_ref().cmp(b.as_ref()));
        names.dedup_by(|a, b| a.as_ref() == b.as_ref());
        let text = names.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join(",");
        (!text.is_empty()).then(|| Self(text.into()))
    }

    /// The names in order, with commas between.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The names in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.split(',')
    }

    /// Whether the region is among them.
    pub fn contains(&self, region: &str) -> bool {
        self.names().any(|name| name == region)
    }

    /// The regions that are in both; `None`: there is none.
    pub fn and(&self, other: &Self) -> Option<Self> {
        if self == other {
            return Some(self.clone());
        }
        Self::new(self.names().filter(|name| other.contains(name)))
    }
}

impl fmt::Debug for Regions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A list of names.
impl Serialize for Regions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // An array whose length is told first: one of unknown length has another encoding.
        self.names().collect::<Vec<_>>().serialize(serializer)
    }
}
