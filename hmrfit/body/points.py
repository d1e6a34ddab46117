"""The body without its mesh: joints and a few named points, with derivatives, at a cost that does not depend on V.

A landmark is a fixed mixture of posed vertices, x_k = sum_v r_kv v'. Skinning is linear in the rest vertex, so the sum
over vertices can be done once, bone by bone, before any pose is known:

    x_k = sum_b  G_b u_kb + w_kb x_b,        w_kb = sum_v r_kv w_vb
    u_kb = sum_v r_kv w_vb (v - J_b)  =  u0_kb + U_kb beta + P_kb vec(R - I)

exactly, with the pose correctives inside P. A SMPL joint is the case w = 1, u = 0. What remains per point is a handful
of (point, bone) pairs; 17 COCO keypoints need a few dozen pairs instead of 6,900 vertices.

Derivatives. Every joint turns about the camera's axes through itself, G_j <- exp(omega_j) G_j with all below it, which
is R_j <- R_j exp(G_j^T omega_j). Then a point below moves by omega x d, and a covector a on it pulls back to

    a . dx_k/d omega_j = (d_kj x a)^T + corrective,
    d_kj = sum over bones b at or below j of  G_b u_kb + w_kb (x_b - x_j)

without a single product by a rotation (DESIGN writes the same rows times G_j, for turns in the joint's own frame).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from hmrfit.body.skeleton import Skeleton
from hmrfit.ops.skinning import ancestor_matrix, forward_kinematics, kinematic_tree
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

    The columns of every Jacobian are [transl 3 | rotations 3 J | betas S], rotations about the camera's axes.
    """

    def __init__(
        self,
        names: Sequence[str],
        skeleton: Skeleton,
        rest_joints: Tensor,  # (J, 3)
        joint_shapes: Tensor,  # (J, 3, S)
        pair_point: Tensor,  # (N,)
        pair_bone: Tensor,  # (N,)
        pair_weight: Tensor,  # (N,)
        offset: Tensor,  # (N, 3) u0
        offset_shapes: Tensor,  # (N, 3, S) U
        offset_poses: Tensor,  # (N, 3, 9 (J-1)) P
        driven: tuple[int, ...] | None = None,  # the joints that a fit turns; the skeleton's by default
    ) -> None:
        self.names, self.skeleton, self.parents = tuple(names), skeleton, skeleton.parents
        self.driven = skeleton.driven if driven is None else driven
        self.rest_joints, self.joint_shapes = rest_joints, joint_shapes
        self.pair_point, self.pair_bone, self.pair_weight = pair_point, pair_bone, pair_weight
        self.offset, self.offset_shapes = offset, offset_shapes
        self._keep_correctives(offset_poses)
        self._derive()
        self._parts: dict[tuple[int, ...], JointColumns] = {}

    def _keep_correctives(self, offset_poses: Tensor) -> None:
        """Of the pose correctives, only the pairs and joints where they are not zero: few, since they act locally."""
        blocks = offset_poses.unflatten(-1, (-1, 9))  # (N, 3, J-1, 9)
        acts = (blocks != 0).any(-1).any(1)  # (N, J-1)
        self.active_pairs = acts.any(1).nonzero()[:, 0]
        self.active_joints = acts.any(0).nonzero()[:, 0] + 1
        self.offset_poses = blocks[self.active_pairs][:, :, self.active_joints - 1]  # (n, 3, m, 9)

    def _derive(self) -> None:
        """Constant matrices of the derivatives, from the tree and the pairs."""
        J, K, N = len(self.parents), len(self.names), len(self.pair_point)
        like = self.rest_joints
        self.above = ancestor_matrix(self.parents).to(like)  # (J, J)
        self.gather = torch.zeros(K, N, dtype=like.dtype, device=like.device)
        self.gather[self.pair_point, torch.arange(N, device=like.device)] = 1
        reach = self.above[self.pair_bone]  # (N, J): does joint j carry pair n?
        self.pairs_below = (self.gather[:, None] * reach.T).reshape(K * J, N)  # pairs -> d_kj, before the joint's part
        self.weight_below = (self.pairs_below @ self.pair_weight).reshape(K, J, 1)
        # files in float32 have weights that sum to 1 ± 4e-8; the translation still counts once
        self.missing_weight = 1 - (self.gather @ self.pair_weight)[:, None]
        self.eye = torch.eye(3).to(like)
        self.up = kinematic_tree(self.parents, like.device).up
        self.bone_shapes = self.joint_shapes - self.joint_shapes[self.up]
        self.bone_shapes[0] = self.joint_shapes[0]

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "PointBody":
        """The same body elsewhere or in another precision."""
        move = lambda t: t.to(device=device, dtype=dtype if t.is_floating_point() else None)  # noqa: E731
        other = object.__new__(PointBody)
        other.__dict__ = {k: move(v) if isinstance(v, Tensor) else v for k, v in self.__dict__.items()}
        other._parts = {}
        return other

    def with_offsets(self, offsets: Tensor) -> "PointBody":
        """The same body, whose points lie elsewhere: x_k + sum_b w_kb G_b d_k.

        Args:
            offsets: (K, 3) d, metres, in the axes of the resting body.
        """
        other = object.__new__(PointBody)
        other.__dict__ = {k: v for k, v in self.__dict__.items() if k != "seen_joints"}  # which a point's place decides
        other.offset = self.offset + self.pair_weight[:, None] * offsets.to(self.offset)[self.pair_point]
        other._parts = {}
        return other

    def turns(self, posed: PosedPoints) -> Tensor:
        """(B, K, 3, 3) sum_b w_kb G_b: how a point moves with its offset."""
        pairs = self.pair_weight[:, None] * posed.world[:, self.pair_bone].flatten(2)
        return (self.gather @ pairs).unflatten(2, (3, 3))

    @property
    def columns(self) -> int:
        """P, the number of columns of `rows`."""
        return 3 + 3 * len(self.parents) + self.joint_shapes.shape[-1]

    def pose(self, params: BodyParams, world: Tensor | None = None) -> PosedPoints:
        """Joints and points of B bodies in the camera frame, metres. world: their rotations (B, J, 3, 3) if known."""
        rotations = params.rotations
        rest = self.rest_joints + (self.joint_shapes @ params.betas.T).permute(2, 0, 1)
        world, joints = forward_kinematics(rotations, rest, self.parents, world)
        joints = joints + params.transl[:, None]
        offset = self.offset + (self.offset_shapes @ params.betas.T).permute(2, 0, 1)
        if len(self.active_pairs):
            feature = (rotations[:, self.active_joints] - self.eye).flatten(1)
            offset = offset.index_add(1, self.active_pairs, (self.offset_poses.flatten(2) @ feature.T).permute(2, 0, 1))
        turned = (world[:, self.pair_bone] @ offset[..., None]).squeeze(-1)
        pairs = turned + self.pair_weight[:, None] * joints[:, self.pair_bone]
        points = self.gather @ pairs + self.missing_weight * params.transl[:, None]
        return PosedPoints(points, joints, world, pairs, rotations)

    def rows(
        self,
        posed: PosedPoints,
        a: Tensor,
        joints: tuple[int, ...] | None = None,
        transl: bool = True,
        betas: bool = True,
    ) -> Tensor:
        """Covectors a (B, K, R, 3) on the points -> their pull-back (B, K, R, P) on transl, rotations and betas.

        joints: those, ascending, whose rotations are wanted; all by default. transl, betas: whether theirs are.
        """
        part = self.joint_columns(tuple(range(len(self.parents))) if joints is None else joints)
        columns = [a] if transl else []
        columns.append(self._rotation_columns(posed, a, part))
        if betas:
            columns.append(a @ self._shape_derivative(posed))
        return torch.cat(columns, -1)

    def _rotation_columns(self, posed: PosedPoints, a: Tensor, part: "JointColumns") -> Tensor:
        """The rotations' columns (B, K, R, 3 j): d_kj x a where joint j moves point k, and the correctives'."""
        B, K, R = a.shape[:3]
        d = (posed.pairs.mT @ part.pairs_below.T).mT - part.weight_below * posed.joints[:, part.holder]
        moved = torch.linalg.cross(d[:, :, None], a[:, part.reached], dim=-1)  # (B, M, R, 3)
        columns = a.new_zeros(B, K * R * len(part.joints), 3)
        columns.index_copy_(1, part.places(part.reached, part.by, R), moved.flatten(1, 2))
        self._add_correctives(columns, posed, a, part)
        return columns.view(B, K, R, 3 * len(part.joints))

    def joint_columns(self, joints: tuple[int, ...]) -> "JointColumns":
        """The constants of `rows` for some joints; made once."""
        if joints not in self._parts:
            self._parts[joints] = JointColumns(self, joints)
        return self._parts[joints]

    @cached_property
    def seen_joints(self) -> tuple[int, ...]:
        """Indices of the driven joints whose rotation moves at least one point; the others' are for a prior to say."""
        moves = (self.weight_below[..., 0].abs() > 0) | (self.pairs_below.abs().sum(-1).view(len(self.names), -1) > 0)
        K, J = moves.shape
        lone = torch.zeros(K, J, dtype=torch.bool, device=moves.device)
        for k in range(K):  # a point at a joint is not moved by that joint's own rotation
            pairs = (self.pair_point == k).nonzero()[:, 0]
            if len(pairs) == 1 and not self.offset[pairs].any() and not self.offset_shapes[pairs].any():
                lone[k, self.pair_bone[pairs]] = True
        seen = (moves & ~lone).any(0).nonzero()[:, 0].tolist()
        return tuple(joint for joint in seen if joint in self.driven)

    @property
    def driven_joints(self) -> tuple[int, ...] | None:
        """The driven joints without the root; None where they are all."""
        return None if len(self.driven) == len(self.parents) else tuple(j for j in self.driven if j)

    def _add_correctives(self, columns: Tensor, posed: PosedPoints, a: Tensor, part: "JointColumns") -> None:
        """The pose correctives' part: a^T G_b P_kb d vec(R_j)/d omega_j, with dR_j = G_p^T [omega]x G_j. From the left,
        since a point has fewer covectors than a joint has columns."""
        if not len(self.active_pairs) or not len(part.active_joints):
            return
        world, (t, j), (B, _, R) = posed.world, part.near.shape, a.shape[:3]
        pulled = a[:, part.point] @ world[:, part.bone]  # (B, n, R, 3) each pair's covector in its bone's frame
        pulled = pulled[:, part.slots].permute(1, 0, 3, 2, 4).flatten(3).flatten(1, 2)  # (t, B R, 3 s)
        # from here on people come last, so that every number is one operation on all of them
        by_entry = (pulled @ part.offset_poses).view(t, B, R, 9, j).permute(3, 2, 0, 4, 1).contiguous()
        dR = part.turned_entries(world)[:, :, part.near]  # (3 omega, 9, t, j, B)
        change = by_entry.new_zeros(3, R, t, j, B)
        for entry in range(9):
            change.addcmul_(by_entry[entry], dR[:, entry, None])
        columns.index_add_(1, part.changed(R), change.permute(4, 2, 3, 1, 0).flatten(1, 3))

    def _shape_derivative(self, posed: PosedPoints) -> Tensor:
        """(B, K, 3, S): sum_b G_b U_kb + w_kb dx_b/d beta, the joints' own derivative summed along the tree."""
        B, S = len(posed.world), self.joint_shapes.shape[-1]
        world = posed.world.transpose(0, 1)  # bone by bone, so that all people's are one product
        turned = lambda bones, shapes: (world[bones].flatten(1, 2) @ shapes).view(len(bones), 3 * B * S)  # noqa: E731
        bones = turned(self.up, self.bone_shapes)  # (J, B 3 S)
        bones[0] = self.bone_shapes[0].flatten().repeat(B)
        joints = self.above @ bones
        pairs = turned(self.pair_bone, self.offset_shapes) + self.pair_weight[:, None] * joints[self.pair_bone]
        return (self.gather @ pairs).view(len(self.names), B, 3, S).transpose(0, 1)


class JointColumns:
    """What `rows` needs for some of the joints, gathered once."""

    def __init__(self, body: PointBody, joints: tuple[int, ...]) -> None:
        K, J = len(body.names), len(body.parents)
        self.joints = torch.tensor(joints, dtype=torch.int64, device=body.up.device)
        spread = body.pairs_below.view(K, J, -1)[:, self.joints]
        held = body.weight_below[:, self.joints]
        # the M (point, joint) of which one moves the other: about a quarter of all
        self.reached, self.by = ((spread != 0).any(-1) | (held[..., 0] != 0)).nonzero(as_tuple=True)
        self.pairs_below, self.weight_below = spread[self.reached, self.by], held[self.reached, self.by]
        self.holder = self.joints[self.by]
        wanted = torch.isin(body.active_joints, self.joints)
        self.active_joints = body.active_joints[wanted]
        self.active_parents = body.up[self.active_joints]
        self.point, self.bone = (index[body.active_pairs] for index in (body.pair_point, body.pair_bone))
        self.active_points, place = self.point.unique(return_inverse=True)
        self._keep_correctives(body.offset_poses[:, :, wanted], place)
        self.active_places = torch.searchsorted(self.joints, self.active_joints)

    def _keep_correctives(self, offset_poses: Tensor, place: Tensor) -> None:
        """Of each active point, the pairs (t, s) that it is made of, the few joints (t, j) that change it, and its
        correctives (t, 3 s, 9 j), the entries before the joints. Where it has fewer pairs or joints than others, a
        first one stands again, with correctives of 0.

        Args:
            offset_poses: (n, 3, m, 9). place: (n,) of each pair's point.
        """
        acts = (offset_poses != 0).any(-1).any(1)  # (n, m)
        pairs = [(place == t).nonzero()[:, 0] for t in range(len(self.active_points))]
        joints = [acts[own].any(0).nonzero()[:, 0] for own in pairs]
        most, near = (max(map(len, of_points), default=0) for of_points in (pairs, joints))
        self.slots = torch.zeros(len(pairs), most, dtype=torch.int64, device=place.device)
        self.near = torch.zeros(len(pairs), near, dtype=torch.int64, device=place.device)
        kept = offset_poses.new_zeros(len(pairs), most, 3, near, 9)
        for t, (own, by) in enumerate(zip(pairs, joints, strict=True)):
            self.slots[t] = own[0]
            self.slots[t, : len(own)], self.near[t, : len(by)] = own, by
            kept[t, : len(own), :, : len(by)] = offset_poses[own][:, :, by]
        self.offset_poses = kept.transpose(3, 4).flatten(3).flatten(1, 2)

    def turned_entries(self, world: Tensor) -> Tensor:
        """(3 omega, 9, m, B) d vec(R_j)/d omega of the active joints: of the entry in row r, column c it is h_c × g_r,
        with h and g the columns of G_j and of G_p."""
        h, g = (world[:, index].permute(2, 3, 1, 0).contiguous() for index in (self.active_joints, self.active_parents))
        across = [h[k][None] * g[i][:, None] - h[i][None] * g[k][:, None] for k, i in ((1, 2), (2, 0), (0, 1))]
        return torch.stack(across).flatten(1, 2)

    def changed(self, R: int) -> Tensor:
        """`places` of the points and the joints that change them, (t, j) one after the other."""
        point, joint = self.active_points.repeat_interleave(self.near.shape[1]), self.active_places[self.near].flatten()
        return self.places(point, joint, R)

    def places(self, point: Tensor, joint: Tensor, R: int) -> Tensor:
        """Where R covectors of each (point, joint), one after the other, stand among all (K R j). joint: a place."""
        row = R * point[:, None] + torch.arange(R, device=point.device)
        return (row * len(self.joints) + joint[:, None]).flatten()
