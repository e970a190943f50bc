"""Both stages as one ONNX graph; `agent/src/model/mod.rs` says what goes in and out."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from . import derive, expect, judge

OPSET = 17
TURN = 360.0


class Builder:
    """Nodes and constants by name."""

    def __init__(self):
        self.nodes, self.constants = [], []

    def constant(self, values, dtype=np.float32):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(values, dtype=dtype, order="C"), name))
        return name

    def row(self, values):
        return self.constant(np.asarray(values, np.float32).reshape(1, -1))

    def add(self, op, *inputs, out=None, **attributes):
        out = out or f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [out], **attributes))
        return out

    def split(self, x, sizes):
        """Columns of `x`, so many each."""
        outs = [f"n{len(self.nodes)}_{part}" for part in range(len(sizes))]
        self.nodes.append(helper.make_node("Split", [x, self.constant(sizes, np.int64)], outs, axis=1))
        return outs

    def affine(self, x, weights, bias):
        return self.add("Gemm", x, self.constant(weights), self.row(bias))

    def clip(self, x, low, high):
        return self.add("Clip", x, self.constant(np.float32(low)), self.constant(np.float32(high)))


def build(spec, mean, std, limits, expected, judged, threshold):
    """The graph's bytes. `threshold`: the log-odds from which it is an anomaly; the score is 1 there.

    An operation costs the engine more than the numbers in it: what can be done side by side, or by one matrix, is.
    """
    g = Builder()
    count = len(spec.targets)
    seen = linear(g, spec, mean, std, limits)
    x = derived(g, spec, limits, seen)
    means, scale = stage_one(g, spec, x, expected)
    g.add("Identity", means, out="expected")

    z = g.clip(g.add("Div", g.add("Sub", seen["value"], means), scale), -expect.MOST, expect.MOST)
    z = g.add("Mul", z, seen["flag"])
    shares = judge.shares(spec)
    newest = g.add("MatMul", z, g.constant(np.hstack([share * np.eye(count) for share in shares])))
    kept = g.row(np.repeat([1 - share for share in shares], count))
    g.add("Add", g.add("Mul", "state", kept), newest, out="next_state")

    logits = stage_two(g, g.add("Concat", x, z, "next_state", axis=1), judged)
    any_wrong, each = g.split(logits, [1, count])
    sure = certain(g, spec, limits, seen["far"])
    highest = g.add("ReduceMax", each, axes=[1], keepdims=1)
    half = g.add("Mul", g.add("Add", highest, any_wrong), g.constant(np.float32(0.5)))
    together = g.add("Add", half, g.add("ReduceMax", sure, axes=[1], keepdims=1))
    unit = g.constant(np.float32(np.log1p(np.exp(threshold))))
    g.add("Div", g.add("Softplus", g.add("Add", each, sure)), unit, out="parts")
    g.add("Div", g.add("Softplus", together), unit, out="score")

    info = lambda name, width: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, width])  # noqa: E731
    graph = helper.make_graph(
        g.nodes,
        spec.name,
        [info("x", len(spec.features)), info("state", len(shares) * count)],
        [info("expected", count), info("parts", count), info("score", 1), info("next_state", len(shares) * count)],
        g.constants,
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8, producer_name="outrider-train-cross-signal"
    )
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def linear(g, spec, mean, std, limits):
    """All that is a sum of weighted features, by name: with one matrix."""
    width = len(spec.features)
    blocks = {}

    def block(name, columns):
        """`columns`: a list a column, of (feature, weight), and a constant."""
        weights, bias = np.zeros((width, len(columns))), np.zeros(len(columns))
        for column, (terms, constant) in enumerate(columns):
            for feature, weight in terms:
                weights[feature, column] += weight
            bias[column] = constant
        if columns:
            blocks[name] = weights, bias

    plain = lambda feature: ([(feature, 1.0)], 0.0)  # noqa: E731
    for side in (0, 1):
        block(
            f"ratio {side}",
            [([(it.columns[side], std[it.columns[side]])], mean[it.columns[side]] + it.plus[side]) for it in spec.ratios],
        )
    turns = [
        ([(now, std[now] / TURN), (then, -std[then] / TURN)], (mean[now] - mean[then]) / TURN)
        for now, then in (angle.columns for angle in spec.angles)
    ]
    block("turns", turns)
    block("beyond", [([(it.column, it.slope)], -it.limit * it.slope) for it in limits])
    far = [(it, np.sign(it.slope) * judge.STEEP) for it, _ in judge.timing(spec, limits)]
    block("far", [([(it.column, slope)], -it.sure * slope) for it, slope in far])
    block("value", [plain(target.column) for target in spec.targets])
    block("flag", [plain(target.valid) for target in spec.targets])
    weights, bias = (np.concatenate(side, axis=-1) for side in zip(*blocks.values()))
    return dict(zip(blocks, g.split(g.affine("x", weights, bias), [len(bias) for _, bias in blocks.values()])))


def derived(g, spec, limits, seen):
    """As `derive.derive`, behind the features."""
    parts = ["x"]
    if spec.ratios:
        logs = [g.add("Log", g.add("Max", seen[f"ratio {side}"], g.constant(np.float32(1)))) for side in (0, 1)]
        parts.append(g.add("Sub", *logs))
    if spec.angles:
        rest = g.add("Sub", seen["turns"], g.add("Round", seen["turns"]))
        parts.append(g.add("Mul", rest, g.constant(np.float32(TURN / 45))))
    if limits:
        parts.append(g.clip(seen["beyond"], 0, derive.MOST_BEYOND))
    return g.add("Concat", *parts, axis=1) if len(parts) > 1 else parts[0]


def stage_one(g, spec, x, expected):
    """Means and scales of the targets: all members of all targets in one pass, then put together."""
    width = len(derive.sources(spec))
    count, members = len(spec.targets), expect.MEMBERS
    blocks = count * members
    w1 = np.zeros((width, blocks * expect.HIDDEN))
    b1 = np.zeros(blocks * expect.HIDDEN)
    w2 = np.zeros((2, blocks * expect.HIDDEN, blocks))
    ws = np.zeros((2, width, blocks))
    b = np.zeros((2, blocks))
    for target, (columns, parameters) in enumerate(expected.blocks):
        for member, p in enumerate(parameters):
            block = target * members + member
            units = slice(block * expect.HIDDEN, (block + 1) * expect.HIDDEN)
            w1[columns, units], b1[units] = p["w1"], p["b1"]
            for kind in (0, 1):
                w2[kind, units, block] = p["w2"][:, kind]
                ws[kind, columns, block] = p["ws"][:, kind]
                b[kind, block] = p["b"][kind]
    hidden = g.add("Tanh", g.affine(x, w1, b1))
    # Twice the logarithm of the scale is that of its square.
    both = lambda pair: np.concatenate([pair[0], 2 * pair[1]], axis=-1)  # noqa: E731
    out = g.add("Gemm", x, g.constant(both(ws)), g.affine(hidden, both(w2), both(b)))
    out, logs = g.split(out, [blocks, blocks])
    average = np.repeat(np.eye(count), members, axis=0) / members
    means = g.add("MatMul", out, g.constant(average))
    off = g.add("MatMul", out, g.constant(np.eye(blocks) - average @ np.repeat(np.eye(count), members, axis=1)))
    spread = g.add("Exp", g.clip(logs, *(2 * bound for bound in expect.LOG_SCALE)))
    squares = g.add("Add", spread, g.add("Mul", off, off))
    return means, g.add("Sqrt", g.add("MatMul", squares, g.constant(average)))


def stage_two(g, inputs, judged):
    """Log-odds: all members side by side up to the last layer, then the lowest of theirs."""
    # As `judge.soften`.
    near = g.clip(inputs, -judge.LINEAR, judge.LINEAR)
    beyond = g.add("Sub", inputs, near)
    log = g.add("Log", g.add("Add", g.add("Abs", beyond), g.constant(np.float32(1))))
    soft = g.add("Add", near, g.add("Mul", g.add("Sign", beyond), log))
    members = judged.members
    first = g.add("Relu", g.affine(soft, np.hstack([p["w1"] for p in members]), np.hstack([p["b1"] for p in members])))
    second = g.add("Relu", g.affine(first, diagonal([p["w2"] for p in members]), np.hstack([p["b2"] for p in members])))
    last = g.affine(second, diagonal([p["w3"] for p in members]), np.hstack([p["b3"] for p in members]))
    table = g.add("Reshape", last, g.constant([len(members), -1], np.int64))
    return g.clip(g.add("ReduceMin", table, axes=[0], keepdims=1), -judge.MOST, judge.MOST)


def diagonal(blocks):
    """One matrix with the blocks along its diagonal."""
    whole = np.zeros(np.sum([block.shape for block in blocks], axis=0))
    row = column = 0
    for block in blocks:
        rows, columns = block.shape
        whole[row : row + rows, column : column + columns] = block
        row, column = row + rows, column + columns
    return whole


def certain(g, spec, limits, far):
    """As `judge.certain`, in log-odds."""
    pairs = judge.timing(spec, limits)
    to_target = np.zeros((len(pairs), len(spec.targets)))
    for row, (_, target) in enumerate(pairs):
        to_target[row, target] = judge.CERTAIN
    return g.clip(g.add("MatMul", g.clip(far, 0, 1), g.constant(to_target)), 0, judge.CERTAIN)
