"""Networks prepared for inference: the same estimates in less time.

    y = W x + b                          fully connected: weights laid out once as the processor multiplies them
    y = γ (W x + b − m)/d + β            batch norm folded into the convolution before it:
      = (γ/d W) x + (γ/d (b − m) + β)
    y = relu(W * x + b + x')             the shortcut and the ReLU added while the numbers are in the registers

For a few rows, a layer takes as long as its weights take to come from memory. Shipped weights are numbers of 16 bits;
where all of a layer's are, they stay so in memory and become float32 in the registers (FBGEMM): the same products, half
the bytes. Other layers are oneDNN's, as are convolutions, in channels_last and in bfloat16 where the processor
multiplies in it; on request they are compiled instead. torch brings both libraries on CPUs; where it does not (a GPU,
another torch), everything stays as it is. torch.compile calls the same functions.

Batch independence: both add up each row of a product in the same order however many rows there are (tested by
`rows_are_independent`), so a person's estimate keeps its bits in a batch of any size.

The normalisation of the image, the average over all places, the regressor and the rotations stay in float32: they take
a hundredth of the time, and the regressor adds to Θ three times.
"""

import shutil
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init
from torch.nn.utils.fusion import fuse_conv_bn_eval

from hmrfit.network.encoders import Encoder, ImageEncoder
from hmrfit.network.hmr import HMR
from hmrfit.network.regressor import IterativeRegressor
from hmrfit.network.resnet import BasicBlock, Bottleneck, PreactResNet, ResNet, channels_last
from hmrfit.ops.check import check_shape, did_you_mean

ROWS = 4
"""How many rows a layer's layout is made for; any number may come."""

GROUP = 4
"""From this many rows on, the matrix products of MKL (x86) give a row the same bits in a batch of any size."""

BATCH_INDEPENDENT = "batch_independent"
"""Attribute of a packed network whose rows keep their bits without padding."""

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}

COMPILERS = ("g++", "clang++", "c++")
"""What torch.compile calls on a CPU."""

CPU = torch.device("cpu")

AnyModule = TypeVar("AnyModule", bound=nn.Module)

Sizes = dict[nn.Conv2d, Sequence[int]]
"""(B, C, H, W) of each convolution's input."""


# ---- fully connected layers


class PackedLinear(nn.Module):
    """A layer for inference on the CPU, in float32."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), ROWS)
        self._bias = None if bias is None else bias.detach().clone()

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, "none", [], "")

    def unpacked(self) -> nn.Linear:
        """The layer as any device has it."""
        return _linear(self._weight.to_dense(), self._bias)


class HalfLinear(nn.Module):
    """The same for weights that are numbers of 16 bits; inputs, sums and outputs are float32."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        bias = None if bias is None else bias.detach().clone()
        self._packed = torch.ops.quantized.linear_prepack_fp16(weight.detach().contiguous(), bias)

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.quantized.linear_dynamic_fp16(x, self._packed)

    def unpacked(self) -> nn.Linear:
        """The layer as any device has it."""
        return _linear(*torch.ops.quantized.linear_unpack_fp16(self._packed))


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """A layer of these numbers, for inference."""
    rows, columns = weight.shape
    layer = skip_init(nn.Linear, columns, rows, bias=bias is not None).requires_grad_(False)
    layer.weight.copy_(weight)
    if bias is not None:
        layer.bias.copy_(bias)
    return layer


def packed_linear(weight: Tensor, bias: Tensor | None = None) -> PackedLinear | HalfLinear:
    """y = W x + b, laid out as its weights allow."""
    kind = HalfLinear if _are_halves(weight) and can_halve() else PackedLinear
    return kind(weight, bias)


def _are_halves(weight: Tensor) -> bool:
    """Is every weight a number of 16 bits?"""
    return torch.equal(weight, weight.half().to(weight))


class PackedRegressor(nn.Module):
    """`IterativeRegressor` in evaluation, from its mean."""

    mean: Tensor

    def __init__(self, regressor: IterativeRegressor) -> None:
        super().__init__()
        weight, features = regressor.fc1.weight, regressor.features
        self.layout, self.features, self.iterations = regressor.layout, features, regressor.iterations
        self.activation = regressor.activation
        self.register_buffer("mean", regressor.mean.detach().clone(), persistent=False)
        self.from_features = packed_linear(weight[:, :features], regressor.fc1.bias)
        self.from_theta = packed_linear(weight[:, features:])
        self.fc2, self.fc3 = (packed_linear(layer.weight, layer.bias) for layer in (regressor.fc2, regressor.fc3))

    def forward(self, phi: Tensor) -> list[Tensor]:
        """φ (B, features) -> Θ of every iteration."""
        theta, first, thetas = self.mean.expand(len(phi), -1), self.from_features(phi), []
        for _ in range(self.iterations):
            hidden = self.fc2(self._activated(first + self.from_theta(theta)))
            theta = theta + self.fc3(self._activated(hidden))
            thetas.append(theta)
        return thetas

    def _activated(self, hidden: Tensor) -> Tensor:
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


def packed(module: AnyModule) -> AnyModule:
    """A copy in evaluation mode with every fully connected layer, and the regressor, laid out; where that cannot be, on
    a GPU for one, a plain copy.

    Args:
        module: in float32; stays as it is.
    """
    module = deepcopy(module).eval().requires_grad_(False)
    if can_pack() and all(p.device.type == "cpu" for p in module.parameters()):
        _pack(module)
        setattr(module, BATCH_INDEPENDENT, rows_are_independent())
    return module


def unpacked(module: AnyModule) -> AnyModule:
    """A copy of a network that `packed` laid out, its layers as any device has them."""
    layers = [layer for layer in module.modules() if isinstance(layer, PackedLinear | HalfLinear)]
    copy = deepcopy(module, {id(layer): layer.unpacked() for layer in layers})
    setattr(copy, BATCH_INDEPENDENT, False)
    return copy


@dataclass(frozen=True)
class ReadLater(Generic[AnyModule]):
    """A network that is read and laid out when it is first asked for, on the device where it is needed."""

    read: Callable[[], AnyModule]
    device: torch.device = CPU

    def __call__(self) -> AnyModule:
        return self._network

    @cached_property
    def _network(self) -> AnyModule:
        return packed(self.read().to(self.device))


def pad_rows(x: Tensor, network: nn.Module) -> Tensor:
    """Rows filled up with zeros to whole groups of `GROUP`, where this network's layers need it for a row to keep its
    bits in a batch of any size."""
    missing = 0 if getattr(network, BATCH_INDEPENDENT, False) else -len(x) % GROUP
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


class PackedConv(nn.Module):
    """A convolution of one group; `relu` and a shortcut come in the same pass over the numbers."""

    def __init__(self, conv: nn.Conv2d, size: Sequence[int], dtype: torch.dtype, relu: bool = False) -> None:
        """size: (B, C, H, W) of what the layout is made for; others may come."""
        super().__init__()
        self._geometry = (list(conv.padding), list(conv.stride), list(conv.dilation), conv.groups)
        weight = conv.weight.detach().to(dtype).to(memory_format=torch.channels_last)
        self._weight = torch.ops.mkldnn._reorder_convolution_weight(weight, *self._geometry, list(size))
        self._bias = None if conv.bias is None else conv.bias.detach().to(dtype, copy=True)
        self._after = "relu" if relu else "none"

    def forward(self, x: Tensor) -> Tensor:
        function = torch.ops.mkldnn._convolution_pointwise
        return function(x, self._weight, self._bias, *self._geometry, self._after, [], "")

    def onto(self, x: Tensor, shortcut: Tensor) -> Tensor:
        """relu(W * x + b + shortcut)."""
        function = torch.ops.mkldnn._convolution_pointwise.binary
        return function(x, shortcut, self._weight, self._bias, *self._geometry, "add", None, "relu", [], "")


class PackedBlock(nn.Module):
    """A block of a ResNet: its convolutions, and its shortcut if that has one."""

    def __init__(self, block: BasicBlock | Bottleneck, sizes: Sizes, dtype: torch.dtype) -> None:
        super().__init__()
        *first, last = (conv for conv in (getattr(block, f"conv{i}", None) for i in (1, 2, 3)) if conv is not None)
        self.first = nn.Sequential(*(PackedConv(conv, sizes[conv], dtype, relu=True) for conv in first))
        self.last = PackedConv(last, sizes[last], dtype)
        projection = None if block.downsample is None else block.downsample[0]
        self.shortcut: nn.Module = nn.Identity()
        if isinstance(projection, nn.Conv2d):
            self.shortcut = PackedConv(projection, sizes[projection], dtype)

    def forward(self, x: Tensor) -> Tensor:
        return self.last.onto(self.first(x), self.shortcut(x))


class PackedResNet(nn.Module):
    """A `ResNet` (v1) whose batch norms are folded already: images in `dtype`, channels last -> φ in float32."""

    def __init__(self, resnet: ResNet, resolution: int, dtype: torch.dtype) -> None:
        super().__init__()
        sizes = _input_sizes(resnet, torch.zeros(1, 3, resolution, resolution))
        self.conv1, self.maxpool = PackedConv(resnet.conv1, sizes[resnet.conv1], dtype, relu=True), resnet.maxpool
        self.blocks = nn.Sequential(*(PackedBlock(block, sizes, dtype) for block in resnet.blocks()))

    def forward(self, images: Tensor) -> Tensor:
        return self.blocks(self.maxpool(self.conv1(images))).float().mean((-2, -1))


@torch.no_grad()
def _input_sizes(network: nn.Module, images: Tensor) -> Sizes:
    """The shape that each convolution's input has for these images."""
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


# ---- the image HMR


def fast_inference(hmr: HMR, precision: str = "auto", compiled: bool = False) -> HMR:
    """A copy of an image HMR for inference: called as before, no gradients, float32 estimates.

    Args:
        hmr: stays as it is, and shares no numbers with the copy.
        precision: of the convolutions: "float32", "bfloat16", or "auto" for bfloat16 where `has_bfloat16` says so.
        compiled: by torch.compile, for one size of batch after the other. The first call then takes tens of seconds,
            and each new size again some; it pays for many images in batches of one size.
    Raises:
        ValueError: its encoder takes no images, or there is no such precision.
        RuntimeError: `compiled` on a machine with no C++ compiler.
    """
    if not isinstance(hmr.encoder, ImageEncoder):
        raise ValueError(
            "fast_inference speeds up the convolutions of an HMR that sees images; this one sees keypoints and has "
            "none. Use it as it is."
        )
    if precision not in ("auto", *PRECISIONS):
        raise ValueError(
            f"There is no precision '{precision}'.{did_you_mean(precision, PRECISIONS)} Known: auto, "
            f"{', '.join(PRECISIONS)}."
        )
    device = hmr.regressor.mean.device
    if compiled and device.type == "cpu" and not has_compiler():
        raise RuntimeError(
            f"compiled=True needs a C++ compiler, and none of {', '.join(COMPILERS)} is found. Leave it out, or "
            "install one (apt install g++)."
        )
    if precision == "auto":
        precision = "bfloat16" if has_bfloat16(device) else "float32"
    encoder = FastImageEncoder(hmr.encoder, PRECISIONS[precision], compiled)
    return HMR(encoder, deepcopy(hmr.regressor).float()).eval().requires_grad_(False)


def has_bfloat16(device: torch.device | str = "cpu") -> bool:
    """Whether the device multiplies in bfloat16 (else it would be emulated, slower than float32)."""
    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities: Callable[[], dict[str, bool]] = getattr(torch.cpu, "get_capabilities", dict)  # not in older torch
    return any(has is True for name, has in capabilities().items() if name.endswith("bf16"))


def has_compiler() -> bool:
    """Whether torch.compile finds a C++ compiler."""
    return any(shutil.which(name) for name in COMPILERS)


class FastImageEncoder(Encoder):
    """What `fast_inference` makes of an `ImageEncoder`: images (B, 3, H, W) in [0, 1] -> φ (B, features), float32."""

    kind = "image"
    mean: Tensor
    std: Tensor

    def __init__(self, encoder: ImageEncoder, dtype: torch.dtype, compiled: bool = False) -> None:
        super().__init__()
        self.variant, self.features, self.dtype = encoder.variant, encoder.features, dtype
        self.resolution = encoder.resolution
        self.register_buffer("mean", encoder.mean.float().clone(), persistent=False)
        self.register_buffer("std", encoder.std.float().clone(), persistent=False)
        resnet = fold_batch_norm(deepcopy(encoder.resnet).double())  # so that folding rounds once
        resnet = resnet.float().requires_grad_(False)
        channels_last(resnet)
        on_cpu = encoder.mean.device.type == "cpu"
        self.resnet: Callable[[Tensor], Tensor]
        if isinstance(resnet, ResNet) and on_cpu and not compiled and can_pack(dtype):
            self.resnet = PackedResNet(resnet, self.resolution, dtype)
        else:
            self.resnet = convolve_in(resnet, dtype)
        if compiled:  # frozen: weights are constants, laid out once as the processor wants them
            self.resnet = torch.compile(self.resnet, options={"freezing": True})

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """As `ImageEncoder.forward`."""
        check_shape(images, "B 3 H W", "images", hint="Give RGB in [0, 1], channels first.")
        normal = (images - self.mean) / self.std
        return self.resnet(normal.to(self.dtype, memory_format=torch.channels_last)).float()


def fold_batch_norm(network: AnyModule) -> AnyModule:
    """A copy in evaluation mode with every batch norm that directly follows a convolution folded into it.

    Found by name, as `hmrfit.network.resnet` has them: conv1 and bn1, …, and a convolution and a norm in a Sequential.
    The norms of v2 that come before a ReLU and a convolution stay.
    """
    network = deepcopy(network).eval()
    for module in list(network.modules()):
        names = dict(module.named_children())
        pairs = [(name, name.replace("conv", "bn")) for name in names if name.startswith("conv")]
        if isinstance(module, nn.Sequential):
            pairs = [("0", "1")]
        for conv_name, norm_name in pairs:
            conv, norm = names.get(conv_name), names.get(norm_name)
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, conv_name, fuse_conv_bn_eval(conv, norm))
                setattr(module, norm_name, nn.Identity())
    return network


def convolve_in(resnet: ResNet | PreactResNet, dtype: torch.dtype) -> ResNet | PreactResNet:
    """The convolutions of a ResNet in this precision, in place; norms that are left, and the average, in float32."""
    if dtype == torch.float32:
        return resnet
    for module in resnet.modules():
        if isinstance(module, nn.Conv2d):
            module.to(dtype)
    resnet.stages()[-1].append(_Float())
    return resnet


class _Float(nn.Module):
    """x in float32."""

    def forward(self, x: Tensor) -> Tensor:
        return x.float()
