"""Both stages as one ONNX graph; `agent/src/model/mod.rs` says what goes in and out."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from . import derive, expect, judge

OPSET = 17


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

    def columns(self, x, which):
        return self.add("Gather", x, self.constant(which, np.int64), axis=1)

    def affine(self, x, weights, bias):
        return self.add("Gemm", x, self.constant(weights), self.row(bias))

    def clip(self, x, low, high):
        return self.add("Clip", x, self.constant(np.float32(low)), self.constant(np.float32(high)))


def build(spec, mean, std, limits, expected, judged, threshold):
    """The graph's bytes. `threshold`: the log-odds from which it is an anomaly; the score is 1 there."""
    g = Builder()
    count = len(spec.targets)
    x = derived(g, spec, mean, std, limits)
    means, scale = stage_one(g, spec, x, expected)
    g.add("Identity", means, out="expected")

    value = g.columns("x", [target.column for target in spec.targets])
    flag = g.columns("x", [target.valid for target in spec.targets])
    z = g.clip(g.add("Div", g.add("Sub", value, means), scale), -expect.MOST, expect.MOST)
    z = g.add("Mul", z, flag)
    times = len(judge.TIMES_S)
    tiled = g.add("Concat", *[z] * times, axis=1)
    share = g.row(np.repeat(judge.shares(spec), count))
    g.add("Add", "state", g.add("Mul", share, g.add("Sub", tiled, "state")), out="next_state")

    logits = stage_two(g, g.add("Concat", x, z, "next_state", axis=1), judged)
    any_wrong = g.columns(logits, [0])
    each = g.columns(logits, range(1, count + 1))
    sure = certain(g, spec, limits)
    weight = g.constant(np.float32(judge.CERTAIN))
    each_sure = g.add("Add", each, g.add("Mul", weight, sure))
    highest = g.add("ReduceMax", each, axes=[1], keepdims=1)
    half = g.add("Mul", g.add("Add", highest, any_wrong), g.constant(np.float32(0.5)))
    together = g.add("Add", half, g.add("Mul", weight, g.add("ReduceMax", sure, axes=[1], keepdims=1)))
    unit = g.constant(np.float32(np.log1p(np.exp(threshold))))
    g.add("Div", g.add("Softplus", each_sure), unit, out="parts")
    g.add("Div", g.add("Softplus", together), unit, out="score")

    info = lambda name, width: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, width])  # noqa: E731
    graph = helper.make_graph(
        g.nodes,
        spec.name,
        [info("x", len(spec.features)), info("state", times * count)],
        [info("expected", count), info("parts", count), info("score", 1), info("next_state", times * count)],
        g.constants,
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8, producer_name="outrider-train-cross-signal"
    )
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def derived(g, spec, mean, std, limits):
    """As `derive.derive`, behind the features."""
    raw = lambda which: g.add("Add", g.add("Mul", g.columns("x", which), g.row(std[which])), g.row(mean[which]))  # noqa: E731
    parts = ["x"]
    if spec.ratios:
        logs = []
        for side in (0, 1):
            which = [ratio.columns[side] for ratio in spec.ratios]
            shifted = g.add("Add", raw(which), g.row([ratio.plus[side] for ratio in spec.ratios]))
            logs.append(g.add("Log", g.add("Max", shifted, g.constant(np.float32(1)))))
        parts.append(g.add("Sub", *logs))
    if spec.angles:
        sides = [raw([angle.columns[side] for angle in spec.angles]) for side in (0, 1)]
        change = g.add("Sub", *sides)
        turn = g.constant(np.float32(360))
        turns = g.add("Mul", turn, g.add("Round", g.add("Div", change, turn)))
        parts.append(g.add("Div", g.add("Sub", change, turns), g.constant(np.float32(45))))
    if limits:
        over = g.add("Sub", g.columns("x", [it.column for it in limits]), g.row([it.limit for it in limits]))
        parts.append(g.clip(g.add("Mul", over, g.row([it.slope for it in limits])), 0, derive.MOST_BEYOND))
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
    out = [g.add("Gemm", x, g.constant(ws[kind]), g.affine(hidden, w2[kind], b[kind])) for kind in (0, 1)]
    average = np.repeat(np.eye(count), members, axis=0) / members
    means = g.add("MatMul", out[0], g.constant(average))
    off = g.add("Sub", out[0], g.add("MatMul", means, g.constant(np.repeat(np.eye(count), members, axis=1))))
    logs = g.clip(out[1], *expect.LOG_SCALE)
    squares = g.add("Add", g.add("Exp", g.add("Add", logs, logs)), g.add("Mul", off, off))
    return means, g.add("Sqrt", g.add("MatMul", squares, g.constant(average)))


def stage_two(g, inputs, judged):
    """Log-odds: all members side by side up to the last layer, then the lowest of theirs."""
    size, most = g.add("Abs", inputs), g.constant(np.float32(judge.LINEAR))
    beyond = g.add("Relu", g.add("Sub", size, most))
    log = g.add("Log", g.add("Add", beyond, g.constant(np.float32(1))))
    soft = g.add("Mul", g.add("Sign", inputs), g.add("Add", g.add("Min", size, most), log))
    members = judged.members
    first = g.add("Relu", g.affine(soft, np.hstack([p["w1"] for p in members]), np.hstack([p["b1"] for p in members])))
    sizes = [p["w2"].shape for p in members]
    w2 = np.zeros((sum(a for a, _ in sizes), sum(b for _, b in sizes)))
    row = column = 0
    for p, (a, b) in zip(members, sizes):
        w2[row : row + a, column : column + b] = p["w2"]
        row, column = row + a, column + b
    second = g.add("Relu", g.affine(first, w2, np.hstack([p["b2"] for p in members])))
    outs, column = [], 0
    for p in members:
        own = range(column, column + len(p["w3"]))
        outs.append(g.affine(g.columns(second, own), p["w3"], p["b3"]))
        column += len(p["w3"])
    return g.clip(g.add("Min", *outs), -judge.MOST, judge.MOST)


def certain(g, spec, limits):
    """As `judge.certain`."""
    pairs = judge.timing(spec, limits)
    far = g.add("Sub", g.columns("x", [it.column for it, _ in pairs]), g.row([it.sure for it, _ in pairs]))
    far = g.clip(g.add("Mul", far, g.row([np.sign(it.slope) * judge.STEEP for it, _ in pairs])), 0, 1)
    to_target = np.zeros((len(pairs), len(spec.targets)))
    for row, (_, target) in enumerate(pairs):
        to_target[row, target] = 1
    return g.clip(g.add("MatMul", far, g.constant(to_target)), 0, 1)
