"""The body without its mesh: joints and a few named points, with derivatives, at a cost that does not depend on V.

A landmark is a fixed mixture of posed vertices, x_k = sum_v r_kv v'. Skinning is linear in the rest vertex, so the sum
over vertices can be done once, bone by bone, before any pose is known:

    x_k = sum_b  G_b u_kb + w_kb x_b,        w_kb = sum_v r_kv w_vb
    u_kb = sum_v r_kv w_vb (v - J_b)  =  u0_kb + U_kb beta + P_kb vec(R - I)

exactly, with the pose correctives inside P. A SMPL joint is the case w = 1, u = 0. What remains per point is a handful
of (point, bone) pairs; 17 COCO keypoints need a few dozen pairs instead of 6,900 vertices.

Derivatives, with right perturbations R_j <- R_j exp(delta_j) and a covector a on the point (DESIGN, section 5):

    a . dx_k/d delta_j = (d_kj x a)^T G_j + corrective,       d_kj = sum over bones b at or below j of (G_b u_kb + w_kb (x_b - x_j))
"""  # noqa: E501

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hmrfit.ops.rotation import hat
from hmrfit.ops.skinning import ancestor_matrix, joint_positions, world_rotations
from hmrfit.types import BodyParams


@dataclass(frozen=True)
class PosedPoints:
    """Where the joints and points are, and what their derivatives need."""

    points: Tensor  # (B, K, 3) metres, in the camera frame
    joints: Tensor  # (B, J, 3)
    world: Tensor  # (B, J, 3, 3)
    pairs: Tensor  # (B, N, 3)  G_b u + w x_b: each pair's share of its point
    rotations: Tensor  # (B, J, 3, 3) local


class PointBody:
    """Named points of an SMPL-format body; made by `SmplBody.points(names)`.

    The columns of every Jacobian are [transl 3 | rotations 3 J | betas S], rotations in the joints' own frames.
    """

    def __init__(
        self,
        names: Sequence[str],
        parents: Sequence[int],
        rest_joints: Tensor,  # (J, 3)
        joint_shapes: Tensor,  # (J, 3, S)
        pair_point: Tensor,  # (N,)
        pair_bone: Tensor,  # (N,)
        pair_weight: Tensor,  # (N,)
        offset: Tensor,  # (N, 3) u0
        offset_shapes: Tensor,  # (N, 3, S) U
        offset_poses: Tensor,  # (N, 3, 9 (J-1)) P
    ) -> None:
        self.names, self.parents = tuple(names), tuple(parents)
        self.rest_joints, self.joint_shapes = rest_joints, joint_shapes
        self.pair_point, self.pair_bone, self.pair_weight = pair_point, pair_bone, pair_weight
        self.offset, self.offset_shapes = offset, offset_shapes
        self.moved = offset_poses.abs().amax((1, 2)).nonzero()[:, 0]  # the pairs that correctives reach
        self.offset_poses = offset_poses[self.moved]
        self._derive()

    def _derive(self) -> None:
        """Constant matrices of the derivatives, from the tree and the pairs."""
        J, K, N = len(self.parents), len(self.names), len(self.pair_point)
        like = self.rest_joints
        self.above = ancestor_matrix(self.parents).to(like)  # (J, J)
        self.gather = torch.zeros(K, N, dtype=like.dtype, device=like.device)
        self.gather[self.pair_point, torch.arange(N, device=like.device)] = 1
        reach = self.above[self.pair_bone]  # (N, J): does joint j carry pair n?
        self.spread = (reach.T[:, None, :] * self.gather).reshape(J * K, N)  # pairs -> d_kj, before the joint's part
        self.hold = (self.spread @ self.pair_weight).reshape(J, K)
        up = torch.as_tensor([max(p, 0) for p in self.parents], device=like.device)
        self.up = up
        self.bone_shapes = self.joint_shapes - self.joint_shapes[up]
        self.bone_shapes[0] = self.joint_shapes[0]

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "PointBody":
        """The same body elsewhere or in another precision."""
        move = lambda t: t.to(device=device, dtype=dtype if t.is_floating_point() else None)  # noqa: E731
        other = object.__new__(PointBody)
        other.__dict__ = {k: move(v) if isinstance(v, Tensor) else v for k, v in self.__dict__.items()}
        return other

    @property
    def columns(self) -> int:
        """P, the number of columns of `rows`."""
        return 3 + 3 * len(self.parents) + self.joint_shapes.shape[-1]

    def pose(self, params: BodyParams) -> PosedPoints:
        """Joints and points of B bodies in the camera frame, metres."""
        rotations = params.rotations
        rest = self.rest_joints + (self.joint_shapes @ params.betas.T).permute(2, 0, 1)
        world = world_rotations(rotations, self.parents)
        joints = joint_positions(world, rest, self.parents) + params.transl[:, None]
        offset = self.offset + (self.offset_shapes @ params.betas.T).permute(2, 0, 1)
        if len(self.moved):
            feature = (rotations[:, 1:] - torch.eye(3).to(rotations)).flatten(1)
            offset = offset.index_add(1, self.moved, (self.offset_poses @ feature.T).permute(2, 0, 1))
        turned = (world[:, self.pair_bone] @ offset[..., None]).squeeze(-1)
        pairs = turned + self.pair_weight[:, None] * joints[:, self.pair_bone]
        return PosedPoints(self.gather @ pairs, joints, world, pairs, rotations)

    def rows(self, posed: PosedPoints, a: Tensor) -> Tensor:
        """Covectors a (B, K, R, 3) on the points -> their pull-back (B, K, R, P) on transl, rotations and betas."""
        B, K, R, _ = a.shape
        J = len(self.parents)
        d = (self.spread @ posed.pairs).unflatten(1, (J, K)) - self.hold[..., None] * posed.joints[:, :, None]
        lever = torch.linalg.cross(d[:, :, :, None], a[:, None], dim=-1)  # (B, J, K, R, 3)
        turning = (lever.reshape(B, J, K * R, 3) @ posed.world).reshape(B, J, K, R, 3).permute(0, 2, 3, 1, 4)
        turning = self._add_correctives(turning, posed, a)
        return torch.cat([a, turning.reshape(B, K, R, 3 * J), a @ self._shape_derivative(posed)], -1)

    def _add_correctives(self, turning: Tensor, posed: PosedPoints, a: Tensor) -> Tensor:
        """The pose correctives' part: a^T G_b P_kb d vec(R_j)/d delta_j, with dR = R [delta]x."""
        if not len(self.moved):
            return turning
        bone, point = self.pair_bone[self.moved], self.pair_point[self.moved]
        pulled = (a[:, point] @ posed.world[:, bone]).transpose(0, 1)  # (n, B, R, 3)
        n, B, R, _ = pulled.shape
        per_pair = (pulled.reshape(n, B * R, 3) @ self.offset_poses).reshape(n, B, R, -1)
        touched, place = point.unique(return_inverse=True)
        per_point = per_pair.new_zeros(len(touched), *per_pair.shape[1:]).index_add(0, place, per_pair)
        eye = torch.eye(3).to(turning)
        dR = (posed.rotations[:, 1:, None] @ hat(eye)).flatten(-2).transpose(-1, -2)  # (B, J-1, 9, 3)
        J1 = dR.shape[1]
        by_joint = per_point.unflatten(-1, (J1, 9)).permute(1, 3, 0, 2, 4).reshape(B, J1, -1, 9)
        columns = (by_joint @ dR).reshape(B, J1, len(touched), R, 3).permute(0, 2, 3, 1, 4)
        turning = turning.clone()
        turning[:, touched, :, 1:] += columns
        return turning

    def _shape_derivative(self, posed: PosedPoints) -> Tensor:
        """(B, K, 3, S): sum_b G_b U_kb + w_kb dx_b/d beta, the joints' own derivative summed along the tree."""
        S = self.joint_shapes.shape[-1]
        bones = posed.world[:, self.up] @ self.bone_shapes
        bones[:, 0] = self.bone_shapes[0]
        joints = (self.above @ bones.flatten(2)).unflatten(-1, (3, S))
        pairs = posed.world[:, self.pair_bone] @ self.offset_shapes
        pairs = pairs + self.pair_weight[:, None, None] * joints[:, self.pair_bone]
        return (self.gather @ pairs.flatten(2)).unflatten(-1, (3, S))
