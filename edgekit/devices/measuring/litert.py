"""TFLite files in LiteRT, with its XNNPACK delegate: opening, running, and who runs each node."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from edgekit.core.errors import InputError, MissingExtra

LITERT = "litert"
DELEGATE, BUILT_IN = "XnnpackDelegate", "LiteRT"
_MODULES = ("ai_edge_litert.interpreter", "tflite_runtime.interpreter")
_MAGIC = b"TFL3"
_MAX_MODEL_BYTES = 2**30
Array = NDArray[np.generic]


def is_tflite(model: object) -> TypeGuard[Path | bytes]:
    """Whether a model is a TFLite file or its bytes, by the identifier in them."""
    if isinstance(model, Path):
        if not model.is_file():
            return model.suffix == ".tflite"
        with model.open("rb") as stream:
            return stream.read(8)[4:] == _MAGIC
    return isinstance(model, bytes) and model[4:8] == _MAGIC


class LiteRtModel:
    """An interpreter with fixed random inputs.

    Args:
        model: TFLite file, or its bytes; at most 1 GiB.
        n_threads: threads of the interpreter, at least 1.
        seed: of the inputs.
        delegate: let XNNPACK take what it can; without it LiteRT's own kernels run every node.

    Raises:
        MissingExtra: neither ``ai-edge-litert`` nor ``tflite-runtime`` is installed.
        InputError: the file is missing, too large, or LiteRT refuses it.
    """

    def __init__(
        self, model: Path | bytes, n_threads: int, seed: int, *, delegate: bool = True
    ) -> None:
        module, source = _module(), _source(model)
        resolver = module.OpResolverType
        chosen = resolver.AUTO if delegate else resolver.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        try:
            self._interpreter = module.Interpreter(
                **source, num_threads=n_threads, experimental_op_resolver_type=chosen
            )
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise InputError(
                f"LiteRT must be able to load the model, it says: {str(error).splitlines()[0]}; "
                "check the file or convert it again"
            ) from error
        generator = np.random.default_rng(seed)
        for detail in self._interpreter.get_input_details():
            values = random_values(tuple(detail["shape"]), detail["dtype"], generator)
            self._interpreter.set_tensor(detail["index"], values)

    def run(self) -> None:
        """One run on the inputs."""
        self._interpreter.invoke()

    def answers(self) -> list[Array]:
        """The outputs of one run."""
        self.run()
        outputs = self._interpreter.get_output_details()
        return [np.asarray(self._interpreter.get_tensor(o["index"])) for o in outputs]

    def nodes(self) -> list[tuple[str, str, str]]:
        """(operator, what goes in, ``DELEGATE`` or ``BUILT_IN``) of every node of the file.

        A delegate stands behind the nodes it replaced, with the tensors that go in and come out:
        what lies between these is its work.
        """
        operations = self._interpreter._get_ops_details()
        delegates = [o for o in operations if o["op_name"] == "DELEGATE"]
        plain = [o for o in operations if o["op_name"] != "DELEGATE"]
        taken: set[int] = set()
        for delegate in delegates:
            taken |= _between(plain, delegate)
        return [
            (o["op_name"], self._inputs_text(o), DELEGATE if index in taken else BUILT_IN)
            for index, o in enumerate(plain)
        ]

    def _inputs_text(self, operation: dict[str, Any]) -> str:
        """For example ``float32[1, 8, 8, 3] and float32[16, 3, 3, 3]``."""
        known = {detail["index"]: detail for detail in self._interpreter.get_tensor_details()}
        details = [known[int(t)] for t in operation["inputs"] if int(t) in known]
        return " and ".join(
            f"{np.dtype(d['dtype'])}[{', '.join(map(str, d['shape']))}]" for d in details
        )


def is_installed() -> bool:
    """Whether ``ai-edge-litert`` or ``tflite-runtime`` is there."""
    return any(importlib.util.find_spec(name.split(".")[0]) is not None for name in _MODULES)


def random_values(shape: tuple[int, ...], dtype: type, generator: np.random.Generator) -> Array:
    """Standard normal floats, or integers over the whole range of a type of 8 bits.

    Raises:
        InputError: another type.
    """
    if np.issubdtype(dtype, np.floating):
        return generator.standard_normal(shape).astype(dtype)
    if np.dtype(dtype) in (np.int8, np.uint8):
        limits = np.iinfo(dtype)
        return generator.integers(limits.min, limits.max, shape, endpoint=True).astype(dtype)
    raise InputError(
        f"inputs must be floats or 8-bit integers, got {np.dtype(dtype)}; convert the model so"
    )


def _between(operations: Sequence[dict[str, Any]], delegate: dict[str, Any]) -> set[int]:
    """Indices of the operations between the delegate's inputs and outputs."""
    maker = {int(t): i for i, o in enumerate(operations) for t in o["outputs"]}
    stops = {int(t) for t in delegate["inputs"]}
    found: set[int] = set()
    waiting = [int(t) for t in delegate["outputs"]]
    while waiting:
        index = maker.get(waiting.pop())
        if index is None or index in found:
            continue
        found.add(index)
        waiting += [int(t) for t in operations[index]["inputs"] if int(t) not in stops]
    return found


def _module() -> Any:
    for name in _MODULES:
        if importlib.util.find_spec(name.split(".")[0]) is not None:
            return importlib.import_module(name)
    raise MissingExtra(
        "a TFLite file needs LiteRT, neither ai-edge-litert nor tflite-runtime is installed; "
        "pip install 'edgekit[litert]'"
    )


def _source(model: Path | bytes) -> dict[str, object]:
    n_bytes = len(model) if isinstance(model, bytes) else _file_size(model)
    if n_bytes > _MAX_MODEL_BYTES:
        raise InputError(
            f"a model has at most {_MAX_MODEL_BYTES} bytes, this one has {n_bytes}; "
            "take a smaller model"
        )
    return {"model_content": model} if isinstance(model, bytes) else {"model_path": str(model)}


def _file_size(path: Path) -> int:
    if not path.is_file():
        raise InputError(f"a model file is needed, {path} is not there; check the path")
    return path.stat().st_size
