//! One connection, from its start to its end.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnAck, PubAck, PubAckReason};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, Incoming, MqttOptions};

use super::Wire;
use super::fault::Fault;
use crate::event::LossCause;
use crate::outbox::Outbox;
use crate::uplink::Waker;
use crate::uplink::config::MqttConfig;
use crate::uplink::correlate::Correlator;
use crate::uplink::delivery::{Delivery, Message, TooLarge, Verdict};
use crate::uplink::link::LinkMonitor;

/// Room in the library's channel beyond the window, so that handing over never waits.
const CHANNEL_SLACK: u16 = 8;
/// Messages handed over between two polls: reading the outbox must not hold up the network.
const BURST: usize = 16;
/// For the DISCONNECT to get out.
const GOODBYE: Duration = Duration::from_secs(1);
/// No timer is due: look again after this long.
const IDLE: Duration = Duration::from_secs(3600);

/// How a connection ended.
pub(super) enum End {
    /// Because it was asked to.
    Shutdown,
    /// By itself.
    Lost {
        /// Why.
        fault: Fault,
        /// Something was acknowledged on it.
        useful: bool,
    },
}

/// Where a connection is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Connecting,
    Up,
    /// Shutdown was asked for; goes on until nothing waits, at most until then.
    Draining(Instant),
    /// DISCONNECT is handed over.
    Leaving(Instant),
}

pub(super) struct Session<'a, O: Outbox + ?Sized> {
    config: &'a MqttConfig,
    wire: &'a Wire,
    delivery: &'a mut Delivery,
    outbox: &'a Mutex<O>,
    monitor: &'a LinkMonitor,
    client: AsyncClient,
    /// Taken while it is being polled.
    eventloop: Option<EventLoop>,
    correlator: Correlator<Message>,
    stage: Stage,
    window: usize,
    /// Payload bytes that fit, by class rank.
    room: [usize; 5],
    useful: bool,
}

impl<'a, O: Outbox + ?Sized> Session<'a, O> {
    pub(super) fn new(
        config: &'a MqttConfig,
        wire: &'a Wire,
        delivery: &'a mut Delivery,
        outbox: &'a Mutex<O>,
        monitor: &'a LinkMonitor,
        options: MqttOptions,
    ) -> Self {
        let capacity = usize::from(config.window) + usize::from(CHANNEL_SLACK);
        let (client, eventloop) = AsyncClient::new(options, capacity);
        delivery.restart();
        Self {
            config,
            wire,
            delivery,
            outbox,
            monitor,
            client,
            eventloop: Some(eventloop),
            correlator: Correlator::new(Instant::now()),
            stage: Stage::Connecting,
            window: usize::from(config.window),
            room: [0; 5],
            useful: false,
        }
    }

    /// Runs until the connection ends or `shutdown` resolves and what waits is sent. `shutdown` is not polled again then.
    pub(super) async fn run(mut self, waker: &Waker, mut shutdown: Pin<&mut impl Future<Output = ()>>) -> End {
        let Some(mut eventloop) = self.eventloop.take() else { return End::Shutdown };
        let mut asked = false;
        let fault = loop {
            let polled = {
                let mut poll = pin!(eventloop.poll());
                loop {
                    tokio::select! {
                        polled = poll.as_mut() => break Ok(polled),
                        () = waker.notified() => self.delivery.wake(),
                        () = waker.resumed() => break Err(Fault::Slept),
                        () = shutdown.as_mut(), if !asked => {
                            asked = true;
                            if self.stage != Stage::Up {
                                return End::Shutdown;
                            }
                            self.delivery.wake();
                            self.stage = Stage::Draining(Instant::now() + self.config.drain_timeout);
                        }
                        () = tokio::time::sleep_until(self.next_timer().into()) => {}
                    }
                    if let Err(fault) = self.step() {
                        break Err(fault);
                    }
                    if self.gone() {
                        return End::Shutdown;
                    }
                }
            };
            let handled = match polled {
                Ok(Ok(event)) => {
                    if keep_alive_is_off(&event) {
                        // The library would send pings without a pause. Our own interval finds a dead link as well.
                        eventloop.options.set_keep_alive(self.config.keep_alive);
                    }
                    self.handle(event).and_then(|()| self.step())
                }
                Ok(Err(error)) => break self.ended_with(error, &mut eventloop),
                Err(fault) => Err(fault),
            };
            match handled {
                Ok(()) if self.gone() => return End::Shutdown,
                Ok(()) => {}
                Err(fault) => {
                    self.take_received(&mut eventloop);
                    break fault;
                }
            }
        };
        match self.stage {
            Stage::Connecting | Stage::Up => End::Lost { fault, useful: self.useful },
            Stage::Draining(_) | Stage::Leaving(_) => End::Shutdown,
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
        match self.stage {
            Stage::Connecting | Stage::Leaving(_) => return Ok(()),
            Stage::Up => self.hand_over(now)?,
            Stage::Draining(deadline) => {
                if now < deadline {
                    self.hand_over(now)?;
                }
                if now >= deadline || (self.correlator.len() == 0 && self.delivery.drained(deadline)) {
                    // It cannot fail: the channel has room for more than the window.
                    let _ = self.client.try_disconnect();
                    self.stage = Stage::Leaving(now + GOODBYE);
                }
            }
        }
        self.monitor.in_flight(self.correlator.len());
        Ok(())
    }

    fn gone(&self) -> bool {
        matches!(self.stage, Stage::Leaving(until) if until <= Instant::now())
    }

    fn next_timer(&self) -> Instant {
        let now = Instant::now();
        let ack = self.correlator.oldest().map(|(_, since)| since + self.config.ack_timeout);
        let stage = match self.stage {
            Stage::Draining(deadline) | Stage::Leaving(deadline) => Some(deadline),
            Stage::Connecting | Stage::Up => None,
        };
        let release = self.delivery.next_release(now);
        [ack, stage, release].into_iter().flatten().min().unwrap_or(now + IDLE)
    }

    /// Hands messages to the library while the window allows.
    fn hand_over(&mut self, now: Instant) -> Result<(), Fault> {
        for _ in 0..BURST {
            if self.correlator.len() >= self.delivery.window(self.window) {
                break;
            }
            let Some(message) = self.delivery.next(self.outbox, &self.room, self.monitor, now) else { break };
            let topic = self.wire.topic(message.class);
            let properties = self.wire.message_properties(&message);
            let payload = message.part.payload.clone();
            self.client
                .try_publish_with_properties(topic, QoS::AtLeastOnce, false, payload, properties)
                .map_err(|error| Fault::Protocol(error.to_string()))?;
            self.correlator.handed(message, now);
        }
        Ok(())
    }

    fn handle(&mut self, event: Event) -> Result<(), Fault> {
        match event {
            Event::Incoming(Incoming::ConnAck(connack)) => self.connected(&connack),
            Event::Incoming(Incoming::PubAck(puback)) => self.acknowledged(&puback),
            Event::Outgoing(Outgoing::Publish(id)) => Ok(self.correlator.sent(id)?),
            Event::Outgoing(Outgoing::AwaitAck(id)) => Ok(self.correlator.parked(id)?),
            Event::Outgoing(Outgoing::Disconnect) => {
                // It is on its way; nothing else is wanted of this connection.
                self.stage = Stage::Leaving(Instant::now());
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn connected(&mut self, connack: &ConnAck) -> Result<(), Fault> {
        let properties = connack.properties.as_ref();
        if properties.and_then(|p| p.max_qos) == Some(0) {
            return Err(Fault::NoQos1);
        }
        match properties.and_then(|p| p.receive_max) {
            Some(0) => return Err(Fault::ZeroWindow),
            Some(max) => self.window = self.window.min(usize::from(max)),
            None => {}
        }
        let theirs = properties.and_then(|p| p.max_packet_size).unwrap_or(u32::MAX);
        let packet = usize::try_from(theirs.min(self.config.max_packet_bytes)).unwrap_or(usize::MAX);
        let needed = self.wire.least_packet();
        if packet < needed {
            return Err(Fault::SmallPackets { announced: packet, needed });
        }
        self.room = self.wire.room(packet);
        if self.stage == Stage::Connecting {
            self.stage = Stage::Up;
        }
        self.monitor.up(self.window, packet);
        super::tell(self.outbox, true);
        Ok(())
    }

    fn acknowledged(&mut self, puback: &PubAck) -> Result<(), Fault> {
        let now = Instant::now();
        let id = puback.pkid;
        let stuck = self.correlator.waits_for(id);
        let message = self.correlator.acked(id, now)?;
        let verdict = verdict(puback.reason);
        let rest = self.delivery.settle(self.outbox, &message, verdict, self.monitor, now);
        self.monitor.in_flight(self.correlator.len());
        let reason = || {
            let text = puback.properties.as_ref().and_then(|p| p.reason_string.as_deref());
            let text = text.map_or_else(String::new, |text| format!(" ({text})"));
            let hint = match puback.reason {
                PubAckReason::NotAuthorized => "; check the gateway's access list for this client_id and topic",
                _ => "",
            };
            format!("{:?}{text}{hint}", puback.reason)
        };
        match verdict {
            Verdict::Delivered => {
                self.useful = true;
                self.monitor.acked();
                if puback.reason == PubAckReason::NoMatchingSubscribers {
                    self.monitor.unclaimed(message.class);
                }
                return Ok(());
            }
            Verdict::Refused(cause) => self.monitor.refused(&message, &reason(), cause),
            Verdict::Later => self.monitor.deferred(&message, &reason(), rest.unwrap_or_default()),
        }
        if stuck { Err(Fault::StuckBehindRefusal) } else { Ok(()) }
    }

    /// `poll()` failed.
    fn ended_with(&mut self, error: ConnectionError, eventloop: &mut EventLoop) -> Fault {
        self.take_received(eventloop);
        // Gateways acknowledge in order, and all acknowledgements before this one are taken: the oldest is the likely one.
        if Fault::too_large(&error)
            && let Some((message, _)) = self.correlator.oldest()
        {
            let (bytes, in_flight) = (message.part.payload.len(), self.correlator.len());
            return match self.delivery.too_large(message, in_flight, Instant::now()) {
                TooLarge::Unsure => Fault::OneTooLarge { in_flight },
                TooLarge::Learnt => Fault::TooLarge { bytes },
                TooLarge::TooSmallALimit => Fault::TooSmallALimit { bytes },
            };
        }
        error.into()
    }

    /// What the library has received and not yet reported counts.
    fn take_received(&mut self, eventloop: &mut EventLoop) {
        while let Some(event) = eventloop.state.events.pop_front() {
            if self.handle(event).is_err() {
                // The connection is over anyway; what is left unsettled is sent again.
                break;
            }
        }
    }
}

/// MQTT: a keep-alive of 0 in the CONNACK turns the mechanism off.
fn keep_alive_is_off(event: &Event) -> bool {
    let Event::Incoming(Incoming::ConnAck(connack)) = event else { return false };
    connack.properties.as_ref().and_then(|p| p.server_keep_alive) == Some(0)
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
