"""How the bones of a hand may lie to each other: lengths, the palm's arch, and the angles of its joints.

    b_i = X_child − X_parent                      20 bones of 21 joints; r_f the root bone of finger f, from the wrist
    n_i = unit(r_{i+1} × r_i)                     i = 1 … 4, of neighbouring fingers, thumb to little finger
    e_1 = n_1,  e_i = unit(n_{i-1} + n_i),  e_5 = n_4
    c_i = (e_{i+1} − e_i)·(r_{i+1} − r_i) / |r_{i+1} − r_i|²                         curvature of the palm, 1/m
    φ_i = ∠(r_i, r_{i+1})                                                            angular distance

    A joint's frame: z along the bone before it, x out of the back of the hand, y = z × x. With v = unit(next bone)
    F = atan2(v·x, v·z)     flexion           A = atan2(v·y, √((v·x)² + (v·z)²))     abduction
    The next joint's frame is this one turned by the smallest rotation that takes z to v.

    I(x; a, b) = max(a − x, 0) + max(x − b, 0)
    L_BL = 1/20 Σ I(|b_i|)      L_RB = 1/4 Σ I(c_i) + I(φ_i)      L_A = 1/15 Σ D((F, A)_j, H_j)

H_j is the convex hull of the angles that a joint takes, and D the distance to it, 0 inside (Spurr et al., "Weakly
Supervised 3D Hand Pose Estimation via Biomechanical Constraints", ECCV 2020, section 3.2). The angles are those of a
right hand: a left one is mirrored first (x -> −x), else its flexion is negative. Where bones are parallel or a finger
is straight there is no plane to measure from: every unit vector and root has a guard, so values and gradients stay
finite.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hmrfit.io.bounded import read_fields
from hmrfit.ops.check import check_finite, check_shape
from hmrfit.types import TensorRecord

FINGERS, PHALANGES = 5, 4
"""Bones of a finger, the one from the wrist among them."""

TINY, CLOSE = 1e-9, 1e-12
"""What guards a root, metres or without unit, and a quotient: points a millionth of a metre apart, squared."""

OPPOSITE = 1e-6
"""Of 1 + cos: where the next bone points straight back, the smallest rotation is any half turn."""


def unit(v: Tensor) -> Tensor:
    """v / |v| (..., 3), near 0 where v is: never NaN, nor is its gradient."""
    return v / (v.square().sum(-1, keepdim=True) + TINY**2).sqrt()


def length(v: Tensor) -> Tensor:
    """|v| (...), with a gradient at 0."""
    return (v.square().sum(-1) + TINY**2).sqrt()


def bones_of(joints: Tensor) -> Tensor:
    """(B, 5, 4, 3): the bones of every finger from the wrist outwards, thumb first.

    Args:
        joints: (B, 21, 3) metres, in the order of hand21: the wrist, then four points of each finger.
    """
    check_shape(joints, "B 21 3", "joints of hands")
    fingers = joints[:, 1:].unflatten(1, (FINGERS, PHALANGES))
    wrist = joints[:, None, :1].expand(-1, FINGERS, -1, -1)
    return fingers - torch.cat([wrist, fingers[:, :, :-1]], 2)


@dataclass(frozen=True)
class Palm(TensorRecord):
    """How the root bones of B hands lie to each other, thumb to little finger."""

    curvature: Tensor  # (B, 4) 1/m
    angle: Tensor  # (B, 4) radians


def palm_of(bones: Tensor) -> Palm:
    """The palm's arch and the angles between its bones. bones: (B, 5, 4, 3)."""
    roots = bones[:, :, 0]
    n = _palm_normals(roots)
    e = torch.cat([n[:, :1], unit(n[:, :-1] + n[:, 1:]), n[:, -1:]], 1)
    apart = roots.diff(dim=1)
    curvature = (e.diff(dim=1) * apart).sum(-1) / (apart.square().sum(-1) + CLOSE)
    one, next_one = roots[:, :-1], roots[:, 1:]
    angle = torch.atan2(length(torch.linalg.cross(one, next_one)), (one * next_one).sum(-1))
    return Palm(curvature, angle)


def _palm_normals(roots: Tensor) -> Tensor:
    """n (B, 4, 3) of root bones (B, 5, 3)."""
    return unit(torch.linalg.cross(roots[:, 1:], roots[:, :-1]))


def joint_angles(bones: Tensor) -> Tensor:
    """(B, 15, 2) flexion and abduction of the three joints of each finger, radians; of right hands.

    Args:
        bones: (B, 5, 4, 3).
    """
    frames = finger_frames(bones)
    v = frames[:, :, 1:, :, 2]
    up, aside, forward = ((v * axis).sum(-1) for axis in frames[:, :, :-1].unbind(-1))
    flexion = torch.atan2(up, forward)
    abduction = torch.atan2(aside, (up**2 + forward**2 + TINY**2).sqrt())
    return torch.stack([flexion, abduction], -1).flatten(1, 2)


def finger_frames(bones: Tensor) -> Tensor:
    """(B, 5, 4, 3, 3) the frames of all bones (B, 5, 4, 3), in columns: x out of the back of the hand, y, z along the
    bone. The first of a finger comes of the palm, each next one by the smallest rotation."""
    directions, frames = unit(bones), [frames_of_roots(bones)]
    x, y, z = frames[0].unbind(-1)
    for k in range(1, PHALANGES):
        v = directions[:, :, k]
        x, y, z = turned_along(x, z, v), turned_along(y, z, v), v
        frames.append(torch.stack([x, y, z], -1))
    return torch.stack(frames, 2)


def frames_of_roots(bones: Tensor) -> Tensor:
    """(B, 5, 3, 3) the frame at the base of each finger of bones (B, 5, 4, 3), columns x, y, z."""
    z = unit(bones[:, :, 0])
    x = -_back_normals(_palm_normals(bones[:, :, 0]))
    return torch.stack([x, torch.linalg.cross(z, x), z], -1)


def _back_normals(n: Tensor) -> Tensor:
    """(B, 5, 3) the normal that each finger's first frame is made of, from n (B, 4, 3)."""
    middle, ring = unit(n[:, 1] + n[:, 2]), unit(n[:, 2] + n[:, 3])
    return torch.stack([n[:, 0], n[:, 1], middle, ring, n[:, 3]], 1)


def turned_along(a: Tensor, z: Tensor, v: Tensor) -> Tensor:
    """a (..., 3), turned by the smallest rotation that takes the unit vector z to v:

        a + w × a + w × (w × a) / (1 + z·v),     w = z × v

    which needs no angle, so a straight finger is no special case.
    """
    w = torch.linalg.cross(z, v)
    once = torch.linalg.cross(w, a)
    return a + once + torch.linalg.cross(w, once) / (1 + (z * v).sum(-1, keepdim=True)).clamp_min(OPPOSITE)


def interval(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """I(x; a, b): how far x is outside of [a, b]."""
    return (low - x).clamp_min(0) + (x - high).clamp_min(0)


# ---- hulls of joint angles


@dataclass(frozen=True)
class Hulls(TensorRecord):
    """H convex polygons in the plane of (F, A), radians, counter-clockwise; the last corner is
    repeated where there are fewer."""

    corners: Tensor  # (H, E, 2)

    @property
    def _edges(self) -> tuple[Tensor, Tensor]:
        """(from each corner to the next (H, E, 2), whether they are apart (H, E))."""
        edge = self.corners.roll(-1, 1) - self.corners
        return edge, edge.square().sum(-1) > CLOSE

    def signed_distance(self, angles: Tensor) -> Tensor:
        """(B, H) radians to the nearest edge's line, negative inside; its positive part is a residual of a fit.

        Args:
            angles: (B, H, 2).
        """
        edge, real = self._edges
        outward = unit(torch.stack([edge[..., 1], -edge[..., 0]], -1))
        away = ((angles[:, :, None] - self.corners) * outward).sum(-1)
        return away.masked_fill(~real, -torch.inf).amax(-1)

    def nearest(self, angles: Tensor) -> Tensor:
        """(B, H, E, 2) the nearest point of every edge to the angles (B, H, 2)."""
        edge, _ = self._edges
        along = ((angles[:, :, None] - self.corners) * edge).sum(-1) / (edge.square().sum(-1) + CLOSE)
        return self.corners + along.clamp(0, 1)[..., None] * edge

    def distance(self, angles: Tensor) -> Tensor:
        """D (B, H): 0 inside, else min |cos θ − cos p|₁ + |sin θ − sin p|₁ over edges, p the edge's nearest point."""
        p, theta = self.nearest(angles), angles[:, :, None]
        apart = (theta.cos() - p.cos()).abs().sum(-1) + (theta.sin() - p.sin()).abs().sum(-1)
        return torch.where(self.signed_distance(angles) > 0, apart.amin(-1), 0.0)


@dataclass(frozen=True)
class HandLimits(TensorRecord):
    """What hands do: intervals of bone lengths and of the palm, hulls of joint angles."""

    length: Tensor  # (20, 2) metres, least and greatest
    curvature: Tensor  # (4, 2) 1/m
    angle: Tensor  # (4, 2) radians
    corners: Tensor  # (15, E, 2) radians, of `Hulls`

    @property
    def hulls(self) -> Hulls:
        return Hulls(self.corners)

    @classmethod
    def from_file(cls, path: str | Path) -> "HandLimits":
        """From an npz with length (20, 2), curvature (4, 2), angle (4, 2) and corners (15, E, 2).

        Raises:
            ValueError: other shapes, NaN, or an interval whose ends are exchanged.
        """
        shapes = {"length": "20 2", "curvature": "4 2", "angle": "4 2", "corners": "15 E 2"}
        arrays: list[NDArray] = []
        for (name, shape), values in zip(shapes.items(), read_fields(path, tuple(shapes)), strict=True):
            check_shape(values, shape, name)
            check_finite(values, name)
            if name != "corners" and (values[:, 0] > values[:, 1]).any():
                raise ValueError(f"{path}: an interval of '{name}' ends before it begins; expected (least, greatest).")
            arrays.append(values.astype(np.float64))
        return cls(*(torch.as_tensor(values) for values in arrays))

    def scaled(self, factor: float) -> "HandLimits":
        """The limits of hands that are larger by a factor, of other units for instance."""
        return HandLimits(self.length * factor, self.curvature / factor, self.angle, self.corners)


@dataclass(frozen=True)
class BiomechanicalLosses(TensorRecord):
    """L_BL, L_RB and L_A of B hands."""

    bone_length: Tensor  # (B,) metres
    palm: Tensor  # (B,)
    angles: Tensor  # (B,)


def biomechanical_losses(joints: Tensor, limits: HandLimits) -> BiomechanicalLosses:
    """Spurr's three losses of right hands' joints (B, 21, 3), metres; each 0 for a hand within the limits."""
    bones = bones_of(joints)
    palm = palm_of(bones)
    outside = lambda x, ends: interval(x, *ends.unbind(-1))  # noqa: E731
    return BiomechanicalLosses(
        outside(length(bones).flatten(1), limits.length).mean(1),
        (outside(palm.curvature, limits.curvature) + outside(palm.angle, limits.angle)).mean(1),
        limits.hulls.distance(joint_angles(bones)).mean(1),
    )


def biomechanical_residuals(joints: Tensor, limits: HandLimits) -> Tensor:
    """(B, 43) hinges for least squares, zero within the limits: 20 lengths, as fractions of the interval's middle; 4
    curvatures, as fractions of its width; 4 angles and 15 distances to hulls, radians."""
    bones = bones_of(joints)
    palm, ends = palm_of(bones), limits.length
    lengths = interval(length(bones).flatten(1), *ends.unbind(-1)) / ends.mean(-1)
    width = (limits.curvature[:, 1] - limits.curvature[:, 0]).clamp_min(TINY)
    curved = interval(palm.curvature, *limits.curvature.unbind(-1)) / width
    spread = interval(palm.angle, *limits.angle.unbind(-1))
    bent = limits.hulls.signed_distance(joint_angles(bones)).clamp_min(0)
    return torch.cat([lengths, curved, spread, bent], 1)


def mirrored_hands(joints: Tensor) -> Tensor:
    """Left hands as right ones, and the other way round: x -> −x of joints (..., 3)."""
    return joints * joints.new_tensor([-1.0, 1.0, 1.0])
