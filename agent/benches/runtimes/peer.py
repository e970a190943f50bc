"""The same grid points through onnxruntime, beside what `main.rs` made of them."""

import json
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime

print(f"| model | tract: median, p99 | onnxruntime {onnxruntime.__version__}: median, p99 | ratio of medians | largest difference |")
print("|---|---|---|---|---|")
fine = True
for path in sorted(Path(sys.argv[1]).glob("*.json")):
    ours = json.loads(path.read_text())
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(ours["model"], options, providers=["CPUExecutionProvider"])
    names = [it.name for it in session.get_inputs()]
    state = np.zeros(session.get_inputs()[1].shape, np.float32) if len(names) > 1 else None
    times, worst = [], 0.0
    for row, expected in zip(ours["inputs"], ours["outputs"]):
        given = {names[0]: np.array([row], np.float32)}
        if state is not None:
            given[names[1]] = state
        start = time.perf_counter_ns()
        results = session.run(None, given)
        times.append(time.perf_counter_ns() - start)
        if state is not None:
            results, state = results[:-1], results[-1]
        flat = np.concatenate([result.ravel() for result in results]).astype(float)
        # In units of what is computed, where that is more than 1.
        worst = max(worst, float(np.max(np.abs(flat - expected) / np.maximum(1, np.abs(flat)))))
    mine, theirs = np.array(ours["nanoseconds"]) / 1e3, np.array(times) / 1e3
    both = [f"{np.median(t):.1f} µs, {np.quantile(t, 0.99):.1f} µs" for t in (mine, theirs)]
    print(f"| {path.stem} | {both[0]} | {both[1]} | {np.median(mine) / np.median(theirs):.2f} | {worst:.1e} |")
    fine &= worst <= 1e-5
sys.exit(0 if fine else "outputs differ by more than 1e-5")
