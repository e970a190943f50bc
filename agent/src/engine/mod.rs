//! The engine: frames and time in, events out. Pure: no I/O, no clock, no threads.
