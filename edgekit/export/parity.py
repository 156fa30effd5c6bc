"""Whether all forms of a network answer alike: torch, ONNX, the int8 simulation, the artifact."""

from __future__ import annotations

import copy
import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from safetensors import SafetensorError
from safetensors.numpy import load, save
from torch import nn

from edgekit.core.errors import InputError
from edgekit.core.precision import FULL_WEIGHT_MAX
from edgekit.core.task import Preprocessing, Split, Task
from edgekit.export.run import logits_of
from edgekit.training.layers import folded
from edgekit.training.simulate import record_ranges, simulated

MAX_PROBE_BYTES = 64 * 2**20
MAX_FP32_DIFFERENCE = 1e-3
MIN_FP32_AGREEMENT = 0.98
MIN_SQNR_DB = 6.0
MIN_INT8_AGREEMENT = 0.8
MIN_SIMULATED_AGREEMENT = 0.9
MAX_SIMULATED_DIFFERENCE = 0.1
_N_IMAGES = 64
_MIN_IMAGES = 16
_IMAGES_BYTES = 2**22
Logits = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """Images, and what the forms a bundle does not hold answered to them at export.

    Attributes:
        images: RGB, uint8, ``(n, r, r, 3)``.
        torch_logits: of the float32 module, ``(n, n_classes)`` float32.
        onnx_logits: of the float32 ONNX network.
        simulated_logits: of the module with int8 simulated; None where that is not simulated.

    Raises:
        InputError: arrays of other shapes or types, no images, or a logit that is not finite.
    """

    images: NDArray[np.uint8]
    torch_logits: Logits
    onnx_logits: Logits
    simulated_logits: Logits | None

    def __post_init__(self) -> None:
        logits = [self.torch_logits, self.onnx_logits]
        if self.simulated_logits is not None:
            logits.append(self.simulated_logits)
        shapes = {array.shape for array in logits}
        is_sound = (
            self.images.dtype == np.uint8
            and self.images.ndim == 4
            and len(shapes) == 1
            and len(self.torch_logits.shape) == 2
            and len(self.torch_logits) == len(self.images) > 0
            and all(array.dtype == np.float32 for array in logits)
        )
        if not is_sound:
            raise InputError(
                "a probe is uint8 images (n, r, r, 3) and float32 arrays (n, n_classes), "
                f"got {self.images.dtype} {self.images.shape} and {sorted(shapes)}"
            )
        if not all(np.isfinite(array).all() for array in logits):
            raise InputError("the network must answer with finite numbers, it does not; train it")

    def to_bytes(self) -> bytes:
        """As a safetensors file."""
        arrays: dict[str, NDArray[Any]] = {
            "images": np.ascontiguousarray(self.images),
            "torch_logits": self.torch_logits,
            "onnx_logits": self.onnx_logits,
        }
        if self.simulated_logits is not None:
            arrays["simulated_logits"] = self.simulated_logits
        return save(arrays)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Inverse of ``to_bytes``.

        Raises:
            InputError: not such a file.
        """
        try:
            arrays = load(data)
            return cls(
                arrays["images"],
                arrays["torch_logits"],
                arrays["onnx_logits"],
                arrays.get("simulated_logits"),
            )
        except (SafetensorError, KeyError) as error:
            raise InputError(
                f"a probe file holds images and logits, this one does not: {error}"
            ) from error


@dataclass(frozen=True, slots=True)
class ParityCheck:
    """How far two forms of the network are apart.

    Attributes:
        name: what was compared.
        value: what was found.
        bound: what is asked for, as text.
        met: whether it was found.
    """

    name: str
    value: float
    bound: str
    met: bool


def take_probe(
    net: nn.Module,
    model: ModelProto,
    int8_blocks: Collection[str],
    task: Task,
    *,
    weight_max: int = FULL_WEIGHT_MAX,
    simulates: bool = True,
) -> Probe:
    """Ask the module, the float32 ONNX network and the int8 simulation the same images.

    Args:
        net: the network.
        model: the float32 export of it.
        int8_blocks: names of the blocks that will be int8.
        task: its calibration images give the ranges, its validation images are asked.
        weight_max: largest magnitude of an int8 weight, 1..127.
        simulates: whether ``edgekit.training.simulate`` knows the network: it has the children
            ``stem``, ``blocks`` and ``head``.
    """
    images = _spread(task.validation, task.preprocessing.resolution)
    x = task.preprocessing.apply(images)
    rounded = _simulated_answers(net, int8_blocks, task, x, weight_max) if simulates else None
    return Probe(images, _answers(copy.deepcopy(net).eval(), x), logits_of(model, x), rounded)


def _simulated_answers(
    net: nn.Module,
    int8_blocks: Collection[str],
    task: Task,
    x: NDArray[np.float32],
    weight_max: int,
) -> Logits:
    plain = folded(net)
    ranges = record_ranges(plain, task.calibration, task.preprocessing) if int8_blocks else {}
    with simulated(plain, int8_blocks, ranges, weight_max=weight_max):
        return _answers(plain, x)


def parity_checks(probe: Probe, artifact: Logits) -> tuple[ParityCheck, ...]:
    """Compare what was recorded at export with what the artifact answers now.

    Differences are relative to the largest logit of the first form. SQNR is
    ``10 log10(sum s^2 / sum (s - q)^2)`` over all logits.

    Args:
        probe: recorded answers.
        artifact: answers of the artifact to the same images, ``(n, n_classes)``.
    """
    torch_, onnx_ = probe.torch_logits, probe.onnx_logits
    exported, quantised = "torch, fp32 ONNX", "fp32 ONNX, artifact"
    checks = (
        _at_most(f"{exported}: difference", _difference(torch_, onnx_), MAX_FP32_DIFFERENCE),
        _at_least(f"{exported}: same class", _agreement(torch_, onnx_), MIN_FP32_AGREEMENT),
        _at_least(f"{quantised}: SQNR in dB", sqnr_db(onnx_, artifact), MIN_SQNR_DB),
        _at_least(f"{quantised}: same class", _agreement(onnx_, artifact), MIN_INT8_AGREEMENT),
    )
    if (rounded := probe.simulated_logits) is None:
        return checks
    pair = "simulation, artifact"
    return (
        *checks,
        _at_least(f"{pair}: same class", _agreement(rounded, artifact), MIN_SIMULATED_AGREEMENT),
        _at_most(f"{pair}: difference", _difference(rounded, artifact), MAX_SIMULATED_DIFFERENCE),
    )


def probe_logits(
    model: bytes, probe: Probe, preprocessing: Preprocessing, *, n_threads: int
) -> Logits:
    """What a serialised network answers to the images of a probe."""
    return logits_of(model, preprocessing.apply(probe.images), n_threads=n_threads)


def sqnr_db(signal: Logits, quantised: Logits) -> float:
    """Signal to quantisation noise in dB, at most 200 (equal arrays)."""
    noise = float(np.square(signal - quantised, dtype=np.float64).sum())
    power = float(np.square(signal, dtype=np.float64).sum())
    return min(200.0, 10 * math.log10(power / noise)) if noise and power else 200.0


def _spread(split: Split, resolution: int) -> NDArray[np.uint8]:
    """Images spread evenly over a split, fewer where they are large."""
    n = max(_MIN_IMAGES, min(_N_IMAGES, _IMAGES_BYTES // (3 * resolution**2)))
    return split.images[np.unique(np.linspace(0, len(split) - 1, n).astype(np.int64))]


@torch.no_grad()
def _answers(net: nn.Module, x: NDArray[np.float32]) -> Logits:
    logits: Logits = net(torch.from_numpy(x)).numpy()
    return logits


def _difference(first: Logits, second: Logits) -> float:
    largest = float(np.abs(first).max())
    return float(np.abs(first - second).max()) / largest if largest else 0.0


def _agreement(first: Logits, second: Logits) -> float:
    return float((first.argmax(axis=1) == second.argmax(axis=1)).mean())


def _at_most(name: str, value: float, bound: float) -> ParityCheck:
    return ParityCheck(name, value, f"at most {bound:g}", value <= bound)


def _at_least(name: str, value: float, bound: float) -> ParityCheck:
    return ParityCheck(name, value, f"at least {bound:g}", value >= bound)
