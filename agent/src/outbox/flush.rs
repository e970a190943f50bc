//! sled's flush, with a way out.
//!
//! sled 0.34 writes in threads of its own. When such a write fails it notes the error for all who ask, but on one of the two
//! ways there (`exit_reservation`, taken by batches of several pages) it wakes nobody: who waits already waits for ever, with
//! the outbox locked. Whoever starts to flush after that gets the error, and wakes the others. So the wait is watched: when it
//! takes long, one more flush is started, again and again with longer times between, because a worn card may be just slow.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// When the first flush is doubted. Most take less than a hundredth of this.
const FIRST: Duration = Duration::from_millis(500);
/// Each occupies a thread of sled's until the disk answers. The last is started after a minute.
const MOST: usize = 7;

type Flushing<'a> = Pin<Box<dyn Future<Output = sled::Result<usize>> + 'a>>;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Writes all that the database has. It is not synced.
pub(super) fn flush(db: &sled::Db) -> sled::Result<()> {
    until_first(|| Box::pin(db.flush_async()))
}

/// Starts one, more when that takes long, and waits for the first that ends.
fn until_first<'a>(mut start: impl FnMut() -> Flushing<'a>) -> sled::Result<()> {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut running = vec![start()];
    let (mut patience, mut since) = (FIRST, Instant::now());
    loop {
        for flushing in &mut running {
            if let Poll::Ready(result) = flushing.as_mut().poll(&mut context) {
                return result.map(drop);
            }
        }
        if running.len() == MOST {
            thread::park();
            continue;
        }
        thread::park_timeout(patience.saturating_sub(since.elapsed()));
        if since.elapsed() >= patience {
            running.push(start());
            (patience, since) = (patience * 2, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_flush_that_nobody_wakes_is_ended_by_the_next() {
        let started = AtomicUsize::new(0);
        let result = until_first(|| match started.fetch_add(1, Ordering::Relaxed) {
            0 => Box::pin(std::future::pending()),
            _ => Box::pin(std::future::ready(Err(sled::Error::Unsupported("so it is".to_owned())))),
        });
        assert_eq!(result, Err(sled::Error::Unsupported("so it is".to_owned())));
        assert_eq!(started.into_inner(), 2);
    }
}
