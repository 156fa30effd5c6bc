"""A network in a device half and a server half: trained, written and measured.

trained_student --> write_halves --> verify_halves, for each price of bits; patches at one price
begin as they were trained at the one before
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import fx, nn

from edgekit.core.errors import InputError
from edgekit.core.precision import Precision
from edgekit.core.progress import Progress
from edgekit.core.target import Target
from edgekit.core.task import Task
from edgekit.core.units import format_duration
from edgekit.devices.probe import probe
from edgekit.devices.profile import DeviceProfile
from edgekit.devices.shipped import profile_folder
from edgekit.report.fitted import split_report
from edgekit.report.page import render_split, write_report
from edgekit.search.elastic.capture import captured
from edgekit.search.space import PRECISIONS
from edgekit.split.bottleneck import Recipe
from edgekit.split.cutting import Cut, at_input, cut_named, first_stage
from edgekit.split.halves import MANIFEST, Halves, HalvesProof, verify_halves, write_halves
from edgekit.split.patches import PatchRecipe
from edgekit.split.searching import EncoderSearch
from edgekit.split.training import StudentRecipe, recipe_in, trained_student

HALVES, REPORT = "halves", "report.html"


@dataclass(frozen=True, slots=True)
class Split:
    """A network in two halves, at one price of bits.

    Attributes:
        beta: the price.
        halves: both, on disk.
        proof: what was measured of them.
    """

    beta: float
    halves: Halves
    proof: HalvesProof


def split_model(
    net: nn.Module,
    task: Task,
    out: Path | str,
    *,
    betas: Sequence[float] = (),
    encoder_of: Path | str | None = None,
    cut: str | None = None,
    sizes: Recipe | None = None,
    precision: Precision = Precision.FP32,
    n_epochs: float = 10,
    target: Target | str = "local",
    seed: int = 0,
    command: str = "",
    progress: Progress | None = None,
) -> list[Split]:
    """Split a trained network into a device half and a server half, at some prices of bits.

    An encoder of patches (``split.patches``) sends what the whole network needs of an image. The
    Entropic Student (Matsubara et al. 2022), with a ``BottleneckRecipe``: an encoder, trained to
    carry the network's features in few bits, replaces its first part. The same call again goes on
    where it stopped.

    Args:
        net: trained; takes images and answers logits. Not changed.
        task: the data; the test split is read once for each price.
        out: a folder for each price lies in it, and ``report.html``.
        betas: prices of a bit; a higher one gives fewer bytes and less accuracy. With patches in
            nats of the mean loss, such as 0.0002; of the Entropic Student in sums of squares. Of
            patches, one after another, in the order of the prices: each begins as the one before.
        encoder_of: instead of prices, the folder of one price of another network's split. Its
            device half is taken as it is and this network learns a second half behind it, so that
            one device serves several networks, of other classes or data too.
        cut: name of the operation whose output the decoder replaces, see ``split.cutting.cuts``;
            None for the last one of the first stage. Patches have none: they are made images.
        sizes: of the bottleneck; None for patches, or those of ``encoder_of``.
        precision: int8 trains an encoder of patches for int8, and it is written so whatever it
            costs; else it is trained in float32, and written in int8 where that pays.
        n_epochs: of each of both stages.
        target: where the halves are timed.
        seed: of every random choice.
        command: how the report says it is made again.
        progress: how to show it; None for stderr.

    Raises:
        InputError: a network that cannot be cut there, both or neither of prices and an encoder,
            an encoder for other images, or a folder with another split.
        VerificationFailed: a file of the encoder's halves is not what was written.
        TooNoisy: a latency could not be had; call again to go on.
    """
    out, progress = Path(out), progress or Progress()
    target = target if isinstance(target, Target) else Target(target)
    side = task.preprocessing.resolution
    teacher = captured(net, torch.zeros(2, 3, side, side)).requires_grad_(False)
    n_classes = teacher(torch.zeros(2, 3, side, side)).shape[-1]
    if n_classes != len(task.labels):
        raise InputError(
            f"the data have {len(task.labels)} classes, the network answers {n_classes}; give "
            "both the same"
        )
    source = None if encoder_of is None else Path(encoder_of)
    if bool(betas) == (source is not None) or (
        source and (sizes or precision is not Precision.FP32)
    ):
        raise InputError(
            "a split has prices of bits, or the encoder, price, sizes and precision of another "
            f"one, got prices {list(betas)}, the encoder of {source}, sizes {sizes} and "
            f"{precision}; give one of both"
        )
    taken = None if source is None else _taken(source, task)
    known = None if source is None else recipe_in(source)
    used: Recipe = sizes or (known.sizes if known else PatchRecipe())
    prices = [known.beta] if known else betas
    weight_max = probe(target).int8_weight_max if precision is Precision.INT8 else None
    weight_max = known.int8_weight_max if known else weight_max
    recipes = [StudentRecipe(beta, n_epochs, used, seed, weight_max) for beta in prices]
    has_patches, start = isinstance(used, PatchRecipe), None
    if has_patches and cut is not None:
        raise InputError(f"patches are made images again, got --cut {cut}; leave it out")
    place = _place(teacher, cut, has_patches)
    found = []
    for recipe in recipes:
        folder = out / f"price-{recipe.beta:g}"
        student = trained_student(
            teacher, place, task, recipe, folder, encoder_of=source, start=start, progress=progress
        )
        start = folder if has_patches and source is None else None
        there = folder / HALVES
        origin = {"recipe": asdict(recipe), "cut": place.name}
        halves = (
            Halves.open(there)
            if (there / MANIFEST).is_file()
            else write_halves(there, student, task, target, origin, encoder_of=taken)
        )
        proof = verify_halves(halves, target, task, progress=progress)
        found.append(Split(recipe.beta, halves, proof))
    proofs = [(one.beta, one.proof) for one in found]
    page = render_split(split_report(proofs, probe(target), task, command))
    write_report(out / REPORT, page)
    return found


def find_encoder(
    net: nn.Module,
    task: Task,
    out: Path | str,
    *,
    beta: float,
    max_latency_s: float,
    profile: Path | str,
    n_evaluations: int = 12,
    n_epochs: float = 0.5,
    target: Target | str = "local",
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[PatchRecipe, Precision]:
    """Search sizes and precision of an encoder of patches under a limit on its latency.

    Each that is tried is trained for a short while in its precision, and measured; the predictor
    of the profile keeps those that are too slow from being tried.

    Args:
        net: as ``split_model`` takes it.
        task: its training and validation splits are read.
        out: ``encoders.json`` is kept there; the same call again goes on.
        beta: price of a bit.
        max_latency_s: wall for the measured p50 of the encoder, in seconds.
        profile: folder of a profile of the target, or the name of a shipped one.
        n_evaluations: encoders to try.
        n_epochs: of each short training.
        target: where encoders are measured.
        seed: of every random choice.
        progress: how to show it; None for stderr.

    Raises:
        Infeasible: no encoder keeps the limit.
        InputError: the folder holds another search, or a profile that is not of the target.
        TooNoisy: a latency could not be had; call again to go on.
    """
    progress = progress or Progress()
    target = target if isinstance(target, Target) else Target(target)
    known = DeviceProfile.load(profile_folder(profile))
    known.check_current(target)
    side = task.preprocessing.resolution
    teacher = captured(net, torch.zeros(2, 3, side, side)).requires_grad_(False)
    recipe = StudentRecipe(beta, n_epochs, PatchRecipe(), seed)
    found = EncoderSearch(
        teacher,
        task,
        recipe,
        max_latency_s,
        known.predictor,
        target,
        Path(out),
        progress=progress,
    )
    best = found.best(found.run(n_evaluations))
    words = found.space.words(best.candidate)["encoder"]
    precision = PRECISIONS[best.candidate.genes[-1]]
    progress.say(
        f"encoder {words}, {precision}: loss {best.loss:.3f}, measured p50 "
        f"{format_duration(best.latency_s)}"
    )
    return found.space.sizes(best.candidate.genes), precision


def _place(teacher: fx.GraphModule, cut: str | None, has_patches: bool) -> Cut:
    if has_patches:
        return at_input(teacher)
    return first_stage(teacher) if cut is None else cut_named(teacher, cut)


def _taken(folder: Path, task: Task) -> Halves:
    """Halves whose device half is taken."""
    halves = Halves.open(folder / HALVES)
    if halves.preprocessing != task.preprocessing:
        raise InputError(
            f"an encoder takes the images it was made for, {folder} has {halves.preprocessing}, "
            f"the data {task.preprocessing}; give the same resolution, mean and deviation"
        )
    return halves
