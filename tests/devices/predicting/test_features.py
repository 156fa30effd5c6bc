from __future__ import annotations

import dataclasses

import pytest

from edgekit.devices.predicting.features import (
    TERMS,
    TREE_FEATURES,
    group_key,
    is_integer,
    product_of,
    roofline_terms,
    tree_features,
)
from tests.devices.kernels import conv, plain


def _terms(kernel):
    return dict(zip(TERMS, roofline_terms(kernel), strict=True))


@pytest.mark.parametrize(
    ("kernel", "kind"),
    [
        (conv(3, 16, 32), "stem"),
        (conv(16, 32, 16, 1), "pointwise"),
        (conv(32, 32, 16, 5, groups=32), "depthwise"),
        (conv(32, 32, 16, 3, groups=4), "grouped"),
        (conv(32, 32, 16, 3), "kxk"),
        (plain("Gemm", ((1, 64),), (1, 10), weights=((10, 64), (10,))), "m1"),
        (plain("MatMul", ((1, 49, 64),), (1, 49, 32), weights=((64, 32),)), "mn"),
        (plain("MatMul", ((1, 2, 49, 64), (1, 2, 64, 49)), (1, 2, 49, 49)), "pair"),
        (plain("Mul", ((1, 8, 4, 4), (1, 8, 1, 1)), (1, 8, 4, 4)), "broadcast"),
        (plain("Mul", ((1, 8, 4, 4), (1, 8, 4, 4)), (1, 8, 4, 4)), "same"),
        (plain("Transpose", ((1, 3, 8, 8),), (1, 8, 8, 3), perm=(0, 2, 3, 1)), "inner"),
        (plain("Transpose", ((1, 2, 4, 8),), (1, 4, 2, 8), perm=(0, 2, 1, 3)), "outer"),
        (plain("Relu", ((1, 8, 4, 4),), (1, 8, 4, 4)), "plain"),
    ],
)
def test_kind_is_the_last_part_of_the_group(kernel, kind):
    assert group_key(kernel).split("|")[2] == kind


def test_group_tells_operators_domains_and_types_apart():
    kernels = [
        conv(16, 16, 8),
        dataclasses.replace(conv(16, 16, 8), domain=""),
        dataclasses.replace(conv(16, 16, 8), op="QLinearConv", dtype="uint8"),
    ]
    assert len({group_key(kernel) for kernel in kernels}) == 3


def test_macs_of_a_strided_convolution():
    work = product_of(conv(16, 24, 32, 3, stride=2))
    assert work is not None
    assert work.macs == 16 * 16 * 24 * 16 * 3 * 3
    assert _terms(conv(16, 24, 32, 3, stride=2))["macs_padded"] == 16 * 16 * 32 * 16 * 3 * 3


def test_macs_of_depthwise_and_grouped_convolutions():
    depthwise = conv(24, 24, 8, 5, groups=24)
    assert _terms(depthwise)["macs"] == 8 * 8 * 24 * 5 * 5
    assert _terms(depthwise)["macs_padded"] == 8 * 8 * 32 * 5 * 5
    assert _terms(conv(32, 64, 8, 3, groups=4))["macs"] == 8 * 8 * 64 * 8 * 3 * 3


def test_channels_last_convolution_has_the_same_work():
    first = conv(16, 32, 8)
    last = dataclasses.replace(
        first,
        input_shapes=((1, 8, 8, 16),),
        output_shapes=((1, 8, 8, 32),),
        attributes=tuple(sorted({**dict(first.attributes), "channels_last": 1}.items())),
    )
    assert product_of(last) == product_of(first)


def test_macs_of_matrix_products():
    shared = plain("MatMul", ((1, 49, 64),), (1, 49, 32), weights=((64, 32),))
    pair = plain("MatMul", ((1, 2, 49, 64), (1, 2, 64, 49)), (1, 2, 49, 49))
    assert _terms(shared)["macs"] == 49 * 64 * 32
    assert _terms(pair)["macs"] == 2 * 49 * 49 * 64


def test_misaligned_channels_are_flagged():
    assert _terms(conv(16, 24, 8))["macs_off_lanes"] == _terms(conv(16, 24, 8))["macs"]
    assert _terms(conv(16, 32, 8))["macs_off_lanes"] == 0
    assert _terms(conv(16, 30, 8))["macs_off_fours"] > 0
    assert _terms(conv(16, 28, 8))["macs_off_fours"] == 0


def test_bytes_follow_the_element_type():
    shape = (1, 8, 4, 4)
    assert _terms(plain("Relu", (shape,), shape))["bytes_in"] == 4 * 128
    quantise = plain("QuantizeLinear", (shape,), shape)
    assert (_terms(quantise)["bytes_in"], _terms(quantise)["bytes_out"]) == (4 * 128, 128)
    dequantise = plain("DequantizeLinear", (shape,), shape, dtype="uint8")
    assert (_terms(dequantise)["bytes_in"], _terms(dequantise)["bytes_out"]) == (128, 4 * 128)


def test_pools_count_their_windows():
    pool = plain("MaxPool", ((1, 8, 8, 8),), (1, 8, 4, 4), kernel_shape=(3, 3))
    assert _terms(pool)["window_elements"] == 8 * 4 * 4 * 9


def test_terms_and_features_have_their_names_and_are_finite():
    empty = plain("Constant", (), (1,))
    for kernel in (conv(3, 16, 32), empty, plain("Relu", ((1, 0),), (1, 0))):
        assert len(roofline_terms(kernel)) == len(TERMS)
        assert min(roofline_terms(kernel)) >= 0
        assert len(tree_features(kernel)) == len(TREE_FEATURES)


def test_elementwise_operators_get_only_their_sizes():
    flat = plain("Relu", ((1, 64),), (1, 64))
    assert tree_features(flat) == tree_features(plain("Relu", ((1, 4, 4, 4),), (1, 4, 4, 4)))


def test_integer_kernels():
    assert is_integer(plain("Add", ((1,),), (1,), dtype="uint8"))
    assert not is_integer(conv(3, 16, 32))
