//! A recording on standard input, which may pause for as long as it likes: a thread of its own reads it.
//!
//! A read that blocks could not be ended by a signal, and the agent could not stop in good order. The thread is left
//! behind when the agent ends; it holds nothing but the input.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use can_decoders::Frame;

use super::{Frames, Next, SourceError};

/// Frames read ahead, at most.
const AHEAD: usize = 1024;

/// Frames that another thread reads.
pub(super) struct Piped {
    frames: Receiver<Result<Frame, SourceError>>,
    bad_lines: Arc<AtomicU64>,
}

impl Piped {
    /// Reads `frames` on a thread.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub(super) fn start(mut frames: impl Frames + 'static) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel(AHEAD);
        let bad_lines = Arc::new(AtomicU64::new(0));
        let count = bad_lines.clone();
        std::thread::Builder::new().name("input".into()).spawn(move || {
            while let Some(frame) = frames.next_frame().transpose() {
                count.store(frames.bad_lines(), Ordering::Relaxed);
                let failed = frame.is_err();
                if sender.send(frame).is_err() || failed {
                    return;
                }
            }
            count.store(frames.bad_lines(), Ordering::Relaxed);
        })?;
        Ok(Self { frames: receiver, bad_lines })
    }
}

impl Frames for Piped {
    fn next_frame(&mut self) -> Result<Option<Frame>, SourceError> {
        self.frames.recv().ok().transpose()
    }

    fn next_within(&mut self, max_wait: Duration) -> Result<Next, SourceError> {
        match self.frames.recv_timeout(max_wait) {
            Ok(frame) => Ok(Next::Frame(frame?)),
            Err(RecvTimeoutError::Timeout) => Ok(Next::NotYet),
            Err(RecvTimeoutError::Disconnected) => Ok(Next::End),
        }
    }

    fn bad_lines(&self) -> u64 {
        self.bad_lines.load(Ordering::Relaxed)
    }
}
