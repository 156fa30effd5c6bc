"""Small networks with what makes analyses of networks hard, one thing each."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn


class Basic(nn.Module):
    """A residual block of two convolutions, with a convolution in its shortcut where needed."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(n_out)
        self.shortcut = nn.Conv2d(n_in, n_out, 1, stride) if n_in != n_out else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.norm1(self.conv1(x)), inplace=True)
        y = self.norm2(self.conv2(y))
        y += x if self.shortcut is None else self.shortcut(x)
        return F.relu(y)


class Squeeze(nn.Module):
    """Squeeze-excite."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(width, width // 4, 1), nn.Conv2d(width // 4, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate = self.expand(F.silu(self.reduce(x.mean((2, 3), keepdim=True))))
        return x * torch.sigmoid(gate)


class Inverted(nn.Module):
    """Expansion, depthwise, squeeze-excite, projection, around a residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        mid = 4 * width
        self.branch = nn.Sequential(
            nn.Conv2d(width, mid, 1, bias=False),
            nn.BatchNorm2d(mid),
            nn.SiLU(),
            nn.Conv2d(mid, mid, 3, 1, 1, groups=mid),
            nn.BatchNorm2d(mid),
            Squeeze(mid),
            nn.Conv2d(mid, width, 1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.branch(x)


class Attention(nn.Module):
    """Attention with queries, keys and values in one matrix."""

    def __init__(self, width: int, n_heads: int, fused: bool) -> None:
        super().__init__()
        self.n_heads, self.fused = n_heads, fused
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, length, width = x.shape
        size = width // self.n_heads
        qkv = self.qkv(x).reshape(n, length, 3, self.n_heads, size).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        if self.fused:
            y = F.scaled_dot_product_attention(q, k, v)
        else:
            y = (q @ k.transpose(-2, -1) * size**-0.5).softmax(-1) @ v
        return self.out(y.transpose(1, 2).reshape(n, length, width))


class Transformer(nn.Module):
    """A small ViT with a class token."""

    def __init__(self, fused: bool = True) -> None:
        super().__init__()
        width = 32
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.places = nn.Parameter(torch.randn(1, 17, width))
        self.layers = nn.ModuleList(
            nn.ModuleDict(
                {
                    "norm1": nn.LayerNorm(width),
                    "attention": Attention(width, 4, fused),
                    "norm2": nn.LayerNorm(width),
                    "mlp": nn.Sequential(nn.Linear(width, 64), nn.GELU(), nn.Linear(64, width)),
                }
            )
            for _ in range(2)
        )
        self.head = nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.places
        for layer in self.layers:
            x = x + layer["attention"](layer["norm1"](x))
            x = x + layer["mlp"](layer["norm2"](x))
        return self.head(x[:, 0])


class Dense(nn.Module):
    """Every layer reads all before it; the classifier reads flattened images."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, 1, 1)
        self.layers = nn.ModuleList(nn.Conv2d(16 + 8 * i, 8, 3, 1, 1) for i in range(3))
        self.head = nn.Linear(40 * 4, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.first(x))
        for layer in self.layers:
            x = torch.cat([x, F.relu(layer(x))], 1)
        return self.head(F.adaptive_avg_pool2d(x, 2).flatten(1))


class Shuffle(nn.Module):
    """Halves of the channels, one of them convolved, shuffled."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 2, 1)
        self.branches = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(8, 12, 1),
                nn.ReLU(),
                nn.Conv2d(12, 12, 3, 1, 1, groups=12),
                nn.Conv2d(12, 8, 1),
            )
            for _ in range(2)
        )
        self.head = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for branch in self.branches:
            kept, moved = x.chunk(2, 1)
            x = torch.cat([kept, branch(moved)], 1)
            n, width, *size = x.shape
            x = x.view(n, 2, width // 2, *size).transpose(1, 2).reshape(n, width, *size)
        return self.head(x.mean((2, 3)))


class Padded(nn.Module):
    """A residual whose shortcut has every second pixel, and zeros for the channels it lacks."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.first = nn.Conv2d(3, 16, 3, 1, 1), nn.Conv2d(16, 16, 3, 1, 1)
        self.down, self.second = nn.Conv2d(16, 32, 3, 2, 1), nn.Conv2d(32, 32, 3, 1, 1)
        self.head = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.stem(x))
        x = F.relu(x + self.first(x))
        x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 8, 8)) + self.second(F.relu(self.down(x)))
        return self.head(F.relu(x).mean((2, 3)))


def _residual() -> nn.Module:
    blocks = [Basic(16, 16, 1), Basic(16, 32, 2), Basic(32, 32, 1)]
    end = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)]
    return nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1), nn.BatchNorm2d(16), nn.ReLU(), *blocks, *end)


def _inverted() -> nn.Module:
    end = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)]
    return nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), Inverted(16), Inverted(16), *end)


def _grouped() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, 2, 1),
        nn.Conv2d(32, 64, 3, 1, 1, groups=8),
        nn.ReLU(),
        nn.GroupNorm(8, 64),
        nn.Conv2d(64, 10, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


NETS: dict[str, Callable[[], nn.Module]] = {
    "residual": _residual,
    "inverted": _inverted,
    "grouped": _grouped,
    "transformer": Transformer,
    "transformer, eager": lambda: Transformer(fused=False),
    "dense": Dense,
    "shuffle": Shuffle,
    "padded": Padded,
}


def made(name: str) -> nn.Module:
    """One of them in evaluation mode, with batch norms that are not the identity."""
    torch.manual_seed(0)
    net = NETS[name]()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            nn.init.normal_(module.weight)
    return net.eval()
