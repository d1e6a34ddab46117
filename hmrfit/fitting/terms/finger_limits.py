"""What joints of fingers can do, as a term of the fit of one hand: the hulls of `hmrfit.priors.biomechanics`.

    r_j = max(0, signed distance of (F, A)_j to the hull H_j)        15 joints, radians

In a hand of MANO's kind the finger bases hang on the wrist, so bone lengths and the palm depend on the betas alone, and
the shape's prior says all of them; what is left of Spurr's constraints are the angles. With bones v_k of a finger about
the wrist, and Q_k the frame whose third axis is v_k (each the one before it, turned by the smallest rotation M),

    u_k = Q_{k-1}ᵀ v_k,   Q_k = Q_{k-1} M(u_k),     F = atan2(u_x, u_z),  A = atan2(u_y, √(u_x² + u_z²))

A joint that turns by ω moves the bones at and below it, dv = ω × v, and the frames after it,

    du_k = Q_{k-1}ᵀ (dv_k − Ω_{k-1} × v_k),     Ω_k = Ω_{k-1} + Q_{k-1} (u × du − u (e_z·(u × du))/(1 + u_z))

the last part being the twist that the smallest rotation leaves out: the area that u sweeps about e_z. Rest directions
are those of the mean shape, without pose correctives.
"""

from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hmrfit.body.mirrored import FLIP, side_of
from hmrfit.body.smpl import SmplBody
from hmrfit.fitting.normal_equations import NormalEquations
from hmrfit.fitting.numpy_path import NumpyLinearization, NumpySums, NumpyTerm
from hmrfit.fitting.parameters import Layout, Linearization, Observation
from hmrfit.fitting.terms.base import Term
from hmrfit.hand_keypoints import hand_set
from hmrfit.keypoints import FINGERS
from hmrfit.priors.biomechanics import OPPOSITE, HandLimits, bones_of, frames_of_roots, joint_angles, unit

Array = NDArray[np.float64]


class FingerLimits(Term):
    """The hulls of joint angles, for a hand whose file has the points of hand21.

    Raises:
        ValueError: the body is no hand, or does not define a point of hand21.
    """

    name = "biomechanics"
    points_only: ClassVar[bool] = True

    def __init__(self, body: SmplBody, limits: HandLimits) -> None:
        side = side_of(body.skeleton)
        if side is None:
            raise ValueError(f"Limits of fingers are of one hand, and this body hangs on '{body.skeleton.root}'.")
        flat = body.points(hand_set("hand21", side).names).pose(body.neutral()).points
        self.flip = flat.new_tensor(FLIP if side == "left" else (1.0, 1.0, 1.0))  # limits are right hands'
        bones = bones_of(flat * self.flip)
        self.hulls = limits.hulls
        self.directions = unit(bones)[0, :, 1:]  # (5, 3, 3) of the bones below each joint, at rest
        self.root = bones[0, :, 0]  # (5, 3)
        self.frames = frames_of_roots(bones)[0]  # (5, 3, 3) Q_0, columns x, y, z
        names = body.skeleton.names
        self.joints = np.array([[names.index(f"{side}_{f}{k}") for k in (1, 2, 3)] for f in FINGERS])
        self._numpy = _Hand(
            self.directions.numpy(), self.frames.numpy(), limits.corners.numpy(), self.flip.numpy(), self.joints
        )

    def residuals(self, e: Linearization) -> Tensor:
        p = e.state.params
        posed = [torch.eye(3).to(p.transl).expand(len(p.transl), 5, 3, 3)]
        for k in range(3):
            posed.append(posed[-1] @ p.body_pose[:, torch.as_tensor(self.joints[:, k] - 1)])
        flip = self.flip
        rest = (flip * self.directions)[..., None]
        below = [(G @ rest[:, k]).squeeze(-1) * flip for k, G in enumerate(posed[1:])]
        bones = torch.stack([self.root.expand(len(p.transl), 5, 3), *below], 2)
        return self.hulls.signed_distance(joint_angles(bones)).clamp_min(0)

    def jacobian(self, e: Linearization) -> Tensor:
        return self._rows(e)[1]

    def add(self, e: Linearization, sums: NormalEquations, weight: float) -> None:
        r, rows = self._rows(e)
        if r.any():  # mostly nothing is outside
            sums.add_rows(r, rows, weight)

    def _rows(self, e: Linearization) -> tuple[Tensor, Tensor]:
        """(residuals (B, 15), Jacobian (B, 15, P))."""
        like = e.state.params.transl
        rotations = e.state.params.rotations.detach().cpu().numpy()
        r, by_joint = self._numpy.residuals_and_turns(rotations)
        rows = np.zeros((len(r), 15, e.layout.columns))
        own = e.layout.slice("body_pose")
        self._numpy.place(rows[..., own], by_joint, e.layout.body_joints)
        return torch.as_tensor(r).to(like), torch.as_tensor(rows).to(like)

    def numpy_form(self, observation: Observation, row: int, layout: Layout) -> NumpyTerm:
        return _NumpyLimits(self._numpy)


class _Hand:
    """The residuals and their derivatives of B hands in NumPy: for one person and for a batch."""

    def __init__(self, directions: Array, frames: Array, corners: Array, flip: Array, joints: NDArray) -> None:
        self.directions, self.frames, self.flip, self.joints = directions, frames, flip, joints
        edge = np.roll(corners, -1, 1) - corners
        real = (edge**2).sum(-1) > 1e-12
        outward = np.stack([edge[..., 1], -edge[..., 0]], -1)
        self.outward = outward / np.maximum(np.linalg.norm(outward, axis=-1, keepdims=True), 1e-9)  # (15, E, 2)
        self.reach = np.where(real, (self.outward * corners).sum(-1), np.inf)  # (15, E)

    def residuals_and_turns(self, rotations: Array) -> tuple[Array, Array | None]:
        """(r (B, 15), dr_jk/dω of the three joints of its finger (B, 5, 3, 3, 3) about the camera's axes; None where
        all are zero). rotations: (B, 16, 3, 3) local, the wrist's first."""
        M = self.flip[:, None] * self.flip
        local = M * rotations[:, self.joints]  # (B, 5, 3, 3, 3) as of a right hand
        posed, frame, steps = np.eye(3), np.broadcast_to(self.frames, (len(rotations), 5, 3, 3)), []
        for k in range(3):
            posed = posed @ local[:, :, k]
            v = (posed @ self.directions[:, k, :, None])[..., 0]
            u = (frame.swapaxes(-1, -2) @ v[..., None])[..., 0]
            steps.append((frame, v, u))
            if k < 2:
                frame = frame @ _smallest(u)
        u = np.stack([u for _, _, u in steps], 2)  # (B, 5, 3, 3)
        flat = np.hypot(u[..., 0], u[..., 2])
        angles = np.stack([np.arctan2(u[..., 0], u[..., 2]), np.arctan2(u[..., 1], flat)], -1).reshape(-1, 15, 2)
        away = (self.outward @ angles[..., None])[..., 0] - self.reach  # (B, 15, E)
        r = np.maximum(away.max(-1), 0.0)
        if not r.any():
            return r, None
        nearest = away.argmax(-1)
        normal = self.outward[np.arange(15), nearest] * (r > 0)[..., None]  # (B, 15, 2) dr/d(F, A)
        normal = normal.reshape(*u.shape[:3], 2)
        safe = np.maximum(flat, 1e-9)
        dF = np.stack([u[..., 2], np.zeros_like(flat), -u[..., 0]], -1) / safe[..., None] ** 2
        dA = np.stack([-u[..., 1] * u[..., 0] / safe, safe, -u[..., 1] * u[..., 2] / safe], -1)
        pull = normal[..., :1] * dF + normal[..., 1:] * dA  # (B, 5, 3, 3) dr/du
        turns = np.zeros((*u.shape[:3], 3, 3))  # [k, j]: of residual k by the turn of joint j
        for j in range(3):
            twist = np.zeros((*u.shape[:2], 3, 3))  # Ω by ω_j
            for k in range(j, 3):
                Q, v, uk = steps[k]
                du = Q.swapaxes(-1, -2) @ (_hat(v) @ (twist - np.eye(3)))
                turns[:, :, k, j] = (pull[:, :, k, None] @ du)[..., 0, :]
                if k < 2:
                    across = _hat(uk) @ du
                    lost = across[..., 2, :] / np.maximum(1 + uk[..., 2:], OPPOSITE)
                    twist = twist + Q @ (across - uk[..., None] * lost[..., None, :])
        # ω of the camera -> of the wrist -> of the right hand's; a turn is mirrored as M with its determinant
        back = rotations[:, None, None, None, 0] @ np.diag(self.flip * self.flip.prod())
        return r, (back @ turns[..., None])[..., 0]

    def place(self, rows: Array, by_joint: Array | None, moving: tuple[int, ...]) -> None:
        """Writes the derivatives into rows (B, 15, 3 n) of the moving joints."""
        if by_joint is None:
            return
        columns = {joint: 3 * i for i, joint in enumerate(moving)}
        for f in range(5):
            for j in range(3):
                at = columns.get(int(self.joints[f, j]))
                if at is not None:
                    rows[:, 3 * f + j : 3 * f + 3, at : at + 3] = by_joint[:, f, j:, j]


class _NumpyLimits:
    """The term for one hand."""

    def __init__(self, hand: _Hand) -> None:
        self.hand = hand

    def add(self, e: NumpyLinearization, sums: NumpySums, weight: float) -> None:
        r, by_joint = self.hand.residuals_and_turns(e.x.rotations[None])
        if by_joint is None:
            return
        rotating = e.body.rotating
        rows = np.zeros((1, 15, len(sums.gradient)))
        self.hand.place(rows[..., 3 + 3 * int(rotating[0] == 0) :], by_joint, tuple(int(j) for j in rotating if j))
        sums.add_rows(r[0], rows[0], weight)


def _hat(v: Array) -> Array:
    """[v]x (..., 3, 3)."""
    x, y, z = (v[..., i] for i in range(3))
    o = np.zeros_like(x)
    return np.stack([o, -z, y, z, o, -x, -y, x, o], -1).reshape(*v.shape, 3)


def _smallest(u: Array) -> Array:
    """M(u) (..., 3, 3), the smallest rotation of e_z to u."""
    w = _hat(np.stack([-u[..., 1], u[..., 0], np.zeros_like(u[..., 0])], -1))
    return np.eye(3) + w + w @ w / np.maximum(1 + u[..., 2, None, None], OPPOSITE)
