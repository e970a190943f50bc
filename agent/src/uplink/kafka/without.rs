//! Stands for Kafka in a program that was built without it: such a gateway is refused, with the remedy.

#[path = "config.rs"]
pub(crate) mod config;

use std::convert::Infallible;
use std::sync::Arc;

pub use config::{Compression, KafkaConfig, Sasl, SaslMechanism};

use super::config::ConfigError;
use super::run::{Ctx, End};
use super::tls::Credentials;
use crate::event::Identity;
use crate::outbox::Outbox;

const WITHOUT: &str = "this program was built without the feature `kafka`; remove the gateway from the configuration or install the full build";

/// There is none.
#[derive(Debug)]
pub(crate) struct KafkaGateway(Infallible);

impl KafkaGateway {
    pub(crate) fn new(_: KafkaConfig, _: &Identity) -> Result<Self, ConfigError> {
        Err(ConfigError::Value { field: "url", problem: WITHOUT.to_owned() })
    }

    pub(crate) fn with_credentials(self, _: Option<Arc<Credentials>>) -> Self {
        self
    }

    pub(crate) fn credentials(&self) -> Option<Arc<Credentials>> {
        match self.0 {}
    }

    pub(crate) fn host(&self) -> &str {
        match self.0 {}
    }

    pub(crate) async fn session<O: Outbox + ?Sized>(&mut self, _: &mut Ctx<'_, O>) -> End {
        match self.0 {}
    }
}

/// Reads nothing.
pub(crate) async fn consume(
    _: &KafkaConfig,
    _: &str,
    _: std::time::Duration,
    _: impl FnMut(&[u8], Option<u64>),
) -> Result<(), super::ReadError> {
    Err(super::ReadError(WITHOUT.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uplink::TopicTemplate;

    #[test]
    fn a_gateway_is_refused_with_the_remedy() {
        let config = KafkaConfig::new(vec!["kafka:9092".into()], "v1", TopicTemplate::parse("t").unwrap());
        let identity = Identity { vehicle: "v".into(), boot: "b".into() };
        let error = KafkaGateway::new(config, &identity).map(drop).unwrap_err().to_string();
        assert!(error.contains("without the feature `kafka`") && error.contains("install the full build"), "{error}");
    }
}
