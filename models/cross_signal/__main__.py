"""Trains a model from a clean recording and the same with attacks in it, all as CSV of `outrider features`."""

import argparse
import os
from pathlib import Path

# Before numpy loads: with several threads the order of sums, and so the last digits, would vary between machines.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np  # noqa: E402

from . import data, derive, expect, graph, judge, metrics, package, spec as specs  # noqa: E402

FOLDS = 3
SEED = 20261122


class Eyes:
    """From a table of features to what the networks see: normalisation and limits are those of a clean table."""

    def __init__(self, spec, clean):
        self.spec = spec
        self.mean, self.std = data.normalisation(clean, spec)
        self.limits = derive.limits_of(data.normalise(clean, self.mean, self.std), spec, self.mean, self.std)

    def __call__(self, table):
        x = data.normalise(table, self.mean, self.std)
        return np.concatenate([x, derive.derive(x, self.spec, self.mean, self.std, self.limits)], 1)


def expectations(eyes, clean, rows, seed):
    """Stage one, of some rows of the clean table, and of the same with outages."""
    spec = eyes.spec
    nothing = np.zeros((len(clean), len(spec.targets)), np.float32)
    outages, _ = data.with_outages(clean, nothing, spec, np.random.default_rng([seed, 99]))
    x = np.concatenate([eyes(clean)[rows], eyes(outages)[rows]])
    return expect.Expect(spec).fit(x, values(x, spec), data.usable(x, spec), seed)


def values(x, spec):
    return x[:, [target.column for target in spec.targets]]


def look(eyes, expected, times, table):
    """What the judge sees of a table, and what is certain without it."""
    spec, x = eyes.spec, eyes(table)
    means, scales = expected(x)
    z = expect.residuals(means, scales, values(x, spec), data.usable(x, spec))
    return judge.inputs(x, z, judge.smooth(z, spec, data.starts(times))), judge.certain(x, spec, eyes.limits)


def fold_of(times, clean_times):
    """Parts with as many clean grid points each, however long the pauses between drives are."""
    place = np.searchsorted(clean_times, times) * FOLDS // len(clean_times)
    return np.minimum(place, FOLDS - 1)


def train(spec, clean_times, clean, runs, use, seed):
    """Both stages on the folds `use`. The judge also sees residuals of expectations that have not seen their rows: those of
    rows that were trained on are smaller than those of a drive to come."""
    folds = fold_of(clean_times, clean_times)
    rows = np.isin(folds, use)
    eyes = Eyes(spec, clean[rows])
    full = expectations(eyes, clean, rows, seed)
    others = {fold: expectations(eyes, clean, rows & (folds != fold), seed + 1 + fold) for fold in use}
    seen, wrong = [], []
    for number, (times, table, attacked) in enumerate(runs):
        if number % 3 == 0:
            table, attacked = data.with_outages(table, attacked, spec, np.random.default_rng([seed, number]))
        for fold in use:
            # Every second grid point: the ones between say the same.
            part = fold_of(times, clean_times) == fold
            part[number % 2 :: 2] = False
            inputs, _ = look(eyes, full if number % 2 else others[fold], times, table)
            seen.append(inputs[part])
            wrong.append(attacked[part])
    judged = judge.Judge().fit(np.concatenate(seen), np.concatenate(wrong), seed)
    return eyes, full, judged


def log_odds(model, times, table):
    eyes, expected, judged = model
    inputs, sure = look(eyes, expected, times, table)
    return judge.verdict(judged(inputs), sure)


def main():
    parser = argparse.ArgumentParser(prog="cross_signal", description=__doc__)
    parser.add_argument("--spec", type=Path, required=True, help="what the model looks at, TOML")
    parser.add_argument("--write-features", type=Path, help="only write the file for `outrider features`, and end")
    parser.add_argument("--write-victims", action="store_true", help="only print the signals to attack, and end")
    parser.add_argument("--clean", type=Path, help="features of the clean recording")
    parser.add_argument("--attacked", type=Path, nargs="+", default=[], help="features of attacked ones, KIND-N.csv, labels beside them")
    parser.add_argument("--out", type=Path, help="the model's directory")
    parser.add_argument("--data", default="", help="where the recording is from")
    arguments = parser.parse_args()
    spec = specs.read(arguments.spec)
    if arguments.write_features:
        lines = [f"period_ms = {spec.period_ms}", *specs.feature_tables(spec)]
        arguments.write_features.write_text("\n".join(lines) + "\n")
        return
    if arguments.write_victims:
        print(",".join(target.of for target in spec.targets))
        return
    if not (arguments.clean and arguments.attacked and arguments.out):
        parser.error("--clean, --attacked and --out are needed to train")

    clean_times, clean = data.features(arguments.clean, spec.names)
    runs, kinds = [], []
    for path in sorted(arguments.attacked):
        times, table = data.features(path, spec.names)
        spans = data.labels(path.with_suffix(".labels.csv"), spec.targets)
        runs.append((times, table.astype(np.float32), data.attacked(times, spans, spec.targets)))
        kinds.append(path.name.split("-")[0])
    print(f"{len(clean)} clean grid points, {len(spec.features)} features, {len(runs)} attacked recordings", flush=True)

    # What it is worth, and from which log-odds on it is an anomaly: by models that have not seen what they judge.
    report = metrics.Report(spec)
    warm = data.since_start(clean_times) >= spec.warmup_ms / 1000
    for fold in range(FOLDS):
        held = [i for i in range(len(runs)) if i % 4 == 3]
        rest = [runs[i] for i in range(len(runs)) if i % 4 != 3]
        model = train(spec, clean_times, clean, rest, [f for f in range(FOLDS) if f != fold], SEED + 10 * fold)
        rows = (fold_of(clean_times, clean_times) == fold) & warm
        report.clean(clean_times[rows], log_odds(model, clean_times, clean)[0][rows])
        for i in held:
            times, table, attacked = runs[i]
            rows = fold_of(times, clean_times) == fold
            report.attacked(kinds[i], times[rows], log_odds(model, times, table)[0][rows], attacked[rows])
        print(f"fold {fold} of {FOLDS}", flush=True)
    threshold = report.threshold()
    print(report.text(threshold), flush=True)

    model = train(spec, clean_times, clean, runs, list(range(FOLDS)), SEED + 100)
    eyes, expected, judged = model
    network = graph.build(spec, eyes.mean, eyes.std, eyes.limits, expected, judged, threshold)
    # An attack is in it, so that all of the graph is.
    start = int(np.flatnonzero(runs[0][2].any(1))[0])
    table = runs[0][1][start : start + package.PARITY_ROWS]
    odds, parts = log_odds(model, runs[0][0][start : start + package.PARITY_ROWS], table)
    unit = np.log1p(np.exp(threshold))
    softplus = lambda v: np.log1p(np.exp(v)) / unit  # noqa: E731
    results = expected(eyes(table))[0][-1], softplus(parts[-1]), softplus(odds[-1])
    rows = data.normalise(table, eyes.mean, eyes.std)
    summary = report.summary(threshold)
    package.write(arguments.out, spec, eyes.mean, eyes.std, clean, network, rows, results, arguments.data, summary)


if __name__ == "__main__":
    main()
