"""Is what edgekit settles on ever slower than the same network in fp32?

    python -m tests.benchmarks.bench_never_slower --out never_slower.json

Random networks of the space ``mbconv`` at 32 pixels go in whole in int8; edgekit settles each block's precision on the
provider, as ``fit`` does. Then the result is compared with the network in fp32 everywhere, in pairs of their own. A
network is slower when the whole 95 % interval of the ratio lies above 1. Providers that are not usable here are left out
and named.
"""  # noqa: E501

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.core.candidate import Candidate
from edgekit.core.files import write_json
from edgekit.core.limits import Limits
from edgekit.core.target import Target
from edgekit.devices.measuring.measure import compare_models
from edgekit.devices.providers.discovery import find_providers
from edgekit.search.mbconv.lowering import candidate_model
from edgekit.search.mbconv.networks import MBConvNetworks
from edgekit.search.mbconv.space import MBConvRecipe, MBConvSpace
from edgekit.search.precision import settled
from edgekit.search.space import int8_blocks

PROVIDERS = ("cpu", "openvino")
N_PAIRS = 40


def judge(space: MBConvSpace, genes: np.ndarray, target: Target, seed: int) -> dict[str, Any]:
    """One network: int8 everywhere, settled, against fp32 everywhere."""
    genes = genes.copy()
    genes[space.n_positions :] = 1
    whole = Candidate(tuple(int(g) for g in space.canonical(genes[None])[0]))
    plain = Candidate((*whole.genes[: space.n_positions], *[0] * (space.n_positions + 2)))
    found = settled(MBConvNetworks(space), whole, target, Limits(), seed=seed)
    models = [candidate_model(space, c) for c in (whole, found.candidate, plain)]
    ratios = [
        compare_models(model, models[2], target, n_pairs=N_PAIRS, seed=seed + 1)
        for model in models[:2]
    ]
    return {
        "candidate": found.candidate.text,
        "n_int8": len(int8_blocks(space, found.candidate)),
        "n_blocks": len(int8_blocks(space, whole)),
        "whole_ratio": ratios[0].ratio,
        "ratio": ratios[1].ratio,
        "interval": list(ratios[1].interval),
        "notes": found.notes,
    }


def main() -> None:
    """Settle, compare, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--networks", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    space = MBConvSpace(MBConvRecipe.for_task(32, 10))
    drawn = space.sample(options.networks, np.random.default_rng([options.seed, 11]))
    usable = {found.provider.short: found.usable for found in find_providers()}
    results: dict[str, object] = {}
    for name in PROVIDERS:
        if not usable.get(name):
            print(f"{name}: not checked here, the provider is not usable")
            continue
        target = Target(f"local?ep={name}&threads={options.threads}")
        rows = []
        for index, genes in enumerate(drawn):
            row = judge(space, genes, target, options.seed + index)
            rows.append(row)
            low, high = row["interval"]
            print(
                f"{name:<9} {index:3d}  int8 everywhere {row['whole_ratio']:.3f} of fp32; settled "
                f"{row['n_int8']} of {row['n_blocks']} blocks, {row['ratio']:.3f} "
                f"({low:.3f} to {high:.3f})"
                + "".join(f"; {block}: {why}" for block, why in row["notes"].items()),
                flush=True,
            )
        slower = [row for row in rows if row["interval"][0] > 1]
        whole = sum(row["whole_ratio"] > 1 for row in rows)
        refused = Counter(block for row in rows for block in row["notes"])
        print(
            f"{name}: {len(slower)} of {len(rows)} settled networks are slower than fp32, "
            f"{whole} would be in int8 everywhere; median ratio "
            f"{np.median([row['ratio'] for row in rows]):.3f}; blocks where int8 was refused: "
            f"{dict(refused.most_common())}"
        )
        results[name] = rows
    write_json(options.out, "bench-never-slower", 1, results)


if __name__ == "__main__":
    main()
