//! A model directory made for a drive: what `outrider` loads, with random weights.
//!
//! The network is an autoencoder 18-14-7-7-18 as in the literature on driving data. ONNX is Protocol
//! Buffers; the few fields that such a network needs are written here by hand:
//!
//! ```text
//! ModelProto  1 ir_version  7 graph  8 opset_import { 2 version }
//! GraphProto  1 node  2 name  5 initializer  11 input  12 output
//! NodeProto   1 input  2 output  4 op_type
//! TensorProto 1 dims  2 data_type  8 name  9 raw_data
//! ValueInfo   1 name  2 type { 1 tensor_type { 1 elem_type  2 shape { 1 dim { 1 dim_value } } } }
//! ```

use std::fmt::Write;
use std::fs;
use std::path::Path;

use outrider::model::MANIFEST;
use sha2::{Digest, Sha256};

use crate::drive::Drive;

const LAYERS: [usize; 5] = [18, 14, 7, 7, 18];

/// Writes the model for `drive` into the new directory `dir`.
pub(crate) fn write(dir: &Path, drive: &Drive) {
    let mut rng = fastrand::Rng::with_seed(1);
    let layers: Vec<Layer> = LAYERS.windows(2).map(|pair| Layer::random(pair[0], pair[1], &mut rng)).collect();
    let input: Vec<f32> = (0..LAYERS[0]).map(|_| rng.f32() - 0.5).collect();
    let last = layers.len() - 1;
    let output = layers.iter().enumerate().fold(input.clone(), |x, (i, layer)| layer.run(&x, i < last));

    let network = onnx(&layers);
    let parity = serde_json::to_vec(&serde_json::json!({ "inputs": [input], "expected": output })).unwrap();
    let manifest = manifest(drive, &network, &parity);
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join("model.onnx"), network).unwrap();
    fs::write(dir.join("parity.json"), parity).unwrap();
    fs::write(dir.join(MANIFEST), manifest).unwrap();
}

/// Features over signals that change in the drive, with their normalisation; a threshold that is never reached, as on
/// a drive without faults.
fn manifest(drive: &Drive, network: &[u8], parity: &[u8]) -> String {
    let mut totals = vec![(0.0, 0.0, 0.0); drive.catalog.signal_count()];
    drive.samples(|id, sample| {
        let total = &mut totals[id.0 as usize];
        *total = (total.0 + 1.0, total.1 + sample.value, total.2 + sample.value * sample.value);
    });
    let spread = |&(n, sum, squares): &(f64, f64, f64)| (squares / n - (sum / n) * (sum / n)).sqrt();
    let moving: Vec<u32> = (0..).zip(&totals).filter(|(_, total)| spread(total) > 1e-3).map(|(id, _)| id).collect();

    let mut text = format!(
        "format = 2\nname = \"mlp\"\nversion = \"1\"\nperiod_ms = 100\nwarmup_ms = 2000\n\
         network = {{ file = \"model.onnx\", sha256 = \"{}\" }}\n\
         parity = {{ file = \"parity.json\", sha256 = \"{}\", tolerance = 1e-4 }}\n\
         score = {{ from = \"residual\", smooth_ms = 500, threshold = 1e300 }}\n\
         debounce = {{ k = 3, n = 5, clear_ms = 1000 }}\n",
        hash(network),
        hash(parity)
    );
    for i in 0..LAYERS[0] {
        // Spread over all of the signals.
        let id = moving[i * moving.len() / LAYERS[0]];
        let total = &totals[id as usize];
        let (function, mean) = [
            ("value\"", total.1 / total.0),
            ("mean\"\nwindow_ms = 500", total.1 / total.0),
            ("std\"\nwindow_ms = 1000", 0.0),
            ("delta\"\nwindow_ms = 500", 0.0),
            ("max\"\nwindow_ms = 1000", total.1 / total.0),
        ][i % 5];
        let signal = drive.catalog.signal_names(&[outrider::engine::SignalId(id)]).remove(0);
        let spread = spread(total);
        write!(
            text,
            "\n[[feature]]\nname = \"f{i}\"\nof = \"{signal}\"\nfn = \"{function}\n\
             mean = {mean:?}\nstd = {spread:?}\ntarget = {{ scale = {spread:?} }}\n"
        )
        .unwrap();
    }
    text
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Fully connected: `weights` is row-major, inputs × outputs.
struct Layer {
    inputs: usize,
    outputs: usize,
    weights: Vec<f32>,
    bias: Vec<f32>,
}

impl Layer {
    fn random(inputs: usize, outputs: usize, rng: &mut fastrand::Rng) -> Self {
        let mut numbers = |n: usize| (0..n).map(|_| rng.f32() - 0.5).collect();
        Self { inputs, outputs, weights: numbers(inputs * outputs), bias: numbers(outputs) }
    }

    fn run(&self, x: &[f32], relu: bool) -> Vec<f32> {
        let output = |j: usize| {
            let sum: f32 = x.iter().zip(self.weights.iter().skip(j).step_by(self.outputs)).map(|(x, w)| x * w).sum();
            let y = sum + self.bias[j];
            if relu { y.max(0.0) } else { y }
        };
        (0..self.outputs).map(output).collect()
    }
}

fn onnx(layers: &[Layer]) -> Vec<u8> {
    let last = layers.len() - 1;
    let mut graph = Message::default();
    for (i, layer) in layers.iter().enumerate() {
        let (x, w, b) = (format!("x{i}"), format!("w{i}"), format!("b{i}"));
        let (sum, y) = (format!("s{i}"), format!("x{}", i + 1));
        let out = if i < last { &sum } else { &y };
        graph = graph.message(1, Message::node("Gemm", &[&x, &w, &b], out));
        if i < last {
            graph = graph.message(1, Message::node("Relu", &[&sum], &y));
        }
        graph = graph
            .message(5, Message::tensor(&w, &[layer.inputs, layer.outputs], &layer.weights))
            .message(5, Message::tensor(&b, &[layer.outputs], &layer.bias));
    }
    graph = graph
        .text(2, "mlp")
        .message(11, Message::value_info("x0", LAYERS[0]))
        .message(12, Message::value_info(&format!("x{}", layers.len()), layers[last].outputs));
    Message::default().number(1, 8).message(7, graph).message(8, Message::default().number(2, 13)).0
}

/// A message of Protocol Buffers.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(mut self, mut value: u64) -> Self {
        while value >= 0x80 {
            self.0.push(u8::try_from(value & 0x7F).unwrap() | 0x80);
            value >>= 7;
        }
        self.0.push(u8::try_from(value).unwrap());
        self
    }

    fn number(self, field: u64, value: u64) -> Self {
        self.varint(field << 3).varint(value)
    }

    fn bytes(self, field: u64, bytes: &[u8]) -> Self {
        let mut message = self.varint(field << 3 | 2).varint(bytes.len() as u64);
        message.0.extend_from_slice(bytes);
        message
    }

    fn text(self, field: u64, text: &str) -> Self {
        self.bytes(field, text.as_bytes())
    }

    fn message(self, field: u64, inner: Self) -> Self {
        self.bytes(field, &inner.0)
    }

    fn node(operator: &str, inputs: &[&str], output: &str) -> Self {
        let node = inputs.iter().fold(Self::default(), |node, input| node.text(1, input));
        node.text(2, output).text(4, operator)
    }

    fn tensor(name: &str, dims: &[usize], values: &[f32]) -> Self {
        let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let tensor = dims.iter().fold(Self::default(), |tensor, &dim| tensor.number(1, dim as u64));
        tensor.number(2, 1).text(8, name).bytes(9, &raw)
    }

    fn value_info(name: &str, width: usize) -> Self {
        let dim = |n: usize| Self::default().number(1, n as u64);
        let shape = Self::default().message(1, dim(1)).message(1, dim(width));
        let tensor = Self::default().number(1, 1).message(2, shape);
        Self::default().text(1, name).message(2, Self::default().message(1, tensor))
    }
}
