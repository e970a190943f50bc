//! A recording's pieces: gzip members (RFC 1952), each with whole lines, each readable by itself. `zcat` reads all of them one
//! after the other; after a power cut, what counts ends with the last whole one.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;
use flate2::{Compress, Compression, FlushCompress, Status};

/// Text of a member, at most: what is larger was not written by us.
pub(super) const MAX_TEXT: usize = 1 << 20;
/// No name, no time, unknown system: the same text gives the same bytes.
const HEADER: [u8; 10] = [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 0xFF];
/// Of the levels, the one that takes the least time.
const LEVEL: u32 = 1;

/// Makes members. Its memory is taken once.
pub(super) struct Encoder(Compress);

impl Encoder {
    pub(super) fn new() -> Self {
        Self(Compress::new(Compression::new(LEVEL), false))
    }

    /// Appends `text` as a member to `out`.
    pub(super) fn encode(&mut self, text: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        self.0.reset();
        out.extend(HEADER);
        // What cannot be compressed is stored in blocks, with some bytes each.
        out.reserve(text.len() + text.len() / 1024 + 64);
        let mut rest = text;
        loop {
            let before = self.0.total_in();
            let status = self.0.compress_vec(rest, out, FlushCompress::Finish).map_err(io::Error::other)?;
            let taken = usize::try_from(self.0.total_in() - before).unwrap_or(rest.len());
            rest = &rest[taken.min(rest.len())..];
            match status {
                Status::StreamEnd => break,
                Status::Ok | Status::BufError => out.reserve(1024),
            }
        }
        out.extend(crc32fast::hash(text).to_le_bytes());
        out.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
        Ok(())
    }
}

/// Reads members one after the other.
pub(super) struct Members<R> {
    input: R,
    /// Bytes of the whole members so far.
    pub(super) whole: u64,
    text: Vec<u8>,
    /// The system could not read on.
    pub(super) failed: Option<io::Error>,
}

/// Counts what is read of it.
struct Counted<'a, R> {
    input: &'a mut R,
    count: u64,
}

impl<R: BufRead> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.count += count as u64;
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Counted<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.input.fill_buf()
    }
    fn consume(&mut self, count: usize) {
        self.count += count as u64;
        self.input.consume(count);
    }
}

impl<R: BufRead> Members<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, whole: 0, text: Vec::new(), failed: None }
    }

    /// The text of the last one.
    pub(super) fn last(&self) -> &[u8] {
        &self.text
    }

    /// The text of the next member; `None` at the end, and where the rest is no whole member.
    pub(super) fn next(&mut self) -> Option<&[u8]> {
        match self.input.fill_buf() {
            Ok([]) => return None,
            Ok(_) => {}
            Err(error) => {
                self.failed = Some(error);
                return None;
            }
        }
        self.text.clear();
        let mut decoder = GzDecoder::new(Counted { input: &mut self.input, count: 0 });
        let limit = MAX_TEXT as u64 + 1;
        let read = decoder.by_ref().take(limit).read_to_end(&mut self.text);
        // What the system says has a number, what the data is has none.
        self.failed = read.as_ref().err().and_then(io::Error::raw_os_error).map(io::Error::from_raw_os_error);
        if read.is_err() || self.text.len() > MAX_TEXT || self.text.last().is_some_and(|byte| *byte != b'\n') {
            return None;
        }
        self.whole += decoder.into_inner().count;
        Some(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_read_one_after_the_other_up_to_the_first_that_is_not_whole() {
        let mut encoder = Encoder::new();
        let texts = ["a\n".repeat(9), "b\n".into(), String::from_utf8(vec![b'\n'; MAX_TEXT]).unwrap(), "c\n".into()];
        let (mut file, mut ends) = (Vec::new(), vec![0]);
        for text in &texts {
            encoder.encode(text.as_bytes(), &mut file).unwrap();
            ends.push(file.len());
        }
        let mut whole = String::new();
        flate2::read::MultiGzDecoder::new(&file[..]).read_to_string(&mut whole).unwrap();
        assert_eq!(whole, texts.concat());
        // Cut anywhere, with anything behind it.
        for cut in (0..=file.len()).step_by(7).chain(ends.clone()) {
            for junk in [&[][..], &[0xEE; 4096], b"\x1F\x8B\x08"] {
                let torn = [&file[..cut], junk].concat();
                let mut members = Members::new(&torn[..]);
                let count = std::iter::from_fn(|| members.next().map(<[u8]>::len)).count();
                let expected = ends.iter().filter(|end| **end <= cut).count() - 1;
                assert_eq!((count, members.whole), (expected, ends[expected] as u64), "{cut}");
            }
        }
        for at in (0..file.len()).step_by(3) {
            let mut damaged = file.clone();
            damaged[at] ^= 0x55;
            let mut members = Members::new(&damaged[..]);
            while members.next().is_some() {}
        }
        let bomb = vec![b'\n'; 40 * MAX_TEXT];
        let mut file = Vec::new();
        encoder.encode(&bomb, &mut file).unwrap();
        assert!(Members::new(&file[..]).next().is_none());
        let noise: Vec<u8> = (0..60_000_u64).map(|n| ((n * n * 2_654_435_761) >> 13 & 0xFF) as u8).collect();
        let mut file = Vec::new();
        encoder.encode(&noise, &mut file).unwrap();
        let mut back = Vec::new();
        GzDecoder::new(&file[..]).read_to_end(&mut back).unwrap();
        assert_eq!(back, noise);
    }
}
