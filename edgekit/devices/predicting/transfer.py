"""A predictor for a new device from a few whole networks measured on it and the devices known.

    known devices' latencies ──┐
    what networks are made of ─┼─▶ blocks of features ─▶ choose (D-optimal) ─▶ measure ─▶ fit
    MACs ──────────────────────┘

The logarithm of the new device's latency is a Gaussian process around what the known devices have
in common, whose covariance is a weighted sum of linear kernels, one per block of features. With
ten measurements the weights cannot be fitted, so predictions are averaged over a grid of weights
by their evidence (Rasmussen & Williams 2006, sections 2.3 and 5.2). Samples are chosen greedily
for the largest posterior variance, which is greedy D-optimal design (Fedorov 1972): each step
multiplies the determinant of the information matrix most.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.core.errors import InputError

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

_BLOCKS = ("constant", "common", "sources", "details", "parts", "size")
_DESIGN = {
    "constant": 9.0, "common": 1.0, "sources": 1.0, "details": 1.0, "parts": 0.02, "size": 0.3
}  # fmt: skip
_DESIGN_NOISE = 0.01
_GRID = {
    "constant": (9.0,),
    "common": (1.0,),
    "sources": (0.3, 1.0, 3.0),
    "details": (0.1, 1.0),
    "parts": (0.003, 0.03, 0.1),
    "size": (0.1, 1.0),
}
_NOISES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
_MAX_DEVIATIONS = 4.0
_MIN_EXPLAINED = 0.85
_LEAST_WEIGHT = 0.01
_Z_90 = 1.644854
_MAX_CANDIDATES = 4096


@dataclass(frozen=True, slots=True, eq=False)
class NetworkPool:
    """Networks that may be measured on a new device, and what is known of them.

    Attributes:
        parts: ``(n, p)`` float64, what each network is made of: one-hot genes, or counts or costs
            of kernels.
        sources_s: ``(n, d)`` latencies of the same networks on d known devices, in seconds, above
            0; d above 0.
        macs: ``(n,)`` multiply-accumulate operations, 0 or more.

    Raises:
        InputError: arrays of other shapes, or values out of their range.
    """

    parts: Floats
    sources_s: Floats
    macs: Floats

    def __post_init__(self) -> None:
        n = len(self.macs)
        shapes = (self.parts.shape, self.sources_s.shape)
        fits = all(len(shape) == 2 and shape[0] == n and shape[1] for shape in shapes)
        sound = fits and bool(
            np.isfinite(self.parts).all()
            and np.isfinite(self.sources_s).all()
            and (self.sources_s > 0).all()
            and (self.macs >= 0).all()
        )
        if not sound:
            raise InputError(
                "a pool has parts (n, p), latencies above 0 (n, d) and MACs (n,), got shapes "
                f"{shapes[0]}, {shapes[1]} and {self.macs.shape}, or values that are not finite"
            )


@dataclass(frozen=True, slots=True, eq=False)
class Transferred:
    """Predicted latencies of all networks of a pool on the new device.

    Attributes:
        latency_s: ``(n,)``, in seconds.
        interval_s: ``(n, 2)``, 90 % interval of one measurement, in seconds.
    """

    latency_s: Floats
    interval_s: Floats


class Transfer:
    """Chooses what to measure on a new device, and predicts the rest.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> parts = rng.integers(0, 2, (200, 6)).astype(float)
        >>> known = np.exp(parts @ rng.uniform(0.1, 0.5, (6, 3)))
        >>> transfer = Transfer(NetworkPool(parts, known, parts.sum(axis=1)))
        >>> chosen = transfer.choose(8, seed=0)
        >>> predicted = transfer.fit(chosen, 2 * known[chosen, 0] ** 0.9)
        >>> bool(np.abs(predicted.latency_s / (2 * known[:, 0] ** 0.9) - 1).max() < 0.1)
        True
    """

    def __init__(self, pool: NetworkPool) -> None:
        self._blocks, self._usual, self._scale = _features(pool)

    def choose(self, n_samples: int, seed: int) -> Indices:
        """Networks to measure, the most informative first.

        Networks that are extreme on a known device (a cell that is cut off and folded away) are
        left out: one of them would take a sample and teach nothing about the others.

        Args:
            n_samples: how many, above 0.
            seed: of the candidates drawn where the pool is large.

        Returns:
            ``(n_samples,)`` indices into the pool.

        Raises:
            InputError: more samples than networks.
        """
        usual = np.flatnonzero(self._usual)
        if not 0 < n_samples <= len(usual):
            raise InputError(
                f"samples must be 1 to {len(usual)}, the usual networks of the pool, "
                f"got {n_samples}"
            )
        drawn = np.random.default_rng(seed).permutation(usual)[:_MAX_CANDIDATES]
        parts = [np.sqrt(_DESIGN[name]) * self._blocks[name][drawn] for name in _BLOCKS]
        return np.asarray(drawn[_most_varied(np.concatenate(parts, axis=1), n_samples)])

    def fit(self, chosen: Indices, latencies_s: Floats) -> Transferred:
        """Predict all networks of the pool.

        Args:
            chosen: ``(m,)`` indices of what was measured.
            latencies_s: ``(m,)`` measured latencies, in seconds, above 0.

        Raises:
            InputError: nothing measured, or latencies that are not above 0.
        """
        if not len(chosen) or len(chosen) != len(latencies_s) or not (latencies_s > 0).all():
            raise InputError(
                "a transfer needs a latency above 0 for each chosen network, got "
                f"{len(chosen)} networks and {latencies_s}"
            )
        logs = np.log(latencies_s) / self._scale
        usual = self._blocks["common"][:, 0]
        centre = (logs - usual[chosen]).mean()
        target = logs - usual[chosen] - centre
        towards = {name: block @ block[chosen].T for name, block in self._blocks.items()}
        norms = {name: np.square(block).sum(axis=1) for name, block in self._blocks.items()}
        mean, variance = _averaged(towards, norms, chosen, target)
        log_latency = self._scale * (centre + usual + mean)
        half = _Z_90 * self._scale * np.sqrt(variance)
        interval = np.exp(np.stack([log_latency - half, log_latency + half], axis=1))
        return Transferred(np.exp(log_latency), interval)


def _features(pool: NetworkPool) -> tuple[dict[str, Floats], NDArray[np.bool_], float]:
    """Blocks of features, which networks are usual on every known device, and the log scale.

    What the parts explain of a known device (``sources``) is kept apart from the rest
    (``details``), which is noise on some devices and real on others; of a device that the parts
    explain badly the rest is dropped.
    """
    logs = np.log(pool.sources_s)
    middle = np.median(logs, axis=0)
    spread = np.maximum(1.4826 * np.median(np.abs(logs - middle), axis=0), 1e-9)
    z = (logs - middle) / spread
    usual = np.asarray((np.abs(z) < _MAX_DEVIATIONS).all(axis=1))
    z = _standardised(np.clip(z, -_MAX_DEVIATIONS, _MAX_DEVIATIONS))
    parts = pool.parts - pool.parts.mean(axis=0)
    parts /= max(float(np.sqrt(np.square(parts).sum(axis=1).mean())), 1e-12)
    explained = _projection(parts, z)
    details = np.where(1 - (z - explained).var(axis=0) > _MIN_EXPLAINED, z - explained, 0.0)
    common = explained.mean(axis=1, keepdims=True)
    n_sources = np.sqrt(z.shape[1])
    size = np.stack([np.log(pool.macs + 0.02 * pool.macs.mean() + 1.0), pool.macs], axis=1)
    blocks = {
        "constant": np.ones((len(z), 1)),
        "common": common,
        "sources": (_standardised(explained) - common) / n_sources,
        "details": details / n_sources,
        "parts": parts,
        "size": _standardised(size) / np.sqrt(2),
    }
    return blocks, usual, float(spread.mean())


def _standardised(values: Floats) -> Floats:
    spread = values.std(axis=0)
    return np.asarray((values - values.mean(axis=0)) / np.where(spread > 1e-12, spread, 1.0))


def _projection(parts: Floats, z: Floats) -> Floats:
    """Least-squares fit of z by the parts; their rank may be lower than their number."""
    left, sizes, _ = np.linalg.svd(parts, full_matrices=False)
    basis = left[:, sizes > 1e-6 * max(sizes[0], 1e-12)]
    return np.asarray(basis @ (basis.T @ z))


def _most_varied(features: Floats, n_samples: int) -> Indices:
    """Rows that one after the other have the largest posterior variance (pivoted Cholesky)."""
    variance = np.square(features).sum(axis=1)
    known = np.zeros((len(features), 0))
    chosen: list[int] = []
    for _ in range(n_samples):
        index = int(np.argmax(variance))
        chosen.append(index)
        shared = features @ features[index] - known @ known[index]
        column = shared / np.sqrt(variance[index] + _DESIGN_NOISE)
        known = np.concatenate([known, column[:, None]], axis=1)
        variance = np.maximum(variance - column**2, 0.0)
        variance[chosen] = -1.0
    return np.array(chosen, np.int64)


def _averaged(
    towards: dict[str, Floats], norms: dict[str, Floats], chosen: Indices, target: Floats
) -> tuple[Floats, Floats]:
    """Mean and variance of all networks, over the grid of weights by evidence."""
    settings = [
        (dict(zip(_BLOCKS, weights, strict=True)), noise)
        for *weights, noise in itertools.product(*(_GRID[name] for name in _BLOCKS), _NOISES)
    ]
    inner = {name: block[chosen] for name, block in towards.items()}
    evidence = np.array([_log_evidence(_sum(w, inner), noise, target) for w, noise in settings])
    weights = np.exp(evidence - evidence.max())
    weights /= weights.sum()
    kept = [index for index in np.argsort(-weights) if weights[index] >= _LEAST_WEIGHT]
    kept = kept or [int(np.argmax(weights))]
    share = weights[kept] / weights[kept].sum()
    found = [
        _posterior(_sum(w, towards), _sum(w, norms), _sum(w, inner), noise, target)
        for w, noise in (settings[index] for index in kept)
    ]
    means, variances = (np.stack(values) for values in zip(*found, strict=True))
    mean = share @ means
    return mean, share @ (variances + np.square(means - mean))


def _sum(weights: dict[str, float], blocks: dict[str, Floats]) -> Floats:
    return np.asarray(sum(weights[name] * block for name, block in blocks.items()))


def _log_evidence(covariance: Floats, noise: float, target: Floats) -> float:
    root = np.linalg.cholesky(covariance + noise * np.eye(len(target)))
    solved = np.linalg.solve(root, target)
    return float(-0.5 * solved @ solved - np.log(np.diag(root)).sum())


def _posterior(
    towards: Floats, prior: Floats, inner: Floats, noise: float, target: Floats
) -> tuple[Floats, Floats]:
    """Mean, and variance of one measurement, of every network."""
    root = np.linalg.cholesky(inner + noise * np.eye(len(target)))
    solved = np.linalg.solve(root, towards.T)
    mean = solved.T @ np.linalg.solve(root, target)
    return mean, np.maximum(prior - np.square(solved).sum(axis=0), 0.0) + noise
