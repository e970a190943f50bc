"""What the graph makes of the normalised features before anything else: ratios, angles, and what is beyond anything seen.

Runs, ages, gaps and rates of a healthy vehicle have a limit that it never crosses: how far one is beyond that limit says more
than the value does, and is 0 at all other times. That of gaps is below.
"""

from dataclasses import dataclass

import numpy as np

from .data import CLIP

BEYOND = 4.0  # units a spread
MOST_BEYOND = 8.0
MARGIN = 0.04
NEARLY_ALL = 0.9995  # of clean grid points are within the limits
FAR_ABOVE, FAR_BELOW = 1.5, 0.6  # times the largest, or smallest, on clean grid points
WITH_LIMIT = ("run", "age", "gap", "rate")


def derive(x, spec, mean, std, limits):
    """Columns behind those of `x`: ratios, angles, then what is beyond a limit; float32."""
    columns = []
    raw = lambda column: x[:, column] * std[column] + mean[column]  # noqa: E731
    for ratio in spec.ratios:
        parts = [np.log(np.maximum(raw(c) + np.float32(p), np.float32(1))) for c, p in zip(ratio.columns, ratio.plus)]
        columns.append(parts[0] - parts[1])
    for angle in spec.angles:
        change = raw(angle.columns[0]) - raw(angle.columns[1])
        columns.append((change - np.float32(360) * np.round(change / np.float32(360))) / np.float32(45))
    for it in limits:
        columns.append(np.minimum(np.maximum((x[:, it.column] - it.limit) * it.slope, 0), MOST_BEYOND))
    return np.stack(columns, 1).astype(np.float32) if columns else np.zeros((len(x), 0), np.float32)


@dataclass
class Limit:
    """Of one normalised feature."""

    column: int
    limit: np.float32  # hardly ever crossed
    sure: np.float32  # never, by far
    slope: np.float32  # positive where the limit is an upper one


def limits_of(x, spec, mean, std):
    """Of each feature that has one; `x` is clean and normalised."""
    limits = []
    for column, feature in enumerate(spec.features):
        values = x[:, column]
        if feature.function in WITH_LIMIT:
            low, high = np.quantile(values, [1 - NEARLY_ALL, NEARLY_ALL])
            below = feature.function == "gap"
            limit, sign = (low - MARGIN, -1) if below else (high + MARGIN, 1)
            extreme = (values.min() if below else values.max()) * std[column] + mean[column]
            sure = (extreme * (FAR_BELOW if below else FAR_ABOVE) - mean[column]) / std[column]
            # The engine clips what is further out.
            sure = np.clip(sure, -0.98 * CLIP, 0.98 * CLIP)
            limits.append(Limit(column, np.float32(limit), np.float32(sure), np.float32(sign * BEYOND)))
    return limits


def sources(spec):
    """Of which signals each column of features and derived columns is made."""
    of = [{feature.signal} for feature in spec.features]
    of += [set(ratio.signals) for ratio in spec.ratios] + [{angle.signal} for angle in spec.angles]
    return of + [{feature.signal} for feature in spec.features if feature.function in WITH_LIMIT]


def seen_by(spec, target):
    """The columns from which a target is predicted: none of its own but the age of the sample."""
    own_age = f"{target.name}.age"
    names = spec.names
    expected_of = len(names) + len(spec.ratios) + len(spec.angles)
    return [
        column
        for column, of in enumerate(sources(spec)[:expected_of])
        if target.name not in of or (column < len(names) and names[column] == own_age)
    ]

