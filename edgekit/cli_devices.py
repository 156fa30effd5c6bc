"""Verbs about devices and about any model file: devices, bench, predict, compare."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgekit.cli_options import AsJson, ProfileFolder, Seed, TargetText, print_result
from edgekit.core.progress import Progress
from edgekit.core.target import Target
from edgekit.core.units import format_duration, format_size

if TYPE_CHECKING:
    from edgekit.devices.bench import Benched
    from edgekit.devices.explain import ExplainedKernel

app = typer.Typer()

ModelFile = Annotated[Path, typer.Argument(help="ONNX or TFLite file.")]
RequireEp = Annotated[
    bool, typer.Option("--require-ep", help="Fail where a node runs on another provider.")
]
_N_SHOWN = 12


@app.command()
def devices(
    install: Annotated[
        str | None,
        typer.Option("--install", help="Make the environment a provider needs for itself."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List execution providers and shipped profiles."""
    from edgekit.devices.profile import DeviceProfile
    from edgekit.devices.providers.catalogue import provider_named
    from edgekit.devices.providers.discovery import find_providers
    from edgekit.devices.providers.environments import install as install_environment
    from edgekit.devices.shipped import describe, shipped_profiles

    if install is not None:
        install_environment(provider_named(install))
    rows, lines = [], []
    for found in find_providers():
        provider = found.provider
        state = "emulated" if found.emulated else "usable" if found.usable else "-"
        rows.append(
            {
                "ep": provider.short,
                "name": provider.name,
                "state": state if found.usable else "not usable",
                "reason": found.reason,
                "onnxruntime": found.version,
                "classes": list(provider.classes),
                "precisions": list(provider.precisions),
                "static_shapes": provider.static,
                "deprecated": provider.deprecated,
                "note": provider.note,
            }
        )
        runtime = f"ONNX Runtime {found.version}" if found.version else provider.package
        said = found.reason or f"{runtime}; {', '.join(provider.precisions)}"
        lines.append(f"{provider.short:<13}{'/'.join(provider.classes):<13}{state:<10}{said}")
    shipped = {name: DeviceProfile.load(folder) for name, folder in shipped_profiles().items()}
    described = [describe(name, made) for name, made in shipped.items()]
    text = "\n".join([*lines, "", "profiles that come with edgekit:", *described])
    print_result(as_json, {"providers": rows, "profiles": list(shipped)}, text)


@app.command()
def bench(
    model: ModelFile,
    target: TargetText = "local",
    require_ep: RequireEp = False,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Measure any model file on a target.

    Latency, kernels against the peaks of the machine, provider of each node, peak memory.
    """
    device = Target(target, require_ep)
    from edgekit.devices.bench import bench_model

    found = bench_model(model, device, seed=seed, progress=Progress(quiet=as_json))
    print_result(as_json, _bench_lines(found), _bench_text(model, device, found))


@app.command()
def predict(
    model: ModelFile,
    profile: ProfileFolder,
    as_json: AsJson = False,
) -> None:
    """Predict latency from a profile.

    Says what each kernel of the model file adds.
    """
    from edgekit.devices.explain import explain_model

    found = explain_model(model, profile)
    low, high = (format_duration(bound) for bound in found.predicted.interval_s)
    lines = {
        "target": found.target_text,
        "predicted_latency_s": found.predicted.latency_s,
        "predicted_interval_s": list(found.predicted.interval_s),
        "unknown_ops": list(found.predicted.unknown_ops),
        "extrapolated_ops": list(found.predicted.extrapolated_ops),
        "held_out_mape": found.held_out_mape,
        "kernels": [
            {
                "node": row.node,
                "op": row.op,
                "cost_s": row.cost_s,
                "known": row.known,
                "extrapolated": row.extrapolated,
            }
            for row in found.rows
        ],
    }
    longest = sorted(found.rows, key=lambda row: -row.cost_s)[:_N_SHOWN]
    table = "\n".join(
        f"{format_duration(row.cost_s):>10}  {row.cost_s / found.predicted.latency_s:>5.1%}  "
        f"{row.op}  {row.node}{_caution(row)}"
        for row in longest
    )
    unknown, far = found.predicted.unknown_ops, found.predicted.extrapolated_ops
    note = f"\nno fit for: {', '.join(unknown)}; the interval does not cover them" * bool(unknown)
    note += (
        f"\nfar larger or smaller than what was profiled: {', '.join(far)}; "
        "the interval was not checked there"
    ) * bool(far)
    text = (
        f"predicted on {found.target_text}: {format_duration(found.predicted.latency_s)} "
        f"({low} to {high} with 90 %), not measured; this profile is off by "
        f"{found.held_out_mape:.1%} on networks it had not seen{note}\n{table}"
    )
    print_result(as_json, lines, text)


@app.command()
def compare(
    a: ModelFile,
    b: ModelFile,
    target: TargetText = "local",
    require_ep: RequireEp = False,
    pairs: Annotated[int, typer.Option("--pairs", min=2, help="Pairs of blocks.")] = 30,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Compare two model files in pairs.

    Gives the ratio of their latencies with its interval.
    """
    device = Target(target, require_ep)
    from edgekit.devices.measuring.measure import compare_models

    found = compare_models(a, b, device, n_pairs=pairs, seed=seed)
    low, high = found.interval
    verdict = (
        f"{a.name} is {'faster' if found.ratio < 1 else 'slower'}"
        if found.differs
        else "no difference was seen"
    )
    lines = {
        "ratio": found.ratio,
        "interval": [low, high],
        "n_pairs": found.n_pairs,
        "differs": found.differs,
    }
    text = (
        f"{a.name} takes {found.ratio:.3f} times as long as {b.name} "
        f"({low:.3f} to {high:.3f} with 95 %, {found.n_pairs} pairs on {target}): {verdict}"
    )
    print_result(as_json, lines, text)


def _caution(row: ExplainedKernel) -> str:
    if not row.known:
        return "  (priced without a fit)"
    return "  (extrapolated)" if row.extrapolated else ""


def _bench_lines(found: Benched) -> dict[str, object]:
    measured = found.measured
    return {
        "latency_p50_s": measured.p50_s,
        "latency_interval_s": list(measured.interval_s),
        "latency_p90_s": measured.p90_s,
        "latency_p99_s": measured.p99_s,
        "latency_p90_bound_s": _known(found.tail_bounds_s[0]),
        "latency_p99_bound_s": _known(found.tail_bounds_s[1]),
        "label_s": measured.label_s,
        "n_runs": measured.conditions.n_runs,
        "is_emulated": measured.conditions.is_emulated,
        "nodes_per_provider": found.nodes_per_provider(),
        "placement": dict(measured.conditions.placement),
        "peak_memory_bytes": found.peak_memory_bytes,
        "peaks": None
        if found.peaks is None
        else {
            "fp32_macs_per_s": found.peaks.fp32_macs_per_s,
            "int8_macs_per_s": found.peaks.int8_macs_per_s,
            "bytes_per_s": [list(pair) for pair in found.peaks.bytes_per_s],
        },
        "kernels": [
            {
                "node": row.node,
                "op": row.kernel.op,
                "dtype": row.kernel.dtype,
                "provider": row.kernel.provider,
                "time_s": row.time_s,
                "share": row.share,
                "macs": row.macs,
                "moved_bytes": row.moved_bytes,
                "roofline_share": row.roofline_share,
            }
            for row in found.kernels
        ],
    }


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _tails(found: Benched) -> str:
    from edgekit.devices.measuring.early_stopping import min_runs

    said = []
    for quantile, bound_s in zip((0.9, 0.99), found.tail_bounds_s, strict=True):
        known = (
            f"at most {format_duration(bound_s)}"
            if not math.isnan(bound_s)
            else f"not known from fewer than {min_runs(1, quantile)} runs"
        )
        said.append(f"p{100 * quantile:.0f} {known}")
    return ", ".join(said)


def _bench_text(model: Path, target: Target, found: Benched) -> str:
    measured, conditions = found.measured, found.measured.conditions
    low, high = (format_duration(bound) for bound in measured.interval_s)
    emulated = " EMULATED: these times say nothing about the device" * conditions.is_emulated
    nodes = ", ".join(f"{n} on {name}" for name, n in found.nodes_per_provider().items())
    memory = "not known here"
    if found.peak_memory_bytes is not None:
        memory = format_size(found.peak_memory_bytes)
    lines = [
        f"{model.name} measured on {target.text}:{emulated}",
        f"p50 {format_duration(measured.p50_s)} ({low} to {high}), "
        f"p90 {format_duration(measured.p90_s)}, p99 {format_duration(measured.p99_s)}, "
        f"{conditions.n_runs} runs",
        f"with 99 % confidence (MLPerf's rule for tails): {_tails(found)}",
        f"nodes: {nodes}",
        f"peak memory added by the model: {memory}",
    ]
    if found.peaks is None:
        lines.append("the provider does not show its kernels: only the whole was measured")
        return "\n".join(lines)
    fp32, int8 = (1e-9 * r for r in (found.peaks.fp32_macs_per_s, found.peaks.int8_macs_per_s))
    lines.append(f"peaks here, just now: {fp32:.0f} GMAC/s fp32, {int8:.0f} GMAC/s int8")
    profiled = format_duration(sum(row.time_s for row in found.kernels))
    lines.append(f"kernels while they are profiled, which lengthens small ones: {profiled} in all")
    lines.append(f"{'time':>10} {'share':>6} {'of peak':>8}  kernel")
    longest = sorted(found.kernels, key=lambda row: -row.time_s)
    lines += [
        f"{format_duration(row.time_s):>10} {row.share:>6.1%} {row.roofline_share:>8.0%}  "
        f"{row.kernel.op} ({row.kernel.dtype}) {row.node}"
        for row in longest[:_N_SHOWN]
    ]
    if len(longest) > _N_SHOWN:
        lines.append(f"and {len(longest) - _N_SHOWN} more kernels; --json has all")
    return "\n".join(lines)
