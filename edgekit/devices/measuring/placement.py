"""Which execution provider runs each node; what a session was registered with does not say."""

from __future__ import annotations

from dataclasses import dataclass

import onnx
import onnxruntime as ort
from onnx import ModelProto, NodeProto, ValueInfoProto, helper

from edgekit.core.errors import EdgekitError, InputError, VerificationFailed
from edgekit.core.target import CPU_PROVIDER, Target
from edgekit.devices.measuring.elsewhere import is_elsewhere, run_job
from edgekit.devices.measuring.litert import LITERT, LiteRtModel, is_tflite
from edgekit.devices.measuring.session import Model, create_session, load_model, session_options
from edgekit.devices.providers.catalogue import Provider, provider_named

_MAX_NAMED = 5
_QUANTISE, _DEQUANTISE = "QuantizeLinear", "DequantizeLinear"


@dataclass(frozen=True, slots=True)
class NodePlacement:
    """One node after ONNX Runtime's basic optimisation, and who runs it.

    Attributes:
        node: its name; an unnamed node gets ``<operator>_<position>``.
        operator: operator type with its domain, for example ``"com.microsoft.QGemm"``.
        provider: execution provider the node was given to.
    """

    node: str
    operator: str
    provider: str


def provider_of(model: Model, target: Target) -> Provider:
    """The provider that is asked to run a model: of a TFLite file, LiteRT's.

    Raises:
        InputError: a provider of ONNX Runtime is named for a TFLite file.
    """
    named = provider_named(target.ep)
    if not is_tflite(model) or named.short == LITERT:
        return named
    if named.name != CPU_PROVIDER:
        raise InputError(
            f"a TFLite file runs in LiteRT on the CPU, got the provider {named.short}; "
            "leave ep= out, or give an ONNX model"
        )
    return provider_named(LITERT)


def placed_nodes(model: Model, target: Target) -> tuple[NodePlacement, ...]:
    """Every node and its provider, asked from the runtime's own record of the assignment.

    Raises:
        InputError: ONNX Runtime cannot load the model, or the provider is not usable here.
    """
    provider_of(model, target)
    if is_tflite(model):
        return litert_nodes(LiteRtModel(model, target.n_threads, 0))
    if is_elsewhere(target):
        found = run_job({"job": "place"}, {"model": model}, target)
        return tuple(NodePlacement(**node) for node in found)  # type: ignore[attr-defined]
    return assigned_nodes(create_session(model, session_options(target.n_threads, target.ep)))


def assigned_nodes(session: ort.InferenceSession) -> tuple[NodePlacement, ...]:
    """The same of a session that is open; ``session_options`` has the runtime keep the record."""
    nodes = [
        (group.ep_name, node)
        for group in session.get_provider_graph_assignment_info()
        for node in group.get_nodes()
    ]
    return tuple(
        NodePlacement(
            node.name or f"{node.op_type}_{position}",
            f"{node.domain}.{node.op_type}" if node.domain else node.op_type,
            provider,
        )
        for position, (provider, node) in enumerate(nodes)
    )


def litert_nodes(model: LiteRtModel) -> tuple[NodePlacement, ...]:
    """The same of a TFLite file, whose nodes have no names."""
    return tuple(
        NodePlacement(f"{operator}_{position}", operator, provider)
        for position, (operator, _, provider) in enumerate(model.nodes())
    )


def placement(model: Model, target: Target) -> dict[str, str]:
    """Provider by node name.

    Raises:
        InputError: ONNX Runtime cannot load the model, or the provider is not usable here.
    """
    return {placed.node: placed.provider for placed in placed_nodes(model, target)}


def require_provider(model: Model, target: Target) -> dict[str, str]:
    """``placement``, after checking that no node fell back from the provider of the target.

    Args:
        model: what is to run.
        target: where, with how many threads, and by which provider.

    Raises:
        InputError: ONNX Runtime cannot load the model, or the provider is not usable here.
        VerificationFailed: a node runs elsewhere; the message names nodes, operators and reasons.
    """
    nodes = placed_nodes(model, target)
    refuse_strays(model, target, nodes)
    return {placed.node: placed.provider for placed in nodes}


def refuse_strays(model: Model, target: Target, nodes: tuple[NodePlacement, ...]) -> None:
    """Raise VerificationFailed, as ``require_provider`` does, for nodes that are known already."""
    wanted = provider_of(model, target).name
    strays = [placed for placed in nodes if placed.provider != wanted]
    if not strays:
        return
    reasons = why_strayed(model, target, strays[:_MAX_NAMED])
    named = ", ".join(
        f"{stray.node} ({stray.operator}) on {stray.provider}: {reasons[stray.node]}"
        for stray in strays[:_MAX_NAMED]
    )
    more = f" and {len(strays) - _MAX_NAMED} more" if len(strays) > _MAX_NAMED else ""
    raise VerificationFailed(
        f"every node must run on {wanted}, {len(strays)} of {len(nodes)} do not: {named}"
        f"{more}; choose another provider or operators that it supports"
    )


def why_strayed(model: Model, target: Target, strays: list[NodePlacement]) -> dict[str, str]:
    """Why each node is not on the provider of the target, found by asking with the node alone.

    A node is cut out with the quantisers beside it and offered to the provider in a session of its
    own: one that is refused there too has an operator, a type or a shape the provider has not;
    one that is taken was left out by the way the provider parts this graph.

    Args:
        model: the model the nodes are of.
        target: names the provider.
        strays: nodes that another provider runs.

    Returns:
        The reason by node name.
    """
    if is_tflite(model):
        forms = [f"{op} with {text}" for op, text, _ in LiteRtModel(model, 1, 0).nodes()]
        return {s.node: f"XNNPACK does not take {forms[_position(s)]}" for s in strays}
    typed = _with_types(load_model(model))
    found = {}
    for stray in strays:
        node = next((node for node in typed.graph.node if node.name == stray.node), None)
        found[stray.node] = "the runtime put it in" if node is None else _why(typed, node, target)
    return found


def _position(placed: NodePlacement) -> int:
    return int(placed.node.rpartition("_")[2])


def _why(typed: ModelProto, node: NodeProto, target: Target) -> str:
    wanted = provider_named(target.ep).name
    alone = _cut_out(typed, node)
    if alone is None:
        return "its shapes are known only when it runs, and the provider needs them before"
    form = f"{node.op_type} with {_inputs_text(typed, node)}"
    try:
        nodes = placed_nodes(alone, Target(target.text))
    except EdgekitError as error:
        return f"the provider cannot load {form} ({error})"
    if any(placed.provider == wanted and placed.operator == node.op_type for placed in nodes):
        return f"the provider takes {form} alone, it was left out in the parting of this graph"
    return f"the provider does not take {form}"


def _with_types(model: ModelProto) -> ModelProto:
    """A copy with symbolic dimensions 1, every node named, and shapes inferred."""
    copy = ModelProto()
    copy.CopyFrom(model)
    for value in copy.graph.input:
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param:
                dimension.dim_value = 1
    for value in (*copy.graph.output, *copy.graph.value_info):
        value.type.tensor_type.ClearField("shape")
    return onnx.shape_inference.infer_shapes(copy, data_prop=True)


def _values(typed: ModelProto) -> dict[str, ValueInfoProto]:
    graph = typed.graph
    return {v.name: v for v in (*graph.value_info, *graph.input, *graph.output)}


def _cut_out(typed: ModelProto, node: NodeProto) -> ModelProto | None:
    """The node with the quantisers beside it as a model; None where a type is not known."""
    graph = typed.graph
    before = [n for n in graph.node if n.op_type == _DEQUANTISE and set(n.output) & {*node.input}]
    after = [n for n in graph.node if n.op_type == _QUANTISE and set(n.input) & {*node.output}]
    nodes = [*before, node, *after]
    made = {name for n in nodes for name in n.output}
    read = dict.fromkeys(name for n in nodes for name in n.input if name)
    constants = {c.output[0]: c for c in graph.node if c.op_type == "Constant"}
    weights = {tensor.name: tensor for tensor in graph.initializer}
    values = _values(typed)
    outer = [n for n in read if n not in made and n not in weights and n not in constants]
    ends = [name for n in (after or [node]) for name in n.output if name]
    if any(name not in values for name in (*outer, *ends)):
        return None
    part = helper.make_graph(
        [*(constants[name] for name in read if name in constants), *nodes],
        "alone",
        [values[name] for name in outer],
        [values[name] for name in ends],
        [weights[name] for name in read if name in weights],
    )
    return helper.make_model(part, opset_imports=typed.opset_import, ir_version=typed.ir_version)


def _inputs_text(typed: ModelProto, node: NodeProto) -> str:
    values = _values(typed)
    weights = {tensor.name: tensor for tensor in typed.graph.initializer}
    texts = []
    for name in node.input:
        if name in weights:
            kind, shape = weights[name].data_type, [str(size) for size in weights[name].dims]
        elif name in values:
            tensor = values[name].type.tensor_type
            kind = tensor.elem_type
            shape = [str(d.dim_value) if d.dim_value else "?" for d in tensor.shape.dim]
        else:
            continue
        texts.append(f"{onnx.TensorProto.DataType.Name(kind).lower()}[{', '.join(shape)}]")
    return " and ".join(texts) or "no input of known type"
