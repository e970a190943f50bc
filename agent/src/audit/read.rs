//! Received events, as files have them.

use std::io::{BufRead, Read};

use serde::de::DeserializeOwned;

use super::AuditError;

/// An event is far smaller than this; a line without end must not fill the memory.
const MAX_LINE: u64 = 16 << 20;

/// Takes all events of a CBOR sequence or of JSON lines; the first byte tells which.
///
/// # Errors
/// When it cannot be read, or something in it is not an event. What came before was taken.
pub(crate) fn events<T: DeserializeOwned>(
    name: &str,
    mut input: impl BufRead,
    take: impl FnMut(T),
) -> Result<(), AuditError> {
    let failed = |source| AuditError::Read { name: name.into(), source };
    let json = match input.fill_buf().map_err(failed)?.first() {
        None => return Ok(()),
        Some(first) => *first == b'{' || first.is_ascii_whitespace(),
    };
    if json { lines(name, input, take) } else { items(name, input, take) }
}

fn lines<T: DeserializeOwned>(name: &str, mut input: impl BufRead, mut take: impl FnMut(T)) -> Result<(), AuditError> {
    let mut text = Vec::new();
    for line in 1.. {
        text.clear();
        let n = input.by_ref().take(MAX_LINE).read_until(b'\n', &mut text);
        let n = n.map_err(|source| AuditError::Read { name: name.into(), source })?;
        if n == 0 {
            break;
        }
        if text.trim_ascii().is_empty() {
            continue;
        }
        let event = serde_json::from_slice(&text);
        take(event.map_err(|e| AuditError::Json { name: name.into(), line, message: e.to_string() })?);
    }
    Ok(())
}

fn items<T: DeserializeOwned>(name: &str, input: impl BufRead, mut take: impl FnMut(T)) -> Result<(), AuditError> {
    let mut items = serde_cbor::Deserializer::from_reader(input).into_iter::<T>();
    for item in 1.. {
        match items.next() {
            None => break,
            Some(Ok(event)) => take(event),
            Some(Err(error)) => {
                let offset = items.byte_offset() as u64;
                return Err(AuditError::Cbor { name: name.into(), item, offset, message: error.to_string() });
            }
        }
    }
    Ok(())
}
