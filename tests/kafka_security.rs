//! Whom the Kafka uplink trusts, and who it says it is.

use super::*;

/// A certificate for each side; who may connect to whom is decided by the same code as for MQTT.
#[test]
fn tls_with_a_private_authority_and_a_client_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let pki = pki::Pki::make(dir.path());
    let mut broker = None;
    let port = kafka::tls_front(dir.path(), |port| broker.insert(Broker::start(|_| port, &[])).port);
    let outbox = outbox(1);
    fill(&outbox, Class::Alert, 0..5);
    let mut config = config(port);
    config.brokers = vec![format!("localhost:{port}")];
    // The broker advertises its address, which is not in its certificate.
    let tls = TlsConfig { server_name: Some("localhost".into()), ..pki.client(true) };
    for (refused, words) in [
        (TlsConfig { ca_file: pki.foreign_ca(), ..tls.clone() }, "not signed by an authority in ca_file"),
        (TlsConfig { server_name: None, ..tls.clone() }, "is for another name"),
        (TlsConfig { cert_file: None, key_file: None, ..tls.clone() }, "check cert_file and key_file"),
    ] {
        config.tls = Some(refused);
        let uplink = Running::start(config.clone(), &outbox);
        let error = || uplink.monitor.snapshot().last_error.unwrap_or_default();
        wait_until(words, || error().contains(words));
    }
    config.tls = Some(tls);
    let uplink = Running::start(config, &outbox);
    wait_until("an empty outbox", || {
        assert_eq!(uplink.monitor.snapshot().last_error, None);
        outbox.lock().unwrap().is_empty()
    });
}

#[test]
fn logins_of_each_kind() {
    for (mechanism, name) in [
        (SaslMechanism::Plain, "PLAIN"),
        (SaslMechanism::ScramSha256, "SCRAM-SHA-256"),
        (SaslMechanism::ScramSha512, "SCRAM-SHA-512"),
    ] {
        let login = Login { mechanism: name, user: "truck", password: "hunter2" };
        let mut broker = None;
        let guard = Scripted::guarded(|port| broker.insert(Broker::start(|_| port, &[])).port, |_| None, Some(login));
        let outbox = outbox(1);
        fill(&outbox, Class::Alert, 0..5);
        let mut config = config(guard.port);
        let sasl = |password: &str| Sasl { mechanism, username: "truck".into(), password: Secret::new(password) };
        let other = if name == "PLAIN" { SaslMechanism::ScramSha256 } else { SaslMechanism::Plain };
        for wrong in [sasl("hunter3"), Sasl { mechanism: other, ..sasl("hunter2") }] {
            config.sasl = Some(wrong);
            let uplink = Running::start(config.clone(), &outbox);
            let error = || uplink.monitor.snapshot().last_error.unwrap_or_default();
            wait_until("the refusal", || error().contains("check sasl, username and password_file"));
            assert_eq!(uplink.monitor.snapshot().connects, 0);
        }
        config.sasl = Some(sasl("hunter2"));
        let uplink = Running::start(config, &outbox);
        wait_until("an empty outbox", || {
            assert_eq!(uplink.monitor.snapshot().last_error, None, "{name}");
            outbox.lock().unwrap().is_empty()
        });
    }
}
