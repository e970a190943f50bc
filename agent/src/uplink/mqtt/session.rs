//! One connection, from its start to its end.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rumqttc::v5::mqttbytes::v5::PubAckReason;
use rustls::ClientConfig;

use super::client::{self, Client, EventLoop, Heard, Limits};
use super::config::MqttConfig;
use super::correlate::Correlator;
use super::fault::{Failure, Fault};
use super::wire::{State, Wire};
use crate::event::LossCause;
use crate::outbox::Outbox;
use crate::uplink::delivery::{Message, TooLarge, Verdict};
use crate::uplink::hub::Turn;
use crate::uplink::run::{Ctx, End};

/// Room in the library's channel beyond the window, so that handing over never waits.
const CHANNEL_SLACK: u16 = 8;
/// Messages handed over between two polls: reading the outbox must not hold up the network.
const BURST: usize = 16;
/// For the last words to get out.
const GOODBYE: Duration = Duration::from_secs(1);
/// With a patience of less, the library's most frequent pings are too few.
const SLOWEST_PINGS: Duration = Duration::from_millis(7_500);
/// No timer is due: look again after this long.
const IDLE: Duration = Duration::from_secs(3600);

/// How a connection ended.
pub(super) struct Ended {
    /// `Ok`: by itself; why, and whether something was acknowledged on it. `Err`: it was asked to.
    pub(super) end: Result<(Fault, bool), End>,
    /// The gateway had accepted us.
    pub(super) accepted: bool,
}

/// Where a connection is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Connecting,
    Up,
    /// Shutdown was asked for; goes on until nothing waits, at most until then.
    Draining(Instant),
    /// The vehicle's state is handed over.
    Parting(Instant),
    /// DISCONNECT is handed over.
    Leaving(Instant),
}

/// What is on its way.
#[derive(Debug)]
enum Flight {
    Events(Message),
    State,
}

pub(super) struct Session<'a, 'c, O: Outbox + ?Sized> {
    config: &'a MqttConfig,
    wire: &'a Wire,
    ctx: &'a mut Ctx<'c, O>,
    client: Client,
    /// Taken while it is being polled.
    eventloop: Option<EventLoop>,
    correlator: Correlator<Flight>,
    stage: Stage,
    window: usize,
    /// Payload bytes that fit, by class rank.
    room: [usize; 5],
    useful: bool,
    accepted: bool,
    /// What the connection may be silent for, and since when it has been.
    patience: Duration,
    heard: Instant,
    /// Where the gateway sends us.
    reference: Option<String>,
    /// Certificates have changed: the connection is to be made anew.
    renewed: bool,
}

impl<'a, 'c, O: Outbox + ?Sized> Session<'a, 'c, O> {
    pub(super) fn new(
        config: &'a MqttConfig,
        wire: &'a Wire,
        target: (&str, u16),
        tls: Option<Arc<ClientConfig>>,
        ctx: &'a mut Ctx<'c, O>,
    ) -> Self {
        let capacity = usize::from(config.window) + usize::from(CHANNEL_SLACK);
        let (client, eventloop) = client::connect(config, target, tls, wire.state("lost").as_ref(), capacity);
        ctx.delivery.restart();
        Self {
            config,
            wire,
            ctx,
            client,
            eventloop: Some(eventloop),
            correlator: Correlator::new(Instant::now()),
            stage: Stage::Connecting,
            window: usize::from(config.window),
            room: [0; 5],
            useful: false,
            accepted: false,
            patience: config.keep_alive.mul_f64(1.5),
            heard: Instant::now(),
            reference: None,
            renewed: false,
        }
    }

    /// Runs until the connection ends, or shutdown is asked for and what waits is sent, or it is not wanted any more.
    pub(super) async fn run(mut self) -> Ended {
        let end = match self.eventloop.take() {
            Some(eventloop) => self.until_its_end(eventloop).await,
            None => Err(End::Shutdown),
        };
        Ended { end, accepted: self.accepted }
    }

    async fn until_its_end(&mut self, mut eventloop: EventLoop) -> Result<(Fault, bool), End> {
        let mut asked = false;
        let fault = loop {
            let polled = {
                let mut poll = pin!(eventloop.poll());
                loop {
                    let timer = self.next_timer();
                    tokio::select! {
                        polled = poll.as_mut() => break Ok(polled),
                        () = self.ctx.listener.news.rung() => self.ctx.delivery.wake(),
                        () = self.ctx.listener.resumed.rung() => break Err(Fault::Slept),
                        () = self.ctx.desk.changed() => {}
                        () = self.ctx.renewed.rung() => self.renewed = true,
                        () = self.ctx.shutdown.asked(), if !asked => {
                            asked = true;
                            if self.stage == Stage::Connecting {
                                return Err(End::Shutdown);
                            }
                            self.ctx.delivery.wake();
                            self.stage = Stage::Draining(Instant::now() + self.ctx.drain_timeout);
                        }
                        () = tokio::time::sleep_until(timer.into()) => {}
                    }
                    if let Err(fault) = self.step() {
                        break Err(fault);
                    }
                    if self.gone() || self.not_wanted() {
                        return Err(self.asked_end(asked));
                    }
                }
            };
            let handled = match polled {
                Ok(Ok(heard)) => {
                    let accepted = matches!(heard, Heard::Accepted(_));
                    let handled = self.handle(heard);
                    // A gateway that asks for less than the library can is sent pings as often as it asks.
                    if accepted && self.patience >= SLOWEST_PINGS {
                        // Two within the time that it may be silent for, whatever the gateway has made of keep_alive.
                        eventloop.ping_every(self.patience / 3);
                    }
                    handled.and_then(|()| self.step())
                }
                Ok(Err(failure)) => break self.ended_with(failure, &mut eventloop),
                Err(fault) => Err(fault),
            };
            match handled {
                Ok(()) if self.gone() => return Err(self.asked_end(asked)),
                Ok(()) => {}
                Err(fault) => {
                    self.take_received(&mut eventloop);
                    break fault;
                }
            }
        };
        match self.stage {
            Stage::Connecting | Stage::Up => Ok((self.with_reference(fault), self.useful)),
            Stage::Draining(_) | Stage::Parting(_) | Stage::Leaving(_) => Err(self.asked_end(asked)),
        }
    }

    fn asked_end(&self, shutdown: bool) -> End {
        match (shutdown, self.renewed) {
            (true, _) => End::Shutdown,
            (false, true) => End::Renewed,
            (false, false) => End::Released,
        }
    }

    /// What to do whenever something happened: look at the timers, hand over more, leave when all is done.
    fn step(&mut self) -> Result<(), Fault> {
        let now = Instant::now();
        if let Some((_, since)) = self.correlator.oldest()
            && now.saturating_duration_since(since) >= self.config.ack_timeout
        {
            return Err(Fault::AckTimeout(self.config.ack_timeout));
        }
        if self.stage != Stage::Connecting && now.saturating_duration_since(self.heard) >= self.patience {
            return Err(Fault::KeepAlive);
        }
        let in_flight = self.correlator.len();
        match self.stage {
            Stage::Connecting | Stage::Leaving(_) => return Ok(()),
            Stage::Up if !self.ctx.desk.wanted(now) => {
                if in_flight == 0 {
                    self.part("moved", now)?;
                }
            }
            Stage::Up if self.renewed => {
                if in_flight == 0 {
                    self.client.disconnect();
                    self.stage = Stage::Leaving(now + GOODBYE);
                }
            }
            Stage::Up => self.hand_over(now)?,
            Stage::Draining(deadline) => {
                if now < deadline {
                    self.hand_over(now)?;
                }
                if now >= deadline || (self.correlator.len() == 0 && self.ctx.delivery.drained(deadline)) {
                    self.part("offline", now)?;
                }
            }
            Stage::Parting(deadline) => {
                if now >= deadline || in_flight == 0 {
                    self.client.disconnect();
                    self.stage = Stage::Leaving(now + GOODBYE);
                }
            }
        }
        self.ctx.monitor.in_flight(self.correlator.len());
        Ok(())
    }

    /// Says good-bye.
    fn part(&mut self, state: &str, now: Instant) -> Result<(), Fault> {
        self.tell_state(state, now)?;
        self.stage = Stage::Parting(now + GOODBYE);
        Ok(())
    }

    fn gone(&self) -> bool {
        matches!(self.stage, Stage::Leaving(until) if until <= Instant::now())
    }

    /// Nobody wants the connection that is still being made.
    fn not_wanted(&self) -> bool {
        self.stage == Stage::Connecting && !self.ctx.desk.wanted(Instant::now())
    }

    fn next_timer(&self) -> Instant {
        let now = Instant::now();
        let ack = self.correlator.oldest().map(|(_, since)| since + self.config.ack_timeout);
        let silence = (self.stage != Stage::Connecting).then(|| self.heard + self.patience);
        let stage = match self.stage {
            Stage::Draining(deadline) | Stage::Parting(deadline) | Stage::Leaving(deadline) => Some(deadline),
            Stage::Connecting | Stage::Up => None,
        };
        let release = self.ctx.delivery.next_release(now);
        let plan = self.ctx.desk.next_change(now);
        [ack, silence, stage, release, plan].into_iter().flatten().min().unwrap_or(now + IDLE)
    }

    /// Hands messages to the library while the window allows.
    fn hand_over(&mut self, now: Instant) -> Result<(), Fault> {
        match self.ctx.desk.turn(self.correlator.len(), now) {
            Turn::Wait => return Ok(()),
            Turn::GoAnew => self.ctx.delivery.restart(),
            Turn::Go => {}
        }
        for _ in 0..BURST {
            if self.correlator.len() >= self.ctx.delivery.window(self.window) {
                break;
            }
            let Ctx { delivery, desk, monitor, .. } = &mut *self.ctx;
            let Some(message) = delivery.next(desk, &self.room, monitor, now) else { break };
            let (topic, payload) = (self.wire.topic(message.class), message.part.payload.clone());
            self.client.publish(topic, false, payload, || self.wire.message_properties(&message))?;
            self.correlator.handed(Flight::Events(message), now);
        }
        Ok(())
    }

    fn tell_state(&mut self, state: &str, now: Instant) -> Result<(), Fault> {
        let Some(State { topic, payload }) = self.wire.state(state) else { return Ok(()) };
        self.client.publish(&topic, true, payload, State::properties)?;
        self.correlator.handed(Flight::State, now);
        Ok(())
    }

    fn handle(&mut self, heard: Heard) -> Result<(), Fault> {
        match &heard {
            Heard::Sent(_) | Heard::Parked(_) | Heard::Left | Heard::Nothing => {}
            Heard::Accepted(_) | Heard::Answered(..) | Heard::Dismissed(_) | Heard::Alive => {
                self.heard = Instant::now()
            }
        }
        match heard {
            Heard::Accepted(limits) => self.connected(limits),
            Heard::Answered(id, reason, text) => self.answered(id, reason, text.as_deref()),
            Heard::Sent(id) => Ok(self.correlator.sent(id)?),
            Heard::Parked(id) => Ok(self.correlator.parked(id)?),
            Heard::Dismissed(reference) => {
                self.reference = reference;
                Ok(())
            }
            Heard::Left => {
                // It is on its way; nothing else is wanted of this connection.
                self.stage = Stage::Leaving(Instant::now());
                Ok(())
            }
            Heard::Alive | Heard::Nothing => Ok(()),
        }
    }

    fn connected(&mut self, limits: Limits) -> Result<(), Fault> {
        if limits.max_qos == Some(0) {
            return Err(Fault::NoQos1);
        }
        match limits.receive_maximum {
            Some(0) => return Err(Fault::ZeroWindow),
            Some(max) => self.window = self.window.min(usize::from(max)),
            None => {}
        }
        let theirs = limits.max_packet.unwrap_or(u32::MAX);
        let packet = usize::try_from(theirs.min(self.config.max_packet_bytes)).unwrap_or(usize::MAX);
        let needed = self.wire.least_packet();
        if packet < needed {
            return Err(Fault::SmallPackets { announced: packet, needed });
        }
        self.room = self.wire.room(packet);
        // MQTT: 0 turns the mechanism off. Our own interval finds a dead link as well.
        if let Some(seconds) = limits.keep_alive.filter(|seconds| *seconds > 0) {
            self.patience = Duration::from_secs(u64::from(seconds)).mul_f64(1.5).min(self.patience);
        }
        if self.stage == Stage::Connecting {
            self.stage = Stage::Up;
        }
        self.accepted = true;
        self.ctx.monitor.up(self.window, packet);
        let now = Instant::now();
        self.ctx.desk.up(now);
        self.tell_state("online", now)
    }

    fn answered(&mut self, id: u16, code: PubAckReason, text: Option<&str>) -> Result<(), Fault> {
        let now = Instant::now();
        let stuck = self.correlator.waits_for(id);
        let flight = self.correlator.acked(id, now)?;
        let verdict = verdict(code);
        let text = text.map_or_else(String::new, |text| format!(" ({text})"));
        let hint = match code {
            PubAckReason::NotAuthorized => "; check the gateway's access list for this client_id and topic",
            _ => "",
        };
        let reason = || format!("{code:?}{text}{hint}");
        let stuck_is_fatal = || if stuck { Err(Fault::StuckBehindRefusal) } else { Ok(()) };
        let Flight::Events(message) = flight else {
            if verdict != Verdict::Delivered {
                self.ctx.monitor.state_refused(&reason());
                return stuck_is_fatal();
            }
            return Ok(());
        };
        let Ctx { delivery, desk, monitor, .. } = &mut *self.ctx;
        let rest = delivery.settle(desk, &message, verdict, monitor, now);
        monitor.in_flight(self.correlator.len());
        match verdict {
            Verdict::Delivered => {
                self.useful = true;
                monitor.acked();
                if code == PubAckReason::NoMatchingSubscribers {
                    monitor.unclaimed(message.class);
                }
                Ok(())
            }
            Verdict::Refused(cause) => {
                monitor.refused(&message, &reason(), cause);
                stuck_is_fatal()
            }
            Verdict::Later => {
                monitor.deferred(&message, &reason(), rest.unwrap_or_default());
                stuck_is_fatal()
            }
        }
    }

    /// `poll()` failed.
    fn ended_with(&mut self, failure: Failure, eventloop: &mut EventLoop) -> Fault {
        self.take_received(eventloop);
        // Gateways acknowledge in order, and all acknowledgements before this one are taken: the oldest is the likely one.
        if failure.is_too_large()
            && let Some((Flight::Events(message), _)) = self.correlator.oldest()
        {
            let (bytes, in_flight) = (message.part.payload.len(), self.correlator.len());
            return match self.ctx.delivery.too_large(message, in_flight, Instant::now()) {
                TooLarge::Unsure => Fault::OneTooLarge { in_flight },
                TooLarge::Learnt => Fault::TooLarge { bytes },
                TooLarge::TooSmallALimit => Fault::TooSmallALimit { bytes },
            };
        }
        failure.into()
    }

    /// What the library has received and not yet reported counts.
    fn take_received(&mut self, eventloop: &mut EventLoop) {
        while let Some(heard) = eventloop.received() {
            if self.handle(heard).is_err() {
                // The connection is over anyway; what is left unsettled is sent again.
                break;
            }
        }
    }

    /// The server that the gateway has named, when that is why it ended the connection.
    fn with_reference(&mut self, fault: Fault) -> Fault {
        match fault {
            Fault::Redirected { to: None, moved } => Fault::Redirected { to: self.reference.take(), moved },
            other => other,
        }
    }
}

/// What a reason code means for a message. For good is only what lies in the message itself: an access list is an
/// operator's work, and mistakes in it get mended.
fn verdict(reason: PubAckReason) -> Verdict {
    match reason {
        PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Verdict::Delivered,
        PubAckReason::TopicNameInvalid | PubAckReason::PayloadFormatInvalid => Verdict::Refused(LossCause::Rejected),
        PubAckReason::NotAuthorized
        | PubAckReason::UnspecifiedError
        | PubAckReason::ImplementationSpecificError
        | PubAckReason::PacketIdentifierInUse
        | PubAckReason::QuotaExceeded => Verdict::Later,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_cannot_get_better_is_given_up() {
        use PubAckReason as R;
        for reason in [R::Success, R::NoMatchingSubscribers] {
            assert_eq!(verdict(reason), Verdict::Delivered);
        }
        for reason in [R::TopicNameInvalid, R::PayloadFormatInvalid] {
            assert_eq!(verdict(reason), Verdict::Refused(LossCause::Rejected));
        }
        for reason in [
            R::NotAuthorized,
            R::UnspecifiedError,
            R::ImplementationSpecificError,
            R::PacketIdentifierInUse,
            R::QuotaExceeded,
        ] {
            assert_eq!(verdict(reason), Verdict::Later);
        }
    }
}
