"""Stage two: which target lies, from the residuals, their past and all else that the model sees.

Trained on recordings with attacks and faults put into them: it learns how much a residual of a size says in a state of the
vehicle, when a value should have moved, and which residuals come together. Its outputs are log-odds: one that anything is
wrong, and one a target.
"""

import numpy as np

from .expect import adam

TIMES_S = (1.0, 4.0, 12.0)  # constants of the smoothing of residuals
HIDDEN = (48, 24)
MEMBERS = 5  # of whose log-odds the lowest count: all have to agree that something is wrong
EPOCHS = 6
BATCH = 512
RATE = 2e-3
DECAY = 3e-2
NOISE = 0.15  # on the inputs while training, in their spreads
DOUBT = 0.02  # how far the goals are from certain
LINEAR = 2.0  # inputs beyond this many spreads grow logarithmically
MOST = 30.0  # log-odds are held to this
CERTAIN = 6.0  # log-odds more when times are beyond their limits: nothing else is as regular as a bus
STEEP = 1000.0


def shares(spec):
    """Of the newest residual in the smoothed one."""
    period = spec.period_ms / 1000
    return [np.float32(period / (time + period)) for time in TIMES_S]


def smooth(z, spec, starts):
    """The state after each row: residuals smoothed with each time constant, one beside the other."""
    out = np.empty((len(z), z.shape[1] * len(TIMES_S)), np.float32)
    state = np.zeros((len(TIMES_S), z.shape[1]), np.float32)
    share = np.array(shares(spec), np.float32)[:, None]
    for row in range(len(z)):
        if starts[row]:
            state = np.zeros_like(state)
        state = state + share * (z[row] - state)
        out[row] = state.ravel()
    return out


def soften(inputs):
    size = np.abs(inputs)
    return np.sign(inputs) * (np.minimum(size, LINEAR) + np.log(1 + np.maximum(size - LINEAR, 0)))


def inputs(x, z, smoothed):
    return soften(np.concatenate([x, z, smoothed], 1)).astype(np.float32)


def certain(x, spec, limits):
    """Whether the samples of each target come at times at which they never came, 0 or 1."""
    result = np.zeros((len(x), len(spec.targets)), np.float32)
    for it, target in timing(spec, limits):
        far = np.clip((x[:, it.column] - it.sure) * np.sign(it.slope) * np.float32(STEEP), 0, 1)
        result[:, target] = np.maximum(result[:, target], far)
    return result


def timing(spec, limits):
    """Pairs of a limit of time, and the target that it is of."""
    by_name = {target.name: index for index, target in enumerate(spec.targets)}
    pairs = []
    for it in limits:
        feature = spec.features[it.column]
        if feature.function != "run" and feature.signal in by_name:
            pairs.append((it, by_name[feature.signal]))
    return pairs


def verdict(logits, sure):
    """Log-odds of all together, and of each target."""
    parts = logits[:, 1:] + CERTAIN * sure
    return (logits[:, 1:].max(1) + logits[:, 0]) / 2 + CERTAIN * sure.max(1), parts


class Judge:
    """Networks that have to agree."""

    def __init__(self):
        self.members = []

    def fit(self, seen, wrong, seed):
        """`seen`: of `inputs`; `wrong`: a column a target."""
        goal = np.concatenate([wrong.max(1, keepdims=True), wrong], 1) * (1 - 2 * DOUBT) + DOUBT
        noise = np.random.default_rng([seed, MEMBERS]).standard_normal(seen.shape, dtype=np.float32)
        seen = seen + np.float32(NOISE) * seen.std(0) * noise
        for member in range(MEMBERS):
            self.members.append(_fit(seen, goal, np.random.default_rng([seed, member])))
        return self

    def __call__(self, seen):
        """Log-odds: first that anything is wrong, then a column a target."""
        return np.clip(np.min([_run(p, seen)[-1] for p in self.members], axis=0), -MOST, MOST)


def _run(p, seen):
    first = np.maximum(seen @ p["w1"] + p["b1"], 0)
    second = np.maximum(first @ p["w2"] + p["b2"], 0)
    return first, second, second @ p["w3"] + p["b3"]


def _fit(seen, goal, rng):
    sizes = [seen.shape[1], *HIDDEN, goal.shape[1]]
    p = {}
    for layer, (a, b) in enumerate(zip(sizes, sizes[1:]), 1):
        p[f"w{layer}"] = rng.normal(0, np.sqrt(2 / a), (a, b)).astype(np.float32)
        p[f"b{layer}"] = np.zeros(b, np.float32)
    p["w3"] *= np.float32(0.1)
    p["b3"] = np.log((goal.mean(0) + 1e-3) / (1 - goal.mean(0) + 1e-3)).astype(np.float32)
    first_moment = {name: np.zeros_like(values) for name, values in p.items()}
    second_moment = {name: np.zeros_like(values) for name, values in p.items()}
    # Each target as much as a share of what is said of all.
    weights = np.array([1.0] + [2.0 / (goal.shape[1] - 1)] * (goal.shape[1] - 1), np.float32)
    steps, step = EPOCHS * (len(seen) // BATCH), 0
    for _ in range(EPOCHS):
        order = rng.permutation(len(seen))
        for at in range(0, len(seen) - BATCH + 1, BATCH):
            rows = order[at : at + BATCH]
            x = seen[rows]
            first, second, out = _run(p, x)
            slope = (1 / (1 + np.exp(-np.clip(out, -MOST, MOST))) - goal[rows]) * weights / np.float32(BATCH)
            back2 = (slope @ p["w3"].T) * (second > 0)
            back1 = (back2 @ p["w2"].T) * (first > 0)
            gradients = {
                "w1": x.T @ back1, "b1": back1.sum(0), "w2": first.T @ back2, "b2": back2.sum(0),
                "w3": second.T @ slope, "b3": slope.sum(0),
            }
            step += 1
            adam(p, gradients, first_moment, second_moment, step, RATE * 0.5 * (1 + np.cos(np.pi * step / steps)) + 1e-5, DECAY)
    return p
