"""Layers whose weights are laid out once as the processor multiplies them, for inference on a CPU.

    y = W x + b        fully connected: the same numbers; for a few rows in half the time, the weights being the work
    y = relu(W * x + b + x')        a convolution, with the shortcut and the ReLU done while the numbers are at hand

For a few rows, a layer takes as long as its weights take to come from memory. Shipped weights are numbers of 16 bits;
where all of a layer's are, they stay so in memory and become float32 in the registers (FBGEMM): the same products, half
the bytes. Other layers are oneDNN's. torch brings both on CPUs; where it does not (a GPU, another torch), everything
stays as it is. torch.compile calls the same functions.

Both add up each row of a product in the same order however many rows there are (`rows_are_independent` looks): what is
said of one person does not depend on the others.
"""

from collections.abc import Sequence
from copy import deepcopy
from functools import lru_cache

import torch
from torch import Tensor, nn

from hmrfit.network.regressor import IterativeRegressor
from hmrfit.network.resnet import BasicBlock, Bottleneck, ResNet

ROWS = 4
"""How many rows the layout is made for; any number may come."""

GROUP = 4
"""From this many rows on, the matrix products of MKL (x86) give a row the same bits in a batch of any size."""


class PackedLinear(nn.Module):
    """A layer for inference on the CPU, in float32."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), ROWS)
        self._bias = None if bias is None else bias.detach().clone()

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, "none", [], "")


class HalfLinear(nn.Module):
    """The same for weights that are numbers of 16 bits; inputs, sums and outputs are float32."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        bias = None if bias is None else bias.detach().clone()
        self._packed = torch.ops.quantized.linear_prepack_fp16(weight.detach().contiguous(), bias)

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.quantized.linear_dynamic_fp16(x, self._packed)


def packed_linear(weight: Tensor, bias: Tensor | None = None) -> PackedLinear | HalfLinear:
    """y = W x + b, laid out as its weights allow."""
    kind = HalfLinear if _are_halves(weight) and can_halve() else PackedLinear
    return kind(weight, bias)


def _are_halves(weight: Tensor) -> bool:
    """Is every weight a number of 16 bits?"""
    return torch.equal(weight, weight.half().to(weight))


class PackedRegressor(nn.Module):
    """`IterativeRegressor` in evaluation, from its mean."""

    def __init__(self, regressor: IterativeRegressor) -> None:
        super().__init__()
        weight, features = regressor.fc1.weight, regressor.features
        self.layout, self.features, self.iterations = regressor.layout, features, regressor.iterations
        self.activation, self.mean = regressor.activation, regressor.mean.detach().clone()
        self.from_features = packed_linear(weight[:, :features], regressor.fc1.bias)
        self.from_theta = packed_linear(weight[:, features:])
        self.fc2, self.fc3 = (packed_linear(layer.weight, layer.bias) for layer in (regressor.fc2, regressor.fc3))

    def forward(self, phi: Tensor) -> list[Tensor]:
        """φ (B, features) -> Θ of every iteration."""
        theta, first, thetas = self.mean.expand(len(phi), -1), self.from_features(phi), []
        for _ in range(self.iterations):
            hidden = self.fc2(self._between(first + self.from_theta(theta)))
            theta = theta + self.fc3(self._between(hidden))
            thetas.append(theta)
        return thetas

    def _between(self, hidden: Tensor) -> Tensor:
        return torch.relu(hidden) if self.activation else hidden


def can_pack(dtype: torch.dtype = torch.float32) -> bool:
    """Whether this torch has such layers on the CPU, in this precision."""
    try:
        PackedLinear(torch.ones(2, 2))(torch.ones(1, 2))
        PackedConv(nn.Conv2d(2, 2, 1), (1, 2, 4, 4), dtype)(torch.ones(1, 2, 4, 4, dtype=dtype))
    except (AttributeError, RuntimeError):
        return False
    return True


@lru_cache
def can_halve() -> bool:
    """Whether this torch multiplies float32 by weights of 16 bits on the CPU."""
    try:
        return bool((HalfLinear(torch.full((2, 2), 0.5))(torch.ones(1, 2)) == 1.0).all())
    except (AttributeError, RuntimeError):
        return False


@lru_cache
def rows_are_independent() -> bool:
    """Whether packed layers give a row the same bits in a batch of any size, from one row on: so with every kernel that
    was tried, but a processor may bring others."""
    if not can_pack():
        return False
    draws = torch.Generator().manual_seed(0)
    weight, x = (torch.randn(n, 515, generator=draws) for n in (77, 131))
    layers = [PackedLinear(weight), *([HalfLinear(weight.half().float())] if can_halve() else [])]
    few = (1, 2, 3, 5, 8, 13, 64)
    return all(torch.equal(layer(x[-n:]), layer(x)[-n:]) for layer in layers for n in few)


def packed(module: nn.Module) -> nn.Module:
    """A copy in evaluation mode with every fully connected layer, and the regressor, laid out; where that cannot be, on
    a GPU for one, a plain copy.

    Args:
        module: in float32; stays as it is.
    """
    module = deepcopy(module).eval().requires_grad_(False)
    if can_pack() and all(p.device.type == "cpu" for p in module.parameters()):
        _pack(module)
        module.alone = rows_are_independent()
    return module


def pad_rows(x: Tensor, network: nn.Module) -> Tensor:
    """Rows filled up with zeros to whole groups of `GROUP`, where this network's layers do not do without: so a row
    keeps its bits whoever else is asked about."""
    missing = 0 if getattr(network, "alone", False) else -len(x) % GROUP
    return nn.functional.pad(x, (0, 0) * (x.ndim - 1) + (0, missing)) if missing else x


def _pack(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, IterativeRegressor):
            setattr(module, name, PackedRegressor(child))
        elif isinstance(child, nn.Linear):
            setattr(module, name, packed_linear(child.weight, child.bias))
        else:
            _pack(child)


# ---- convolutions

Sizes = dict[nn.Conv2d, Sequence[int]]
"""(B, C, H, W) of what each convolution is given."""


class PackedConv(nn.Module):
    """A convolution of one group; `relu` and a shortcut come in the same pass over the numbers."""

    def __init__(self, conv: nn.Conv2d, size: Sequence[int], dtype: torch.dtype, relu: bool = False) -> None:
        """size: (B, C, H, W) of what the layout is made for; others may come."""
        super().__init__()
        self._where = (list(conv.padding), list(conv.stride), list(conv.dilation), conv.groups)
        weight = conv.weight.detach().to(dtype).to(memory_format=torch.channels_last)
        self._weight = torch.ops.mkldnn._reorder_convolution_weight(weight, *self._where, list(size))
        self._bias = None if conv.bias is None else conv.bias.detach().to(dtype, copy=True)
        self._after = "relu" if relu else "none"

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._convolution_pointwise(x, self._weight, self._bias, *self._where, self._after, [], "")

    def onto(self, x: Tensor, aside: Tensor) -> Tensor:
        """relu(W * x + b + aside)."""
        function = torch.ops.mkldnn._convolution_pointwise.binary
        return function(x, aside, self._weight, self._bias, *self._where, "add", None, "relu", [], "")


class PackedBlock(nn.Module):
    """A block of a ResNet: its convolutions, and its shortcut if that has one."""

    def __init__(
        self, block: BasicBlock | Bottleneck, sizes: dict[nn.Conv2d, Sequence[int]], dtype: torch.dtype
    ) -> None:
        super().__init__()
        *first, last = (conv for conv in (getattr(block, f"conv{i}", None) for i in (1, 2, 3)) if conv is not None)
        self.first = nn.Sequential(*(PackedConv(conv, sizes[conv], dtype, relu=True) for conv in first))
        self.last = PackedConv(last, sizes[last], dtype)
        aside = None if block.downsample is None else block.downsample[0]
        self.aside = nn.Identity() if aside is None else PackedConv(aside, sizes[aside], dtype)

    def forward(self, x: Tensor) -> Tensor:
        return self.last.onto(self.first(x), self.aside(x))


class PackedResNet(nn.Module):
    """A `ResNet` (v1) whose batch norms are folded already: images in `dtype`, channels last -> φ in float32."""

    def __init__(self, resnet: ResNet, resolution: int, dtype: torch.dtype) -> None:
        super().__init__()
        sizes = _input_sizes(resnet, torch.zeros(1, 3, resolution, resolution))
        self.conv1, self.maxpool = PackedConv(resnet.conv1, sizes[resnet.conv1], dtype, relu=True), resnet.maxpool
        layers = (resnet.layer1, resnet.layer2, resnet.layer3, resnet.layer4)
        self.blocks = nn.Sequential(*(PackedBlock(block, sizes, dtype) for layer in layers for block in layer))

    def forward(self, images: Tensor) -> Tensor:
        return self.blocks(self.maxpool(self.conv1(images))).float().mean((-2, -1))


@torch.no_grad()
def _input_sizes(network: nn.Module, images: Tensor) -> Sizes:
    """What each convolution is given when the network sees these images."""
    sizes: Sizes = {}
    hooks = [
        module.register_forward_pre_hook(lambda conv, given: sizes.update({conv: tuple(given[0].shape)}))
        for module in network.modules()
        if isinstance(module, nn.Conv2d)
    ]
    network(images)
    for hook in hooks:
        hook.remove()
    return sizes
