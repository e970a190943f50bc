//! A gateway that answers as a test tells it: for what mosquitto never does. It speaks just enough
//! MQTT 5 for one publisher, written from the standard and not with the library under test.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// A PUBLISH as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Publish {
    pub(crate) topic: String,
    pub(crate) id: u16,
    /// The properties, encoded, without their length.
    pub(crate) properties: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    /// Which connection it came on, from 1.
    pub(crate) connection: usize,
}

/// Listens until the process ends.
pub(crate) struct ScriptedGateway {
    pub(crate) port: u16,
    published: Arc<Mutex<Vec<Publish>>>,
    connects: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// A CONNACK with a reason code and encoded properties.
pub(crate) fn connack(reason: u8, properties: &[u8]) -> Vec<u8> {
    let length = u8::try_from(properties.len()).unwrap();
    [&[0x20, length + 3, 0, reason, length][..], properties].concat()
}

/// A PUBACK.
pub(crate) fn puback(id: u16, reason: u8) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    vec![0x40, 4, high, low, reason, 0]
}

/// A DISCONNECT with a reason code and encoded properties.
pub(crate) fn disconnect(reason: u8, properties: &[u8]) -> Vec<u8> {
    let length = u8::try_from(properties.len()).unwrap();
    [&[0xE0, length + 2, reason, length][..], properties].concat()
}

/// A text as a property.
pub(crate) fn text_property(id: u8, text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).unwrap();
    [&[id, 0, length][..], text.as_bytes()].concat()
}

impl ScriptedGateway {
    /// Announces `connack` properties (encoded, without their length). For each PUBLISH `answer` gives the
    /// acknowledgements to send now: packet identifier and reason code.
    pub(crate) fn start(connack: &[u8], answer: impl FnMut(&Publish) -> Vec<(u16, u8)> + Send + 'static) -> Self {
        let connack = connack.to_vec();
        Self::changing(move |_| connack.clone(), answer)
    }

    /// As [`Self::start`], with properties that depend on the connection, counted from 1.
    pub(crate) fn changing(
        connack: impl Fn(usize) -> Vec<u8> + Send + 'static,
        answer: impl FnMut(&Publish) -> Vec<(u16, u8)> + Send + 'static,
    ) -> Self {
        let mut answer = answer;
        Self::raw(
            move |connection| self::connack(0, &connack(connection)),
            move |publish| answer(publish).into_iter().flat_map(|(id, reason)| puback(id, reason)).collect(),
        )
    }

    /// Answers a CONNECT, by its connection counted from 1, and each PUBLISH with whole packets.
    pub(crate) fn raw(
        connack: impl Fn(usize) -> Vec<u8> + Send + 'static,
        mut answer: impl FnMut(&Publish) -> Vec<u8> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (published, connects) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
        let (log, its_connects) = (Arc::clone(&published), Arc::clone(&connects));
        thread::spawn(move || {
            for (i, client) in listener.incoming().map_while(Result::ok).enumerate() {
                // One at a time: a publisher has one connection. An error means that it ended.
                let _ = serve(client, i + 1, &connack(i + 1), &log, &its_connects, &mut answer);
            }
        });
        Self { port, published, connects }
    }

    /// The CONNECT packets without their fixed headers.
    pub(crate) fn connects(&self) -> Vec<Vec<u8>> {
        self.connects.lock().unwrap().clone()
    }

    pub(crate) fn published(&self) -> Vec<Publish> {
        self.published.lock().unwrap().clone()
    }
}

fn serve(
    mut client: TcpStream,
    connection: usize,
    connack: &[u8],
    log: &Mutex<Vec<Publish>>,
    connects: &Mutex<Vec<Vec<u8>>>,
    answer: &mut impl FnMut(&Publish) -> Vec<u8>,
) -> io::Result<()> {
    loop {
        let (kind, body) = packet(&mut client)?;
        match kind >> 4 {
            1 => {
                connects.lock().unwrap().push(body);
                client.write_all(connack)?;
            }
            3 => {
                let publish = parse(&body, connection);
                log.lock().unwrap().push(publish.clone());
                client.write_all(&answer(&publish))?;
            }
            12 => client.write_all(&[0xD0, 0])?,
            _ => return Ok(()),
        }
    }
}

fn packet(client: &mut TcpStream) -> io::Result<(u8, Vec<u8>)> {
    let mut byte = [0];
    client.read_exact(&mut byte)?;
    let kind = byte[0];
    let (mut length, mut shift) = (0usize, 0);
    loop {
        client.read_exact(&mut byte)?;
        length |= usize::from(byte[0] & 127) << shift;
        shift += 7;
        if byte[0] & 128 == 0 {
            break;
        }
    }
    let mut body = vec![0; length];
    client.read_exact(&mut body)?;
    Ok((kind, body))
}

fn parse(body: &[u8], connection: usize) -> Publish {
    let topic_end = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
    let topic = String::from_utf8(body[2..topic_end].to_vec()).unwrap();
    let id = u16::from_be_bytes([body[topic_end], body[topic_end + 1]]);
    let rest = &body[topic_end + 2..];
    // Our properties have fewer than 16,384 bytes: a length of one or two bytes.
    let (length, used) = match rest[0] {
        first if first < 128 => (usize::from(first), 1),
        first => (usize::from(first & 127) | usize::from(rest[1]) << 7, 2),
    };
    let (properties, payload) = rest[used..].split_at(length);
    Publish { topic, id, properties: properties.to_vec(), payload: payload.to_vec(), connection }
}
