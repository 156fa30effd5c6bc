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


FULL_WEIGHT_MAX = 127
"""Largest magnitude of an int8 weight, where the CPU adds products in 32 bits."""

REDUCED_WEIGHT_MAX = 64
"""The same for x86 without VNNI: there two products of a uint8 and a weight are added in a signed
16-bit number, which saturates above 32767; 2 * 255 * 64 still fits."""

INT8_TOLERANCE = 0.003
"""Share of right answers that int8 may cost a user's network before it is trained in int8."""
