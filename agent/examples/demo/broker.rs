//! An MQTT 5 broker in this process.

use std::collections::HashMap;
use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rumqttd::{Broker, Config, ConnectionSettings, RouterConfig, ServerSettings};

#[expect(clippy::print_stderr, reason = "there is no log in the demo: what goes wrong is said here")]
/// Starts it on a free port of the loopback interface and returns the port.
pub(crate) fn start() -> Result<u16, Box<dyn Error>> {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let connections = ConnectionSettings {
        connection_timeout_ms: 5000,
        max_payload_size: 1 << 20,
        max_inflight_count: 200,
        auth: None,
        external_auth: None,
        dynamic_filters: true,
    };
    let server = ServerSettings {
        name: "demo".into(),
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        tls: None,
        next_connection_delay_ms: 1,
        connections,
    };
    let router = RouterConfig {
        max_connections: 20,
        max_outgoing_packet_count: 200,
        max_segment_size: 64 << 20,
        max_segment_count: 4,
        ..RouterConfig::default()
    };
    let config = Config { router, v5: Some(HashMap::from([("demo".into(), server)])), ..Config::default() };
    std::thread::Builder::new().name("broker".into()).spawn(move || {
        // Runs as long as the process.
        if let Err(error) = Broker::new(config).start() {
            eprintln!("broker: {error}");
        }
    })?;
    let deadline = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        if Instant::now() > deadline {
            return Err("the embedded broker does not answer".into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(port)
}
