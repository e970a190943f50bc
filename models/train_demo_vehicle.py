"""Trains the demonstration model: a small residual network over features of the simulated vehicle.

Each target is predicted from the features named in its `from`; a fault shows as a difference between what a
sensor says and what the others imply. Input are CSV files of `outrider features` (header `t,<names>`, a row a
grid point, an empty cell where a feature is not valid) from clean drives. Output is a model directory:

    model.onnx    y = W2 tanh(W1 x + b1) + Ws x + b, float32; x and y normalised
    model.toml    features in the order of x, normalisation, targets in the order of y, scales, threshold
    parity.json   an input and the output that the graph must give for it

The graph ends at y. What is made of it is the engine's work and repeated here to set scales and threshold:

    r_j     = |target_j - y_j| / scale_j; 0 while target_j is not valid
    e_j     = e_j + (r_j - e_j) * period / (smooth + period), from 0
    score   = max_j e_j; anomalous above `threshold`

Invalid inputs count as their mean, that is 0 when normalised. The same input files give the same model on the
same machine and numpy: one seed, one thread.
"""

import argparse
import csv
import hashlib
import json
import os
import tomllib
from pathlib import Path

# Before numpy loads: with several threads the order of sums, and so the last digits, would vary between machines.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from cross_signal import seen

HIDDEN = 10  # tanh units of a target
EPOCHS = 20
BATCH = 512
RATE = 4e-3
SEED = 20261121
QUANTILE = 0.999  # of the smoothed residual of clean drives: the scale of a target,
PEAK = 0.7  # unless it is less than this share of the largest one
MARGIN = 1.6  # threshold over the largest score of all these clean drives
WARM_UP = 100  # grid points before the first score: until then not all messages have come
RATE_TOLERANCE = 0.04  # smallest scale of a message rate, as a share of the rate


def read_spec(path):
    """The features in the order of the graph's input; rates come last."""
    with open(path, "rb") as file:
        spec = tomllib.load(file)
    features = list(spec["feature"])
    for message, window in spec["rates"].items():
        features.append({"name": f"{message}Rate", "fn": "rate", "of": message, "message": True,
                         "window_ms": window, "max_age_ms": 0, "from": []})
    names = [feature["name"] for feature in features]
    if len(set(names)) != len(names):
        raise SystemExit(f"{path}: a feature name is used twice")
    for feature in features:
        for source in feature.get("from", []):
            if source not in names:
                raise SystemExit(f"{path}: {feature['name']}: no feature {source} for its `from`")
            if names.index(source) == names.index(feature["name"]):
                raise SystemExit(f"{path}: {feature['name']} would be predicted from itself")
    return spec, features


def read_csv(path, names):
    """Rows of a `features` CSV as floats, columns in the order of `names`, NaN where not valid."""
    with open(path, newline="") as file:
        header = next(csv.reader([file.readline()]))
        if header[0] != "t" or sorted(header[1:]) != sorted(names):
            raise SystemExit(f"{path}: its columns are not the features of the specification; export it again")
        rows = [[float(cell) if cell else np.nan for cell in line.rstrip("\r\n").split(",")] for line in file]
    return np.array(rows)[:, [header.index(name) for name in names]]


class Network:
    """One tanh layer in blocks, one block a target, beside a linear path; masks keep the blocks apart."""

    def __init__(self, inputs, sources):
        rng = np.random.default_rng(SEED)
        outputs = len(sources)
        self.mask_skip = np.zeros((outputs, inputs))
        for j, columns in enumerate(sources):
            self.mask_skip[j, columns] = 1
        # Targets without sources, the rates, are constants and need no block.
        blocks = [j for j, columns in enumerate(sources) if columns]
        self.mask1 = np.repeat(self.mask_skip[blocks], HIDDEN, axis=0)
        self.mask2 = np.repeat(np.eye(outputs)[:, blocks], HIDDEN, axis=1)
        fan = np.maximum(self.mask1.sum(1, keepdims=True), 1)
        self.w1 = rng.normal(0, 1, self.mask1.shape) * self.mask1 / np.sqrt(fan)
        self.b1 = np.zeros(len(self.mask1))
        self.w2 = rng.normal(0, 0.1, self.mask2.shape) * self.mask2
        self.skip = np.zeros_like(self.mask_skip)
        self.bias = np.zeros(outputs)
        self.rng = rng

    def fit_linear(self, x, t, usable):
        """Least squares a target, with a little ridge: several sources are nearly the same quantity."""
        for j in range(len(self.bias)):
            columns = np.flatnonzero(self.mask_skip[j])
            rows = usable[:, j]
            a = np.column_stack([x[np.ix_(rows, columns)], np.ones(rows.sum())])
            ridge = 1e-9 * len(a) * np.eye(a.shape[1])
            solution = np.linalg.solve(a.T @ a + ridge, a.T @ t[rows, j])
            self.skip[j, columns], self.bias[j] = solution[:-1], solution[-1]

    def fit_tanh(self, x, t, usable):
        """Adam on what the linear path leaves, each target in units of its own spread (Huber loss)."""
        left = np.where(usable, t - x @ self.skip.T - self.bias, 0)
        spread = np.sqrt((left**2).sum(0) / np.maximum(usable.sum(0), 1)) + 1e-9
        left /= spread
        # Each unit bends where there is data: half of them somewhere between the extremes, which a cold start
        # reaches and random rows hardly ever show, half at random rows.
        centres = x[self.rng.integers(0, len(x), len(self.b1))]
        extremes = self.rng.uniform(x.min(0), x.max(0), centres.shape)
        centres[::2] = extremes[::2]
        self.b1 = -(self.w1 * centres).sum(1)
        x, left, usable = (values.astype(np.float32) for values in (x, left, usable))
        self.w1, self.b1, self.w2 = (p.astype(np.float32) for p in (self.w1, self.b1, self.w2))
        mask1, mask2 = self.mask1.astype(np.float32), self.mask2.astype(np.float32)
        bias = np.zeros(len(self.bias), np.float32)
        parameters = [self.w1, self.b1, self.w2, bias]
        first = [np.zeros_like(p) for p in parameters]
        second = [np.zeros_like(p) for p in parameters]
        steps = EPOCHS * (len(x) // BATCH)
        step = 0
        for _ in range(EPOCHS):
            order = self.rng.permutation(len(x))
            for start in range(0, len(x) - BATCH + 1, BATCH):
                rows = order[start : start + BATCH]
                hidden = np.tanh(x[rows] @ self.w1.T + self.b1)
                error = hidden @ self.w2.T + bias - left[rows]
                slope = np.clip(error, -3, 3) * usable[rows] / np.float32(BATCH)
                back = (slope @ self.w2) * (1 - hidden**2)
                gradients = [back.T @ x[rows] * mask1, back.sum(0), slope.T @ hidden * mask2, slope.sum(0)]
                step += 1
                rate = np.float32(RATE * 0.5 * (1 + np.cos(np.pi * step / steps)) + 1e-6)
                for p, g, m, v in zip(parameters, gradients, first, second):
                    m += np.float32(0.1) * (g - m)
                    v += np.float32(0.001) * (g * g - v)
                    step_size = rate / np.float32(1 - 0.9**step)
                    p -= step_size * m / (np.sqrt(v / np.float32(1 - 0.999**step)) + np.float32(1e-8))
        self.w2 = self.w2 * spread[:, None]
        self.bias += bias * spread

    def to_float32(self):
        for name in ("w1", "b1", "w2", "skip", "bias"):
            setattr(self, name, getattr(self, name).astype(np.float32))

    def __call__(self, x):
        return np.tanh(x @ self.w1.T + self.b1) @ self.w2.T + (x @ self.skip.T + self.bias)


def smooth(residual, valid, share):
    """The engine's exponential smoothing; what is not valid says nothing, so its state decays."""
    out = np.empty_like(residual)
    state = np.zeros(residual.shape[1])
    for row in range(len(residual)):
        state = state + (np.where(valid[row], residual[row], 0) - state) * share
        out[row] = state
    return out


def export_onnx(network, path):
    def constant(name, values):
        return numpy_helper.from_array(np.ascontiguousarray(values, dtype=np.float32), name)

    outputs, inputs = network.skip.shape
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["x", "w1", "b1"], ["h"], transB=1),
            helper.make_node("Tanh", ["h"], ["a"]),
            helper.make_node("Gemm", ["x", "ws", "b"], ["s"], transB=1),
            helper.make_node("Gemm", ["a", "w2", "s"], ["y"], transB=1),
        ],
        "demo-vehicle",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, inputs])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, outputs])],
        [constant("w1", network.w1), constant("b1", network.b1[None]), constant("w2", network.w2),
         constant("ws", network.skip), constant("b", network.bias[None])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8,
                              producer_name="outrider-train-demo-vehicle")
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def number(value):
    """Shortest text that is the same float32."""
    text = str(np.float32(value))
    return text if "." in text or "e" in text else text + ".0"


def feature_lines(feature):
    """The tables that `outrider features` and the manifest share."""
    lines = ["", "[[feature]]", f'name = "{feature["name"]}"', f'fn = "{feature["fn"]}"', f'of = "{feature["of"]}"']
    return lines + [f"{key} = {feature[key]}" for key in ("window_ms", "max_age_ms") if feature.get(key)]


def write_features(path, spec, features):
    """The feature file for `outrider features`."""
    lines = [f"period_ms = {spec['period_ms']}"]
    for feature in features:
        lines += feature_lines(feature)
    path.write_text("\n".join(lines) + "\n")


def write_parity(path, row, result):
    """JSON: one normalised input and its output."""
    vector = {"inputs": [[float(value) for value in row]], "expected": [float(value) for value in result]}
    path.write_text(json.dumps(vector) + "\n")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_manifest(path, spec, features, raw, mean, std, targets, scales, threshold, network, parity, provenance):
    lines = [
        "# Written by models/train_demo_vehicle.py from models/demo-vehicle.features.toml: change those and train again.",
        "",
        "format = 2",
        'name = "demo-vehicle"',
        f'version = "{spec["version"]}"',
        f"period_ms = {spec['period_ms']}",
        f"warmup_ms = {WARM_UP * spec['period_ms']}",
        f'network = {{ file = "model.onnx", sha256 = "{network}" }}',
        f'parity = {{ file = "parity.json", sha256 = "{parity}", tolerance = 1e-4 }}',
        f"score = {{ from = \"residual\", smooth_ms = {spec['smooth_ms']}, threshold = {number(threshold)} }}",
        "debounce = { k = 3, n = 5, clear_ms = 2000, update_ms = 5000 }",
        "",
        "[provenance]",
        *(f'{key} = "{value}"' for key, value in provenance.items()),
    ]
    for index, feature in enumerate(features):
        lines += feature_lines(feature)
        lines += [f"mean = {number(mean[index])}", f"std = {number(std[index])}"]
        if index in targets:
            severity = f', severity = "{feature["severity"]}"' if "severity" in feature else ""
            lines.append(f"target = {{ scale = {number(scales[targets.index(index)])}{severity} }}")
        lines += seen.line(raw[:, index])
    path.write_text("\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--features", type=Path, required=True, help="specification, TOML")
    parser.add_argument("--write-features", type=Path, help="only write the file for `outrider features` and end")
    parser.add_argument("--train", type=Path, nargs="+", default=[], help="CSV files of clean drives")
    parser.add_argument("--validate", type=Path, nargs="+", default=[], help="CSV files of other clean drives")
    parser.add_argument("--out", type=Path, help="model directory to write")
    parser.add_argument("--data", default="clean drives of the simulated vehicle", help="where the data is from")
    arguments = parser.parse_args()

    spec, features = read_spec(arguments.features)
    if arguments.write_features:
        write_features(arguments.write_features, spec, features)
        return
    if not (arguments.train and arguments.validate and arguments.out):
        parser.error("--train, --validate and --out are needed to train")
    names = [feature["name"] for feature in features]
    targets = [index for index, feature in enumerate(features) if "from" in feature]
    sources = [[names.index(source) for source in features[index]["from"]] for index in targets]
    share = spec["period_ms"] / (spec["smooth_ms"] + spec["period_ms"])

    raw = np.concatenate([read_csv(path, names) for path in arguments.train])
    # float32 as they stand in model.toml, so that the engine normalises with the same numbers.
    mean = np.nanmean(raw, axis=0).astype(np.float32).astype(float)
    std = np.nanstd(raw, axis=0).astype(np.float32).astype(float)
    for index, feature in enumerate(features):
        if feature["fn"] == "rate":
            std[index] = max(std[index], RATE_TOLERANCE * mean[index])
        std[index] = np.float32(std[index]) if std[index] > 1e-9 else 1.0

    def prepare(rows):
        x = (rows - mean) / std
        valid = ~np.isnan(x)
        usable = np.column_stack([valid[:, index] & valid[:, columns].all(1) for index, columns in zip(targets, sources)])
        return np.where(valid, x, 0), valid[:, targets], usable

    x, _, usable = prepare(raw)
    network = Network(len(names), sources)
    network.fit_linear(x, x[:, targets], usable)
    network.fit_tanh(x, x[:, targets], usable)
    network.to_float32()

    residuals = []
    # A small network and many rows: the drives it was fitted to show the same residuals as others, and rare events
    # decide over scales, so all of them count.
    for path in arguments.train + arguments.validate:
        x, valid, _ = prepare(read_csv(path, names))
        x = x.astype(np.float32)
        residuals.append(smooth(np.abs(x[:, targets] - network(x)), valid, share))
    # Sources of the first seconds are not all valid yet; the engine sees the same, so nothing is left out but them.
    calm = np.concatenate([residual[WARM_UP:] for residual in residuals])
    scales = np.maximum(np.quantile(calm, QUANTILE, axis=0), PEAK * calm.max(0))
    for j, index in enumerate(targets):
        floor = features[index].get("floor", 0.0)
        if features[index]["fn"] == "rate":
            floor = RATE_TOLERANCE * mean[index]
        scales[j] = max(np.float32(scales[j]), floor / std[index], 1e-4)
    largest = (calm / scales).max(0)
    threshold = MARGIN * largest.max()
    for j in np.argsort(largest)[::-1][:8]:
        print(f"largest clean residual: {names[targets[j]]} {largest[j]:.2f} scales of {scales[j] * std[targets[j]]:.4g}")

    arguments.out.mkdir(parents=True, exist_ok=True)
    digest = export_onnx(network, arguments.out / "model.onnx")
    provenance = {
        "data": arguments.data,
        "train": ", ".join(path.stem for path in arguments.train),
        "validate": ", ".join(path.stem for path in arguments.validate),
        "features_sha256": hashlib.sha256(arguments.features.read_bytes()).hexdigest(),
        "tool": f"train_demo_vehicle.py, numpy {np.__version__}, onnx {onnx.__version__}",
    }
    row = x[len(x) // 2]
    parity = write_parity(arguments.out / "parity.json", row, network(row[None])[0])
    # Scales stand in the manifest in each feature's own unit.
    in_units = [scale * std[index] for scale, index in zip(scales, targets)]
    write_manifest(arguments.out / "model.toml", spec, features, raw, mean, std, targets, in_units, threshold, digest, parity, provenance)
    print(f"{len(names)} features, {len(targets)} targets, threshold {threshold:.3f}, written to {arguments.out}")


if __name__ == "__main__":
    main()
