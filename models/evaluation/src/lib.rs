//! Attacks and faults in recordings, and how well Outrider finds them.
//!
//! A clean recording is loaded ([`recording`]), attacks are drawn from a seed ([`schedule`]) and put into its frames
//! ([`attack`]); the engine looks at the result ([`play`]), and its scores and alerts are held against what is known to be
//! attacked ([`metrics`], [`report`]).

pub mod attack;
pub mod metrics;
pub mod play;
pub mod recording;
pub mod report;
pub mod schedule;
