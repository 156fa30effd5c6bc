"""Few-shot transfer: on devices that follow a formula, and on published latencies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import spearmanr

from edgekit.core.errors import InputError
from edgekit.devices.predicting.transfer import NetworkPool, Transfer
from tests.benchmarks.bench_transfer import Data, fbnet, nb201

Array = NDArray[np.float64]
N_SAMPLES = 10


def _devices(seed: int, n_devices: int = 6, n: int = 800) -> tuple[Array, Array, Array]:
    """Parts, latencies in seconds and MACs.

    A part costs work, traffic and a start; a device weighs the three in a way of its own.
    """
    rng = np.random.default_rng(seed)
    genes = rng.integers(0, 4, (n, 8))
    parts = (genes[:, :, None] == np.arange(4)).reshape(n, -1).astype(float)
    traits = rng.exponential(1.0, (parts.shape[1], 3))
    prices = traits @ rng.dirichlet((1, 1, 1), n_devices).T
    prices *= np.exp(0.1 * rng.standard_normal(prices.shape))
    noise = np.exp(0.01 * rng.standard_normal((n, n_devices)))
    return parts, 1e-3 * (1 + parts @ prices) * noise, 1e6 * (parts @ traits[:, 0])


def _pool(seed: int = 0) -> tuple[NetworkPool, Array]:
    parts, latency_s, macs = _devices(seed)
    return NetworkPool(parts, latency_s[:, 1:], macs), latency_s[:, 0]


@pytest.mark.parametrize("seed", range(5))
def test_ten_samples_rank_a_new_device_better_than_its_macs(seed: int) -> None:
    pool, true_s = _pool(seed)
    transfer = Transfer(pool)
    chosen = transfer.choose(N_SAMPLES, seed)
    predicted_s = transfer.fit(chosen, true_s[chosen]).latency_s
    found, by_macs = spearmanr(predicted_s, true_s)[0], spearmanr(pool.macs, true_s)[0]
    print(f"seed {seed}: Spearman {found:.3f}, MACs {by_macs:.3f}")
    assert found > max(0.9, by_macs)
    assert np.abs(predicted_s / true_s - 1).mean() < 0.08


def test_chosen_samples_teach_more_than_drawn_ones() -> None:
    errors = []
    for seed in range(8):
        pool, true_s = _pool(seed)
        transfer = Transfer(pool)
        drawn = np.random.default_rng(seed).permutation(len(true_s))[:N_SAMPLES]
        for chosen in (transfer.choose(N_SAMPLES, seed), drawn):
            predicted_s = transfer.fit(chosen, true_s[chosen]).latency_s
            errors.append(np.abs(predicted_s / true_s - 1).mean())
    chosen_error, drawn_error = np.mean(np.reshape(errors, (-1, 2)), axis=0)
    print(f"error {chosen_error:.3f} with chosen samples, {drawn_error:.3f} with drawn ones")
    assert chosen_error < drawn_error


def test_intervals_cover_what_they_say() -> None:
    covered = []
    for seed in range(20):
        pool, true_s = _pool(seed)
        transfer = Transfer(pool)
        chosen = transfer.choose(20, seed)
        low_s, high_s = transfer.fit(chosen, true_s[chosen]).interval_s.T
        covered.append(((low_s <= true_s) & (true_s <= high_s)).mean())
    print(f"coverage {np.mean(covered):.3f}")
    assert 0.8 < np.mean(covered) < 0.98


def test_one_sample_scales_the_known_devices() -> None:
    pool, _ = _pool()
    true_s = 3 * pool.sources_s[:, 0]
    transfer = Transfer(pool)
    chosen = transfer.choose(1, 0)
    predicted_s = transfer.fit(chosen, true_s[chosen]).latency_s
    assert spearmanr(predicted_s, true_s)[0] > 0.8
    assert predicted_s[chosen[0]] == pytest.approx(true_s[chosen[0]], rel=0.05)


def test_samples_are_distinct_repeat_with_the_seed_and_avoid_extremes() -> None:
    parts, latency_s, macs = _devices(0)
    latency_s[7, 2] = 1e-9
    transfer = Transfer(NetworkPool(parts, latency_s, macs))
    chosen = transfer.choose(50, 3)
    assert len(set(chosen.tolist())) == 50
    assert 7 not in chosen
    assert chosen.tolist() == transfer.choose(50, 3).tolist()


def test_an_extreme_network_of_a_known_device_does_not_spoil_the_others() -> None:
    parts, latency_s, macs = _devices(0)
    true_s, known_s = latency_s[:, 0], latency_s[:, 1:].copy()
    known_s[::50, 2] = 1e-6
    transfer = Transfer(NetworkPool(parts, known_s, macs))
    chosen = transfer.choose(N_SAMPLES, 0)
    predicted_s = transfer.fit(chosen, true_s[chosen]).latency_s
    assert spearmanr(predicted_s, true_s)[0] > 0.9


def test_wrong_input_is_refused() -> None:
    pool, _ = _pool()
    transfer = Transfer(pool)
    for n in (0, 801):
        with pytest.raises(InputError, match="samples must be 1 to"):
            transfer.choose(n, 0)
    with pytest.raises(InputError, match="latency above 0"):
        transfer.fit(np.array([1, 2]), np.array([1.0, 0.0]))
    with pytest.raises(InputError, match="latency above 0"):
        transfer.fit(np.array([], np.int64), np.array([]))
    with pytest.raises(InputError, match="a pool has parts"):
        NetworkPool(pool.parts, pool.sources_s[:5], pool.macs)
    with pytest.raises(InputError, match="a pool has parts"):
        NetworkPool(pool.parts, 0 * pool.sources_s, pool.macs)


@pytest.mark.parametrize(("load", "device"), [(nb201, "gold_6240"), (fbnet, "silver_4210r")])
def test_published_latencies(load: object, device: str, data_dir: Path) -> None:
    assert callable(load)
    data: Data = load(data_dir)
    index = data.devices.index(device)
    transfer, true_s = Transfer(data.pool_without(index)), data.latency_s[:, index]
    chosen = transfer.choose(N_SAMPLES, 0)
    predicted_s = transfer.fit(chosen, true_s[chosen]).latency_s
    found, by_macs = spearmanr(predicted_s, true_s)[0], spearmanr(data.macs, true_s)[0]
    print(f"{data.name} {device}: Spearman {found:.3f}, MACs {by_macs:.3f}")
    assert found > by_macs
    assert found > 0.94
