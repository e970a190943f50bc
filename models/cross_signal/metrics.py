"""How well a model does on folds that it has not seen, and the threshold that follows."""

import numpy as np

from .package import DEBOUNCE

ALERTS = 0  # of the clean folds,
MARGIN = 0.25  # and log-odds beyond that: a drive to come has its own surprises


class Report:
    def __init__(self, spec):
        self.spec, self.quiet, self.runs = spec, [], []

    def clean(self, times, odds):
        self.quiet.append((times, odds))

    def attacked(self, kind, times, odds, wrong):
        self.runs.append((kind, times, odds, wrong > 0))

    def threshold(self):
        """The lowest with no more than ALERTS on all clean folds, and a margin."""
        levels = np.unique(np.concatenate([odds for _, odds in self.quiet]))
        low, high = 0, len(levels) - 1
        while low < high:
            middle = (low + high) // 2
            if sum(len(alerts(times, odds, levels[middle])) for times, odds in self.quiet) <= ALERTS:
                high = middle
            else:
                low = middle + 1
        return float(levels[low]) + MARGIN

    def measures(self, threshold):
        """By kind: mean area under the ROC curve, and share of attacks found."""
        result = {}
        for kind in sorted({run[0] for run in self.runs}):
            areas, found = [], []
            for _, times, odds, wrong in (run for run in self.runs if run[0] == kind):
                any_wrong = wrong.any(1)
                areas.append(area(odds[any_wrong], odds[~any_wrong]))
                raised = np.array(alerts(times, odds, threshold))
                for column in range(wrong.shape[1]):
                    edges = np.diff(np.concatenate([[0], wrong[:, column].astype(int), [0]]))
                    for start, end in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)):
                        found.append(bool(((raised >= times[start]) & (raised < times[end - 1] + 2)).any()))
            result[kind] = float(np.mean(areas)), float(np.mean(found))
        return result

    def text(self, threshold):
        """By kind, with and without the margin."""
        shipped, lowest = self.measures(threshold), self.measures(threshold - MARGIN)
        lines = [f"on folds not seen, log-odds from {threshold:.2f} on ({ALERTS} alerts on the clean ones, {MARGIN} to spare):"]
        rows = [(kind, area, found, lowest[kind][1]) for kind, (area, found) in shipped.items()]
        rows.append(("mean", *np.mean([row[1:] for row in rows], axis=0)))
        lines += [f"  {kind:<12} AUC {area:.3f}, found {found:.2f}, with nothing to spare {all:.2f}" for kind, area, found, all in rows]
        return "\n".join(lines)

    def summary(self, threshold):
        """For the manifest."""
        measures = self.measures(threshold)
        areas = ", ".join(f"{kind} {area:.3f}" for kind, (area, _) in measures.items())
        return {"auc_on_unseen_folds": areas, "threshold_log_odds": f"{threshold:.3f}"}


def area(bad, good):
    """Under the ROC curve (Mann and Whitney 1947)."""
    good = np.sort(good)
    below = (np.searchsorted(good, bad, "left") + np.searchsorted(good, bad, "right")) / 2
    return float(below.mean() / len(good))


def alerts(times, odds, threshold):
    """When alerts are raised, as the engine's debounce does."""
    holds = odds >= threshold
    count = np.convolve(holds, np.ones(DEBOUNCE["n"]), "full")[: len(holds)]
    raised, row = [], 0
    while row < len(holds):
        candidates = np.flatnonzero((count[row:] >= DEBOUNCE["k"]) & holds[row:])
        if not len(candidates):
            break
        row += int(candidates[0])
        raised.append(times[row])
        last = row
        while row < len(holds) and times[row] - times[last] < DEBOUNCE["clear_ms"] / 1000:
            last = row if holds[row] else last
            row += 1
        row += DEBOUNCE["n"]
    return raised
