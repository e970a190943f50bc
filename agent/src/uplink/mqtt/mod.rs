//! MQTT by rumqttc, so that nothing is lost.
//!
//! # The constraint
//! The client library keeps a queue of its own that loses messages when a connection ends, and
//! does not say which packet identifier a message got. Measured and read in version 0.25:
//! * on a new session it forgets also what was never sent;
//! * with a resumed session 48 of 100,000 messages were lost over 4 cuts;
//! * a packet that is too large is accepted by `publish()` and then fails every `poll()`;
//! * a gateway that stops acknowledging is never noticed;
//! * an unknown reason code in an acknowledgement ends the connection without saying whose it was;
//! * a CONNACK that turns keep-alive off makes it send pings without a pause, and fail;
//! * a dead link is noticed after up to two keep-alives, and never while a write is stuck in it;
//! * a CONNACK that refers to another server is not passed on.
//!
//! # What this does about it
//! * A fresh client and event loop for each connection, always with `clean_start`: the library's
//!   queue never outlives a connection. What was not acknowledged is read from the outbox again.
//! * At most `window` messages are handed over and not acknowledged, and the channel is larger:
//!   handing over never waits. One task does all: it polls the library, and between two of its
//!   events hands over more.
//! * `poll()` is never cancelled while the connection is wanted, because a packet that it is just
//!   writing would be lost; one future lives through all rounds of `select!`. Only calls of the
//!   outbox come between two polls.
//! * When a connection ends, what the library had already received is still taken into account.
//! * Sizes are checked before; time without an acknowledgement, and time without a word, is bounded.
//!
//! ```text
//!       Connecting ──CONNACK──▶ Up ──failure, timeout──▶ end
//!            │                  │ shutdown, or not wanted any more
//!         shutdown              ▼
//!            ▼                Draining: until nothing waits, the deadline, or a failure
//!           end  ◀─DISCONNECT─ Parting: the vehicle's state is told
//! ```

mod client;
pub(crate) mod config;
mod correlate;
mod fault;
mod redirect;
mod session;
mod subscribe;
mod wire;

use std::sync::Arc;

pub use config::{MqttConfig, MqttVersion};
pub(crate) use subscribe::subscribe;

use self::fault::Fault;
use self::redirect::Redirect;
use self::session::{Ended, Session};
use self::wire::Wire;
use super::config::ConfigError;
use super::run::{By, Ctx, End, Loss};
use super::tls::Credentials;
use crate::event::Identity;
use crate::outbox::Outbox;

/// A checked MQTT gateway, ready to be connected to.
#[derive(Debug)]
pub(crate) struct MqttGateway {
    config: MqttConfig,
    wire: Wire,
    credentials: Option<Arc<Credentials>>,
    redirect: Redirect,
}

impl MqttGateway {
    /// Checks that the topics suit the vehicle's name.
    pub(crate) fn new(mut config: MqttConfig, identity: &Identity) -> Result<Self, ConfigError> {
        config.client_id = config.client_id.replace("{vehicle}", &identity.vehicle);
        let wire = Wire::new(&config, identity)?;
        let (field, least) = ("max_packet_bytes", wire.least_packet());
        if usize::try_from(config.max_packet_bytes).is_ok_and(|bytes| bytes < least) {
            let problem = format!("must be at least {least} with this topic and vehicle name");
            return Err(ConfigError::Value { field, problem });
        }
        let credentials = config.tls.clone().map(|tls| Arc::new(Credentials::new(tls)));
        Ok(Self { config, wire, credentials, redirect: Redirect::default() })
    }

    pub(crate) fn host(&self) -> &str {
        config::bare(&self.config.host)
    }

    /// Goes on with credentials that are in use.
    pub(crate) fn with_credentials(self, credentials: Option<Arc<Credentials>>) -> Self {
        Self { credentials, ..self }
    }

    pub(crate) fn credentials(&self) -> Option<Arc<Credentials>> {
        self.credentials.clone()
    }

    /// One connection, from its start to its end.
    pub(crate) async fn session<O: Outbox + ?Sized>(&mut self, ctx: &mut Ctx<'_, O>) -> End {
        let target = self.redirect.target(&self.config);
        let target = (target.0.to_owned(), target.1);
        let tls = match self.credentials.as_ref().map(|credentials| credentials.client_config(&target.0)).transpose() {
            Ok(tls) => tls,
            Err(error) => return lost(&error.into(), false),
        };
        let session = Session::new(&self.config, &self.wire, (&target.0, target.1), tls.clone(), ctx);
        let Ended { end, accepted } = session.run().await;
        if accepted {
            self.redirect.accepted();
        }
        match end {
            Err(end) => end,
            Ok((Fault::Redirected { to, moved }, useful)) => {
                let to = match to {
                    None => redirect::ask(&self.config, (&target.0, target.1), tls.clone()).await,
                    to => to,
                };
                let followed = to.as_deref().map(|to| self.redirect.follow(to, &self.config));
                match (to, followed) {
                    (Some(to), Some(Err(problem))) => lost(&Fault::BadRedirect { to, problem }, useful),
                    (to, Some(Ok(()))) => lost(&Fault::Redirected { to, moved }, useful),
                    _ => End::Lost(Loss { by: By::Network, ..loss(&Fault::Redirected { to: None, moved }, useful) }),
                }
            }
            Ok((mut fault, useful)) => {
                if !accepted {
                    self.redirect.failed();
                    if let Fault::Network { text, by_gateway: true } = &mut fault
                        && tls.is_some()
                    {
                        text.push_str("; check that the gateway speaks TLS on this port");
                    }
                }
                lost(&fault, useful)
            }
        }
    }
}

fn loss(fault: &Fault, useful: bool) -> Loss {
    Loss { reason: fault.to_string(), useful, by: fault.by() }
}

fn lost(fault: &Fault, useful: bool) -> End {
    End::Lost(loss(fault, useful))
}
