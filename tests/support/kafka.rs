//! A real Kafka API broker of our own (tansu), what its topics hold, and a proxy that answers to produce requests as a
//! test tells it.

#![allow(dead_code, reason = "the scenario tests each use a part of it")]

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rskafka::client::partition::{OffsetAt, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;

use crate::mosquitto::{free_port, wait_until};
use crate::sasl::{Exchange, Login};

/// The broker's program.
pub(crate) fn tansu() -> PathBuf {
    match std::env::var_os("TANSU") {
        Some(path) => path.into(),
        None => panic!("TANSU must name the broker's program: run `tests/run kafka`, which fetches it"),
    }
}

/// A broker in memory. Stops when dropped.
pub(crate) struct Broker {
    /// Where it listens; what it advertises may be another port.
    pub(crate) port: u16,
    child: Child,
}

impl Broker {
    /// Advertises `advertised`, or itself.
    pub(crate) fn start(advertised: impl FnOnce(u16) -> u16, args: &[&str]) -> Self {
        let port = free_port();
        let url = |port: u16| format!("tcp://127.0.0.1:{port}");
        let mut child = Command::new(tansu())
            .args(["broker", "--listener-url", &url(port), "--advertised-listener-url", &url(advertised(port))])
            .args(["--storage-engine", "memory://tansu/"])
            .args(args)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_until("tansu to listen", || {
            assert!(child.try_wait().unwrap().is_none(), "tansu ended early");
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Self { port, child }
    }

    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A record as a consumer sees it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Consumed {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) key: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) value: Vec<u8>,
    pub(crate) timestamp_ms: i64,
}

/// Talks to a broker for the test.
pub(crate) struct Observer {
    runtime: tokio::runtime::Runtime,
    client: Client,
}

impl Observer {
    pub(crate) fn connect(port: u16) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = ClientBuilder::new(vec![format!("127.0.0.1:{port}")]).build();
        let client = runtime.block_on(client).unwrap();
        Self { runtime, client }
    }

    pub(crate) fn create(&self, topic: &str, partitions: i32) {
        let controller = self.client.controller_client().unwrap();
        self.runtime.block_on(controller.create_topic(topic, partitions, 1, 10_000)).unwrap();
    }

    pub(crate) fn delete(&self, topic: &str) {
        let controller = self.client.controller_client().unwrap();
        self.runtime.block_on(controller.delete_topic(topic, 10_000)).unwrap();
    }

    fn partitions(&self, topic: &str) -> Vec<i32> {
        let topics = self.runtime.block_on(self.client.list_topics()).unwrap();
        let found = topics.into_iter().find(|found| found.name == topic);
        found.map_or_else(Vec::new, |topic| topic.partitions.into_iter().collect())
    }

    /// All that a topic holds, by partition and offset.
    pub(crate) fn consume(&self, topic: &str) -> Vec<Consumed> {
        self.partitions(topic).into_iter().flat_map(|partition| self.consume_partition(topic, partition)).collect()
    }

    fn consume_partition(&self, topic: &str, partition: i32) -> Vec<Consumed> {
        self.runtime.block_on(async {
            let (mut consumed, mut next, mut at_the_end) = (Vec::new(), 0, 0);
            let client = self.client.partition_client(topic, partition, UnknownTopicHandling::Error).await.unwrap();
            loop {
                // A fetch at the end would hold up the broker for half a minute, whatever it is asked.
                let end = client.get_offset(OffsetAt::Latest).await.unwrap();
                if next >= end {
                    at_the_end += 1;
                    if at_the_end == 3 {
                        return consumed;
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
                let (records, _) = client.fetch_records(next, 1..4 << 20, 100).await.unwrap();
                for found in records {
                    next = found.offset + 1;
                    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
                    consumed.push(Consumed {
                        partition,
                        offset: found.offset,
                        key: text(found.record.key.unwrap_or_default()),
                        headers: found.record.headers.into_iter().map(|(key, value)| (key, text(value))).collect(),
                        value: found.record.value.unwrap_or_default(),
                        timestamp_ms: found.record.timestamp.timestamp_millis(),
                    });
                }
            }
        })
    }
}

/// A produce request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Produce {
    /// Counted from 1, over all connections.
    pub(crate) number: usize,
    pub(crate) topic: String,
    /// Bytes of its record batch.
    pub(crate) bytes: usize,
    /// Records in it.
    pub(crate) records: i32,
}

/// Passes everything on to a broker but the produce requests for which the script has an error.
pub(crate) struct Scripted {
    pub(crate) port: u16,
    seen: Arc<Mutex<Vec<Produce>>>,
}

impl Scripted {
    /// `answer`: the error code to answer with in the broker's place; `None` passes the request on.
    pub(crate) fn start(
        target: impl FnOnce(u16) -> u16,
        answer: impl FnMut(&Produce) -> Option<i16> + Send + 'static,
    ) -> Self {
        Self::guarded(target, answer, None)
    }

    /// As [`Self::start`]; lets nobody through who does not log in.
    pub(crate) fn guarded(
        target: impl FnOnce(u16) -> u16,
        answer: impl FnMut(&Produce) -> Option<i16> + Send + 'static,
        login: Option<Login>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let target = target(port);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (Arc::clone(&seen), Arc::new(Mutex::new(answer)));
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(("127.0.0.1", target)) else { continue };
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                let (mut back_from, mut back_to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                thread::spawn(move || {
                    let _ = io::copy(&mut back_from, &mut back_to);
                    let _ = back_to.shutdown(Shutdown::Both);
                });
                let (log, answer, login) = (Arc::clone(&log), Arc::clone(&answer), login.clone());
                thread::spawn(move || {
                    // An error means that it ended.
                    let _ = serve(&client, &server, &log, &answer, login.as_ref());
                    let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
                });
            }
        });
        Self { port, seen }
    }

    pub(crate) fn seen(&self) -> Vec<Produce> {
        self.seen.lock().unwrap().clone()
    }
}

fn serve(
    mut client: &TcpStream,
    mut server: &TcpStream,
    log: &Mutex<Vec<Produce>>,
    answer: &Mutex<impl FnMut(&Produce) -> Option<i16>>,
    login: Option<&Login>,
) -> io::Result<()> {
    let mut exchange = Exchange::default();
    let (mut logged_in, mut said) = (login.is_none(), 0);
    loop {
        let mut length = [0; 4];
        client.read_exact(&mut length)?;
        let mut frame = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap()];
        client.read_exact(&mut frame)?;
        let mut rest = Reader(&frame);
        let (api, version, correlation) = (rest.i16(), rest.i16(), rest.i32());
        match (api, login) {
            // Versions, for everybody.
            (18, _) => {}
            (17, Some(login)) => {
                rest.text();
                let known = rest.text() == login.mechanism;
                let mut body = (if known { 0_i16 } else { 33 }).to_be_bytes().to_vec();
                body.extend(1_i32.to_be_bytes());
                body.extend(text(login.mechanism));
                reply(client, correlation, &body)?;
                continue;
            }
            (36, Some(login)) => {
                rest.text();
                // From version 2 on with tags and compact lengths.
                let compact = version >= 2;
                let bytes = if compact {
                    let [_tags, length] = rest.take::<2>();
                    let length = if length < 128 {
                        usize::from(length)
                    } else {
                        usize::from(length & 127) | usize::from(rest.take::<1>()[0]) << 7
                    };
                    &rest.0[..length - 1]
                } else {
                    let length = usize::try_from(rest.i32()).unwrap();
                    &rest.0[..length]
                };
                let answer = exchange.step(login, bytes);
                said += 1;
                logged_in = answer.is_some() && (login.mechanism == "PLAIN" || said == 2);
                let code: i16 = if answer.is_some() { 0 } else { 58 };
                let answer = answer.unwrap_or_default();
                let mut body = Vec::new();
                if compact {
                    body.push(0);
                    body.extend(code.to_be_bytes());
                    body.push(0);
                    let length = answer.len() + 1;
                    if length < 128 {
                        body.push(u8::try_from(length).unwrap());
                    } else {
                        body.extend([u8::try_from(length & 127).unwrap() | 128, u8::try_from(length >> 7).unwrap()]);
                    }
                    body.extend(&answer);
                    body.extend(0_i64.to_be_bytes());
                    body.push(0);
                } else {
                    body.extend(code.to_be_bytes());
                    body.extend((-1_i16).to_be_bytes());
                    body.extend(i32::try_from(answer.len()).unwrap().to_be_bytes());
                    body.extend(&answer);
                    if version == 1 {
                        body.extend(0_i64.to_be_bytes());
                    }
                }
                reply(client, correlation, &body)?;
                continue;
            }
            // As Kafka does it: it hangs up.
            _ if !logged_in => return Ok(()),
            _ => {}
        }
        if api == 0 {
            // Client, transactional id, acks, timeout; one topic with one partition.
            rest.text();
            rest.text();
            assert_eq!(rest.i16(), -1, "acks=all");
            rest.i32();
            assert_eq!(rest.i32(), 1, "topics");
            let topic = rest.text();
            assert_eq!(rest.i32(), 1, "partitions");
            let partition = rest.i32();
            let bytes = usize::try_from(rest.i32()).unwrap();
            // The number of records is the last field of a batch's header (magic 2), 57 bytes in.
            let records = Reader(&rest.0[57..]).i32();
            let mut seen = log.lock().unwrap();
            let produce = Produce { number: seen.len() + 1, topic: topic.clone(), bytes, records };
            seen.push(produce.clone());
            drop(seen);
            if let Some(code) = answer.lock().unwrap()(&produce) {
                let mut body = 1_i32.to_be_bytes().to_vec();
                body.extend(text(&topic));
                body.extend(1_i32.to_be_bytes());
                body.extend(partition.to_be_bytes());
                body.extend(code.to_be_bytes());
                body.extend((-1_i64).to_be_bytes());
                body.extend((-1_i64).to_be_bytes());
                if version >= 5 {
                    body.extend((-1_i64).to_be_bytes());
                }
                body.extend(0_i32.to_be_bytes());
                reply(client, correlation, &body)?;
                continue;
            }
        }
        server.write_all(&length)?;
        server.write_all(&frame)?;
    }
}

fn reply(mut client: &TcpStream, correlation: i32, body: &[u8]) -> io::Result<()> {
    let length = i32::try_from(body.len() + 4).unwrap();
    client.write_all(&[&length.to_be_bytes()[..], &correlation.to_be_bytes(), body].concat())
}

fn text(text: &str) -> Vec<u8> {
    [&i16::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat()
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (head, tail) = self.0.split_first_chunk::<N>().unwrap();
        self.0 = tail;
        *head
    }

    fn i16(&mut self) -> i16 {
        i16::from_be_bytes(self.take())
    }

    fn i32(&mut self) -> i32 {
        i32::from_be_bytes(self.take())
    }

    /// A nullable string.
    fn text(&mut self) -> String {
        let length = usize::try_from(self.i16()).unwrap_or(0);
        let (text, rest) = self.0.split_at(length);
        self.0 = rest;
        String::from_utf8(text.to_vec()).unwrap()
    }
}

/// Takes TLS off before a broker, for clients with a certificate of the authority `ca.pem` only.
pub(crate) fn tls_front(dir: &Path, target: impl FnOnce(u16) -> u16) -> u16 {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let certificates = |name: &str| -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_file_iter(dir.join(name)).unwrap().collect::<Result<_, _>>().unwrap()
    };
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(certificates("ca.pem"));
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_single_cert(certificates("gateway.pem"), PrivateKeyDer::from_pem_file(dir.join("gateway.key")).unwrap())
        .unwrap();
    let (send, listening) = std::sync::mpsc::channel();
    let (tell, told) = std::sync::mpsc::channel::<u16>();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        tokio::task::LocalSet::new().block_on(&runtime, async move {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            send.send(listener.local_addr().unwrap().port()).unwrap();
            let target = told.recv().unwrap();
            while let Ok((client, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::task::spawn_local(async move {
                    let (Ok(mut client), Ok(mut server)) =
                        (acceptor.accept(client).await, tokio::net::TcpStream::connect(("127.0.0.1", target)).await)
                    else {
                        return;
                    };
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
    });
    let port = listening.recv().unwrap();
    tell.send(target(port)).unwrap();
    port
}
