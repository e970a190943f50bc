//! systemd's journal, by its own protocol: <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>.
//!
//! `MESSAGE` is the whole text, as on standard error; beside it `PRIORITY`, and each field under its own name with
//! `OUTRIDER_` before it, so that `journalctl OUTRIDER_GATEWAY=eu-1` finds what concerns one gateway.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::{Text, is_said};

const SOCKET: &str = "/run/systemd/journal/socket";
/// Of a field, bytes. A datagram holds some hundred KiB.
const LONGEST: usize = 32 << 10;

/// See the module's documentation.
pub(super) struct Journal {
    socket: UnixDatagram,
    /// Entries that found it busy, and are not told yet.
    lost: AtomicU64,
}

impl Journal {
    /// Where standard error is connected with the journal and that can be reached.
    pub(super) fn connect() -> Option<Self> {
        let stream = std::env::var("JOURNAL_STREAM").ok()?;
        let stderr = std::fs::metadata("/proc/self/fd/2").ok()?;
        // Someone may have redirected it since: `journalctl` would be the wrong place to look then.
        if stream != format!("{}:{}", stderr.dev(), stderr.ino()) {
            return None;
        }
        let socket = UnixDatagram::unbound().ok()?;
        socket.connect(SOCKET).ok()?;
        // A journal that is stuck must not hold up the engine.
        socket.set_nonblocking(true).ok()?;
        Some(Self { socket, lost: AtomicU64::new(0) })
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        let entry = Entry::of(event, lost);
        match self.socket.send(&entry.bytes) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.lost.fetch_add(lost + 1, Ordering::Relaxed);
            }
            // The journal has begun anew, perhaps; its stream has not.
            Err(_) => drop(io::Write::write_all(&mut io::stderr(), format!("{}\n", entry.text).as_bytes())),
        }
    }
}

/// An entry of the journal.
struct Entry {
    bytes: Vec<u8>,
    text: String,
}

impl Entry {
    /// `lost` entries before it found the journal busy.
    fn of(event: &Event<'_>, lost: u64) -> Self {
        let mut fields = Bytes(Vec::new());
        fields.put("PRIORITY", priority(*event.metadata().level()));
        fields.put("SYSLOG_IDENTIFIER", "outrider");
        event.record(&mut fields);
        let mut text = Text::default();
        event.record(&mut text);
        let mut text = text.finish();
        if lost > 0 {
            text.push_str(&format!(" ({lost} entries before this were lost: the journal was busy)"));
        }
        fields.put("MESSAGE", &text);
        Self { bytes: fields.0, text }
    }
}

/// As syslog has them.
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        Level::DEBUG | Level::TRACE => "7",
    }
}

/// Fields in the form in which values may have any bytes: name, line feed, length, value, line feed.
struct Bytes(Vec<u8>);

impl Bytes {
    fn put(&mut self, name: &str, value: &str) {
        let value = &value.as_bytes()[..value.len().min(LONGEST)];
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'\n');
        self.0.extend_from_slice(&(value.len() as u64).to_le_bytes());
        self.0.extend_from_slice(value);
        self.0.push(b'\n');
    }
}

impl Visit for Bytes {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() != "message" && is_said(field) {
            // Names are identifiers of ours: letters, digits and underlines.
            self.put(&format!("OUTRIDER_{}", field.name().to_uppercase()), &format!("{value:?}"));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() != "message" && is_said(field) {
            self.put(&format!("OUTRIDER_{}", field.name().to_uppercase()), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Seen(Arc<Mutex<Vec<Entry>>>);

    impl<S: Subscriber> Layer<S> for Seen {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            self.0.lock().unwrap().push(Entry::of(event, 0));
        }
    }

    /// Reads an entry as the journal does.
    fn fields(mut bytes: &[u8]) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let name = bytes.iter().position(|b| *b == b'\n').unwrap();
            let (length, rest) = bytes[name + 1..].split_first_chunk().unwrap();
            let length = usize::try_from(u64::from_le_bytes(*length)).unwrap();
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            fields.push((text(&bytes[..name]), text(&rest[..length])));
            assert_eq!(rest[length], b'\n');
            bytes = &rest[length + 1..];
        }
        fields
    }

    #[test]
    fn an_entry_has_the_whole_text_and_each_field_by_itself() {
        let seen = Seen::default();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(seen.clone()), || {
            tracing::warn!(gateway = "eu-1", model = "m", first = 7, class = %"alert", log.line = 9, log.file = "of-a-library.rs", "link down:\ntwo lines");
        });
        let entries = seen.0.lock().unwrap();
        let [entry] = &entries[..] else { panic!("{} entries", entries.len()) };
        assert_eq!(entry.text, "link down:\ntwo lines gateway=\"eu-1\" first=7 class=alert");
        let expected = [
            ("PRIORITY", "4"),
            ("SYSLOG_IDENTIFIER", "outrider"),
            ("OUTRIDER_GATEWAY", "eu-1"),
            ("OUTRIDER_MODEL", "m"),
            ("OUTRIDER_FIRST", "7"),
            ("OUTRIDER_CLASS", "alert"),
            ("MESSAGE", &entry.text),
        ];
        assert_eq!(fields(&entry.bytes), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
