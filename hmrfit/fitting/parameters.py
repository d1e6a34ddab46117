"""What the solver moves, what was observed, and the body in between.

The columns of every Jacobian and Hessian here are

    [ transl 3 | global_orient 3 | body_pose 3 (J-1) | betas S ]

A rotation's three columns turn the joint, and all below it, about the camera's axes: R_j <- R_j exp(G_j^T omega_j) with
G_j the joint's world rotation. Everything else moves by addition.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import torch
from torch import Tensor

from hmrfit.body.points import PointBody, PosedPoints
from hmrfit.camera import Camera
from hmrfit.fitting.gaussian_prior import Anchor
from hmrfit.ops.check import did_you_mean
from hmrfit.ops.rotation import matrix_to_rotvec, right_jacobian_inverse, rotvec_to_matrix
from hmrfit.ops.skinning import world_rotations
from hmrfit.types import BodyOutput, BodyParams, Keypoints, RecordTable, TensorRecord

GROUPS = ("transl", "global_orient", "body_pose", "betas")

UPRIGHT = ((1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, -1.0))
"""global_orient of an upright person who faces the camera: body y up -> camera y down, body +z -> towards us."""


class Layout:
    """Which columns a stage has: only those of its free groups, in the order above; of body_pose only some joints.

    Args:
        free: the groups that move.
        joint_count, shape_count: of the body.
        joints: indices of the body joints (1 .. J-1, ascending) that move with body_pose; all by default.
        device: of the index tensors.
    """

    def __init__(
        self,
        free: Sequence[str],
        joint_count: int,
        shape_count: int,
        joints: Sequence[int] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        for group in free:
            if group not in GROUPS:
                raise ValueError(f"Unknown group of parameters '{group}'.{did_you_mean(group, GROUPS)}")
        self.joint_count, self.shape_count = joint_count, shape_count
        self.body_joints = tuple(range(1, joint_count) if joints is None else joints) if "body_pose" in free else ()
        sizes = {"transl": 3, "global_orient": 3, "body_pose": 3 * len(self.body_joints), "betas": shape_count}
        self.slices: dict[str, slice] = {}
        self.columns = 0
        for group in GROUPS:
            width = sizes[group] if group in free else 0
            self.slices[group] = slice(self.columns, self.columns + width)
            self.columns += width
        self.everything_moves = all(group in free and sizes[group] > 0 for group in GROUPS)
        root = (0,) if "global_orient" in free else ()
        self.rotating = (*root, *self.body_joints)  # joints whose rotations move
        self.rotating_index = torch.tensor(self.rotating, dtype=torch.int64, device=device)
        self.body_index = torch.tensor(self.body_joints, dtype=torch.int64, device=device)
        # where what turns, and the shape, are in the chart of `anchor`
        shapes = 3 * joint_count + torch.arange(shape_count if "betas" in free else 0, device=device)
        axes = torch.arange(3, device=device)
        self.chart = torch.cat([(3 * self.rotating_index[:, None] + axes).flatten(), shapes])
        # where the moving body joints' coordinates are in theta (B, 3 (J-1))
        self.theta_columns = (3 * (self.body_index - 1)[:, None] + axes).flatten()

    @cached_property
    def all_columns(self) -> Tensor:
        """Where these columns stand among all, [transl 3 | joints 3 J | betas S]."""
        transl = torch.arange(3 if self.moves("transl") else 0, device=self.chart.device)
        return torch.cat([transl, 3 + self.chart])

    @classmethod
    def everything(cls, body: PointBody) -> "Layout":
        """All groups and joints free."""
        return layout_of(GROUPS, len(body.parents), body.joint_shapes.shape[-1], None, body.joint_shapes.device)

    @classmethod
    def driven(cls, body: PointBody) -> "Layout":
        """All groups, and the joints that a fit of this body turns."""
        shapes = body.joint_shapes
        return layout_of(GROUPS, len(body.parents), shapes.shape[-1], body.driven_joints, shapes.device)

    def slice(self, group: str) -> slice:
        """The columns of one group, empty where it does not move."""
        return self.slices[group]

    def moves(self, group: str) -> bool:
        """Has this group columns?"""
        return self.slices[group].stop > self.slices[group].start


@lru_cache(maxsize=64)
def layout_of(
    free: tuple[str, ...],
    joint_count: int,
    shape_count: int,
    joints: tuple[int, ...] | None,
    device: torch.device | str = "cpu",
) -> Layout:
    """`Layout`, made once: for one person, making it takes as long as a step. It never changes."""
    return Layout(free, joint_count, shape_count, joints, device)


@dataclass(frozen=True)
class State(TensorRecord):
    """The unknowns of B people, and the cameras they are seen by."""

    params: BodyParams
    camera: Camera
    world: Tensor | None = None  # (B, J, 3, 3) the joints' world rotations, where a step has them already

    def __len__(self) -> int:
        return self.params.transl.shape[0]

    def retract(self, delta: Tensor, parents: Sequence[int], layout: Layout) -> "State":
        """The state moved by delta (B, P), or by one (P,) shared by all, on a body with these parents."""
        p, rotations = self.params, self.params.rotations
        part = {group: delta[..., columns] for group, columns in layout.slices.items()}
        transl = p.transl + part["transl"] if layout.moves("transl") else p.transl
        betas = p.betas + part["betas"] if layout.moves("betas") else p.betas
        world = self.world
        if layout.rotating:
            index = layout.rotating_index
            turn = torch.cat([part["global_orient"], part["body_pose"]], -1).unflatten(-1, (-1, 3, 1))
            world = world_rotations(rotations, parents) if world is None else world
            moved = rotations[:, index] @ rotvec_to_matrix((world[:, index].mT @ turn).squeeze(-1))
            rotations = rotations.index_copy(1, index, moved.expand(len(self), -1, -1, -1))
            world = world_rotations(rotations, parents)
        return State(BodyParams(rotations[:, 0], rotations[:, 1:], betas, transl), self.camera, world)


@dataclass(frozen=True)
class Observation(TensorRecord):
    """What is known about B people: keypoints in pixels, and the size of each person in the image."""

    keypoints: Keypoints
    box_size: Tensor  # (B,) pixels, the longest side of the box of the visible keypoints
    noise: Tensor | None = None  # (B, K) standard deviation of each keypoint per coordinate, a fraction of the box
    anchor: Anchor | None = None  # a start and how wrong it may be (hmrfit.fitting.gaussian_prior)
    measurements: RecordTable = field(default_factory=RecordTable)  # what else is known, by the name of its kind
    weight: Tensor | None = None  # (B, K) q c of each keypoint, see `weights`; made once for all steps
    start_depth: Tensor | None = None  # (B,) metres, of the one start that there is
    noise_ratio: Tensor | None = None  # (B, K) the noise of each keypoint over the one that a robust scale is for

    @classmethod
    def of(cls, keypoints: Keypoints, measurements: RecordTable | None = None) -> "Observation":
        """From keypoints, unseen ones moved to the box's low corner so that no stray number enters."""
        seen = (keypoints.shown > 0)[..., None]
        low, _ = keypoints.bounds()
        clean = Keypoints(torch.where(seen, keypoints.xy, low[:, None]), keypoints.confidence, keypoints.names)
        box = keypoints.box_size().clamp_min(1.0)
        return cls(clean, box, measurements=measurements or RecordTable(), weight=keypoints.weight)

    @cached_property
    def weights(self) -> Tensor:
        """(B, K) `Keypoints.weight`, how much each keypoint counts in the energy."""
        return self.keypoints.weight if self.weight is None else self.weight


class Linearization:
    """A body at a state beside its observation: what every term looks at. Parts are computed once, when asked for."""

    def __init__(self, body: PointBody, state: State, observation: Observation, layout: Layout | None = None) -> None:
        self.body, self.state, self.observation = body, state, observation
        self.layout = layout or Layout.everything(body)

    @cached_property
    def posed(self) -> PosedPoints:
        """Joints and keypoints in the camera frame."""
        return self.body.pose(self.state.params, self.state.world)

    @property
    def output(self) -> BodyOutput:
        """Joints (B, J, 3) and the observed set's keypoints (B, K, 3)."""
        return BodyOutput(self.posed.joints, self.posed.points)

    @cached_property
    def projected(self) -> Tensor:
        """The keypoints in the image (B, K, 2), pixels."""
        return self.state.camera.project(self.posed.points)

    @cached_property
    def _logs(self) -> tuple[Tensor | None, Tensor]:
        """(φ (B, J, 3), log R of the body joints (B, J-1, 3)); both in one call, which takes as long as one."""
        params, anchor = self.state.params, self.observation.anchor
        if anchor is None:
            return None, matrix_to_rotvec(params.body_pose)
        rotations = params.rotations
        both = matrix_to_rotvec(torch.cat([anchor.rotations.mT @ rotations, params.body_pose], 1))
        return both[:, : rotations.shape[1]], both[:, rotations.shape[1] :]

    @cached_property
    def theta(self) -> Tensor:
        """log R of the body joints (B, 3 (J-1)), radians."""
        return self._logs[1].flatten(1)

    @cached_property
    def start_turn(self) -> Tensor:
        """φ = log(R⁰ᵀ R) (B, J, 3) of every joint, the root first, where the observation has an anchor."""
        phi = self._logs[0]
        if phi is None:
            raise ValueError("These people have no anchor: nothing says from where their joints turned.")
        return phi

    @cached_property
    def theta_jacobian(self) -> Tensor:
        """d theta / d omega = Jr⁻¹ G^T, one 3×3 block per moving body joint (B, j, 3, 3)."""
        theta = self.theta.unflatten(1, (-1, 3))[:, self.layout.body_index - 1]
        return right_jacobian_inverse(theta) @ self.posed.world[:, self.layout.body_index].mT

    def point_rows(self, covectors: Tensor) -> Tensor:
        """Covectors (B, K, R, 3) on the keypoints pulled back to the layout's columns (B, K R, P)."""
        wanted = [self.layout.moves(group) for group in ("transl", "betas")]
        return self.body.rows(self.posed, covectors, self.layout.rotating, *wanted).flatten(1, 2)
