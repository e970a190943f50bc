//! dump for tests
use outrider::source::sim::*;
use std::io::Write;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let faults = a[3..].iter().map(|f| f.parse().unwrap()).collect();
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let end: u64 = a[2].parse::<u64>().unwrap() * 60_000_000_000;
    for f in Simulation::new(SimConfig { seed: a[1].parse().unwrap(), start_ns: 0, faults }).unwrap() {
        if f.time_ns > end {
            break;
        }
        let mut rec = [0u8; 24];
        rec[..8].copy_from_slice(&f.time_ns.to_le_bytes());
        rec[8..12].copy_from_slice(&f.id.to_bits().to_le_bytes());
        rec[12] = f.bus.0;
        rec[13] = f.len() as u8;
        rec[16..16 + f.len()].copy_from_slice(f.payload());
        out.write_all(&rec).unwrap();
    }
}
