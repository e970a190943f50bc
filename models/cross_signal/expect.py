"""Stage one: what is expected of each target, and how far off that usually is in the state that the vehicle is in.

A target is Student's t around a mean, with a scale, both of one tanh layer beside a linear path over what the target may be
predicted from. Heavy tails keep gear changes and potholes from widening the scale of all times.
"""

import numpy as np

from .derive import seen_by

HIDDEN = 12
MEMBERS = 3  # whose disagreement widens the scale: what was never seen is not judged
EPOCHS = 15
BATCH = 256
RATE = 3e-3
DECAY = 5e-3
DROP = 0.1  # share of inputs left out while training: no single one may carry a prediction
DEGREES = 4.0  # of freedom
LOG_SCALE = (-6.0, 3.0)
MOST = 20.0  # a residual in scales is held to this


class Expect:
    """One block a target; as arrays, so that the graph can take them."""

    def __init__(self, spec):
        self.spec = spec
        self.blocks = []

    def fit(self, x, value, usable, seed):
        """`x`: all columns; `value`: of the targets, normalised; `usable`: where there is one."""
        for j, target in enumerate(self.spec.targets):
            rng = np.random.default_rng([seed, j])
            columns = seen_by(self.spec, target)
            rows = usable[:, j]
            members = [_fit(x[rows][:, columns], value[rows, j], rng) for _ in range(MEMBERS)]
            self.blocks.append((columns, members))
        return self

    def __call__(self, x):
        """Means and scales, a column a target."""
        means, scales = [], []
        for columns, members in self.blocks:
            outs = np.stack([_run(p, x[:, columns])[1] for p in members])
            mean = outs[:, :, 0].mean(0)
            squares = np.exp(2 * np.clip(outs[:, :, 1], *LOG_SCALE)) + (outs[:, :, 0] - mean) ** 2
            means.append(mean)
            scales.append(np.sqrt(squares.mean(0)))
        return np.stack(means, 1), np.stack(scales, 1)


def _run(p, x):
    hidden = np.tanh(x @ p["w1"] + p["b1"])
    return hidden, hidden @ p["w2"] + x @ p["ws"] + p["b"]


def residuals(means, scales, value, usable):
    """In scales; 0 where there is no value."""
    return np.where(usable, np.clip((value - means) / scales, -MOST, MOST), 0).astype(np.float32)


def _fit(x, y, rng):
    n, width = x.shape
    a = np.column_stack([x, np.ones(n)]).astype(float)
    start = np.linalg.solve(a.T @ a + 1e-2 * n * np.eye(width + 1), a.T @ y)
    p = {
        "w1": rng.normal(0, 1 / np.sqrt(width), (width, HIDDEN)),
        "b1": rng.normal(0, 0.5, HIDDEN),
        "w2": rng.normal(0, 0.1, (HIDDEN, 2)),
        "ws": np.column_stack([start[:-1], np.zeros(width)]),
        "b": np.array([start[-1], np.log(np.std(y - a @ start) + 1e-3)]),
    }
    p = {name: values.astype(np.float32) for name, values in p.items()}
    first = {name: np.zeros_like(values) for name, values in p.items()}
    second = {name: np.zeros_like(values) for name, values in p.items()}
    steps, step = EPOCHS * (n // BATCH), 0
    for _ in range(EPOCHS):
        order = rng.permutation(n)
        for at in range(0, n - BATCH + 1, BATCH):
            rows = order[at : at + BATCH]
            seen = x[rows] * (rng.random((BATCH, width), np.float32) >= DROP)
            hidden, out = _run(p, seen)
            scale = np.exp(np.clip(out[:, 1], *LOG_SCALE))
            z = (y[rows] - out[:, 0]) / scale
            weight = (DEGREES + 1) / (DEGREES + z * z)
            most = 5 / np.maximum(scale, 0.02)
            slope = np.stack([np.clip(-weight * z / scale, -most, most), 1 - weight * z * z], 1).astype(np.float32) / BATCH
            back = (slope @ p["w2"].T) * (1 - hidden * hidden)
            gradients = {"w1": seen.T @ back, "b1": back.sum(0), "w2": hidden.T @ slope, "ws": seen.T @ slope, "b": slope.sum(0)}
            step += 1
            adam(p, gradients, first, second, step, RATE * 0.5 * (1 + np.cos(np.pi * step / steps)) + 1e-5, DECAY)
    return p


def adam(p, gradients, first, second, step, rate, decay):
    """One step of AdamW (Loshchilov and Hutter 2019); biases do not decay."""
    for name, gradient in gradients.items():
        first[name] += np.float32(0.1) * (gradient - first[name])
        second[name] += np.float32(0.001) * (gradient * gradient - second[name])
        size = first[name] / np.float32(1 - 0.9**step) / (np.sqrt(second[name] / np.float32(1 - 0.999**step)) + np.float32(1e-8))
        if p[name].ndim == 2:
            size = size + np.float32(decay) * p[name]
        p[name] -= np.float32(rate) * size
