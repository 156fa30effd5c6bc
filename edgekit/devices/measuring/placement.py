"""Which execution provider runs each node; what a session was registered with does not say."""

from __future__ import annotations

from dataclasses import dataclass

import onnxruntime as ort

from edgekit.core.errors import VerificationFailed
from edgekit.core.target import Target
from edgekit.devices.measuring.session import Model, create_session, session_options

_MAX_NAMED = 5


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


def placed_nodes(model: Model, target: Target) -> tuple[NodePlacement, ...]:
    """Every node and its provider, asked from the runtime's own record of the assignment.

    Raises:
        InputError: ONNX Runtime cannot load the model.
    """
    options = session_options(target.n_threads)
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    session: ort.InferenceSession = create_session(model, options)
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


def placement(model: Model, target: Target) -> dict[str, str]:
    """Provider by node name.

    Raises:
        InputError: ONNX Runtime cannot load the model.
    """
    return {placed.node: placed.provider for placed in placed_nodes(model, target)}


def require_provider(model: Model, target: Target, provider: str | None = None) -> dict[str, str]:
    """``placement``, after checking that no node fell back to another provider.

    Args:
        model: what is to run.
        target: where, and with how many threads.
        provider: who must run every node; the target's provider when None.

    Raises:
        InputError: ONNX Runtime cannot load the model.
        VerificationFailed: a node runs elsewhere; the message names nodes and operators.
    """
    wanted = target.provider if provider is None else provider
    nodes = placed_nodes(model, target)
    strays = [placed for placed in nodes if placed.provider != wanted]
    if strays:
        named = ", ".join(
            f"{stray.node} ({stray.operator}) on {stray.provider}" for stray in strays[:_MAX_NAMED]
        )
        more = f" and {len(strays) - _MAX_NAMED} more" if len(strays) > _MAX_NAMED else ""
        raise VerificationFailed(
            f"every node must run on {wanted}, {len(strays)} of {len(nodes)} do not: {named}"
            f"{more}; choose another provider or operators that it supports"
        )
    return {placed.node: placed.provider for placed in nodes}
