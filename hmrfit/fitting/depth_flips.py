"""What else a picture may show: limbs and torso bent towards the camera instead of away from it.

A bone d at a point seen along the ray n looks the same as d − 2 (d·n) n, its mirror image in the image plane. For each
limb the upper bone, the lower one or both may be the other way; for the torso its lean (pelvis to neck), its turn (left
to right shoulder), or both. A joint bends about the axis a = upper × lower, which is an axis of the body, so the flip
of a limb turns its two world rotations by

    Q_u = [u', a'] [u, a]ᵀ,    Q_l = [l', a'] [l, a]ᵀ,        [b, a] the frame of b, a − (a·b) b, b × a

u, l the upper and lower bone, u', l' what they became, a' = u' × l'. All that hangs on the lower bone goes with it; the
limbs keep their directions when the torso is flipped.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import normalize

from hmrfit.fitting.devices import moved
from hmrfit.keypoints import SMPL24
from hmrfit.ops.skinning import world_rotations
from hmrfit.types import BodyParams


@dataclass(frozen=True)
class Limb:
    """Three joints by name: the upper bone runs from the first to the second, the lower one on to the third."""

    name: str
    joints: tuple[str, str, str]


LIMBS = (
    Limb("left_arm", ("left_shoulder", "left_elbow", "left_wrist")),
    Limb("right_arm", ("right_shoulder", "right_elbow", "right_wrist")),
    Limb("left_leg", ("left_hip", "left_knee", "left_ankle")),
    Limb("right_leg", ("right_hip", "right_knee", "right_ankle")),
)

TORSO = ("pelvis", "neck", "left_shoulder", "right_shoulder")

PARTS = ("upper", "lower", "both")
FLIPS = tuple((where, part) for where in ("torso", *(limb.name for limb in LIMBS)) for part in PARTS)
"""Every flip, in the order of `flips`: (what is flipped, which part of it). For the torso "upper" is its lean."""

STRAIGHT = 0.2
"""Sine of the bend below which a limb counts as straight and its axis comes from the body's own frame."""


def flips(params: BodyParams, joints: Tensor, parents: Sequence[int]) -> list[BodyParams]:
    """The body with each of `FLIPS` applied, the pelvis in its place; for bodies of SMPL's 24 joints.

    Args:
        joints: (B, J, 3) metres in the camera frame, of `params`.
    """
    world = world_rotations(params.rotations, parents)
    torsos = torch.stack([_flipped_torso(world, joints, part) for part in PARTS], 1)
    worlds = torch.cat([torsos, _flipped_limbs(world, joints, tuple(parents))], 1)
    local = worlds[:, :, [max(p, 0) for p in parents]].mT @ worlds
    return [BodyParams(worlds[:, i, 0], local[:, i, 1:], params.betas, params.transl) for i in range(len(FLIPS))]


def _mirrored(bone: Tensor, at: Tensor) -> Tensor:
    """The bone (..., 3) in the mirror of the plane across the ray to `at` (..., 3)."""
    ray = normalize(at, dim=-1)
    return bone - 2 * (bone * ray).sum(-1, keepdim=True) * ray


def _frame(b: Tensor, a: Tensor) -> Tensor:
    """Orthonormal columns (..., 3, 3) along b, a made square to it, and b × a."""
    b = normalize(b, dim=-1)
    a = normalize(a - (a * b).sum(-1, keepdim=True) * b, dim=-1)
    return torch.stack([b, a, torch.linalg.cross(b, a)], -1)


class _Ways:
    """Every limb with every part of it flipped, F = 12 ways side by side; index tensors, made once per tree."""

    def __init__(self, parents: tuple[int, ...]) -> None:
        ways = [(limb, part) for limb in LIMBS for part in PARTS]
        chain = torch.tensor([[SMPL24.index(name) for name in limb.joints] for limb, _ in ways])
        self.first, self.second, self.third = chain.unbind(1)  # (F,)
        self.upper, self.lower = (torch.tensor([[part != other] for _, part in ways]) for other in ("lower", "upper"))
        self.legs = torch.tensor([["leg" in limb.name] for limb, _ in ways])
        self.each = torch.arange(len(ways))
        hanging = [(way, j) for way in range(len(ways)) for j in _below(int(self.second[way]), parents)]
        self.hung_way, self.hung = torch.tensor(hanging).unbind(1)  # what goes with each lower bone


@lru_cache
def _ways(parents: tuple[int, ...], device: torch.device) -> _Ways:
    return moved(_Ways(parents), device)


def _flipped_limbs(world: Tensor, joints: Tensor, parents: tuple[int, ...]) -> Tensor:
    """World rotations (B, F, J, 3, 3) with one limb flipped each."""
    way = _ways(parents, world.device)
    start, middle, end = (joints[:, index] for index in (way.first, way.second, way.third))
    upper, lower, held = middle - start, end - middle, world[:, way.first]
    u = torch.where(way.upper, _mirrored(upper, start), upper)
    low = torch.where(way.lower, _mirrored(lower, middle), lower)
    axis, new_axis = _bend(upper, lower, held, way.legs), _bend(u, low, held, way.legs)
    turn_upper = _frame(u, new_axis) @ _frame(upper, axis).mT
    turn_lower = _frame(low, new_axis) @ _frame(lower, axis).mT
    turned = world[:, None].repeat(1, len(way.each), 1, 1, 1)
    turned[:, way.each, way.first] = turn_upper @ held
    turned[:, way.hung_way, way.hung] = turn_lower[:, way.hung_way] @ world[:, way.hung]
    return turned


def _bend(upper: Tensor, lower: Tensor, world: Tensor, legs: Tensor) -> Tensor:
    """The axis (B, F, 3) a limb bends about: upper × lower, or a straight one's hinge in the body's own frame."""
    cross = torch.linalg.cross(normalize(upper, dim=-1), normalize(lower, dim=-1))
    own = torch.where(legs, world[..., 0], world[..., 1])  # SMPL's knees bend about x, its elbows about y
    return torch.where(cross.norm(dim=-1, keepdim=True) > STRAIGHT, cross, own)


def _flipped_torso(world: Tensor, joints: Tensor, part: str) -> Tensor:
    """World rotations with lean, turn or both of the torso flipped; limbs and head keep theirs."""
    pelvis, neck, left, right = (joints[:, SMPL24.index(name)] for name in TORSO)
    up, across = neck - pelvis, right - left
    new_up = _mirrored(up, pelvis) if part != "lower" else up
    new_across = _mirrored(across, pelvis) if part != "upper" else across
    turn = _frame(new_up, new_across) @ _frame(up, across).mT
    trunk = [j for j, name in enumerate(SMPL24) if name in ("pelvis", "spine1", "spine2", "spine3", "neck")]
    trunk += [SMPL24.index(f"{side}_collar") for side in ("left", "right")]
    turned = world.clone()
    turned[:, trunk] = turn[:, None] @ world[:, trunk]
    return turned


def _below(joint: int, parents: Sequence[int]) -> list[int]:
    """A joint and all that hangs on it."""
    found = [joint]
    for j in range(joint + 1, len(parents)):
        if parents[j] in found:
            found.append(j)
    return found
