"""What is known of a kernel's cost before any fit: group, roofline terms, tree features.

Pure functions of a ``Kernel``, remembered for the last kernels. A roofline term is an amount of
work that a machine does at some rate (Williams et al. 2009, doi 10.1145/1498765.1498785), so that
a kernel's time is near a sum of terms with coefficients >= 0. MACs count one multiply and add.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from edgekit.core.kernel import Kernel, Shape

_CONVOLUTIONS = ("Conv", "FusedConv", "QLinearConv", "ConvInteger", "NhwcFusedConv")
_PRODUCTS = ("Gemm", "FusedGemm", "QGemm", "MatMul", "FusedMatMul", "QLinearMatMul")
_ELEMENTWISE = ("Add", "Mul", "Sub", "Div", "QLinearAdd", "QLinearMul")
_BYTES = {"float": 4, "int32": 4, "int64": 8, "float16": 2, "double": 8}
_LANES = 16
_PANEL = 64
_STEM_CHANNELS = 4
_COLD_BYTES = 2**19
_N_REMEMBERED = 2**15


@dataclass(frozen=True, slots=True)
class Product:
    """A convolution or matrix product: ``groups`` of ``(rows, depth) x (depth, columns)``.

    Attributes:
        rows: output positions.
        columns: output channels of a group.
        channels: input channels of a group.
        area: kernel height times width; 1 for a matrix product.
        groups: independent products.
        stride: of a convolution, else 1.
        out_height: rows of the output image; for a matrix product 1.
        out_width: positions in such a row.
        edge: columns of an image row whose kernel window reaches into the padding.
        weight_bytes: size of the constants.
    """

    rows: int
    columns: int
    channels: int
    area: int
    groups: int
    stride: int
    out_height: int
    out_width: int
    edge: int
    weight_bytes: int

    @property
    def macs(self) -> int:
        """Multiply-adds of the whole kernel."""
        return self.rows * self.columns * self.channels * self.area * self.groups

    @property
    def is_depthwise(self) -> bool:
        """Whether every group has one channel on both sides."""
        return self.groups > 1 and self.channels == 1 and self.columns == 1

    @property
    def vector_axis(self) -> int:
        """Channels that lie side by side in memory: those of all groups for a depthwise kernel."""
        return self.groups if self.is_depthwise else self.columns


@lru_cache(_N_REMEMBERED)
def group_key(kernel: Kernel) -> str:
    """Kernels with one key share a roofline: operator, domain, element type and kind.

    The kind tells convolutions apart (``stem`` up to 4 input channels, ``depthwise``, ``grouped``,
    ``pointwise``, ``kxk``), matrix products (``m1`` with one row, ``mn``; ``pair`` of two
    activations), whether an elementwise operator broadcasts, and whether a transpose moves the
    last axis.
    """
    return "|".join((f"{kernel.domain}:{kernel.op}", kernel.dtype, _kind(kernel)))


def _kind(kernel: Kernel) -> str:
    work = product_of(kernel)
    if work is not None and kernel.op in _CONVOLUTIONS:
        return _convolution_kind(work)
    if work is not None:
        return "pair" if not _has_weight(kernel) else "m1" if work.rows == 1 else "mn"
    if kernel.op == "Transpose":
        axes = kernel.attribute("perm", ())
        return (
            "outer" if isinstance(axes, tuple) and axes and axes[-1] == len(axes) - 1 else "inner"
        )
    if kernel.op in _ELEMENTWISE and len(kernel.input_shapes) == 2:
        return "same" if kernel.input_shapes[0] == kernel.input_shapes[1] else "broadcast"
    return "plain"


def _convolution_kind(work: Product) -> str:
    if work.is_depthwise:
        return "depthwise"
    if work.groups > 1:
        return "grouped"
    if work.channels <= _STEM_CHANNELS:
        return "stem"
    return "pointwise" if work.area == 1 else "kxk"


def product_of(kernel: Kernel) -> Product | None:
    """The matrix products a kernel computes; None for any other operator."""
    if not kernel.output_shapes or not kernel.input_shapes:
        return None
    if kernel.op in _CONVOLUTIONS and kernel.weight_shapes and len(kernel.weight_shapes[0]) >= 3:
        return _convolution(kernel)
    return _matrix_product(kernel) if kernel.op in _PRODUCTS else None


def _convolution(kernel: Kernel) -> Product:
    weight, out = kernel.weight_shapes[0], kernel.output_shapes[0]
    groups = _integer(kernel, "group", 1)
    image = out[1:-1] if kernel.attribute("channels_last", 0) else out[2:]
    strides = kernel.attribute("strides", (1,))
    stride = int(strides[0]) if isinstance(strides, tuple) and strides else 1
    return Product(
        rows=math.prod(image),
        columns=max(1, weight[0] // groups),
        channels=weight[1],
        area=math.prod(weight[2:]),
        groups=groups,
        stride=stride,
        out_height=image[0] if image else 1,
        out_width=image[-1] if image else 1,
        edge=min(image[-1] if image else 1, math.ceil((weight[-1] - 1) / stride)),
        weight_bytes=_weight_bytes(kernel),
    )


def _matrix_product(kernel: Kernel) -> Product:
    out, first = kernel.output_shapes[0], kernel.input_shapes[0]
    shared = _has_weight(kernel)
    batch = 1 if shared else math.prod(out[:-2])
    columns = out[-1] if out else 1
    return Product(
        rows=max(1, math.prod(out) // max(1, batch * columns)),
        columns=columns,
        channels=first[-1] if first else 1,
        area=1,
        groups=batch,
        stride=1,
        out_height=1,
        out_width=max(1, math.prod(out) // max(1, batch * columns)),
        edge=0,
        weight_bytes=_weight_bytes(kernel),
    )


def _has_weight(kernel: Kernel) -> bool:
    return any(len(shape) >= 2 for shape in kernel.weight_shapes)


TERMS = (
    "call",
    "bytes_in",
    "bytes_out",
    "weight_bytes",
    "cold_weight_bytes",
    "window_elements",
    "macs",
    "macs_padded",
    "macs_in_fours",
    "macs_in_panels",
    "macs_off_lanes",
    "macs_off_fours",
    "edge_macs",
    "rows",
    "row_calls",
    "gathered",
    "groups",
    "residual",
)
"""Names of ``roofline_terms``, in order."""


@lru_cache(_N_REMEMBERED)
def roofline_terms(kernel: Kernel) -> tuple[float, ...]:
    """Amounts of work, in the order of ``TERMS``, all >= 0; 0 where the operator has none.

    ``macs_padded`` pads input and output channels to 16, the block of ONNX Runtime's fp32 layout
    on AVX-512; ``macs_in_fours`` pads the summed axis to 4, the int8 dot product;
    ``macs_in_panels`` pads the columns to 64. ``cold_weight_bytes`` are the bytes beyond 512 KiB,
    which a core does not keep between two runs.
    """
    weight_bytes = _weight_bytes(kernel)
    work = product_of(kernel)
    generic = (
        1.0,
        float(sum(map(math.prod, kernel.input_shapes)) * _itemsize(kernel)),
        float(sum(map(math.prod, kernel.output_shapes)) * _out_itemsize(kernel)),
        float(weight_bytes),
        float(max(0, weight_bytes - _COLD_BYTES)),
        float(_window_elements(kernel)),
    )
    if work is None:
        return generic + (0.0,) * (len(TERMS) - len(generic))
    return generic + _product_terms(kernel, work)


def _product_terms(kernel: Kernel, work: Product) -> tuple[float, ...]:
    macs, axis = work.macs, work.vector_axis
    depth = work.channels * work.area
    padded_columns = _padded(axis, _LANES) / axis
    padded_channels = (
        1.0 if work.channels <= _STEM_CHANNELS else _padded(work.channels, _LANES) / work.channels
    )
    panels = math.ceil(axis / _PANEL)
    depth_blocks = 1 if work.is_depthwise else math.ceil(work.channels / _LANES) * work.groups
    return (
        float(macs),
        macs * padded_columns * padded_channels,
        macs * _padded(depth, 4) / depth,
        macs * panels * _PANEL / axis,
        float(macs if axis % _LANES else 0),
        float(macs if axis % 4 else 0),
        macs * padded_columns * padded_channels * work.edge / work.out_width,
        float(work.rows),
        float(work.out_height * panels * depth_blocks),
        float(work.rows * depth * work.groups) if work.area > 1 else 0.0,
        float(work.groups if work.groups > 1 and not work.is_depthwise else 0),
        float(math.prod(kernel.output_shapes[0])) if kernel.attribute("fused_add", 0) else 0.0,
    )


TREE_FEATURES = (
    "log_in",
    "log_out",
    "log_weight",
    "log_macs",
    "log_rows",
    "log_columns",
    "log_channels",
    "log_groups",
    "area",
    "stride",
    "columns_mod_16",
    "columns_mod_64",
    "channels_mod_16",
    "depth_mod_4",
    "out_width",
    "out_width_mod_6",
    "edge_share",
    "log_intensity",
    "fused_add",
    "has_activation",
)
"""Names of ``tree_features``, in order."""


@lru_cache(_N_REMEMBERED)
def tree_features(kernel: Kernel) -> tuple[float, ...]:
    """Features of the residual model, in the order of ``TREE_FEATURES``.

    An operator that is no product gets only its sizes: ranks and axis lengths make trees
    extrapolate badly to networks with other ranks.
    """
    n_in = sum(map(math.prod, kernel.input_shapes))
    n_out = sum(map(math.prod, kernel.output_shapes))
    sizes = (_log(n_in), _log(n_out), _log(_weight_bytes(kernel)))
    work = product_of(kernel)
    if work is None:
        return sizes + (0.0,) * (len(TREE_FEATURES) - len(sizes))
    axis = work.vector_axis
    n_moved = n_in * _itemsize(kernel) + n_out * _out_itemsize(kernel) + work.weight_bytes
    return (
        *sizes,
        _log(work.macs),
        _log(work.rows),
        _log(axis),
        _log(work.channels),
        _log(work.groups),
        float(work.area),
        float(work.stride),
        float(axis % _LANES),
        float(axis % _PANEL),
        float(work.channels % _LANES),
        float(work.channels * work.area % 4),
        float(work.out_width),
        float(work.out_width % 6),
        work.edge / work.out_width,
        _log(work.macs / n_moved),
        float(bool(kernel.attribute("fused_add", 0))),
        float(bool(kernel.attribute("activation", ""))),
    )


def is_integer(kernel: Kernel) -> bool:
    """Whether the kernel reads int8 or uint8 activations."""
    return kernel.dtype in ("uint8", "int8")


def _window_elements(kernel: Kernel) -> int:
    """Elements a pooling kernel reads, counted once per window; 0 for other operators."""
    window = kernel.attribute("kernel_shape", ())
    if "Pool" not in kernel.op or not isinstance(window, tuple) or not kernel.output_shapes:
        return 0
    return math.prod(kernel.output_shapes[0]) * math.prod(int(size) for size in window)


def _weight_bytes(kernel: Kernel) -> int:
    return sum(map(_elements, kernel.weight_shapes)) * _itemsize(kernel)


def _elements(shape: Shape) -> int:
    return math.prod(shape)


def _itemsize(kernel: Kernel) -> int:
    return _BYTES.get(kernel.dtype, 1)


def _out_itemsize(kernel: Kernel) -> int:
    """Bytes of an output element: quantising and dequantising change the type."""
    return {"QuantizeLinear": 1, "DequantizeLinear": 4}.get(kernel.op, _itemsize(kernel))


def _integer(kernel: Kernel, name: str, default: int) -> int:
    value = kernel.attribute(name, default)
    return int(value) if isinstance(value, int | float) else default


def _padded(value: int, multiple: int) -> int:
    return math.ceil(value / multiple) * multiple


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -1.0
