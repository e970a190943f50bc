//! The `outrider` program: wiring only.
fn main() {}
