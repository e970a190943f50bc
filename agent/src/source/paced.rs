//! Frames played by their own timestamps: recordings and the simulation.

use std::time::{Duration, Instant};

use can_decoders::Frame;

use super::{Frames, GATHER, Next, Progress, Source, SourceError};

/// A step back in time of more than this starts the pace anew: recordings that were joined. Nanoseconds.
const BACK_NS: u64 = 1_000_000_000;

/// Plays frames as fast as their times say, times a factor, or as fast as they are read.
pub struct Paced<F> {
    frames: F,
    /// `None`: as fast as possible.
    speed: Option<f64>,
    /// When the pace started, and the frames' time then.
    anchor: Option<(Instant, u64)>,
    held: Option<Frame>,
    last_ns: u64,
    /// When frames were last taken that had been waited for.
    taken: Option<Instant>,
    ended: bool,
}

impl<F: Frames> Paced<F> {
    /// Plays `frames` at `speed` times their own pace; `None` as fast as possible.
    pub fn new(frames: F, speed: Option<f64>) -> Self {
        Self { frames, speed, anchor: None, held: None, last_ns: 0, taken: None, ended: false }
    }

    /// The frames behind it.
    pub fn frames(&self) -> &F {
        &self.frames
    }

    /// How long until the held frame is due; zero when it is.
    fn wait(&mut self, frame_ns: u64) -> Duration {
        let Some(speed) = self.speed else { return Duration::ZERO };
        if frame_ns.saturating_add(BACK_NS) < self.last_ns {
            self.anchor = None;
        }
        let (start, start_ns) = *self.anchor.get_or_insert_with(|| (Instant::now(), frame_ns));
        let due = Duration::from_nanos(frame_ns.saturating_sub(start_ns));
        // A hole of years in a recording must not overflow; a day's wait is looked at again after `max_wait` anyway.
        let due = due.as_secs_f64() / speed;
        Duration::from_secs_f64((due - start.elapsed().as_secs_f64()).clamp(0.0, 86_400.0))
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float cast saturates, and time does not run backwards"
    )]
    fn now_ns(&self) -> u64 {
        match (self.speed, self.anchor) {
            (Some(speed), Some((start, start_ns))) => {
                let passed = (start.elapsed().as_secs_f64() * speed * 1e9) as u64;
                // Never past a frame that is still to come: without one in hand (a full batch, the end) it is not known
                // when that is. So events do not depend on how fast this computer is.
                let now = start_ns.saturating_add(passed);
                self.held.map_or(self.last_ns, |frame| now.min(frame.time_ns))
            }
            _ => self.last_ns,
        }
    }
}

impl<F: Frames> Source for Paced<F> {
    fn read(&mut self, batch: &mut Vec<Frame>, max_wait: Duration) -> Result<Progress, SourceError> {
        while batch.len() < batch.capacity() && !self.ended {
            if self.held.is_none() {
                // What was read already does not wait for what may never come.
                let patience = if batch.is_empty() { max_wait } else { Duration::ZERO };
                match self.frames.next_within(patience)? {
                    Next::Frame(frame) => self.held = Some(frame),
                    Next::NotYet => break,
                    Next::End => self.ended = true,
                }
            }
            let Some(frame) = self.held else { break };
            let wait = self.wait(frame.time_ns);
            if !wait.is_zero() {
                if !batch.is_empty() {
                    break;
                }
                // Those that come soon after each other are taken together, as from a bus.
                let early = self.taken.map_or(Duration::ZERO, |taken| GATHER.saturating_sub(taken.elapsed()));
                std::thread::sleep(wait.max(early).min(max_wait));
                if wait > max_wait {
                    break;
                }
                self.taken = Some(Instant::now());
            }
            self.last_ns = frame.time_ns;
            batch.push(frame);
            self.held = None;
        }
        Ok(Progress { now_ns: self.now_ns(), ended: self.ended })
    }

    fn is_live(&self) -> bool {
        false
    }

    fn bad_lines(&self) -> u64 {
        self.frames.bad_lines()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use can_decoders::{BusId, CanId, FrameKind};

    use super::*;

    struct List(VecDeque<u64>);

    impl Frames for List {
        fn next_frame(&mut self) -> Result<Option<Frame>, SourceError> {
            let id = CanId::standard(1).unwrap();
            Ok(self.0.pop_front().map(|t| Frame::new(t, BusId(0), id, FrameKind::Data, &[]).unwrap()))
        }
    }

    fn play(times: &[u64], speed: Option<f64>) -> (Vec<u64>, Vec<Progress>, Duration) {
        let mut source = Paced::new(List(times.iter().copied().collect()), speed);
        let (mut seen, mut progress, start) = (Vec::new(), Vec::new(), Instant::now());
        loop {
            let mut batch = Vec::with_capacity(4);
            let p = source.read(&mut batch, Duration::from_millis(5)).unwrap();
            assert!(p.now_ns >= batch.last().map_or(0, |f| f.time_ns), "the clock is not behind what was read");
            seen.extend(batch.iter().map(|f| f.time_ns));
            progress.push(p);
            if p.ended {
                return (seen, progress, start.elapsed());
            }
        }
    }

    #[test]
    fn as_fast_as_possible_waits_for_nothing_and_keeps_order() {
        let year = 31_536_000_000_000_000;
        let times = [1, 5, year, year + 1, 3, 4];
        assert_eq!(play(&times, None).0, times);
    }

    #[test]
    fn pace_is_kept_by_a_factor_and_the_clock_never_passes_a_frame_to_come() {
        let second = 1_000_000_000;
        let times = [second, second + 40_000_000, second + 80_000_000];
        let (seen, progress, took) = play(&times, Some(2.0));
        assert_eq!(seen, times);
        assert!(took >= Duration::from_millis(40), "80 ms at twice the pace: {took:?}");
        assert!(progress.windows(2).all(|w| w[0].now_ns <= w[1].now_ns));
    }

    /// A wake-up costs more than a frame.
    #[test]
    fn frames_in_quick_succession_are_taken_together() {
        let times = (0..400).map(|n| 1_000_000_000 + n * 100_000).collect();
        let mut source = Paced::new(List(times), Some(1.0));
        let (mut reads, mut frames) = (0, 0);
        let mut batch = Vec::with_capacity(256);
        while frames < 400 {
            batch.clear();
            source.read(&mut batch, Duration::from_millis(100)).unwrap();
            frames += batch.len();
            reads += 1;
        }
        assert!(reads <= 20, "{reads} reads for 40 ms");
    }

    #[test]
    fn a_step_back_restarts_the_pace_instead_of_rushing_or_hanging() {
        let hour = 3_600_000_000_000;
        let times = [hour, 1_000, 2_000];
        assert_eq!(play(&times, Some(1.0)).0, times);
    }
}
