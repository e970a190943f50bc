//! What is written to the log about one interface, bounded: some fail and return many times a second.

use std::time::{Duration, Instant};

/// In this time, the same thing again is not written, and no more than [`LINES`] in all.
const WINDOW: Duration = Duration::from_secs(600);
const LINES: u32 = 20;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Chatter {
    last: String,
    last_at: Instant,
    begun: Instant,
    lines: u32,
    left_out: u64,
    /// The last one left out: how things are.
    waiting: Option<String>,
}

impl Chatter {
    pub(super) fn new(now: Instant) -> Self {
        Self { last: String::new(), last_at: now, begun: now, lines: 0, left_out: 0, waiting: None }
    }

    /// Whether `text` is to be written, and if so, what to append to it.
    pub(super) fn may_say(&mut self, now: Instant, text: &str) -> Option<String> {
        if self.last == text && now < self.last_at + WINDOW {
            return None;
        }
        (self.last, self.last_at) = (text.to_owned(), now);
        if now >= self.begun + WINDOW {
            (self.begun, self.lines) = (now, 0);
        }
        if self.lines >= LINES {
            self.left_out += 1;
            self.waiting = Some(text.to_owned());
            return None;
        }
        self.lines += 1;
        self.waiting = None;
        Some(match std::mem::take(&mut self.left_out) {
            0 => String::new(),
            n => format!(" ({n} lines before this were left out)"),
        })
    }
}

impl Chatter {
    /// What was left out last, once there is room for it again: the log must not end on what is no longer so.
    pub(super) fn overdue(&mut self, now: Instant) -> Option<String> {
        if now < self.begun + WINDOW {
            return None;
        }
        let text = self.waiting.take()?;
        self.last.clear();
        let left_out = self.may_say(now, &text)?;
        Some(text + &left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_is_said_in_the_end() {
        let start = Instant::now();
        let mut chatter = Chatter::new(start);
        for i in 0..30 {
            chatter.may_say(start, if i % 2 == 0 { "lost" } else { "open" });
        }
        assert_eq!(chatter.overdue(start + WINDOW / 2), None);
        assert_eq!(chatter.overdue(start + WINDOW).unwrap(), "open (10 lines before this were left out)");
        assert_eq!(chatter.overdue(start + 2 * WINDOW), None);
    }

    #[test]
    fn a_flapping_interface_is_told_of_twenty_times_in_ten_minutes() {
        let start = Instant::now();
        let mut chatter = Chatter::new(start);
        let mut said = Vec::new();
        // An hour, once a second "lost", "open".
        for s in 0..3600 {
            for text in ["lost", "open"] {
                said.extend(chatter.may_say(start + Duration::from_secs(s), text));
            }
        }
        assert_eq!(said.len(), 6 * 20);
        assert_eq!(said[20], " (1180 lines before this were left out)");
    }

    #[test]
    fn the_same_again_is_written_after_ten_minutes() {
        let start = Instant::now();
        let mut chatter = Chatter::new(start);
        let said =
            (0..3600 * 5).filter(|ms| chatter.may_say(start + Duration::from_millis(200 * ms), "gone").is_some());
        assert_eq!(said.count(), 6);
    }
}
