//! What happens as time passes.

use can_decoders::integrity::Counters;

use super::conditions::View;
use super::{BACK_NS, Collector, Engine, Hurry, JUMP_NS, MAX_TIME_NS, Sink, Tick};

#[derive(Debug, Clone, Copy)]
pub(super) struct Hurried {
    collector: usize,
    usual_ns: u64,
    until_ns: u64,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Timer {
    pub(super) due_ns: u64,
    pub(super) period_ns: u64,
    pub(super) job: Job,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Job {
    Silence,
    Buses,
    Campaigns,
    Guard,
    Detector(usize),
    Collector(usize),
    Health,
}

impl Engine {
    /// Time passes: does what is due up to and including `now_ns`, in order. A time that is earlier by more than
    /// [`BACK_NS`] says that the clock was set back; other earlier ones are ignored, and 0 stands for a time that is not
    /// known.
    pub fn advance(&mut self, now_ns: u64, sink: &mut impl Sink) {
        let now_ns = now_ns.min(MAX_TIME_NS);
        if now_ns == 0 {
            return;
        }
        let back = self.now_ns.saturating_sub(now_ns) > BACK_NS;
        if now_ns < self.next_due_ns && !back {
            self.now_ns = self.now_ns.max(now_ns);
            return;
        }
        if self.now_ns == 0 || back || now_ns.saturating_sub(self.now_ns) > JUMP_NS {
            self.jump(now_ns, sink);
            self.judge(sink);
        }
        while let Some(timer) = self.timers.iter_mut().min_by_key(|t| t.due_ns) {
            // At one time, conditions come last.
            let at = self.conditions.due_ns();
            if at < timer.due_ns {
                if at > now_ns {
                    self.next_due_ns = at;
                    break;
                }
                self.now_ns = self.now_ns.max(at);
                let now_ns = self.now_ns;
                let (health, campaigns, frames) = (&self.health, &self.campaigns, self.frames);
                self.conditions.due(&View { state: &self.state, health, campaigns, now_ns, frames });
                self.judge(sink);
                continue;
            }
            if timer.due_ns > now_ns {
                self.next_due_ns = timer.due_ns;
                break;
            }
            let (at, job) = (timer.due_ns, timer.job);
            timer.due_ns += timer.period_ns;
            self.now_ns = at;
            match job {
                Job::Silence => {
                    self.health.check_silence(&self.state, &self.catalog, at, sink);
                    self.conditions.silences(&self.health);
                }
                Job::Buses => {
                    self.health.measure(&mut self.state, &self.catalog, at, sink);
                    self.conditions.buses(&self.catalog, &self.state, at);
                }
                Job::Detector(_) | Job::Guard | Job::Campaigns if self.frames == 0 => {}
                Job::Campaigns => {
                    for campaign in self.campaigns.look(at, self.frames, sink) {
                        self.conditions.campaign_changed(campaign);
                        let its = |collector: &&mut Collector| collector.campaign() == Some(campaign);
                        self.collectors.iter_mut().filter(its).for_each(Collector::forget);
                    }
                }
                Job::Guard => {
                    if let Some(guard) = &mut self.guard {
                        guard.tick(self.detectors.len(), Tick { now_ns: at, frames: self.frames }, sink);
                        self.conditions.scored(self.detectors.len(), Some(guard.last_score()), guard.is_raised());
                    }
                }
                Job::Detector(i) => {
                    let detector = &mut self.detectors[i];
                    detector.tick(i, &self.state, Tick { now_ns: at, frames: self.frames }, sink);
                    self.conditions.scored(i, detector.last_score(), detector.is_raised());
                }
                Job::Collector(i) => {
                    self.collect(i, at, sink);
                    self.rest(i, at);
                }
                Job::Health => self.health.tell(&self.catalog, at, sink),
            }
            if self.conditions.has_work() {
                self.judge(sink);
            }
        }
        self.now_ns = self.now_ns.max(now_ns);
    }

    /// The end: what was collected since the last grid points, how models fared, and a last `health` event, so that the counters up to
    /// here are known.
    pub fn finish(&mut self, sink: &mut impl Sink) {
        if self.now_ns > 0 {
            (0..self.collectors.len()).for_each(|i| self.collect(i, self.now_ns, sink));
            self.campaigns.finish(self.now_ns, self.frames, sink);
            self.detectors.iter_mut().for_each(|detector| detector.finish(self.now_ns, sink));
            self.health.flush(&self.catalog, self.now_ns, sink);
            self.health.tell(&self.catalog, self.now_ns, sink);
        }
    }

    fn jump(&mut self, now_ns: u64, sink: &mut impl Sink) {
        if self.now_ns != 0 {
            self.health.flush(&self.catalog, self.now_ns, sink);
            self.health.time_jump();
            // What was collected before it goes out with the time before it.
            (0..self.collectors.len()).for_each(|i| self.collect(i, self.now_ns, sink));
            self.collectors.iter_mut().for_each(|collector| collector.time_jumped(now_ns));
            self.state.time_jumped(now_ns);
            self.counters.iter_mut().for_each(Counters::forget_all);
            self.detectors.iter_mut().for_each(|detector| detector.time_jumped(now_ns));
            self.guard.iter_mut().for_each(|guard| guard.time_jumped(now_ns));
        }
        for timer in &mut self.timers {
            timer.due_ns = now_ns.next_multiple_of(timer.period_ns);
        }
        for hurried in &mut self.hurried {
            hurried.until_ns = hurried.until_ns.min(now_ns);
        }
        self.conditions.time_jumped(now_ns);
        // Not left for later: after a step back, what was due next would lie far ahead.
        self.next_due_ns = self.timers.iter().map(|t| t.due_ns).min().unwrap_or(now_ns);
        self.now_ns = now_ns;
    }

    /// A collection looks, if it works.
    fn collect(&mut self, i: usize, now_ns: u64, sink: &mut impl Sink) {
        let collector = &mut self.collectors[i];
        if self.campaigns.works(collector.campaign()) {
            collector.tick(&self.state, now_ns, self.campaigns.name(collector.campaign()), sink);
        }
    }

    pub(super) fn hurry(&mut self, hurry: Hurry) {
        let Hurry { collector, period_ns, for_ns } = hurry;
        let is_its = |timer: &&mut Timer| timer.job == Job::Collector(collector);
        let Some(timer) = self.timers.iter_mut().find(is_its) else { return };
        let until_ns = self.now_ns.saturating_add(for_ns);
        match self.hurried.iter_mut().find(|hurried| hurried.collector == collector) {
            Some(hurried) => hurried.until_ns = hurried.until_ns.max(until_ns),
            None => self.hurried.push(Hurried { collector, usual_ns: timer.period_ns, until_ns }),
        }
        if period_ns < timer.period_ns {
            timer.period_ns = period_ns;
            timer.due_ns = self.now_ns.saturating_add(1).next_multiple_of(period_ns);
            self.next_due_ns = self.next_due_ns.min(timer.due_ns);
            self.collectors[collector].set_period(period_ns);
        }
    }

    /// A collection has looked: back to its usual grid, when it has hurried for long enough.
    fn rest(&mut self, collector: usize, at_ns: u64) {
        let Some(i) = self.hurried.iter().position(|one| one.collector == collector && one.until_ns <= at_ns) else {
            return;
        };
        let usual_ns = self.hurried.swap_remove(i).usual_ns;
        if let Some(timer) = self.timers.iter_mut().find(|timer| timer.job == Job::Collector(collector)) {
            timer.period_ns = usual_ns;
            timer.due_ns = at_ns.saturating_add(1).next_multiple_of(usual_ns);
        }
        self.collectors[collector].set_period(usual_ns);
    }
}
