"""Labels are moved as the elements are."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgekit.search.elastic.values import FIXED, Block, Flow, Value


def _full(value: Value) -> np.ndarray:
    """The label of every element, where one block has labels."""
    (block,) = value.blocks
    shape = [n if d in block.dims else 1 for d, n in enumerate(value.shape)]
    return np.broadcast_to(block.labels.reshape(shape), value.shape)


def _axis(flow: Flow, shape: tuple[int, ...], dim: int) -> Value:
    return Value(shape, (Block((dim,), flow.links.labels(shape[dim])),))


@st.composite
def _steps(draw):
    """A shape with a labelled axis, and reshapes and permutations of it."""
    factors = draw(st.lists(st.sampled_from([1, 2, 3, 4]), min_size=2, max_size=5))
    dim = draw(st.integers(0, len(factors) - 1))
    factors[dim] = draw(st.sampled_from([4, 6, 8]))
    steps, shape = [], list(factors)
    for _ in range(draw(st.integers(1, 4))):
        if draw(st.booleans()):
            order = draw(st.permutations(range(len(shape))))
            steps.append(("permute", tuple(order)))
            shape = [shape[d] for d in order]
        else:
            shape = draw(_reshaped(shape))
            steps.append(("reshape", tuple(shape)))
    return tuple(factors), dim, steps


@st.composite
def _reshaped(draw, shape):
    """Another shape of as many elements: some axes split, some merged."""
    parts = []
    for size in shape:
        divisors = [d for d in range(1, size + 1) if size % d == 0]
        first = draw(st.sampled_from(divisors))
        parts += [first, size // first]
    merged = [parts[0]]
    for size in parts[1:]:
        if draw(st.booleans()):
            merged[-1] *= size
        else:
            merged.append(size)
    return merged


@given(_steps())
def test_reshapes_and_permutations_take_labels_where_elements_go(drawn):
    shape, dim, steps = drawn
    flow = Flow()
    value = _axis(flow, shape, dim)
    expected = _full(value)
    for kind, argument in steps:
        if kind == "permute":
            value, expected = flow.permuted(value, argument), expected.transpose(argument)
        else:
            value, expected = flow.reshaped(value, argument), expected.reshape(argument)
        assert value.shape == expected.shape
        np.testing.assert_array_equal(_full(value), expected)


def test_what_is_added_up_stays_together():
    flow = Flow()
    first, second = _axis(flow, (2, 4, 5), 1), _axis(flow, (4, 1), 0)
    flow.together([first, second])
    classes = flow.links.classes()
    np.testing.assert_array_equal(
        classes[first.blocks[0].labels], classes[second.blocks[0].labels]
    )
    assert len(set(classes)) == 5


def test_what_meets_an_axis_that_cannot_shrink_stays():
    flow = Flow()
    value = _axis(flow, (2, 4), 1)
    flow.together([value, Value((2, 4))])
    classes = flow.links.classes()
    assert (classes[value.blocks[0].labels] == classes[FIXED]).all()


def test_heads_that_meet_an_axis_that_cannot_shrink_still_go_whole():
    flow = Flow()
    split = flow.reshaped(_axis(flow, (1, 12), 1), (1, 4, 3))
    flow.together([split, Value((1, 1, 3))])
    classes = flow.links.classes()[split.blocks[0].labels]
    assert (classes == classes[:, :1]).all()
    assert len(set(classes[:, 0])) == 4


def test_a_split_axis_shrinks_along_its_longest_part():
    flow = Flow()
    split = flow.reshaped(_axis(flow, (12,), 0), (2, 6))
    classes = flow.links.classes()[split.blocks[0].labels]
    assert (classes[0] == classes[1]).all()
    assert len(set(classes[0])) == 6


def test_concatenated_parts_keep_their_labels():
    flow = Flow()
    parts = [_axis(flow, (1, n, 3), 1) for n in (2, 4)]
    whole = flow.concatenated([*parts, Value((1, 5, 3))], 1)
    assert whole.shape == (1, 11, 3)
    labels = [part.blocks[0].labels for part in parts]
    np.testing.assert_array_equal(_full(whole)[0, :6, 0], np.concatenate(labels))
    assert (_full(whole)[0, 6:, 0] == FIXED).all()


def test_what_is_summed_over_stays():
    flow = Flow()
    value = _axis(flow, (2, 4, 3), 1)
    kept, dropped = (flow.without(value, [1], keep=keep) for keep in (True, False))
    assert (kept.shape, dropped.shape) == ((2, 1, 3), (2, 3))
    assert not kept.blocks
    classes = flow.links.classes()
    assert (classes[value.blocks[0].labels] == classes[FIXED]).all()
