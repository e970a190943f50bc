//! What Kafka's errors mean for what was to be sent, and in words that say what to do.

use rskafka::client::error::{Error, ProtocolError as P};
use rskafka::{BackoffError, ConnectionError};
use thiserror::Error as ThisError;

use crate::event::LossCause;
use crate::uplink::run::By;
use crate::uplink::tls::{self, TlsError};

/// Why a connection could not be made or is given up. All are tried again, with back-off.
#[derive(Debug, ThisError)]
pub(super) enum Fault {
    /// Certificates or keys cannot be used.
    #[error(transparent)]
    Files(#[from] TlsError),
    /// Nothing answered in time.
    #[error("no connection within connect_timeout; is the network up, and are the brokers' addresses right?")]
    ConnectTimeout,
    /// A request was not answered in time.
    #[error("no answer to a request within request_timeout")]
    RequestTimeout,
    /// The computer was asleep.
    #[error("the computer slept; the connection is made anew")]
    Slept,
    /// The brokers could not be reached, or do not take us.
    #[error("{text}{hint}", hint = hint(.text))]
    Kafka {
        /// The library's words.
        text: String,
    },
}

impl Fault {
    pub(super) fn by(&self) -> By {
        match self {
            Self::Slept => By::Sleep,
            _ => By::Network,
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Kafka { text: root(&error) }
    }
}

/// What an error means for the request that it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It may go better in a moment: a leader has moved, replicas are missing, the connection broke.
    Retry,
    /// One of its records, or all together, are too large.
    TooLarge,
    /// The broker cannot read the compression.
    Compression,
    /// The topic does not take this for the time being: it is not there, or not for us. Somebody has to mend that.
    Rest,
    /// The topic will never take these records.
    Never(LossCause),
    /// The broker does not take us at all.
    Stop,
}

pub(super) fn meaning(error: &Error) -> Meaning {
    match innermost(error) {
        Error::ServerError { protocol_error, .. } => of_code(*protocol_error),
        // The connection, or what came over it.
        _ => Meaning::Retry,
    }
}

fn of_code(code: P) -> Meaning {
    match code {
        P::MessageTooLarge | P::RecordListTooLarge => Meaning::TooLarge,
        P::UnsupportedCompressionType => Meaning::Compression,
        P::UnknownTopicOrPartition | P::TopicAuthorizationFailed | P::InvalidTopicException | P::PolicyViolation => {
            Meaning::Rest
        }
        P::InvalidRecord | P::InvalidTimestamp | P::UnsupportedForMessageFormat => Meaning::Never(LossCause::Rejected),
        P::SaslAuthenticationFailed
        | P::UnsupportedSaslMechanism
        | P::IllegalSaslState
        | P::ClusterAuthorizationFailed
        | P::SecurityDisabled
        | P::UnsupportedVersion => Meaning::Stop,
        _ => Meaning::Retry,
    }
}

/// Of a topic's error what an operator needs: the code and what to do.
pub(super) fn explain(error: &Error, topic: &str) -> String {
    let Error::ServerError { protocol_error, error_message, .. } = innermost(error) else { return root(error) };
    let text = error_message.as_deref().map_or_else(String::new, |text| format!(" ({text})"));
    let hint = match protocol_error {
        P::UnknownTopicOrPartition => "; create the topic, or let its name be described to this vehicle",
        P::TopicAuthorizationFailed => "; allow this vehicle to write to the topic",
        P::InvalidTopicException => "; the brokers do not take such a name",
        P::MessageTooLarge | P::RecordListTooLarge => "; raise max.message.bytes of the topic",
        _ => "",
    };
    format!("topic {topic}: {protocol_error:?}{text}{hint}")
}

/// The error itself, without what the library's own retries have wrapped around it.
fn innermost(error: &Error) -> &Error {
    let wrapped = match error {
        Error::RetryFailed(BackoffError::DeadlineExceded { source, .. })
        | Error::Connection(ConnectionError::RetryFailed(BackoffError::DeadlineExceded { source, .. })) => source,
        _ => return error,
    };
    wrapped.downcast_ref::<Error>().map_or(error, innermost)
}

fn root(error: &Error) -> String {
    match innermost(error) {
        Error::RetryFailed(BackoffError::DeadlineExceded { source, .. })
        | Error::Connection(ConnectionError::RetryFailed(BackoffError::DeadlineExceded { source, .. })) => {
            source.to_string()
        }
        error => error.to_string(),
    }
}

fn hint(text: &str) -> String {
    let hint = if text.contains("Sasl") || text.contains("sasl") {
        "check sasl, username and password_file"
    } else if text.contains("certificate") || text.contains("alert") || text.contains("Handshake") {
        tls::hint(text)
    } else if text.contains("topic") {
        return String::new();
    } else {
        "are the brokers up, and are the addresses that they advertise reachable from here?"
    };
    format!("; {hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_apart() {
        let cases = [
            (P::NotLeaderOrFollower, Meaning::Retry),
            (P::LeaderNotAvailable, Meaning::Retry),
            (P::NotEnoughReplicas, Meaning::Retry),
            (P::NotEnoughReplicasAfterAppend, Meaning::Retry),
            (P::RequestTimedOut, Meaning::Retry),
            (P::ThrottlingQuotaExceeded, Meaning::Retry),
            (P::KafkaStorageError, Meaning::Retry),
            // It was damaged on its way; the outbox has it whole.
            (P::CorruptMessage, Meaning::Retry),
            (P::Unknown(999), Meaning::Retry),
            (P::MessageTooLarge, Meaning::TooLarge),
            (P::RecordListTooLarge, Meaning::TooLarge),
            (P::UnsupportedCompressionType, Meaning::Compression),
            (P::UnknownTopicOrPartition, Meaning::Rest),
            (P::TopicAuthorizationFailed, Meaning::Rest),
            (P::InvalidTimestamp, Meaning::Never(LossCause::Rejected)),
            (P::InvalidRecord, Meaning::Never(LossCause::Rejected)),
            (P::SaslAuthenticationFailed, Meaning::Stop),
            (P::ClusterAuthorizationFailed, Meaning::Stop),
        ];
        for (code, expected) in cases {
            assert_eq!(of_code(code), expected, "{code:?}");
        }
        assert_eq!(meaning(&Error::Timeout), Meaning::Retry);
    }

    #[test]
    fn the_librarys_wrapping_is_taken_off() {
        let wrap = |error: Error| {
            let deadline = std::time::Duration::ZERO;
            Error::RetryFailed(BackoffError::DeadlineExceded { deadline, source: Box::new(error) })
        };
        let inner = Error::InvalidResponse("odd".into());
        assert_eq!(root(&wrap(wrap(inner))), "Invalid response: odd");
        let other = BackoffError::DeadlineExceded { deadline: std::time::Duration::ZERO, source: "no route".into() };
        assert_eq!(root(&Error::Connection(ConnectionError::RetryFailed(other))), "no route");
    }
}
