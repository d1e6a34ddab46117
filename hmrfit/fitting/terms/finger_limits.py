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
from hmrfit.ops import rotation_numpy as so3
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
        self.hand = _Hand(
            self.directions.numpy(),
            self.frames.numpy(),
            limits.corners.numpy(),
            self.flip.numpy(),
            self.joints,
            self.wrist,
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
        r = self.hand.residuals_and_turns(_world(e), derived=False)[0]
        return 0.5 * torch.as_tensor(r).to(e.state.params.transl).square().sum(-1)

    def jacobian(self, e: Linearization) -> Tensor:
        rows = np.zeros((len(e.state), 15, e.layout.columns))
        turns = self.hand.residuals_and_turns(_world(e))[1]
        if turns is not None:
            own = np.broadcast_to(np.arange(15), rows.shape[:2])
            self.hand.place(rows[..., e.layout.slice("body_pose")], turns, e.layout.body_joints, own)
        return torch.as_tensor(rows).to(e.state.params.transl)

    def add(self, e: Linearization, sums: NormalEquations, weight: float) -> None:
        r, turns = self.hand.residuals_and_turns(_world(e))
        if turns is None:  # mostly nothing is outside
            return
        outside = r > 0
        count, place = int(outside.sum(1).max()), outside.cumsum(1) - 1
        place[~outside] = count  # a row that is left out
        residuals, rows = np.zeros((len(r), count)), np.zeros((len(r), count + 1, e.layout.columns))
        hand, which = outside.nonzero()
        residuals[hand, place[hand, which]] = r[hand, which]
        self.hand.place(rows[..., e.layout.slice("body_pose")], turns, e.layout.body_joints, place)
        like = e.state.params.transl
        sums.add_rows(torch.as_tensor(residuals).to(like), torch.as_tensor(rows[:, :count]).to(like), weight)

    def numpy_form(self, observation: Observation, row: int, layout: Layout) -> NumpyTerm:
        return _NumpyLimits(self.hand)


def _world(e: Linearization) -> Array:
    """The joints' rotations in the camera's frame (B, J, 3, 3)."""
    return e.posed.world.detach().cpu().numpy()


class _Hand:
    """The residuals and their derivatives of B hands in NumPy: for one person and for a batch, whose hands come last in
    every array, so that a sum over axes is one over whole rows.

    v and Q are in the camera's frame here, of a left hand in its mirror image.
    """

    def __init__(
        self, directions: Array, frames: Array, corners: Array, flip: Array, joints: NDArray, wrist: int
    ) -> None:
        self.flip, self.joints = flip, joints
        self.places = np.append(wrist, joints.ravel())
        self.directions = np.ascontiguousarray((flip * directions).reshape(15, 3).T)  # (3, 15)
        # Q_0 (5, 3, 3) of each finger: rows first, then its columns, finger by finger
        self.frames_last = np.ascontiguousarray((flip[:, None] * frames).transpose(1, 2, 0).reshape(3, 15))
        edge = np.roll(corners, -1, 1) - corners
        real = (edge**2).sum(-1) > 1e-12
        outward = np.stack([edge[..., 1], -edge[..., 0]], -1)
        self.outward = outward / np.maximum(np.linalg.norm(outward, axis=-1, keepdims=True), 1e-9)  # (15, E, 2)
        self.reach = np.where(real, (self.outward * corners).sum(-1), np.inf)  # (15, E)

    def residuals_and_turns(self, world: Array, derived: bool = True) -> tuple[Array, "_Turns | None"]:
        """(r (B, 15), its derivatives, of the fingers that are outside; None where none is, or not asked for).

        world: (B, J, 3, 3) the joints' rotations in the camera's frame.
        """
        return self.of_last(np.ascontiguousarray(world[:, self.places].transpose(2, 3, 1, 0)), derived)

    def of_last(self, own: Array, derived: bool = True) -> tuple[Array, "_Turns | None"]:
        """The same of (3, 3, 16, B), the rotations of the joints `places`, hands last."""
        B, flip = own.shape[-1], self.flip[:, None, None]
        d = self.directions[..., None]
        v = own[:, 0, 1:] * d[0]  # einsum takes three times as long, of one hand
        v += own[:, 1, 1:] * d[1]
        v += own[:, 2, 1:] * d[2]
        v *= flip
        bones = v.reshape(3, 5, 3, B)
        Q: Array = np.matmul(own[:, :, 0].transpose(2, 0, 1), self.frames_last).reshape(B, 3, 3, 5)
        Q = flip[..., None] * Q.transpose(1, 2, 3, 0)
        frames, u = [], np.empty((3, 5, 3, B))
        for k in range(3):
            x, y, z = u[:, :, k] = (Q * bones[:, None, :, k]).sum(0)
            frames.append(Q)
            if k < 2:  # Q M(u) without a product: its third axis is v_k
                swept = (x * Q[:, 0] + y * Q[:, 1]) / np.maximum(1 + z, OPPOSITE) + Q[:, 2]
                after = np.empty((3, 3, 5, B))
                np.subtract(Q[:, 0], x * swept, out=after[:, 0])
                np.subtract(Q[:, 1], y * swept, out=after[:, 1])
                after[:, 2] = bones[:, :, k]
                Q = after
        x, y, z = u.reshape(3, 15, B)
        flat = np.sqrt(x * x + z * z)
        angles = np.empty((15, 2, B))  # F and A
        np.arctan2(x, z, out=angles[:, 0])
        np.arctan2(y, flat, out=angles[:, 1])
        away = self.outward @ angles - self.reach[..., None]  # (15, E, B)
        r = np.maximum(away.max(1), 0.0)
        finger, hand = r.reshape(5, 3, B).any(1).nonzero()
        if not derived or not len(hand):
            return r.T, None
        here = 3 * finger[:, None] + np.arange(3), hand[:, None]  # the joints of these fingers
        edge = away.transpose(0, 2, 1)[here].argmax(-1)
        normal = self.outward[here[0], edge] * (r[here] > 0)[..., None]
        Qs = np.stack([part[:, :, finger, hand].transpose(2, 0, 1) for part in frames], 1)
        of_fingers = lambda x: x.reshape(-1, 5, 3, B)[:, finger, :, hand]  # noqa: E731  (n, ..., 3)
        vs, us = (of_fingers(x).transpose(0, 2, 1) for x in (v, u))
        by_finger = _turns(Qs, vs, us, flat[here], normal)  # (n, 3, 3, 3)
        # a turn is mirrored as M with its determinant
        return r.T, _Turns(hand, finger, by_finger * (self.flip * self.flip.prod()))

    def place(self, rows: Array, turns: "_Turns", moving: tuple[int, ...], own: NDArray) -> None:
        """Writes the derivatives into rows (B, M, 3 n) of the moving joints. own: (B, 15) the row of each residual."""
        place = np.full(max(self.joints.max(), *moving) + 1, -1)
        place[list(moving)] = 3 * np.arange(len(moving))
        at = place[self.joints[turns.finger]]  # (n, 3) the first column of each joint
        n, joint = (at >= 0).nonzero()
        hand = turns.hand[n][:, None]
        row = own[hand, 3 * turns.finger[n][:, None] + np.arange(3)]
        rows[hand[..., None], row[..., None], at[n, joint][:, None, None] + np.arange(3)] = turns.by_joint[n, :, joint]


@dataclass(frozen=True, eq=False)
class _Turns:
    """dr_k/dω_j of n fingers: which hand's (n,), which finger (n,), and (n, 3 residuals, 3 joints, 3)."""

    hand: NDArray
    finger: NDArray
    by_joint: Array


def _turns(frames: Array, bones: Array, u: Array, flat: Array, normal: Array) -> Array:
    """dr_k/dω_j (n, 3, 3, 3) of n fingers, ω about the axes of v and Q.

    Args:
        frames, bones: (n, 3, 3, 3) Q_{k-1}, (n, 3, 3) v_k. flat: (n, 3) √(u_x² + u_z²). normal: (n, 3, 2) dr/d(F, A).
    """
    safe, zero = np.maximum(flat, 1e-9), np.zeros_like(flat)
    dF = np.stack([u[..., 2], zero, -u[..., 0]], -1) / safe[..., None] ** 2
    dA = np.stack([-u[..., 1] * u[..., 0] / safe, safe, -u[..., 1] * u[..., 2] / safe], -1)
    pull = normal[..., :1] * dF + normal[..., 1:] * dA  # (n, 3, 3) dr/du
    hats, across, turns = so3.hat(bones), so3.hat(u), np.zeros((len(u), 3, 3, 3))
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

    def __init__(self, hand: _Hand) -> None:
        self.hand = hand

    def add(self, e: NumpyLinearization, sums: NumpySums, weight: float) -> None:
        r, turns = self.hand.residuals_and_turns(e.x.world[None], not sums.cost_only)
        if sums.cost_only:
            sums.cost += weight * (0.5 * float((r * r).sum()))
        if turns is None:
            return
        rotating = e.body.rotating
        rows = np.zeros((1, 15, len(sums.gradient)))
        first = 3 + 3 * int(rotating[0] == 0)
        self.hand.place(rows[..., first:], turns, tuple(int(j) for j in rotating if j), np.arange(15)[None])
        outside = r[0] > 0
        sums.add_rows(r[0, outside], rows[0, outside], weight)
