//! A recording's file: how it is written, and how it is read.

use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::member::{Encoder, Members};
use super::ring::Chunk;
use crate::event::Class;

/// First line of a recording.
const FIRST: &str = "# outrider recording 1";

/// What is known of a finished recording: `ID.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Its name.
    pub id: String,
    /// The vehicle, as it was called then.
    pub vehicle: String,
    /// The most important class of its triggers.
    pub class: Class,
    /// Times of its earliest and latest frame, nanoseconds since the Unix epoch.
    pub from: u64,
    /// See [`Self::from`].
    pub to: u64,
    /// Frames in it.
    pub frames: u64,
    /// Frames that should be in it and are not.
    pub missed: u64,
    /// Size of its file.
    pub bytes: u64,
    /// SHA-256 of its file, hexadecimal.
    pub digest: String,
    /// The conditions that asked for it.
    pub triggers: Vec<Arc<str>>,
    /// The campaign that they belong to, of the first.
    #[serde(default)]
    pub campaign: Option<Arc<str>>,
    /// It was cut by a power failure.
    pub torn: bool,
    /// Pieces that have been sent, from the first on.
    pub sent: u32,
}

impl About {
    pub(super) fn new(id: String, vehicle: String) -> Self {
        Self {
            id,
            vehicle,
            class: Class::Bulk,
            from: 0,
            to: 0,
            frames: 0,
            missed: 0,
            bytes: 0,
            digest: String::new(),
            triggers: Vec::new(),
            campaign: None,
            torn: false,
            sent: 0,
        }
    }

    /// How many pieces it is sent in.
    pub fn chunks(&self) -> u32 {
        u32::try_from(self.bytes.div_ceil(super::CHUNK as u64)).unwrap_or(u32::MAX)
    }
}

/// A file that is no recording.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The system cannot read it.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// It is something else, or nothing of it is left.
    #[error("{path}: not a recording of outrider, or cut before its first frame; name a file ID.log.gz")]
    Other {
        /// The file.
        path: PathBuf,
    },
}

/// A recording that grows.
#[derive(Debug)]
pub(super) struct Growing {
    file: File,
    hash: Sha256,
    pub(super) about: About,
}

impl Growing {
    pub(super) fn new(file: File, about: About) -> Self {
        Self { file, hash: Sha256::new(), about }
    }

    /// Appends lines that are no frames.
    pub(super) fn comment(&mut self, lines: &[String], encoder: &mut Encoder) -> io::Result<()> {
        let mut member = Vec::new();
        let text: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
        encoder.encode(text.as_bytes(), &mut member)?;
        self.append(&member)
    }

    pub(super) fn chunk(&mut self, chunk: &Chunk, member: &[u8]) -> io::Result<()> {
        self.append(member)?;
        let about = &mut self.about;
        about.from = if about.frames == 0 { chunk.first_ns } else { about.from.min(chunk.first_ns) };
        about.to = about.to.max(chunk.last_ns);
        about.frames += u64::from(chunk.frames);
        about.missed += chunk.missed;
        Ok(())
    }

    fn append(&mut self, member: &[u8]) -> io::Result<()> {
        self.file.write_all(member)?;
        self.hash.update(member);
        self.about.bytes += member.len() as u64;
        Ok(())
    }

    /// What was written in part is not there.
    pub(super) fn cut(&self) -> io::Result<()> {
        self.file.set_len(self.about.bytes)
    }

    /// What was written is on the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// As it is now.
    pub(super) fn about(&self) -> About {
        About { digest: hex(&self.hash.clone().finalize()), ..self.about.clone() }
    }
}

/// The header's lines.
pub(super) fn header(vehicle: &str, boot: &str, about: &[String], trigger: &[String]) -> Vec<String> {
    let mut lines = vec![FIRST.to_owned(), format!("# vehicle {vehicle}"), format!("# boot {boot}")];
    lines.extend(about.iter().map(|line| format!("# {line}")));
    lines.extend(trigger.iter().cloned());
    lines
}

/// A recording, read member by member.
pub struct Recorded {
    members: Members<BufReader<File>>,
    /// What its lines say so far; `bytes` are those of whole members.
    pub about: About,
    /// Its header, line by line.
    pub header: Vec<String>,
    /// The header was given.
    begun: bool,
    size: u64,
}

impl std::fmt::Debug for Recorded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorded").field("about", &self.about).finish_non_exhaustive()
    }
}

impl Recorded {
    /// Reads the header of the file.
    ///
    /// # Errors
    /// When it cannot be read, or is none.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let failed = |source| ReadError::Io { path: path.into(), source };
        let file = File::open(path).map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        let mut members = Members::new(BufReader::with_capacity(1 << 16, file));
        let other = || ReadError::Other { path: path.into() };
        if members.next().is_none() {
            return Err(members.failed.take().map_or_else(other, failed));
        }
        let text = str::from_utf8(members.last()).map_err(|_| other())?;
        if text.lines().next() != Some(FIRST) {
            return Err(other());
        }
        let header: Vec<String> = text.lines().map(str::to_owned).collect();
        let vehicle = header.iter().find_map(|line| line.strip_prefix("# vehicle ")).unwrap_or_default().to_owned();
        let about = About::new(name_of(path).unwrap_or_default(), vehicle);
        Ok(Self { members, about, header, begun: false, size })
    }

    /// The system's error that has ended it, if one has.
    pub(super) fn failed(&mut self) -> Option<io::Error> {
        self.members.failed.take()
    }

    /// The next lines; `None` at the end, and where a power cut has ended it.
    pub fn next_lines(&mut self) -> Option<&[u8]> {
        let Self { members, about, begun, size, .. } = self;
        if std::mem::replace(begun, true) && members.next().is_none() {
            about.bytes = members.whole;
            about.torn = members.whole < *size;
            return None;
        }
        read(about, members.last());
        Some(members.last())
    }
}

/// Takes note of what lines say.
fn read(about: &mut About, text: &[u8]) {
    for line in text.split(|byte| *byte == b'\n') {
        match line.first() {
            Some(b'(') => {
                let time_ns = time(line).unwrap_or(about.to);
                about.from = if about.frames == 0 { time_ns } else { about.from.min(time_ns) };
                about.to = about.to.max(time_ns);
                about.frames += 1;
            }
            Some(b'#') => comment(about, line),
            _ => {}
        }
    }
}

fn comment(about: &mut About, line: &[u8]) {
    let Ok(line) = str::from_utf8(line) else { return };
    let mut words = line.split(' ').skip(1);
    match words.next() {
        Some("trigger") => {
            if let (Some(name), Some(class)) = (words.nth(1), words.next()) {
                about.triggers.push(name.into());
                let class = Class::ALL.into_iter().find(|known| known.name() == class);
                about.class = about.class.min(class.unwrap_or(about.class));
            }
        }
        Some("campaign") => {
            about.campaign = about.campaign.take().or_else(|| words.next().map(Into::into));
        }
        Some("missed") => {
            about.missed += words.next().and_then(|count| count.parse::<u64>().ok()).unwrap_or(0);
        }
        _ => {}
    }
}

/// `(seconds.fraction)` as nanoseconds.
fn time(line: &[u8]) -> Option<u64> {
    let end = line.iter().position(|byte| *byte == b')')?;
    let (seconds, fraction) = str::from_utf8(&line[1..end]).ok()?.split_once('.')?;
    let digits = u32::try_from(fraction.len()).ok().filter(|digits| *digits <= 9)?;
    let fraction: u64 = fraction.parse::<u64>().ok()? * 10_u64.pow(9 - digits);
    seconds.parse::<u64>().ok()?.checked_mul(1_000_000_000)?.checked_add(fraction)
}

/// The name of the recording in a file.
pub(super) fn name_of(path: &Path) -> Option<String> {
    path.file_name()?.to_str()?.strip_suffix(super::store::FRAMES).map(str::to_owned)
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
