//! The client library: one connection's client, and a producer for each topic that is written to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rskafka::BackoffConfig;
use rskafka::client::error::Error;
use rskafka::client::partition::{Compression as Codec, OffsetAt, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder, Credentials, SaslConfig};
use rskafka::record::Record;
use rustls::ClientConfig;

use super::config::{Compression, KafkaConfig, SaslMechanism};
use super::{nodelay, partition};

/// Largest answer: the metadata of some thousand topics.
const MAX_ANSWER: usize = 4 << 20;

/// What is known of a topic.
struct Topic {
    partitions: u32,
    client: PartitionClient,
}

/// See the module's documentation. None of its waits is bounded: the caller does that, and drops it then.
pub(super) struct Producer {
    client: Client,
    /// The key of all records.
    vehicle: String,
    codec: Codec,
    topics: BTreeMap<String, Topic>,
    /// Partitions of all topics, as told by the brokers, and when.
    known: BTreeMap<String, u32>,
    looked: Instant,
    refresh: Duration,
}

impl Producer {
    /// Connects to one of the brokers and reads the metadata.
    pub(super) async fn connect(
        config: &KafkaConfig,
        vehicle: &str,
        tls: Option<Arc<ClientConfig>>,
    ) -> Result<Self, Error> {
        // Whether and when to try again is decided here, not there.
        let once = BackoffConfig {
            init_backoff: Duration::from_millis(1),
            max_backoff: Duration::from_millis(2),
            base: 2.0,
            deadline: Some(Duration::ZERO),
        };
        let mut builder = ClientBuilder::new(config.brokers.clone())
            .client_id(config.client_id.as_str())
            .max_message_size(MAX_ANSWER)
            .backoff_config(once);
        if let Some(tls) = tls {
            builder = builder.tls_config(tls);
        }
        if let Some(sasl) = &config.sasl {
            let login = Credentials::new(sasl.username.clone(), sasl.password.reveal().to_owned());
            builder = builder.sasl_config(match sasl.mechanism {
                SaslMechanism::Plain => SaslConfig::Plain(login),
                SaslMechanism::ScramSha256 => SaslConfig::ScramSha256(login),
                SaslMechanism::ScramSha512 => SaslConfig::ScramSha512(login),
            });
        }
        let mut this = Self {
            client: builder.build().await?,
            vehicle: vehicle.to_owned(),
            codec: match config.compression {
                Compression::None => Codec::NoCompression,
                Compression::Gzip => Codec::Gzip,
                Compression::Snappy => Codec::Snappy,
            },
            topics: BTreeMap::new(),
            known: BTreeMap::new(),
            looked: Instant::now(),
            refresh: config.metadata_refresh,
        };
        this.look().await?;
        Ok(this)
    }

    /// Whether it is time for [`Self::look`].
    pub(super) fn is_stale(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.looked) >= self.refresh
    }

    pub(super) fn stale_at(&self) -> Instant {
        self.looked + self.refresh
    }

    /// Reads the number of partitions of all topics. Where it has changed, the vehicle's partition is another one.
    pub(super) async fn look(&mut self) -> Result<(), Error> {
        let topics = self.client.list_topics().await?;
        nodelay::on_all_connections();
        self.looked = Instant::now();
        self.known = topics
            .into_iter()
            .map(|topic| (topic.name, u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX)))
            .collect();
        let known = &self.known;
        self.topics.retain(|name, topic| {
            let partitions = known.get(name).copied();
            if partitions.is_some_and(|partitions| partitions != topic.partitions) {
                tracing::debug!(topic = name, partitions, "the topic has another number of partitions now");
            }
            partitions == Some(topic.partitions)
        });
        Ok(())
    }

    /// All partitions of a topic.
    pub(super) async fn partitions(&self, topic: &str) -> Result<Vec<PartitionClient>, Error> {
        // Asked for by its name, a topic that is not there is told.
        let mut clients = vec![self.client.partition_client(topic, 0, UnknownTopicHandling::Error).await?];
        for number in 1..self.known.get(topic).copied().unwrap_or(1) {
            let number = i32::try_from(number).unwrap_or_default();
            clients.push(self.client.partition_client(topic, number, UnknownTopicHandling::Error).await?);
        }
        Ok(clients)
    }

    /// Sends records to a topic; when it returns they are on all replicas that are in sync.
    pub(super) async fn produce(&mut self, topic: &str, records: Vec<Record>) -> Result<(), Error> {
        let codec = self.codec;
        self.topic(topic).await?.produce(records, codec).await?;
        Ok(())
    }

    /// Asks the leaders of the topics that were written to for a sign of life, or any broker where none was.
    pub(super) async fn ping(&mut self) -> Result<(), Error> {
        if self.topics.is_empty() {
            return self.look().await;
        }
        for topic in self.topics.values() {
            topic.client.get_offset(OffsetAt::Latest).await?;
        }
        Ok(())
    }

    /// The brokers cannot read the compression: from now on without. False when there was none.
    pub(super) fn give_up_compression(&mut self) -> bool {
        std::mem::replace(&mut self.codec, Codec::NoCompression) != Codec::NoCompression
    }

    /// What was learnt about a topic may be wrong: it is looked for again when it is next written to.
    pub(super) fn forget(&mut self, topic: &str) {
        self.topics.remove(topic);
        self.known.remove(topic);
    }

    async fn topic(&mut self, name: &str) -> Result<&PartitionClient, Error> {
        if !self.topics.contains_key(name) {
            if !self.known.contains_key(name) {
                // It may be there and not for us, or be made by asking for it: asked for by its name, the broker says which.
                self.client.partition_client(name, 0, UnknownTopicHandling::Error).await?;
                self.look().await?;
            }
            let partitions = self.known.get(name).copied().unwrap_or(1);
            let place = partition::of_key(self.vehicle.as_bytes(), partitions);
            let place = i32::try_from(place).unwrap_or_default();
            let client = self.client.partition_client(name, place, UnknownTopicHandling::Error).await?;
            // The library has connected to its leader.
            nodelay::on_all_connections();
            tracing::debug!(topic = name, partition = place, partitions, "found the vehicle's partition");
            self.topics.insert(name.to_owned(), Topic { partitions, client });
        }
        self.topics
            .get(name)
            .map(|topic| &topic.client)
            .ok_or_else(|| Error::InvalidResponse(format!("topic {name} is gone")))
    }
}
