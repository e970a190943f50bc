//! Recordings put together again from the pieces that a gateway has received.
//!
//! Pieces come in any order, twice, from many vehicles, and not all of them. Each is written to its place in `ID.log.gz.part` as it
//! comes; a file that is complete and has the digest that all pieces name becomes `VEHICLE/ID.log.gz`.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};
use thiserror::Error;

use super::store::{FRAMES, digest};
use crate::audit::{AuditError, read};

/// Pieces of a recording, and bytes of a piece, at most: events come from outside.
const MAX_PIECES: u32 = 1 << 17;
const MAX_PIECE: usize = 1 << 20;
/// Recordings that are put together at one time, at most: each has a file open.
const MAX_OPEN: usize = 512;

/// Why pieces cannot be put together.
#[derive(Debug, Error)]
pub enum AssembleError {
    /// What is read has no events.
    #[error(transparent)]
    Events(#[from] AuditError),
    /// The system refuses.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// An event, of which only pieces of recordings matter.
#[derive(Deserialize)]
struct Received {
    kind: String,
    vehicle: String,
    body: Piece,
}

#[derive(Deserialize)]
struct Piece {
    id: Option<String>,
    of: Option<u32>,
    index: Option<u32>,
    digest: Option<String>,
    #[serde(default, deserialize_with = "data")]
    data: Option<Vec<u8>>,
}

/// A byte string, or base64url; what other kinds call `data` is neither.
fn data<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u8>>, D::Error> {
    struct Data;
    impl<'de> serde::de::Visitor<'de> for Data {
        type Value = Option<Vec<u8>>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("bytes or base64url")
        }
        fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Self::Value, E> {
            Ok(Some(bytes.to_vec()))
        }
        fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
            Ok(from_base64url(text))
        }
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
        fn visit_none<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
    }
    deserializer.deserialize_any(Data)
}

/// RFC 4648, section 5, without padding.
fn from_base64url(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut word, mut bits) = (Vec::with_capacity(text.len() * 3 / 4), 0_u32, 0_u32);
    for digit in text.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        word = word << 6 | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(word >> bits & 0xFF).ok()?);
        }
    }
    Some(bytes)
}

/// What is known of a recording.
#[derive(Debug)]
struct Parts {
    file: File,
    path: PathBuf,
    of: u32,
    /// By place: whether it is there.
    here: Vec<bool>,
    /// Of all pieces but the last.
    size: Option<usize>,
    /// The last one, as long as its place is not known.
    last: Option<Vec<u8>>,
}

/// What has become of a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Assembled {
    /// It is here.
    Complete(PathBuf),
    /// These pieces are missing: first and last of each range, and how many there are in all.
    Missing(Vec<(u32, u32)>, u32),
    /// All pieces are there, and they are not what was sent.
    Wrong,
}

/// By vehicle, name and digest.
type Key = (String, String, String);

/// See the module's documentation.
#[derive(Debug)]
pub struct Assembler {
    dir: PathBuf,
    all: BTreeMap<Key, Parts>,
    /// Pieces that make no sense, by what is wrong.
    refused: HashMap<&'static str, u64>,
}

impl Assembler {
    /// To this directory.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.into(), all: BTreeMap::new(), refused: HashMap::new() }
    }

    /// Takes all pieces among the events of a CBOR sequence or of JSON lines.
    ///
    /// # Errors
    /// When it cannot be read, something in it is no event, or a piece cannot be written.
    pub fn read(&mut self, name: &str, input: impl BufRead) -> Result<(), AssembleError> {
        let mut failed = None;
        read::events(name, input, |event: Received| {
            if event.kind != "recording_chunk" || failed.is_some() {
                return;
            }
            match self.take(event.vehicle, event.body) {
                Ok(None) => {}
                Ok(Some(fault)) => *self.refused.entry(fault).or_default() += 1,
                Err(error) => failed = Some(error),
            }
        })?;
        failed.map_or(Ok(()), Err)
    }

    /// What is wrong with a piece, if anything is.
    fn take(&mut self, vehicle: String, piece: Piece) -> Result<Option<&'static str>, AssembleError> {
        let Piece { id: Some(id), of: Some(of), index: Some(index), digest: Some(digest), data: Some(data) } = piece
        else {
            return Ok(Some("incomplete"));
        };
        let is_digest = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_plain(&vehicle) || !is_plain(&id) || !is_digest {
            return Ok(Some("names that a file cannot have"));
        }
        if of == 0 || of > MAX_PIECES || index >= of || data.len() > MAX_PIECE || data.is_empty() {
            return Ok(Some("impossible sizes"));
        }
        let key = (vehicle, id, digest);
        if !self.all.contains_key(&key) {
            if self.all.len() == MAX_OPEN {
                return Ok(Some("more recordings than are put together at one time"));
            }
            let parts = Parts::new(&self.dir, &key, of)?;
            self.all.insert(key.clone(), parts);
        }
        self.all.get_mut(&key).map_or(Ok(None), |parts| parts.take(of, index, data))
    }

    /// Pieces that were passed over, by what is wrong with them.
    pub fn refused(&self) -> Vec<(&'static str, u64)> {
        let mut refused: Vec<_> = self.refused.iter().map(|(why, count)| (*why, *count)).collect();
        refused.sort_unstable();
        refused
    }

    /// What has become of each recording: vehicle, name, outcome. Files of those that are not complete are kept as `.part`.
    ///
    /// # Errors
    /// When a file cannot be read or renamed.
    pub fn finish(self) -> Result<Vec<(String, String, Assembled)>, AssembleError> {
        let finish = |((vehicle, id, digest), parts): (Key, Parts)| {
            let outcome = parts.finish(&self.dir.join(&vehicle).join(format!("{id}{FRAMES}")), &digest)?;
            Ok((vehicle, id, outcome))
        };
        self.all.into_iter().map(finish).collect()
    }
}

impl Parts {
    fn new(dir: &Path, (vehicle, id, digest): &Key, of: u32) -> Result<Self, AssembleError> {
        let dir = dir.join(vehicle);
        fs::create_dir_all(&dir).map_err(|source| AssembleError::Io { path: dir.clone(), source })?;
        // Two recordings of one name would be of two vehicles that call themselves alike.
        let path = dir.join(format!("{id}-{digest}{FRAMES}.part"));
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path);
        let file = file.map_err(|source| AssembleError::Io { path: path.clone(), source })?;
        Ok(Self { file, path, of, here: vec![false; of as usize], size: None, last: None })
    }

    /// What is wrong with it, if anything is.
    fn take(&mut self, of: u32, index: u32, data: Vec<u8>) -> Result<Option<&'static str>, AssembleError> {
        if of != self.of {
            return Ok(Some("another number of pieces"));
        }
        if index + 1 == of && of > 1 && self.size.is_none() {
            self.last = Some(data);
            return Ok(None);
        }
        let size = *self.size.get_or_insert(data.len());
        let fits = if index + 1 == of { data.len() <= size } else { data.len() == size };
        if !fits {
            return Ok(Some("another size"));
        }
        self.write(index, size, &data)?;
        if let Some(last) = self.last.take().filter(|last| last.len() <= size) {
            self.write(of - 1, size, &last)?;
        }
        Ok(None)
    }

    fn write(&mut self, index: u32, size: usize, data: &[u8]) -> Result<(), AssembleError> {
        let written = self.file.write_all_at(data, u64::from(index) * size as u64);
        written.map_err(|source| AssembleError::Io { path: self.path.clone(), source })?;
        self.here[index as usize] = true;
        Ok(())
    }

    fn finish(self, path: &Path, expected: &str) -> Result<Assembled, AssembleError> {
        let failed = |source| AssembleError::Io { path: self.path.clone(), source };
        let mut missing: Vec<(u32, u32)> = Vec::new();
        for (index, _) in (0..).zip(&self.here).filter(|(_, here)| !**here) {
            match missing.last_mut() {
                Some((_, last)) if *last + 1 == index => *last = index,
                _ => missing.push((index, index)),
            }
        }
        if !missing.is_empty() {
            return Ok(Assembled::Missing(missing, self.of));
        }
        if digest(&self.path).map_err(failed)? != expected {
            return Ok(Assembled::Wrong);
        }
        // Two vehicles may call themselves alike, or somebody pretends to be one.
        let path = match super::store::digest(path) {
            Ok(other) if other != expected => {
                path.with_file_name(self.path.file_name().unwrap_or_default()).with_extension("")
            }
            _ => path.to_owned(),
        };
        fs::rename(&self.path, &path).map_err(failed)?;
        Ok(Assembled::Complete(path))
    }
}

/// Nothing that leads out of the directory.
fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !name.is_empty() && name.len() <= 128 && !name.starts_with('.') && name.chars().all(plain)
}
