//! Has dbc-codegen write the decoder of each case, and beside it the call of all its accessors.
//!
//! `PEERS` lists the cases: `name=file.dbc`, separated by blanks.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-env-changed=PEERS");
    let cases = env::var("PEERS").unwrap_or_default();
    let out = env::var("OUT_DIR").expect("cargo sets it");
    let mut modules = String::new();
    let mut table = String::new();
    for case in cases.split_whitespace() {
        let (name, dbc) = case.split_once('=').expect("PEERS: name=file.dbc");
        println!("cargo::rerun-if-changed={dbc}");
        let text = fs::read(dbc).unwrap_or_else(|error| panic!("{dbc}: {error}"));
        let text = mended(&String::from_utf8_lossy(&text));
        let config = dbc_codegen::Config::builder().dbc_name(name).dbc_content(&text).build();
        let mut code = config.generate().unwrap_or_else(|error| panic!("{dbc}: dbc-codegen: {error}"));
        code.push_str(&driver(&code));
        let file = Path::new(&out).join(format!("{name}.rs"));
        fs::write(&file, code).expect("cargo's directory is writable");
        let file = file.display().to_string();
        // It writes literals that do not fit their types.
        modules.push_str(&format!("#[allow(warnings, overflowing_literals)]\n#[path = {file:?}]\nmod {name};\n"));
        table.push_str(&format!("    ({name:?}, {dbc:?}, {name}::decode),\n"));
    }
    let cases = format!("{modules}static CASES: &[(&str, &str, Decode)] = &[\n{table}];\n");
    fs::write(Path::new(&out).join("cases.rs"), cases).expect("cargo's directory is writable");
}

/// The file without what dbc-codegen makes code of that does not compile: two messages whose names differ in case or
/// underscores only, and labels of negative numbers for unsigned signals.
fn mended(text: &str) -> String {
    let mut names = HashSet::new();
    let mut mended = String::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["VAL_", ..] if line.contains(" -") => continue,
            ["BO_", id, name, ..] => {
                let plain = name.trim_end_matches(':').replace('_', "").to_lowercase();
                let other = format!("{}x{id}:", name.trim_end_matches(':'));
                mended += &if names.insert(plain) { line.to_owned() } else { line.replacen(name, &other, 1) };
            }
            _ => mended += line,
        }
        mended.push('\n');
    }
    mended
}

/// `decode`: all accessors of the message with an identifier, as doubles, in the order of the file.
fn driver(code: &str) -> String {
    // What an enumeration of labels is made of.
    let mut plain: HashMap<&str, &str> = HashMap::new();
    for line in code.lines() {
        if let Some((from, to)) = line.strip_prefix("impl From<").and_then(|rest| rest.split_once("> for ")) {
            plain.insert(from, to.trim_end_matches(" {"));
        }
    }
    let mut messages: Vec<(&str, Vec<(&str, &str)>)> = Vec::new();
    for line in code.lines() {
        if let Some(name) = line.strip_prefix("impl ").and_then(|rest| rest.strip_suffix(" {")) {
            messages.push((name, Vec::new()));
        }
        let accessor = line.strip_prefix("    pub fn ").and_then(|rest| rest.strip_suffix(" {"));
        let Some((name, kind)) = accessor.and_then(|rest| rest.split_once("(&self) -> ")) else { continue };
        if !name.ends_with("_raw_val") && name != "raw" && !kind.starts_with('&') {
            messages.last_mut().expect("accessors are in an impl").1.push((name, kind));
        }
    }
    let mut text = String::from(
        "pub fn decode(id: Id, payload: &[u8], out: &mut [f64; 512]) -> usize {\n    match Messages::from_can_message(id, payload) {\n",
    );
    for (message, accessors) in messages.iter().filter(|(name, _)| *name != "Messages") {
        if !code.contains(&format!("    {message}({message}),\n")) {
            continue;
        }
        writeln!(text, "        Ok(Messages::{message}(m)) => {{").expect("strings can be written");
        for (i, (name, kind)) in accessors.iter().enumerate() {
            let value = match plain.get(kind) {
                Some(&"bool") => format!("f64::from(bool::from(m.{name}()))"),
                Some(to) => format!("{to}::from(m.{name}()) as f64"),
                None if *kind == "bool" => format!("f64::from(m.{name}())"),
                None => format!("m.{name}() as f64"),
            };
            writeln!(text, "            out[{i}] = {value};").expect("strings can be written");
        }
        writeln!(text, "            {}\n        }}", accessors.len()).expect("strings can be written");
    }
    text.push_str("        _ => 0,\n    }\n}\n");
    text
}
