//! Outrider, the in-vehicle edge agent: CAN frames in, decisions on board, events out, nothing lost silently.
//!
//! See `ARCHITECTURE.md` for the map. The way of a frame: [`source`] → [`engine`] → [`outbox`] → [`uplink`];
//! [`runtime`] joins them, [`cli`] is the program's face.

// Whoever calls it may have been left out.
#![cfg_attr(not(all(feature = "kafka", feature = "tools")), allow(dead_code, unused_imports))]

// Lets helpers under `tests/support` name this crate the same way from unit tests and from scenario tests.
#[cfg(test)]
extern crate self as outrider;

#[cfg(test)]
#[path = "../../tests/support/memory_outbox.rs"]
mod memory_outbox;

pub mod audit;
pub mod cli;
pub mod condition;
pub mod config;
pub mod engine;
pub mod event;
pub mod log;
pub mod model;
pub mod outbox;
pub mod privacy;
pub mod profile;
pub mod recorder;
pub mod runtime;
pub mod source;
pub mod uplink;
