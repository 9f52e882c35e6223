"""A graph that reads the first token alone says the same, by fewer tokens."""

from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
pytest.importorskip("onnxscript", reason="the extra `export` is not installed")

import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from competition.models.exported.first_token import read_first_token_alone

RNG = np.random.default_rng(0)
WEIGHTS = {
    "query": RNG.normal(size=(4, 4)).astype(np.float32),
    "key": RNG.normal(size=(4, 4)).astype(np.float32),
    "inner": RNG.normal(size=(4, 8)).astype(np.float32),
    "outer": RNG.normal(size=(8, 4)).astype(np.float32),
    "zero": np.array(0),
    "one": np.array(1),
    "heads": np.array([-1, 3, 2, 2]),
}
LAYER = (
    ("MatMul", ["x", "query"], "q", {}),
    ("Reshape", ["q", "heads"], "q4", {}),
    ("Transpose", ["q4"], "qt", {"perm": [0, 2, 1, 3]}),
    ("MatMul", ["x", "key"], "k", {}),
    ("Reshape", ["k", "heads"], "k4", {}),
    ("Transpose", ["k4"], "kt", {"perm": [0, 2, 3, 1]}),
    ("MatMul", ["qt", "kt"], "scores", {}),
    ("Softmax", ["scores"], "shares", {"axis": -1}),
    ("Transpose", ["k4"], "v", {"perm": [0, 2, 1, 3]}),
    ("MatMul", ["shares", "v"], "attended", {}),
    ("Transpose", ["attended"], "back", {"perm": [0, 2, 1, 3]}),
    ("Reshape", ["back", "tokens"], "joined", {}),
    ("Add", ["joined", "x"], "sum", {}),
    ("MatMul", ["sum", "inner"], "wide", {}),
    ("Relu", ["wide"], "active", {}),
    ("MatMul", ["active", "outer"], "narrow", {}),
    ("Add", ["narrow", "sum"], "state", {}),
)
# Three tokens of two heads of two, for any number of pairs.
SHAPES = {
    "q4": ["pairs", 3, 2, 2], "qt": ["pairs", 2, 3, 2], "k4": ["pairs", 3, 2, 2], "kt": ["pairs", 2, 2, 3],
    "scores": ["pairs", 2, 3, 3], "shares": ["pairs", 2, 3, 3], "v": ["pairs", 2, 3, 2],
    "attended": ["pairs", 2, 3, 2], "back": ["pairs", 3, 2, 2], "wide": ["pairs", 3, 8], "active": ["pairs", 3, 8],
} | {name: ["pairs", 3, 4] for name in ("q", "k", "joined", "sum", "narrow", "state")}  # fmt: skip


def make_graph(end: tuple[str, list[str], str, dict[str, Any]], outputs: tuple[str, ...]) -> Any:
    """A layer of attention, with a last node."""
    number = TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node(op, names, [out], **keys) for op, names, out, keys in (*LAYER, end)],
        "layer",
        [helper.make_tensor_value_info("x", number, ["pairs", 3, 4])],
        [helper.make_tensor_value_info(name, number, None) for name in outputs],
        [
            numpy_helper.from_array(value, name)
            for name, value in (WEIGHTS | {"tokens": np.array([-1, 3, 4])}).items()
        ],
        value_info=[
            helper.make_tensor_value_info(name, number, shape) for name, shape in SHAPES.items()
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def run(model: Any, *names: str) -> list[Any]:
    """Return some values of a graph."""
    known = {output.name for output in model.graph.output}
    model.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        for name in names
        if name not in known
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    x = np.random.default_rng(1).normal(size=(5, 3, 4)).astype(np.float32)
    return list(session.run(list(names), {"x": x}))


FIRST = ("Gather", ["state", "zero"], "logits", {"axis": 1})


def test_what_follows_keys_and_values_is_computed_of_one_token() -> None:
    names = ("logits", "wide", "scores", "kt")
    whole, *shapes = run(make_graph(FIRST, ("logits",)), *names)
    assert [value.shape for value in shapes] == [(5, 3, 8), (5, 2, 3, 3), (5, 2, 2, 3)]

    model = make_graph(FIRST, ("logits",))
    # All but key and value: of the 17, MatMul, Reshape and two Transposes.
    assert read_first_token_alone(model.graph) == 17 - 4
    first, *shapes = run(model, *names)
    assert [value.shape for value in shapes] == [(5, 1, 8), (5, 2, 1, 3), (5, 2, 2, 3)]
    np.testing.assert_allclose(first, whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("end", "outputs"),
    [
        (("Gather", ["state", "one"], "logits", {"axis": 1}), ("logits",)),  # another token
        (("ReduceMean", ["state"], "logits", {}), ("logits",)),  # of all tokens
        (FIRST, ("logits", "state")),  # which is read whole, too
        (("Gather", ["state", "zero"], "logits", {"axis": 0}), ("logits",)),  # of the first pair
    ],
)
def test_what_reads_other_tokens_is_left_as_it_is(
    end: tuple[str, list[str], str, dict[str, Any]], outputs: tuple[str, ...]
) -> None:
    model, same = make_graph(end, outputs), make_graph(end, outputs)
    assert read_first_token_alone(model.graph) == 0
    for one, other in zip(run(model, *outputs), run(same, *outputs), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_sum_over_tokens_stops_the_way_back() -> None:
    # The softmax of this end is over tokens: its first place depends on all of them.
    model = make_graph(FIRST, ("logits",))
    del model.graph.node[-1]
    model.graph.node.extend(
        [
            helper.make_node("Softmax", ["state"], ["even"], axis=1),
            helper.make_node("Gather", ["even", "zero"], ["logits"], axis=1),
        ]
    )
    model.graph.value_info.append(
        helper.make_tensor_value_info("even", TensorProto.FLOAT, ["pairs", 3, 4])
    )
    before = model.SerializeToString()
    (whole,) = run(onnx.load_from_string(before), "logits")
    assert read_first_token_alone(model.graph) == 0
    (first,) = run(model, "logits")
    np.testing.assert_array_equal(first, whole)
