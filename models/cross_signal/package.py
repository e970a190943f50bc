"""The model's directory."""

import hashlib
import json
import subprocess

import numpy as np
import onnx

from . import judge, spec as specs

# A gear change or a bump can look wrong for a second, an attack lasts.
DEBOUNCE = {"k": 20, "n": 25, "clear_ms": 2000, "update_ms": 5000}
PARITY_ROWS = 40


def write(out, spec, mean, std, clean, network, rows, results, data, metrics):
    """`rows`: normalised inputs, one grid point after the other; `results`: expected, parts and score after the last."""
    # Before the model is written, as that is in the repository, too.
    sources = commit()
    out.mkdir(parents=True, exist_ok=True)
    (out / "model.onnx").write_bytes(network)
    expected, parts, score = results
    vector = {
        "inputs": [[float(value) for value in row] for row in rows],
        "expected": [float(value) for value in expected],
        "parts": [float(value) for value in parts],
        "score": float(score),
    }
    (out / "parity.json").write_text(json.dumps(vector) + "\n")
    state = len(judge.TIMES_S) * len(spec.targets)
    sha = lambda name: hashlib.sha256((out / name).read_bytes()).hexdigest()  # noqa: E731
    debounce = ", ".join(f"{key} = {value}" for key, value in DEBOUNCE.items())
    lines = [
        "# Written by `python -m cross_signal`; models/README.md says how. Do not change it by hand: train again.",
        "",
        "format = 2",
        f'name = "{spec.name}"',
        f'version = "{spec.version}"',
        f"period_ms = {spec.period_ms}",
        f"warmup_ms = {spec.warmup_ms}",
        f'network = {{ file = "model.onnx", sha256 = "{sha("model.onnx")}", state = {state} }}',
        f'parity = {{ file = "parity.json", sha256 = "{sha("parity.json")}", tolerance = 2e-3 }}',
        'score = { from = "network", threshold = 1.0 }',
        f"debounce = {{ {debounce} }}",
        "",
        "[provenance]",
        f'data = "{data}"',
        f'commit = "{sources}"',
        f'tool = "numpy {np.__version__}, onnx {onnx.__version__}"',
        *(f'{key} = "{value}"' for key, value in metrics.items()),
    ]
    lines += specs.feature_tables(spec, mean, std, clean)
    (out / "model.toml").write_text("\n".join(lines) + "\n")


def commit():
    """Of the sources, `unknown` outside of a repository."""
    try:
        command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
