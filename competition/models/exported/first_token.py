"""A graph without what its logits do not depend on: the other tokens behind the last layer's keys and values.

Classes that read the first token alone compute the last layer for all of them. Here, the choice of
the first token moves from the end of the graph towards its beginning, through whatever treats
tokens one by one, until it meets something that other tokens read, too. The same function; of six
layers it leaves out about a seventh of the work.
"""

from collections import defaultdict
from typing import Any

import numpy as np

# Of one value, or of several that are broadcast; each place of the output depends on the same place
# of the inputs.
_ELEMENTWISE = frozenset(
    {
        "Add", "Cast", "Div", "Dropout", "Erf", "Gelu", "Identity", "Max", "Min", "Mul", "Neg", "Pow", "Relu",
        "Sigmoid", "Sqrt", "Sub", "Tanh", "Where",
    }
)  # fmt: skip
# Along their axis; each of the other places by itself.
_ALONG_AXIS = frozenset({"LayerNormalization", "Softmax"})
_FIRST = "_first"  # behind the name of a value of which the first token is taken


def read_first_token_alone(graph: Any) -> int:
    """Change a graph (`onnx.GraphProto`) whose shapes are known; return how many nodes it shortens.

    A value `(…, tokens, …)` keeps its name and its number of axes, with 1 in place of the tokens.
    """
    shapes = {
        value.name: [
            each.dim_param or each.dim_value or None for each in value.type.tensor_type.shape.dim
        ]
        for value in (*graph.value_info, *graph.input, *graph.output)
    }
    shapes |= {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    readers: dict[str, int] = defaultdict(int)
    read = [name for node in graph.node for name in node.input]
    for name in (*read, *(output.name for output in graph.output)):
        readers[name] += 1

    # From the end: behind each value, all of its readers are decided before itself.
    demands: dict[str, list[tuple[Any, int, int]]] = defaultdict(list)  # (node, input, axis)
    shortened = 0
    for node in reversed(graph.node):
        first = _first_of(node, graph)
        if first is not None:
            demands[node.input[0]].append((node, 0, first))
            continue
        if not node.output or node.output[0] not in demands:
            continue

        output = node.output[0]
        wanted = demands[output]
        axes = {axis for _, _, axis in wanted}
        all_readers = len(wanted) == readers[output]
        if not all_readers or len(axes) > 1:
            continue
        axis = axes.pop()
        inputs = _inputs_along(node, axis, shapes)
        if inputs is None:
            continue

        if node.op_type == "Reshape":
            _keep_places(node, graph, axis, shapes[output])
        del demands[output]
        shortened += 1
        for place, of_input in inputs.items():
            demands[node.input[place]].append((node, place, of_input))

    _slice_what_others_read(graph, demands)
    del graph.value_info[:]  # they are of all tokens
    return shortened


def _first_of(node: Any, graph: Any) -> int | None:
    """Return the axis of which a node takes the first place; None where it does something else."""
    from onnx import numpy_helper

    if node.op_type != "Gather":
        return None
    constants = {tensor.name: tensor for tensor in graph.initializer}
    index = constants.get(node.input[1])
    if index is None or np.any(numpy_helper.to_array(index) != 0):
        return None
    axis = _attribute(node, "axis", 0)
    return axis if axis > 0 else None


def _inputs_along(node: Any, axis: int, shapes: dict[str, list[Any]]) -> dict[int, int] | None:
    """Return which inputs of a node, and which axis of each, its first place along an axis depends on.

    None where it depends on other places, or is not known to depend on this one alone.
    """
    shape = shapes.get(node.output[0])
    if shape is None or any(name and name not in shapes for name in node.input):
        return None

    behind = len(shape) - axis  # counted from the end, as broadcasting does
    if node.op_type in _ELEMENTWISE:
        return {
            place: len(shapes[name]) - behind
            for place, name in enumerate(node.input)
            if name and len(shapes[name]) >= behind and shapes[name][-behind] != 1
        }
    if node.op_type in _ALONG_AXIS:
        along = _attribute(node, "axis", -1) % len(shape)
        return {0: axis} if axis < along else None
    if node.op_type == "MatMul":
        return {0: len(shapes[node.input[0]]) - 2} if behind == 2 else None
    if node.op_type == "Transpose":
        return {0: _attribute(node, "perm", None)[axis]}
    if node.op_type == "Reshape":
        up_to_axis, behind_axis = shape[: axis + 1], shape[axis + 1 :]
        same = None not in up_to_axis and shapes[node.input[0]][: axis + 1] == up_to_axis
        return {0: axis} if same and all(isinstance(size, int) for size in behind_axis) else None
    return None


def _keep_places(node: Any, graph: Any, axis: int, shape: list[Any]) -> None:
    """Let a reshape take the axes up to the tokens' from its input, since these are fewer now."""
    from onnx import numpy_helper

    kept_shape = np.array([0] * (axis + 1) + shape[axis + 1 :], np.int64)  # 0: as the input's
    name = f"{node.output[0]}_shape"
    graph.initializer.append(numpy_helper.from_array(kept_shape, name))
    node.input[1] = name
    kept = [each for each in node.attribute if each.name != "allowzero"]
    del node.attribute[:]
    node.attribute.extend(kept)


def _slice_what_others_read(graph: Any, demands: dict[str, list[tuple[Any, int, int]]]) -> None:
    """Take the first place of each value that is read whole elsewhere, or comes from no such node."""
    from onnx import helper, numpy_helper

    slices = []
    for name, wanted in demands.items():
        for axis in sorted({axis for node, _, axis in wanted if _first_of(node, graph) is None}):
            bounds = [f"{name}{_FIRST}_{axis}_{part}" for part in ("begin", "end", "axis")]
            for bound, value in zip(bounds, (0, 1, axis), strict=True):
                graph.initializer.append(numpy_helper.from_array(np.array([value]), bound))
            first = f"{name}{_FIRST}_{axis}"
            slices.append((name, helper.make_node("Slice", [name, *bounds], [first])))
            for node, place, of_node in wanted:
                if of_node == axis:
                    node.input[place] = first

    nodes = list(graph.node)
    for name, node in slices:
        made = [i for i, other in enumerate(nodes) if name in other.output]
        nodes.insert(made[0] + 1 if made else 0, node)
    del graph.node[:]
    graph.node.extend(nodes)


def _attribute(node: Any, name: str, default: Any) -> Any:
    from onnx import helper

    found = [helper.get_attribute_value(each) for each in node.attribute if each.name == name]
    return found[0] if found else default
