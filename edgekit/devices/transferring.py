"""The profile of a new device from a few whole networks and the profiles one already has.

    networks of the full plan -> kernels of the CPU provider -> priced by every known profile
      -> choose (D-optimal) -> time them whole on the new device -> every known predictor corrected
      -> the one that errs least on left-out networks -> judged on the held-out families -> folder

Whole networks are all that is asked of the device, so this is also how a provider that hides its
kernels gets a predictor: what its own compiler makes of a block is learned as a correction of what
the CPU provider would run there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekit.core.errors import InputError, TooNoisy
from edgekit.core.kernel import Kernel
from edgekit.core.progress import Progress
from edgekit.core.target import Target
from edgekit.devices.measuring.interleave import RawBlock
from edgekit.devices.measuring.measure import fit_labels_s, measure_models
from edgekit.devices.networks.lowering import lower
from edgekit.devices.predicting.features import group_key, product_of
from edgekit.devices.predicting.plan import Plan, PlannedNetwork, full_plan
from edgekit.devices.predicting.predictor import MIN_MEASURED_FOR_INTERVAL, KernelPredictor
from edgekit.devices.predicting.samples import TimedNetwork, halves_of, refuse_if_noisy
from edgekit.devices.predicting.transfer import NetworkPool, Transfer
from edgekit.devices.predicting.validation import validate
from edgekit.devices.profile import MAX_NOISE, QUIET, DeviceProfile, Session, refuse_emulated
from edgekit.devices.providers.catalogue import provider_named

Array = NDArray[np.float64]

N_NETWORKS = 20
PLAN = "transfer"
_N_PASSES = 12
_BLOCK_S = 0.02
_MAX_LOST_SHARE = 0.1


def profile_by_transfer(
    target: Target,
    folder: Path,
    known: Sequence[DeviceProfile],
    *,
    n_networks: int = N_NETWORKS,
    seed: int = 0,
    progress: Progress = QUIET,
    plan: Plan | None = None,
) -> DeviceProfile:
    """Profile a device by timing a few whole networks on it.

    The networks of the held-out families are timed too, to judge the result; they have no part in
    the fit.

    Args:
        target: the new device.
        folder: where ``profile.json`` and ``measurements.parquet`` are written; made if absent.
        known: profiles whose kernels were timed, of any device; not empty.
        n_networks: networks to fit on, from 10 on.
        seed: of the networks, their choice, inputs and order.
        progress: how progress is shown.
        plan: networks to choose from, and the held-out ones; the full plan if None. The more there
            are to choose from, the more the chosen ones tell.

    Returns:
        The profile, as ``DeviceProfile.load(folder)`` would give it.

    Raises:
        InputError: no known profile, one that is itself a transfer, too few or too many networks,
            or a provider that is emulated or not usable here.
        TooNoisy: the labels did not repeat.
    """
    refuse_emulated(provider_named(target.ep))
    _check_known(known)
    session = Session.begin(target)
    networks = (plan or full_plan(seed)).networks
    pool = [network for network in networks if not network.held_out]
    if not MIN_MEASURED_FOR_INTERVAL <= n_networks <= len(pool):
        raise InputError(
            f"a transfer takes {MIN_MEASURED_FOR_INTERVAL} to {len(pool)} networks, "
            f"got {n_networks}; without --networks it takes {N_NETWORKS}"
        )
    kernels = _lowered(networks, target.n_threads, progress)
    transfer = Transfer(_pool([kernels[n.name] for n in pool], [p.predictor for p in known]))
    fitted = [pool[index] for index in transfer.choose(n_networks, seed)]
    held_out = [network for network in networks if network.held_out]
    timed, blocks = _timed([*fitted, *held_out], kernels, target, seed, progress)
    refuse_if_noisy(list(timed.values()), MAX_NOISE)
    kept = [timed[network.name] for network in fitted if network.name in timed]
    predictor, source = _fitted(kept, known)
    judged = [timed[network.name] for network in held_out if network.name in timed]
    texts = [f"{p.facts.cpu_model}, {p.target_text}" for p in known]
    return session.written(
        folder,
        predictor,
        validate(predictor, judged),
        blocks,
        plan=PLAN,
        seed=seed,
        n_networks=len(timed),
        n_passes=_N_PASSES,
        known=(texts[source], *texts[:source], *texts[source + 1 :]),
    )


def _check_known(known: Sequence[DeviceProfile]) -> None:
    if not known:
        raise InputError("a transfer needs a profile to start from, got none; profile a CPU first")
    for profile in known:
        if profile.provenance.plan == PLAN:
            raise InputError(
                "a transfer starts from a profile whose kernels were timed, that of "
                f"{profile.target_text!r} is a transfer itself; give the one it came from"
            )


def _lowered(
    networks: Sequence[PlannedNetwork], n_threads: int, progress: Progress
) -> dict[str, tuple[Kernel, ...]]:
    kernels = {}
    with progress.track(len(networks), "lowering networks") as update:
        for n_done, network in enumerate(networks, start=1):
            placed = lower(network.model(), n_threads=n_threads)
            kernels[network.name] = tuple(p.kernel for p in placed)
            update(n_done)
    return kernels


def _pool(
    networks: Sequence[Sequence[Kernel]], predictors: Sequence[KernelPredictor]
) -> NetworkPool:
    """What the networks are made of (the share of each kernel group) and cost on known devices."""
    columns = {
        key: i for i, key in enumerate(dict.fromkeys(group_key(k) for n in networks for k in n))
    }
    parts = np.zeros((len(networks), len(columns)))
    for row, network in zip(parts, networks, strict=True):
        costs_s = predictors[0].kernel_costs_s(network)
        np.add.at(row, [columns[group_key(k)] for k in network], costs_s / costs_s.sum())
    sources_s = [[p.kernel_costs_s(network).sum() for p in predictors] for network in networks]
    macs = [sum(w.macs for k in network if (w := product_of(k))) for network in networks]
    return NetworkPool(parts, np.array(sources_s), np.array(macs, np.float64))


def _timed(
    networks: Sequence[PlannedNetwork],
    kernels: Mapping[str, tuple[Kernel, ...]],
    target: Target,
    seed: int,
    progress: Progress,
) -> tuple[dict[str, TimedNetwork], list[RawBlock]]:
    """The networks by name, without the few that noise took, and every block."""
    blocks: list[RawBlock] = []
    with progress.track(100, f"timing networks on {target.text}") as update:
        figures = measure_models(
            {network.name: network.model() for network in networks},
            target,
            n_passes=_N_PASSES,
            block_s=_BLOCK_S,
            seed=seed,
            max_lost=int(_MAX_LOST_SHARE * len(networks)),
            progress=lambda done, total: update(100 * done // total),
            raw=blocks,
        )
    halves = [fit_labels_s([b for b in half if not b.marked]) for half in halves_of(blocks)]
    timed = {
        n.name: TimedNetwork(
            name=n.name,
            family=n.family,
            precision=n.precision,
            kernels=kernels[n.name],
            label_s=figures[n.name].label_s,
            halves_s=(halves[0][n.name], halves[1][n.name]),
        )
        for n in networks
        if n.name in figures and n.name in halves[0] and n.name in halves[1]
    }
    n_fitted = sum(not n.held_out for n in networks if n.name in timed)
    n_judged = len(timed) - n_fitted
    if n_fitted < MIN_MEASURED_FOR_INTERVAL or not n_judged:
        raise TooNoisy(
            f"a transfer needs {MIN_MEASURED_FOR_INTERVAL} networks to fit and one to judge, "
            f"{n_fitted} and {n_judged} could be timed; stop other work and profile again"
        )
    return timed, blocks


def _fitted(
    networks: Sequence[TimedNetwork], known: Sequence[DeviceProfile]
) -> tuple[KernelPredictor, int]:
    """The known predictor that errs least once it is corrected, and whose it is."""
    labels_s = np.array([network.label_s for network in networks])
    found = [
        profile.predictor.transferred([n.kernels for n in networks], labels_s) for profile in known
    ]
    source = min(range(len(found)), key=lambda index: float(np.abs(found[index][1]).mean()))
    return found[source][0], source
