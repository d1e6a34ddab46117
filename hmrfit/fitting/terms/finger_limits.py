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

from dataclasses import dataclass
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
    """The hulls of joint angles, for a hand whose file has the points of hand21, or for one of a body's hands.

    Args:
        side: "left" or "right", of a body with hands; the term is then called `biomechanics_left` or `_right`.
    Raises:
        ValueError: the body is no hand and no side is given, or it does not define a point of hand21.
    """

    name = "biomechanics"
    points_only: ClassVar[bool] = True

    def __init__(self, body: SmplBody, limits: HandLimits, side: str | None = None) -> None:
        if side is not None:
            self.name = f"{self.name}_{side}"
        side = side or side_of(body.skeleton)
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
        self.wrist = names.index(f"{side}_wrist")
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

    def cost(self, e: Linearization) -> Tensor:
        like = e.state.params.transl
        r = self._numpy.residuals_and_turns(*self._turned(e), derived=False)[0]
        return 0.5 * torch.as_tensor(r).to(like).square().sum(-1)

    def jacobian(self, e: Linearization) -> Tensor:
        return self._rows(e)[1]

    def add(self, e: Linearization, sums: NormalEquations, weight: float) -> None:
        r, rows = self._rows(e)
        if r.any():  # mostly nothing is outside
            sums.add_rows(r, rows, weight)

    def _turned(self, e: Linearization) -> tuple[Array, Array]:
        """(the joints' local rotations (B, J, 3, 3), the wrist's in the camera's frame (B, 3, 3))."""
        both = e.state.params.rotations, e.posed.world[:, self.wrist]
        rotations, wrist = (t.detach().cpu().numpy() for t in both)
        return rotations, wrist

    def _rows(self, e: Linearization) -> tuple[Tensor, Tensor]:
        """(residuals (B, 15), Jacobian (B, 15, P))."""
        like = e.state.params.transl
        r, turns = self._numpy.residuals_and_turns(*self._turned(e))
        rows = np.zeros((len(r), 15, e.layout.columns))
        if turns is not None:
            self._numpy.place(rows[..., e.layout.slice("body_pose")], turns, e.layout.body_joints)
        return torch.as_tensor(r).to(like), torch.as_tensor(rows).to(like)

    def numpy_form(self, observation: Observation, row: int, layout: Layout) -> NumpyTerm:
        return _NumpyLimits(self._numpy, self.wrist)


class _Hand:
    """The residuals and their derivatives of B hands in NumPy: for one person and for a batch."""

    def __init__(self, directions: Array, frames: Array, corners: Array, flip: Array, joints: NDArray) -> None:
        self.directions, self.frames, self.flip, self.joints = directions, frames, flip, joints
        self.signs = flip[:, None] * flip
        edge = np.roll(corners, -1, 1) - corners
        real = (edge**2).sum(-1) > 1e-12
        outward = np.stack([edge[..., 1], -edge[..., 0]], -1)
        self.outward = outward / np.maximum(np.linalg.norm(outward, axis=-1, keepdims=True), 1e-9)  # (15, E, 2)
        self.reach = np.where(real, (self.outward * corners).sum(-1), np.inf)  # (15, E)

    def residuals_and_turns(
        self, rotations: Array, wrist: Array, derived: bool = True
    ) -> tuple[Array, "_Turns | None"]:
        """(r (B, 15), its derivatives, of the fingers that are outside; None where none is, or not asked for).

        rotations: (B, J, 3, 3) local, of all joints. wrist: (B, 3, 3) the wrist's in the camera's frame.
        """
        local = self.signs * rotations[:, self.joints]  # (B, 5, 3, 3, 3) as of a right hand
        B, posed, Q = len(rotations), np.eye(3), np.broadcast_to(self.frames, (len(rotations), 5, 3, 3))
        frames, bones, u = [], [], np.empty((B, 5, 3, 3))
        for k in range(3):
            posed = posed @ local[:, :, k]
            v = (posed @ self.directions[:, k, :, None])[..., 0]
            u[:, :, k] = (v[:, :, None] @ Q)[:, :, 0]
            frames.append(Q)
            bones.append(v)
            if k < 2:
                Q = Q @ _smallest(u[:, :, k])
        flat = np.hypot(u[..., 0], u[..., 2])
        F, A = np.arctan2(u[..., 0], u[..., 2]).reshape(B, 15, 1), np.arctan2(u[..., 1], flat).reshape(B, 15, 1)
        away = self.outward[..., 0] * F + self.outward[..., 1] * A - self.reach  # (B, 15, E)
        r = np.maximum(away.max(-1), 0.0)
        outside = r.reshape(B, 5, 3).any(-1).nonzero()
        if not derived or not len(outside[0]):
            return r, None
        Qs, vs = (np.stack([part[outside] for part in parts], 1) for parts in (frames, bones))
        normal = self._normals(r, away).reshape(B, 5, 3, 2)[outside]
        by_finger = _turns(Qs, vs, u[outside], flat[outside], normal)  # (n, 3, 3, 3) by turns of the wrist's frame
        # ω of the camera -> of the wrist -> of the right hand's; a turn is mirrored as M with its determinant
        back = wrist[outside[0]] @ np.diag(self.flip * self.flip.prod())
        return r, _Turns(outside[0], outside[1], by_finger @ back.swapaxes(-1, -2)[:, None])

    def _normals(self, r: Array, away: Array) -> Array:
        """dr/d(F, A) (B, 15, 2), 0 inside."""
        return self.outward[np.arange(15), away.argmax(-1)] * (r > 0)[..., None]

    def place(self, rows: Array, turns: "_Turns", moving: tuple[int, ...]) -> None:
        """Writes the derivatives into rows (B, 15, 3 n) of the moving joints."""
        place = np.full(max(self.joints.max(), *moving) + 1, -1)
        place[list(moving)] = 3 * np.arange(len(moving))
        at = place[self.joints[turns.finger]]  # (n, 3) the first column of each joint
        n, joint = (at >= 0).nonzero()
        own = (3 * turns.finger[n])[:, None, None] + np.arange(3)[:, None]
        rows[turns.hand[n][:, None, None], own, at[n, joint][:, None, None] + np.arange(3)] = turns.by_joint[
            n, :, joint
        ]


@dataclass(frozen=True, eq=False)
class _Turns:
    """dr_k/dω_j of n fingers: which hand's (n,), which finger (n,), and (n, 3 residuals, 3 joints, 3)."""

    hand: NDArray
    finger: NDArray
    by_joint: Array


def _turns(frames: Array, bones: Array, u: Array, flat: Array, normal: Array) -> Array:
    """dr_k/dω_j (n, 3, 3, 3) of n fingers, ω about the wrist's axes.

    Args:
        frames, bones: (n, 3, 3, 3) Q_{k-1}, (n, 3, 3) v_k. flat: (n, 3) √(u_x² + u_z²). normal: (n, 3, 2) dr/d(F, A).
    """
    safe, zero = np.maximum(flat, 1e-9), np.zeros_like(flat)
    dF = np.stack([u[..., 2], zero, -u[..., 0]], -1) / safe[..., None] ** 2
    dA = np.stack([-u[..., 1] * u[..., 0] / safe, safe, -u[..., 1] * u[..., 2] / safe], -1)
    pull = normal[..., :1] * dF + normal[..., 1:] * dA  # (n, 3, 3) dr/du
    hats, across, turns = _hat(bones), _hat(u), np.zeros((len(u), 3, 3, 3))
    for j in range(3):
        twist: Array = np.zeros((len(u), 3, 3))  # Ω by ω_j
        for k in range(j, 3):
            Q = frames[:, k]
            du = Q.swapaxes(-1, -2) @ (hats[:, k] @ (twist - np.eye(3)))
            turns[:, k, j] = (pull[:, k, None] @ du)[:, 0]
            if k < 2:
                swept = across[:, k] @ du
                lost = swept[:, 2] / np.maximum(1 + u[:, k, 2:], OPPOSITE)
                twist = twist + Q @ (swept - u[:, k, :, None] * lost[:, None])
    return turns


class _NumpyLimits:
    """The term for one hand."""

    def __init__(self, hand: _Hand, wrist: int) -> None:
        self.hand, self.wrist = hand, wrist

    def add(self, e: NumpyLinearization, sums: NumpySums, weight: float) -> None:
        r, turns = self.hand.residuals_and_turns(e.x.rotations[None], e.x.world[None, self.wrist])
        if turns is None:
            return
        rotating = e.body.rotating
        rows = np.zeros((1, 15, len(sums.gradient)))
        self.hand.place(rows[..., 3 + 3 * int(rotating[0] == 0) :], turns, tuple(int(j) for j in rotating if j))
        outside = r[0] > 0
        sums.add_rows(r[0, outside], rows[0, outside], weight)


def _hat(v: Array) -> Array:
    """[v]x (..., 3, 3)."""
    out = np.zeros((*v.shape, 3))
    out[..., 2, 1], out[..., 0, 2], out[..., 1, 0] = v[..., 0], v[..., 1], v[..., 2]
    out[..., 1, 2], out[..., 2, 0], out[..., 0, 1] = -v[..., 0], -v[..., 1], -v[..., 2]
    return out


def _smallest(u: Array) -> Array:
    """M(u) (..., 3, 3), the smallest rotation of e_z to u."""
    out = np.empty((*u.shape, 3))
    x, y, z = u[..., 0], u[..., 1], u[..., 2]
    less = 1 / np.maximum(1 + z, OPPOSITE)
    out[..., 0, 0], out[..., 1, 1], out[..., 2, 2] = 1 - less * x * x, 1 - less * y * y, z
    out[..., 0, 1] = out[..., 1, 0] = -less * x * y
    out[..., 0, 2], out[..., 1, 2], out[..., 2, 0], out[..., 2, 1] = x, y, -x, -y
    return out
