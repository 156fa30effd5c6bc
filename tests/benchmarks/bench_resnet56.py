"""A pretrained CIFAR ResNet-56 under hard latency limits, beside what one would do by hand.

    python -m tests.benchmarks.bench_resnet56 --data DATA --work build/resnet56 --out resnet56.json

One thread, one image at a time. DATA holds cifar10/ and weights/. The limits are shares of the measured latency of the
original in float32. Four fits share one adapted network. Beside them: (a) the original, every block in int8; (b) one
width for all layers, the widest whose measured int8 latency keeps the limit, fine-tuned in the same way, then int8;
(c) channels pruned by torch-pruning (group norms) to the multiply-adds of our artifact, fine-tuned in the same way,
then int8, where that package is installed; (d) the stock ResNet-20, every block in int8. Accuracy is that of the
exported file on the whole test set, read once per file; latencies are measured again side by side at the end. Every
stage is kept in the work folder; the same command goes on.
"""  # noqa: E501

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import ModelProto
from torch import fx, nn

from edgekit.core.candidate import Candidate
from edgekit.core.errors import Infeasible, TooNoisy
from edgekit.core.limits import Limits
from edgekit.core.precision import Precision
from edgekit.core.progress import Progress
from edgekit.core.target import Target
from edgekit.core.task import Task
from edgekit.devices.measuring.measure import measure_models
from edgekit.devices.probe import probe
from edgekit.effort import FULL_MODULE, Effort
from edgekit.export.onnx_model import export_onnx
from edgekit.export.quantise import quantise_blocks
from edgekit.export.run import measure_accuracy
from edgekit.search.elastic.networks import ElasticNetworks
from edgekit.search.elastic.space import MULTIPLE, ElasticSpace
from edgekit.search.space import uniform_precision
from edgekit.spaces import networks_of, space
from edgekit.workflow import fit
from tests.benchmarks.bench_cifar import Stages

SHARES = (0.35, 0.25, 0.18, 0.14)
TARGET = Target("local")
ROOT = Path(__file__).parents[2]
Row = dict[str, Any]


def main() -> None:
    """Run what is missing, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--profile", type=Path, help="folder or shipped name; default: make one")
    parser.add_argument("--parts", default="fit,stock,uniform,pruned")
    parser.add_argument("--shares", default=",".join(map(str, SHARES)))
    parser.add_argument("--adapt-epochs", type=float, default=1.0)
    parser.add_argument("--finetune-epochs", type=float, default=12.0)
    parser.add_argument("--evaluations", type=int, default=32)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    bench = Bench(given)
    stage = Stages(given.work / "stages.json")
    shares = [float(share) for share in given.shares.split(",")]
    base = stage("original", bench.original)
    for share in shares if "fit" in given.parts else ():
        stage(f"edgekit {share}", partial(bench.fitted, share, base["fp32_s"]))
    if "stock" in given.parts:
        for n in (56, 20):
            stage(f"ResNet-{n} int8", partial(bench.stock, n))
    for share in shares if "uniform" in given.parts else ():
        stage(f"one width {share}", partial(bench.uniform, share, base["fp32_s"]))
    for share in shares if "pruned" in given.parts else ():
        stage(f"torch-pruning {share}", partial(bench.pruned, share))
    together = bench.side_by_side()
    given.out.write_text(json.dumps({"stages": stage.done, "together": together}, indent=1))
    _print(stage.done, together)


class Bench:
    """The parts of the benchmark."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given, self.work = given, given.work
        sys.path.insert(0, str(ROOT / "examples"))
        import fit_cifar_resnet as example

        self.task = Task.from_parquet(given.data / "cifar10", resolution=32).normalised(
            example.MEAN, example.STD
        )
        self._pretrained = example.pretrained
        facts = probe(TARGET)
        self.weight_max, self.vector = facts.int8_weight_max, facts.vector_channels
        n = len(self.task.train)
        self.effort: Effort = replace(
            FULL_MODULE,
            supernet_images=round(given.adapt_epochs * n),
            finetune_images=round(given.finetune_epochs * n),
            n_evaluations=given.evaluations,
        )

    def net(self, depth: int) -> nn.Module:
        """A pretrained network of the data folder."""
        weights = self.given.data / "weights" / f"cifar10_resnet{depth}.safetensors"
        found: nn.Module = self._pretrained(weights)
        return found

    def space(self, depth: int = 56, multiple: int = MULTIPLE) -> ElasticSpace:
        """Its space."""
        example = torch.zeros(2, 3, 32, 32)
        return space(self.net(depth), example, multiple=multiple, model=f"resnet{depth}")

    def original(self) -> Row:
        """What the shares are of."""
        made = self.space()
        networks = _networks(made)
        int8 = _in(made, made.largest(), Precision.INT8)
        models = {"fp32": networks.model(made.largest()), "int8": networks.model(int8)}
        figures = measure_models(models, TARGET)
        plain = models["fp32"]
        return {
            "fp32_s": figures["fp32"].p50_s,
            "int8_share": figures["int8"].p50_s / figures["fp32"].p50_s,
            "top1_test": self._top1(plain),
        }

    def fitted(self, share: float, fp32_s: float) -> Row:
        """``fit`` under a limit; what it leaves lies in the work folder."""
        out = self.work / f"edgekit-{share}"
        first = next((p.parent for p in sorted(self.work.glob("edgekit-*/run/run.db"))), None)
        for _ in range(5):
            try:
                found = fit(
                    self.task,
                    out,
                    limits=Limits(latency_s=share * fp32_s),
                    target=TARGET,
                    space=self.space(multiple=self.vector),
                    effort=self.effort,
                    profile=self.given.profile,
                    supernet=None if first in (None, out / "run") else first,
                    data=str(self.given.data / "cifar10"),
                )
                break
            except TooNoisy as error:
                print(f"again: {error}", file=sys.stderr)
            except Infeasible as error:
                return {"infeasible": str(error)}
        else:
            return {"infeasible": "too noisy"}
        proof, entry = found.proof, found.entry
        return {
            "model": str(found.bundle.model_path),
            "top1_test": proof.accuracy.top1,
            "top1_validation_before": entry.accuracy.top1,
            "p50_s": proof.latency.p50_s,
            "limit_s": share * fp32_s,
            "size_bytes": proof.size_bytes,
            "candidate": entry.candidate.text,
            "words": found.run.space.words(entry.candidate),
        }

    def stock(self, depth: int) -> Row:
        """A pretrained network as it is, every block in int8."""
        made = self.space(depth)
        networks = _networks(made)
        net = networks.folded(networks.extract(made.largest()))
        return self._int8(f"resnet{depth}-int8", networks, net)

    def uniform(self, share: float, fp32_s: float) -> Row:
        """One width everywhere, as wide as the limit lets it be in int8."""
        made = self.space()
        networks = _networks(made)
        networks.space.elastic.sort(networks.orders(self.task))
        candidates = [made.uniform(r, 1.0, Precision.INT8) for r in range(len(made.ratios))]
        models = {c.text: networks.model(c) for c in dict.fromkeys(candidates)}
        figures = measure_models(models, TARGET)
        inside = [c for c in candidates if figures[c.text].p50_s <= share * fp32_s]
        if not inside:
            fastest = min(figure.p50_s for figure in figures.values())
            return {"infeasible": f"the narrowest takes {fastest / fp32_s:.1%}"}
        return self._finetuned(f"one-width-{share}", networks, inside[-1])

    def pruned(self, share: float) -> Row:
        """Channels inside the blocks pruned to the multiply-adds of our artifact.

        torch-pruning cannot follow the padded shortcuts, so the channels of the stages stay.
        """
        if importlib.util.find_spec("torch_pruning") is None:
            return {"infeasible": "torch-pruning is not installed: not checked here"}
        ours = json.loads((self.work / "stages.json").read_text())[f"edgekit {share}"]
        if "model" not in ours:
            return {"infeasible": "there is no artifact of ours to equal"}
        wanted = multiply_adds(onnx.load(ours["model"]))
        low, high = 0.0, 0.9  # above that torch-pruning leaves whole layers as they are
        for _ in range(12):
            ratio = (low + high) / 2
            net = _pruned(self.net(56), ratio)
            made = space(net, torch.zeros(2, 3, 32, 32), model="pruned")
            networks = _networks(made)
            found = multiply_adds(networks.model(made.largest()))
            low, high = (ratio, high) if found > wanted else (low, ratio)
        networks.original = _networks(self.space()).original
        row = self._finetuned(f"pruned-{share}", networks, made.largest())
        return {**row, "macs": found, "macs_of_ours": wanted}

    def _finetuned(self, name: str, networks: ElasticNetworks, candidate: Candidate) -> Row:
        net = networks.extract(candidate)
        recipe = self.effort.recipe(self.task, self.effort.finetune_images, 2, is_pretrained=True)
        assert recipe is not None
        checkpoint = self.work / f"{name}.part"
        networks.finetune(net, self.task, recipe, progress=Progress(), checkpoint=checkpoint)
        networks.reestimate(net, self.task, 4000)
        return self._int8(name, networks, networks.folded(net))

    def _int8(self, name: str, networks: ElasticNetworks, net: fx.GraphModule) -> Row:
        model = export_onnx(net, 32, networks.block_paths(net))
        images = self.task.preprocessing.apply(self.task.calibration.images)
        blocks = {node.name.split("/")[0] for node in model.graph.node if "/" in node.name}
        int8 = quantise_blocks(model, blocks, images, weight_max=self.weight_max, n_threads=2)
        path = self.work / f"{name}.onnx"
        onnx.save(int8, path)
        size = path.stat().st_size
        return {"model": str(path), "top1_test": self._top1(int8), "size_bytes": size}

    def _top1(self, model: ModelProto) -> float:
        task = self.task
        found = measure_accuracy(model, task.test, task.preprocessing, name="test", n_threads=2)
        return found.top1

    def side_by_side(self) -> Row:
        """All files in one interleaved session, as shares of the original in float32."""
        stages = json.loads((self.work / "stages.json").read_text())
        models = {name: onnx.load(row["model"]) for name, row in stages.items() if "model" in row}
        made = self.space()
        models["original"] = _networks(made).model(made.largest())
        figures = measure_models(models, TARGET, patience_s=120)
        base_s = figures["original"].p50_s
        return {name: figure.p50_s / base_s for name, figure in figures.items()}


def _pruned(net: nn.Module, ratio: float) -> nn.Module:
    """Group norms, one ranking for all layers."""
    import torch_pruning as tp

    kept = [
        module
        for name, module in net.named_modules()
        if isinstance(module, nn.Linear)
        or (isinstance(module, nn.Conv2d) and not (name.startswith("layer") and "conv1" in name))
    ]
    pruner = tp.pruner.BasePruner(
        net.eval(),
        torch.zeros(1, 3, 32, 32),
        importance=tp.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=ratio,
        max_pruning_ratio=0.95,
        global_pruning=True,
        ignored_layers=kept,
    )
    pruner.step()
    return net


def multiply_adds(model: ModelProto) -> int:
    """Of the convolutions and matrix products as they are written.

    The runtime pads channels to its vectors, so that narrower layers need not have fewer.
    """
    graph = onnx.shape_inference.infer_shapes(model).graph
    values = [*graph.input, *graph.value_info, *graph.output]
    shapes = {v.name: [d.dim_value or 1 for d in v.type.tensor_type.shape.dim] for v in values}
    shapes |= {item.name: list(item.dims) for item in graph.initializer}
    total = 0
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul"):
            n_outputs, weight = math.prod(shapes[node.output[0]]), shapes[node.input[1]]
            transposed = any(a.name == "transB" and a.i for a in node.attribute)
            rows = weight[1:] if node.op_type == "Conv" or transposed else weight[:1]
            total += n_outputs * math.prod(rows)
    return total


def _networks(made: ElasticSpace) -> ElasticNetworks:
    found = networks_of(made)
    assert isinstance(found, ElasticNetworks)
    return found


def _in(made: ElasticSpace, candidate: Candidate, precision: Precision) -> Candidate:
    genes = uniform_precision(made, np.array([candidate.genes]), precision)
    return Candidate(tuple(genes[0].tolist()))


def _print(stages: dict[str, Row], together: Row) -> None:
    rows: Sequence[tuple[str, Row]] = [(n, r) for n, r in stages.items() if n != "side by side"]
    print(f"{'':>22}{'latency':>9}{'test':>9}{'size':>10}{'minutes':>9}")
    for name, row in rows:
        share = f"{together[name]:.1%}" if name in together else ""
        top1 = f"{row['top1_test']:.2%}" if "top1_test" in row else row.get("infeasible", "")
        size = f"{row['size_bytes'] / 1000:.0f} kB" if "size_bytes" in row else ""
        print(f"{name:>22}{share:>9}{top1:>9}{size:>10}{row.get('seconds', 0) / 60:9.1f}")


if __name__ == "__main__":
    main()
