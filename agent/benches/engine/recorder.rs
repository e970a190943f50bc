//! What the flight recorder costs: the engine's thread, which copies frames, and the recorder's own, which makes compressed lines.

use std::path::Path;

use criterion::Criterion;
use outrider::event::Identity;
use outrider::recorder::{Bounds, Recorder, RecorderConfig, Settings};

use crate::drive::Drive;
use crate::per_item;

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
    Recorder::start(&config, settings, identity, None, false).unwrap()
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
