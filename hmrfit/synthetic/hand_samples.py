"""Synthetic hands with their truth, in the form of a data set: what a protocol of hands runs on without any download.

    θ ~ the pose prior,   β ~ N(0, 1),   R uniform,   the wrist 0.3 to 0.8 m away,   K known,   640 × 480

Keypoints have Gaussian noise of a fraction of the box, and a tenth is missing. Poses are draws of the prior with which
hands are fitted, so it is an easier test than poses of a source that no prior has seen. Two hands of one person: each
with a pose of its own, the left wrist within a hand's length of the right one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hmrfit.body.smpl import SmplBody
from hmrfit.camera import PIXEL_CENTER, Camera
from hmrfit.datasets.hand_dataset import HandDataset
from hmrfit.hand_keypoints import hand_set
from hmrfit.priors.gmm import PoseGmm
from hmrfit.types import BodyParams

SIZE, FOCAL, DEPTHS = (640, 480), 600.0, (0.3, 0.8)

NOISE, MISSING = 0.02, 0.1
"""Of the keypoints: a fraction of the box; the probability of each."""

MARGIN = 100
"""Pixels: the wrist is nearer to the middle of the picture than so much from its edge."""

APART = 0.15
"""Metres, between the wrists of two hands."""


@dataclass(frozen=True)
class HandSource:
    """The hand of one side, and what its poses are drawn from."""

    body: SmplBody
    prior: PoseGmm  # of this side's joints


def synthetic_hands(
    sources: Mapping[str, HandSource],
    order: str,
    count: int,
    seed: int = 0,
    noise: float = NOISE,
    two_hands: bool = False,
    meshes: bool = True,
) -> HandDataset:
    """Hands of these sides.

    Args:
        sources: "right", and "left" if hands of both are wanted; float64.
        order: of the points. count: pictures. noise: of the keypoints, a fraction of the box.
        two_hands: every other picture has both hands of a person; else sides take turns. meshes: with vertices.
    """
    generator = torch.Generator().manual_seed(seed)
    kinds = ["interacting" if two_hands and i % 2 else "single" for i in range(count)]
    every = tuple(sources)
    sides = [every if kind == "interacting" else (every[i % len(every)],) for i, kind in enumerate(kinds)]
    places = _places(count, generator)
    hands: list[tuple[int, str, Tensor, Tensor]] = []  # picture, side, joints (21, 3), vertices (V, 3)
    for side in every:
        pictures = [i for i, own in enumerate(sides) if side in own]
        if pictures:
            hands += zip(
                pictures,
                [side] * len(pictures),
                *_posed(sources[side], side, order, places[pictures], generator),
                strict=True,
            )
    hands.sort(key=lambda hand: (hand[0], every.index(hand[1])))
    picture, side_of, joints, vertices = zip(*hands, strict=True)
    truth = torch.stack(joints)
    N = len(hands)
    camera = Camera.from_size(*SIZE, focal=FOCAL, count=N)
    K = np.array([[FOCAL, 0, SIZE[0] / 2 - PIXEL_CENTER], [0, FOCAL, SIZE[1] / 2 - PIXEL_CENTER], [0, 0, 1]])
    return HandDataset(
        Path("synthetic"),
        order,
        np.array([f"{i:06d}" for i in picture], np.str_),
        np.array(side_of, np.str_),
        truth.numpy(),
        np.ones((N, 21), bool),
        np.tile(K, (N, 1, 1)),
        np.tile(np.array(SIZE, np.int64), (N, 1)),
        np.array(picture, np.int64),
        np.array([kinds[i] for i in picture], np.str_),
        vertices=torch.stack(vertices).numpy() if meshes else None,
        keypoints=_seen(camera.project(truth), noise, generator).numpy(),
    )


def _places(count: int, generator: torch.Generator) -> Tensor:
    """(N, 3) metres, of wrists in the picture."""
    at = torch.rand(count, 3, generator=generator, dtype=torch.float64)
    depth = DEPTHS[0] + at[:, 2:] * (DEPTHS[1] - DEPTHS[0])
    around = torch.tensor(SIZE, dtype=torch.float64) / 2 - MARGIN
    return torch.cat([(2 * at[:, :2] - 1) * around * depth / FOCAL, depth], 1)


def _posed(
    source: HandSource, side: str, order: str, places: Tensor, generator: torch.Generator
) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """Joints and vertices of a hand for each place."""
    B, body = len(places), source.body
    theta = source.prior.sample(B, generator)
    betas = torch.randn(B, body.shape_count, generator=generator, dtype=torch.float64)
    zero = torch.zeros(B, 3, dtype=torch.float64)
    offset = (torch.rand(B, 3, generator=generator, dtype=torch.float64) - 0.5) * (2 * APART if side == "left" else 0.0)
    params = BodyParams.from_rotvecs(zero, theta, betas, places + offset * places.new_tensor([1, 1, 0.3]))
    params = BodyParams(random_rotations(B, generator), params.body_pose, params.betas, params.transl)
    points = body.points(hand_set(order, side).names).pose(params).points
    mesh = body(params).vertices
    assert mesh is not None
    return list(points), list(mesh)


def random_rotations(count: int, generator: torch.Generator) -> Tensor:
    """Uniform, (count, 3, 3)."""
    Q, R = torch.linalg.qr(torch.randn(count, 3, 3, generator=generator, dtype=torch.float64))
    Q = Q * R.diagonal(dim1=1, dim2=2).sign()[:, None]
    return Q * torch.linalg.det(Q)[:, None, None]


def _seen(xy: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    """(N, 21, 3) x, y, confidence of noisy keypoints, some missing."""
    box = (xy.amax(1) - xy.amin(1)).amax(1)
    moved = xy + noise * box[:, None, None] * torch.randn(xy.shape, generator=generator, dtype=torch.float64)
    seen = (torch.rand(xy.shape[:2], generator=generator) >= MISSING).to(xy)[..., None]
    return torch.cat([moved * seen, seen], -1)
