"""ONNX Runtime: the inference graphs as ONNX operators."""

from __future__ import annotations

import onnxruntime
from cases import EPS, Case, Feed
from onnx import TensorProto, helper, numpy_helper

from . import Run, Setting

OPSET, IR_VERSION = 17, 8  # old enough for any runtime in use


def prepare(case: Case, feed: Feed, setting: Setting) -> Run:
    """A session on two threads."""
    if case.kind == "linear":
        node = helper.make_node("Gemm", ["x", "w", "b"], ["y"])
    else:
        names = ["x", "gamma", "beta", "m", "s"]
        node = helper.make_node("BatchNormalization", names, ["y"], epsilon=EPS)
    x, y = (helper.make_tensor_value_info(k, TensorProto.FLOAT, feed["x"].shape) for k in "xy")
    weights = [numpy_helper.from_array(v, k) for k, v in feed.items() if k != "x"]
    graph = helper.make_graph([node], case.kind, [x], [y], weights)
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = setting.threads
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    inputs = {"x": feed["x"]}
    return Run(lambda: session.run(None, inputs), lambda outputs: {"y": outputs[0]})
