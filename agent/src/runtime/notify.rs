//! Listeners in the vehicle: a warning lamp, a head unit. Each connects to a Unix socket and gets a line of JSON for each
//! event that is for them.
//!
//! The engine's thread writes, in the middle of a batch of frames: nobody is to wait for the rest of it. So nothing here may
//! block. A line fits into the kernel's buffer for a listener that reads; one that does not read has its buffer full after some
//! hundred lines, and is hung up on, which is counted. What it has missed, the gateway gets in any case.

use std::io::{ErrorKind, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use thiserror::Error;

use crate::event::{Body, Class, Event};

/// Listeners at one time.
const LISTENERS: usize = 16;
/// Who may connect: the agent's user and group.
const MODE: u32 = 0o660;

/// The socket cannot be made. Its place has to be mended.
#[derive(Debug, Error)]
#[error("[notify] socket {path}: {source}{}", match source.kind() {
    ErrorKind::AddrInUse => "; another agent listens there, or it is a file: stop that agent, or name another place",
    _ => "",
})]
pub struct NotifyError {
    path: PathBuf,
    source: std::io::Error,
}

/// What a listener reads.
#[derive(Serialize)]
struct Line<'a> {
    t: u64,
    kind: &'a str,
    class: Class,
    body: &'a Body,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Notifier {
    path: PathBuf,
    socket: UnixListener,
    listeners: Vec<UnixStream>,
    line: Vec<u8>,
    /// Listeners that were hung up on, because they did not read or there were too many.
    dropped: Arc<AtomicU64>,
}

impl Notifier {
    /// Makes the socket. One that an agent before has left there is replaced; anything else is not.
    ///
    /// # Errors
    /// When the place cannot be used.
    pub fn open(path: &Path) -> Result<Self, NotifyError> {
        let failed = |source| NotifyError { path: path.into(), source };
        let is_socket = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
        // Where somebody still listens, another agent is at work.
        if is_socket && UnixStream::connect(path).is_err() {
            std::fs::remove_file(path).map_err(failed)?;
        }
        let socket = UnixListener::bind(path).map_err(failed)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(MODE)).map_err(failed)?;
        socket.set_nonblocking(true).map_err(failed)?;
        Ok(Self {
            path: path.into(),
            socket,
            listeners: Vec::with_capacity(LISTENERS),
            line: Vec::with_capacity(4096),
            dropped: Arc::default(),
        })
    }

    /// Tells all listeners of an event.
    pub fn tell(&mut self, event: &Event) {
        self.accept();
        if self.listeners.is_empty() {
            return;
        }
        self.line.clear();
        let line = Line { t: event.time_ns, kind: event.body.kind(), class: event.class, body: &event.body };
        // Writing to memory does not fail, and neither do our types.
        if serde_json::to_writer(&mut self.line, &line).is_err() {
            return;
        }
        self.line.push(b'\n');
        let Self { listeners, line, dropped, .. } = self;
        listeners.retain_mut(|listener| {
            match listener.write(line) {
                Ok(n) if n == line.len() => return true,
                // Half a line is no line.
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // It has gone.
                Err(_) => return false,
            }
            hung_up(dropped, "it does not read");
            false
        });
    }

    /// How many listeners were hung up on.
    pub fn dropped(&self) -> Arc<AtomicU64> {
        self.dropped.clone()
    }

    /// Whoever has connected since the last time.
    fn accept(&mut self) {
        // Somebody who connects again and again does not hold up the engine.
        for _ in 0..2 * LISTENERS {
            let Ok((listener, _)) = self.socket.accept() else { return };
            if self.listeners.len() == LISTENERS || listener.set_nonblocking(true).is_err() {
                hung_up(&self.dropped, "there are too many");
                continue;
            }
            self.listeners.push(listener);
        }
    }
}

/// Counted each time, and logged the first.
fn hung_up(dropped: &AtomicU64, why: &str) {
    if dropped.fetch_add(1, Ordering::Relaxed) == 0 {
        tracing::warn!("a listener of [notify] is hung up on, as {why}; from now on `listeners_dropped` counts them");
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read};

    use super::*;
    use crate::event::{Condition, ConditionPhase};

    fn event(name: &str) -> Event {
        let body = Condition {
            name: name.into(),
            frame: 1,
            phase: ConditionPhase::Raised,
            since: 5,
            values: None,
            suppressed: 0,
        };
        Event::new(7, Class::Critical, Body::Condition(body))
    }

    #[test]
    fn listeners_get_a_line_each_and_one_that_does_not_read_is_hung_up_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("n.sock");
        let mut notifier = Notifier::open(&path).unwrap();
        let count = notifier.dropped();
        let dropped = || count.load(Ordering::Relaxed);
        notifier.tell(&event("nobody"));
        let (reads, sleeps) = (UnixStream::connect(&path).unwrap(), UnixStream::connect(&path).unwrap());
        drop(UnixStream::connect(&path).unwrap());
        notifier.tell(&event("a"));
        let mut lines = BufReader::new(reads).lines();
        assert_eq!(
            lines.next().unwrap().unwrap(),
            r#"{"t":7,"kind":"condition","class":"critical","body":{"name":"a","frame":1,"phase":"raised","since":5}}"#
        );
        for i in 0..100_000 {
            notifier.tell(&event("b"));
            assert!(lines.next().unwrap().is_ok());
            if dropped() > 0 {
                assert!(i > 100, "{i}");
                break;
            }
        }
        assert_eq!((dropped(), notifier.listeners.len()), (1, 1));
        // It has whole lines, and then the end.
        let mut text = String::new();
        let mut sleeps = sleeps;
        sleeps.read_to_string(&mut text).unwrap();
        let last = text.lines().last().unwrap();
        assert!(serde_json::from_str::<serde_json::Value>(last).is_ok() || !text.ends_with('\n'));
        let crowd: Vec<UnixStream> = (0..20).map(|_| UnixStream::connect(&path).unwrap()).collect();
        notifier.tell(&event("c"));
        assert_eq!((dropped(), notifier.listeners.len()), (1 + 5, LISTENERS));
        drop(crowd);
    }

    #[test]
    fn a_socket_that_was_left_behind_is_replaced_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("n.sock");
        drop(UnixListener::bind(&path).unwrap());
        let first = Notifier::open(&path).unwrap();
        let error = Notifier::open(&path).unwrap_err().to_string();
        assert!(error.contains("n.sock: Address already in use") && error.contains("another agent listens"), "{error}");
        drop(first);
        assert!(!path.exists());
        std::fs::write(&path, "mine").unwrap();
        assert!(Notifier::open(&path).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    }
}
