import json
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekit import cli
from edgekit.core.errors import Infeasible, InputError, TooNoisy, VerificationFailed
from tests.line import AS_TINY, LIMITS, ROOT, WALLS, Line, copied_fit, patient

VERBS = (
    *("profile", "search", "resume", "export", "verify", "fit"),
    *("devices", "bench", "predict", "compare"),
)
FIT = ("fit", "mbconv", "--data", "digits")
SEARCH = ("search", "mbconv", "--data", "digits")
pytestmark = pytest.mark.timeout(900)
READY = (*SEARCH, "--profile", "{profile}", "--out", "{out}")
HEAVY = ("torch", "onnx", "onnxruntime", "optuna", "sklearn", "lightgbm", "scipy", "pyarrow")
RunMain = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run_main(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RunMain:
    """The command line in this process: exit code, stdout, stderr."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["edgekit", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        streams = capsys.readouterr()
        return int(stop.value.code or 0), streams.out, streams.err

    return run


def test_help_names_every_verb_and_loads_nothing_heavy(capfd: pytest.CaptureFixture[str]) -> None:
    code = (
        "import sys\nsys.argv = ['edgekit', '--help']\nfrom edgekit.cli import main\n"
        "try:\n    main()\nfinally:\n"
        f"    print('loaded', [name for name in {HEAVY} if name in sys.modules])"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    with capfd.disabled():
        print(f"\nedgekit --help took {cpu_s:.2f} s of CPU time")
    for verb in VERBS:
        assert f"\n  {verb} " in done.stdout
    _, _, verbs = done.stdout.partition("Commands:")
    assert "..." not in verbs
    assert done.stdout.splitlines()[-1] == "loaded []"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_and_json(verb: str, run_main: RunMain) -> None:
    exit_code, out, err = run_main(verb, "--help")
    assert exit_code == 0
    assert f"edgekit {verb}" in out
    assert "--json" in out
    assert err == ""


WRONG = {
    "no verb": ((), "Missing command"),
    "unknown verb": (("fly",), "No such command 'fly'"),
    "unknown option": ((*FIT, "--out", "x", "--fast"), "No such option: --fast"),
    "missing argument": (("profile",), "Missing argument 'target'"),
    "missing option": (FIT, "Missing option '--out'"),
    "profile: unknown target": (("profile", "phone"), "a target is this machine"),
    "profile: unknown key": (("profile", "local?cores=2"), "a target takes the keys"),
    "profile: no threads": (("profile", "local?threads=0"), "threads must be a whole number"),
    "profile: many threads": (("profile", "local?threads=9999"), "threads must be a whole number"),
    "profile: quick and from": (("profile", "local", "--quick", "--from", "x"), "leave one out"),
    "profile: networks alone": (("profile", "local", "--networks", "12"), "add --from FOLDER"),
    "profile: from nothing": (("profile", "local", "--from", "nowhere"), "nowhere"),
    "profile: unknown provider": (("profile", "local?ep=gpu"), "a provider is one of cpu, "),
    "profile: negative seed": (("profile", "local", "--seed", "-1"), "--seed"),
    "profile: out is a file": (("profile", "local", "--out", "{file}"), "a folder that can be"),
    "profile: out below a file": (("profile", "local", "--out", "{file}/x"), "a folder that can"),
    "profile: another file": (("profile", "local", "--out", "{foreign}"), "of another kind"),
    "search: unknown space": (
        ("search", "cells", "--data", "digits", "--profile", "{profile}", "--out", "{out}"),
        "a search space is mbconv, or a module of yours as FILE.py:NAME, got 'cells'",
    ),
    "search: missing data": (
        ("search", "mbconv", "--data", "{out}", "--profile", "{profile}", "--out", "{out}"),
        "is not there",
    ),
    "search: data without images": (
        ("search", "mbconv", "--data", "{empty}", "--profile", "{profile}", "--out", "{out}"),
        "folder",
    ),
    "search: missing profile": (
        (*SEARCH, "--profile", "{out}", "--out", "{out}"),
        "a profile is a folder with profile.json or one of",
    ),
    "search: a run as profile": (
        (*SEARCH, "--profile", "{run}", "--out", "{out}"),
        "a profile is a folder with profile.json or one of",
    ),
    "search: altered profile": (
        (*SEARCH, "--profile", "{altered_profile}", "--out", "{out}"),
        "a profile has the fields edgekit writes",
    ),
    "search: latency without unit": (
        (*READY, "--max-latency", "15"),
        "a duration needs a number and one of the units",
    ),
    "search: size with a wrong unit": (
        (*READY, "--max-size", "4ms"),
        "a size needs a number and one of the units",
    ),
    "search: no latency": (
        (*READY, "--max-latency", "0ms"),
        "must be above zero",
    ),
    "search: unknown quantile": (
        (*READY, "--max-latency", "1ms", "--quantile", "p75"),
        "a latency limit is on one of p50, p90, p99",
    ),
    "search: a quantile of nothing": (
        (*READY, "--quantile", "p90"),
        "--quantile says which latency --max-latency is on",
    ),
    "search: unknown strategy": (
        (*READY, "--strategy", "luck"),
        "exhaustive, random, got 'luck'",
    ),
    "search: a space too large to list": (
        (*READY, "--strategy", "exhaustive"),
        "exhaustive search lists at most 10,000,000 networks, mbconv has ",
    ),
    "search: a supernet for networks that share nothing": (
        (*READY, "--strategy", "robot", "--supernet", "{run}"),
        "a supernet is taken over instead of being trained, got ",
    ),
    "search: a supernet for weights of every path": (
        (*READY, "--strategy", "proxyless", "--supernet", "{run}"),
        "proxyless trains every operation with weights of its own, got the supernet",
    ),
    "search: what was derived is not trained": (
        (*READY, "--strategy", "proxyless", "--query-epochs", "0"),
        "proxyless trains its operations and then what it derives, got ",
    ),
    "search: unknown sampling": (
        (*READY, "--sampling", "other"),
        "sampling is one of sandwich, nested, got 'other'",
    ),
    "search: two devices of one name": (
        (*READY, "--profile", "{profile}"),
        "told apart by the names of their folders",
    ),
    "search: one latency for two devices": (
        (*READY, "--profile", "amd-epyc-avx512-threads-1", "--max-latency", "1ms"),
        "each --profile has a --max-latency or none has, got 2 profiles and 1 latencies",
    ),
    "search: a cluster without workers": (
        (*READY, "--ray", "auto"),
        "a cluster needs workers, got auto with 0",
    ),
    "search: a cluster that does not answer": (
        (*READY, "--workers", "1", "--ray", "ray://127.0.0.1:1"),
        "a Ray cluster must answer at its address",
    ),
    "search: no cluster here": (
        (*READY, "--workers", "1", "--ray", "auto"),
        "a Ray cluster must answer at its address, 'auto' does not",
    ),
    "search: a study that does not answer": (
        (*READY, "--study", "postgresql://nobody@127.0.0.1:1/none"),
        "a study must be a database that answers",
    ),
    "search: trainers that cannot share a batch": (
        (*READY, "--trainers", "3"),
        "a batch of 64 is shared evenly among the processes that train, got 3",
    ),
    "search: a study elsewhere": (
        (*READY, "--study", "mysql://host/name"),
        "a study lies in the run folder or in postgresql://USER@HOST/NAME",
    ),
    "search: nothing is trained": (
        (*READY, "--epochs", "0"),
        "mbconv has no weights before it is trained, got --epochs 0",
    ),
    "search: small images": (
        (*READY, "--resolution", "16"),
        "mbconv takes a resolution from 32 to 224, got 16",
    ),
    "search: no evaluations": (
        (*READY, "--evaluations", "0"),
        "--evaluations",
    ),
    "search: a supernet of other data": (
        (*READY, "--quick", "--supernet", "{run}"),
        "the same space, data and seed",
    ),
    "resume: missing run": (("resume", "{out}"), "a run folder is needed"),
    "resume: a bundle": (("resume", "{bundle}"), "a run folder is needed"),
    "resume: another file of that name": (("resume", "{foreign}"), "of another kind"),
    "resume: a broken database": (("resume", "{broken_run}"), "run.db"),
    "resume: the profile is gone": (
        ("resume", "{lost_profile}"),
        "a file of kind device-profile is needed",
    ),
    "resume: the data is gone": (("resume", "{lost_data}"), "is none of them"),
    "export: missing run": (("export", "{out}", "--out", "{out}"), "a run folder is needed"),
    "export: no candidate": (
        ("export", "{run}", "--out", "{out}", "--candidate", "large"),
        "a candidate is whole numbers joined by dashes",
    ),
    "export: a candidate of another space": (
        ("export", "{run}", "--out", "{out}", "--candidate", "1-2-3"),
        "a candidate of mbconv has genes",
    ),
    "export: out holds other things": (
        ("export", "{run}", "--out", "{data}"),
        "replaces an empty folder or another bundle",
    ),
    "verify: missing bundle": (
        ("verify", "{out}", "--data", "{data}"),
        "a file of kind bundle is needed",
    ),
    "verify: a run": (("verify", "{run}", "--data", "{data}"), "a file of kind bundle is needed"),
    "verify: missing data": (("verify", "{bundle}", "--data", "{out}"), "is not there"),
    "verify: data of other classes": (
        ("verify", "{bundle}", "--data", "digits"),
        "the task must have the classes of the bundle",
    ),
    "verify: unknown target": (
        ("verify", "{bundle}", "--data", "{data}", "--target", "ssh://pi"),
        "a target is this machine",
    ),
    "verify: report below a file": (
        ("verify", "{bundle}", "--data", "{data}", "--report", "{file}/report.html"),
        "a folder that can be written to",
    ),
    "fit: unknown space": (
        ("fit", "cells", "--data", "digits", "--out", "{out}"),
        "a search space is mbconv, or a module of yours",
    ),
    "fit: unknown strategy": (
        (*FIT, "--out", "{out}", "--strategy", "luck"),
        "a strategy is one of simq, simq-published",
    ),
    "fit: unknown target": ((*FIT, "--out", "{out}", "--target", "local?x=1"), "takes the keys"),
    "fit: missing profile": (
        (*FIT, "--out", "{out}", "--profile", "{out}"),
        "a profile is a folder with profile.json or one of",
    ),
    "fit: missing supernet": (
        (*FIT, "--out", "{out}", "--supernet", "{out}"),
        "a run folder is needed",
    ),
    "fit: negative epochs": ((*FIT, "--out", "{out}", "--finetune-epochs", "-1"), "--finetune"),
}
TAMPERED = ("model.onnx", "labels.json", "preprocessing.json", "runner.py", "parity.safetensors")


@pytest.fixture
def places(line: Line, tmp_path: Path) -> dict[str, Path]:
    """Folders of the small line, and things that are not what they should be."""
    own = {name: tmp_path / name for name in ("file", "empty", "foreign", "altered_profile")}
    own["file"].write_text("", "utf-8")
    own["empty"].mkdir()
    own["foreign"].mkdir()
    for name in ("profile.json", "run.json", "manifest.json"):
        (own["foreign"] / name).write_text('{"kind": "recipe for soup"}', "utf-8")
    shutil.copytree(line.profile_folder, own["altered_profile"])
    change(own["altered_profile"] / "profile.json", "target", None)
    run = line.fitted.run.folder
    for name in ("broken_run", "lost_profile", "lost_data"):
        own[name] = Path(shutil.copytree(run, tmp_path / name))
    (own["broken_run"] / "run.db").write_bytes(b"no database")
    change_setting(own["lost_profile"] / "run.json", "profile", str(tmp_path / "nowhere"))
    change_setting(own["lost_data"] / "run.json", "data", str(tmp_path / "nowhere"))
    return {
        **own,
        "out": tmp_path / "out",
        "run": run,
        "data": line.data,
        "profile": line.profile_folder,
        "bundle": line.folder / "bundle",
    }


def change(path: Path, field: str, value: object) -> None:
    document = json.loads(path.read_bytes())
    path.write_text(json.dumps({**document, field: value}), "utf-8")


def change_setting(path: Path, field: str, value: str) -> None:
    settings = json.loads(path.read_bytes())["settings"]
    change(path, "settings", {**settings, field: value})


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_one_sentence_with_code_2_and_leaves_nothing(
    case: str, places: dict[str, Path], run_main: RunMain
) -> None:
    arguments, expected = WRONG[case]
    before = snapshot(places)
    filled = [text.format(**places) for text in arguments]
    exit_code, out, err = run_main(*filled, *(["--json"] if filled else []))
    assert exit_code == InputError.exit_code
    assert err.count("\n") == 1
    assert err.startswith("edgekit: ")
    if filled:
        document = json.loads(out)
        assert document["error"] == "InputError"
        assert document["exit_code"] == InputError.exit_code
        assert err == f"edgekit: {document['message']}\n"
    assert expected in err
    assert "Traceback" not in err
    assert snapshot(places) == before


def snapshot(places: dict[str, Path]) -> dict[Path, bytes]:
    """Every file below these places and what it holds."""
    files = [p for place in places.values() for p in (place, *place.rglob("*")) if p.is_file()]
    return {path: path.read_bytes() for path in files}


@pytest.mark.parametrize("name", TAMPERED)
def test_a_tampered_bundle_is_refused_with_code_5(
    name: str, line: Line, tmp_path: Path, run_main: RunMain
) -> None:
    bundle = Path(shutil.copytree(line.folder / "bundle", tmp_path / "bundle"))
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    before = snapshot({"bundle": bundle})
    exit_code, out, err = run_main("verify", bundle, "--data", line.data, "--json")
    assert exit_code == VerificationFailed.exit_code
    assert json.loads(out)["error"] == "VerificationFailed"
    assert f"{name} must have the digest" in err
    assert err.count("\n") == 1
    assert snapshot({"bundle": bundle}) == before


def test_what_went_wrong_without_json_leaves_stdout_empty(
    tmp_path: Path, run_main: RunMain
) -> None:
    exit_code, out, err = run_main("resume", tmp_path)
    assert exit_code == InputError.exit_code
    assert out == ""
    assert (
        err
        == f"edgekit: a run folder is needed, {tmp_path}/run.json is not there; check the path\n"
    )


def test_profile_prints_what_lies_there(line: Line, run_main: RunMain) -> None:
    exit_code, out, err = run_main("profile", "local", "--out", line.profile_folder, "--json")
    assert (exit_code, err) == (0, "")
    document = json.loads(out)
    assert document["networks_measured"] == line.profile.provenance.n_networks
    assert document["held_out_mape"] == line.profile.validation.accuracy.mape


def test_resume_of_a_finished_run_prints_its_front(line: Line, run_main: RunMain) -> None:
    exit_code, out, err = run_main("resume", line.fitted.run.folder, "--json")
    assert (exit_code, err) == (0, "")
    document = json.loads(out)
    assert document["n_measured"] >= len(line.fitted.run.measured)
    assert document["best"] in document["front"]


def test_search_of_a_finished_run_says_the_same_for_people(
    line: Line, tmp_path: Path, run_main: RunMain
) -> None:
    run = copied_fit(line, tmp_path / "fit") / "run"
    asked = ("--data", line.data, "--profile", line.profile_folder, *WALLS, *AS_TINY)
    exit_code, out, _ = run_main("search", "mbconv", *asked, "--out", run)
    assert exit_code == 0
    assert "candidates measured" in out
    assert f"best inside {LIMITS.describe()}: " in out
    assert out.splitlines()[-1] == f"run: {run}"


def test_one_search_serves_several_devices(line: Line, tmp_path: Path, run_main: RunMain) -> None:
    """The second device is the first under another name."""
    supernet = copied_fit(line, tmp_path / "fit") / "run"
    second = shutil.copytree(line.profile_folder, tmp_path / "second")
    asked = ("--data", line.data, "--profile", line.profile_folder, "--profile", second)
    walls = ("--max-latency", "1s", "--max-latency", "2s", "--evaluations", "3")
    more = ("--supernet", supernet, "--quick", "--epochs", "1", "--out", tmp_path / "out")
    exit_code, out, err = patient(lambda: heard(run_main, "search", *asked, *walls, *more))
    assert exit_code == 0, err
    document = json.loads(out)
    assert document["n_measured"] == 3
    assert set(document["devices"]) == {line.profile_folder.name, "second"}
    assert set(document["compromise"]["regrets_top1"].values()) == {0.0}
    run = document["devices"]["second"]["run"]
    assert (
        json.loads((Path(run) / "run.json").read_bytes())["settings"]["limits"]["latency_s"] == 2
    )
    exit_code, out, _ = run_main("search", "mbconv", *asked, *walls, *more)
    assert exit_code == 0
    assert out.startswith("3 candidates measured on 2 devices\n")
    assert "for all of them: " in out
    assert "0.00 points less than its best" in out
    again = run_main("resume", run, "--json")
    assert json.loads(again[1])["best"] == document["devices"]["second"]["best"]


def heard(run_main: RunMain, verb: str, *arguments: str | Path) -> tuple[int, str, str]:
    """As ``run_main``, but what is too noisy is an error to be tried again."""
    exit_code, out, err = run_main(verb, "mbconv", *arguments, "--json")
    if exit_code == TooNoisy.exit_code:
        raise TooNoisy(err)
    return exit_code, out, err


def test_limits_nothing_keeps_have_code_3_and_name_the_nearest_pair(
    line: Line, tmp_path: Path, run_main: RunMain
) -> None:
    limit = ("--max-latency", "1us", "--out", tmp_path / "out", "--json")
    exit_code, out, err = run_main("export", line.fitted.run.folder, *limit)
    document = json.loads(out)
    assert exit_code == Infeasible.exit_code == document["exit_code"]
    assert document["binding"] == "latency"
    assert document["nearest"] in document["message"]
    assert err == f"edgekit: {document['message']}\n"
    assert not list(tmp_path.iterdir())


def test_export_from_the_command_line(line: Line, tmp_path: Path, run_main: RunMain) -> None:
    run, folder = line.fitted.run, tmp_path / "bundle"
    smallest = run.space.smallest().text
    asked = ("--candidate", smallest, "--finetune-epochs", "0", "--out", folder, "--json")
    exit_code, out, err = run_main("export", run.folder, *asked)
    assert (exit_code, err) == (0, "")
    document = json.loads(out)
    assert document["candidate"] == smallest
    assert document["size_bytes"] == (folder / "model.onnx").stat().st_size


def test_ctrl_c_ends_with_code_130_and_says_how_to_go_on(line: Line, tmp_path: Path) -> None:
    out = tmp_path / "run"
    # A process that a shell starts in the background is born deaf to Ctrl-C.
    code = "from signal import *; signal(SIGINT, default_int_handler); "
    code += "from edgekit.cli import main; main()"
    command = [sys.executable, "-c", code, *SEARCH]
    command += ["--profile", str(line.profile_folder), "--out", str(out), "--quick", "--json"]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while not (out / "run.json").is_file():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate()
    assert process.returncode == 130
    assert json.loads(stdout)["error"] == "Interrupted"
    assert stderr == "edgekit: stopped; the same command, or edgekit resume, goes on\n"
