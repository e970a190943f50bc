use std::fs;

use super::*;

const TARGET: &str = "target = { scale = 2.0, severity = \"critical\" }";

const MANIFEST_TEXT: &str = r#"
format = 2
name = "m"
version = "1"
period_ms = 100
network = { file = "n.onnx", sha256 = "00" }
parity = { file = "p.json", sha256 = "00", tolerance = 1e-4 }
score = { from = "residual", smooth_ms = 500, threshold = 4.0 }
debounce = { k = 2, n = 3, clear_ms = 1000 }

[[feature]]
name = "speed"
fn = "value"
of = "Motor.Speed"
target = { scale = 2.0, severity = "critical" }

[[feature]]
name = "rate"
fn = "rate"
of = "Motor"
window_ms = 1000
"#;

fn manifest(text: &str) -> Result<Manifest, ModelError> {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(MANIFEST), text).unwrap();
    Manifest::load(dir.path())
}

#[test]
fn a_manifest_is_understood() {
    let manifest = manifest(MANIFEST_TEXT).unwrap();
    let [speed, rate] = &manifest.spec.features[..] else { panic!() };
    assert_eq!(speed.target.unwrap().class, crate::event::Class::Critical);
    assert_eq!((rate.spec.window, rate.target), (10, None));
}

#[test]
fn mistakes_in_a_manifest_are_named() {
    let cases = [
        ("format = 2", "format = 1", "format 2"),
        ("from = \"residual\"", "from = \"network\"", "smooths by itself"),
        ("from = \"residual\", smooth_ms = 500", "from = \"network\", fuse = \"max\"", "fuses by itself"),
        ("\"00\" }", "\"00\", state = 4 }", "network.state"),
        ("fn = \"value\"", "fn = \"values\"", "values"),
        ("fn = \"value\"", "fn = \"lag\"", "needs `window_ms`"),
        ("fn = \"rate\"", "fn = \"age\"", "takes no `window_ms`"),
        ("window_ms = 1000", "window_ms = 1050", "multiple of period_ms"),
        ("window_ms = 1000", "window_ms = 100000000", "at most"),
        ("k = 2", "k = 4", "1 ≤ k ≤ n"),
        ("n = 3", "n = 30000000", "1 ≤ k ≤ n"),
        ("tolerance = 1e-4", "tolerance = nan", "above zero"),
        ("tolerance = 1e-4", "tolerance = inf", "above zero"),
        ("threshold = 4.0", "threshold = nan", "above zero"),
        ("scale = 2.0", "scale = 0.0", "above zero"),
        ("severity = \"critical\"", "severity = \"bulk\"", "one of critical"),
        ("name = \"rate\"", "name = \"speed\"", "two features are named"),
        ("name = \"rate\"", "name = \"a,b\"", "comma"),
        (TARGET, "", "nothing to score"),
        ("n.onnx", "../n.onnx", "in the model's directory"),
        ("period_ms = 100", "period_ms = 0", "period_ms = 0"),
        ("name = \"m\"", "name = \"\"", "name: 1 to 64 bytes"),
        ("version = \"1\"", "version = \"1\\n\"", "version: 1 to 64 bytes"),
        ("of = \"Motor\"", "of = \"Motor\"\nonly_if = { signal = \"A\", is = 1 }", "not of the times"),
        ("of = \"Motor.Speed\"", "of = \"Motor.Speed\"\nonly_if = { signal = \"A\", is = nan }", "is a number"),
        ("tolerance = 1e-4", "tolerance = 2.0", "at most 0.1"),
        (TARGET, "seen = { min = 2, max = 1, edges = [], shares = [1] }", "min at most max"),
        (TARGET, "seen = { min = 1, max = 2, edges = [2, 1], shares = [0, 0, 1] }", "`edges` ascend"),
        (TARGET, "seen = { min = 1, max = 2, edges = [inf], shares = [0, 1] }", "finite"),
        (TARGET, "seen = { min = 1, max = 2, edges = [1], shares = [1] }", "one more than"),
        (TARGET, "seen = { min = 1, max = 2, edges = [1], shares = [0.4, 0.4] }", "together 1"),
        ("period_ms = 100", "period_ms = 100\nbudget_us = 0", "from 1 to 500000"),
        ("period_ms = 100", "period_ms = 100\nbudget_us = 500001", "from 1 to 500000"),
    ];
    for (from, to, word) in cases {
        let text = MANIFEST_TEXT.replacen(from, to, 1);
        assert_ne!(text, MANIFEST_TEXT);
        let error = manifest(&text).expect_err(to).to_string();
        assert!(error.contains(MANIFEST) && error.contains(word), "{to}: {error}");
    }
}

#[cfg(feature = "onnx")]
#[test]
fn bytes_that_are_no_network_are_an_error() {
    for bytes in [&b""[..], &[0xFF; 100], b"\x08\x07\x12\x04test\x3a\x02\x0a\x00"] {
        assert!(onnx::OnnxNetwork::new(bytes, Shape { inputs: 1, targets: 1, scores: false, state: 0 }).is_err());
    }
}

#[cfg(feature = "onnx")]
#[test]
fn every_shipped_model_loads() {
    let models = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    let dirs: Vec<_> = fs::read_dir(models).unwrap().map(|entry| entry.unwrap().path()).collect();
    let packages = dirs.iter().filter(|dir| dir.join(MANIFEST).exists());
    let loaded: Vec<_> = packages.map(|dir| load(dir).unwrap().0.spec.finder.clone()).collect();
    assert!(loaded.len() >= 2);
    assert!(loaded.iter().all(|finder| finder.hash.len() == 16), "{loaded:?}");
}

/// The shipped model, copied so that its files can be damaged one at a time.
#[cfg(feature = "onnx")]
fn copy_of_shipped() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/demo-vehicle")).unwrap()
    {
        let entry = entry.unwrap();
        fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
    }
    dir
}

#[cfg(feature = "onnx")]
#[test]
fn the_shipped_model_loads_and_any_change_of_it_is_found() {
    let dir = copy_of_shipped();
    let (manifest, _) = load(dir.path()).unwrap();
    let change = |file: &str, with: &dyn Fn(Vec<u8>) -> Vec<u8>| {
        let copy = copy_of_shipped();
        let path = copy.path().join(file);
        fs::write(&path, with(fs::read(&path).unwrap())).unwrap();
        load(copy.path()).err().unwrap_or_else(|| panic!("{file}: change not found"))
    };
    let flip = |mut bytes: Vec<u8>| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x10;
        bytes
    };
    assert!(matches!(change(&manifest.network.file, &flip), ModelError::Hash { .. }));
    assert!(matches!(change(&manifest.parity.file, &flip), ModelError::Hash { .. }));

    // A parity vector that does not fit, with the right hash: the network computes something else than it should.
    let copy = copy_of_shipped();
    let path = copy.path().join(&manifest.parity.file);
    let mut vector: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let first = vector["expected"][0].as_f64().unwrap();
    vector["expected"][0] = (first + 1.0).into();
    let bytes = serde_json::to_vec(&vector).unwrap();
    let hash: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
    fs::write(&path, &bytes).unwrap();
    let toml = copy.path().join(MANIFEST);
    fs::write(&toml, fs::read_to_string(&toml).unwrap().replace(&manifest.parity.sha256, &hash)).unwrap();
    assert!(matches!(load(copy.path()), Err(ModelError::Parity { index: 0, .. })));
}
