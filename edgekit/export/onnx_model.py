"""From a torch module to an ONNX network whose nodes say which block they belong to.

torch module --fold batch norms--> torch.onnx.export --simplify--> --name nodes--> <block>/<path>
"""

from __future__ import annotations

import ast
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, ValueInfoProto, numpy_helper
from torch import nn

from edgekit.core.errors import InputError
from edgekit.devices.networks.graph import IR_VERSION, OPSET
from edgekit.training.layers import folded

INPUT, OUTPUT, BATCH = "input", "logits", "batch"
MAX_RESOLUTION = 1024
_SCOPES = "pkg.torch.onnx.name_scopes"
_N_TRACED = 2
"""Images in the traced batch; 1 would be taken for a constant."""
Dim = int | str


def export_onnx(net: nn.Module, resolution: int, blocks: Mapping[str, str]) -> ModelProto:
    """The network in ONNX, float32, with an open batch axis.

    Batch norms are folded into the convolutions they follow. Every node is named
    ``<block>/<path>`` after the module it came from, and so is the tensor it writes; a node
    outside all blocks has no ``/`` in its name. What ONNX Runtime fuses worse is written in the
    form it knows: a mean over both image axes as ``GlobalAveragePool``, a reshape that keeps the
    batch as ``Flatten``.

    Args:
        net: takes ``(batch, 3, resolution, resolution)`` float32 and returns
            ``(batch, n_classes)``; left as it is.
        resolution: side of the input in pixels, 1 to 1024.
        blocks: block name by the path of its module, as
            ``edgekit.search.networks.Networks.block_paths`` gives it; of a block that the exporter
            folds away (a dropout alone) nothing is left.

    Returns:
        Opset 20, IR 10, input ``"input"``, output ``"logits"``, weights inside.

    Raises:
        InputError: a resolution out of range, a block name with a slash, or a network that torch
            cannot export or that returns something else than logits.
    """
    if not 1 <= resolution <= MAX_RESOLUTION:
        raise InputError(f"a resolution is from 1 to {MAX_RESOLUTION}, got {resolution}")
    for name in blocks.values():
        if not name or "/" in name:
            raise InputError(
                f"a block name has no slash and is not empty, got {name!r}; rename it"
            )
    model = _traced(_plain(net), (3, resolution, resolution), OUTPUT)
    _check_logits(model)
    return _finished(model, blocks)


def export_part(
    net: nn.Module, shape: tuple[int, int, int], *, block: str, output: str
) -> ModelProto:
    """A part of a network as one block, float32, with an open batch axis; see ``export_onnx``.

    Args:
        net: takes ``(batch, *shape)`` float32 and returns one tensor; left as it is.
        shape: ``(channels, height, width)``.
        block: name of the block, without a slash.
        output: name of what it returns.

    Raises:
        InputError: a network that torch cannot export.
    """
    return _finished(_traced(_plain(net), shape, output), {"": block})


def _plain(net: nn.Module) -> nn.Module:
    # from channels-last memory torch exports a pooled tensor with strides, as a dozen nodes
    plain: nn.Module = folded(net).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return plain


def _finished(model: ModelProto, blocks: Mapping[str, str]) -> ModelProto:
    _simplify(model)
    _rename(model, blocks)
    _strip(model)
    onnx.checker.check_model(model, full_check=True)
    return model


def nodes_by_block(model: ModelProto) -> dict[str, tuple[str, ...]]:
    """Names of the nodes of each block, in graph order; nodes outside all blocks are left out."""
    nodes: dict[str, list[str]] = {}
    for node in model.graph.node:
        block, slash, _ = node.name.partition("/")
        if slash:
            nodes.setdefault(block, []).append(node.name)
    return {block: tuple(names) for block, names in nodes.items()}


def _traced(net: nn.Module, shape: tuple[int, int, int], output: str) -> ModelProto:
    example = torch.zeros(_N_TRACED, *shape)
    try:
        with _silence():
            program = torch.onnx.export(
                net,
                (example,),
                dynamo=True,
                opset_version=OPSET,
                external_data=False,
                input_names=[INPUT],
                output_names=[output],
                dynamic_shapes=({0: torch.export.Dim(BATCH)},),
                verbose=False,
            )
    except (
        Exception
    ) as error:  # torch raises whatever its tracer, its decomposer or the module itself raised
        reason = str(error.__cause__ or error).strip().split("\n")[0]
        raise InputError(
            f"the network must be exportable with an open batch, torch {torch.__version__} says: "
            f"{reason}; write its forward without control flow that depends on values"
        ) from error
    assert program is not None
    return program.model_proto


@contextmanager
def _silence() -> Iterator[None]:
    """Keep the exporter's notes on missing packages and its deprecations off the terminal."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _check_logits(model: ModelProto) -> None:
    shapes = [_dims(value) for value in model.graph.output]
    if len(shapes) != 1 or len(shapes[0]) != 2 or shapes[0][0] != BATCH:
        raise InputError(
            f"the network must return one tensor (batch, n_classes), it returns {shapes}; "
            "return the logits only"
        )


def _simplify(model: ModelProto) -> None:
    """Write operators in the form that has int8 kernels and that profiles know, in place."""
    graph = model.graph
    shapes = {
        value.name: _dims(value) for value in (*graph.input, *graph.value_info, *graph.output)
    }
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        before, after = shapes.get(node.input[0], ()), shapes.get(node.output[0], ())
        if node.op_type == "ReduceMean" and len(before) == 4 and node.input[1:]:
            axes = numpy_helper.to_array(constants[node.input[1]])
            if len(after) == 4 and _are_image_axes(axes):
                _become(node, "GlobalAveragePool")
        elif node.op_type == "Reshape" and len(after) == 2 and before[:1] == after[:1]:
            _become(node, "Flatten")
        elif node.op_type == "Conv":
            _leave_out_dilations_of_one(node)


def _are_image_axes(axes: NDArray[np.generic]) -> bool:
    return sorted(int(axis) % 4 for axis in axes) == [2, 3]


def _become(node: NodeProto, operator: str) -> None:
    node.op_type = operator
    del node.input[1:], node.attribute[:]


def _leave_out_dilations_of_one(node: NodeProto) -> None:
    """The default is not written, as in ``GraphBuilder``: equal kernels must compare equal."""
    kept = [a for a in node.attribute if a.name != "dilations" or set(a.ints) != {1}]
    del node.attribute[:]
    node.attribute.extend(kept)


def _dims(value: ValueInfoProto) -> tuple[Dim, ...]:
    return tuple(dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim)


def _rename(model: ModelProto, paths: Mapping[str, str]) -> None:
    """Name nodes after their block and module, and tensors after their nodes, in place."""
    graph = model.graph
    output = graph.output[0].name
    taken = {INPUT, output, *(tensor.name for tensor in graph.initializer)}
    tensors = {"": "", output: output}
    for node in graph.node:
        node.name = _unused(_path_of(node, paths), taken)
        for index, tensor in enumerate(node.output):
            suffix = f".{index}" if len(node.output) > 1 else ""
            tensors.setdefault(tensor, node.name + suffix)
    for node in graph.node:
        node.input[:] = [tensors.get(tensor, tensor) for tensor in node.input]
        node.output[:] = [tensors[tensor] for tensor in node.output]


def _path_of(node: NodeProto, paths: Mapping[str, str]) -> str:
    """``<block>/<path of the module in the block>``; the operator where that path is empty."""
    metadata = {entry.key: entry.value for entry in node.metadata_props}
    scopes: list[str] = ast.literal_eval(metadata.get(_SCOPES, "['']"))
    modules = scopes[:-1]
    home = next((scope for scope in reversed(modules) if scope in paths), None)
    deepest = modules[-1] if modules else ""
    if home is None:
        return deepest or node.op_type.lower()
    inside = deepest.removeprefix(home).removeprefix(".")
    return f"{paths[home]}/{inside or node.op_type.lower()}"


def _unused(name: str, taken: set[str]) -> str:
    """The name, numbered where another node has it; added to ``taken``."""
    candidate, count = name, 1
    while candidate in taken:
        count += 1
        candidate = f"{name}_{count}"
    taken.add(candidate)
    return candidate


def _strip(model: ModelProto) -> None:
    """Remove what only describes: notes, inner shapes, constants nobody reads."""
    graph = model.graph
    used = {tensor for node in graph.node for tensor in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:], graph.value_info[:], model.metadata_props[:]
    graph.initializer.extend(kept)
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    graph.name, model.ir_version = "network", IR_VERSION
    model.producer_name, model.producer_version, model.doc_string = "edgekit", "", ""
