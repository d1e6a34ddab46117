"""The image HMR made ready to be asked often: the same answers in less time.

    y = γ (W x + b − m)/d + β   =   (γ/d W) x + (γ/d (b − m) + β)       batch norm folded into the convolution

Then the convolutions in channels_last, in bfloat16 where the processor multiplies in it, and laid out for it with ReLU
and shortcut in one pass (`hmrfit.network.packed`) or, on request, compiled. The normalisation of the image, the
average over all places, the regressor and the rotations stay in float32: they take a hundredth of the time, and the
regressor adds to Θ three times.
"""

import shutil
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from hmrfit.network.encoders import ImageEncoder
from hmrfit.network.hmr import HMR
from hmrfit.network.packed import PackedResNet, can_pack
from hmrfit.network.resnet import ResNet
from hmrfit.ops.check import check_shape, did_you_mean

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}

COMPILERS = ("g++", "clang++", "c++")
"""What torch.compile calls on a CPU."""


def fast_inference(hmr: HMR, precision: str = "auto", compiled: bool = False) -> HMR:
    """A copy of an image HMR for inference: asked as before, no gradients, float32 answers.

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
        raise RuntimeError(f"compiled=True needs a C++ compiler, and none of {', '.join(COMPILERS)} is found. Leave it out, or install one (apt install g++).")  # fmt: skip  # noqa: E501
    if precision == "auto":
        precision = "bfloat16" if has_bfloat16(device) else "float32"
    encoder = FastImageEncoder(hmr.encoder, PRECISIONS[precision], compiled)
    return HMR(encoder, deepcopy(hmr.regressor).float()).eval().requires_grad_(False)


def has_bfloat16(device: torch.device | str = "cpu") -> bool:
    """Whether the device multiplies in bfloat16 (else it would be emulated, slower than float32)."""
    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    able = getattr(torch.cpu, "get_capabilities", dict)()  # an older torch cannot say
    return any(has is True for name, has in able.items() if name.endswith("bf16"))


def has_compiler() -> bool:
    """Whether torch.compile finds a C++ compiler."""
    return any(shutil.which(name) for name in COMPILERS)


class FastImageEncoder(nn.Module):
    """What `fast_inference` makes of an `ImageEncoder`: images (B, 3, H, W) in [0, 1] -> φ (B, features), float32."""

    kind = "image"

    def __init__(self, encoder: ImageEncoder, dtype: torch.dtype, compiled: bool = False) -> None:
        super().__init__()
        self.variant, self.features, self.dtype = encoder.variant, encoder.features, dtype
        self.resolution = encoder.resolution
        self.register_buffer("middle", encoder.middle.float().clone(), persistent=False)
        self.register_buffer("spread", encoder.spread.float().clone(), persistent=False)
        resnet = fold_batch_norm(deepcopy(encoder.resnet).double())  # so that folding rounds once
        resnet = resnet.float().to(memory_format=torch.channels_last).requires_grad_(False)
        on_cpu = encoder.middle.device.type == "cpu"
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
        normal = (images - self.middle) / self.spread
        return self.resnet(normal.to(self.dtype, memory_format=torch.channels_last)).float()


def fold_batch_norm(network: nn.Module) -> nn.Module:
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
        for conv, norm in pairs:
            if isinstance(names.get(conv), nn.Conv2d) and isinstance(names.get(norm), nn.BatchNorm2d):
                setattr(module, conv, fuse_conv_bn_eval(names[conv], names[norm]))
                setattr(module, norm, nn.Identity())
    return network


def convolve_in(resnet: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The convolutions of a ResNet in this precision, in place; norms that are left, and the average, in float32."""
    if dtype == torch.float32:
        return resnet
    stages: list[nn.Sequential] = []
    for module in resnet.modules():
        if isinstance(module, nn.Conv2d):
            module.to(dtype)
        if isinstance(module, nn.Sequential) and len(module) and hasattr(module[0], "conv1"):
            stages.append(module)
    stages[-1].append(_Float())
    return resnet


class _Float(nn.Module):
    """x in float32."""

    def forward(self, x: Tensor) -> Tensor:
        return x.float()
