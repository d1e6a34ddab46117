"""What the solver moves, what was observed, and the body in between.

The columns of every Jacobian and Hessian here are

    [ transl 3 | global_orient 3 | body_pose 3 (J-1) | betas S ]

A rotation's three columns turn the joint, and all below it, about the camera's axes: R_j <- R_j exp(G_j^T omega_j) with
G_j the joint's world rotation. Everything else moves by addition.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from hmrfit.body.points import PointBody, PosedPoints
from hmrfit.camera import Camera
from hmrfit.ops.rotation import matrix_to_rotvec, right_jacobian_inverse, rotvec_to_matrix
from hmrfit.ops.skinning import world_rotations
from hmrfit.types import BodyOutput, BodyParams, Keypoints, TensorRecord

GROUPS = ("transl", "global_orient", "body_pose", "betas")


@dataclass(frozen=True)
class Layout:
    """Which columns belong to which group, for a body of J joints and S betas."""

    joint_count: int
    shape_count: int

    @property
    def columns(self) -> int:
        """P."""
        return 3 + 3 * self.joint_count + self.shape_count

    def slice(self, group: str) -> slice:
        """The columns of one group. Raises ValueError for a name that is none."""
        J = self.joint_count
        edges = (0, 3, 6, 3 + 3 * J, self.columns)
        if group not in GROUPS:
            raise ValueError(f"Unknown group of parameters '{group}'. Expected some of: {', '.join(GROUPS)}.")
        i = GROUPS.index(group)
        return slice(edges[i], edges[i + 1])

    def free_columns(self, free: Sequence[str]) -> Tensor:
        """Indices of the columns of these groups, ascending."""
        chosen = torch.zeros(self.columns, dtype=torch.bool)
        for group in free:
            chosen[self.slice(group)] = True
        return chosen.nonzero()[:, 0]


@dataclass(frozen=True)
class State(TensorRecord):
    """The unknowns of B people, and the cameras they are seen by."""

    params: BodyParams
    camera: Camera

    def __len__(self) -> int:
        return len(self.params)

    def retract(self, delta: Tensor, parents: Sequence[int]) -> "State":
        """The state moved by delta (B, P), or by one (P,) shared by all, on a body with these parents."""
        p, rotations = self.params, self.params.rotations
        J, S = rotations.shape[1], p.betas.shape[1]
        transl, turn, betas = delta.split([3, 3 * J, S], -1)
        world = world_rotations(rotations, parents)
        own = (world.mT @ turn.unflatten(-1, (J, 3, 1))).squeeze(-1)
        rotations = rotations @ rotvec_to_matrix(own)
        moved = BodyParams(rotations[:, 0], rotations[:, 1:], p.betas + betas, p.transl + transl)
        return State(moved, self.camera)


@dataclass(frozen=True)
class Observation(TensorRecord):
    """What is known about B people: keypoints in pixels, and the size of each person in the image."""

    keypoints: Keypoints
    box_size: Tensor  # (B,) pixels, the longest side of the box of the visible keypoints

    @classmethod
    def of(cls, keypoints: Keypoints) -> "Observation":
        """From keypoints, unseen ones moved to the box's low corner so that no stray number enters."""
        seen = (keypoints.confidence > 0)[..., None]
        low, _ = keypoints.bounds()
        clean = Keypoints(torch.where(seen, keypoints.xy, low[:, None]), keypoints.confidence, keypoints.names)
        return cls(clean, keypoints.box_size().clamp_min(1.0))


class Evaluation:
    """A body at a state beside its observation: what every term looks at. Parts are computed once, when asked for."""

    def __init__(self, body: PointBody, state: State, observation: Observation) -> None:
        self.body, self.state, self.observation = body, state, observation
        self.layout = Layout(len(body.parents), body.joint_shapes.shape[-1])

    @cached_property
    def posed(self) -> PosedPoints:
        """Joints and keypoints in the camera frame."""
        return self.body.pose(self.state.params)

    @property
    def output(self) -> BodyOutput:
        """Joints (B, J, 3) and the observed set's keypoints (B, K, 3)."""
        return BodyOutput(self.posed.joints, self.posed.points)

    @cached_property
    def projected(self) -> Tensor:
        """The keypoints in the image (B, K, 2), pixels."""
        return self.state.camera.project(self.posed.points)

    @cached_property
    def theta(self) -> Tensor:
        """log R of the body joints (B, 3 (J-1)), radians."""
        return matrix_to_rotvec(self.state.params.body_pose).flatten(1)

    @cached_property
    def theta_jacobian(self) -> Tensor:
        """d theta / d omega = Jr⁻¹ G^T, one 3×3 block per joint (B, J-1, 3, 3)."""
        return right_jacobian_inverse(self.theta.unflatten(1, (-1, 3))) @ self.posed.world[:, 1:].mT
