"""Stock models of timm and transformers with random weights: the coverage list.

Needs ``timm``, ``torchvision`` and ``transformers``, which edgekit itself does not. The wheel of torchvision is built
for CUDA; its compiled operators do not load beside a torch for the CPU, and nothing here uses them, so that two of
them are declared before it is imported.
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

CNNS = (
    "resnet18", "resnet26d", "resnext26ts", "regnetx_002", "regnety_002", "mobilenetv2_035",
    "mobilenetv3_small_050", "efficientnet_lite0", "efficientnet_b0", "mnasnet_small",
    "ghostnet_050", "fbnetc_100", "densenet121", "vgg11_bn", "convnext_atto", "convmixer_768_32",
    "repvgg_a0", "hardcorenas_a", "tinynet_e", "lcnet_035", "semnasnet_075", "spnasnet_100",
    "rexnet_100", "res2net50_14w_8s", "dla34", "cspresnet50", "darknet53", "selecsls42",
    "xception41", "hrnet_w18_small", "mixnet_s", "skresnet18", "dpn48b",
    "edgenext_xx_small",
)  # fmt: skip
TRANSFORMERS = (
    "vit_tiny_patch16_224", "deit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "levit_128s",
    "mobilevit_xxs", "cait_xxs24_224", "pit_ti_224", "mixer_s32_224", "xcit_nano_12_p16_224",
    "poolformer_s12", "eva02_tiny_patch14_224",
)  # fmt: skip
_CNN_SIDE = 96
_SIZES = {
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 128,
}

Stock = tuple[str, str, Callable[[], tuple[nn.Module, Any]]]
"""Name, kind, and what makes the network and an input of a batch of two."""


def stock() -> Iterator[Stock]:
    """Every model of the list."""
    _declare_operators()
    for name in CNNS:
        yield name, "CNN", lambda name=name: _from_timm(name, _CNN_SIDE)
    for name in TRANSFORMERS:
        yield name, "transformer", lambda name=name: _from_timm(name, None)
    for name in ("Bert", "DistilBert", "Roberta", "Electra"):
        yield name, "transformer", lambda name=name: _of_text(name)
    for name in ("ViT", "DeiT"):
        yield f"{name} (HF)", "transformer", lambda name=name: _of_images(name)


def _declare_operators() -> None:
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _LIBRARIES.append(library)


_LIBRARIES: list[torch.library.Library] = []


def _from_timm(name: str, side: int | None) -> tuple[nn.Module, torch.Tensor]:
    import timm

    torch.manual_seed(0)
    net = timm.create_model(name, pretrained=False, num_classes=10).eval()
    return net, torch.randn(2, 3, *(2 * [side or net.default_cfg["input_size"][-1]]))


def _of_text(name: str) -> tuple[nn.Module, Any]:
    import transformers

    torch.manual_seed(0)
    sizes = dict(_SIZES)
    if name == "DistilBert":
        sizes = {"dim": 64, "n_layers": 3, "n_heads": 4, "hidden_dim": 128}
    config = getattr(transformers, f"{name}Config")(vocab_size=100, **sizes)
    net = getattr(transformers, f"{name}ForSequenceClassification")(config).eval()
    return _Logits(net, "input_ids"), torch.randint(2, 99, (2, 12))


def _of_images(name: str) -> tuple[nn.Module, Any]:
    import transformers

    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(image_size=64, patch_size=16, **_SIZES)
    net = getattr(transformers, f"{name}ForImageClassification")(config).eval()
    return _Logits(net, "pixel_values"), torch.randn(2, 3, 64, 64)


class _Logits(nn.Module):
    """One input and its logits, so that all models are compared alike."""

    def __init__(self, net: nn.Module, name: str) -> None:
        super().__init__()
        self.net, self.name = net, name

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.net(**{self.name: x}).logits
        return found
