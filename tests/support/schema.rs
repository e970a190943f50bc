//! `tests/events.cddl`, as what encodings are held against.

#![allow(dead_code, reason = "unit tests and scenario tests each use a part of it")]

const CDDL: &str = include_str!("../events.cddl");

/// Whether readers that follow the schema can take this encoding: keys that they do not know may be there.
pub(crate) fn accepts(encoding: &[u8]) -> Result<(), String> {
    cddl_cat::validate_cbor_bytes("event", CDDL, encoding).map_err(|error| error.to_string())
}

/// Whether the schema describes all of this encoding: no key is left for readers to ignore.
pub(crate) fn describes(encoding: &[u8]) -> Result<(), String> {
    let closed = CDDL.replace("* tstr => any", "");
    assert!(closed.len() < CDDL.len());
    cddl_cat::validate_cbor_bytes("event", &closed, encoding).map_err(|error| error.to_string())
}
