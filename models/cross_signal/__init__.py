"""Trains a cross-signal model: each signal is predicted from the others, and what is left over is judged.

    spec.py      what the model looks at: TOML to features
    data.py      CSV files of `outrider features`, and labels of `evaluation inject`
    derive.py    ratios and angles that the graph makes of the features
    expect.py    stage one: what is expected of a signal, and how far off it usually is
    judge.py     stage two: which signal lies, from the residuals and their past
    graph.py     both stages as one ONNX graph
    package.py   the model's directory
    __main__.py  the order of things

The graph has a state: the residuals of each target, smoothed with three time constants. `models/README.md` says what the
inputs and outputs of such a graph are.
"""
