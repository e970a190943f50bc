//! Any bytes as a recording in the format ASC.

#![no_main]

mod log;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| log::read(can_decoders::log::Format::Asc, bytes));
