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

import torch
from torch import Tensor
from torch.nn.functional import normalize

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
    worlds = [_flipped_torso(world, joints, part) for part in PARTS]
    worlds += [_flipped_limb(world, joints, limb, part, parents) for limb in LIMBS for part in PARTS]
    return [_with_world(params, w, parents) for w in worlds]


def _mirrored(bone: Tensor, at: Tensor) -> Tensor:
    """The bone (B, 3) in the mirror of the plane across the ray to `at` (B, 3)."""
    ray = normalize(at, dim=-1)
    return bone - 2 * (bone * ray).sum(-1, keepdim=True) * ray


def _frame(b: Tensor, a: Tensor) -> Tensor:
    """Orthonormal columns (B, 3, 3) along b, a made square to it, and b × a."""
    b = normalize(b, dim=-1)
    a = normalize(a - (a * b).sum(-1, keepdim=True) * b, dim=-1)
    return torch.stack([b, a, torch.linalg.cross(b, a)], -1)


def _flipped_limb(world: Tensor, joints: Tensor, limb: Limb, part: str, parents: Sequence[int]) -> Tensor:
    """World rotations (B, J, 3, 3) with one limb flipped."""
    first, second, third = (SMPL24.index(name) for name in limb.joints)
    upper, lower = joints[:, second] - joints[:, first], joints[:, third] - joints[:, second]
    u = _mirrored(upper, joints[:, first]) if part != "lower" else upper
    low = _mirrored(lower, joints[:, second]) if part != "upper" else lower
    axis, new_axis = _bend(upper, lower, world[:, first], limb), _bend(u, low, world[:, first], limb)
    turn_upper = _frame(u, new_axis) @ _frame(upper, axis).mT
    turn_lower = _frame(low, new_axis) @ _frame(lower, axis).mT
    turned = world.clone()
    turned[:, first] = turn_upper @ world[:, first]
    for j in _below(second, parents):
        turned[:, j] = turn_lower @ world[:, j]
    return turned


def _bend(upper: Tensor, lower: Tensor, world: Tensor, limb: Limb) -> Tensor:
    """The axis (B, 3) a limb bends about: upper × lower, or where it is straight the hinge of the body's own frame."""
    a, b = normalize(upper, dim=-1), normalize(lower, dim=-1)
    cross = torch.linalg.cross(a, b)
    own = world[..., 0] if "leg" in limb.name else world[..., 1]  # SMPL's knees bend about x, its elbows about y
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


def _with_world(params: BodyParams, world: Tensor, parents: Sequence[int]) -> BodyParams:
    """The parameters with other world rotations, the pelvis where it was."""
    up = torch.tensor([max(p, 0) for p in parents])
    local = world[:, up].mT @ world
    return BodyParams(world[:, 0], local[:, 1:], params.betas, params.transl)
