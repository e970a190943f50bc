//! Kafka by rskafka, so that nothing is lost and order holds.
//!
//! # The constraint
//! The library waits without bound for answers and, by default, retries for minutes; it has no idempotent producer, so
//! that what is sent again after a broken connection may be there twice; a request that is given up half-way leaves its
//! connection in an unknown state. It reads the metadata of all topics that the vehicle may see: an access list keeps
//! that small.
//!
//! # What this does about it
//! * One request in flight for the vehicle, acks=all: order holds. What a broken connection leaves in doubt is sent again
//!   first, and backends drop copies by (`vehicle`, `seq`).
//! * The library retries nothing; each of its errors is given a meaning here (`fault`): try again soon, divide, let the
//!   class rest, give up the record, give up the connection.
//! * Each request has a time; one that exceeds it takes its connection, and all that the client knows, with it.
//! * A record is one event, its key the vehicle, its partition the one of Java's default partitioner. A request holds
//!   many, compressed together.
//! * Now and then it is looked whether partitions were added; the leader is asked for a sign of life when nothing is sent.

pub(crate) mod config;
mod consume;
mod fault;
mod nodelay;
mod partition;
mod producer;
mod records;
mod session;

use std::sync::Arc;

pub use config::{Compression, KafkaConfig, Sasl, SaslMechanism};
pub(crate) use consume::consume;

use self::fault::Fault;
use self::session::Session;
use super::config::ConfigError;
use super::run::{Ctx, End, Loss};
use super::tls::Credentials;
use super::topic::TopicError;
use crate::event::{Class, Identity};
use crate::outbox::Outbox;

/// A checked Kafka cluster, ready to be connected to.
#[derive(Debug)]
pub(crate) struct KafkaGateway {
    config: KafkaConfig,
    topics: Topics,
    vehicle: String,
    credentials: Option<Arc<Credentials>>,
}

/// Where records go.
#[derive(Debug)]
pub(super) struct Topics {
    /// By class rank.
    classes: [String; 5],
    dead_letters: Option<String>,
}

impl KafkaGateway {
    /// Checks that the topics suit the vehicle's name and Kafka.
    pub(crate) fn new(mut config: KafkaConfig, identity: &Identity) -> Result<Self, ConfigError> {
        config.client_id = config.client_id.replace("{vehicle}", &identity.vehicle);
        let mut topics = Topics { classes: Default::default(), dead_letters: None };
        for class in Class::ALL {
            let topic = config.topic.render(&identity.vehicle, class.name())?;
            topics.classes[class.rank()] = legal(topic)?;
        }
        if let Some(template) = &config.dead_letter_topic {
            topics.dead_letters = Some(legal(template.render(&identity.vehicle, "dead")?)?);
        }
        let credentials = config.tls.clone().map(|tls| Arc::new(Credentials::new(tls)));
        Ok(Self { config, topics, vehicle: identity.vehicle.as_ref().to_owned(), credentials })
    }

    /// The host of the first broker.
    pub(crate) fn host(&self) -> &str {
        let first = self.config.brokers.first().map_or("", String::as_str);
        first.rsplit_once(':').map_or(first, |(host, _)| host)
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
        let host = self.host().to_owned();
        let tls = match self.credentials.as_ref().map(|credentials| credentials.client_config(&host)).transpose() {
            Ok(tls) => tls,
            Err(error) => return lost(&error.into(), false),
        };
        match Session::new(&self.config, &self.topics, &self.vehicle, ctx).run(tls).await {
            Err(end) => end,
            Ok((fault, useful)) => lost(&fault, useful),
        }
    }
}

fn lost(fault: &Fault, useful: bool) -> End {
    End::Lost(Loss { by: fault.by(), reason: fault.to_string(), useful })
}

/// A name that Kafka takes.
fn legal(topic: String) -> Result<String, TopicError> {
    let legal = topic.len() <= 249 && topic.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    if legal && topic != "." && topic != ".." { Ok(topic) } else { Err(TopicError::Kafka(topic)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uplink::topic::TopicTemplate;

    fn gateway(topic: &str) -> Result<KafkaGateway, ConfigError> {
        let identity = Identity { vehicle: "truck.1".into(), boot: "b".into() };
        let config = KafkaConfig::new(vec!["[::1]:9092".into()], "v", TopicTemplate::parse(topic).unwrap());
        KafkaGateway::new(config, &identity)
    }

    #[test]
    fn topics_are_rendered_and_checked() {
        let good = gateway("outrider.{class}.{vehicle}").unwrap();
        assert_eq!(good.topics.classes[1], "outrider.alert.truck.1");
        assert_eq!(good.host(), "[::1]");
        for bad in ["outrider/{class}", "..", "a b", &"x".repeat(250)] {
            let error = gateway(bad).unwrap_err().to_string();
            assert!(error.contains("letters"), "{error}");
        }
    }
}
