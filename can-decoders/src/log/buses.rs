//! The table of a recording's buses.

use super::BusName;
use crate::frame::BusId;

/// Numbers of buses are bytes; one is left for "none".
pub(super) const MAX_BUSES: usize = 255;

/// Names of buses, and what the file calls them.
#[derive(Debug, Default)]
pub(super) struct Buses {
    names: Vec<String>,
    /// The bus of the last frame: mostly also that of the next.
    last: usize,
    /// Channels that were seen, with their places in `names`.
    channels: Vec<(u16, usize)>,
}

impl Buses {
    pub(super) fn new(names: Vec<String>) -> Self {
        Self { names, last: 0, channels: Vec::new() }
    }

    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// The number of a bus; `None` when there are too many.
    #[inline(always)]
    pub(super) fn number(&mut self, bus: BusName<'_>) -> Option<BusId> {
        match bus {
            BusName::Name(name) => self.named(name)?,
            BusName::Channel(channel) => match self.channels.iter().find(|(known, _)| *known == channel) {
                Some((_, known)) => self.last = *known,
                None => {
                    // Channels count from 1, and 0 is refused where they are read.
                    self.named(&format!("can{}", channel.saturating_sub(1)))?;
                    self.channels.push((channel, self.last));
                }
            },
        }
        u8::try_from(self.last).ok().map(BusId)
    }

    #[inline(always)]
    fn named(&mut self, name: &str) -> Option<()> {
        if self.names.get(self.last).is_some_and(|bus| bus == name) { Some(()) } else { self.look_up(name) }
    }

    fn look_up(&mut self, name: &str) -> Option<()> {
        self.last = match self.names.iter().position(|bus| bus == name) {
            Some(known) => known,
            None if self.names.len() >= MAX_BUSES => return None,
            None => {
                self.names.push(name.to_owned());
                self.names.len() - 1
            }
        };
        Some(())
    }
}
