"""A stage of the fit for one person, in NumPy: what `StageProblem` says of a batch, in a fifth of the time.

    F(x) = w_a · ½ eᵀ Σ⁻¹ e + w_a · ½ |(t − t⁰)/σ_t|²  +  w_k · ½ Σ_k ρ(z_k)  +  w_l · ½ |r|²

the anchor (`anchor_term`), keypoints with Student's t (`terms.StudentReprojection`) and joint limits: the terms of the
default stages. For one person a step in torch is some 350 calls on arrays of a few hundred numbers, 3 to 5 µs each
whatever they compute; here it is 120 of about 1 µs, and what a joint does not move is left out. The formulas, the
columns and the names are those of `body.points` and `terms`, where they are derived; the tests hold the two together.
Stages with other terms, with other evidence, or on a GPU are not for here: `can_be_single` says so.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray

from hmrfit.body.points import PointBody
from hmrfit.camera import MIN_DEPTH, Camera
from hmrfit.fitting.anchor import Anchor
from hmrfit.fitting.linear_systems import NumpySystem
from hmrfit.fitting.parameters import Layout, Observation, State
from hmrfit.fitting.terms.anchor import AnchorPrior
from hmrfit.fitting.terms.base import Term
from hmrfit.fitting.terms.joint_limits import JointLimitPrior
from hmrfit.fitting.terms.keypoints import StudentReprojection
from hmrfit.ops import rotation_numpy as so3
from hmrfit.types import BodyParams

Array = NDArray[np.float64]
KNOWN = (AnchorPrior, StudentReprojection, JointLimitPrior)


def can_be_single(
    terms: Mapping[str, Term], weights: Mapping[str, float], layout: Layout, state: State, seen: Observation
) -> bool:
    """Whether a stage's energy is made of what is known here, and everything moves."""
    transl = state.params.transl
    counting = (terms[name] for name, weight in weights.items() if weight)
    return (
        transl.dtype == torch.float64
        and transl.device.type == "cpu"
        and not transl.requires_grad
        and seen.anchor is not None
        and not seen.measurements
        and all(layout.moves(group) for group in layout.slices)
        and all(type(term) in KNOWN for term in counting)
    )


@dataclass
class PoseState:
    """Θ of one person, and the joints' world rotations."""

    rotations: Array  # (J, 3, 3)
    betas: Array  # (S,)
    transl: Array  # (3,)
    world: Array  # (J, 3, 3)

    @classmethod
    def of(cls, state: State, row: int, body: "NumpyBody") -> "PoseState":
        """One of a batch."""
        p = state.params
        rotations = np.concatenate([p.global_orient[row, None].numpy(), p.body_pose[row].numpy()])
        return cls(rotations, p.betas[row].numpy(), p.transl[row].numpy(), body.world_rotations(rotations))


def as_state(points: list[PoseState], camera: Camera) -> State:
    """The people as a batch again."""
    stacked = lambda name: torch.from_numpy(np.stack([getattr(point, name) for point in points]))  # noqa: E731
    rotations = stacked("rotations")
    params = BodyParams(rotations[:, 0], rotations[:, 1:], stacked("betas"), stacked("transl"))
    return State(params, camera, stacked("world"))


@dataclass
class Posed:
    """Where everything is, and what its derivatives need."""

    points: Array  # (K, 3)
    joints: Array  # (J, 3)
    pairs: Array  # (N, 3)
    bones: Array  # (N, 3, 3) the pairs' world rotations


class NumpyBody:
    """`PointBody` for one person, and the columns of one layout; arrays that do not change, gathered once."""

    def __init__(self, body: PointBody, layout: Layout) -> None:
        (self.J, _, self.S), self.K, N = body.joint_shapes.shape, len(body.names), len(body.pair_point)
        self.tree = [(j, p) for j, p in enumerate(body.parents) if p >= 0]
        numpy: Any = lambda t: np.ascontiguousarray(t.numpy())  # noqa: E731
        self.turning = numpy(layout.turning_index)
        self.rest, self.joint_shapes = numpy(body.rest_joints), numpy(body.joint_shapes.flatten(0, 1))
        self.up, self.above, self.bone_shapes = numpy(body.up), numpy(body.above), numpy(body.bone_shapes)
        self.point, self.bone, self.weight = (
            numpy(t) for t in (body.pair_point, body.pair_bone, body.pair_weight[:, None])
        )
        self.offset, self.offset_shapes = numpy(body.offset), numpy(body.offset_shapes.flatten(0, 1))
        self.gather, self.missing, self.each = numpy(body.gather), numpy(body.missing_weight), np.arange(N)
        self.carried = (self.gather * self.weight[:, 0]) @ np.eye(self.J)[self.bone]  # (K, J) each point's bones
        self._keep_reached(body)
        self._keep_correctives(body)

    def _keep_reached(self, body: PointBody) -> None:
        """The (point, turning joint) of which one moves the other: about a quarter of all."""
        spread = body.spread.view(self.K, self.J, -1).numpy()[:, self.turning]
        hold = body.hold[..., 0].numpy()[:, self.turning]
        self.reached, self.by = ((spread != 0).any(-1) | (hold != 0)).nonzero()
        self.spread, self.hold = spread[self.reached, self.by], hold[self.reached, self.by, None]
        self.holder = self.turning[self.by]

    def _keep_correctives(self, body: PointBody) -> None:
        """The pose correctives of the turning joints, joint by joint."""
        self.moved, self.all_movers = body.moved.numpy(), body.movers.numpy()
        self.correctives = np.ascontiguousarray(body.offset_poses.flatten(0, 1).flatten(1).numpy())  # (3 n, 9 m)
        wanted = np.isin(self.all_movers, self.turning)
        self.movers = self.all_movers[wanted]
        by_joint = body.offset_poses.numpy()[:, :, wanted]  # (n, 3, m, 9)
        self.by_joint = np.ascontiguousarray(
            by_joint.transpose(2, 0, 1, 3).reshape(len(self.movers), 3 * len(self.moved), 9)
        )
        self.generators = np.cross(np.eye(3)[:, None], np.eye(3)[None], axis=-1).transpose(0, 2, 1)  # [e_i]x
        place = np.searchsorted(self.turning, self.movers)
        self.mover_columns = (3 * place[:, None] + np.arange(3)).ravel()
        self.moved_columns = (3 * self.moved[:, None] + np.arange(3)).ravel()

    def world_rotations(self, rotations: Array) -> Array:
        """G (J, 3, 3), one product after the other: for one person quicker than level by level."""
        world = np.empty_like(rotations)
        world[0] = rotations[0]
        for joint, parent in self.tree:
            np.dot(world[parent], rotations[joint], out=world[joint])
        return world

    def pose(self, x: PoseState) -> Posed:
        """`PointBody.pose`."""
        rest = self.rest + (self.joint_shapes @ x.betas).reshape(-1, 3)
        steps = (x.world[self.up] * (rest - rest[self.up])[:, None]).sum(-1)
        steps[0] = rest[0]
        joints = self.above @ steps + x.transl
        offset = self.offset + (self.offset_shapes @ x.betas).reshape(-1, 3)
        if len(self.moved):
            feature = (x.rotations[self.all_movers] - np.eye(3)).ravel()
            offset[self.moved] += (self.correctives @ feature).reshape(-1, 3)
        bones = x.world[self.bone]
        pairs = (bones * offset[:, None]).sum(-1) + self.weight * joints[self.bone]
        return Posed(self.gather @ pairs + self.missing * x.transl, joints, pairs, bones)

    def rows(self, x: PoseState, posed: Posed, a: Array) -> Array:
        """`PointBody.rows` of covectors a (K, 2, 3): (2 K, P)."""
        K, first, last = self.K, 3, 3 + 3 * len(self.turning)
        own = np.zeros((K, 2, len(self.bone), 3))  # every pair's covector in its bone's frame
        own[self.point, :, self.each] = a[self.point] @ posed.bones
        own = own.reshape(2 * K, -1)
        rows = np.empty((2 * K, last + self.S))
        rows[:, :first] = a.reshape(2 * K, 3)
        rows[:, first:last] = self._turning(posed, a)
        if len(self.movers):
            rows[:, first + self.mover_columns] += own[:, self.moved_columns] @ self._correctives(x)
        steps = x.world[self.up] @ self.bone_shapes
        steps[0] = self.bone_shapes[0]
        moves = (self.carried @ self.above) @ steps.reshape(self.J, -1)
        rows[:, last:] = own @ self.offset_shapes + (a @ moves.reshape(K, 3, self.S)).reshape(2 * K, -1)
        return rows

    def _turning(self, posed: Posed, a: Array) -> Array:
        """d_kj × a (2 K, 3 n)."""
        d = (self.spread @ posed.pairs - self.hold * posed.joints[self.holder]).T[:, :, None]
        b = a[self.reached].transpose(2, 0, 1)
        turning = np.zeros((self.K, 2, len(self.turning), 3))
        cross = (d[1] * b[2] - d[2] * b[1], d[2] * b[0] - d[0] * b[2], d[0] * b[1] - d[1] * b[0])
        turning[self.reached, :, self.by] = np.stack(cross, -1)
        return turning.reshape(2 * self.K, -1)

    def _correctives(self, x: PoseState) -> Array:
        """P d vec(R_j)/d omega_j (3 n, 3 m), with dR_j = G_pᵀ [omega]x G_j."""
        above = x.world[self.up[self.movers]].transpose(0, 2, 1)[:, None]
        change = (above @ self.generators @ x.world[self.movers][:, None]).reshape(-1, 3, 9)
        return (self.by_joint @ change.transpose(0, 2, 1)).transpose(1, 0, 2).reshape(-1, 3 * len(self.movers))


_BODIES: WeakKeyDictionary[PointBody, dict[tuple[int, ...], NumpyBody]] = WeakKeyDictionary()


def numpy_body(body: PointBody, layout: Layout) -> NumpyBody:
    """Made once per body and turning joints."""
    known = _BODIES.setdefault(body, {})
    if layout.turning not in known:
        known[layout.turning] = NumpyBody(body, layout)
    return known[layout.turning]


class NumpyProblem:
    """Implements `solver.Problem` for one person of a stage."""

    def __init__(
        self,
        body: NumpyBody,
        terms: Mapping[str, Term],
        weights: Mapping[str, float],
        warm_up: Mapping[str, float],
        layout: Layout,
        row: tuple[State, Observation, int],
    ) -> None:
        """weights, warm_up: of the terms, and during the warm-up steps. row: whose problem it is."""
        state, seen, i = row
        self.body, self.layout, self.terms, self.weights, self.warm_up = body, layout, terms, weights, warm_up
        self.anchor = _OneAnchor(seen.anchor.prepared(layout.chart), i, layout)
        self.focal, self.center = state.camera.focal[i].numpy(), state.camera.center[i].numpy()
        self.xy, self.root = seen.keypoints.xy[i].numpy(), np.sqrt(seen.weights[i].numpy())
        self.box = float(seen.box_size[i])
        self.noise = None if seen.noise is None else seen.noise[i].numpy()

    def retract(self, x: PoseState, delta: Array) -> PoseState:
        """`State.retract`."""
        turning, n = self.body.turning, len(self.body.turning)
        turn = (x.world[turning].transpose(0, 2, 1) * delta[3 : 3 + 3 * n].reshape(n, 1, 3)).sum(-1)
        rotations = x.rotations.copy()
        rotations[turning] = rotations[turning] @ so3.exp(turn)
        return PoseState(
            rotations, x.betas + delta[3 + 3 * n :], x.transl + delta[:3], self.body.world_rotations(rotations)
        )

    def linearize(self, x: PoseState, warm_up: bool = False) -> NumpySystem:
        """Cost, gradient and Hessian."""
        weights = self.warm_up if warm_up else self.weights
        posed, J = self.body.pose(x), self.body.J
        logs = so3.log(np.concatenate([self.anchor.rotations_back @ x.rotations, x.rotations[1:]]))
        cost, P = 0.0, 6 + 3 * (len(self.body.turning) - 1) + self.body.S
        gradient, hessian = np.zeros(P), np.zeros((P, P))
        for name, weight in weights.items():
            term = self.terms[name]
            if not weight:
                continue
            if isinstance(term, StudentReprojection):
                cost += weight * self._keypoints(term, x, posed, weight, gradient, hessian)
            elif isinstance(term, AnchorPrior):
                cost += weight * self.anchor.add(logs[:J], x, weight, gradient, hessian)
            else:
                cost += weight * self._limits(term, logs[J:], x, weight, gradient, hessian)
        return NumpySystem(cost, gradient, hessian)

    def _keypoints(
        self, term: StudentReprojection, x: PoseState, posed: Posed, weight: float, gradient: Array, hessian: Array
    ) -> float:
        """`StudentReprojection.add`; its cost without the weight."""
        xy, z = posed.points[:, :2], posed.points[:, 2:]
        sigma = term.sigma if self.noise is None else self.noise
        depth = np.maximum(z, MIN_DEPTH)
        scale = self.focal / depth
        slope = -scale * xy / depth * (z > MIN_DEPTH)
        unit = np.broadcast_to(1 / (sigma * self.box), self.root.shape)
        white = (scale * xy + self.center - self.xy) * unit[:, None]
        square = (white * white).sum(1)
        g, radial = _student(square, term.nu)
        pulled = np.empty((len(z), 3))  # white · dPi
        pulled[:, :2], pulled[:, 2] = white * scale, (white * slope).sum(1)
        unit = unit * self.root
        a = white[:, :, None] * ((unit * radial)[:, None] * pulled)[:, None]
        ours = (unit * g)[:, None]
        a[:, :, 2] += ours * slope
        a.reshape(-1, 6)[:, ::4] += ours * scale
        rows, r = self.body.rows(x, posed, a), ((self.root * g)[:, None] * white).ravel()
        gradient += weight * (r @ rows)
        rows *= weight**0.5
        hessian += rows.T @ rows
        return 0.5 * float(r @ r)

    def _limits(
        self, term: JointLimitPrior, theta: Array, x: PoseState, weight: float, gradient: Array, hessian: Array
    ) -> float:
        """`JointLimitPrior.add`: mostly nothing is outside."""
        limits = term.limits
        lower, upper = (t.numpy().reshape(-1, 3) for t in (limits.lower, limits.upper))
        r = (np.maximum(theta - upper, 0) + np.minimum(theta - lower, 0)) / limits.softness
        for j in (r != 0).any(1).nonzero()[0]:
            place = np.searchsorted(self.body.turning, j + 1)
            if place == len(self.body.turning) or self.body.turning[place] != j + 1:
                continue
            T = so3.right_jacobian_inverse(theta[j : j + 1])[0] @ x.world[j + 1].T
            own = slice(3 + 3 * place, 6 + 3 * place)
            gradient[own] += weight * (r[j] / limits.softness) @ T
            hessian[own, own] += weight * T.T @ ((r[j] != 0)[:, None] / limits.softness**2 * T)
        return 0.5 * float((r * r).sum())


def _student(square: Array, nu: float) -> tuple[Array, Array]:
    """(g, (rho'/g − g)/|white|²) of `StudentReprojection`, from |white|² (K,)."""
    if nu == np.inf:
        return np.ones_like(square), np.zeros_like(square)
    z = square / nu
    small = z < 1e-8
    safe = np.where(small, 1.0, z)
    g = np.where(small, 1 - 0.25 * z, np.sqrt(np.log1p(safe) / safe))
    return g, (1 / (g * (1 + z)) - g) / np.maximum(square, 1e-12)


class _OneAnchor:
    """`Anchor` of one person, Σ⁻¹ prepared, and `AnchorPrior.add`."""

    def __init__(self, anchor: Anchor, row: int, layout: Layout) -> None:
        self.rotations_back = anchor.rotations[row].numpy().transpose(0, 2, 1)
        self.world, self.betas = anchor.world[row].numpy(), anchor.betas[row].numpy()
        self.transl, self.transl_std = anchor.transl[row].numpy(), anchor.transl_std[row].numpy()
        self.precision, self.chart = anchor.precision[row].numpy(), layout.chart.numpy()
        self.turning = layout.turning_index.numpy()

    def add(self, phi: Array, x: PoseState, weight: float, gradient: Array, hessian: Array) -> float:
        """Adds gradient and Hessian; the cost without the weight."""
        turned = (self.world * phi[:, None]).sum(-1).ravel()
        e = np.concatenate([turned, x.betas - self.betas])[self.chart]
        pull = self.precision @ e
        turning, n = self.turning, len(self.turning)
        T = self.world[turning] @ so3.right_jacobian_inverse(phi[turning]) @ x.world[turning].transpose(0, 2, 1)
        gradient[3 : 3 + 3 * n] += weight * (pull[: 3 * n].reshape(n, 1, 3) @ T).ravel()
        gradient[3 + 3 * n :] += weight * pull[3 * n :]
        hessian[3:, 3:] += weight * _turned_both_sides(self.precision, T)
        away = (x.transl - self.transl) / self.transl_std
        gradient[:3] += weight * away / self.transl_std
        hessian.ravel()[: 3 * len(hessian) : len(hessian) + 1] += weight / self.transl_std**2
        return 0.5 * float(pull @ e + away @ away)


def _turned_both_sides(hessian: Array, turns: Array) -> Array:
    """`terms.turned_both_sides`."""
    n, d = len(turns), len(hessian)
    back = turns.transpose(0, 2, 1)
    for _ in range(2):
        rows = np.empty_like(hessian)
        rows[: 3 * n] = (back @ hessian[: 3 * n].reshape(n, 3, d)).reshape(3 * n, d)
        rows[3 * n :] = hessian[3 * n :]
        hessian = rows.T
    return hessian
