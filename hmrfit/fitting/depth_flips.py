"""What else a picture may show: limbs and torso bent towards the camera instead of away from it.

A bone d at a point seen along the ray n looks the same as d − 2 (d·n) n, its mirror image in the image plane. For each
limb the upper bone, the lower one or both may be the other way; for the torso its lean (pelvis to neck), its turn (left
to right shoulder), or both. A joint bends about the axis a = upper × lower, which is an axis of the body, so the flip
of a limb turns its two world rotations by

    Q_u = [u', a'] [u, a]ᵀ,    Q_l = [l', a'] [l, a]ᵀ,        [b, a] the frame of b, a − (a·b) b, b × a

u, l the upper and lower bone, u', l' what they became, a' = u' × l'. All that hangs on the lower bone goes with it; the
limbs keep their directions when the torso is flipped.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import normalize

from hmrfit.body.skeleton import Skeleton
from hmrfit.fitting.devices import moved
from hmrfit.ops.skinning import local_rotations, world_rotations
from hmrfit.types import BodyParams

TORSO = ("pelvis", "neck", "left_shoulder", "right_shoulder")

PARTS = ("upper", "lower", "both")

STRAIGHT = 0.2
"""Sine of the bend below which a limb counts as straight and its axis comes from the body's own frame."""


def flip_names(skeleton: Skeleton) -> tuple[tuple[str, str], ...]:
    """What `flips` gives for such a body, in its order: (what is flipped, which part of it), of the torso first, whose
    "upper" part is its lean, then of each limb."""
    torso = ("torso",) if _torso(skeleton) else ()
    return tuple((where, part) for where in (*torso, *(limb.name for limb in skeleton.limbs)) for part in PARTS)


def flips(params: BodyParams, joints: Tensor, skeleton: Skeleton) -> list[BodyParams]:
    """The body with each of `flip_names` applied, the root in its place.

    Args:
        joints: (B, J, 3) metres in the camera frame, of `params`.
    """
    parents = skeleton.parents
    world = world_rotations(params.rotations, parents)
    found = []
    if torso := _torso(skeleton):
        found.append(torch.stack([_flipped_torso(world, joints, part, torso) for part in PARTS], 1))
    if skeleton.limbs:
        found.append(_flipped_limbs(world, joints, skeleton))
    if not found:
        return []
    worlds = torch.cat(found, 1)
    local = local_rotations(worlds, parents)
    return [BodyParams(local[:, i, 0], local[:, i, 1:], params.betas, params.transl) for i in range(worlds.shape[1])]


@dataclass(frozen=True)
class _Torso:
    """What turns with the torso, and the joints that say where it is."""

    corners: tuple[int, ...]  # of TORSO
    trunk: list[int]


@lru_cache
def _torso(skeleton: Skeleton) -> _Torso | None:
    """None of a body without one: a hand."""
    if not all(name in skeleton for name in TORSO):
        return None
    return _Torso(tuple(skeleton.index(name) for name in TORSO), list(skeleton.trunk))


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
    """Every limb with every part of it flipped, F = 12 ways of four limbs; index tensors, made once per skeleton."""

    def __init__(self, skeleton: Skeleton) -> None:
        ways = [(limb, part) for limb in skeleton.limbs for part in PARTS]
        chain = torch.tensor([[skeleton.index(name) for name in limb.joints] for limb, _ in ways])
        self.first, self.second, self.third = chain.unbind(1)  # (F,)
        self.upper, self.lower = (torch.tensor([[part != other] for _, part in ways]) for other in ("lower", "upper"))
        self.hinge = torch.tensor([limb.axis for limb, _ in ways])
        self.each = torch.arange(len(ways))
        hanging = [(way, j) for way in range(len(ways)) for j in skeleton.below(ways[way][0].joints[1])]
        self.lower_way, self.lower_joint = torch.tensor(hanging).unbind(1)  # what goes with each lower bone


@lru_cache
def _ways(skeleton: Skeleton, device: torch.device) -> _Ways:
    return moved(_Ways(skeleton), device)


def _flipped_limbs(world: Tensor, joints: Tensor, skeleton: Skeleton) -> Tensor:
    """World rotations (B, F, J, 3, 3) with one limb flipped each."""
    way = _ways(skeleton, world.device)
    start, middle, end = (joints[:, index] for index in (way.first, way.second, way.third))
    upper, lower, root = middle - start, end - middle, world[:, way.first]
    u = torch.where(way.upper, _mirrored(upper, start), upper)
    low = torch.where(way.lower, _mirrored(lower, middle), lower)
    axis, new_axis = _bend(upper, lower, root, way), _bend(u, low, root, way)
    turn_upper = _frame(u, new_axis) @ _frame(upper, axis).mT
    turn_lower = _frame(low, new_axis) @ _frame(lower, axis).mT
    turned = world[:, None].repeat(1, len(way.each), 1, 1, 1)
    turned[:, way.each, way.first] = turn_upper @ root
    turned[:, way.lower_way, way.lower_joint] = turn_lower[:, way.lower_way] @ world[:, way.lower_joint]
    return turned


def _bend(upper: Tensor, lower: Tensor, world: Tensor, way: _Ways) -> Tensor:
    """The axis (B, F, 3) a limb bends about: upper × lower, or a straight one's hinge in the body's own frame."""
    cross = torch.linalg.cross(normalize(upper, dim=-1), normalize(lower, dim=-1))
    own = world[:, way.each, :, way.hinge].movedim(0, 1)
    return torch.where(cross.norm(dim=-1, keepdim=True) > STRAIGHT, cross, own)


def _flipped_torso(world: Tensor, joints: Tensor, part: str, torso: _Torso) -> Tensor:
    """World rotations with lean, turn or both of the torso flipped; limbs and head keep theirs."""
    pelvis, neck, left, right = (joints[:, j] for j in torso.corners)
    up, across = neck - pelvis, right - left
    new_up = _mirrored(up, pelvis) if part != "lower" else up
    new_across = _mirrored(across, pelvis) if part != "upper" else across
    turn = _frame(new_up, new_across) @ _frame(up, across).mT
    turned = world.clone()
    turned[:, torso.trunk] = turn[:, None] @ world[:, torso.trunk]
    return turned
