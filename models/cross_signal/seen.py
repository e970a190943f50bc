"""What the training data had of a feature: by that the agent tells whether a vehicle shows it something else."""

import numpy as np

DECILES = np.arange(1, 10) / 10


def line(values):
    """The `seen` of a manifest's feature; `values` may have NaN. Bins between deciles, as far as those differ."""
    values = values[~np.isnan(values)]
    if not len(values):
        return []
    edges = np.unique(np.quantile(values, DECILES, method="inverted_cdf"))
    counts = np.bincount(np.searchsorted(edges, values, "right"), minlength=len(edges) + 1)
    numbers = lambda many: ", ".join(repr(float(one)) for one in many)  # noqa: E731
    shares = np.round(counts / len(values), 6)
    low, high = float(values.min()), float(values.max())
    return [f"seen = {{ min = {low!r}, max = {high!r}, edges = [{numbers(edges)}], shares = [{numbers(shares)}] }}"]
