//! What the flight recorder costs: the engine's thread, which copies frames, and the recorder's own, which makes compressed lines.

use std::path::Path;
use std::sync::{Arc, Mutex};

use criterion::Criterion;
use outrider::event::{Class, Event, Identity, LossCause};
use outrider::outbox::{Batch, Outbox, OutboxError, OutboxStat};
use outrider::recorder::{Bounds, Recorder, RecorderConfig, Settings};
use outrider::uplink::Waker;

use crate::drive::Drive;
use crate::per_item;

/// Nobody sends anything.
struct Nowhere;

impl Outbox for Nowhere {
    fn append(&mut self, _: &Event) -> Result<u64, OutboxError> {
        Ok(1)
    }
    fn commit(&mut self) -> Result<(), OutboxError> {
        Ok(())
    }
    fn read(&mut self, _: Class, _: u64) -> Result<Option<Batch>, OutboxError> {
        Ok(None)
    }
    fn ack(&mut self, _: Class, _: u64) -> Result<(), OutboxError> {
        Ok(())
    }
    fn reject(&mut self, _: Class, _: u64, _: LossCause) -> Result<(), OutboxError> {
        Ok(())
    }
    fn lost(&mut self, _: Class, _: u64, _: LossCause) -> Result<(), OutboxError> {
        Ok(())
    }
    fn stat(&self) -> OutboxStat {
        OutboxStat::default()
    }
    fn close(&mut self) -> Result<(), OutboxError> {
        Ok(())
    }
}

fn start(drive: &Drive, dir: &Path) -> Recorder {
    // A directory is locked for as long as a recorder has it.
    let dir = tempfile::tempdir_in(dir).unwrap().keep();
    let bounds = Bounds { upload: false, ..Bounds::default() };
    let config = RecorderConfig { dir, memory_bytes: 4 << 20, bounds };
    let settings = Settings {
        catalog: drive.catalog.clone(),
        hidden: Default::default(),
        about: Vec::new(),
        regions: None,
        bounds,
    };
    let identity = Identity { vehicle: "bench".into(), boot: "bench".into() };
    let outside: (Arc<Mutex<dyn Outbox>>, Waker) = (Arc::new(Mutex::new(Nowhere)), Waker::new());
    Recorder::start(&config, settings, identity, outside, false).unwrap()
}

pub(crate) fn all(criterion: &mut Criterion, drives: &[Drive], scratch: &Path) {
    // As many as there are blocks for: nobody waits.
    const FREE: usize = 3500;
    let mut group = criterion.benchmark_group("recorder-copy");
    for drive in drives {
        let frames = &drive.frames[..FREE.min(drive.frames.len())];
        let fresh = || Some(start(drive, scratch));
        per_item(&mut group, drive.name, frames.len(), fresh, |recorder| {
            frames.iter().for_each(|frame| recorder.as_mut().unwrap().frame(frame));
        });
    }
    group.finish();

    // The engine's thread waits for the other one, which is what is measured.
    let mut group = criterion.benchmark_group("recorder");
    for drive in drives {
        let fresh = || Some(start(drive, scratch));
        per_item(&mut group, drive.name, drive.frames.len(), fresh, |recorder| {
            let mut recorder = recorder.take().unwrap();
            drive.frames.iter().for_each(|frame| recorder.frame(frame));
            recorder.finish();
        });
    }
    group.finish();
}
