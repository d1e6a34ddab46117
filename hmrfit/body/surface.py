"""A few hundred vertices of the body as points, for what is seen of its surface: where they are, and rows for some.

    x_v = sum_b w_vb (G_b (v - J_b) + x_b),        v = T_v + S_v beta + P_v vec(R - I)

as in `hmrfit.body.points`, but with the bones of each vertex in a short padded list, because which vertices matter
(the outline, what sticks out of a mask) changes from person to person. A covector a on vertex v pulls back to

    a . dx_v/d omega_j = (d_vj x a)^T + corrective,    d_vj = sum over bones b at or below j of  w_vb (s_vb - x_j)
    a . dx_v/d beta    = c^T S_v + sum_b w_vb a^T (dx_b/d beta - G_b dJ_b/d beta),          c = sum_b w_vb G_b^T a

with s_vb the vertex as bone b alone would carry it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hmrfit.body.smpl import SmplBody
from hmrfit.ops.rotation import hat
from hmrfit.ops.skinning import ancestor_matrix, forward_kinematics, kinematic_tree
from hmrfit.types import BodyParams


@dataclass(frozen=True)
class PosedSurface:
    """Where the vertices are, and what their derivatives need."""

    points: Tensor  # (B, M, 3) metres, camera frame
    rest: Tensor  # (B, M, 3) before the bones carry them
    shift: Tensor  # (B, J, 3) x_b - G_b J_b, without the translation
    joints: Tensor  # (B, J, 3) without the translation
    world: Tensor  # (B, J, 3, 3)


class SurfaceBody:
    """Chosen vertices of an SMPL-format body, with derivatives.

    Args:
        body: in the precision that is wanted.
        vertices: (M,) which of its vertices.
    """

    def __init__(self, body: SmplBody, vertices: Tensor) -> None:
        self.vertices, self.parents = vertices, body.parents
        self.template, self.shapes = body.v_template[vertices], body.shapedirs[vertices]  # (M, 3), (M, 3, S)
        self.rest_joints, self.joint_shapes = body.rest_joints, body.joint_shapes
        self.weights = body.weights[vertices]  # (M, J)
        self.bones = _padded(self.weights != 0)  # (M, k)
        self.shares = self.weights.gather(1, self.bones)
        self.above = ancestor_matrix(self.parents).to(self.template)
        blocks = body.posedirs[vertices].unflatten(-1, (-1, 9))  # (M, 3, J-1, 9)
        self.active_joints = _padded((blocks != 0).any(-1).any(1))  # (M, m), counted from the first body joint
        self.poses = blocks.gather(2, self.active_joints[:, None, :, None].expand(-1, 3, -1, 9))  # (M, 3, m, 9)
        if not blocks.any():
            self.active_joints, self.poses = self.active_joints[:, :0], self.poses[:, :, :0]
        self.poses = self.poses * ((blocks != 0).any(-1).any(1).gather(1, self.active_joints))[:, None, :, None]
        self.up = kinematic_tree(self.parents, self.template.device).up
        self.generators = hat(torch.eye(3).to(self.template))

    def __len__(self) -> int:
        return len(self.vertices)

    def pose(self, params: BodyParams, world: Tensor | None = None) -> PosedSurface:
        """The vertices of B bodies. world: the joints' rotations (B, J, 3, 3) where they are known."""
        rest_joints = self.rest_joints + (self.joint_shapes @ params.betas.T).permute(2, 0, 1)
        world, joints = forward_kinematics(params.rotations, rest_joints, self.parents, world)
        rest = self.template + (self.shapes @ params.betas.T).permute(2, 0, 1)
        if self.active_joints.shape[1]:
            change = (params.body_pose - torch.eye(3).to(rest)).flatten(2)[:, self.active_joints]  # (B, M, m, 9)
            rest = rest + torch.einsum("mcp,bmp->bmc", self.poses.flatten(2), change.flatten(2))
        shift = joints - (world @ rest_joints[..., None]).squeeze(-1)
        blended = (self.weights @ torch.cat([world.flatten(2), shift], -1)).split([9, 3], -1)
        carried = (blended[0].unflatten(-1, (3, 3)) @ rest[..., None]).squeeze(-1) + blended[1]
        return PosedSurface(carried + params.transl[:, None], rest, shift, joints, world)

    def rows(
        self,
        posed: PosedSurface,
        person: Tensor,
        index: Tensor,
        a: Tensor,
        joints: Tensor,
        transl: bool = True,
        betas: bool = True,
    ) -> Tensor:
        """Covectors a (N, 3) on the vertices `index` (N,), counted among the chosen, of `person` (N,) -> (N, P).

        joints: those, ascending, whose rotations are wanted. transl, betas: whether theirs are.
        """
        share, bones = self.shares[index], self.bones[index]  # (N, k)
        turns = posed.world[person[:, None], bones]  # (N, k, 3, 3)
        local = ((share[..., None, None] * turns).sum(1).mT @ a[..., None]).squeeze(-1)  # c (N, 3)
        alone = (turns @ posed.rest[person, index][:, None, :, None]).squeeze(-1)
        alone = alone + posed.shift[person[:, None], bones]  # s_vb
        reach = share[..., None] * self.above[:, joints][bones]  # (N, k, j)
        d = reach.mT @ alone - reach.sum(1)[..., None] * posed.joints[:, joints][person]
        rotating = torch.linalg.cross(d, a[:, None].expand_as(d), dim=-1)
        columns = [a] if transl else []
        columns.append((rotating + self._correctives(posed, person, index, local, joints)).flatten(1))
        if betas:
            columns.append(self._shape_rows(posed, person, index, a, local))
        return torch.cat(columns, -1)

    def _correctives(self, posed: PosedSurface, person: Tensor, index: Tensor, local: Tensor, joints: Tensor) -> Tensor:
        """c^T P_v d vec(R_j)/d omega_j (N, j, 3), with dR_j = G_p^T [omega]x G_j."""
        J, m = len(self.parents), self.active_joints.shape[1]
        dR = (posed.world[:, self.up, None].mT @ self.generators @ posed.world[:, :, None]).flatten(-2)  # (B, J, 3, 9)
        active = self.active_joints[index] + 1  # (N, m)
        feature = (local[:, None] @ self.poses[index].flatten(2)).view(-1, m, 9, 1)
        change = (dR[person[:, None], active] @ feature).squeeze(-1)  # (N, m, 3)
        dense = change.new_zeros(len(index), J, 3).scatter_add_(1, active[..., None].expand_as(change), change)
        return dense[:, joints]

    def _shape_rows(self, posed: PosedSurface, person: Tensor, index: Tensor, a: Tensor, local: Tensor) -> Tensor:
        """(N, S)."""
        S = self.joint_shapes.shape[-1]
        bones = self.joint_shapes - self.joint_shapes[self.up]
        turned = posed.world[:, self.up] @ bones
        turned[:, 0] = self.joint_shapes[0]
        joints = (self.above @ turned.flatten(2)).unflatten(-1, (3, S))
        moved = joints - posed.world @ self.joint_shapes  # (B, J, 3, S)
        carried = (a[:, None, None] @ moved[person[:, None], self.bones[index]]).squeeze(-2)  # (N, k, S)
        return (local[:, None] @ self.shapes[index] + self.shares[index][:, None] @ carried).squeeze(1)


def spread_vertices(body: SmplBody, count: int) -> Tensor:
    """(count,) vertices spread evenly over the body at rest: each the farthest from those before it.

    The first is the one farthest from the middle, so the same body always gives the same vertices.
    """
    vertices = body.v_template
    chosen = [int((vertices - vertices.mean(0)).square().sum(-1).argmax())]
    distance = torch.full_like(vertices[:, 0], torch.inf)
    for _ in range(min(count, len(vertices)) - 1):
        distance = torch.minimum(distance, (vertices - vertices[chosen[-1]]).square().sum(-1))
        chosen.append(int(distance.argmax()))
    return torch.tensor(chosen, device=vertices.device)


def _padded(marked: Tensor) -> Tensor:
    """Booleans (M, n) -> (M, k) the marked columns of each row first, filled up with unmarked ones."""
    most = max(int(marked.sum(1).max()), 1)
    return marked.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :most]


def vertex_closeness(body: SmplBody, vertices: Tensor, names: Sequence[str], reach: float) -> Tensor:
    """(M, K) how much each vertex is a neighbour of each named point at rest, rows summing to 1.

    exp(-d²/2 reach²), d the distance in metres in the T-pose, where an arm is far from the hip it may hang by.
    """
    points = body.points(names).pose(body.neutral()).points[0]
    squared = torch.cdist(body.v_template[vertices], points).square() / (2 * reach**2)
    return torch.softmax(-squared, dim=1)
