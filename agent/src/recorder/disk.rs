//! The thread that has the disk: recordings as they grow, what has become of them, and their way out.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use super::file::{About, Growing, header};
use super::member::Encoder;
use super::press::Settings;
use super::ring::Ring;
use super::store::Store;
use super::upload::Upload;
use super::{Bounds, RecorderConfig, Shared, StoreError, Trigger};
use crate::engine::BACK_NS;
use crate::event::{Body, Class, Event, Identity, Moment, Recording, RecordingState, Regions};
use crate::outbox::Outbox;
use crate::runtime::clock;
use crate::uplink::Waker;

/// While something is being recorded, the disk is made to take it this often.
const SYNC: Duration = Duration::from_millis(250);
/// Nothing is waited for.
const IDLE: Duration = Duration::from_secs(3600);
/// A directory that cannot be used is tried again this often, and whenever there is something to be recorded.
const REOPEN: Duration = Duration::from_secs(60);
/// Conditions that a recording names, at most.
const MAX_TRIGGERS: usize = 64;
const SET_BACK: &str = "the clock was set back";
const DAY_NS: u64 = 86_400_000_000_000;

/// From the press, in the order of time.
pub(super) enum Order {
    Trigger(Box<Trigger>),
    /// The ring has more, or it is later ([`Shared::now_ns`]).
    More,
    Change(Terms),
}

/// What of the settings concerns the disk.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    about: Vec<String>,
    bounds: Bounds,
    regions: Option<Regions>,
}

impl Terms {
    pub(super) fn of(settings: &Settings) -> Self {
        Self { about: settings.about.clone(), bounds: settings.bounds, regions: settings.regions.clone() }
    }
}

/// What this thread works with.
pub(super) struct Ends {
    pub(super) ring: Arc<Mutex<Ring>>,
    pub(super) ordered: Receiver<Order>,
    pub(super) tell: SyncSender<Event>,
    pub(super) shared: Arc<Shared>,
    pub(super) outside: Option<(Arc<Mutex<dyn Outbox>>, Waker)>,
    pub(super) identity: Identity,
    pub(super) is_live: bool,
}

/// A recording that is being made, or that may still go on.
struct Open {
    growing: Growing,
    /// The next member, and frames in all before it.
    next: u64,
    before: Option<u64>,
    start_ns: u64,
    end_ns: u64,
    /// It has reached its end: it goes on only when another trigger reaches back to it.
    sealed: bool,
    synced: Instant,
}

/// See the module's documentation.
pub(super) struct Disk {
    ends: Ends,
    terms: Terms,
    store: Store,
    open: Option<Open>,
    upload: Upload,
    encoder: Encoder,
    member: Vec<u8>,
    /// The engine's time.
    now_ns: u64,
    /// The day, and bytes written in it.
    day: Option<(u64, u64)>,
    /// When it was last looked what has become of pieces.
    looked: Instant,
    /// Why the directory cannot be used.
    trouble: Option<String>,
}

impl Disk {
    pub(super) fn open(config: &RecorderConfig, settings: &Settings, ends: Ends) -> Result<Self, StoreError> {
        let mut this = Self {
            ends,
            terms: Terms::of(settings),
            store: Store::new(&config.dir),
            open: None,
            upload: Upload::new(),
            encoder: Encoder::new(),
            member: Vec::new(),
            now_ns: 0,
            day: None,
            looked: Instant::now(),
            trouble: None,
        };
        match this.reopen() {
            // The disk may come back; another process that has it is a mistake in the configuration.
            Err(StoreError::Io { .. }) => Ok(this),
            opened => opened.map(|()| this),
        }
    }

    /// Opens the directory, and tells of what was found in it.
    fn reopen(&mut self) -> Result<(), StoreError> {
        let opened = self.store.open();
        self.ends.shared.closed.store(opened.is_err(), Ordering::Relaxed);
        let trouble = opened.as_ref().err().map(ToString::to_string);
        if let Some(why) = trouble.as_ref().filter(|_| trouble != self.trouble) {
            tracing::error!("{why}; until it can be used, nothing is recorded");
        }
        if trouble.is_none() && self.trouble.is_some() {
            tracing::info!("recordings: the directory can be used now");
        }
        self.trouble = trouble;
        let (mended, lost) = opened?;
        self.name_again();
        // They are of before: they get the time at which they are told.
        let now_ns = std::mem::take(&mut self.now_ns);
        for about in &mended {
            tracing::info!("recording {}: finished as the power cut left it, {} frames", about.id, about.frames);
            self.tell(about, RecordingState::Finished, Some("cut by a power failure".to_owned()));
        }
        for id in lost {
            tracing::warn!("recording {id}: nothing of it had reached the disk");
        }
        self.now_ns = now_ns;
        Ok(())
    }

    /// Does without a directory that is no longer the one that was opened: a card that was pulled.
    fn notice_that_it_is_gone(&mut self) {
        if self.store.is_open() && self.store.is_gone() {
            tracing::error!("recordings: the directory has gone");
            self.store = self.store.closed();
            self.upload = Upload::new();
            self.ends.shared.closed.store(true, Ordering::Relaxed);
        }
    }

    /// Its name may have changed. Whoever holds the outbox may wait for the disk: then it is as it was.
    fn name_again(&mut self) {
        let outbox = self.ends.outside.as_ref().and_then(|(outbox, _)| outbox.try_lock().ok());
        let identity = outbox.and_then(|outbox| outbox.identity().cloned());
        self.ends.identity = identity.unwrap_or(self.ends.identity.clone());
    }

    /// Until the press has ended.
    pub(super) fn run(mut self) {
        loop {
            let open = self.open.as_ref().map(|open| open.growing.about.id.as_str());
            let look = self.upload.look(&self.store, open, &self.ends.identity.vehicle);
            let look = look.filter(|_| self.terms.bounds.upload);
            let wait = match look {
                Some(look) => look.saturating_sub(self.looked.elapsed()),
                None if self.store.is_open() => IDLE,
                None => REOPEN,
            };
            match self.ends.ordered.recv_timeout(wait) {
                Ok(Order::Trigger(trigger)) => {
                    self.trigger(&trigger);
                    self.ends.shared.done();
                }
                Ok(Order::More) => self.more(),
                Ok(Order::Change(terms)) => {
                    // What was recorded by other rules ends here.
                    self.close();
                    self.terms = terms;
                }
                // What is wrong has been told.
                Err(RecvTimeoutError::Timeout) if !self.store.is_open() => _ = self.reopen(),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            match look {
                None => self.upload.look_soon(),
                Some(look) if self.looked.elapsed() >= look => {
                    self.looked = Instant::now();
                    self.send();
                }
                Some(_) => {}
            }
        }
        // What has come since is in the ring; then it ends where the frames do.
        self.follow();
        self.seal(None);
    }

    fn trigger(&mut self, trigger: &Trigger) {
        self.now_ns = trigger.time_ns;
        let from_ns = trigger.time_ns.saturating_sub(trigger.record.before_ns);
        let end_ns = trigger.time_ns.saturating_add(trigger.record.after_ns);
        self.follow();
        let longest_ns = self.terms.bounds.longest_s * 1_000_000_000;
        let end_ns = end_ns.min(from_ns.saturating_add(longest_ns)).max(trigger.time_ns);
        if let Some(open) = &mut self.open {
            let reaches = !open.sealed || from_ns <= open.end_ns;
            if reaches && end_ns.saturating_sub(open.start_ns) <= longest_ns && trigger.time_ns >= open.start_ns {
                if open.sealed {
                    self.store.reopen(&open.growing.about.id);
                    open.sealed = false;
                }
                open.end_ns = open.end_ns.max(end_ns);
                return self.join(trigger);
            }
        }
        // Frames that are in the one before are not recorded twice.
        let after = self.open.as_ref().map_or(0, |open| open.next);
        self.close();
        if let Err(reason) = self.begin(trigger, (from_ns, end_ns), after) {
            tracing::error!("no recording for {}: {reason}", trigger.name);
            let about = about_of(trigger, name(trigger), &self.ends.identity.vehicle);
            self.tell(&about, RecordingState::Refused, Some(reason));
        }
    }

    /// Another trigger of the recording that is being made.
    fn join(&mut self, trigger: &Trigger) {
        let Some(open) = &mut self.open else { return };
        let about = &mut open.growing.about;
        about.class = about.class.min(trigger.class);
        // One that comes again and again only makes it longer.
        if about.triggers.contains(&trigger.name) || about.triggers.len() >= MAX_TRIGGERS {
            return;
        }
        about.triggers.push(trigger.name.clone());
        let before = about.bytes;
        let written = open.growing.comment(&trigger.lines, &mut self.encoder).and_then(|()| open.growing.sync());
        let bytes = open.growing.about.bytes - before;
        self.day = self.day.map(|(day, written)| (day, written + bytes));
        if let Err(error) = written {
            self.seal(Some(error.to_string()));
        }
    }

    fn begin(&mut self, trigger: &Trigger, (from_ns, end_ns): (u64, u64), after: u64) -> Result<(), String> {
        self.name_again();
        self.notice_that_it_is_gone();
        if !self.store.is_open() {
            self.reopen().map_err(|error| error.to_string())?;
        }
        let first = self.ring().first_from(from_ns).max(after);
        let bytes = self.ring().bytes_from(first);
        self.room(bytes, trigger.class)?;
        let (id, file) = self.store.create(&name(trigger)).map_err(|error| error.to_string())?;
        let identity = &self.ends.identity;
        let mut growing = Growing::new(file, about_of(trigger, id, &identity.vehicle));
        let lines = header(&identity.vehicle, &identity.boot, &self.terms.about, &trigger.lines);
        let begun = growing.comment(&lines, &mut self.encoder);
        let (start_ns, synced) = (from_ns, Instant::now());
        self.ends.shared.recording.store(true, Ordering::Release);
        self.open = Some(Open { growing, next: first, before: None, start_ns, end_ns, sealed: false, synced });
        let begun = begun.and_then(|()| self.write()).and_then(|ended| {
            self.open.as_ref().map_or(Ok(()), |open| open.growing.sync())?;
            self.store.sync()?;
            Ok(ended)
        });
        match begun {
            Ok(ended) => {
                if let Some(open) = &self.open {
                    tracing::info!(
                        "recording {}: {} frames of before are on the disk",
                        open.growing.about.id,
                        open.growing.about.frames
                    );
                    self.tell(&open.growing.about, RecordingState::Started, None);
                }
                if ended {
                    self.seal(None);
                }
            }
            Err(error) => self.seal(Some(error.to_string())),
        }
        Ok(())
    }

    /// Whether so many bytes more may be written, in all and today.
    fn room(&mut self, bytes: u64, class: Class) -> Result<(), String> {
        let day = self.now_ns / DAY_NS;
        // What was written before a restart counts as well, as far as it is still there.
        let written = match self.day {
            Some((of, written)) if of == day => written,
            _ => self.store.bytes_within(day * DAY_NS..(day + 1) * DAY_NS),
        };
        self.day = Some((day, written));
        let Bounds { quota_bytes, write_per_day, .. } = self.terms.bounds;
        if written + bytes > write_per_day && class > Class::Critical {
            return Err("recorder.write_mib_per_day is used up".to_owned());
        }
        let own = self.open.as_ref().map_or(0, |open| open.growing.about.bytes);
        let (gone, fits) = match self.store.make_room(own + bytes, quota_bytes, class) {
            Ok(gone) => (gone, true),
            Err(gone) => (gone, false),
        };
        for about in gone.iter().filter(|about| about.sent < about.chunks()) {
            self.tell(about, RecordingState::Evicted, None);
        }
        if fits { Ok(()) } else { Err("recorder.quota_mib is used up".to_owned()) }
    }

    fn more(&mut self) {
        // What comes from here on is told again.
        self.ends.shared.more.store(false, Ordering::Release);
        let now_ns = self.ends.shared.now_ns.load(Ordering::Relaxed);
        if now_ns != self.now_ns && now_ns != 0 {
            return self.time(now_ns);
        }
        // A source that waits for the recorder may be far faster than time.
        let due = |open: &Open| !self.ends.is_live || open.synced.elapsed() >= SYNC;
        if self.open.as_ref().is_some_and(|open| !open.sealed && due(open)) {
            self.follow();
        }
    }

    fn time(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
        self.follow();
        let Some(open) = &self.open else { return self.close() };
        if now_ns.saturating_add(BACK_NS) < open.start_ns {
            self.seal(Some(SET_BACK.to_owned()));
            return self.close();
        }
        // Frames of that time have come, if there were any.
        if !open.sealed && now_ns > open.end_ns.saturating_add(super::AGE_NS) {
            self.seal(None);
        } else if now_ns > open.end_ns.saturating_add(self.terms.bounds.keep_ns()) {
            // No trigger reaches back so far.
            self.close();
        }
    }

    /// Writes what the ring has for the recording.
    fn follow(&mut self) {
        if self.open.as_ref().is_none_or(|open| open.sealed) {
            return;
        }
        match self.write() {
            Ok(false) => {
                let synced = self.open.as_ref().map_or(Ok(()), |open| open.growing.sync());
                if let Err(error) = synced {
                    self.seal(Some(error.to_string()));
                }
            }
            Ok(true) => self.seal(None),
            Err(error) => self.seal(Some(error.to_string())),
        }
        if let Some(open) = &mut self.open {
            open.synced = Instant::now();
        }
    }

    /// As [`Self::follow`]; true: the end is reached.
    fn write(&mut self) -> std::io::Result<bool> {
        loop {
            let Some(open) = &self.open else { return Ok(true) };
            let (number, class) = (open.next, open.growing.about.class);
            let chunk = {
                let ring = self.ends.ring.lock().unwrap_or_else(PoisonError::into_inner);
                let Some((chunk, member)) = ring.get(number) else { return Ok(false) };
                self.member.clear();
                self.member.extend(member);
                chunk
            };
            // What belongs to it cannot be told any more.
            if chunk.last_ns.saturating_add(BACK_NS) < open.start_ns {
                return Err(std::io::Error::other(SET_BACK));
            }
            if chunk.first_ns > open.end_ns {
                return Ok(true);
            }
            let bytes = self.member.len() as u64;
            if let Err(reason) = self.room(bytes, class) {
                return Err(std::io::Error::other(reason));
            }
            let Some(open) = &mut self.open else { return Ok(true) };
            if let Some(missed) = open.before.map(|before| chunk.before.saturating_sub(before)).filter(|n| *n > 0) {
                let lines = [format!("# missed {missed} frames: the disk did not keep up")];
                open.growing.comment(&lines, &mut self.encoder)?;
                open.growing.about.missed += missed;
            }
            open.growing.chunk(&chunk, &self.member)?;
            self.day = self.day.map(|(day, written)| (day, written + bytes));
            open.next = chunk.number + 1;
            open.before = Some(chunk.before + u64::from(chunk.frames));
        }
    }

    /// It is finished, as it seems. With a reason: before its time.
    fn seal(&mut self, reason: Option<String>) {
        let Some(open) = self.open.as_mut().filter(|open| !open.sealed) else { return };
        open.sealed = true;
        let about = open.growing.about();
        let failed = reason.is_some();
        let noted =
            open.growing.cut().and_then(|()| open.growing.sync()).and_then(|()| self.store.finish(about.clone()));
        let reason = reason.or_else(|| noted.err().map(|error| error.to_string()));
        match &reason {
            Some(reason) => tracing::error!("recording {}: ended before its time: {reason}", about.id),
            None => {
                tracing::info!("recording {}: finished, {} frames in {} bytes", about.id, about.frames, about.bytes)
            }
        }
        self.tell(&about, RecordingState::Finished, reason);
        if failed {
            self.close();
        }
    }

    /// Nothing goes on any more.
    fn close(&mut self) {
        self.seal(None);
        self.open = None;
        self.ends.shared.recording.store(false, Ordering::Release);
    }

    /// Gives the next pieces to the outbox, if it is free.
    fn send(&mut self) {
        let Some((outbox, waker)) = self.ends.outside.clone() else { return };
        self.notice_that_it_is_gone();
        let mut outbox = match outbox.try_lock() {
            Ok(outbox) => outbox,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        if let Some(identity) = outbox.identity() {
            self.ends.identity = identity.clone();
        }
        let moment = if self.ends.is_live { clock::moment() } else { Moment::from(self.now_ns) };
        let open = self.open.as_ref().map(|open| open.growing.about.id.as_str());
        let about = (moment, self.terms.regions.as_ref());
        let given = self.upload.step(&mut self.store, &mut *outbox, open, &self.ends.identity.vehicle, about);
        drop(outbox);
        if given {
            waker.notify();
        }
    }

    fn ring(&self) -> std::sync::MutexGuard<'_, Ring> {
        self.ends.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, about: &About, state: RecordingState, reason: Option<String>) {
        // One that was made under another name would tie both together.
        if *about.vehicle != *self.ends.identity.vehicle {
            return tracing::info!(
                "recording {}: {state:?}; not told, as it has another name of the vehicle",
                about.id
            );
        }
        let body = Body::Recording(Recording {
            id: about.id.as_str().into(),
            to: about.to,
            from: about.from,
            bytes: about.bytes,
            state,
            digest: Some(about.digest.clone()).filter(|digest| !digest.is_empty()),
            frames: about.frames,
            missed: about.missed,
            reason,
            triggers: about.triggers.clone(),
        });
        let event = Event { campaign: about.campaign.clone(), ..Event::new(self.now_ns, Class::Status, body) };
        if self.ends.tell.try_send(event).is_err() {
            tracing::warn!("recording {}: there is more to tell than is taken", about.id);
        }
    }
}

/// What is known of a recording that this trigger begins.
fn about_of(trigger: &Trigger, id: String, vehicle: &str) -> About {
    let (class, triggers, campaign) = (trigger.class, vec![trigger.name.clone()], trigger.campaign.clone());
    About { class, triggers, campaign, ..About::new(id, vehicle.to_owned()) }
}

/// What a recording is called that this trigger begins: the time, and what a file may be called.
fn name(trigger: &Trigger) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    let what: String = trigger.name.chars().map(plain).take(48).collect();
    format!("{}-{what}", trigger.time_ns)
}
