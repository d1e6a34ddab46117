"""What annotators, detectors, tables and image borders do to keypoints: one function each, of tensors.

    a point's error = ½ σ_k √A f t,      σ_k of COCO's OKS, A the person's area, f ≥ 1 where it is doubtful,
                                         t Student's with four degrees of freedom

Each takes keypoints, which of the B people it befalls (B,) bool, and the random numbers by person; none changes what it
is given. Confidence 0 means unseen; what is hidden keeps its place until `blanked`.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from hmrfit.keypoints import LIMBS, find_part, flip_permutation
from hmrfit.network.label_model import limb_members
from hmrfit.ops.row_random import RowRandom
from hmrfit.types import Keypoints

OKS_SIGMAS = dict(
    zip(
        ("nose", "eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle"),
        (0.026, 0.025, 0.035, 0.079, 0.072, 0.062, 0.107, 0.087, 0.089),
        strict=True,
    )
)
"""COCO's, how far its annotators differ, in units of the root of a person's area."""

LABEL_STD = 0.5 / 2**0.5
"""Of OKS's standard deviations: what a keypoint is off along each of the two coordinates. OKS's are of the distance,
and one annotator is half as far from the truth as two are from each other."""

OTHER_SIGMA = 0.079
"""Of points that COCO does not have: toes, heels, neck, top of the head, pelvis."""

BOX_FILLED = 0.53
"""A person's area as a share of the box, where no mask is known: MMPose's."""

THINNEST = 0.25
"""The shorter side of a person's box over the longer: points on a line are still a body."""

FACING_AWAY = -0.1
"""Cosine between a point of the face's outward direction and that to the camera, below which the head hides it."""

FEWEST = 6
"""Keypoints that stay, where there are as many in the image: a person of whom fewer are seen is rarely labelled."""


def label_sigmas(names: Sequence[str]) -> Tensor:
    """(K,) float64, OKS's standard deviations of these points in units of √area."""
    return torch.tensor(
        [next((s for part, s in OKS_SIGMAS.items() if part in name), OTHER_SIGMA) for name in names]
    ).double()


def person_area(keypoints: Keypoints) -> Tensor:
    """(B,) pixels², as COCO's masks have it, from the box of the visible keypoints."""
    low, high = keypoints.bounds()
    sides = high - low
    sides = torch.maximum(sides, THINNEST * sides.amax(-1, keepdim=True))
    return BOX_FILLED * sides.prod(-1)


def mislabelled(keypoints: Keypoints, area: Tensor, factor: Tensor, random: RowRandom) -> Keypoints:
    """Every point off by its own standard deviation, with heavy tails. area: (B,). factor: (B, K), 1 as COCO's."""
    sigma = label_sigmas(keypoints.names).to(area)
    std = LABEL_STD * sigma * area.sqrt()[:, None] * factor
    noise = random.student("label noise", len(keypoints.names), 2).to(area)
    return replace(keypoints, xy=keypoints.xy + std[..., None] * noise)


def detection_quality(who: Tensor, count: int, random: RowRandom) -> Tensor:
    """(B, K) from 0.1 to 1, how well each point was found: 1 for people whose points were clicked, not detected."""
    found = 1 - 0.9 * random.uniform("quality", count) ** 2
    return torch.where(who[:, None], found, 1.0)


def quality_factor(quality: Tensor) -> Tensor:
    """(B, K) how many times the usual error a point of that quality has: up to 3."""
    return (0.6 / quality).clamp(1.0, 3.0)


def stated_confidence(quality: Tensor, inflated: Tensor, flat: Tensor) -> Tensor:
    """(B, K) what is said of the quality: itself; near 1 (inflated (B,)); exactly 1 (flat (B,))."""
    stated = torch.where(inflated[:, None], 0.85 + 0.15 * quality, quality)
    return torch.where(flat[:, None], 1.0, stated)


def borrowed_limb(keypoints: Keypoints, who: Tensor, random: RowRandom) -> Keypoints:
    """One limb's points are those of another person, who stands beside: the own opposite limb as a mirror shows it,
    0.2 to 0.7 of the box aside."""
    chosen = random.integer("whose limb", len(LIMBS)).to(keypoints.xy.device)
    across = torch.where(random.chance("which neighbour", 0.5), 1.0, -1.0)
    aside = across * random.uniform("neighbour's distance", low=0.2, high=0.7)
    taken = who[:, None] & limb_members(keypoints.names).to(chosen.device)[chosen]
    return replace(keypoints, xy=torch.where(taken[..., None], mirrored_beside(keypoints, aside), keypoints.xy))


def mirrored_beside(keypoints: Keypoints, aside: Tensor) -> Tensor:
    """(B, K, 2) where each person's mirror image has the keypoints, moved by `aside` (B,) boxes along x."""
    box, mirrored = keypoints.box_size(), torch.tensor(flip_permutation(keypoints.names), device=keypoints.xy.device)
    (low, high), other = keypoints.bounds(), keypoints.xy[:, mirrored]
    x = (low + high)[:, None, 0] - other[..., 0] + (aside.to(box) * box)[:, None]
    return torch.stack([x, other[..., 1]], -1)


def hidden(keypoints: Keypoints, where: Tensor) -> Keypoints:
    """The points of `where` (B, K) bool are not seen."""
    return replace(keypoints, confidence=keypoints.confidence * ~where)


def beyond_border(keypoints: Keypoints, size: Tensor) -> Tensor:
    """(B, K) outside of the image. size: (B, 2) pixels."""
    return ((keypoints.xy < 0) | (keypoints.xy > size[:, None])).any(-1)


def behind_something(keypoints: Keypoints, who: Tensor, random: RowRandom) -> Tensor:
    """(B, K) beyond a straight edge that goes through the person at any angle and hides a fifth to six tenths of it."""
    angle = random.uniform("edge's angle", high=2 * math.pi).to(keypoints.xy)
    along = (keypoints.xy * torch.stack([angle.cos(), angle.sin()], -1)[:, None]).sum(-1)
    share = random.uniform("hidden behind the edge", low=0.2, high=0.6).to(along)
    order = along.argsort(1, descending=True).argsort(1)
    return who[:, None] & (order < share[:, None] * along.shape[1])


def behind_table(height: Tensor, who: Tensor, random: RowRandom) -> Tensor:
    """(B, K) below a table's edge. height: (B, K) metres of the points above the person's pelvis."""
    edge = random.uniform("table", low=-0.05, high=0.25).to(height)
    return who[:, None] & (height < edge[:, None])


def face_turned_away(points: Tensor, names: Sequence[str]) -> Tensor:
    """(B, K) nose, eyes and ears that the head itself hides. points: (B, K, 3) camera frame; without ears and a nose
    nothing is known."""
    places = [find_part(names, part) for part in ("nose", "left_ear", "right_ear")]
    away = torch.zeros(points.shape[:2], dtype=torch.bool, device=points.device)
    if any(place is None for place in places):
        return away
    nose, left, right = (points[:, place] for place in places)
    middle = 0.5 * (left + right)
    forward, side = (torch.nn.functional.normalize(v, dim=-1) for v in (nose - middle, left - right))
    to_camera = -torch.nn.functional.normalize(middle, dim=-1)
    front, across = (forward * to_camera).sum(-1), (side * to_camera).sum(-1)
    outward = {"nose": front, "left_ear": across, "right_ear": -across}
    outward |= {f"{one}_eye": 0.85 * front + sign * 0.53 * across for one, sign in (("left", 1), ("right", -1))}
    for name, cosine in outward.items():
        place = find_part(names, name)
        if place is not None:
            away[:, place] = cosine < FACING_AWAY
    return away


def at_least_some(keypoints: Keypoints, before: Tensor, random: RowRandom) -> Keypoints:
    """The same with points seen again where fewer than FEWEST are: any of those that `before` (B, K) has."""
    seen = keypoints.confidence > 0
    rank = random.uniform("kept", len(keypoints.names)).to(before) + 2.0 * seen + 1.0 * (before > 0)
    best = rank >= rank.sort(1, descending=True).values[:, FEWEST - 1 : FEWEST]
    again = best & (before > 0) & (seen.sum(1) < FEWEST)[:, None]
    return replace(keypoints, confidence=torch.where(again, before, keypoints.confidence))


def blanked(keypoints: Keypoints) -> Keypoints:
    """Unseen points at (0, 0), as files have them: nothing of their true place is told."""
    return replace(keypoints, xy=torch.where((keypoints.confidence > 0)[..., None], keypoints.xy, 0.0))
