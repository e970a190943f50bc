//! `outrider audit`: proves from received events that all arrived.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::CliError;
use crate::audit::{Audit, AuditError};
use crate::config::url::{self, Url};
use crate::runtime::clock::wall_ns;
use crate::uplink::{
    KafkaConfig, MqttConfig, ReadError, Sasl, SaslMechanism, Secret, TlsConfig, TopicTemplate, consume, is_loopback,
    subscribe,
};

#[derive(Args)]
pub(super) struct AuditArgs {
    /// Files of received events, a CBOR sequence or JSON lines each; `-` for standard input; mqtt://HOST/FILTER or
    /// mqtts:// for what a broker passes on from now on; kafka://HOST,HOST/TOPIC or kafkas:// for what a topic holds.
    #[arg(required = true, value_name = "SOURCE")]
    sources: Vec<String>,
    /// The first number that should be there; without it 1 (under a later pseudonym the lowest), and for an MQTT
    /// subscription the lowest that comes.
    #[arg(long, value_name = "SEQ")]
    from: Option<u64>,
    /// Files and standard input: events arrive as they are read, so that their delays are known.
    #[arg(long)]
    live: bool,
    /// MQTT and Kafka: end when nothing has come for so many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    idle: f64,
    /// PEM file of the authority that signed the broker's certificate.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// PEM file of our certificate.
    #[arg(long, value_name = "FILE", requires = "key_file")]
    cert_file: Option<PathBuf>,
    /// PEM file of our private key.
    #[arg(long, value_name = "FILE", requires = "cert_file")]
    key_file: Option<PathBuf>,
    /// User to log in as.
    #[arg(long, value_name = "NAME", requires = "password_file")]
    username: Option<String>,
    /// File with the password.
    #[arg(long, value_name = "FILE", requires = "username")]
    password_file: Option<PathBuf>,
    /// How to log in to Kafka.
    #[arg(long, value_enum, default_value_t = Mechanism::ScramSha512)]
    sasl: Mechanism,
    /// Needed for mqtt:// and kafka:// to anything but this computer.
    #[arg(long)]
    allow_plaintext: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Mechanism {
    Plain,
    #[value(name = "scram-sha-256")]
    ScramSha256,
    #[value(name = "scram-sha-512")]
    ScramSha512,
}

pub(super) fn run(args: &AuditArgs) -> Result<(), CliError> {
    let mut audit = Audit::default();
    let mut from = args.from.or(Some(1));
    // What is no event among what brokers pass on is told after the report.
    let mut bad = None;
    for source in &args.sources {
        audit.next_source();
        let arrival = || args.live.then(wall_ns);
        if source == "-" {
            audit.read_with("standard input", io::stdin().lock(), arrival)?;
        } else if source.contains("://") {
            let (url, topic) = remote(args, source)?;
            if !url.kafka {
                from = args.from;
            }
            bad = bad.or(read_remote(args, source, &url, &topic, &mut audit)?);
        } else {
            let path = PathBuf::from(source);
            let file = File::open(&path).map_err(|source| CliError::File { path, source })?;
            audit.read_with(source, BufReader::new(file), arrival)?;
        }
    }
    write!(io::stdout().lock(), "{}", audit.report(from))?;
    if let Some(error) = bad {
        return Err(error.into());
    }
    if audit.is_complete(from) { Ok(()) } else { Err(CliError::Negative("not complete")) }
}

/// The address and the topic of a source.
fn remote(args: &AuditArgs, source: &str) -> Result<(Url, String), CliError> {
    let usage = |text: String| CliError::Usage(format!("{source}: {text}"));
    let place = source.split_once("://").and_then(|(scheme, rest)| {
        let (hosts, topic) = rest.split_once('/')?;
        Some((url::parse(&format!("{scheme}://{hosts}"))?, topic.to_owned()))
    });
    let form = "write mqtt[s]://HOST[:PORT]/FILTER or kafka[s]://HOST[:PORT],.../TOPIC";
    let (url, topic) = place.filter(|(_, topic)| !topic.is_empty()).ok_or_else(|| usage(form.to_owned()))?;
    if url.secure && args.ca_file.is_none() {
        return Err(usage(
            "--ca-file is missing, the PEM file of the CA that signed the broker's certificate".to_owned(),
        ));
    }
    if let Some((host, _)) = url.hosts.iter().find(|(host, _)| !is_loopback(host))
        && !url.secure
        && !args.allow_plaintext
    {
        return Err(usage(format!(
            "{host} would be read from in plain text; use mqtts:// or kafkas://, or --allow-plaintext"
        )));
    }
    Ok((url, topic))
}

fn read_remote(
    args: &AuditArgs,
    source: &str,
    url: &Url,
    topic: &str,
    audit: &mut Audit,
) -> Result<Option<AuditError>, CliError> {
    let idle = Duration::try_from_secs_f64(args.idle).ok().filter(|idle| !idle.is_zero());
    let idle = idle.ok_or_else(|| CliError::Usage("--idle must be above 0".to_owned()))?;
    let failed = |source_error: ReadError| CliError::Read { place: source.to_owned(), source: source_error };
    let tls = args.ca_file.as_ref().filter(|_| url.secure).map(|ca_file| TlsConfig {
        cert_file: args.cert_file.clone(),
        key_file: args.key_file.clone(),
        ..TlsConfig::new(ca_file)
    });
    let login = login(args)?;
    // The topic is given as it is; templates are for senders.
    let unused = || TopicTemplate::parse("unused").map_err(|error| CliError::Usage(error.to_string()));
    let client_id = format!("outrider-audit-{}", std::process::id());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| CliError::File { path: "runtime".into(), source })?;
    let bad: RefCell<Option<AuditError>> = RefCell::new(None);
    let mut take = |payload: &[u8], arrived_ns: Option<u64>| {
        if let Err(error) = audit.read_with(source, payload, || arrived_ns) {
            bad.borrow_mut().get_or_insert(error);
        }
    };
    if url.kafka {
        let brackets = |host: &str| if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let brokers = url.hosts.iter().map(|(host, port)| format!("{}:{port}", brackets(host))).collect();
        let mut config = KafkaConfig::new(brokers, client_id, unused()?);
        config.tls = tls;
        config.sasl = login.map(|(username, password)| {
            let mechanism = match args.sasl {
                Mechanism::Plain => SaslMechanism::Plain,
                Mechanism::ScramSha256 => SaslMechanism::ScramSha256,
                Mechanism::ScramSha512 => SaslMechanism::ScramSha512,
            };
            Sasl { mechanism, username, password }
        });
        runtime.block_on(consume(&config, topic, idle, take)).map_err(failed)?;
    } else {
        let (host, port) = url.hosts.first().cloned().unwrap_or_default();
        let mut config = MqttConfig::new(host, port, client_id, unused()?);
        config.tls = tls;
        (config.username, config.password) = login.unzip();
        let ready = || tracing::info!("subscribed to {topic}; ends when nothing has come for {} s", args.idle);
        let message = |payload: &[u8]| take(payload, Some(wall_ns()));
        runtime.block_on(subscribe(&config, topic, idle, ready, message)).map_err(failed)?;
    }
    Ok(bad.into_inner())
}

fn login(args: &AuditArgs) -> Result<Option<(String, Secret)>, CliError> {
    let (Some(username), Some(path)) = (&args.username, &args.password_file) else { return Ok(None) };
    crate::uplink::tls::check_permissions(path).map_err(|error| CliError::Usage(error.to_string()))?;
    let text = std::fs::read_to_string(path).map_err(|source| CliError::File { path: path.clone(), source })?;
    Ok(Some((username.clone(), Secret::new(text.trim_end_matches(['\n', '\r'])))))
}
