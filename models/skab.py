"""F1 on SKAB (Skoltech Anomaly Benchmark: a pump with valves, https://github.com/waico/SKAB) of cross-signal models, under the
protocol of its leaderboard: for each file, train on its first 400 rows; all rows of all files count.

Each file goes through the agent as a vehicle's bus would: its rows become CAN FD frames, `outrider features` writes what is
trained on, and `outrider score` judges. The model is the first stage of `cross_signal` for so little data: each signal
predicted from the others by ridge regression; residuals in their own spread, smoothed, their root mean square is the score,
and the largest of the training rows the threshold. The temperatures are left out: they follow the room and the hour, which 400
seconds do not show.
"""

import argparse
import csv
import hashlib
import json
import struct
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ROWS = 400
RIDGE = 1.0  # a row
SMOOTH_MS = 10_000
LEFT_OUT = ("Temperature", "Thermocouple")
START = 1_700_000_000


def read(path):
    """Names of the sensors, their values, and which rows are anomalies; `None` of files without labels."""
    with path.open() as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    if "anomaly" not in rows[0]:
        return None
    names = [name for name in rows[0] if name not in ("datetime", "anomaly", "changepoint")]
    values = np.array([[float(row[name]) for name in names] for row in rows])
    return names, values, np.array([float(row["anomaly"]) > 0 for row in rows])


def write_bus(work, names, values):
    """A frame a row, in the middle of its second, and the DBC file for it."""
    clean = [name.replace(" ", "_") for name in names]
    lines = ['VERSION ""', "BU_: A", "BO_ 256 Rig: 32 A"]
    lines += [f' SG_ {name} : {32 * i}|32@1- (1,0) [0|0] "" A' for i, name in enumerate(clean)]
    lines += [f"SIG_VALTYPE_ 256 {name} : 1;" for name in clean]
    (work / "rig.dbc").write_text("\n".join(lines) + "\n")
    frames = (struct.pack("<8f", *row).hex().upper() for row in values)
    log = [f"({START + second}.500000) can0 100##0{frame}" for second, frame in enumerate(frames)]
    (work / "rig.log").write_text("\n".join(log) + "\n")
    (work / "rig.toml").write_text('[vehicle]\nid = "rig"\n[[bus]]\nname = "can0"\ndbc = ["rig.dbc"]\n')
    return [name for name in clean if name not in LEFT_OUT]


def features(names):
    tables = [f'\n[[feature]]\nname = "{name}"\nfn = "value"\nof = "Rig.{name}"\nmax_age_ms = 2000\n' for name in names]
    return "period_ms = 1000\n", tables


def run(outrider, *arguments):
    """The table that a command prints, without its header: one row a grid point, and there is one for each row of the file
    but the last, whose grid point comes with the next frame."""
    text = subprocess.run([outrider, *map(str, arguments)], capture_output=True, text=True, check=True).stdout
    rows = [[float(cell or "nan") for cell in line.split(",")] for line in text.splitlines()[1:]]
    table = np.array(rows)
    # The first grid points come before the first frame.
    return table[table[:, 0] > START]


def sha(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def train(work, names, table):
    """Writes the model."""
    seen = table[:ROWS, 1:]
    mean, std = seen.mean(0), seen.std(0) + 1e-9
    x = (seen - mean) / std
    width = len(names)
    weights = np.zeros((width, width))
    for j in range(width):
        others = [i for i in range(width) if i != j]
        a = x[:, others]
        weights[others, j] = np.linalg.solve(a.T @ a + RIDGE * len(a) * np.eye(width - 1), a.T @ x[:, j])
    weights = weights.astype(np.float32)
    scale = (x - x @ weights).std(0) * std
    model = work / "model"
    model.mkdir(exist_ok=True)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["expected"])],
        "rig",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, width])],
        [helper.make_tensor_value_info("expected", TensorProto.FLOAT, [1, width])],
        [numpy_helper.from_array(weights, "w")],
    )
    network = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (model / "model.onnx").write_bytes(network.SerializeToString())
    row = x[0].astype(np.float32)
    vector = {"inputs": [[float(v) for v in row]], "expected": [float(v) for v in row @ weights]}
    (model / "parity.json").write_text(json.dumps(vector))
    head = [
        "format = 2",
        'name = "rig"',
        'version = "1"',
        "period_ms = 1000",
        "warmup_ms = 0",
        f'network = {{ file = "model.onnx", sha256 = "{sha(model / "model.onnx")}" }}',
        f'parity = {{ file = "parity.json", sha256 = "{sha(model / "parity.json")}", tolerance = 1e-4 }}',
        f'score = {{ from = "residual", fuse = "rms", smooth_ms = {SMOOTH_MS}, threshold = 1.0 }}',
        "debounce = { k = 1, n = 1, clear_ms = 1000 }",
        "[provenance]",
    ]
    _, tables = features(names)
    tables = [
        f"{table}mean = {float(mean[i])!r}\nstd = {float(std[i])!r}\ntarget = {{ scale = {float(scale[i])!r} }}\n"
        for i, table in enumerate(tables)
    ]
    (model / "model.toml").write_text("\n".join(head) + "\n" + "".join(tables))
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="SKAB's folder `data`")
    parser.add_argument("--outrider", default="outrider", help="the program")
    arguments = parser.parse_args()
    found, anomalies = [], []
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        for path in sorted(arguments.data.rglob("*.csv")):
            file = read(path)
            if file is None:
                continue
            sensors, values, wrong = file
            names = write_bus(work, sensors, values)
            period, tables = features(names)
            (work / "features.toml").write_text(period + "".join(tables))
            table = run(arguments.outrider, "features", work / "rig.log", "-c", work / "rig.toml", "--features", work / "features.toml")
            model = train(work, names, table)
            scores = run(arguments.outrider, "score", work / "rig.log", "--model", model, "--dbc", work / "rig.dbc")[:, 1]
            # The last row has no grid point after it.
            found.append(scores > scores[:ROWS].max())
            anomalies.append(wrong[: len(scores)])
            assert len(wrong) - len(scores) <= 1, f"{path}: {len(wrong)} rows, {len(scores)} scores"
    found, anomalies = np.concatenate(found), np.concatenate(anomalies)
    hits = (found & anomalies).sum()
    f1 = 2 * hits / (found.sum() + anomalies.sum())
    false, missed = (found & ~anomalies).sum() / (~anomalies).sum(), 1 - hits / anomalies.sum()
    print(f"F1 {f1:.3f}, false alarms {100 * false:.1f} %, missed {100 * missed:.1f} % of {len(anomalies)} rows")


if __name__ == "__main__":
    main()
