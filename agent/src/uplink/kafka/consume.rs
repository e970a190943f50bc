//! Reading back what a topic holds, for the audit.

use std::time::{Duration, Instant};

use rskafka::client::error::Error;
use rskafka::client::partition::OffsetAt;

use super::config::KafkaConfig;
use super::fault::Fault;
use super::producer::Producer;
use crate::uplink::config::ReadError;
use crate::uplink::tls::Credentials;

const FETCH: std::ops::Range<i32> = 1..4 << 20;
/// How often it is looked for more at the end.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Gives each record's value and timestamp (nanoseconds since the Unix epoch, if it has one) to `take`, partition by
/// partition from the oldest on, until nothing has come for `idle`.
pub(crate) async fn consume(
    config: &KafkaConfig,
    topic: &str,
    idle: Duration,
    mut take: impl FnMut(&[u8], Option<u64>),
) -> Result<(), ReadError> {
    let failed = |error: Error| ReadError(Fault::from(error).to_string());
    let host = config.brokers.first().map_or("", |broker| broker.rsplit_once(':').map_or(broker.as_str(), |(h, _)| h));
    let tls = config.tls.clone().map(|tls| Credentials::new(tls).client_config(host)).transpose();
    let tls = tls.map_err(|error| ReadError(error.to_string()))?;
    let connecting = tokio::time::timeout(config.connect_timeout, Producer::connect(config, "", tls)).await;
    let client = connecting.map_err(|_| ReadError(Fault::ConnectTimeout.to_string()))?.map_err(failed)?;
    let mut places = Vec::new();
    for partition in client.partitions(topic).await.map_err(failed)? {
        let next = partition.get_offset(OffsetAt::Earliest).await.map_err(failed)?;
        places.push((partition, next));
    }
    let mut quiet_since = Instant::now();
    while quiet_since.elapsed() < idle {
        for (partition, next) in &mut places {
            // Some brokers keep a fetch at the end waiting for long, whatever they are asked.
            while *next < partition.get_offset(OffsetAt::Latest).await.map_err(failed)? {
                let (records, _) = partition.fetch_records(*next, FETCH, 500).await.map_err(failed)?;
                if records.is_empty() {
                    break;
                }
                quiet_since = Instant::now();
                for found in records {
                    *next = found.offset + 1;
                    let ms = u64::try_from(found.record.timestamp.timestamp_millis()).ok();
                    take(found.record.value.as_deref().unwrap_or_default(), ms.map(|ms| ms.saturating_mul(1_000_000)));
                }
            }
        }
        tokio::time::sleep(LOOK_EVERY.min(idle)).await;
    }
    Ok(())
}
