"""Means over height and width, as torch exports a global pool, turned back into pools.

ONNX Runtime has a blocked float kernel and an int8 kernel for GlobalAveragePool, and neither for
ReduceMean.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from onnx import ModelProto, NodeProto, helper, numpy_helper, shape_inference


def pool_means(model: ModelProto) -> ModelProto:
    """Replace each ReduceMean over the last two of four axes by GlobalAveragePool.

    The pool keeps the name of the node. Where the mean drops the two axes a Flatten follows, named
    ``<node>_flatten``; the tensor between them is ``<output>_pooled``.

    Args:
        model: opset 18 or later (axes are an input); left as it is.

    Returns:
        A new model that computes the same.
    """
    result = ModelProto()
    result.CopyFrom(model)
    inferred = shape_inference.infer_shapes(model).graph
    values = [*inferred.input, *inferred.value_info, *inferred.output]
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in values}
    axes = {
        constant.name: tuple(int(axis) for axis in numpy_helper.to_array(constant).reshape(-1))
        for constant in model.graph.initializer
        if constant.data_type == constant.INT64 and len(constant.dims) <= 1
    }
    del result.graph.node[:]
    for node in model.graph.node:
        result.graph.node.extend(_pooled(node, ranks, axes))
    used = {name for node in result.graph.node for name in node.input}
    kept = [constant for constant in model.graph.initializer if constant.name in used]
    del result.graph.initializer[:]
    result.graph.initializer.extend(kept)
    return result


def _pooled(
    node: NodeProto, ranks: Mapping[str, int], axes: Mapping[str, tuple[int, ...]]
) -> Iterator[NodeProto]:
    spatial = len(node.input) == 2 and sorted(a % 4 for a in axes.get(node.input[1], ())) == [2, 3]
    if node.op_type != "ReduceMean" or ranks.get(node.input[0]) != 4 or not spatial:
        yield node
        return
    keeps = all(attribute.i for attribute in node.attribute if attribute.name == "keepdims")
    output = node.output[0]
    pooled = output if keeps else f"{output}_pooled"
    yield helper.make_node("GlobalAveragePool", [node.input[0]], [pooled], node.name)
    if not keeps:
        yield helper.make_node("Flatten", [pooled], [output], f"{node.name}_flatten")
