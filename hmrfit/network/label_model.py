"""Which keypoints carry a wrong name: left and right exchanged, or a limb that is another person's.

    φ = encoder(x)                          x the keypoints in their own box, as the initial estimate sees them
    p(σ | x) ∝ exp(W φ)_σ π_σ/τ_σ           σ: none, or one of EXCHANGES
    p(l | x) ∝ exp(V φ)_l π_l/τ_l           l: none, or one of LIMBS

Detectors exchange arms, legs or whole bodies, and take the arm of somebody beside for this person's. No fit can be
right then, and nothing in its energy says so where the pose that comes out is possible. The network has learned what
such keypoints look like from people to whom it was done (`hmrfit.train.label_training`): τ is how often there, π how
often it happens to keypoints that are fitted.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, TypedDict

import torch
from torch import Tensor, nn

from hmrfit.camera import Camera
from hmrfit.keypoints import LIMBS, flip_permutation, limb_of, mirrored_name, part_of
from hmrfit.network.encoders import KEYPOINT_NAMES, KeypointEncoder, normalise_keypoints, view_of_box
from hmrfit.network.inference import pad_rows
from hmrfit.network.mirror import mirrored_points, mirrored_view
from hmrfit.types import Keypoints, TensorRecord

EXCHANGES: dict[str, tuple[str, ...] | None] = {
    "The arms": ("shoulder", "elbow", "hand"),
    "The legs": ("hip", "knee", "foot"),
    "Everything": None,
    "Everything but the face": ("shoulder", "elbow", "hand", "hip", "knee", "foot"),
    "The forearms": ("elbow", "hand"),
    "The shanks": ("knee", "foot"),
    "The hands": ("hand",),
    "The feet": ("foot",),
}
"""What is said of an exchange -> the parts (`keypoints.part_of`) whose keypoints change sides; None: all of them."""

TRAINED_EXCHANGED, TRAINED_BORROWED = 0.4, 0.25
"""τ: the fraction of the training's people of whom something was exchanged, or a limb replaced."""

EXPECTED = 0.08
"""π: the same fraction of people whose keypoints are fitted: as often as detectors are that wrong."""


@dataclass(frozen=True)
class LabelOdds(TensorRecord):
    """What the network says of B people; the first number is that of nothing being wrong."""

    exchange: Tensor  # (B, 1 + len(EXCHANGES))
    borrowed: Tensor  # (B, 1 + len(LIMBS))

    def of_exchanges(self, expected: float = EXPECTED) -> Tensor:
        """(B, len(EXCHANGES)) how probable each is, where the `expected` fraction of people have any."""
        return _probabilities(self.exchange, TRAINED_EXCHANGED, expected)

    def of_borrowed(self, expected: float = EXPECTED) -> Tensor:
        """(B, len(LIMBS)) how probable it is that each limb is another person's."""
        return _probabilities(self.borrowed, TRAINED_BORROWED, expected)


def _probabilities(logits: Tensor, trained: float, expected: float) -> Tensor:
    """Of all but the first, where as many are not the first as are expected, and not as in training."""
    rarer = math.log(expected / (1 - expected)) - math.log(trained / (1 - trained))
    return torch.cat([logits[:, :1], logits[:, 1:] + rarer], 1).softmax(1)[:, 1:]


class LabelModelSettings(TypedDict):
    """What builds a label model of the same shape."""

    width: int
    blocks: int
    names: list[str]


class LabelModel(nn.Module):
    """The network. No batch statistics: people stay independent of their batch."""

    kind: ClassVar[str] = "label_model"

    def __init__(self, width: int = 320, blocks: int = 3, names: Sequence[str] = KEYPOINT_NAMES) -> None:
        """
        Args:
            names: the keypoint names that have slots.
        """
        super().__init__()
        self.encoder = KeypointEncoder(width, blocks, 0.0, names)
        self.exchange, self.borrowed = nn.Linear(width, 1 + len(EXCHANGES)), nn.Linear(width, 1 + len(LIMBS))

    def settings(self) -> LabelModelSettings:
        """What the constructor takes."""
        encoder = self.encoder
        return {"width": encoder.features, "blocks": len(encoder.blocks), "names": list(encoder.names)}

    def forward(self, points: Tensor, names: tuple[str, ...], view: Tensor) -> LabelOdds:
        """points (B, K, 3), view (B, 3): those of `KeypointEncoder`."""
        phi = self.encoder(points, names, view)
        return LabelOdds(self.exchange(phi), self.borrowed(phi))

    @torch.no_grad()
    def look(self, keypoints: Keypoints, camera: Camera) -> LabelOdds:
        """What it says of B people: the mean of what it says of them and of their mirror images.

        Args:
            keypoints: pixels of the full image, a set that shares a name with the network's. camera: of the full image.
        """
        points, center, side = normalise_keypoints(keypoints)
        view, B = view_of_box(center, side, camera), len(points)
        both = torch.cat([points, mirrored_points(points, keypoints.names)])
        inputs, views = (pad_rows(x, self).float() for x in (both, torch.cat([view, mirrored_view(view)])))
        odds = self(inputs, keypoints.names, views).to(keypoints.xy.dtype)
        own, mirrored = odds[:B], odds[B : 2 * B]
        borrowed = mirrored.borrowed[:, [0, *(1 + LIMBS.index(mirrored_name(limb)) for limb in LIMBS)]]
        return LabelOdds((own.exchange + mirrored.exchange) / 2, (own.borrowed + borrowed) / 2)


@lru_cache(maxsize=64)
def exchanged_places(names: tuple[str, ...]) -> Tensor:
    """(len(EXCHANGES), K) from where keypoint k is taken after each exchange."""
    mirrored = flip_permutation(names)
    parts = [(part_of(name) or "").partition("_")[2] for name in names]
    rows = [
        [mirrored[k] if chosen is None or parts[k] in chosen else k for k in range(len(names))]
        for chosen in EXCHANGES.values()
    ]
    return torch.tensor(rows)


def places_as_fitted(names: tuple[str, ...], exchanged: Tensor) -> Tensor:
    """(B, K) from where keypoint k is taken where exchanges (B,), counted from 1, are undone; 0: none."""
    return torch.cat([torch.arange(len(names))[None], exchanged_places(names)])[exchanged]


@lru_cache(maxsize=64)
def limb_members(names: tuple[str, ...]) -> Tensor:
    """(len(LIMBS), K) bool: which keypoints are of each limb."""
    return torch.tensor([[limb_of(name) == limb for name in names] for limb in LIMBS])
