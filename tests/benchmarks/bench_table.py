"""The cost table against a loop over the predictor, and its kernels against really lowered ones.

    python -m tests.benchmarks.bench_table --profile build/profile --out table.json

Without ``--profile`` a quick profile is made first (2 minutes).
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgekit.core.candidate import Candidate
from edgekit.core.files import write_json
from edgekit.core.progress import Progress
from edgekit.devices.networks.lowering import lower
from edgekit.devices.predicting.predictor import KernelPredictor
from edgekit.devices.profile import DeviceProfile
from edgekit.search.costs import CostTable, Floats
from edgekit.search.mbconv.costs import BlockKernels, compile_table, lower_blocks
from edgekit.search.mbconv.lowering import candidate_model
from edgekit.search.mbconv.space import SKIP, MBConvRecipe, MBConvSpace
from edgekit.search.protocol.pareto import non_dominated
from edgekit.search.space import Genes
from edgekit.workflow import profile_target

N_BATCH, N_LOOPED, N_LOWERED, N_REPEATS, N_MANY = 65_536, 1000, 200, 15, 2_000_000


def looped_s(blocks: BlockKernels, predictor: KernelPredictor, candidate: Candidate) -> float:
    """Latency of a candidate from the predictor alone: kernel after kernel, block after block."""
    by_block = blocks.by_block(candidate)
    return sum(sum(predictor.kernel_costs_s(kernels).tolist()) for kernels in by_block)


def three_objectives(space: MBConvSpace, table: CostTable, genes: Genes) -> Floats:
    """Latency, size, and something to be large that needs no evaluation: kernels and widths."""
    weights = np.linspace(-1, 0, SKIP + 1)
    merit = weights[genes[:, : space.n_positions]].sum(axis=1)
    return np.stack([table.latencies_s(genes), table.sizes_bytes(genes), -merit], axis=1)


def best_of(n_repeats: int, call: Callable[[], object]) -> float:
    """Shortest time of a call in seconds."""
    times = []
    for _ in range(n_repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def speed(
    space: MBConvSpace, blocks: BlockKernels, predictor: KernelPredictor
) -> dict[str, float | int]:
    """Candidates per second of both ways, and how far they agree."""
    table = compile_table(blocks, predictor)
    genes = space.sample(N_BATCH, np.random.default_rng(0))
    candidates = [Candidate(tuple(row)) for row in genes[:N_LOOPED].tolist()]
    many = space.sample(N_MANY, np.random.default_rng(2))
    front_s = best_of(3, lambda: non_dominated(three_objectives(space, table, many)))
    table_s = best_of(N_REPEATS, lambda: table.latencies_s(genes))
    looped = np.array([looped_s(blocks, predictor, c) for c in candidates])
    loop_s = best_of(3, lambda: [looped_s(blocks, predictor, c) for c in candidates])
    whole = [predictor.predict(blocks.of(c)).latency_s for c in candidates]
    from_table = table.latencies_s(genes[:N_LOOPED])
    return {
        "n_batch": N_BATCH,
        "n_many": N_MANY,
        "front_per_s": N_MANY / front_s,
        "table_per_s": N_BATCH / table_s,
        "loop_per_s": N_LOOPED / loop_s,
        "ratio": N_BATCH / table_s * loop_s / N_LOOPED,
        "n_compared": N_LOOPED,
        "n_equal_to_the_bit": int((from_table == looped).sum()),
        "largest_difference_to_predict": float(np.abs(from_table / whole - 1).max()),
    }


def assembled(
    space: MBConvSpace, blocks: BlockKernels, predictor: KernelPredictor, n_threads: int
) -> dict[str, float | int]:
    """How many candidates are put together from their blocks exactly, and what the others miss."""
    genes = space.sample(N_LOWERED, np.random.default_rng(1))
    differences = []
    for row in genes.tolist():
        candidate = Candidate(tuple(row))
        placed = lower(candidate_model(space, candidate), n_threads=n_threads)
        lowered, whole = [p.kernel for p in placed], blocks.of(candidate)
        if Counter(lowered) != Counter(whole):
            costs_s = [predictor.predict(kernels).latency_s for kernels in (whole, lowered)]
            differences.append(costs_s[0] / costs_s[1] - 1)
    off = np.abs(differences) if differences else np.zeros(1)
    return {
        "n_lowered": N_LOWERED,
        "n_equal": N_LOWERED - len(differences),
        "mean_difference_where_not": float(off.mean()),
        "largest_difference": float(off.max()),
        "mean_difference_over_all": float(off.sum() / N_LOWERED),
        "bias_over_all": float(np.sum(differences) / N_LOWERED),
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--profile", type=Path, help="folder of a device profile")
    parser.add_argument("--resolution", type=int, default=32)
    parser.add_argument("--out", type=Path, default=Path("build/bench/table.json"))
    arguments = parser.parse_args()
    folder = arguments.profile or arguments.out.parent / "profile"
    profile = (
        DeviceProfile.load(folder)
        if arguments.profile
        else profile_target("local", folder, quick=True)
    )
    space = MBConvSpace(MBConvRecipe.for_task(arguments.resolution, 10))
    start, n_threads = time.perf_counter(), profile.facts.n_threads
    blocks = lower_blocks(space, n_threads=n_threads, progress=Progress())
    lowering_s = time.perf_counter() - start
    rates = speed(space, blocks, profile.predictor)
    kernels = assembled(space, blocks, profile.predictor, n_threads)
    print(f"space: {space.n_candidates:.3g} candidates, {len(blocks.kernels)} blocks in contexts,")
    print(f"       lowered in {lowering_s:.1f} s")
    print(f"table: {rates['table_per_s'] / 1e6:.1f} M candidates/s in batches of {N_BATCH:,}")
    print(
        f"front: {rates['front_per_s'] / 1e6:.2f} M candidates/s with three objectives and the ",
        end="",
    )
    print(f"Pareto filter, {N_MANY:,} at once")
    print(f"loop:  {rates['loop_per_s']:,.0f} candidates/s, the table is {rates['ratio']:,.0f} x")
    print(f"equal to the bit: {rates['n_equal_to_the_bit']} of {N_LOOPED:,};", end=" ")
    print(f"predict() differs by {rates['largest_difference_to_predict']:.1e} at most")
    print(f"kernels as really lowered: {kernels['n_equal']} of {N_LOWERED};", end=" ")
    print(f"the others' predicted latency is off by {kernels['mean_difference_where_not']:.2%}")
    print(f"       in the mean, {kernels['largest_difference']:.2%} at most")
    write_json(
        arguments.out,
        "bench-table",
        1,
        {
            "resolution": arguments.resolution,
            "n_candidates": space.n_candidates,
            "lowering_s": lowering_s,
            "speed": rates,
            "kernels": kernels,
        },
    )


if __name__ == "__main__":
    main()
