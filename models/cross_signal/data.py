"""Features and labels from files."""

import csv

import numpy as np

CLIP = 8.0  # as the engine clips
OUTAGE_SHARE = 0.1


def features(path, names):
    """Times, and one row of float64 a grid point, NaN where a feature could not be computed."""
    with open(path, newline="") as file:
        header = file.readline().rstrip("\r\n").split(",")
        text = file.read()
    if header[0] != "t" or header[1:] != names:
        raise SystemExit(f"{path}: its columns are not the features of the specification; export it again")
    # Empty cells: numpy reads `nan` a hundred times faster than Python can.
    text = text.replace(",,", ",nan,").replace(",,", ",nan,").replace(",\n", ",nan\n").replace("\n", ",")
    table = np.fromstring(text.rstrip(","), sep=",").reshape(-1, len(header))
    return table[:, 0], table[:, 1:]


def labels(path, targets):
    """For each target the spans (start, end) in which it was attacked."""
    spans = {target.name: [] for target in targets}
    by_signal = {target.of: target.name for target in targets}
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            if row["victim"] not in by_signal:
                raise SystemExit(f"{path}: {row['victim']} is no target of the specification")
            spans[by_signal[row["victim"]]].append((float(row["start"]), float(row["end"])))
    return spans


def attacked(times, spans, targets):
    """One column of 0 and 1 a target."""
    result = np.zeros((len(times), len(targets)), np.float32)
    for column, target in enumerate(targets):
        for start, end in spans[target.name]:
            result[(times >= start) & (times < end), column] = 1
    return result


def normalisation(table, spec):
    """Mean and spread of each feature. Spreads are of the middle 98 %, as some of what is measured has long tails."""
    from .spec import FIXED, HEADING

    mean, std = np.zeros(table.shape[1]), np.ones(table.shape[1])
    for column, feature in enumerate(spec.features):
        values = table[np.isfinite(table[:, column]), column]
        if feature.function in FIXED:
            mean[column], std[column] = FIXED[feature.function]
        elif feature.signal in spec.angle_signals:
            mean[column], std[column] = HEADING
        elif len(values):
            low, middle, high = np.quantile(values, [0.01, 0.5, 0.99])
            mean[column] = middle if feature.function in ("age", "gap", "rate") else values.mean()
            spread = max(values.std(), (high - low) / 4, 1e-3)
            # A bus that keeps its times has no spread: what counts is how many periods are missing, or how many times
            # too many frames come.
            # And ages are wanted up to well beyond the longest.
            std[column] = {"age": max(spread, middle, values.max() / 5), "gap": middle / 4, "rate": max(spread, middle / 2)}.get(feature.function, spread)
    return mean.astype(np.float32), std.astype(np.float32)


PAUSE_S = 60.0  # the engine begins anew after a hole of this length


def starts(times):
    """Where the engine begins anew."""
    return np.concatenate([[True], np.diff(times) > PAUSE_S])


def since_start(times):
    """Seconds since it did."""
    return times - times[np.maximum.accumulate(np.where(starts(times), np.arange(len(times)), 0))]


def usable(x, spec):
    """Where each target has a value: what its flag says."""
    return x[:, [target.valid for target in spec.targets]] > 0.5


def normalise(table, mean, std):
    """What the network sees: as the engine computes it."""
    with np.errstate(invalid="ignore"):
        normal = (table - mean.astype(float)) / std.astype(float)
    return np.clip(np.nan_to_num(normal, nan=0.0), -CLIP, CLIP).astype(np.float32)


def with_outages(table, wrong, spec, rng):
    """The same with times in which what a sender may call invalid is so, as it is in tunnels and after a start.

    A recording may have few of them, or none; the model has to know them. Nothing is wrong with a signal then.
    """
    table, wrong = table.copy(), wrong.copy()
    length = len(table)
    out = np.zeros(length, bool)
    while out.mean() < OUTAGE_SHARE:
        start = rng.integers(length)
        out[start : start + rng.integers(100, 900)] = True
    for column, feature in enumerate(spec.features):
        if not feature.only_if or feature.function in ("age", "gap", "rate"):
            continue
        late = feature.window_ms // spec.period_ms if feature.function == "lag" else 0
        there = np.concatenate([np.zeros(late, bool), out[: length - late]])
        table[there, column] = 0 if feature.function == "valid" else np.nan
    invalid = {feature.signal for feature in spec.features if feature.only_if}
    for column, target in enumerate(spec.targets):
        if target.name in invalid:
            wrong[out, column] = 0
    return table, wrong
