//! TLS against a mosquitto that wants certificates: what is refused, why, and what may change while the agent runs.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use outrider::event::{Body, Class};
use outrider::uplink::tls::{KeyHandle, KeyStore, TlsVersion};
use outrider::uplink::{LinkState, TlsConfig, UplinkConfig};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::sign::{Signer, SigningKey};
use rustls::{SignatureAlgorithm, SignatureScheme};

use crate::fixture::{self, Running, config, fill, hasty, outbox};
use crate::mosquitto::{Mosquitto, Subscriber, free_port, program, wait_until};
use crate::pki::Pki;

/// A gateway named `localhost` with the keys of a listener, and what a vehicle has to say to it.
fn settings(broker: &Mosquitto, tls: TlsConfig) -> outrider::uplink::MqttConfig {
    let mut config = config(broker.port);
    config.host = "localhost".into();
    config.tls = Some(tls);
    config
}

fn connects(broker: &Mosquitto, tls: TlsConfig) {
    let outbox = outbox(1);
    fill(&outbox, Class::Alert, 0..3);
    let uplink = Running::start(settings(broker, tls), &outbox);
    wait_until("an empty outbox", || {
        assert_eq!(uplink.monitor.snapshot().last_error, None);
        outbox.lock().unwrap().is_empty()
    });
}

fn fails_with(broker: &Mosquitto, tls: TlsConfig, words: &str) {
    crate::fails_with(settings(broker, tls), words);
}

#[test]
fn a_gateway_with_a_certificate_out_of_date_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::make(dir.path());
    pki.issue("gateway", "20200101000000Z", "20200201000000Z");
    let broker = Mosquitto::with_config(dir.path(), "", &pki.listener());
    fails_with(&broker, pki.client(true), "check this computer's clock");
}

#[test]
fn a_vehicle_with_a_certificate_out_of_date_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::make(dir.path());
    pki.issue("vehicle", "20200101000000Z", "20200201000000Z");
    let broker = Mosquitto::with_config(dir.path(), "", &pki.listener());
    fails_with(&broker, pki.client(true), "renew cert_file");
}

#[test]
fn a_revoked_gateway_is_refused_and_an_unknown_state_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::make(dir.path());
    let lists = |name: &str| TlsConfig { crl_file: Some(dir.path().join(name)), ..pki.client(true) };
    pki.revocations("before.crl", "ca");
    pki.revocations("foreign.crl", "foreign");
    let broker = Mosquitto::with_config(dir.path(), "", &pki.listener());
    connects(&broker, lists("before.crl"));
    fails_with(&broker, lists("foreign.crl"), "crl_file has no list");
    pki.revoke("gateway");
    pki.revocations("after.crl", "ca");
    fails_with(&broker, lists("after.crl"), "has revoked");
    fails_with(&broker, lists("gone.crl"), "gone.crl");
}

/// A server that speaks one version of TLS only; mosquitto always speaks the newer ones as well.
struct OldServer {
    port: u16,
    child: Child,
}

impl OldServer {
    fn start(dir: &Path, version: &str) -> Self {
        let port = free_port();
        let child = Command::new(program("openssl", "openssl"))
            .args(["s_server", version, "-cipher", "ALL:@SECLEVEL=0", "-cert", "gateway.pem", "-key", "gateway.key"])
            .args(["-accept", &format!("127.0.0.1:{port}"), "-quiet"])
            .current_dir(dir)
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let this = Self { port, child };
        // It answers who speaks its version.
        wait_until("openssl s_server", || {
            let output = Command::new(program("openssl", "openssl"))
                .args(["s_client", version, "-cipher", "ALL:@SECLEVEL=0", "-CAfile", "ca.pem"])
                .args(["-connect", &format!("127.0.0.1:{port}")])
                .current_dir(dir)
                .stdin(Stdio::null())
                .output()
                .unwrap();
            String::from_utf8_lossy(&output.stdout).contains("Verify return code: 0 (ok)")
        });
        this
    }
}

impl Drop for OldServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_gateway_that_speaks_only_an_old_tls_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::make(dir.path());
    let refused = |server: &OldServer, tls: TlsConfig| {
        let mut config = config(server.port);
        config.host = "localhost".into();
        config.tls = Some(tls);
        crate::fails_with(config, "an older TLS only");
    };
    refused(&OldServer::start(dir.path(), "-tls1_1"), pki.client(true));
    let newest = TlsConfig { min_version: TlsVersion::V13, ..pki.client(true) };
    refused(&OldServer::start(dir.path(), "-tls1_2"), newest.clone());
    let broker = Mosquitto::with_config(dir.path(), "", &pki.listener());
    connects(&broker, newest);
}

#[test]
fn only_pinned_keys_are_trusted() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::make(dir.path());
    let broker = Mosquitto::with_config(dir.path(), "", &pki.listener());
    let pinned = |name: &str| TlsConfig { pins: vec![[7; 32], pki.pin(name)], ..pki.client(true) };
    connects(&broker, pinned("gateway"));
    connects(&broker, pinned("ca"));
    fails_with(&broker, pinned("vehicle"), "renew pins");
    fails_with(&broker, pinned("foreign"), "renew pins");
}

#[test]
fn a_key_that_others_may_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::make(dir.path());
    std::fs::set_permissions(dir.path().join("vehicle.key"), PermissionsExt::from_mode(0o644)).unwrap();
    let broker = Mosquitto::with_config(dir.path(), "", &pki.listener());
    fails_with(&broker, pki.client(true), "chmod 600");
}

/// Changes of the files are taken over while the agent runs, and broken ones are not.
#[test]
fn certificates_are_renewed_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::make(dir.path());
    let broker = Mosquitto::with_config(dir.path(), "", &format!("{}\nuse_subject_as_username true", pki.listener()));
    let subscriber = Subscriber::start(&broker);
    let outbox = outbox(1);
    let mut all = fixture::uplink(vec![hasty(settings(&broker, pki.client(true)))]);
    all.credentials_check = Duration::from_millis(20);
    let uplink = Running::all(all, &outbox);
    wait_until("a connection", || uplink.monitor.state() == LinkState::Up);

    let good = std::fs::read(dir.path().join("vehicle.pem")).unwrap();
    std::fs::write(dir.path().join("vehicle.pem"), "half a fi").unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!((uplink.monitor.state(), uplink.monitor.snapshot().connects), (LinkState::Up, 1), "the old one goes on");
    std::fs::write(dir.path().join("vehicle.pem"), good).unwrap();
    wait_until("a connection with files that were written anew", || uplink.monitor.snapshot().connects == 2);

    // Another certificate for another key: for a moment they do not belong together.
    pki.make_key("vehicle");
    pki.issue("vehicle", "20250101000000Z", "20990101000000Z");
    wait_until("a connection with the new certificate", || uplink.monitor.snapshot().connects >= 3);
    fill(&outbox, Class::Alert, 0..10);
    uplink.waker.notify();
    wait_until("arrival", || subscriber.count() >= 10);
    let link = uplink.monitor.snapshot();
    assert_eq!((link.failures, link.resent), (0, 0), "{link:?}");
}

#[test]
fn what_ends_soon_is_told_weeks_ahead() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::make(dir.path());
    pki.issue_for_days("gateway", 20);
    pki.revocations("lists.crl", "ca");
    let broker = Mosquitto::with_config(dir.path(), "", &pki.listener());
    let outbox = outbox(1);
    let told = |days: u32| {
        let tls = TlsConfig { crl_file: Some(dir.path().join("lists.crl")), ..pki.client(true) };
        let mut all = fixture::uplink(vec![hasty(settings(&broker, tls))]);
        (all.credentials_check, all.certificate_warning_days) = (Duration::from_millis(300), days);
        let uplink = Running::all(all, &outbox);
        wait_until("a connection", || uplink.monitor.state() == LinkState::Up);
        // The first look comes after the connection was made.
        std::thread::sleep(Duration::from_millis(1500));
        let mut told: Vec<(String, u64)> = uplink
            .reports
            .try_iter()
            .filter_map(|body| match body {
                Body::Certificate(certificate) => {
                    assert_eq!(&*certificate.gateway, "mqtt");
                    assert!(!certificate.name.is_empty());
                    Some((certificate.what.to_owned(), certificate.ends))
                }
                _ => None,
            })
            .collect();
        told.sort();
        told
    };
    // The others end in 30 days, the lists in 7.
    let soon = told(25);
    let what: Vec<&str> = soon.iter().map(|(what, _)| what.as_str()).collect();
    assert_eq!(what, ["crl_file", "gateway"], "once a day, not at each look");
    let now = outrider::runtime::clock::wall_ns();
    let days = |ns: u64| Duration::from_nanos(ns - now).as_secs_f64() / 86_400.0;
    assert!((days(soon[0].1) - 7.0).abs() < 0.1 && (days(soon[1].1) - 20.0).abs() < 0.1, "{soon:?}");
    let all: Vec<String> = told(40).into_iter().map(|(what, _)| what).collect();
    assert_eq!(all, ["ca_file", "cert_file", "crl_file", "gateway"]);
    assert!(told(0).is_empty());
}

/// What a TPM would be: it signs, and shows the key to nobody.
#[derive(Debug)]
struct Token {
    key: PathBuf,
    signatures: Arc<AtomicU64>,
}

#[derive(Debug)]
struct TokenKey {
    key: Arc<dyn SigningKey>,
    signatures: Arc<AtomicU64>,
}

impl KeyStore for Token {
    fn signing_key(&self, chain: &[CertificateDer<'static>]) -> Result<Arc<dyn SigningKey>, String> {
        assert_eq!(chain.len(), 1);
        let key = rustls::pki_types::PrivateKeyDer::from_pem_file(&self.key).map_err(|error| error.to_string())?;
        let key = rustls::crypto::ring::sign::any_supported_type(&key).map_err(|error| error.to_string())?;
        Ok(Arc::new(TokenKey { key, signatures: Arc::clone(&self.signatures) }))
    }
}

impl SigningKey for TokenKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        self.signatures.fetch_add(1, Ordering::SeqCst);
        self.key.choose_scheme(offered)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.key.algorithm()
    }
}

#[test]
fn a_key_store_signs_in_place_of_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::make(dir.path());
    let broker = Mosquitto::with_config(dir.path(), "", &pki.listener());
    let signatures = Arc::new(AtomicU64::new(0));
    let token = |key: &str| {
        let token = Token { key: dir.path().join(key), signatures: Arc::clone(&signatures) };
        TlsConfig { key_file: None, key_store: Some(KeyHandle(Arc::new(token))), ..pki.client(true) }
    };
    connects(&broker, token("vehicle.key"));
    assert!(signatures.load(Ordering::SeqCst) >= 1);
    fails_with(&broker, token("gone.key"), "key store: ");
}

#[test]
fn plain_text_to_a_tls_gateway_and_the_other_way_round_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::make(dir.path());
    let broker = Mosquitto::start(dir.path());
    fails_with(&broker, pki.client(true), "speaks TLS on this port");
}

#[test]
fn a_configuration_names_the_gateway_whose_files_are_bad() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start(dir.path());
    let gateway = settings(&broker, TlsConfig::new(dir.path().join("none.pem"))).into();
    let config = UplinkConfig { gateways: vec![gateway], ..UplinkConfig::default() };
    let identity = outrider::event::Identity { vehicle: "v1".into(), boot: "b".into() };
    let error = outrider::uplink::Uplinks::new(config, &identity).unwrap().check_files().unwrap_err().to_string();
    assert!(error.contains("gateway mqtt: ") && error.contains("none.pem"), "{error}");
}
