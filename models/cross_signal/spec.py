"""What a model looks at."""

import tomllib
from dataclasses import dataclass, field

from . import seen

# Normalisation that does not come from the data: (mean, std). Counts and times are wanted up to where something is wrong,
# which clean data do not show; a flag is wanted as it is.
FIXED = {"run": (0.0, 3.0), "valid": (0.0, 1.0)}
HEADING = (180.0, 45.0)


@dataclass
class Feature:
    """One column of `outrider features`."""

    name: str
    function: str
    of: str
    signal: str  # of the specification
    window_ms: int = 0
    max_age_ms: int = 1000
    only_if: dict | None = None


@dataclass
class Ratio:
    """log((a + plus[0]) / (b + plus[1])) at one time."""

    name: str
    columns: tuple[int, int]
    plus: tuple[float, float]
    signals: tuple[str, str]


@dataclass
class Angle:
    """Change of a heading, wrapped to -180 to 180."""

    name: str
    columns: tuple[int, int]
    signal: str


@dataclass
class Target:
    """A signal that is predicted and judged."""

    name: str
    of: str
    column: int  # of its value
    valid: int  # of its validity
    severity: str


@dataclass
class Spec:
    name: str
    version: str
    period_ms: int
    warmup_ms: int
    features: list[Feature] = field(default_factory=list)
    ratios: list[Ratio] = field(default_factory=list)
    angles: list[Angle] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    angle_signals: list[str] = field(default_factory=list)

    @property
    def names(self):
        return [feature.name for feature in self.features]

    def column(self, name):
        try:
            return self.names.index(name)
        except ValueError:
            raise SystemExit(f"no feature {name}") from None


def read(path):
    """The specification at `path`."""
    with open(path, "rb") as file:
        raw = tomllib.load(file)
    spec = Spec(raw["name"], raw["version"], raw["period_ms"], raw["warmup_ms"])
    signals = {}
    for table in raw["signal"]:
        signals[table["name"]] = table
        _signal(spec, table)
    if len(set(spec.names)) != len(spec.names):
        raise SystemExit(f"{path}: a feature name is there twice")
    for table in raw.get("ratio", []):
        a, b = table["of"]
        for lag in [0, *table.get("lags_ms", [])]:
            columns = tuple(spec.column(name if lag == 0 else f"{name}-{lag}") for name in (a, b))
            spec.ratios.append(Ratio(f"{table['name']}-{lag}", columns, tuple(table["plus"]), (a, b)))
    for name in spec.angle_signals:
        for lag in signals[name]["lags_ms"]:
            spec.angles.append(Angle(f"{name}Change-{lag}", (spec.column(name), spec.column(f"{name}-{lag}")), name))
    return spec


def _signal(spec, table):
    name, of = table["name"], table["of"]

    def add(suffix, function, window_ms=0):
        spec.features.append(
            Feature(name + suffix, function, of, name, window_ms, table.get("max_age_ms", 1000), table.get("only_if"))
        )
        return len(spec.features) - 1

    value = add("", "value")
    for lag in table.get("lags_ms", []):
        add(f"-{lag}", "lag", lag)
    means = [add(f"~{window}", "mean", window) for window in table.get("means_ms", [])]
    for window in table.get("stds_ms", []):
        add(f"^{window}", "std", window)
    if table.get("run"):
        add(".run", "run")
    if table.get("age"):
        add(".age", "age")
    if table.get("gap"):
        add(".gap", "gap")
    if "rate_ms" in table:
        add(".rate", "rate", table["rate_ms"])
    if table.get("angle"):
        spec.angle_signals.append(name)
    if table.get("valid") or table.get("target"):
        valid = add(".valid", "valid")
    if table.get("target"):
        # What is noisy is judged by its mean.
        column = means[0] if means else value
        spec.targets.append(Target(name, of, column, valid, table.get("severity", "alert")))


def feature_tables(spec, mean=None, std=None, clean=None):
    """The [[feature]] tables of a feature file, or of a manifest when `mean`, `std` and the `clean` table are given."""
    lines = []
    targets = {target.column: target for target in spec.targets}
    for index, feature in enumerate(spec.features):
        lines += ["", "[[feature]]", f'name = "{feature.name}"', f'fn = "{feature.function}"', f'of = "{feature.of}"']
        if feature.window_ms:
            lines.append(f"window_ms = {feature.window_ms}")
        lines.append(f"max_age_ms = {feature.max_age_ms}")
        if feature.only_if and feature.function not in ("age", "gap", "rate"):
            lines.append(f'only_if = {{ signal = "{feature.only_if["signal"]}", is = {float(feature.only_if["is"])} }}')
        if mean is not None:
            lines += [f"mean = {float(mean[index])!r}", f"std = {float(std[index])!r}"]
            if index in targets:
                lines.append(f'target = {{ severity = "{targets[index].severity}" }}')
            lines += seen.line(clean[:, index])
    return lines
