"""Which way limbs point: how far the end of each bone of arms and legs lies behind its start, and how sure that is.

    z = n · b,      b = x_end − x_start,  n = x_start / |x_start| the ray;          z < 0: towards the camera
    dz/dω_i = b × n  of every joint i at the bone's start or above it,               dz/dβ = nᵀ G db/dβ

A bone mirrored in the plane across its ray, b − 2 (b · n) n, looks the same in the picture: z is what keypoints say
least of, and its sign is what a wrong answer most often has wrong. (The ray moves with the body too, by a part in ten
of what the bone does; that is left out of the derivative.) Under the posterior, a mixture of t distributions with the
scale matrices C_h, each z_h is a t with the scale √(a C_h aᵀ), a its derivative.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import normalize

from hmrfit.body.points import PointBody
from hmrfit.body.skeleton import Skeleton
from hmrfit.fitting.parameters import State
from hmrfit.fitting.uncertainty import Posterior
from hmrfit.ops.student import student_cdf
from hmrfit.types import TensorRecord

BONES = {"arm": ("upper_arm", "forearm"), "leg": ("thigh", "shank")}
"""How the two bones of a limb are called, the upper one first."""


@dataclass(frozen=True)
class LimbBones:
    """The L bones of a skeleton's limbs; L = 8 of a body, 0 of a hand."""

    names: tuple[str, ...]  # "left_upper_arm", ...
    start: Tensor  # (L,) joints
    end: Tensor


@lru_cache
def limb_bones(skeleton: Skeleton) -> LimbBones:
    """Of every limb the upper bone, then the lower one."""
    names, joints = [], []
    for limb in skeleton.limbs:
        side, _, kind = limb.name.rpartition("_")
        names += [f"{side}_{bone}" for bone in BONES[kind]]
        chain = [skeleton.index(name) for name in limb.joints]
        joints += [chain[:2], chain[1:]]
    start, end = torch.tensor(joints, dtype=torch.int64).view(-1, 2).unbind(1)
    return LimbBones(tuple(names), start, end)


@dataclass(frozen=True)
class LimbDepths(TensorRecord):
    """Of B bodies."""

    joints: Tensor  # (B, J, 3) metres, camera frame
    depth: Tensor  # (B, L) z, metres
    length: Tensor  # (B, L) of the bones, metres
    rows: Tensor  # (B, L, P) dz along the columns [transl 3 | joints 3 J | betas S]


def limb_depths(body: PointBody, state: State) -> LimbDepths:
    """Which way the limbs of B bodies point."""
    bones, posed = limb_bones(body.skeleton), body.pose(state.params, state.world)
    bone = posed.joints[:, bones.end] - posed.joints[:, bones.start]
    ray = normalize(posed.joints[:, bones.start], dim=-1)
    turn = torch.linalg.cross(bone, ray)
    turns = (body.above[bones.start][..., None] * turn[:, :, None]).flatten(2)  # (B, L, 3 J)
    betas = (ray[:, :, None] @ posed.world[:, bones.start] @ body.bone_shapes[bones.end]).squeeze(2)
    rows = torch.cat([torch.zeros_like(turn), turns, betas], -1)
    return LimbDepths(posed.joints, (bone * ray).sum(-1), bone.norm(dim=-1), rows)


def depths_of_answers(body: PointBody, hypotheses: list[State]) -> LimbDepths:
    """The same of H states of B people, (B, H, ...)."""
    H, B = len(hypotheses), len(hypotheses[0])
    return limb_depths(body, State.cat(hypotheses)).map(lambda t: t.unflatten(0, (H, B)).transpose(0, 1))


def other_side(depth: Tensor, scale: Tensor, nu: float) -> tuple[Tensor, Tensor]:
    """(P(u < 0), E[u | u < 0]) of u = depth + scale · t_ν, elementwise.

    With the density f and the distribution function F of t:  E[t | t < a] = −f(a)/F(a) (ν + a²)/(ν − 1).
    """
    a = -depth / scale.clamp_min(1e-9)
    p = student_cdf(nu, a)
    half = torch.tensor(nu / 2, dtype=a.dtype)
    norm = torch.lgamma(half + 0.5) - torch.lgamma(half) - 0.5 * (nu * torch.pi * torch.ones_like(half)).log()
    density = (norm - (nu + 1) / 2 * torch.log1p(a.square() / nu)).exp()
    mean = depth - scale * density / p.clamp_min(1e-300) * (nu + a.square()) / (nu - 1)
    return p, mean


def towards_camera(body: PointBody, hypotheses: list[State], posterior: Posterior) -> Tensor:
    """(B, L) how probable it is that each bone points towards the camera."""
    each = depths_of_answers(body, hypotheses)
    scale = ((each.rows @ posterior.covariance) * each.rows).sum(-1).clamp_min(0).sqrt()
    return (posterior.probability[..., None] * other_side(each.depth, scale, posterior.nu)[0]).sum(1)
