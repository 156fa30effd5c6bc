"""Search spaces by name or from a module, and what makes networks of their candidates."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Collection, Sequence
from typing import overload

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from torch import nn

from edgekit.core.errors import InputError
from edgekit.core.figures import MeasuredAccuracy
from edgekit.core.module_text import ModuleText
from edgekit.core.task import Preprocessing, Split, Task
from edgekit.export.onnx_model import export_onnx
from edgekit.export.quantise import quantise_blocks
from edgekit.export.run import measure_accuracy, measure_loss
from edgekit.search.elastic.capture import Example
from edgekit.search.elastic.network import ElasticNetwork
from edgekit.search.elastic.networks import ElasticNetworks, Runtime
from edgekit.search.elastic.space import MULTIPLE, RATIOS, ElasticRecipe, ElasticSpace
from edgekit.search.mbconv.networks import MBConvNetworks
from edgekit.search.mbconv.space import MBConvRecipe, MBConvSpace
from edgekit.search.networks import Networks
from edgekit.search.settings import RunSettings

AnySpace = MBConvSpace | ElasticSpace


@overload
def space(
    source: str, *, resolution: int, n_classes: int, narrow: bool = False
) -> MBConvSpace: ...


@overload
def space(
    source: nn.Module,
    example: Example,
    *,
    ratios: Sequence[float] = RATIOS,
    multiple: int = MULTIPLE,
    model: str = "",
) -> ElasticSpace: ...


def space(
    source: str | nn.Module,
    example: Example | None = None,
    *,
    resolution: int = 0,
    n_classes: int = 0,
    narrow: bool = False,
    ratios: Sequence[float] = RATIOS,
    multiple: int = MULTIPLE,
    model: str = "",
) -> AnySpace:
    """A search space: a built-in one by name, or all smaller networks inside a module.

    Args:
        source: ``"mbconv"``; or a module that ``torch.export`` can follow, pretrained or not. It
            is not changed.
        example: of a module, its input with the batch in front, as ``captured`` takes it.
        resolution: of a built-in space, side of the images in pixels, 32 to 224.
        n_classes: of a built-in space, classes, at least 2.
        narrow: of a built-in space, the version that trains in a minute.
        ratios: of a module, widths relative to the whole, ascending, the last 1.
        multiple: of a module, channels are rounded up to a multiple of it; best what the kernels
            of the device take at a time (``DeviceFacts.vector_channels``).
        model: of a module, where it came from, for people.

    Raises:
        InputError: no such space, or a recipe it does not take; a module that cannot be exported,
            or in which nothing can vary.
    """
    if isinstance(source, nn.Module):
        if example is None:
            raise InputError("the space of a module needs an example of its input, got none")
        return ElasticSpace(ElasticNetwork(source, example), ratios, multiple, model=model)
    if source != MBConvSpace.name:
        raise InputError(f"a search space is one of {MBConvSpace.name}, got {source!r}")
    make = MBConvRecipe.quick if narrow else MBConvRecipe.for_task
    return MBConvSpace(make(resolution, n_classes))


def space_of(text: str, task: Task, *, narrow: bool = False, multiple: int = MULTIPLE) -> AnySpace:
    """The space behind the text of a command.

    Args:
        text: ``mbconv``, or ``FILE.py:NAME``, a module in a Python file.
        task: says which images and classes it is for.
        narrow: of a built-in space, the version that trains in a minute.
        multiple: of a module, as ``space`` takes it.

    Raises:
        InputError: as ``space`` and ``load_module``, or the module takes other images or answers
            other classes.
    """
    if ":" in text:
        return module_space(text, task, multiple)
    side, n_classes = task.preprocessing.resolution, len(task.labels)
    return space(text, resolution=side, n_classes=n_classes, narrow=narrow)


def module_space(text: str, task: Task, multiple: int = MULTIPLE) -> ElasticSpace:
    """The space of a module in a Python file; see ``space_of``."""
    side = task.preprocessing.resolution
    example = torch.zeros(2, 3, side, side)
    made = space(load_module(text), example, multiple=multiple, model=text)
    fitting_recipe(made, task)
    return made


def load_module(text: str) -> nn.Module:
    """A module from a Python file, which is run.

    Args:
        text: ``FILE.py:NAME``; the name is that of a module, or of a function or class without
            arguments that gives one.

    Raises:
        InputError: no such file or name, the file fails, or it is no module.
    """
    given = ModuleText.parse(text)
    path, name = given.path, given.name
    spec = importlib.util.spec_from_file_location(f"edgekit_user_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    code = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = code  # where its dataclasses look themselves up
    sys.path.insert(0, str(path.parent.absolute()))
    try:
        spec.loader.exec_module(code)
        found = getattr(code, name, None)
        if callable(found) and not isinstance(found, nn.Module):
            found = found()
    except (Exception, SystemExit) as error:
        raise InputError(
            f"the file of a module must run, {path} fails: {type(error).__name__}: {error}; "
            "run it alone"
        ) from error
    finally:
        sys.path.pop(0)
    if not isinstance(found, nn.Module):
        raise InputError(
            f"{name} must be a torch.nn.Module in {path}, or a function that gives one, it is "
            f"{type(found).__name__}; give another name"
        )
    return found


def networks_of(space: AnySpace) -> Networks:
    """What makes networks of the candidates of a space."""
    if isinstance(space, MBConvSpace):
        return MBConvNetworks(space)
    return ElasticNetworks(space, _RUNTIME)


def _quantised(
    model: ModelProto, int8: Collection[str], images: NDArray[np.float32], weight_max: int
) -> ModelProto:
    n_threads = torch.get_num_threads()
    return quantise_blocks(model, int8, images, weight_max=weight_max, n_threads=n_threads)


def _accuracy(
    model: ModelProto, split: Split, preprocessing: Preprocessing, name: str
) -> MeasuredAccuracy:
    n_threads = torch.get_num_threads()
    return measure_accuracy(model, split, preprocessing, name=name, n_threads=n_threads)


def _loss(model: ModelProto, split: Split, preprocessing: Preprocessing) -> float:
    return measure_loss(model, split, preprocessing, n_threads=torch.get_num_threads())


_RUNTIME = Runtime(export_onnx, _quantised, _accuracy, _loss)


def fitting_recipe(space: AnySpace, task: Task) -> MBConvRecipe | ElasticRecipe:
    """The recipe of a space, which must be of the images and classes of a task."""
    recipe = space.recipe
    wanted = (task.preprocessing.resolution, len(task.labels))
    if (recipe.resolution, recipe.n_classes) != wanted:
        raise InputError(
            f"the data have {wanted[1]} classes at {wanted[0]} pixels, the network has "
            f"{recipe.n_classes} at {recipe.resolution}; give both the same"
        )
    return recipe


def space_of_run(settings: RunSettings, given: ElasticSpace | None) -> AnySpace:
    """The space of a run; that of a module has to be given again."""
    recipe = settings.space
    if isinstance(recipe, MBConvRecipe):
        if given is not None:
            raise InputError(
                f"this run searches {MBConvSpace.name}, it was given the module {given.model}; "
                "leave that out (--model, or space=)"
            )
        return MBConvSpace(recipe)
    if given is None:
        raise InputError(
            f"this run searches the module {recipe.model or 'it was given'}, and no code is "
            "loaded from a run folder; give the module again (--model, or space=)"
        )
    if given.recipe.sha256 != recipe.sha256:
        raise InputError(
            f"a run goes on with the module it began with, {given.model or 'this one'} has "
            "another graph or other weights; give that one, or begin a new run"
        )
    return ElasticSpace(given.elastic, recipe.ratios, recipe.multiple, model=recipe.model)
