"""A new device from ten whole networks: published latencies, each device in turn the new one.

    python -m tests.benchmarks.bench_transfer --data DATA --out transfer.json

``DATA`` holds ``latency/nb201.parquet``, ``latency/fbnet.parquet`` and ``nas/nb201.parquet``. Per
device: Spearman correlation of what is predicted with the networks that were not measured,
relative error, share within 10 %, coverage of the 90 % interval. Beside it random samples, no
known device (MACs in the place of one), MACs alone, and a linear fit on 80 % of all networks.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy.stats import spearmanr

from edgekit.devices.predicting.transfer import NetworkPool, Transfer, Transferred

Array = NDArray[Any]
N_SAMPLES = 10
LEAST_S = 1e-3
"""Shorter ones are cells that were cut off and folded away: no relative error is taken there."""
TRAPS = {
    "essential_ph_1": "whole milliseconds: many ties; noise is half of the variance on fbnet",
    "samsung_a50": "whole milliseconds; noise is half of the variance on fbnet",
    "eyeriss": "modelled, not measured",
    "pixel3": "nb201: 280 cells folded away; fbnet: exact sums of blocks",
    "raspi4": "nb201: 280 cells folded away; fbnet: exact sums of blocks",
}


@dataclass(frozen=True, slots=True)
class Data:
    """One space: what its networks are made of, and their latency on every device."""

    name: str
    devices: tuple[str, ...]
    latency_s: Array
    parts: Array
    macs: Array

    def pool_without(self, device: int) -> NetworkPool:
        """Every other device is known."""
        known = np.delete(self.latency_s, device, axis=1)
        return NetworkPool(self.parts, known, self.macs)

    def pool_without_devices(self) -> NetworkPool:
        """No device is known: MACs in the place of one."""
        return NetworkPool(self.parts, (self.macs + 0.02 * self.macs.mean())[:, None], self.macs)


def main() -> None:
    """Print a table per space, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=10)
    arguments = parser.parse_args()
    results = {}
    for data in (nb201(arguments.data), fbnet(arguments.data)):
        rows = {name: row for name, row in _rows(data, arguments.seeds)}
        results[data.name] = {"devices": rows, "mean": _means(rows)}
        _print(data.name, rows, results[data.name]["mean"])
        arguments.out.write_text(json.dumps(results, indent=1))


def nb201(folder: Path) -> Data:
    """NAS-Bench-201: six edges, one of five operations each."""
    latency = pq.read_table(folder / "latency" / "nb201.parquet")
    cells = pq.read_table(folder / "nas" / "nb201.parquet").sort_by("arch_index")
    rows = latency["arch_index"].to_numpy()
    edges = [name for name in cells.column_names if name.startswith("op_")]
    genes = np.stack([np.array(cells[edge].to_pylist())[rows] for edge in edges], axis=1)
    devices = [name for name in latency.column_names if name != "arch_index"]
    macs = cells["macs_cifar10"].to_numpy()[rows].astype(float)
    return Data("nb201", tuple(devices), _seconds(latency, devices), _one_hot(genes), macs)


def fbnet(folder: Path) -> Data:
    """FBNet: 22 blocks, one of nine operations each."""
    table = pq.read_table(folder / "latency" / "fbnet.parquet")
    genes = np.array([[int(v) for v in text.split("_")] for text in table["op_idx"].to_pylist()])
    other = {"arch_index", "op_idx", "arch_str", "macs_cifar100", "params_cifar100"}
    devices = [name for name in table.column_names if name not in other]
    macs = table["macs_cifar100"].to_numpy().astype(float)
    return Data("fbnet", tuple(devices), _seconds(table, devices), _one_hot(genes), macs)


def _seconds(table: Any, devices: list[str]) -> Array:
    return np.stack([table[name].to_numpy().astype(float) / 1e3 for name in devices], axis=1)


def _one_hot(genes: Array) -> Array:
    columns = [genes[:, [j]] == np.unique(genes[:, j]) for j in range(genes.shape[1])]
    return np.concatenate(columns, axis=1).astype(float)


def _rows(data: Data, n_seeds: int) -> Iterator[tuple[str, dict[str, Any]]]:
    alone = Transfer(data.pool_without_devices())
    for index, device in enumerate(data.devices):
        transfer, true_s = Transfer(data.pool_without(index)), data.latency_s[:, index]
        found: dict[str, list[dict[str, float]]] = {"transfer": [], "random": [], "alone": []}
        for seed in range(n_seeds):
            drawn = np.random.default_rng(seed).permutation(len(true_s))[:N_SAMPLES]
            for name, model, chosen in (
                ("transfer", transfer, transfer.choose(N_SAMPLES, seed)),
                ("random", transfer, drawn),
                ("alone", alone, alone.choose(N_SAMPLES, seed)),
            ):
                found[name].append(_scores(model.fit(chosen, true_s[chosen]), true_s, chosen))
        row: dict[str, Any] = {name: _averaged(scores) for name, scores in found.items()}
        row["transfer"]["worst_spearman"] = min(s["spearman"] for s in found["transfer"])
        row["macs"] = {"spearman": _spearman(data.macs, true_s)}
        row["linear on 80 %"] = {"spearman": _linear(data, true_s)}
        row["trap"] = TRAPS.get(device)
        print(data.name, device, json.dumps(row["transfer"]), flush=True)
        yield device, row


def _scores(predicted: Transferred, true_s: Array, chosen: Array) -> dict[str, float]:
    rest = np.ones(len(true_s), bool)
    rest[chosen] = False
    scored = rest & (true_s >= LEAST_S)
    error = predicted.latency_s[scored] / true_s[scored] - 1
    low, high = predicted.interval_s[scored].T
    return {
        "spearman": _spearman(predicted.latency_s[rest], true_s[rest]),
        "mape": float(np.abs(error).mean()),
        "within_10": float((np.abs(error) <= 0.1).mean()),
        "coverage": float(((low <= true_s[scored]) & (true_s[scored] <= high)).mean()),
    }


def _linear(data: Data, true_s: Array) -> float:
    """Least squares on genes and MACs with four fifths of the networks, ranked on the rest."""
    order = np.random.default_rng(0).permutation(len(true_s))
    n_fitted = len(order) * 4 // 5
    x = np.concatenate([data.parts, data.macs[:, None] / data.macs.mean()], axis=1)
    solution = np.linalg.lstsq(x[order[:n_fitted]], true_s[order[:n_fitted]])[0]
    rest = order[n_fitted:]
    return _spearman(x[rest] @ solution, true_s[rest])


def _spearman(a: Array, b: Array) -> float:
    return float(spearmanr(a, b).statistic)


def _averaged(scores: list[dict[str, float]]) -> dict[str, float]:
    return {key: float(np.mean([s[key] for s in scores])) for key in scores[0]}


def _means(rows: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    names = ("transfer", "random", "alone", "macs", "linear on 80 %")
    return {
        name: {
            key: float(np.mean([row[name][key] for row in rows.values()]))
            for key in next(iter(rows.values()))[name]
        }
        for name in names
    }


def _print(name: str, rows: dict[str, dict[str, Any]], mean: dict[str, Any]) -> None:
    print(f"{name}: Spearman with {N_SAMPLES} samples; 90 % interval")
    print(
        f"{'device':<16}{'transfer':>9}{'worst':>7}{'random':>8}{'alone':>7}{'MACs':>7}"
        f"{'80 %':>7}{'MAPE':>7}{'10 %':>6}{'cover':>7}"
    )
    for device, row in {**rows, "mean": mean}.items():
        ours = row["transfer"]
        print(
            f"{device:<16}{ours['spearman']:>9.3f}{ours['worst_spearman']:>7.3f}"
            f"{row['random']['spearman']:>8.3f}{row['alone']['spearman']:>7.3f}"
            f"{row['macs']['spearman']:>7.3f}{row['linear on 80 %']['spearman']:>7.3f}"
            f"{ours['mape']:>7.1%}{ours['within_10']:>6.0%}{ours['coverage']:>7.1%}"
            f"  {row.get('trap') or ''}"
        )


if __name__ == "__main__":
    main()
