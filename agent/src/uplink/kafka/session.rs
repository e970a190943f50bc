//! One connection, from its start to its end: one request after the other.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rskafka::record::Record;
use rustls::ClientConfig;

use super::Topics;
use super::config::KafkaConfig;
use super::fault::{Fault, Meaning, explain, meaning};
use super::producer::Producer;
use super::records;
use crate::event::clock::FLOOR_NS;
use crate::event::{Class, LossCause};
use crate::outbox::Outbox;
use crate::runtime::clock::wall_ns;
use crate::uplink::backoff::Backoff;
use crate::uplink::delivery::{Message, Verdict};
use crate::uplink::hub::Turn;
use crate::uplink::run::{Ctx, End};

/// Largest record: what brokers take by default (1 MiB), less the batch's own bytes and headers.
const MAX_RECORD: usize = 1_000_000;
/// Between two attempts of a request.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// No timer is due: look again after this long.
const IDLE: Duration = Duration::from_secs(3600);

/// How an awaited thing ended.
enum Outcome<T> {
    Done(T),
    /// Not in time.
    Late,
    /// The computer slept, or the connection is no longer wanted.
    Given(Fault),
    End(End),
}

/// What is sent together: messages of one topic.
struct Request {
    topic: String,
    messages: Vec<Message>,
}

pub(super) struct Session<'a, 'c, O: Outbox + ?Sized> {
    config: &'a KafkaConfig,
    topics: &'a Topics,
    vehicle: &'a str,
    ctx: &'a mut Ctx<'c, O>,
    /// Taken from the outbox, not sent yet: what did not fit into a request, or has to go alone.
    queue: VecDeque<Message>,
    /// So many of them go alone, because one of them is too large.
    alone: usize,
    room: [usize; 5],
    useful: bool,
    /// When the brokers last gave a sign of life.
    heard: Instant,
    /// Shutdown was asked for; until then it goes on.
    draining: Option<Instant>,
    /// Since when something less important waits for company.
    lingers: Option<Instant>,
    /// Certificates have changed: the connection is to be made anew.
    renewed: bool,
}

type Ended = Result<(Fault, bool), End>;

impl<'a, 'c, O: Outbox + ?Sized> Session<'a, 'c, O> {
    pub(super) fn new(config: &'a KafkaConfig, topics: &'a Topics, vehicle: &'a str, ctx: &'a mut Ctx<'c, O>) -> Self {
        ctx.delivery.restart();
        Self {
            config,
            topics,
            vehicle,
            ctx,
            queue: VecDeque::new(),
            alone: 0,
            room: [config.batch_bytes.min(MAX_RECORD); 5],
            useful: false,
            heard: Instant::now(),
            draining: None,
            lingers: None,
            renewed: false,
        }
    }

    /// Runs until the connection ends, or shutdown is asked for and what waits is sent, or it is not wanted any more.
    pub(super) async fn run(mut self, tls: Option<Arc<ClientConfig>>) -> Ended {
        let connecting = Producer::connect(self.config, self.vehicle, tls);
        let mut producer = match self.wait(connecting, self.config.connect_timeout, true).await {
            Outcome::Done(Ok(producer)) => producer,
            Outcome::Done(Err(error)) => return Ok((error.into(), false)),
            Outcome::Late => return Ok((Fault::ConnectTimeout, false)),
            Outcome::Given(fault) => return Ok((fault, false)),
            Outcome::End(end) => return Err(end),
        };
        self.ctx.monitor.up(1, self.config.batch_bytes);
        self.ctx.desk.up(Instant::now());
        loop {
            let now = Instant::now();
            if let Some(end) = self.is_over(now) {
                return Err(end);
            }
            // Between two requests of a backlog there is no idle moment: what is more important is looked for all the same.
            if self.ctx.listener.news.has_rung() {
                self.ctx.delivery.wake();
            }
            self.renewed |= self.ctx.renewed.has_rung();
            if let Some(request) = self.gather(now) {
                self.ctx.monitor.in_flight(request.messages.len() + self.queue.len());
                match self.send(&mut producer, request).await {
                    Ok(()) => {}
                    Err(Outcome::End(end)) => return Err(end),
                    Err(Outcome::Given(fault)) => return Ok((fault, self.useful)),
                    Err(_) => return Ok((Fault::RequestTimeout, self.useful)),
                }
                self.ctx.monitor.in_flight(self.queue.len());
                continue;
            }
            // Having looked, it may be known that nothing is left.
            if let Some(end) = self.is_over(now) {
                return Err(end);
            }
            let chore = if producer.is_stale(now) {
                Some(self.wait(producer.look(), self.config.request_timeout, false).await)
            } else if now.saturating_duration_since(self.heard) >= self.config.keep_alive {
                Some(self.wait(producer.ping(), self.config.request_timeout, false).await)
            } else {
                None
            };
            match chore {
                None if self.idle(producer.stale_at()).await => return Ok((Fault::Slept, self.useful)),
                None => {}
                Some(Outcome::Done(Ok(()))) => self.heard = Instant::now(),
                Some(Outcome::Done(Err(error))) => return Ok((error.into(), self.useful)),
                Some(Outcome::Late) => return Ok((Fault::RequestTimeout, self.useful)),
                Some(Outcome::Given(fault)) => return Ok((fault, self.useful)),
                Some(Outcome::End(end)) => return Err(end),
            }
        }
    }

    /// Nothing more is wanted of this connection.
    fn is_over(&mut self, now: Instant) -> Option<End> {
        match self.draining {
            Some(deadline) if now >= deadline => Some(End::Shutdown),
            Some(deadline) if self.queue.is_empty() && self.ctx.delivery.drained(deadline) => Some(End::Shutdown),
            Some(_) => None,
            None if !self.queue.is_empty() => None,
            None if self.renewed => Some(End::Renewed),
            None => (!self.ctx.desk.wanted(now)).then_some(End::Released),
        }
    }

    /// Waits for `what`, at most for `limit`. While `connecting`, also until shutdown or until the connection is no longer
    /// wanted; later these are noticed between two requests.
    async fn wait<T>(&mut self, what: impl Future<Output = T>, limit: Duration, connecting: bool) -> Outcome<T> {
        let mut what = pin!(what);
        let deadline = Instant::now() + limit;
        loop {
            let change = self.ctx.desk.next_change(Instant::now()).map_or(deadline, |at| at.min(deadline));
            tokio::select! {
                done = what.as_mut() => return Outcome::Done(done),
                () = tokio::time::sleep_until(change.into()) => {}
                () = self.ctx.listener.resumed.rung() => return Outcome::Given(Fault::Slept),
                () = self.ctx.shutdown.asked(), if connecting || self.draining.is_none() => {
                    if connecting {
                        return Outcome::End(End::Shutdown);
                    }
                    self.drain();
                }
                () = self.ctx.desk.changed(), if connecting => {}
            }
            let now = Instant::now();
            if now >= deadline {
                return Outcome::Late;
            }
            if connecting && !self.ctx.desk.wanted(now) {
                return Outcome::End(End::Released);
            }
            if self.draining.is_some_and(|until| now >= until) {
                return Outcome::End(End::Shutdown);
            }
        }
    }

    fn drain(&mut self) {
        self.ctx.delivery.wake();
        self.draining = Some(Instant::now() + self.ctx.drain_timeout);
    }

    /// Waits until there may be something to do. True: the computer has slept.
    async fn idle(&mut self, stale_at: Instant) -> bool {
        let now = Instant::now();
        let lingers = self.lingers.map(|since| since + self.config.linger);
        let timers = [
            Some(stale_at),
            Some(self.heard + self.config.keep_alive),
            self.draining,
            lingers,
            self.ctx.delivery.next_release(now),
            self.ctx.desk.next_change(now),
        ];
        let timer = timers.into_iter().flatten().min().unwrap_or(now + IDLE);
        tokio::select! {
            () = self.ctx.listener.news.rung() => self.ctx.delivery.wake(),
            () = self.ctx.listener.resumed.rung() => return true,
            () = self.ctx.desk.changed() => {}
            () = self.ctx.renewed.rung() => self.renewed = true,
            () = self.ctx.shutdown.asked(), if self.draining.is_none() => self.drain(),
            () = tokio::time::sleep_until(timer.into()) => {}
        }
        false
    }

    /// The next messages of one topic, as many as fit.
    fn gather(&mut self, now: Instant) -> Option<Request> {
        let turn = self.ctx.desk.turn(self.queue.len(), now);
        if turn == Turn::GoAnew {
            self.ctx.delivery.restart();
        }
        let mut request: Option<Request> = None;
        let mut bytes = 0;
        while let Some(message) = self.next(turn, now) {
            let topic = &self.topics.classes[message.class.rank()];
            bytes += message.part.payload.len();
            let request = request.get_or_insert_with(|| Request { topic: topic.clone(), messages: Vec::new() });
            let fits = request.topic == *topic && bytes <= self.config.batch_bytes;
            if !fits && !request.messages.is_empty() {
                self.queue.push_front(message);
                break;
            }
            request.messages.push(message);
            if self.alone > 0 {
                self.alone -= 1;
                break;
            }
        }
        let request = request?;
        let full = bytes >= self.config.batch_bytes || !self.queue.is_empty();
        let may_wait = request.messages.iter().all(|message| message.class > Class::Alert);
        if !full && may_wait && self.draining.is_none() && !self.config.linger.is_zero() {
            let since = *self.lingers.get_or_insert(now);
            if now < since + self.config.linger {
                self.queue.extend(request.messages);
                return None;
            }
        }
        self.lingers = None;
        Some(request)
    }

    fn next(&mut self, turn: Turn, now: Instant) -> Option<Message> {
        if !self.queue.is_empty() || turn == Turn::Wait {
            return self.queue.pop_front();
        }
        let Ctx { delivery, desk, monitor, .. } = &mut *self.ctx;
        delivery.next(desk, &self.room, monitor, now)
    }

    /// Sends a request until it is clear what becomes of it.
    async fn send(&mut self, producer: &mut Producer, mut request: Request) -> Result<(), Outcome<()>> {
        let mut backoff = Backoff::new(RETRY_MIN, RETRY_MAX);
        let mut attempt = 1;
        loop {
            let records = self.records(&mut request);
            if records.is_empty() {
                return Ok(());
            }
            let produced = producer.produce(&request.topic, records);
            let error = match self.wait(produced, self.config.request_timeout, false).await {
                Outcome::Done(Ok(())) => {
                    self.heard = Instant::now();
                    self.settle(request.messages, Verdict::Delivered, "");
                    return Ok(());
                }
                Outcome::Done(Err(error)) => error,
                Outcome::Late => return Err(Outcome::Late),
                Outcome::Given(fault) => return Err(Outcome::Given(fault)),
                Outcome::End(end) => return Err(Outcome::End(end)),
            };
            let text = explain(&error, &request.topic);
            match meaning(&error) {
                Meaning::Retry if attempt < self.config.attempts => {
                    attempt += 1;
                    tracing::debug!("{text}; attempt {attempt} follows");
                    let pause = tokio::time::sleep(backoff.next());
                    match self.wait(pause, RETRY_MAX * 2, false).await {
                        Outcome::Done(()) => {}
                        other => return Err(other),
                    }
                }
                Meaning::Retry | Meaning::Stop => return Err(Outcome::Given(error.into())),
                Meaning::Compression if producer.give_up_compression() => {
                    tracing::debug!("{text}; goes on without compression");
                }
                Meaning::TooLarge if request.messages.len() > 1 => {
                    self.alone = request.messages.len();
                    request.messages.into_iter().rev().for_each(|message| self.queue.push_front(message));
                    return Ok(());
                }
                Meaning::TooLarge => {
                    self.too_large(request, &text);
                    return Ok(());
                }
                Meaning::Rest | Meaning::Compression => {
                    producer.forget(&request.topic);
                    // What was taken from the outbox behind them is not to overtake them.
                    let is_of_topic = |message: &Message| self.topics.classes[message.class.rank()] == request.topic;
                    let (behind, others): (Vec<_>, Vec<_>) =
                        std::mem::take(&mut self.queue).into_iter().partition(is_of_topic);
                    self.queue = others.into();
                    request.messages.extend(behind);
                    self.settle(request.messages, Verdict::Later, &text);
                    return Ok(());
                }
                Meaning::Never(cause) => return self.dead_letter(producer, request, &text, cause).await,
            }
        }
    }

    /// The records of a request; messages that are damaged are given up and taken out.
    fn records(&mut self, request: &mut Request) -> Vec<Record> {
        let now_ns = wall_ns();
        let now_ms = (now_ns >= FLOOR_NS).then(|| i64::try_from(now_ns / 1_000_000).unwrap_or(i64::MAX));
        let mut records = Vec::new();
        for message in std::mem::take(&mut request.messages) {
            match records::of_message(&message, self.config.payload, now_ms) {
                Some(of_message) => {
                    records.extend(of_message);
                    request.messages.push(message);
                }
                None => self.settle(vec![message], Verdict::Refused(LossCause::Corrupt), "it is damaged"),
            }
        }
        records
    }

    /// A single message is too large for the topic: it is divided, or given up if it is one event.
    fn too_large(&mut self, request: Request, text: &str) {
        for message in request.messages {
            if message.part.count > 1 {
                self.ctx.delivery.too_large(&message, 1, Instant::now());
                self.settle(vec![message], Verdict::Later, text);
            } else {
                self.settle(vec![message], Verdict::Refused(LossCause::Oversize), text);
            }
        }
    }

    /// The topic will never take some of these: one message after the other, then to the topic for dead letters.
    async fn dead_letter(
        &mut self,
        producer: &mut Producer,
        mut request: Request,
        text: &str,
        cause: LossCause,
    ) -> Result<(), Outcome<()>> {
        if request.messages.len() > 1 {
            self.alone = request.messages.len();
            request.messages.into_iter().rev().for_each(|message| self.queue.push_front(message));
            return Ok(());
        }
        let mut text = text.to_owned();
        if let Some(topic) = self.topics.dead_letters.clone().filter(|topic| *topic != request.topic) {
            let mut records = self.records(&mut request);
            for record in &mut records {
                record.headers.insert("reason".to_owned(), text.clone().into_bytes());
            }
            match self.wait(producer.produce(&topic, records), self.config.request_timeout, false).await {
                Outcome::Done(Ok(())) => {
                    for message in &request.messages {
                        self.ctx.monitor.dead_lettered(message, &text);
                    }
                    self.settle(request.messages, Verdict::Delivered, "");
                    return Ok(());
                }
                Outcome::Done(Err(error)) if meaning(&error) == Meaning::Retry => {
                    return Err(Outcome::Given(error.into()));
                }
                Outcome::Done(Err(error)) => text = format!("{text}; dead letters: {}", explain(&error, &topic)),
                Outcome::Late => return Err(Outcome::Late),
                Outcome::Given(fault) => return Err(Outcome::Given(fault)),
                Outcome::End(end) => return Err(Outcome::End(end)),
            }
        }
        self.settle(request.messages, Verdict::Refused(cause), &text);
        Ok(())
    }

    fn settle(&mut self, messages: Vec<Message>, verdict: Verdict, text: &str) {
        let now = Instant::now();
        let Ctx { delivery, desk, monitor, .. } = &mut *self.ctx;
        for message in messages {
            let rest = delivery.settle(desk, &message, verdict, monitor, now);
            match verdict {
                Verdict::Delivered => {
                    self.useful = true;
                    monitor.acked();
                }
                Verdict::Refused(cause) => monitor.refused(&message, text, cause),
                Verdict::Later => monitor.deferred(&message, text, rest.unwrap_or_default()),
            }
        }
    }
}
