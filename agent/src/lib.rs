//! Outrider, the in-vehicle edge agent: CAN frames in, decisions on board, events out, nothing lost silently.
//!
//! See `ARCHITECTURE.md` for the map. The way of a frame: [`source`] → [`engine`] → [`outbox`] → [`uplink`].

pub mod engine;
pub mod event;
pub mod outbox;
pub mod source;
pub mod uplink;
