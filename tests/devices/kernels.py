"""Kernels written by hand, for tests that check costs against products."""

from __future__ import annotations

from edgekit.core.kernel import AttributeValue, Kernel, Shape


def conv(
    channels: int,
    out_channels: int,
    size: int,
    kernel: int = 3,
    *,
    stride: int = 1,
    groups: int = 1,
    **attributes: AttributeValue,
) -> Kernel:
    """An fp32 convolution as ONNX Runtime's blocked layout runs it."""
    out = -(-size // stride)
    values = {
        "group": groups,
        "kernel_shape": (kernel, kernel),
        "strides": (stride, stride),
        **attributes,
    }
    return Kernel(
        op="Conv",
        domain="com.microsoft.nchwc",
        dtype="float",
        input_shapes=((1, channels, size, size),),
        weight_shapes=((out_channels, channels // groups, kernel, kernel), (out_channels,)),
        output_shapes=((1, out_channels, out, out),),
        attributes=tuple(sorted(values.items())),
        provider="CPUExecutionProvider",
    )


def plain(
    op: str,
    inputs: tuple[Shape, ...],
    output: Shape,
    *,
    dtype: str = "float",
    weights: tuple[Shape, ...] = (),
    **attributes: AttributeValue,
) -> Kernel:
    """Any other operator."""
    return Kernel(
        op,
        "",
        dtype,
        inputs,
        weights,
        (output,),
        tuple(sorted(attributes.items())),
        "CPUExecutionProvider",
    )
