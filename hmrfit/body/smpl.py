"""SMPL-format bodies, by our own linear blend skinning.

    v = T + S beta + P vec(R - I),    J = J_regressor (T + S beta),    v' = skin(v, J, R) + transl

Any file with v_template, shapedirs, posedirs, J_regressor, weights, kintree_table and f is one: SMPL, SMPL-H, MANO,
and the free body that ships with hmrfit. Landmarks (points that are no joints, such as `nose` or `left_hip_coco`) are
sparse mixtures of posed vertices, from the file itself or, for SMPL's 6,890 vertices, from published vertex numbers.
"""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hmrfit.body.files import read_body_file
from hmrfit.body.gender import gender_of
from hmrfit.body.hands import hand_poses_of
from hmrfit.body.landmarks import FINGER_KNUCKLES, landmarks_of
from hmrfit.body.points import PointBody
from hmrfit.body.skeleton import SMPLX, Skeleton, skeleton_of
from hmrfit.ops.check import brief_repr, check_finite, check_shape, did_you_mean
from hmrfit.ops.how_many import how_many
from hmrfit.ops.rotation import orthonormalize
from hmrfit.ops.skinning import forward_kinematics, skin
from hmrfit.types import BodyOutput, BodyParams

SMPLX_SHAPES, SMPLX_EXPRESSIONS, OLD_SMPLX_SHAPES = 300, 100, 10
"""How many of SMPL-X's shape directions are shapes: the expressions stand behind them, in the same array; files of its
first version hold 10 of each."""

LARGEST_BETA = 50.0
"""No body has a larger one."""

FARTHEST = 1e4
"""Metres from the camera: farther away there are no people in photographs."""

NO_ROTATION = 1e-3
"""The largest entry of R Rᵀ − I, from which R is no rotation that was rounded."""


class SmplBody:
    """A body in SMPL format. Tensors of one precision on one device; `to` makes a copy elsewhere."""

    def __init__(
        self, data: Mapping[str, np.ndarray], dtype: torch.dtype = torch.float64, shape_count: int = 10
    ) -> None:
        """Args:
        data: the arrays of an SMPL-format file, as `read_body_file` returns them.
        dtype: float64 for fits, float32 for networks and rendering.
        shape_count: how many of the file's shape components to use at most; those of its hands come along, where it
            has any of their own (`hand_betas`).
        """

        def tensor(values: NDArray) -> Tensor:
            return torch.as_tensor(np.asarray(values, dtype=np.float64), dtype=dtype)

        self.skeleton = skeleton_of(data)
        every = _shapes_in(data["shapedirs"].shape[-1], self.skeleton)
        self.hand_shapes = hand_shapes_in(data)  # how many betas, the last ones, are of the hands alone
        shapes = [*range(min(shape_count, every - self.hand_shapes)), *range(every - self.hand_shapes, every)]
        self.v_template = tensor(data["v_template"])  # (V, 3)
        self.shapedirs = tensor(data["shapedirs"][..., shapes]).contiguous()  # (V, 3, S)
        self.posedirs = tensor(data["posedirs"]).reshape(*self.v_template.shape, -1)  # (V, 3, 9 (J-1))
        self.J_regressor = tensor(data["J_regressor"])  # (J, V)
        self.weights = tensor(data["weights"])  # (V, J)
        self.faces = torch.as_tensor(np.asarray(data["f"]).astype(np.int64))  # (F, 3)
        self.driven = self.skeleton.driven  # the joints that a fit turns
        self.hands = hand_poses_of(data, self.skeleton, dtype)  # "left", "right": how the file says fingers bend
        names, regressor = landmarks_of(data, self.skeleton)
        self.landmark_names = names
        self.landmark_regressor = torch.as_tensor(regressor, dtype=dtype)  # (K, V)
        self.gender = gender_of("", data)
        self.file: Path | None = None  # that it was read from
        labels = data.get("part_labels")
        self.part_labels = None if labels is None else torch.as_tensor(np.asarray(labels).astype(np.int64))  # (V,)
        self.rest_joints = self.J_regressor @ self.v_template
        self.joint_shapes = torch.einsum("jv,vcs->jcs", self.J_regressor, self.shapedirs)

    @classmethod
    def from_file(cls, path: str | Path, dtype: torch.dtype = torch.float64, shape_count: int = 10) -> "SmplBody":
        """From `.npz`, or from `.pkl` through the restricted unpickler. Errors: those of `read_body_file`."""
        data = read_body_file(path)
        body = cls(data, dtype, shape_count)
        body.gender, body.file = gender_of(path, data), Path(path)
        return body

    @property
    def parents(self) -> tuple[int, ...]:
        """Of every joint, -1 for the root."""
        return self.skeleton.parents

    @property
    def joint_names(self) -> tuple[str, ...]:
        """The skeleton's names, in the order of `joints`."""
        return self.skeleton.names

    @property
    def shape_count(self) -> int:
        """S, the number of betas."""
        return self.shapedirs.shape[-1]

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "SmplBody":
        """The same body elsewhere or in another precision."""

        def move(t: Tensor) -> Tensor:
            return t.to(device=device, dtype=dtype if t.is_floating_point() else None)

        other = object.__new__(SmplBody)
        for name, value in self.__dict__.items():
            other.__dict__[name] = move(value) if isinstance(value, Tensor) else value
        other.hands = {side: poses.map(move) for side, poses in self.hands.items()}
        return other

    def driving(self, names: Sequence[str]) -> "SmplBody":
        """The same body, of which a fit turns the root and these joints; itself where it does already."""
        driven = tuple(sorted({0, *(self.skeleton.index(name) for name in names)}))
        if driven == self.driven:
            return self
        other = copy.copy(self)
        other.driven = driven
        return other

    def neutral(self, count: int = 1, mean_hands: bool = False) -> BodyParams:
        """The mean shape in the rest pose, body frame = camera frame, at the origin.

        mean_hands: fingers in the mean pose that the file gives (`hands`) where it gives one, instead of flat.
        """
        pose = torch.eye(3).to(self.v_template).repeat(count, len(self.skeleton), 1, 1)
        if mean_hands:
            for side, poses in self.hands.items():
                pose[:, list(self.skeleton.fingers[side])] = poses.rotations()
        zeros = self.v_template.new_zeros(count, max(self.shape_count, 3))
        return BodyParams(
            pose[:, 0].clone(), pose[:, 1:].clone(), zeros[:, : self.shape_count].clone(), zeros[:, :3].clone()
        )

    def shaped(self, betas: Tensor) -> Tensor:
        """Rest vertices (B, V, 3) of betas (B, S), before pose correctives."""
        return self.v_template + (betas @ self.shapedirs.flatten(0, 1).T).unflatten(-1, (-1, 3))

    def __call__(self, params: BodyParams, vertices: bool = True) -> BodyOutput:
        """Pose B bodies.

        Args:
            params: of this body's precision and device; betas may be fewer than S.
            vertices: False skips the mesh and returns joints and landmarks only (the same numbers, far cheaper).

        Returns: joints (B, J, 3), landmarks (B, K, 3) in the order of `landmark_names`, vertices (B, V, 3); metres.
        """
        params = self._complete(params)
        if not vertices:
            few = self.points(self.landmark_names).pose(params)
            return BodyOutput(few.joints, few.points)
        rest = self.shaped(params.betas)
        rest_joints = self.J_regressor @ rest
        feature = (params.body_pose - torch.eye(3).to(rest)).flatten(1)
        rest = rest + (feature @ self.posedirs.flatten(0, 1).T).unflatten(-1, (-1, 3))
        world, joints = forward_kinematics(params.rotations, rest_joints, self.parents)
        posed = skin(rest, self.weights, world, joints, rest_joints) + params.transl[:, None]
        return BodyOutput(joints + params.transl[:, None], self.landmark_regressor @ posed, posed)

    def _complete(self, params: BodyParams) -> BodyParams:
        """Betas padded with zeros to this body's S; wrong joint counts answered."""
        J = len(self.parents)
        if params.body_pose.shape[1] != J - 1:
            raise ValueError(
                f"This body has {how_many(J, 'joints')}: expected body_pose (B, {J - 1}, 3, 3), got "
                f"{tuple(params.body_pose.shape)}."
            )
        missing = self.shape_count - params.betas.shape[1]
        if missing < 0:
            raise ValueError(
                f"This body has {how_many(self.shape_count, 'betas')}, got {params.betas.shape[1]}. Drop the last ones."
            )
        if missing == 0:
            return params
        betas = torch.cat([params.betas, params.betas.new_zeros(len(params), missing)], 1)
        return BodyParams(params.global_orient, params.body_pose, betas, params.transl)

    def has_point(self, name: str) -> bool:
        """Is `name` a joint or a landmark of this body, or a joint by another name?"""
        return name in self.landmark_names or self._joint_of(name) in self.skeleton

    def _joint_of(self, name: str) -> str:
        """The joint that a point of this name is: itself, or a joint of a finger by the keypoint's name. The wrist of a
        body without fingers is no point of a hand."""
        joint = FINGER_KNUCKLES.get(name, name)
        return joint if name in self.skeleton or joint.split("_")[0] in self.skeleton.fingers else name

    def points(self, names: Sequence[str]) -> PointBody:
        """The body reduced to these joints and landmarks, with derivatives; made anew on every call.

        Raises:
            ValueError: a name that this body does not define.
        """
        known = (*self.joint_names, *self.landmark_names)
        for name in names:
            if not self.has_point(name):
                raise ValueError(f"This body defines no point '{name}'.{did_you_mean(name, known)}")
        pairs = [pair for k, name in enumerate(names) for pair in self._pairs_of(k, name)]
        point, bone = (torch.tensor([p[i] for p in pairs], dtype=torch.int64, device=self.faces.device) for i in (0, 1))
        # (N, V): r_kv w_vb, zero rows for joints; no rows for no names
        share = torch.stack([p[2] for p in pairs]) if pairs else self.weights.new_zeros(0, len(self.weights))
        weight = torch.stack([p[3] for p in pairs]) if pairs else self.weights.new_zeros(0)
        return PointBody(
            names,
            self.skeleton,
            self.rest_joints,
            self.joint_shapes,
            point,
            bone,
            weight,
            share @ self.v_template - share.sum(1, keepdim=True) * self.rest_joints[bone],
            torch.einsum("nv,vcs->ncs", share, self.shapedirs) - share.sum(1)[:, None, None] * self.joint_shapes[bone],
            torch.einsum("nv,vcp->ncp", share, self.posedirs),
            self.driven,
        )

    def _pairs_of(self, k: int, name: str) -> list[tuple[int, int, Tensor, Tensor]]:
        """(point, bone, vertex shares, weight) for every bone that moves the point. A landmark of a joint's name, as
        regressors of others bring them, stands in its place."""
        if name not in self.landmark_names:
            nothing = torch.zeros_like(self.v_template[:, 0])
            return [(k, self.skeleton.index(self._joint_of(name)), nothing, torch.ones_like(nothing[0]))]
        row = self.landmark_regressor[self.landmark_names.index(name)]
        shares = row[:, None] * self.weights  # (V, J)
        bones = shares.abs().amax(0).nonzero()[:, 0].tolist()
        return [(k, b, shares[:, b], shares[:, b].sum()) for b in bones]


def checked_params(params: BodyParams, body: SmplBody, name: str = "init") -> BodyParams:
    """Parameters of a body in front of the camera, float64 on the CPU, with all of the body's betas.

    Raises:
        TypeError, ValueError: they are not tensors of this body's shapes, or their numbers are those of no body.
    """
    sizes: dict[str, int] = {}
    J = len(body.parents)
    shapes = {"global_orient": "N 3 3", "body_pose": f"N {J - 1} 3 3", "betas": "N S", "transl": "N 3"}
    for part, pattern in shapes.items():
        value = getattr(params, part)
        if not isinstance(value, Tensor) or value.is_complex() or value.dtype == torch.bool:
            raise TypeError(f"{name}.{part} should be a tensor of real numbers, not {brief_repr(value)}.")
        sizes = check_shape(value, pattern, f"{name}.{part}", sizes, "Rotations are matrices: BodyParams.from_rotvecs.")
        check_finite(value, f"{name}.{part}")
    params = body._complete(params.map(lambda t: t.detach()).to("cpu", torch.float64))
    rotations = params.rotations
    off = (rotations @ rotations.mT - torch.eye(3).to(rotations)).abs().amax((-2, -1))
    off = torch.where(torch.linalg.det(rotations) > 0, off, 2.0)
    if len(off) and off.max() > NO_ROTATION:
        person, joint = (int(i) for i in torch.unravel_index(off.argmax(), off.shape))
        raise ValueError(f"{name}: the matrix of joint {joint} of person {person} is no rotation (or a reflection).")
    if len(off) and off.max() > NO_ROTATION**2:  # rounded when it was written: the nearest rotation
        rotations = orthonormalize(rotations)
    if (params.betas.abs() > LARGEST_BETA).any():
        raise ValueError(f"{name}.betas should lie within ±{LARGEST_BETA:g}, but reach {params.betas.abs().max():.3g}.")
    depth = params.transl[:, 2] + body.rest_joints[0, 2]
    if (depth <= 0).any() or (params.transl.abs() > FARTHEST).any():
        raise ValueError(
            f"{name} should be in the camera frame, in front of the camera and within {FARTHEST:g} m: x to the right, "
            f"y down, z forward; transl runs from {params.transl.min():.3g} to {params.transl.max():.3g} m."
        )
    return BodyParams(rotations[:, 0], rotations[:, 1:], params.betas, params.transl)


def hand_shapes_in(data: Mapping[str, NDArray]) -> int:
    """How many shape directions of a file are of its hands alone: those behind as many of the body as `hand_betas`
    (hand's betas, all betas) has rows. The free body with hands has them.

    Raises:
        ValueError: the matrix is not of the file's shape directions.
    """
    if "hand_betas" not in data:
        return 0
    rows, columns = check_shape(data["hand_betas"], "H S", "hand_betas").values()
    if columns != data["shapedirs"].shape[-1] or rows >= columns:
        raise ValueError(
            f"hand_betas should be (H, {data['shapedirs'].shape[-1]}) with fewer rows, not {rows, columns}."
        )
    return int(rows)


def _shapes_in(count: int, skeleton: Skeleton) -> int:
    """How many of a file's `count` shape directions change the shape, and not the expression."""
    if skeleton != SMPLX:
        return count
    return SMPLX_SHAPES if count >= SMPLX_SHAPES + SMPLX_EXPRESSIONS else min(count, OLD_SMPLX_SHAPES)
