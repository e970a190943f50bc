//! What the script `run` asks for beside the benchmarks.
//!
//! ```text
//! peers cases                    name, frames, signals, DBC file of each case
//! peers compare CASE             values that are dbc-codegen's, of all
//! peers frames CASE              identifier and payload of each frame
//! peers load CASE                milliseconds to load and compile the DBC file, the median of 15
//! peers pass CASE WAY PASSES     goes over all frames so many times, for callgrind to count
//! ```

use std::path::Path;
use std::time::Instant;

use can_decoders::{Database, Plan};
use peers::Case;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let case = |name: &str| Case::all().into_iter().find(|case| case.name == name).expect("a case's name");
    match arguments[..] {
        ["cases"] => {
            for case in Case::all() {
                println!("{} {} {} {}", case.name, case.frames.len(), case.signals(), case.dbc);
            }
        }
        ["compare", name] => {
            let (same, all) = case(name).compare();
            println!("{same} {all}");
        }
        ["frames", name] => {
            for frame in &case(name).frames {
                let payload: String = frame.payload().iter().map(|byte| format!("{byte:02x}")).collect();
                println!("{} {payload}", frame.id.to_bits());
            }
        }
        ["load", name] => {
            let dbc = case(name).dbc;
            let once = || {
                let start = Instant::now();
                std::hint::black_box(Plan::compile(&[Database::load(Path::new(dbc)).expect("it was read before")]));
                start.elapsed().as_secs_f64() * 1e3
            };
            let mut times: Vec<f64> = (0..15).map(|_| once()).collect();
            times.sort_by(f64::total_cmp);
            println!("{:.1}", times[7]);
        }
        ["pass", name, way, passes] => {
            let case = case(name);
            for _ in 0..passes.parse().expect("a number") {
                match way {
                    "for_each" => case.for_each(),
                    "slice" => case.slice(),
                    "iterator" => case.iterator(),
                    "dbc-codegen" => case.generated(),
                    _ => panic!("no way of decoding is called {way}"),
                }
            }
        }
        _ => panic!("peers cases|compare|frames|load|pass"),
    }
}
