"""Latents to frames of bytes and back. Needs numpy; constriction makes it some times as fast.

latent -> symbols around the medians -> range coder with integer tables -> frame

Both halves of a split network have a copy of this file and the same tables, so that what one
writes the other reads, bit for bit, on any processor. Where constriction is not installed (it has
no build for Linux on Arm) the same range coder runs in Python and gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import struct
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

try:
    import constriction
except ImportError:
    constriction = None

PRECISION = 24
"""Bits of a probability, the most the coder has: 16 lose 1.65 % of 680 bytes."""
MAX_SYMBOL = 2**24
MAX_SIZE = 8
"""Magnitude that contexts count a greater symbol as."""
MAX_PAYLOAD_BYTES = 2**16 - 1
MAX_TABLES_BYTES = 2**24
MAX_SIDE = 255
HEADER_BYTES = 16

_KIND, _SCHEMA = "split-tables", 1
_MAGIC, _VERSION = b"eS", 1
_HEADER = struct.Struct("<2sB4sBBBHI")
_WORD_BITS, _STATE_BITS, _CHUNK_BITS = 32, 64, 16

Symbols = NDArray[np.int32]
Latent = NDArray[np.float32]


class FrameError(ValueError):
    """Bytes that are no frame of this model."""


@dataclass(frozen=True, eq=False)
class Context:
    """Tables of a channel by what was coded before a symbol.

    Two figures choose the table: the mean of the symbols around it (``levels`` says which are
    coded before), 0 where there are none; and the size that is expected of it, a weighted sum of
    the sizes of the symbols at the same place in the channels before, and around. A size is a
    magnitude, at most ``MAX_SIZE``.

    Attributes:
        means: int64, ascending thresholds of ``12 * mean``.
        sizes: int64, ascending thresholds of the weighted sum.
        weights: ``(2, channel + 2)`` int64 for channel number ``channel``, each at most
            ``MAX_SYMBOL``: of the sizes in the channels before, of ``12 * mean`` of those around,
            and what is added; first for places that have none around, then for the others.
        counts: as of ``Tables``, for each class of sizes one for each class of means.
    """

    means: NDArray[np.int64]
    sizes: NDArray[np.int64]
    weights: NDArray[np.int64]
    counts: tuple[NDArray[np.int64], ...]

    @cached_property
    def intervals(self) -> list[_Intervals]:
        """By class."""
        return [_Intervals(row) for row in self.counts]

    @cached_property
    def rows(self) -> NDArray[np.float64]:
        """Counts by class, for constriction."""
        return np.stack(self.counts).astype(np.float64)

    def expected(self, before: NDArray[Any]) -> NDArray[Any]:
        """What sizes ``(..., channel, places)`` of channels before tell: ``(..., 2, places)``."""
        found: NDArray[Any] = self.weights[:, :-2] @ before + self.weights[:, -1:]
        return found

    def classes(
        self, row: NDArray[np.int64], expected: NDArray[Any], level: Level
    ) -> NDArray[np.int64]:
        """Of the places of a level.

        Args:
            row: ``(..., places)`` symbols of the channel; those of earlier levels are read.
            expected: ``(..., 2, places)``, of ``expected``.
            level: of ``levels``.
        """
        size, mean = expected[..., level.kind, level.positions], 0
        if level.kind:
            near = means(np.stack([row, sizes(row)]), level)
            size, mean = size + self.weights[1, -2] * near[1], near[0]
        by_size = self.sizes.searchsorted(size, "right") * (len(self.means) + 1)
        found: NDArray[np.int64] = by_size + self.means.searchsorted(mean, "right")
        return found


@dataclass(frozen=True, eq=False)
class Tables:
    """What the two halves of a model share.

    Attributes:
        model: what the tables belong to, as text: the digest of the encoder.
        shape: ``(channels, height, width)`` of a latent, each 1..255.
        medians: ``(channels,)`` float32; symbols count from there.
        lowest: ``(channels,)`` int32, the first symbol of each table.
        counts: for each channel the probabilities of its symbols and of all others, in
            ``2**-PRECISION``: int64 above 0, at least 2, that sum to ``2**PRECISION``.
        contexts: for each channel other tables of as many symbols, by what is coded before, or
            None. Empty for none.

    Raises:
        ValueError: values out of these ranges.
    """

    model: str
    shape: tuple[int, int, int]
    medians: Latent
    lowest: Symbols
    counts: tuple[NDArray[np.int64], ...]
    contexts: tuple[Context | None, ...] = ()

    def __post_init__(self) -> None:
        channels = self.shape[0]
        if len(self.shape) != 3 or not all(1 <= side <= MAX_SIDE for side in self.shape):
            raise ValueError(
                f"a latent has three axes of 1 to {MAX_SIDE}, got {self.shape}; make it smaller"
            )
        if not len(self.medians) == len(self.lowest) == len(self.counts) == channels:
            raise ValueError(
                f"there is a table for each of {channels} channels, got {len(self.medians)} "
                f"medians, {len(self.lowest)} first symbols and {len(self.counts)} tables"
            )
        if not np.isfinite(self.medians).all() or (np.abs(self.lowest) > MAX_SYMBOL).any():
            raise ValueError(f"medians are finite and symbols at most {MAX_SYMBOL}, got others")
        if self.contexts and len(self.contexts) != channels:
            raise ValueError(f"each channel has a context or None, got {len(self.contexts)}")
        rows = list(self.counts)
        for channel, context in enumerate(self.contexts):
            row = self.counts[channel]
            if context is None:
                continue
            ascend = all(
                one.ndim == 1 and (one[1:] > one[:-1]).all()
                for one in (context.means, context.sizes)
            )
            n_classes = (len(context.means) + 1) * (len(context.sizes) + 1)
            if (
                {one.shape for one in context.counts} != {row.shape}
                or not ascend
                or len(context.counts) != n_classes
            ):
                raise ValueError(
                    "a context has ascending thresholds and a table for each pair of classes, of "
                    f"the symbols of its channel, got {len(context.counts)} for {n_classes}"
                )
            weights = context.weights
            are_small = (weights >= -MAX_SYMBOL) & (weights <= MAX_SYMBOL)
            if weights.shape != (2, channel + 2) or not are_small.all():
                raise ValueError(
                    f"a context of channel {channel} has two rows of {channel + 2} weights of at "
                    f"most {MAX_SYMBOL}, got {weights.shape}"
                )
            rows += context.counts
        for row in rows:
            if row.ndim != 1 or len(row) < 2 or row.min() < 1 or row.sum() != 2**PRECISION:
                raise ValueError(
                    f"the counts of a channel are two or more above 0 that sum to 2**{PRECISION}, "
                    f"got {len(row)} that sum to {row.sum()}"
                )
        object.__setattr__(self, "_intervals", [_Intervals(row) for row in self.counts])

    @cached_property
    def digest(self) -> bytes:
        """Four bytes that tell models apart."""
        return hashlib.sha256(self.to_bytes()).digest()[:4]

    def symbols(self, latent: Latent) -> Symbols:
        """Round a latent ``(channels, height, width)`` around the medians.

        Raises:
            ValueError: another shape, or values that are not finite or beyond ``MAX_SYMBOL``.
        """
        if latent.shape != self.shape:
            raise ValueError(f"a latent has shape {self.shape}, got {latent.shape}")
        centred = np.rint(latent - self.medians[:, None, None])
        if not (np.abs(centred) <= MAX_SYMBOL).all():
            raise ValueError(f"a latent is finite and at most {MAX_SYMBOL}, got another")
        symbols: Symbols = centred.astype(np.int32)
        return symbols

    def latent(self, symbols: Symbols) -> Latent:
        """What the other half sees: ``(channels, height, width)`` float32."""
        latent: Latent = symbols.astype(np.float32) + self.medians[:, None, None]
        return latent

    def encode(self, symbols: Symbols) -> bytes:
        """A frame of the symbols ``(channels, height, width)``.

        Raises:
            ValueError: another shape, symbols beyond ``MAX_SYMBOL``, or a longer payload than a
                frame holds.
        """
        if symbols.shape != self.shape or (np.abs(symbols) > MAX_SYMBOL).any():
            raise ValueError(
                f"symbols have shape {self.shape} and at most {MAX_SYMBOL}, got {symbols.shape}"
            )
        payload = self._coded(symbols)
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise ValueError(
                f"a frame holds {MAX_PAYLOAD_BYTES} bytes, this latent takes {len(payload)}; "
                "train with a higher price of bits"
            )
        return self._header(payload) + payload

    def decode(self, frame: bytes) -> Symbols:
        """Inverse of ``encode``, in time and memory that the shape of the model bounds.

        Raises:
            FrameError: not what ``encode`` wrote with these tables.
        """
        if not HEADER_BYTES <= len(frame) <= HEADER_BYTES + MAX_PAYLOAD_BYTES:
            raise FrameError(
                f"a frame has {HEADER_BYTES} to {HEADER_BYTES + MAX_PAYLOAD_BYTES} bytes, got "
                f"{len(frame)}"
            )
        payload = frame[HEADER_BYTES:]
        if frame[:HEADER_BYTES] != self._header(payload):
            raise FrameError(self._what_differs(frame))
        try:
            symbols = self._decoded(payload)
        except (AssertionError, ValueError, OverflowError) as error:
            raise FrameError(
                f"a payload holds symbols of this model, this one does not: {error}"
            ) from error
        if self._coded(symbols) != payload:
            raise FrameError("a payload is the shortest for its symbols, this one is not")
        return symbols

    def to_bytes(self) -> bytes:
        """As a JSON document."""
        document: dict[str, Any] = {
            "kind": _KIND,
            "schema_version": _SCHEMA,
            "model": self.model,
            "shape": list(self.shape),
            "medians": [float(value) for value in self.medians],
            "lowest": [int(value) for value in self.lowest],
            "counts": [row.tolist() for row in self.counts],
        }
        if self.contexts:
            document["contexts"] = [
                context
                and {
                    "means": context.means.tolist(),
                    "sizes": context.sizes.tolist(),
                    "weights": context.weights.tolist(),
                    "counts": [row.tolist() for row in context.counts],
                }
                for context in self.contexts
            ]
        return json.dumps(document).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Tables:
        """Inverse of ``to_bytes``.

        Raises:
            ValueError: too long, not JSON, another kind, or values out of their ranges.
        """
        if len(data) > MAX_TABLES_BYTES:
            raise ValueError(f"tables have at most {MAX_TABLES_BYTES} bytes, got {len(data)}")
        document = json.loads(data)
        try:
            if (document["kind"], document["schema_version"]) != (_KIND, _SCHEMA):
                raise ValueError(f"tables are of kind {_KIND} {_SCHEMA}, these are not")
            channels, height, width = (int(side) for side in document["shape"])
            return cls(
                str(document["model"]),
                (channels, height, width),
                np.array(document["medians"], np.float32),
                np.array(document["lowest"], np.int32),
                tuple(np.array(row, np.int64) for row in document["counts"]),
                tuple(map(_context, document.get("contexts", []))),
            )
        except (KeyError, TypeError, OverflowError, RecursionError) as error:
            raise ValueError(f"tables have other fields than these: {error!r}") from error

    @classmethod
    def load(cls, path: Path) -> Tables:
        """Read a file; raises as ``from_bytes``, before it reads one that is too long."""
        if path.stat().st_size > MAX_TABLES_BYTES:
            raise ValueError(f"tables have at most {MAX_TABLES_BYTES} bytes, {path} has more")
        return cls.from_bytes(path.read_bytes())

    def _header(self, payload: bytes) -> bytes:
        start = _HEADER.pack(_MAGIC, _VERSION, self.digest, *self.shape, len(payload), 0)
        return start[:-4] + struct.pack("<I", crc32c(start[:-4] + payload))

    def _what_differs(self, frame: bytes) -> str:
        magic, version, digest, *shape, length, _ = _HEADER.unpack(frame[:HEADER_BYTES])
        found = (
            ("magic", magic, _MAGIC),
            ("version", version, _VERSION),
            ("model", digest.hex(), self.digest.hex()),
            ("shape", tuple(shape), self.shape),
            ("length", length, len(frame) - HEADER_BYTES),
        )
        for name, given, wanted in found:
            if given != wanted:
                return f"a frame of this model has {name} {wanted!r}, got {given!r}"
        return "a frame has the checksum of its content, this one was changed on the way"

    def _coded(self, symbols: Symbols) -> bytes:
        parts: list[tuple[Symbols, _Choice]] = []
        escaped: list[int] = []
        before = np.zeros((len(symbols), symbols[0].size), np.int64)
        places = symbols.reshape(len(symbols), -1) - self.lowest[:, None]
        for channel, row in enumerate(places):
            n_known = len(self.counts[channel]) - 1
            outside = (row < 0) | (row >= n_known)
            if outside.any():
                escaped += [_folded(p, n_known) for p in row[outside].tolist()]
                row[outside] = n_known
            runs = self._runs(channel, row, before)
            parts += [(row[where], tables) for where, tables in runs]
        for value in escaped:
            chunks = _chunks(value)
            parts += [(np.array([chunk], np.int32), _uniform(bits)) for chunk, bits in chunks]
        return _shortest(*(_interval if constriction is None else _native_interval)(parts))

    def _decoded(self, payload: bytes) -> Symbols:
        n_padding = -len(payload) % (_WORD_BITS // 8) + _STATE_BITS // 8
        words = np.frombuffer(payload + bytes(n_padding), ">u4").astype(np.uint32)
        read = _reader(words) if constriction is None else _native_reader(words)
        channels, height, width = self.shape
        places = np.zeros((channels, height * width), np.int32)
        before = np.zeros(places.shape, np.int64)
        for channel, row in enumerate(places):
            for where, tables in self._runs(channel, row, before):
                row[where] = read(tables, row[where].size)
        symbols: Symbols = places + self.lowest[:, None]
        for channel, row in enumerate(places):
            n_known = len(self.counts[channel]) - 1
            for place in np.flatnonzero(row == n_known).tolist():
                symbol = _unfolded(_read_chunks(read), n_known) + int(self.lowest[channel])
                if abs(symbol) > MAX_SYMBOL:
                    raise ValueError(f"symbols are at most {MAX_SYMBOL}, got {symbol}")
                symbols[channel, place] = symbol
        return symbols.reshape(self.shape)

    def _runs(
        self, channel: int, row: Symbols, before: NDArray[np.int64]
    ) -> Iterator[tuple[Any, _Choice]]:
        """Where symbols of a channel lie that are coded at once, one after another, and by what.

        What was coded before must stand in ``row``, as places in the table, when the next is asked
        for; a symbol outside the table stands there as what it is coded by. ``before`` holds the
        sizes of earlier channels; those of this one are left there at the end.
        """
        context = self.contexts[channel] if self.contexts else None
        lowest = int(self.lowest[channel])
        if context is None:
            yield slice(None), self._intervals[channel]  # type: ignore[attr-defined]
        else:
            expected = context.expected(before[:channel])
            for level in levels(*self.shape[1:]):
                now = row.astype(np.int64) + lowest
                yield level.positions, _Chosen(context, context.classes(now, expected, level))
        if self.contexts:
            before[channel] = sizes((row + lowest).astype(np.int64))


class Level(NamedTuple):
    """Places of a channel that are coded at once.

    Attributes:
        positions: int64, in a flat channel.
        around: ``(n, 4)`` int64, positions around each that are in earlier levels (any where there
            are fewer than four).
        factors: ``(n, 4)`` int64, 12 over how many there are, 0 for the others.
        kind: 1 if there are any, 0 in the first level.
    """

    positions: NDArray[np.int64]
    around: NDArray[np.int64]
    factors: NDArray[np.int64]
    kind: int


@cache
def levels(height: int, width: int) -> list[Level]:
    """Places of a channel in the order that contexts need: every other one first.

    First every other row of every other column, with nothing around; then those between four of
    them, by the corners; then the rest, by the sides.
    """
    rows, columns = (axis.ravel() for axis in np.indices((height, width)))
    corners = ((-1, -1), (-1, 1), (1, -1), (1, 1))
    sides = ((-1, 0), (1, 0), (0, -1), (0, 1))
    even, odd = (rows % 2 + columns % 2 == 0), (rows % 2) * (columns % 2) == 1
    found: list[Level] = []
    for chosen, offsets in ((even, ()), (odd, corners), (~(even | odd), sides)):
        positions = np.flatnonzero(chosen)
        around = np.zeros((len(positions), 4), np.int64)
        is_there = np.zeros((len(positions), 4), np.int64)
        for index, (down, right) in enumerate(offsets):
            y, x = rows[positions] + down, columns[positions] + right
            inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
            around[:, index] = np.where(inside, y * width + x, 0)
            is_there[:, index] = inside
        if len(positions):
            factors = is_there * (12 // np.maximum(is_there.sum(axis=1, keepdims=True), 1))
            found.append(Level(positions, around, factors, int(bool(offsets))))
    return found


def means(values: NDArray[np.int64], level: Level) -> NDArray[np.int64]:
    """``12 * mean`` of what lies around: ``(..., places)`` to those of a level; 0 in the first."""
    found: NDArray[np.int64] = (values[..., level.around] * level.factors).sum(axis=-1)
    return found


def sizes(symbols: NDArray[np.int64]) -> NDArray[np.int64]:
    """Magnitudes, at most ``MAX_SIZE``."""
    return np.minimum(np.abs(symbols), MAX_SIZE)


def _context(document: Any) -> Context | None:
    if document is None:
        return None
    means, sizes, weights = (
        np.array(document[name], np.int64) for name in ("means", "sizes", "weights")
    )
    return Context(
        means, sizes, weights, tuple(np.array(row, np.int64) for row in document["counts"])
    )


class _Intervals:
    """Where each symbol lies in ``0..2**PRECISION``, as constriction lays a table out.

    Args:
        counts: of the symbols, above 0, that sum to ``2**PRECISION``.
    """

    def __init__(self, counts: NDArray[np.int64]) -> None:
        self._counts, n = counts, len(counts)
        # In floats, of numbers that floats hold exactly: every processor gets the same.
        scale = (2**PRECISION - n) / float(counts.sum())
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.float64)
        self.ends = [*(int(s * scale) + i for i, s in enumerate(starts.tolist())), 2**PRECISION]

    @cached_property
    def native(self) -> Any:
        """The same for constriction."""
        return constriction.stream.model.Categorical(
            self._counts.astype(np.float64), perfect=False
        )

    def each(self, n: int) -> Iterator[list[int]]:
        """Ends for each of some symbols."""
        return repeat(self.ends, n)

    def encode(self, encoder: Any, places: Symbols) -> None:
        """With constriction."""
        encoder.encode(places, self.native)

    def decode(self, decoder: Any, n: int) -> Symbols:
        """With constriction."""
        found: Symbols = decoder.decode(self.native, n)
        return found


class _Chosen:
    """A table of a context for each of some symbols.

    Args:
        context: has them.
        classes: of each symbol.
    """

    def __init__(self, context: Context, classes: NDArray[np.int64]) -> None:
        self._context, self._classes = context, classes

    def each(self, n: int) -> Iterator[list[int]]:
        """Ends for each of the symbols."""
        return (self._context.intervals[one].ends for one in self._classes.tolist())

    def encode(self, encoder: Any, places: Symbols) -> None:
        """With constriction."""
        encoder.encode(places, _family(), self._context.rows[self._classes])

    def decode(self, decoder: Any, n: int) -> Symbols:
        """With constriction."""
        found: Symbols = decoder.decode(_family(), self._context.rows[self._classes])
        return found


_Choice = _Intervals | _Chosen


@cache
def _family() -> Any:
    """Constriction's tables that are given with the symbols."""
    return constriction.stream.model.Categorical(perfect=False)


class _Uniform(_Intervals):
    """All numbers of so many bits, at most ``_CHUNK_BITS``."""

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self.ends = list(range(0, 2**PRECISION + 1, 2 ** (PRECISION - bits)))

    @cached_property
    def native(self) -> Any:
        return constriction.stream.model.Uniform(2**self._bits)


@cache
def _uniform(bits: int) -> _Uniform:
    return _Uniform(bits)


def _native_interval(parts: list[tuple[Symbols, _Choice]]) -> tuple[int, int, int]:
    """Lower end, width and bits of the number that a range coder narrows down to."""
    encoder = constriction.stream.queue.RangeEncoder()
    for places, tables in parts:
        tables.encode(encoder, places)
    n_words, (low, width) = encoder.pos()
    certain = encoder.get_compressed()[:n_words].astype(">u4").tobytes()
    whole = int.from_bytes(certain, "big") << _STATE_BITS
    return whole + int(low), int(width), _STATE_BITS + _WORD_BITS * n_words


def _interval(parts: list[tuple[Symbols, _Choice]]) -> tuple[int, int, int]:
    """As ``_native_interval``; a carry goes into the words that are written."""
    low, width, words = 0, 2**_STATE_BITS - 1, list[int]()
    for places, tables in parts:
        for place, ends in zip(places.tolist(), tables.each(len(places)), strict=True):
            scale = width >> PRECISION
            low += scale * ends[place]
            width = scale * (ends[place + 1] - ends[place])
            if low >> _STATE_BITS:
                low -= 2**_STATE_BITS
                _carry(words)
            if width < 2 ** (_STATE_BITS - _WORD_BITS):
                words.append(low >> _WORD_BITS)
                low = (low << _WORD_BITS) % 2**_STATE_BITS
                width <<= _WORD_BITS
    certain = np.array(words, ">u4").tobytes()
    whole = int.from_bytes(certain, "big") << _STATE_BITS
    return whole + low, width, _STATE_BITS + _WORD_BITS * len(words)


def _carry(words: list[int]) -> None:
    place = len(words) - 1
    while words[place] == 2**_WORD_BITS - 1:
        words[place] = 0
        place -= 1
    words[place] += 1


def _shortest(low: int, width: int, n_bits: int) -> bytes:
    """The fewest bytes of a number in the interval; the other side adds zeros."""
    for shift in range(_STATE_BITS, -1, -8):
        value = -(-low >> shift) << shift
        if value < low + width:
            break
    return value.to_bytes(n_bits // 8, "big").rstrip(b"\0")


_Read = Callable[[_Choice, int], Symbols]
"""The next symbols of tables; raises where the bytes hold none."""


def _native_reader(words: NDArray[np.uint32]) -> _Read:
    decoder = constriction.stream.queue.RangeDecoder(words)

    return lambda tables, n: tables.decode(decoder, n)


def _reader(words: NDArray[np.uint32]) -> _Read:
    first, second, *rest = words.tolist()
    left, point, width = iter(rest), first << _WORD_BITS | second, 2**_STATE_BITS - 1

    def read(tables: _Choice, n: int) -> Symbols:
        nonlocal point, width
        found = np.empty(n, np.int32)
        for index, ends in enumerate(tables.each(n)):
            scale = width >> PRECISION
            quantile = point // scale
            if quantile >= 2**PRECISION:
                raise ValueError("a number lies outside of all intervals")
            place = bisect_right(ends, quantile) - 1
            point -= scale * ends[place]
            width = scale * (ends[place + 1] - ends[place])
            if width < 2 ** (_STATE_BITS - _WORD_BITS):
                point, width = point << _WORD_BITS | next(left, 0), width << _WORD_BITS
            found[index] = place
        return found

    return read


def _folded(place: int, n_known: int) -> int:
    """A place outside of a table: even above it, odd below it."""
    return 2 * (place - n_known) if place >= n_known else 2 * (-1 - place) + 1


def _unfolded(value: int, n_known: int) -> int:
    half, is_below = divmod(value, 2)
    return -1 - half if is_below else n_known + half


def _chunks(value: int) -> list[tuple[int, int]]:
    """Pairs (number, bits): how many bits a value has, then those bits."""
    n_bits = value.bit_length()
    found = [(n_bits, 5)]
    for start in range(0, n_bits, _CHUNK_BITS):
        bits = min(_CHUNK_BITS, n_bits - start)
        found.append((value >> start & (2**bits - 1), bits))
    return found


def _read_chunks(read: _Read) -> int:
    """Inverse of ``_chunks``."""
    n_bits, value = int(read(_uniform(5), 1)[0]), 0
    for start in range(0, n_bits, _CHUNK_BITS):
        bits = min(_CHUNK_BITS, n_bits - start)
        value |= int(read(_uniform(bits), 1)[0]) << start
    return value


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli), as in RFC 3720."""
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ _CRC[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF


def _crc_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_CRC = _crc_table()
