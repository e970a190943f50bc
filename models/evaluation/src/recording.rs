//! Recordings of one vehicle in memory, and what in them can be attacked.

use std::collections::BTreeSet;
use std::path::PathBuf;

use can_decoders::log::{Options, UtcOffset};
use can_decoders::{BusId, CanId, Frame};
use outrider::config::load_catalog;
use outrider::engine::Catalog;
use outrider::source::{Frames, Log};

use crate::attack::{Kind, SignalAt, Victim, number};

/// Recordings of one vehicle, one after the other.
pub struct Recording {
    /// Their frames in the order of their times.
    pub frames: Vec<Frame>,
    /// The names of the buses, by the numbers that frames have.
    pub buses: Vec<String>,
    /// What describes the buses.
    pub catalog: Catalog,
}

impl Recording {
    /// Reads the recordings, of which the part from one share of their time to another is kept. DBC files are given as for
    /// [`load_catalog`].
    ///
    /// # Errors
    /// What cannot be read, and why.
    pub fn load(logs: &[PathBuf], dbc: &[String], (from, to): (f64, f64)) -> Result<Self, String> {
        let mut warnings = Vec::new();
        let catalog = load_catalog(dbc, &mut warnings).map_err(|error| error.to_string())?;
        let mut buses: Vec<String> = catalog.buses().iter().map(|bus| bus.name.to_string()).collect();
        let mut frames: Vec<Frame> = Vec::new();
        for path in logs {
            let options = Options { tolerant: false, buses: buses.clone(), utc_offset: UtcOffset::default() };
            let mut log = Log::open(path, options).map_err(|error| error.to_string())?;
            while let Some(frame) = log.next_frame().map_err(|error| error.to_string())? {
                frames.push(frame);
            }
            buses = log.reader().buses().to_vec();
        }
        frames.sort_by_key(|frame| frame.time_ns);
        let (Some(first), Some(last)) = (frames.first(), frames.last()) else {
            return Err("the recordings have no frames".into());
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a time")]
        let at = |share: f64| first.time_ns + (number(last.time_ns - first.time_ns) * share.clamp(0.0, 1.0)) as u64;
        let (from, to) = (at(from), at(to));
        frames.retain(|frame| (from..=to).contains(&frame.time_ns));
        Ok(Self { frames, buses, catalog })
    }

    /// Has other descriptions for its buses; one for each bus by its name.
    ///
    /// # Errors
    /// When there are more than 256 buses.
    pub fn describe_as(&mut self, catalog: Catalog) -> Result<(), String> {
        let mut numbers = Vec::new();
        let mut buses: Vec<String> = catalog.buses().iter().map(|bus| bus.name.to_string()).collect();
        for name in &self.buses {
            // What has none keeps a number of its own, which nothing is known of.
            let place = buses.iter().position(|bus| bus == name).unwrap_or_else(|| {
                buses.push(name.clone());
                buses.len() - 1
            });
            numbers.push(u8::try_from(place).map_err(|_| "more than 256 buses")?);
        }
        for frame in &mut self.frames {
            frame.bus = BusId(numbers[usize::from(frame.bus.0)]);
        }
        (self.buses, self.catalog) = (buses, catalog);
        Ok(())
    }

    /// The signal called `name`.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn signal(&self, name: &str) -> Result<SignalAt, String> {
        let id = self.catalog.find_signal(name).map_err(|error| error.to_string())?;
        let (bus, signal) =
            self.catalog.place(id).ok_or_else(|| format!("`{name}` is in no frame: name a DBC's signal"))?;
        let plan = self.catalog.buses()[bus].plan.clone();
        let message = plan.signal(signal).message;
        let any = &*self.catalog.buses()[bus].name == outrider::engine::ANY_BUS;
        let number = |n: usize| BusId(u8::try_from(n).unwrap_or(u8::MAX));
        let others_from = any.then(|| number(self.catalog.buses().len()));
        Ok(SignalAt { name: name.to_owned(), bus: number(bus), others_from, plan, message, signal })
    }

    /// How long something was recorded, nanoseconds: without pauses of a minute or more.
    pub fn length_ns(&self) -> u64 {
        let gaps = self.frames.windows(2).map(|pair| pair[1].time_ns - pair[0].time_ns);
        gaps.filter(|gap| *gap < 60_000_000_000).sum()
    }

    fn identifiers(&self) -> Vec<Victim> {
        let ids: BTreeSet<(BusId, CanId)> = self.frames.iter().map(|frame| (frame.bus, frame.id)).collect();
        ids.into_iter().map(|(bus, id)| Victim::Frames { bus, id }).collect()
    }

    /// What `kind` is done to: the signals named, the identifiers named (`BUS:ID`, or `all` that the recording has), or
    /// what is usual for attacks on a bus.
    ///
    /// # Errors
    /// When something is not there, or nothing is named.
    pub fn victims(&self, kind: Kind, signals: &[String], ids: &[String]) -> Result<Vec<Victim>, String> {
        let mut victims = Vec::new();
        if kind == Kind::Unknown {
            return Ok(self.strangers());
        }
        if !kind.is_of_bus() {
            for name in signals {
                victims.push(Victim::Signal(self.signal(name)?));
            }
        }
        for text in ids {
            if text == "all" {
                victims.extend(self.identifiers());
                continue;
            }
            let bad = || format!("`{text}`: an identifier is BUS:ID in hexadecimal, as can0:7E8");
            let (bus, id) = text.split_once(':').ok_or_else(bad)?;
            let bus = self.buses.iter().position(|name| name == bus).and_then(|bus| u8::try_from(bus).ok());
            let number = u32::from_str_radix(id, 16).map_err(|_| bad())?;
            let id = if id.len() > 3 { CanId::extended(number) } else { CanId::standard(number) };
            victims.push(Victim::Frames { bus: BusId(bus.ok_or_else(bad)?), id: id.ok_or_else(bad)? });
        }
        if kind.is_of_bus() && victims.is_empty() {
            victims = self.identifiers();
        }
        // Else it would be said to be attacked, and counted as missed.
        if let Some(absent) = victims.iter().find(|victim| !self.frames.iter().any(|frame| victim.has(frame))) {
            return Err(format!("`{}` is in no frame of the recording", self.name(absent)));
        }
        if victims.is_empty() {
            return Err(format!("{kind}: name --signals or --ids to do it to"));
        }
        Ok(victims)
    }

    /// For each bus eight identifiers that it does not have.
    fn strangers(&self) -> Vec<Victim> {
        let known: BTreeSet<(BusId, CanId)> = self.frames.iter().map(|frame| (frame.bus, frame.id)).collect();
        let buses: BTreeSet<BusId> = known.iter().map(|(bus, _)| *bus).collect();
        let free = |bus: BusId| {
            let ids = (0..0x800).rev().step_by(97).filter_map(CanId::standard);
            ids.filter(|id| !known.contains(&(bus, *id)))
                .take(8)
                .map(|id| Victim::Frames { bus, id })
                .collect::<Vec<_>>()
        };
        buses.into_iter().flat_map(free).collect()
    }

    /// What a victim is called.
    pub fn name(&self, victim: &Victim) -> String {
        match victim {
            Victim::Signal(signal) => signal.name.clone(),
            Victim::Frames { bus, id } => {
                format!("{}:{id}", self.buses.get(usize::from(bus.0)).map_or("?", String::as_str))
            }
        }
    }
}
