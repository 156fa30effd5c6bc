"""Timed networks whose times follow a known law, so that a fit can be checked."""

from __future__ import annotations

import numpy as np

from edgekit.core.kernel import Kernel
from edgekit.devices.predicting.features import TERMS, roofline_terms
from edgekit.devices.predicting.samples import NetworkSample
from tests.devices.kernels import conv, plain

PROFILING_S = 2e-6


def law_s(kernel: Kernel) -> float:
    """What a kernel takes: a call, its padded MACs at 20 GMAC/s, its output at 5 GB/s."""
    terms = dict(zip(TERMS, roofline_terms(kernel), strict=True))
    return 4e-6 + terms["macs_padded"] / 2e10 + terms["bytes_out"] / 5e9


def random_network(rng: np.random.Generator) -> tuple[Kernel, ...]:
    """A chain of convolutions with an addition now and then."""
    size, channels = int(rng.choice([16, 32])), 16
    kernels = [conv(3, channels, size)]
    for _ in range(int(rng.integers(4, 12))):
        out = int(rng.choice([8, 16, 24, 32, 48, 64]))
        kernels.append(conv(channels, out, size, 1, activation=str(rng.choice(["", "Relu"]))))
        kernels.append(conv(out, out, size, int(rng.choice([3, 5])), groups=out))
        if rng.random() < 0.5:
            shape = (1, out, size, size)
            kernels.append(plain("Add", (shape, shape), shape))
        channels = out
    return tuple(kernels)


def random_samples(n_samples: int, seed: int = 0, factor: float = 1.0) -> list[NetworkSample]:
    """Two families that follow ``factor`` times the law; profiling adds 2 us to a kernel."""
    rng = np.random.default_rng(seed)
    samples = []
    for index in range(n_samples):
        kernels = random_network(rng)
        times_s = factor * np.array([law_s(kernel) for kernel in kernels])
        label_s = float(times_s.sum())
        samples.append(
            NetworkSample(
                f"net{index}",
                f"family{index % 2}",
                "fp32",
                kernels,
                label_s,
                (label_s, label_s),
                times_s + PROFILING_S,
            )
        )
    return samples
