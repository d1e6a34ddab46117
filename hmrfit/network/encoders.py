"""Encoders: a person's image or keypoints -> features φ (B, features).

    image       φ = ResNet((x − m)/d)                              x RGB in [0, 1] of the person's square crop
    heat maps   φ = ResNet([(x − m)/d, h_1, …, h_K])               h_k a bump at keypoint k (Boukhayma et al., 2019)
    keypoints   φ = MLP(one slot per known keypoint name)          x, y in the crop's [-1, 1], and a confidence

Every keypoint name has its own slot (q x, q y, q c, q), c its confidence and q its visibility (`ops.presence.shown`):
all zero where the name is absent, and as near to it as the confidence is low.
So one set of weights serves any set of names, and those that only a part of the sets has are zero in the others.
The columns that multiply a slot's q are the name's learned embedding.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hmrfit.camera import PIXEL_CENTER, Camera, pixels_to_crop
from hmrfit.io.image import Image
from hmrfit.keypoints import keypoint_sets, nearest_definition, resolve_set
from hmrfit.network.resnet import BasicBlock, Bottleneck, PreactResNet, ResNet, first_convolution
from hmrfit.ops.check import check_shape, did_you_mean
from hmrfit.ops.presence import shown
from hmrfit.types import Keypoints, TensorRecord

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SYMMETRIC = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
"""Mean and deviation of RGB in [0, 1]: torchvision's and SPIN's; and TF-slim's, whose inputs are in [-1, 1]."""

RESNETS: dict[str, tuple[Callable[[], ResNet | PreactResNet], tuple[tuple[float, ...], tuple[float, ...]]]] = {
    "resnet10": (lambda: ResNet(BasicBlock, (1, 1, 1, 1)), IMAGENET),
    "resnet18": (lambda: ResNet(BasicBlock, (2, 2, 2, 2)), IMAGENET),
    "resnet34": (lambda: ResNet(BasicBlock, (3, 4, 6, 3)), IMAGENET),
    "resnet50": (lambda: ResNet(Bottleneck, (3, 4, 6, 3)), IMAGENET),
    "resnet50_v2": (lambda: PreactResNet((3, 4, 6, 3)), SYMMETRIC),
}
"""Variants by name: how it is built, and what it subtracts and divides by."""

HEAT = 0.02
"""A heat map's deviation, a fraction of the crop's side."""

KEYPOINT_NAMES = tuple(dict.fromkeys(name for names in keypoint_sets().values() for name in names))
"""Every name of the built-in sets, once."""

BOX_SCALE = 1.2
"""The square box's side over the longest side of the visible keypoints' bounds, as HMR and SPIN crop images."""

SLOT = 4
"""Numbers of a keypoint's slot: x, y, confidence, visibility."""

FAR = 1.5
"""Half boxes from the middle: coordinates are clamped there. Only a keypoint of low confidence can lie farther out,
since the others make the box."""

VIEW = 3
"""Numbers of `view_of_box`."""


Settings = dict[str, int | float | str | list[str]]
"""What builds an encoder of the same shape, as JSON holds it."""


class Encoder(nn.Module):
    """What an HMR sees with: its inputs -> φ (B, features)."""

    kind: ClassVar[str]
    features: int

    def settings(self) -> Settings:
        """What the constructor takes.

        Raises:
            NotImplementedError: this kind is made of another encoder, and not saved.
        """
        raise NotImplementedError(f"A {type(self).__name__} is not saved; save what it was made of.")


class ImageEncoder(Encoder):
    """A ResNet behind its own normalisation."""

    kind = "image"
    mean: Tensor
    std: Tensor

    def __init__(self, variant: str = "resnet50", resolution: int = 224) -> None:
        """
        Args:
            variant: a name of `RESNETS`.
            resolution: pixels of the crops it is trained on. Any size is taken; this one is understood best.
        """
        super().__init__()
        if variant not in RESNETS:
            raise ValueError(
                f"There is no image encoder '{variant}'.{did_you_mean(variant, RESNETS)} Known: {', '.join(RESNETS)}."
            )
        build, (mean, std) = RESNETS[variant]
        self.variant, self.resolution, self.resnet = variant, resolution, build()
        self.features = self.resnet.features
        self.register_buffer("mean", torch.tensor(mean).reshape(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).reshape(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """
        Args:
            images: (B, 3, H, W) RGB in [0, 1], crops of a person, 224 pixels wide and high in published systems.
        """
        check_shape(images, "B 3 H W", "images", hint="Give RGB in [0, 1], channels first.")
        return self.resnet((images - self.mean) / self.std)

    def settings(self) -> Settings:
        """What the constructor takes."""
        return {"variant": self.variant, "resolution": self.resolution}


class HeatmapEncoder(ImageEncoder):
    """A ResNet whose first convolution sees heat maps of keypoints beside the image."""

    kind = "heat maps"

    def __init__(self, variant: str = "resnet34", resolution: int = 256, maps: int = 21) -> None:
        """
        Args:
            maps: how many keypoints there are. variant, resolution: as for `ImageEncoder`; no variant of v2.
        """
        super().__init__(variant, resolution)
        if not isinstance(self.resnet, ResNet):
            raise ValueError(f"Heat maps go into the ResNets of v1, not into '{variant}'. Take resnet34.")
        self.maps = maps
        self.resnet.conv1 = first_convolution(3 + maps)
        nn.init.kaiming_normal_(self.resnet.conv1.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor, heatmaps: Tensor | None = None) -> Tensor:
        """
        Args:
            images: (B, 3, H, W) RGB in [0, 1]. heatmaps: (B, maps, H, W), of `heatmaps_of`; None where no keypoint is
                known.
        """
        sizes = check_shape(images, "B 3 H W", "images", hint="Give RGB in [0, 1], channels first.")
        if heatmaps is None:
            heatmaps = images.new_zeros(len(images), self.maps, *images.shape[2:])
        check_shape(heatmaps, f"B {self.maps} H W", "heatmaps", sizes)
        return self.resnet(torch.cat([(images - self.mean) / self.std, heatmaps], 1))

    def settings(self) -> Settings:
        return super().settings() | {"maps": self.maps}


def heatmaps_of(keypoints: Tensor, confidence: Tensor, resolution: int) -> Tensor:
    """(B, K, R, R): q exp(−|u − x_k|² / 2σ²) at pixel centres u, q how far the keypoint is seen, σ = HEAT of the crop.

    Args:
        keypoints: (B, K, 2) pixels of the crop. confidence: (B, K).
    """
    centers = torch.arange(resolution, device=keypoints.device, dtype=keypoints.dtype) + PIXEL_CENTER
    known = confidence > 0
    xy = torch.where(known[..., None], keypoints, 0.0)
    along = (-((centers - xy[..., None]) / (HEAT * resolution)).square() / 2).exp()  # (B, K, 2, R)
    return (shown(confidence) * known)[..., None, None] * along[:, :, 1, :, None] * along[:, :, 0, None]


class ResidualBlock(nn.Module):
    """x + W₂ gelu(W₁ norm(x))."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm, self.fc1, self.fc2 = nn.LayerNorm(width), nn.Linear(width, width), nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.fc2(self.dropout(F.gelu(self.fc1(self.norm(x)))))


class KeypointEncoder(Encoder):
    """Keypoints of any named set -> φ, by a residual MLP over slots of names. No batch statistics: people stay
    independent of their batch."""

    kind = "keypoints"

    def __init__(
        self,
        width: int = 640,
        blocks: int = 3,
        dropout: float = 0.0,
        names: Sequence[str] = KEYPOINT_NAMES,
    ) -> None:
        """
        Args:
            names: the keypoint names that get slots. They are part of what the weights mean and are saved with them.
        """
        super().__init__()
        self.names, self.features, self.dropout = tuple(names), width, dropout
        self.inputs = nn.Linear(SLOT * len(self.names) + VIEW, width)
        self.blocks = nn.Sequential(*(ResidualBlock(width, dropout) for _ in range(blocks)))
        self.norm = nn.LayerNorm(width)

    def forward(self, points: Tensor, names: str | Sequence[str], view: Tensor | None = None) -> Tensor:
        """
        Args:
            points: (B, K, 3) x, y in the box's [-1, 1] and a confidence, as `normalise_keypoints` makes them. What
                stands at x and y where the confidence is 0 does not matter.
            names: the K names, or a set's name. Names without a slot are left out; a name that stands twice counts
                with the mean of its places, weighted by confidence, and its greatest confidence.
            view: (B, 3) from `view_of_box`; None for zeros, a far camera looking straight at the person.
        Raises:
            ValueError: another shape, or not one of the names has a slot.
        """
        names = resolve_set(names)
        check_shape(points, f"B {len(names)} 3", "points", hint="One row x, y, confidence for each name.")
        view = points.new_zeros(len(points), VIEW) if view is None else view
        slots = self.slots(points, names).flatten(1)
        return self.norm(self.blocks(self.inputs(torch.cat([slots, view], -1))))

    def slots(self, points: Tensor, names: tuple[str, ...]) -> Tensor:
        """Points (B, K, 3) -> (B, N, 4): x, y, confidence, visibility of every name that has a slot."""
        places, slots = (index.to(points.device) for index in _places(names, self.names))
        points = points if len(places) == len(names) else points.index_select(1, places)
        weight = points[..., 2:].clamp_min(0)
        weighted = torch.where(weight > 0, torch.cat([weight * points[..., :2].clamp(-FAR, FAR), weight], -1), 0.0)
        total = weighted.new_zeros(len(points), len(self.names), 3).index_add(1, slots, weighted)
        total, weight_sum = total[..., :2], total[..., 2:]
        xy = total / torch.where(weight_sum > 0, weight_sum, 1.0)
        confidence = weight_sum.new_zeros(weight_sum.shape).scatter_reduce(
            1, slots[:, None].expand_as(weight), weight, "amax"
        )
        q = shown(confidence.squeeze(-1))[..., None]
        return torch.cat([q * xy, q * confidence, q], -1)

    def settings(self) -> Settings:
        """What the constructor takes."""
        return {
            "width": self.features,
            "blocks": len(self.blocks),
            "dropout": self.dropout,
            "names": list(self.names),
        }

    def knowing(self, names: Sequence[str]) -> "KeypointEncoder":
        """The same encoder with slots for other names, to be trained on: each begins as the slot that a keypoint of
        that name went into so far, or as zeros where there was none."""
        other = KeypointEncoder(self.features, len(self.blocks), self.dropout, names)
        state, n = self.state_dict(), SLOT * len(self.names)
        slots, view = state["inputs.weight"][:, :n].unflatten(1, (-1, SLOT)), state["inputs.weight"][:, n:]
        state["inputs.weight"] = torch.cat([begun_as(slots, self.names, other.names, dim=1).flatten(1), view], 1)
        other.load_state_dict(state)
        return other


def begun_as(
    values: Tensor, known: tuple[str, ...], names: tuple[str, ...], dim: int = 0, value: float = 0.0
) -> Tensor:
    """Values of the names `known` along `dim` -> of other names: what their nearest definition has, else `value`."""
    index = torch.tensor(slots_or_none(names, known), device=values.device)
    nothing = values.new_full((*values.shape[:dim], 1, *values.shape[dim + 1 :]), value)
    return torch.cat([values, nothing], dim).index_select(dim, index)


@lru_cache(maxsize=64)
def slots_or_none(names: tuple[str, ...], known: tuple[str, ...]) -> list[int]:
    """Which of the names `known` is the nearest definition of each; behind the last where there is none."""
    place = {name: i for i, name in enumerate(known)}
    return [place.get(nearest_definition(name, place) or "", len(known)) for name in names]


@lru_cache(maxsize=64)
def _places(names: tuple[str, ...], known: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """Which of `names` have a slot, their own or that of their plain body part, and which slot that is."""
    slot_of = {name: i for i, name in enumerate(known)}
    slots = {i: slot_of[near] for i, name in enumerate(names) if (near := nearest_definition(name, slot_of))}
    places = list(slots)
    if not places:
        hint = did_you_mean(names[0], known) if names else ""
        raise ValueError(
            f"The keypoint encoder knows none of these names: {', '.join(names)}.{hint} It has slots for "
            f"{', '.join(known)}."
        )
    return torch.tensor(places), torch.tensor(list(slots.values()))


def normalise_keypoints(keypoints: Keypoints, scale: float = BOX_SCALE) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels -> what the keypoint encoder takes, and the box.

    Args:
        keypoints: in pixels of the full image.
        scale: the box's side over the longest side of the visible keypoints' bounds.
    Returns:
        points (B, K, 3): x, y in the box's [-1, 1], 0 where unseen, and the confidence over the person's greatest
        (detectors do not agree on a scale); box_center (B, 2) and box_side (B,) in pixels, at least one pixel. The weak
        camera that the network estimates is that of this box.
    """
    low, high = keypoints.bounds()
    center, side = (low + high) / 2, (scale * (high - low).amax(-1)).clamp_min(1.0)
    xy = pixels_to_crop(keypoints.xy, center, side)
    seen = keypoints.shown[..., None] > 0
    return torch.cat([torch.where(seen, xy, 0.0), keypoints.relative_confidence[..., None]], -1), center, side


@dataclass(frozen=True)
class EncodedKeypoints(TensorRecord):
    """The inputs of a keypoint encoder for B people, and the features it made of them."""

    points: Tensor  # (B, K, 3) as `normalise_keypoints` makes them
    view: Tensor  # (B, 3)
    phi: Tensor  # (B, features)
    names: tuple[str, ...]
    mirrored_phi: Tensor | None = None  # (B, features) of the mirror image, where flip_test is on


def view_of_box(box_center: Tensor, box_side: Tensor, camera: Camera) -> Tensor:
    """(B, 3) where the box lies before its camera: (c_box − c)/f and side/f (CLIFF, Li et al., ECCV 2022, eq. 8).

    It tells how far off the axis the person stands, and how strong the perspective is. Small angles, no unit.
    """
    return torch.cat([(box_center - camera.center) / camera.focal, (box_side / camera.focal.mean(-1))[:, None]], -1)


def to_tensor(image: Image) -> Tensor:
    """(H, W, 3) -> (1, 3, H, W), both uint8."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None]


ENCODERS: dict[str, type[ImageEncoder] | type[KeypointEncoder]] = {
    one.kind: one for one in (ImageEncoder, HeatmapEncoder, KeypointEncoder)
}
"""By kind, for files."""
