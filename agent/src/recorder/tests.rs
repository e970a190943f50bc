use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use can_decoders::log::{LogReader, Options};
use can_decoders::{BusId, CanId, Database, FrameKind, Plan};

use super::*;
use crate::engine::{Bus, Catalog, MessageId};
use crate::event::{Body, Recording, RecordingState};
use crate::memory_outbox::MemoryOutbox;

#[path = "bounds_tests.rs"]
mod bounds;
#[path = "upload_tests.rs"]
mod uploads;

const SECOND: u64 = 1_000_000_000;
const START: u64 = 1_700_000_000 * SECOND;

fn catalog() -> Catalog {
    let dbc = "VERSION \"\"\nBU_: X\nBO_ 256 Secret: 8 X\n SG_ Where : 0|8@1+ (1,0) [0|0] \"\" X\n";
    let plan = |text: &str| Plan::compile(&[Database::parse("t.dbc", text.as_bytes()).unwrap()]);
    Catalog::new(vec![Bus::new("can0", plan(dbc)), Bus::new("can1", Plan::compile(&[]))])
}

fn settings() -> Settings {
    Settings {
        catalog: catalog(),
        hidden: HashSet::new(),
        about: vec!["dbc can0 t.dbc sha256 00ff".to_owned()],
        regions: None,
        bounds: Bounds { seconds: 10, ..Bounds::default() },
    }
}

/// A recorder that is fed with frames.
struct Fed {
    dir: PathBuf,
    recorder: Recorder,
    outbox: Arc<Mutex<MemoryOutbox>>,
    frames: Vec<Frame>,
    now_ns: u64,
    events: Vec<Recording>,
}

impl Fed {
    fn new(dir: &Path, settings: Settings) -> Self {
        Self::with(dir, settings, MemoryOutbox::new(4))
    }

    fn with(dir: &Path, settings: Settings, outbox: MemoryOutbox) -> Self {
        let config = RecorderConfig { dir: dir.into(), memory_bytes: 1 << 20, bounds: settings.bounds };
        let identity = outbox.identity.clone();
        let outbox = Arc::new(Mutex::new(outbox));
        let outside: (Arc<Mutex<dyn Outbox>>, Waker) = (outbox.clone(), Waker::new());
        let recorder = Recorder::start(&config, settings, identity, Some(outside), false).unwrap();
        Self { dir: dir.into(), recorder, outbox, frames: Vec::new(), now_ns: START, events: Vec::new() }
    }

    /// Frames of two buses, one each millisecond.
    fn drive(&mut self, ms: u64) {
        for _ in 0..ms {
            self.now_ns += SECOND / 1000;
            let n = u32::try_from(self.now_ns / 1_000_000 % 1000).unwrap();
            let id = CanId::standard(0x100 + n % 5).unwrap();
            let bus = BusId(u8::try_from(n % 2).unwrap());
            let frame = Frame::new(self.now_ns + 7, bus, id, FrameKind::Data, &n.to_be_bytes()).unwrap();
            self.recorder.frame(&frame);
            self.frames.push(frame);
            self.recorder.advance(self.now_ns);
        }
        self.listen();
    }

    fn trigger(&mut self, name: &str, class: Class, before_s: u64, after_s: u64) {
        let record = Record { before_ns: before_s * SECOND, after_ns: after_s * SECOND };
        let scores = vec![("demo".into(), 0.75)];
        let (time_ns, name) = (self.now_ns + 7, Arc::from(name));
        self.recorder.trigger(&RecordTrigger { time_ns, name: &name, class, record, frame: 5, campaign: None, scores });
    }

    fn listen(&mut self) {
        self.events.extend(self.recorder.events().map(recording));
    }

    /// What has to come.
    fn wait(&mut self, state: RecordingState) -> Recording {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            self.listen();
            if let Some(at) = self.events.iter().position(|event| event.state == state) {
                return self.events.remove(at);
            }
            assert!(Instant::now() < end, "{state:?} has not come: {:?}", self.events);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn file(&self, recording: &Recording) -> PathBuf {
        self.dir.join(format!("{}.log.gz", recording.id))
    }

    fn finish(self) -> (Vec<Recording>, Vec<Frame>) {
        let mut events = self.events;
        events.extend(self.recorder.finish().into_iter().map(recording));
        (events, self.frames)
    }
}

fn recording(event: Event) -> Recording {
    match event.body {
        Body::Recording(recording) => recording,
        other => panic!("{other:?}"),
    }
}

fn frames(path: &Path) -> Vec<Frame> {
    let options = Options { buses: vec!["can0".to_owned(), "can1".to_owned()], ..Options::default() };
    LogReader::open(path, options).unwrap().map(Result::unwrap).collect()
}

/// What lies between two times is there as it came, and no more than a block around it.
fn assert_window(found: &[Frame], all: &[Frame], from_ns: u64, to_ns: u64) {
    let first = all.iter().position(|frame| *frame == found[0]).unwrap();
    assert_eq!(found, &all[first..first + found.len()]);
    let (start, end) = (found[0].time_ns, found[found.len() - 1].time_ns);
    assert!(start <= from_ns && from_ns - start <= 2 * AGE_NS, "begins {} ns before", from_ns - start);
    assert!(end >= to_ns && end - to_ns <= 2 * AGE_NS, "ends {} ns after", end - to_ns);
}

#[test]
fn the_seconds_before_and_after_are_recorded_as_they_came() {
    let dir = tempfile::tempdir().unwrap();
    let mut fed = Fed::new(dir.path(), settings());
    fed.drive(20_000);
    fed.trigger("crash / 1", Class::Critical, 6, 3);
    let at = fed.now_ns;
    let started = fed.wait(RecordingState::Started);
    assert_eq!(&*started.id, format!("{}-crash___1", at + 7));
    let before = frames(&fed.file(&started));
    assert_window(&before, &fed.frames, at - 6 * SECOND, at);
    assert_eq!(before.last(), fed.frames.last(), "up to the frame that led to it");
    fed.drive(5_000);
    let finished = fed.wait(RecordingState::Finished);
    let found = frames(&fed.file(&finished));
    assert_window(&found, &fed.frames, at - 6 * SECOND, at + 3 * SECOND);
    assert_eq!((finished.frames, finished.missed), (found.len() as u64, 0));
    assert_eq!((finished.from, finished.to), (found[0].time_ns, found[found.len() - 1].time_ns));
    assert_eq!(finished.digest, Some(store::digest(&fed.file(&finished)).unwrap()));
    let header = Recorded::open(&fed.file(&finished)).unwrap().header;
    assert_eq!(
        header,
        [
            "# outrider recording 1".to_owned(),
            "# vehicle v1".to_owned(),
            "# boot boot".to_owned(),
            "# dbc can0 t.dbc sha256 00ff".to_owned(),
            format!("# trigger {} crash_/_1 critical frame 5", at + 7),
            "# score demo 0.75".to_owned(),
        ]
    );
    assert_eq!(list(dir.path()).unwrap()[0].about.as_ref().unwrap().triggers[0].to_string(), "crash / 1");
    assert!(fed.finish().0.is_empty());
}

#[test]
fn triggers_whose_times_overlap_are_one_recording_and_others_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let mut fed = Fed::new(dir.path(), settings());
    fed.drive(8000);
    let first = fed.now_ns;
    fed.trigger("a", Class::Alert, 3, 2);
    fed.drive(1000);
    fed.trigger("b", Class::Critical, 3, 2);
    fed.drive(3000);
    // It is finished, and this one reaches back to it.
    while fed.wait(RecordingState::Finished).triggers.len() < 2 {}
    fed.trigger("c", Class::Alert, 3, 2);
    let third = fed.now_ns;
    fed.drive(4000);
    let mut one = fed.wait(RecordingState::Finished);
    while one.triggers.len() < 3 {
        one = fed.wait(RecordingState::Finished);
    }
    assert_eq!(one.triggers.iter().map(|name| &**name).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_window(&frames(&fed.file(&one)), &fed.frames, first - 3 * SECOND, third + 2 * SECOND);
    // Far behind.
    fed.drive(6000);
    fed.trigger("d", Class::Alert, 3, 2);
    fed.drive(100);
    let (rest, all) = fed.finish();
    let states: Vec<_> = rest.iter().map(|event| (event.state, event.triggers.len())).collect();
    assert_eq!(states.last(), Some(&(RecordingState::Finished, 1)), "the agent ends: so does it");
    let two = dir.path().join(format!("{}.log.gz", rest.last().unwrap().id));
    assert_eq!(frames(&two).last(), all.last());
    let listed = list(dir.path()).unwrap();
    let classes: Vec<Class> = listed.iter().map(|one| one.about.as_ref().unwrap().class).collect();
    assert_eq!(classes, [Class::Critical, Class::Alert]);
    let mut recorded = Recorded::open(&listed[0].path).unwrap();
    while recorded.next_lines().is_some() {}
    assert_eq!(recorded.about.triggers, listed[0].about.as_ref().unwrap().triggers, "the file says so itself");
}

#[test]
fn a_recording_has_a_longest_time_and_the_next_goes_on_where_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings();
    settings.bounds.longest_s = 12;
    let mut fed = Fed::new(dir.path(), settings);
    fed.drive(5000);
    for _ in 0..6 {
        fed.trigger(&format!("again {}", fed.now_ns), Class::Alert, 4, 4);
        fed.drive(3000);
    }
    let (_, all) = fed.finish();
    let listed = list(dir.path()).unwrap();
    let parts: Vec<Vec<Frame>> = listed.iter().map(|one| frames(&one.path)).collect();
    assert!(parts.len() > 1 && parts.iter().all(|part| part.len() < 13_500), "{}", parts.len());
    let joined = parts.concat();
    let first = all.iter().position(|frame| *frame == joined[0]).unwrap();
    let differs = joined.iter().zip(&all[first..]).position(|(one, other)| one != other);
    assert_eq!((differs, joined.len()), (None, all.len() - first), "nothing twice, nothing left out");
}

/// The power is cut at any byte of what follows the event that tells of the seconds before.
#[test]
fn a_power_cut_leaves_the_seconds_before() {
    let dir = tempfile::tempdir().unwrap();
    let mut fed = Fed::new(dir.path(), settings());
    fed.drive(9000);
    fed.trigger("crash", Class::Critical, 5, 5);
    let at = fed.now_ns;
    let started = fed.wait(RecordingState::Started);
    let path = fed.file(&started);
    assert!(!path.with_extension("").with_extension("json").exists());
    let sure = std::fs::metadata(&path).unwrap().len();
    fed.drive(7000);
    fed.wait(RecordingState::Finished);
    let whole = std::fs::read(&path).unwrap();
    let (_, all) = fed.finish();
    for cut in [0, 1, whole.len() as u64 - sure - 1].into_iter().chain((0..20).map(|n| n * 997)) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(path.file_name().unwrap());
        let mut torn = whole[..usize::try_from(sure + cut).unwrap().min(whole.len())].to_vec();
        // What a file system may leave behind the end.
        torn.extend([0; 300]);
        std::fs::write(&path, &torn).unwrap();
        let mut again = Fed::new(dir.path(), settings());
        let mended = again.wait(RecordingState::Finished);
        assert_eq!(mended.reason.as_deref(), Some("cut by a power failure"));
        let found = frames(&path);
        assert_eq!(found.len() as u64, mended.frames);
        let before = &found[..found.iter().position(|frame| frame.time_ns > at + 7).unwrap_or(found.len())];
        assert_window(before, &all, at - 5 * SECOND, at);
        assert_eq!(mended.digest, Some(store::digest(&path).unwrap()));
        drop(again.finish());
        assert!(list(dir.path()).unwrap()[0].about.as_ref().unwrap().torn);
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("1-x.log.gz"), &whole[..20]).unwrap();
    assert!(Fed::new(dir.path(), settings()).finish().0.is_empty());
    assert!(list(dir.path()).unwrap().is_empty(), "of which nothing is left");
    std::fs::write(dir.path().join("mine.log.gz"), "(1.5) can0 123#11\n").unwrap();
    assert!(Fed::new(dir.path(), settings()).finish().0.is_empty());
    assert!(dir.path().join("mine.log.gz").exists(), "what is not ours stays");
}

/// The clock is set back by an hour: what was before is of no use, and what comes is recorded.
#[test]
fn a_clock_that_is_set_back_does_not_keep_it_from_recording() {
    let dir = tempfile::tempdir().unwrap();
    let mut fed = Fed::new(dir.path(), settings());
    fed.drive(8000);
    fed.trigger("before", Class::Alert, 3, 20);
    fed.drive(2000);
    fed.now_ns -= 3600 * SECOND;
    let (at, first) = (fed.frames.len(), fed.now_ns);
    fed.drive(8000);
    let ended = fed.wait(RecordingState::Finished);
    assert_eq!(ended.reason.as_deref(), Some("the clock was set back"));
    fed.trigger("after", Class::Critical, 5, 1);
    let now_ns = fed.now_ns;
    fed.drive(3000);
    let finished = fed.wait(RecordingState::Finished);
    assert_eq!((finished.reason.as_deref(), finished.missed), (None, 0));
    assert!(first < finished.from, "{finished:?}, {first}");
    assert_window(&frames(&fed.file(&finished)), &fed.frames[at..], now_ns - 5 * SECOND, now_ns + SECOND);
}

/// A signal that toggles around a limit does not fill the recording with itself.
#[test]
fn one_trigger_that_comes_all_the_time_is_named_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut fed = Fed::new(dir.path(), settings());
    fed.drive(5000);
    for _ in 0..2000 {
        fed.trigger("toggles", Class::Alert, 3, 1);
        fed.drive(2);
    }
    fed.drive(3000);
    let finished = fed.wait(RecordingState::Finished);
    assert_eq!(finished.triggers.len(), 1);
    assert!(finished.frames >= 8000, "{finished:?}");
    let mut recorded = Recorded::open(&fed.file(&finished)).unwrap();
    let mut members = 0;
    while recorded.next_lines().is_some() {
        members += 1;
    }
    assert!(members < 100, "{members}: blocks are filled");
}

/// A bus is not held up: what does not get into the recording is counted, and told where it is missing.
#[test]
fn a_recorder_that_does_not_keep_up_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { bounds: Bounds { seconds: 600, ..Bounds::default() }, ..settings() };
    let config = RecorderConfig { dir: dir.path().into(), memory_bytes: 16 << 20, bounds: settings.bounds };
    let outbox = MemoryOutbox::new(4);
    let identity = outbox.identity.clone();
    let outside: (Arc<Mutex<dyn Outbox>>, Waker) = (Arc::new(Mutex::new(outbox)), Waker::new());
    let mut recorder = Recorder::start(&config, settings, identity, Some(outside), true).unwrap();
    let id = CanId::standard(0x100).unwrap();
    let mut given = 0;
    // Far more than two buses carry, until something is missed; then it has caught up.
    while recorder.dropped()[0] == 0 || given % 1000 > 0 {
        given += 1;
        recorder.frame(&Frame::new(START + given * 1000, BusId(0), id, FrameKind::Data, &given.to_be_bytes()).unwrap());
    }
    std::thread::sleep(Duration::from_secs(1));
    for _ in 0..BLOCK + 1 {
        given += 1;
        recorder.frame(&Frame::new(START + given * 1000, BusId(0), id, FrameKind::Data, &given.to_be_bytes()).unwrap());
    }
    let record = Record { before_ns: 600 * SECOND, after_ns: 0 };
    let (time_ns, name) = (START + given * 1000, Arc::from("crash"));
    let trigger = RecordTrigger {
        time_ns,
        name: &name,
        class: Class::Critical,
        record,
        frame: given,
        campaign: None,
        scores: Vec::new(),
    };
    recorder.trigger(&trigger);
    let missed = recorder.dropped()[0];
    let events: Vec<Recording> = recorder.finish().into_iter().map(recording).collect();
    let finished = events.iter().rfind(|event| event.state == RecordingState::Finished).unwrap();
    assert!(missed > 0);
    assert_eq!((finished.missed, finished.frames), (missed, given - missed));
    let path = dir.path().join(format!("{}.log.gz", finished.id));
    let mut recorded = Recorded::open(&path).unwrap();
    while recorded.next_lines().is_some() {}
    assert_eq!(recorded.about.missed, missed, "the file says so itself");
}

#[test]
fn frames_of_hidden_messages_are_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let mut fed = Fed::new(dir.path(), Settings { hidden: HashSet::from([MessageId(0)]), ..settings() });
    fed.drive(3000);
    fed.trigger("crash", Class::Critical, 9, 0);
    let started = fed.wait(RecordingState::Started);
    let (_, mut all) = fed.finish();
    all.retain(|frame| frame.bus != BusId(0) || frame.id != CanId::standard(0x100).unwrap());
    assert_eq!(frames(&dir.path().join(format!("{}.log.gz", started.id))), all);
}
