import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from edgekit.core.candidate import Candidate
from edgekit.core.errors import Infeasible, InputError, VerificationFailed
from edgekit.core.figures import MeasuredAccuracy
from edgekit.core.limits import Limits
from edgekit.core.precision import Precision
from edgekit.core.progress import Progress
from edgekit.core.provenance import utc_now
from edgekit.core.target import Target
from edgekit.devices.measuring.measure import measure_models
from edgekit.effort import Effort
from edgekit.export.bundle import Bundle
from edgekit.export.parity import ParityCheck
from edgekit.export.verify import Proof
from edgekit.report.fitted import Fitted
from edgekit.search.evaluated import Evaluated
from edgekit.search.mbconv.lowering import candidate_model
from edgekit.search.metrics import pool
from edgekit.search.metrics.scoring import METRICS_FILE
from edgekit.search.networks import WEIGHTS
from edgekit.search.proxyless.training import GATES_FILE
from edgekit.search.run import Run
from edgekit.search.settings import read_settings, write_settings
from edgekit.search.store import DATABASE, TABLE_NETWORKS, Trials
from edgekit.spaces import space
from edgekit.workflow import (
    REPORT,
    export_bundle,
    fit,
    profile_target,
    resume_search,
    run_search,
    verify_bundle,
)
from tests.devices.real import need_peak_memory
from tests.line import (
    AS_TINY,
    LIMITS,
    QUIET,
    TINY,
    WALLS,
    Line,
    copied_fit,
    edgekit,
    patient,
    slower,
)

pytestmark = pytest.mark.timeout(900)
ONE = replace(TINY, n_evaluations=1, population=1, n_table_networks=0, finetune_images=0)


def test_fit_leaves_an_artifact_that_was_measured_to_keep_the_limits(line: Line) -> None:
    proof = line.fitted.proof
    bundle = Bundle.open(line.folder / "bundle")
    assert proof.holds
    assert not proof.failures
    assert proof.accuracy.split == "test"
    assert proof.accuracy.n_images == len(line.task.test)
    assert proof.size_bytes == bundle.model_path.stat().st_size
    assert proof.limits == LIMITS == bundle.manifest.provenance.limits
    assert proof.same_device
    assert proof.same_data
    assert bundle.manifest.measured == proof.summary()
    assert bundle.manifest.provenance.genes == line.fitted.entry.candidate.genes
    assert line.fitted.attempts[-1].verdict == "keeps the limits"


def test_the_report_needs_nothing_but_itself(line: Line) -> None:
    page = (line.folder / REPORT).read_text("utf-8")
    assert "default-src 'none'" in page
    assert " src=" not in page
    assert "<link" not in page
    assert line.fitted.entry.candidate.text in page
    assert "All limits met" in page


def test_the_same_fit_again_in_a_new_process_trains_nothing_and_gives_the_same_artifact(
    line: Line, tmp_path: Path
) -> None:
    out = copied_fit(line, tmp_path / "fit")
    trained = {path: path.stat().st_mtime_ns for path in out.glob("run/*.safetensors")}
    assert len(trained) == 2
    asked = ("--data", line.data, "--profile", line.profile_folder, *WALLS, *AS_TINY)
    again = edgekit("fit", "mbconv", *asked, "--finetune-epochs", "1", "--out", out, "--json")
    assert again.exit_code == 0, again.stderr
    assert again.stderr == ""
    assert {path: path.stat().st_mtime_ns for path in trained} == trained
    assert again.json["holds"] is True
    assert again.json["candidate"] == line.fitted.entry.candidate.text
    assert again.json["notes"] == line.fitted.notes
    digest = Bundle.open(out / "bundle").manifest.files["model.onnx"].sha256
    assert digest == line.fitted.proof.model_sha256
    assert Path(again.json["artifact"]) == out / "bundle" / "model.onnx"
    assert f"edgekit fit mbconv --data {line.data}" in (out / REPORT).read_text("utf-8")


def test_a_bundle_is_verified_by_a_new_process_that_has_nothing_else(
    line: Line, tmp_path: Path
) -> None:
    bundle = Path(shutil.copytree(line.folder / "bundle", tmp_path / "bundle"))
    (bundle / "proof.json").unlink()
    done = edgekit("verify", bundle, "--data", line.data, "--json", cwd=tmp_path)
    assert done.exit_code == 0, done.stderr
    assert done.json["holds"] is True
    assert done.json["top1_test"] == line.fitted.proof.accuracy.top1
    assert done.json["size_bytes"] == line.fitted.proof.size_bytes
    assert (bundle / "proof.json").is_file()


def test_limits_nothing_keeps_name_the_binding_one_and_the_nearest_pair(
    line: Line, tmp_path: Path
) -> None:
    def impossible(limits: Limits) -> None:
        fit(
            line.task,
            tmp_path / limits.describe(),
            limits=limits,
            effort=ONE,
            profile=line.profile_folder,
            supernet=line.fitted.run.folder,
            progress=QUIET,
        )

    with pytest.raises(Infeasible, match=r"latency p50 <= 1 us.*nearest feasible pair") as slow:
        patient(lambda: impossible(Limits.of("1us", "10MB")))
    assert slow.value.binding == "latency"
    assert slow.value.nearest in str(slow.value)
    assert not list(tmp_path.glob("*/bundle"))


def test_the_size_limit_can_bind_too(line: Line) -> None:
    with pytest.raises(Infeasible) as large:
        line.fitted.run.best(Limits.of("1s", "1kB"))
    assert large.value.binding == "size"


@dataclass(frozen=True)
class TwoCandidates:
    """A finished search that measured the largest and the smallest network, and its limits."""

    line: Line
    folder: Path
    large: Candidate
    small: Candidate
    limits: Limits

    def fit(self) -> Fitted:
        """``fit`` on what was measured; nothing is trained."""
        return patient(
            lambda: fit(
                self.line.task,
                self.folder,
                limits=self.limits,
                effort=replace(TINY, n_evaluations=2, finetune_images=0),
                profile=self.line.profile_folder,
                data=str(self.line.data),
                progress=QUIET,
            )
        )


def two_candidates(
    line: Line, folder: Path, *, limit_share: float, quantile: str = "p50", seen: float = 1.0
) -> TwoCandidates:
    """The limit lies between the networks (0 the small one's, 1 the large one's, in logarithms).

    The large one, the more accurate of the two, was once measured ``seen`` times as slow.
    """
    mbconv, target = line.fitted.run.space, Target()
    large, small = mbconv.largest(), mbconv.smallest()
    models = {c.text: candidate_model(mbconv, c) for c in (large, small)}
    figures = patient(lambda: measure_models(models, target, max_relative_interval=0.3))
    low_s, high_s = (figures[c.text].quantile_s(quantile) for c in (small, large))
    limits = Limits(latency_s=low_s * (high_s / low_s) ** limit_share, quantile=quantile)
    entries = [
        Evaluated(c, MeasuredAccuracy(n_correct, 10, "validation"), figures[c.text], size)
        for c, n_correct in ((large, 9), (small, 8))
        for size in [models[c.text].ByteSize()]
    ]
    run = folder / "run"
    settings = replace(
        line.fitted.run.settings, limits=limits, n_evaluations=2, profile=str(line.profile_folder)
    )
    write_settings(run, settings, {"created_at": utc_now()})
    for name in (WEIGHTS, TABLE_NETWORKS):
        shutil.copyfile(line.fitted.run.folder / name, run / name)
    for entry in (slower(entries[0], seen), entries[1]):
        Trials(run, mbconv).add(entry)
    return TwoCandidates(line, folder, large, small, limits)


def test_fit_measures_again_corrects_and_takes_the_next_candidate(
    line: Line, tmp_path: Path
) -> None:
    """A run whose best candidate was once measured far too fast, as on a machine since slowed."""
    two = two_candidates(line, tmp_path, limit_share=0.5, seen=1e-3)
    fitted = two.fit()
    assert [attempt.candidate for attempt in fitted.attempts] == [two.large, two.small]
    assert fitted.attempts[0].verdict.startswith("breaks latency")
    assert fitted.attempts[0].measured.p50_s > two.limits.latency_s  # type: ignore[operator]
    assert fitted.entry.candidate == two.small
    assert fitted.proof.holds
    assert "breaks latency" in (tmp_path / REPORT).read_text("utf-8")


def test_a_limit_on_the_tail_is_kept_by_the_artifact(line: Line, tmp_path: Path) -> None:
    two = two_candidates(line, tmp_path, limit_share=4.0, quantile="p90")
    proof = two.fit().proof
    assert proof.holds
    assert proof.limits.quantile == "p90"
    assert proof.latency.p90_s <= two.limits.latency_s  # type: ignore[operator]


def test_an_artifact_whose_proof_breaks_a_limit_is_not_what_fit_returns(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first bundle is measured while the device is said to be a thousand times slower."""
    two = two_candidates(line, tmp_path, limit_share=4.0)
    proofs: list[Proof] = []

    def slow_at_first(*arguments: Any, **options: Any) -> Proof:
        proof = verify_bundle(*arguments, **options)
        if not proofs:
            p50_s = 1e3 * proof.latency.p50_s
            proof = replace(
                proof, latency=replace(proof.latency, p50_s=p50_s), broken=("latency",)
            )
        proofs.append(proof)
        return proof

    monkeypatch.setattr("edgekit.workflow.verify_bundle", slow_at_first)
    fitted = two.fit()
    assert [attempt.candidate for attempt in fitted.attempts] == [two.large, two.small]
    assert fitted.attempts[0].measured == proofs[0].latency
    assert fitted.proof is proofs[1]
    assert fitted.proof.holds


def test_an_artifact_that_answers_differently_fails_and_leaves_its_report(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = two_candidates(line, tmp_path, limit_share=4.0)

    def different(*arguments: Any, **options: Any) -> Proof:
        proof = verify_bundle(*arguments, **options)
        return replace(proof, parity=(ParityCheck("answers", 0.5, "at least 0.99", False),))

    monkeypatch.setattr("edgekit.workflow.verify_bundle", different)
    with pytest.raises(VerificationFailed, match=r"answers is 0.5, it must be at least 0.99"):
        two.fit()
    assert "at least 0.99" in (tmp_path / REPORT).read_text("utf-8")


def test_an_interrupted_search_goes_on_and_loses_nothing(line: Line, tmp_path: Path) -> None:
    folder, mbconv = tmp_path / "run", line.fitted.run.space
    effort = replace(ONE, n_evaluations=2)

    def stop_after_one() -> float:
        if (folder / DATABASE).is_file() and Trials(folder, mbconv).all():
            raise KeyboardInterrupt
        return time.monotonic()

    def search(progress: Progress) -> None:
        run_search(
            mbconv,
            line.task,
            line.profile,
            out=folder,
            effort=effort,
            data=str(line.data),
            profile_folder=str(line.profile_folder),
            supernet=line.fitted.run.folder,
            progress=progress,
        )

    with pytest.raises(KeyboardInterrupt):
        patient(lambda: search(Progress(clock=stop_after_one)))
    (first,) = Trials(folder, mbconv).all()
    resumed = patient(lambda: resume_search(folder, progress=QUIET))
    assert len(resumed.measured) == 2
    assert resumed.measured[0] == first
    other = replace(line.task, source={**line.task.source, "sha256": "0" * 64})
    with pytest.raises(InputError, match="goes on with the data it began with"):
        resume_search(folder, other, progress=QUIET)


def test_a_run_folder_keeps_its_settings(line: Line) -> None:
    run = line.fitted.run
    before = read_settings(run.folder)
    with pytest.raises(InputError, match="holds a run with others"):
        run_search(
            run.space,
            line.task,
            line.profile,
            out=run.folder,
            limits=Limits.of("2s"),
            effort=TINY,
            progress=QUIET,
        )
    assert read_settings(run.folder) == before


def test_a_supernet_of_another_seed_or_space_is_refused_before_any_work(
    line: Line, tmp_path: Path
) -> None:
    for changes in ({"seed": 1}, {"effort": replace(TINY, narrow=False)}):
        with pytest.raises(InputError, match="the same space, data and seed"):
            fit(
                line.task,
                tmp_path / "fit",
                limits=LIMITS,
                supernet=line.fitted.run.folder,
                **{"effort": TINY, **changes},  # type: ignore[arg-type]
            )
    assert not list(tmp_path.iterdir())


def test_a_given_profile_must_be_there_and_no_search_begins(line: Line, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a profile is a folder with"):
        fit(line.task, tmp_path / "fit", limits=LIMITS, profile=tmp_path / "none")
    assert not list(tmp_path.iterdir())


def test_a_profile_that_holds_is_loaded_not_made_again(line: Line) -> None:
    before = (line.profile_folder / "profile.json").stat().st_mtime_ns
    profile = profile_target("local", line.profile_folder, progress=QUIET)
    assert profile.provenance == line.profile.provenance
    assert (line.profile_folder / "profile.json").stat().st_mtime_ns == before


def test_export_refuses_a_foreign_candidate_and_a_folder_with_other_things(
    line: Line, tmp_path: Path
) -> None:
    run = line.fitted.run
    with pytest.raises(InputError, match="a candidate of mbconv has genes"):
        export_bundle(run, line.task, tmp_path / "a", candidate=Candidate((9,)))
    (tmp_path / "notes.txt").write_text("mine", "utf-8")
    with pytest.raises(InputError, match="replaces an empty folder or another bundle"):
        export_bundle(run, line.task, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_spaces_are_known_by_name() -> None:
    narrow = space("mbconv", resolution=32, n_classes=10, narrow=True)
    assert narrow.n_positions < space("mbconv", resolution=32, n_classes=10).n_positions
    assert narrow.decode(narrow.largest()).stem is Precision.FP32
    with pytest.raises(InputError, match="a search space is one of mbconv, got 'other'"):
        space("other", resolution=32, n_classes=10)


def _searched(line: Line, out: Path, strategy: str, effort: Effort) -> Run:
    return patient(
        lambda: run_search(
            line.fitted.run.space,
            line.task,
            line.profile,
            out=out,
            strategy=strategy,
            limits=LIMITS,
            effort=effort,
            profile_folder=str(line.profile_folder),
            progress=QUIET,
        )
    )


def test_robot_searches_without_a_supernet(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Metrics of a pool, candidates trained alone, the best of them exported."""
    monkeypatch.setattr(pool, "_MOST_ARCHITECTURES", 3)
    monkeypatch.setattr(pool, "_N_IMAGES", 16)
    effort = replace(
        ONE,
        supernet_images=0,
        query_images=1,
        n_evaluations=2,
        n_table_networks=2,
        finetune_images=1,
    )

    run = _searched(line, tmp_path / "run", "robot", effort)
    trained = list(run.folder.glob("finetuned-*.safetensors"))
    architectures = {e.candidate.genes[: run.space.n_architecture] for e in run.measured}
    assert len(run.measured) == 2
    assert len(trained) == len(architectures)
    assert not (run.folder / WEIGHTS).exists()
    assert (run.folder / METRICS_FILE).is_file()
    bundle = export_bundle(run, line.task, tmp_path / "bundle", effort=effort, progress=QUIET)
    assert bundle.manifest.provenance.genes == run.best().candidate.genes


def test_proxyless_measures_the_most_probable_networks(line: Line, tmp_path: Path) -> None:
    effort = replace(ONE, query_images=1, n_evaluations=2, n_table_networks=2, finetune_images=1)

    run = _searched(line, tmp_path / "run", "proxyless", effort)
    assert len(run.measured) == 2
    assert (run.folder / GATES_FILE).is_file()
    assert not (run.folder / WEIGHTS).exists()
    assert not list(run.folder.glob("*.part"))
    assert len(run.hypervolumes()) == 2
    assert 0 <= run.hypervolumes()[0] <= run.hypervolumes()[1] < 1


def test_memory_is_an_objective_and_a_limit(line: Line, tmp_path: Path) -> None:
    need_peak_memory()
    effort = replace(ONE, n_evaluations=2, n_table_networks=2, finetune_images=0)
    limits = Limits.of(memory="500MB")
    run = patient(
        lambda: run_search(
            line.fitted.run.space,
            line.task,
            line.profile,
            out=tmp_path / "run",
            limits=limits,
            objectives=["latency"],
            effort=effort,
            profile_folder=str(line.profile_folder),
            supernet=line.fitted.run.folder,
            progress=QUIET,
        )
    )
    assert run.settings.objectives == ("latency", "memory")
    assert read_settings(run.folder) == run.settings
    peaks = [entry.memory_bytes for entry in run.measured]
    assert all(peak and 1e6 < peak < 5e8 for peak in peaks)
    assert len(run.hypervolumes()) == 2
    with pytest.raises(Infeasible, match="no measured candidate keeps peak memory <= 1 kB") as low:
        run.best(Limits.of(memory="1kB"))
    assert low.value.binding == "memory"
    copy = shutil.copytree(line.fitted.bundle.folder, tmp_path / "bundle")
    tight = Limits.of(memory="1MB")
    broken = patient(lambda: verify_bundle(copy, "local", line.task, limits=tight, progress=QUIET))
    assert broken.broken == ("memory",)
    assert broken.memory_bytes == pytest.approx(run.best().memory_bytes, rel=0.5)
    assert broken.failures[0].startswith("peak memory is ")
    assert broken.failures[0].endswith(", the limit 1 MB")
