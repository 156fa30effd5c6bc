"""Frames: exact there and back, the same bytes for ever, and an answer to any bytes."""

from __future__ import annotations

import json
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit.split import codec
from edgekit.split.codec import (
    HEADER_BYTES,
    MAX_PAYLOAD_BYTES,
    MAX_SYMBOL,
    PRECISION,
    Context,
    FrameError,
    Symbols,
    Tables,
    crc32c,
)

GOLDEN = Path(__file__).parent / "golden_frames.json"
SHAPE = (6, 4, 5)
SLICE_S = 30.0


def tables(shape: tuple[int, int, int] = SHAPE, model: str = "test") -> Tables:
    """Of integers alone, the same on every machine: a peak, a slope, and a channel of one."""
    counts = []
    for channel in range(shape[0]):
        weights = np.array([1 + (7 * k + 3 * channel) % 29 for k in range(2 + 5 * channel)])
        row = weights * (2**PRECISION // int(weights.sum()))
        row[0] += 2**PRECISION - int(row.sum())
        counts.append(row)
    medians = np.arange(shape[0], dtype=np.float32) / 8
    lowest = -np.arange(shape[0], dtype=np.int32)
    return Tables(model, shape, medians, lowest, tuple(counts))


def drawn(seed: int, spread: float = 4.0, shape: tuple[int, int, int] = SHAPE) -> Symbols:
    values = np.random.default_rng(seed).standard_cauchy(shape) * spread
    symbols: Symbols = np.rint(values).clip(-MAX_SYMBOL, MAX_SYMBOL).astype(np.int32)
    return symbols


@pytest.fixture(params=["constriction", "python"], autouse=True)
def coder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both coders, which must not differ in a bit."""
    if request.param == "python":
        monkeypatch.setattr(codec, "constriction", None)
    return str(request.param)


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.integers(0, 2**31), st.sampled_from([0.1, 4.0, 1e3, 1e7]))
def test_any_symbols_come_back(seed: int, spread: float) -> None:
    symbols = drawn(seed, spread)
    assert (tables().decode(tables().encode(symbols)) == symbols).all()


@pytest.mark.parametrize("spread", [0.1, 4.0, 1e3, 1e7])
def test_both_coders_give_the_same_bytes(
    spread: float, coder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = [tables().encode(drawn(seed, spread)) for seed in range(60)]
    if coder == "python":
        monkeypatch.undo()
    else:
        monkeypatch.setattr(codec, "constriction", None)
    assert [tables().encode(drawn(seed, spread)) for seed in range(60)] == frames
    for seed, frame in enumerate(frames):
        assert (tables().decode(frame) == drawn(seed, spread)).all()


def test_the_ends_of_the_range_come_back() -> None:
    symbols = np.zeros(SHAPE, np.int32)
    symbols[0, 0] = [MAX_SYMBOL, -MAX_SYMBOL, MAX_SYMBOL - 1, 1 - MAX_SYMBOL, 1]
    assert (tables().decode(tables().encode(symbols)) == symbols).all()


def in_context(known: Tables) -> Tables:
    """The same with contexts in every other channel, of three by two classes each."""
    contexts = [
        Context(
            np.array([-6, 15]),
            np.array([900 * channel]),
            np.array([[300] * channel + [0, 40], [200] * channel + [25, -90]]),
            tuple(np.roll(row, shift) for shift in range(6)),
        )
        if channel % 2
        else None
        for channel, row in enumerate(known.counts)
    ]
    return replace(known, contexts=tuple(contexts))


@pytest.mark.parametrize("shape", [(6, 4, 5), (2, 1, 1), (2, 1, 7), (2, 8, 8), (3, 5, 1)])
def test_contexts_come_back_and_are_other_frames(shape: tuple[int, int, int]) -> None:
    known = tables(shape)
    other = in_context(known)
    assert Tables.from_bytes(other.to_bytes()).digest == other.digest != known.digest
    for seed in range(20):
        for spread in (0.3, 4.0, 1e4):  # the last one mostly outside of the tables
            symbols = drawn(seed, spread, shape)
            assert (other.decode(other.encode(symbols)) == symbols).all()
    with pytest.raises(FrameError, match="has model"):
        known.decode(other.encode(symbols))


def test_a_context_has_the_symbols_of_its_channel() -> None:
    known, none = tables(), np.zeros(0, np.int64)
    weights, own = np.zeros((2, 3), np.int64), known.counts[1]
    for context, rule in (
        (Context(np.array([0]), none, weights, (own, known.counts[2])), "a table for each pair"),
        (Context(np.array([0, 1]), none, weights, (own,) * 2), "a table for each pair"),
        (Context(none, np.array([0, 1]), weights, (own,) * 2), "a table for each pair"),
        (Context(np.array([1, 0]), none, weights, (own,) * 3), "ascending thresholds"),
        (Context(none, np.array([1, 1]), weights, (own,) * 3), "ascending thresholds"),
        (Context(none, none, weights[:, :2], (own,)), "two rows of 3 weights"),
        (Context(none, none, weights + MAX_SYMBOL + 1, (own,)), "at most 16777216"),
        (Context(none, none, weights + np.iinfo(np.int64).min, (own,)), "at most 16777216"),
        (Context(np.zeros((1, 1), np.int64), none, weights, (own,) * 2), "ascending thresholds"),
        (Context(np.array([0]), none, weights, (own, own + 1)), "sum to"),
    ):
        with pytest.raises(ValueError, match=rule):
            replace(known, contexts=(None, context, None, None, None, None))
    with pytest.raises(ValueError, match="each channel has a context"):
        replace(known, contexts=(None,))


def test_frames_of_earlier_versions_are_still_written_and_read() -> None:
    golden = json.loads(GOLDEN.read_text())
    assert list(golden) == ["plain", "in context"]
    for known, frames in zip((tables(), in_context(tables())), golden.values(), strict=True):
        assert len(frames) == 8
        for seed, text in frames.items():
            assert known.encode(drawn(int(seed))).hex() == text
            assert (known.decode(bytes.fromhex(text)) == drawn(int(seed))).all()


def test_a_payload_is_as_long_as_its_information_and_three_bits() -> None:
    shape = (4, 8, 8)
    known = tables(shape)
    rng, lengths, information = np.random.default_rng(0), [], []
    for _ in range(200):
        symbols, bits = np.empty(shape, np.int32), 0.0
        for channel, row in enumerate(known.counts):
            shares = row[:-1] / row[:-1].sum()
            places = rng.choice(len(shares), (8, 8), p=shares)
            symbols[channel] = places + known.lowest[channel]
            bits -= np.log2(row[places] / 2**PRECISION).sum()
        lengths.append(8 * (len(known.encode(symbols)) - HEADER_BYTES))
        information.append(bits)
    over = np.array(lengths) - np.array(information)
    assert 0 < over.mean() < 5  # a little less is possible: the length tells something too
    assert over.max() < 12


def test_a_latent_is_rounded_around_the_medians() -> None:
    known = tables()
    symbols = drawn(3, 1.0)
    latent = known.latent(symbols)
    assert latent.dtype == np.float32
    assert (known.symbols(latent + np.float32(0.25)) == symbols).all()
    with pytest.raises(ValueError, match="finite and at most"):
        known.symbols(np.full(SHAPE, np.nan, np.float32))
    with pytest.raises(ValueError, match="a latent has shape"):
        known.symbols(np.zeros((1, 1, 1), np.float32))


def test_tables_come_back_from_a_file_and_models_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "tables.json"
    path.write_bytes(tables().to_bytes())
    again = Tables.load(path)
    assert again.digest == tables().digest
    assert (again.decode(tables().encode(drawn(1))) == drawn(1)).all()
    other = tables(model="another")
    with pytest.raises(FrameError, match=f"has model {other.digest.hex()!r}, got"):
        other.decode(tables().encode(drawn(1)))


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"kind": "else"}, "of kind split-tables"),
        ({"shape": [6, 4]}, "not enough values"),
        ({"shape": [6, 4, 256]}, "three axes of 1 to 255"),
        ({"lowest": []}, "a table for each of 6 channels"),
        ({"medians": [float("nan")] * 6}, "medians are finite"),
        ({"counts": [[1, 2]] * 6}, "sum to"),
        ({"counts": [[0, 2**24]] * 6}, "above 0"),
        ({"counts": 3}, "other fields"),
        ({"model": None, "counts": None}, "other fields"),
    ],
)
def test_tables_with_other_values_are_refused(change: dict[str, object], rule: str) -> None:
    document = json.loads(tables().to_bytes()) | change
    with pytest.raises(ValueError, match=rule):
        Tables.from_bytes(json.dumps(document).encode())


def test_a_file_of_tables_that_is_too_long_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "tables.json"
    with path.open("wb") as file:
        file.truncate(codec.MAX_TABLES_BYTES + 1)
    with pytest.raises(ValueError, match="have at most"):
        Tables.load(path)


def test_a_frame_is_sixteen_bytes_and_the_payload() -> None:
    quiet = np.zeros(SHAPE, np.int32)
    frame = tables().encode(quiet)
    assert HEADER_BYTES == 16
    assert frame[:2] == b"eS"
    assert int.from_bytes(frame[10:12], "little") == len(frame) - 16
    assert crc32c(b"123456789") == 0xE3069283  # the check value of the standard


def test_what_a_frame_does_not_hold_is_refused() -> None:
    shape = (1, 255, 255)
    loud = drawn(0, 1e7, shape)
    with pytest.raises(ValueError, match="a higher price of bits"):
        tables(shape).encode(loud)
    with pytest.raises(ValueError, match="symbols have shape"):
        tables().encode(np.zeros((1, 2, 3), np.int32))


@pytest.mark.parametrize(
    ("place", "rule"),
    [(0, "has magic"), (2, "has version"), (4, "has model"), (8, "has shape"), (11, "has length")],
)
def test_each_field_of_the_header_is_checked(place: int, rule: str) -> None:
    frame = bytearray(tables().encode(drawn(2)))
    frame[place] ^= 1
    with pytest.raises(FrameError, match=rule):
        tables().decode(bytes(frame))


@pytest.mark.parametrize("n_bytes", [0, 1, 15, HEADER_BYTES + MAX_PAYLOAD_BYTES + 1])
def test_other_lengths_are_no_frame(n_bytes: int) -> None:
    with pytest.raises(FrameError, match="a frame has 16 to 65551 bytes, got"):
        tables().decode(bytes(n_bytes))


def test_a_longer_payload_for_the_same_symbols_is_refused() -> None:
    known = tables()
    payload = known.encode(drawn(2))[HEADER_BYTES:] + b"\1"
    with pytest.raises(FrameError, match="shortest"):
        known.decode(known._header(payload) + payload)


def test_any_bytes_get_an_answer_in_bounded_time_and_memory() -> None:
    """Frames that were changed, half of them with a checksum that holds again."""
    known, rng = in_context(tables()), np.random.default_rng(0)
    frames = [known.encode(drawn(seed)) for seed in range(8)]
    accepted = refused = 0
    slowest_s, end_s = 0.0, time.perf_counter() + SLICE_S
    tracemalloc.start()
    while time.perf_counter() < end_s:
        frame = mutated(frames[int(rng.integers(len(frames)))], known, rng)
        start_s = time.perf_counter()
        try:
            symbols = known.decode(frame)
        except FrameError:
            refused += 1
        else:
            accepted += 1
            assert known.encode(symbols) == frame
        slowest_s = max(slowest_s, time.perf_counter() - start_s)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert accepted > 10
    assert refused > 100
    assert slowest_s < 1
    assert peak_bytes < 10e6


def mutated(frame: bytes, known: Tables, rng: np.random.Generator) -> bytes:
    """Bytes changed, cut off, added or all drawn."""
    data = bytearray(frame)
    for _ in range(int(rng.integers(1, 5))):
        data[int(rng.integers(len(data)))] = int(rng.integers(256))
    kind = rng.random()
    if kind < 0.2:
        data = data[: int(rng.integers(len(data) + 1))]
    elif kind < 0.4:
        data += rng.bytes(int(rng.integers(1, 64)))
    elif kind < 0.5:
        data = bytearray(rng.bytes(int(rng.integers(200))))
    if rng.random() < 0.5:
        payload = bytes(data[HEADER_BYTES:])
        return known._header(payload) + payload
    return bytes(data)
