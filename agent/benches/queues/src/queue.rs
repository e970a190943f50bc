//! The queues, each as its documentation says for data that must survive a power cut.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use outrider::event::{Body, Class, Event, Identity, ModelState};
use outrider::outbox::{Outbox, OutboxConfig, SledOutbox};

use crate::Outcome;

pub(crate) trait Queue {
    /// Stores events, durably; the bytes of their encodings.
    fn store(&mut self, events: usize, bytes: usize, round: usize) -> Outcome<usize>;
    /// Reads and removes everything in the order stored; how many events that were.
    fn drain(&mut self) -> Outcome<usize>;
}

pub(crate) fn open(kind: &str, dir: &Path) -> Outcome<Box<dyn Queue>> {
    Ok(match kind {
        "outrider" => Box::new(Outrider::open(dir)?),
        "sled" => Box::new(Sled::open(dir)?),
        "sqlite" => Box::new(Sqlite::open(dir)?),
        "file" => Box::new(Append::open(dir)?),
        other => return Err(format!("no queue {other}").into()),
    })
}

pub(crate) fn identity() -> Identity {
    Identity { vehicle: "truck-0001".into(), boot: "1f0c7a32-0d1f-4c1e-a8a4-0c8f8a1d2e3f".into() }
}

pub(crate) fn event(bytes: usize, round: usize, n: usize) -> Event {
    // Not all the same: nobody compresses, but nobody should seem to.
    let reason: String = (0..bytes).map(|at| char::from(b'a' + ((at * 7 + round * 13 + n) % 26) as u8)).collect();
    let body = Body::Model(ModelState { name: "m".into(), state: "benched", reason, version: "1".into() });
    Event::new(1_700_000_000_000_000_000, Class::Alert, body)
}

/// The same encodings for all.
fn encoded(events: usize, bytes: usize, round: usize) -> Vec<Vec<u8>> {
    (0..events)
        .map(|n| {
            let mut out = Vec::new();
            event(bytes, round, n).encode(&identity(), 1 + (round * events + n) as u64, &mut out).expect("it encodes");
            out
        })
        .collect()
}

pub(crate) struct Outrider(SledOutbox);

impl Outrider {
    pub(crate) fn open(dir: &Path) -> Outcome<Self> {
        let config = OutboxConfig { linger: Duration::ZERO, ..OutboxConfig::new(4 << 30) };
        Ok(Self(SledOutbox::open(dir, config, identity(), 1_700_000_000_000_000_000)?))
    }

    pub(crate) fn into_inner(self) -> SledOutbox {
        self.0
    }

    pub(crate) fn close(&mut self) -> Outcome<()> {
        Ok(self.0.close()?)
    }

    pub(crate) fn depth(&self) -> u64 {
        self.0.stat().depth()
    }

    pub(crate) fn read(&mut self, batches: usize) -> Outcome<()> {
        let mut after = 0;
        for _ in 0..batches {
            let Some(batch) = self.0.read(Class::Alert, after)? else { break };
            after = batch.first_seq;
        }
        Ok(())
    }
}

impl Queue for Outrider {
    fn store(&mut self, events: usize, bytes: usize, round: usize) -> Outcome<usize> {
        for n in 0..events {
            self.0.append(&event(bytes, round, n))?;
        }
        self.0.commit()?;
        Ok(encoded(events, bytes, round).iter().map(Vec::len).sum())
    }

    fn drain(&mut self) -> Outcome<usize> {
        let mut events = 0;
        while let Some(batch) = self.0.read(Class::Alert, 0)? {
            events += batch.count as usize;
            self.0.ack(Class::Alert, batch.first_seq)?;
        }
        Ok(events)
    }
}

/// A tree from number to event. `flush` alone does not sync, so the file is synced as well.
struct Sled {
    db: sled::Db,
    data: File,
    next: u64,
}

impl Sled {
    fn open(dir: &Path) -> Outcome<Self> {
        let db = sled::Config::new().path(dir).cache_capacity(8 << 20).flush_every_ms(None).open()?;
        let data = File::open(dir.join("db"))?;
        Ok(Self { db, data, next: 0 })
    }

    fn sync(&self) -> Outcome<()> {
        self.db.flush()?;
        Ok(self.data.sync_data()?)
    }
}

impl Queue for Sled {
    fn store(&mut self, events: usize, bytes: usize, round: usize) -> Outcome<usize> {
        let (mut batch, mut sum) = (sled::Batch::default(), 0);
        for event in encoded(events, bytes, round) {
            sum += event.len();
            batch.insert(&self.next.to_be_bytes(), event);
            self.next += 1;
        }
        self.db.apply_batch(batch)?;
        self.sync()?;
        Ok(sum)
    }

    fn drain(&mut self) -> Outcome<usize> {
        let mut events = 0;
        loop {
            let mut batch = sled::Batch::default();
            let mut taken = 0;
            for pair in self.db.iter().take(40) {
                batch.remove(pair?.0);
                taken += 1;
            }
            if taken == 0 {
                return Ok(events);
            }
            events += taken;
            self.db.apply_batch(batch)?;
            self.sync()?;
        }
    }
}

/// A table in WAL mode with `synchronous = FULL`.
struct Sqlite(rusqlite::Connection);

impl Sqlite {
    fn open(dir: &Path) -> Outcome<Self> {
        let db = rusqlite::Connection::open(dir.join("queue.sqlite"))?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.pragma_update(None, "synchronous", "FULL")?;
        db.execute("CREATE TABLE queue (seq INTEGER PRIMARY KEY, event BLOB NOT NULL)", ())?;
        Ok(Self(db))
    }
}

impl Queue for Sqlite {
    fn store(&mut self, events: usize, bytes: usize, round: usize) -> Outcome<usize> {
        let transaction = self.0.transaction()?;
        let mut sum = 0;
        {
            let mut insert = transaction.prepare_cached("INSERT INTO queue (event) VALUES (?1)")?;
            for event in encoded(events, bytes, round) {
                sum += event.len();
                insert.execute([event])?;
            }
        }
        transaction.commit()?;
        Ok(sum)
    }

    fn drain(&mut self) -> Outcome<usize> {
        let mut events = 0;
        loop {
            let transaction = self.0.transaction()?;
            let (mut last, mut taken) = (0_i64, 0);
            {
                let mut select = transaction.prepare_cached("SELECT seq, event FROM queue ORDER BY seq LIMIT 40")?;
                let mut rows = select.query(())?;
                while let Some(row) = rows.next()? {
                    last = row.get(0)?;
                    std::hint::black_box(row.get::<_, Vec<u8>>(1)?);
                    taken += 1;
                }
            }
            transaction.execute("DELETE FROM queue WHERE seq <= ?1", [last])?;
            transaction.commit()?;
            if taken == 0 {
                return Ok(events);
            }
            events += taken;
        }
    }
}

/// Length and event, one after the other; deleted when all is read. It survives no damage and gives back no space.
struct Append {
    file: File,
    end: u64,
}

impl Append {
    fn open(dir: &Path) -> Outcome<Self> {
        let file = File::options().read(true).append(true).create(true).open(dir.join("queue"))?;
        Ok(Self { file, end: 0 })
    }
}

impl Queue for Append {
    fn store(&mut self, events: usize, bytes: usize, round: usize) -> Outcome<usize> {
        let (mut out, mut sum) = (Vec::new(), 0);
        for event in encoded(events, bytes, round) {
            sum += event.len();
            out.extend_from_slice(&(event.len() as u32).to_le_bytes());
            out.extend_from_slice(&event);
        }
        self.file.write_all(&out)?;
        self.file.sync_data()?;
        self.end += out.len() as u64;
        Ok(sum)
    }

    fn drain(&mut self) -> Outcome<usize> {
        let (mut at, mut events) = (0, 0);
        while at < self.end {
            let mut length = [0; 4];
            self.file.read_exact_at(&mut length, at)?;
            let mut event = vec![0; u32::from_le_bytes(length) as usize];
            self.file.read_exact_at(&mut event, at + 4)?;
            at += 4 + event.len() as u64;
            events += 1;
        }
        self.file.set_len(0)?;
        self.file.sync_data()?;
        Ok(events)
    }
}
