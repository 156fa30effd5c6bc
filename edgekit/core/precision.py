"""The precisions a block can run in."""

from __future__ import annotations

from enum import StrEnum


class Precision(StrEnum):
    """Numeric form of a block's weights and activations.

    ``INT8`` means QDQ U8S8: uint8 activations with one scale and zero point per tensor
    (asymmetric), int8 weights with one scale per output channel (symmetric), int32 bias.
    """

    FP32 = "fp32"
    INT8 = "int8"
