//! The engine's thread: frames in, events to the queue, until the end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use can_decoders::Frame;

use super::notify::Notifier;
use super::shell::Shell;
use super::{Parts, RunError, change, clock};
use crate::engine::{Engine, Missed, Notice, RecordTrigger, Sink};
use crate::event::{Body, Class, Event};
use crate::recorder::Recorder;

/// Frames taken from the source at once.
const BATCH: usize = 256;
/// How long the source may wait for frames: also how soon a stop is noticed that comes without a signal.
const POLL: Duration = Duration::from_millis(50);
/// The same on buses that sleep, from this time without a frame on. All that silence has to bring has been brought by then,
/// and a computer that could sleep as well is woken once a second.
const QUIET: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(1));

/// Until the source ends or `stop` is set.
///
/// # Errors
/// When the source fails.
pub(super) fn drive(parts: &mut Parts, shell: &mut Shell, stop: &AtomicBool) -> Result<(), RunError> {
    let mut batch: Vec<Frame> = Vec::with_capacity(BATCH);
    let mut events: Vec<Event> = Vec::new();
    let mut notices = Vec::new();
    let mut last_frame = Instant::now();
    let result = loop {
        if stop.load(Ordering::Relaxed) {
            break Ok(());
        }
        shell.pulse.beat();
        batch.clear();
        change::take(parts, shell, &mut batch, &mut events);
        let asked_ns = clock::boot_ns();
        let sleeps = parts.source.is_live() && last_frame.elapsed() >= QUIET.0;
        let read = parts.source.read(&mut batch, if sleeps { QUIET.1 } else { POLL });
        // Frames that came before a failure are good.
        let now_ns = read.as_ref().map_or(0, |progress| progress.now_ns);
        if shell.first_ns == 0 {
            shell.first_ns = batch.first().map_or(now_ns, |frame| frame.time_ns);
            if shell.first_ns > 0 {
                let started = shell.tell("started", parts.source.bad_lines(), shell.first_ns);
                shell.send(started);
                for model in parts.live.refused.drain(..) {
                    shell.send(Event::new(shell.first_ns, Class::Status, Body::Model(model)));
                }
            }
        }
        if shell.first_ns > 0 {
            shell.look_at_clocks(asked_ns);
        }
        let mut sink = Outputs::new(&mut events, parts.notifier.as_mut(), shell.recorder.as_mut());
        for frame in &batch {
            sink.frame(&mut parts.live.engine, frame);
        }
        if !batch.is_empty() {
            last_frame = Instant::now();
            if shell.frames == 0 {
                tracing::info!("the first frame is through the engine");
            }
        }
        shell.frames += batch.len() as u64;
        parts.source.notices(&mut notices);
        for notice in notices.drain(..) {
            sink.notice(&mut parts.live.engine, notice);
        }
        parts.live.engine.advance(now_ns, &mut sink);
        if let Some(recorder) = &mut sink.recorder {
            recorder.advance(parts.live.engine.now_ns());
            if shell.first_ns > 0 {
                // What it found when it was started has no time yet.
                let now_ns = now_ns.max(parts.live.engine.now_ns());
                let timed = |event: Event| if event.time_ns == 0 { Event { time_ns: now_ns, ..event } } else { event };
                sink.events.extend(recorder.events().map(timed));
            }
        }
        let (bad_lines, engine_ns) = (parts.source.bad_lines(), parts.live.engine.now_ns());
        if shell.has_news(bad_lines, engine_ns) {
            events.push(shell.tell("running", bad_lines, engine_ns));
        }
        // A recording has no time at which a link could have done something.
        let reports = shell.links.reports().filter(|_| shell.first_ns > 0);
        events.extend(reports.map(|body| Event::new(now_ns.max(engine_ns), Class::Status, body)));
        parts.observe(&events);
        events.drain(..).for_each(|event| shell.send(event));
        shell.accounts.stop_spent(&mut parts.live.engine);
        shell.note_accounts(false);
        match read {
            Ok(progress) if !progress.ended => {}
            Ok(_) => break Ok(()),
            Err(error) => break Err(error.into()),
        }
    };
    batch.clear();
    parts.source.finish(&mut batch, &mut notices);
    let mut sink = Outputs::new(&mut events, parts.notifier.as_mut(), shell.recorder.as_mut());
    for frame in &batch {
        sink.frame(&mut parts.live.engine, frame);
    }
    shell.frames += batch.len() as u64;
    for notice in notices.drain(..) {
        sink.notice(&mut parts.live.engine, notice);
    }
    parts.live.engine.finish(&mut sink);
    if shell.first_ns > 0 {
        events.push(shell.tell("stopping", parts.source.bad_lines(), parts.live.engine.now_ns()));
    }
    parts.observe(&events);
    events.drain(..).for_each(|event| shell.send(event));
    result
}

/// Takes events for the queue, which gets them after the batch, and tells listeners at once.
pub(super) struct Outputs<'a> {
    events: &'a mut Vec<Event>,
    notifier: Option<&'a mut Notifier>,
    recorder: Option<&'a mut Recorder>,
}

impl<'a> Outputs<'a> {
    pub(super) fn new(
        events: &'a mut Vec<Event>,
        notifier: Option<&'a mut Notifier>,
        recorder: Option<&'a mut Recorder>,
    ) -> Self {
        Self { events, notifier, recorder }
    }

    /// Into the recorder first: a frame is in the recording that it begins.
    pub(super) fn frame(&mut self, engine: &mut Engine, frame: &Frame) {
        if let Some(recorder) = &mut self.recorder {
            recorder.frame(frame);
        }
        engine.frame(frame, self);
    }

    pub(super) fn notice(&mut self, engine: &mut Engine, notice: Notice) {
        if let (Notice::Missed(missed), Some(recorder)) = (&notice, &mut self.recorder)
            && let Some(bus) = engine.catalog().route(missed.bus)
        {
            let bus = &engine.catalog().buses()[bus].name;
            let Missed { from_ns, to_ns, frames, .. } = missed;
            let how_many = frames.map_or("some".to_owned(), |frames| frames.to_string());
            recorder.note(
                format!("missed {how_many} frames of {bus} from {from_ns} to {to_ns}"),
                frames.unwrap_or_default(),
            );
        }
        engine.notice(notice, self);
    }
}

impl Sink for Outputs<'_> {
    fn event(&mut self, event: Event) {
        self.events.push(event);
    }

    fn notify(&mut self, event: &Event) {
        if let Some(notifier) = &mut self.notifier {
            notifier.tell(event);
        }
    }

    fn record(&mut self, trigger: &RecordTrigger<'_>) {
        if let Some(recorder) = &mut self.recorder {
            recorder.trigger(trigger);
        }
    }
}
