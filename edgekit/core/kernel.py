"""The unit of latency: one operator as the runtime really runs it, after its own fusion."""

from __future__ import annotations

from dataclasses import dataclass

Shape = tuple[int, ...]
AttributeValue = int | float | str | tuple[int, ...] | tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Kernel:
    """One executed operator.

    Attributes:
        op: operator type after fusion, for example ``"Conv"`` or ``"QLinearConv"``.
        domain: operator domain, for example ``"com.microsoft.nchwc"``; empty for the standard one.
        dtype: element type of the first activation input, for example ``"float"`` or ``"uint8"``.
        input_shapes: shapes of the activation inputs.
        weight_shapes: shapes of the constant inputs, as stored in the optimised model.
        output_shapes: shapes of the outputs.
        attributes: sorted (name, value) pairs: strides, group, kernel_shape, activation, ...
        provider: execution provider that ran it.

    Two kernels that compare equal cost the same; the place in the network is kept outside, in
    ``PlacedKernel``.
    """

    op: str
    domain: str
    dtype: str
    input_shapes: tuple[Shape, ...]
    weight_shapes: tuple[Shape, ...]
    output_shapes: tuple[Shape, ...]
    attributes: tuple[tuple[str, AttributeValue], ...]
    provider: str

    def attribute(self, name: str, default: AttributeValue) -> AttributeValue:
        """Value of an attribute, or ``default`` where the operator does not carry it."""
        return dict(self.attributes).get(name, default)


@dataclass(frozen=True, slots=True)
class PlacedKernel:
    """A kernel and where it stands in a network.

    Attributes:
        kernel: what runs.
        node: node name in the optimised model.
        block: name of the block of the source network it came from; empty when it belongs to none.
        source: node or tensor of the source network it came from; empty where none is known.
    """

    kernel: Kernel
    node: str
    block: str
    source: str = ""
