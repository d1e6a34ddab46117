"""A stage of the fit for one person, in NumPy: what `StageProblem` says of a batch, in a fifth of the time.

For one person a step in torch is some 350 calls on arrays of a few hundred numbers, 3 to 5 µs each whatever they
compute; here it is 120 of about 1 µs, and what a joint does not move is left out. The formulas, the columns and the
names are those of `body.points` and `parameters`, where they are derived; the tests hold the two together.

Every term that has a `NumpyTerm` of its own (`Term.numpy_form`, in the file of the term) is computed by it. One that
has none is computed in torch, and only that one (`TorchTerm`). `fits_here` says which stages are for here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray

from hmrfit.body.points import PointBody, PosedPoints
from hmrfit.camera import Camera
from hmrfit.fitting.normal_equations import NormalEquations
from hmrfit.fitting.parameters import Layout, Linearization, Observation, State
from hmrfit.fitting.solver import NumpySystem
from hmrfit.ops import rotation_numpy as so3
from hmrfit.types import BodyParams

Array = NDArray[np.float64]


def fits_here(state: State, layout: Layout) -> bool:
    """Whether people can be fitted in NumPy: float64 on the CPU, nothing is differentiated, and everything moves."""
    transl = state.params.transl
    plain = transl.dtype == torch.float64 and transl.device.type == "cpu" and not transl.requires_grad
    return plain and layout.everything_moves


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
        self.rotating = numpy(layout.rotating_index)
        self.rest, self.joint_shapes = numpy(body.rest_joints), numpy(body.joint_shapes.flatten(0, 1))
        self.up, self.above, self.bone_shapes = numpy(body.up), numpy(body.above), numpy(body.bone_shapes)
        self.point, self.bone, self.weight = (
            numpy(t) for t in (body.pair_point, body.pair_bone, body.pair_weight[:, None])
        )
        self.offset, self.offset_shapes = numpy(body.offset), numpy(body.offset_shapes.flatten(0, 1))
        self.gather, self.missing, self.each = numpy(body.gather), numpy(body.missing_weight), np.arange(N)
        self.pairs_of_bones = np.eye(self.J)[:, self.bone]  # (J, N)
        self.carried = (self.gather * self.weight[:, 0]) @ self.pairs_of_bones.T  # (K, J) each point's bones
        self._keep_reached(body)
        self._keep_correctives(body)

    def _keep_reached(self, body: PointBody) -> None:
        """The (point, rotating joint) of which one moves the other."""
        part = body.joint_columns(tuple(self.rotating.tolist()))
        self.reached, self.by, self.holder = part.reached.numpy(), part.by.numpy(), part.holder.numpy()
        self.pairs_below, self.weight_below = part.pairs_below.numpy(), part.weight_below.numpy()

    def _keep_correctives(self, body: PointBody) -> None:
        """The pose correctives of the rotating joints, joint by joint."""
        self.active_pairs, self.all_active_joints = body.active_pairs.numpy(), body.active_joints.numpy()
        self.correctives = np.ascontiguousarray(body.offset_poses.flatten(0, 1).flatten(1).numpy())  # (3 n, 9 m)
        wanted = np.isin(self.all_active_joints, self.rotating)
        self.active_joints = self.all_active_joints[wanted]
        by_joint = body.offset_poses.numpy()[:, :, wanted]  # (n, 3, m, 9)
        self.by_joint = np.ascontiguousarray(
            by_joint.transpose(2, 0, 1, 3).reshape(len(self.active_joints), 3 * len(self.active_pairs), 9)
        )
        self.generators = np.cross(np.eye(3)[:, None], np.eye(3)[None], axis=-1).transpose(0, 2, 1)  # [e_i]x
        place = np.searchsorted(self.rotating, self.active_joints)
        self.active_columns = (3 * place[:, None] + np.arange(3)).ravel()
        self.active_pair_columns = (3 * self.active_pairs[:, None] + np.arange(3)).ravel()

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
        if len(self.active_pairs):
            feature = (x.rotations[self.all_active_joints] - np.eye(3)).ravel()
            offset[self.active_pairs] += (self.correctives @ feature).reshape(-1, 3)
        bones = x.world[self.bone]
        pairs = (bones * offset[:, None]).sum(-1) + self.weight * joints[self.bone]
        return Posed(self.gather @ pairs + self.missing * x.transl, joints, pairs, bones)

    def rows(self, x: PoseState, posed: Posed, a: Array, bone_steps: Array) -> Array:
        """`PointBody.rows` of covectors a (K, 2, 3): (2 K, P). bone_steps: of `NumpyLinearization`."""
        K, first, last = self.K, 3, 3 + 3 * len(self.rotating)
        by_pair = np.zeros((K, 2, len(self.bone), 3))  # every pair's covector in its bone's frame
        by_pair[self.point, :, self.each] = a[self.point] @ posed.bones
        own = by_pair.reshape(2 * K, -1)
        rows = np.empty((2 * K, last + self.S))
        rows[:, :first] = a.reshape(2 * K, 3)
        rows[:, first:last] = self._rotation_columns(posed, a)
        if len(self.active_joints):
            rows[:, first + self.active_columns] += own[:, self.active_pair_columns] @ self.corrective_derivatives(x)
        moves = (self.carried @ self.above) @ bone_steps.reshape(self.J, -1)
        rows[:, last:] = own @ self.offset_shapes + (a @ moves.reshape(K, 3, self.S)).reshape(2 * K, -1)
        return rows

    def _rotation_columns(self, posed: Posed, a: Array) -> Array:
        """d_kj × a (2 K, 3 n)."""
        d = (self.pairs_below @ posed.pairs - self.weight_below * posed.joints[self.holder]).T[:, :, None]
        b = a[self.reached].transpose(2, 0, 1)
        rotating = np.zeros((self.K, 2, len(self.rotating), 3))
        cross = (d[1] * b[2] - d[2] * b[1], d[2] * b[0] - d[0] * b[2], d[0] * b[1] - d[1] * b[0])
        rotating[self.reached, :, self.by] = np.stack(cross, -1)
        return rotating.reshape(2 * self.K, -1)

    def corrective_derivatives(self, x: PoseState) -> Array:
        """P d vec(R_j)/d omega_j (3 n, 3 m), with dR_j = G_pᵀ [omega]x G_j."""
        above = x.world[self.up[self.active_joints]].transpose(0, 2, 1)[:, None]
        change = (above @ self.generators @ x.world[self.active_joints][:, None]).reshape(-1, 3, 9)
        return (self.by_joint @ change.transpose(0, 2, 1)).transpose(1, 0, 2).reshape(-1, 3 * len(self.active_joints))


_BODIES: WeakKeyDictionary[PointBody, dict[tuple[int, ...], NumpyBody]] = WeakKeyDictionary()


def numpy_body(body: PointBody, layout: Layout) -> NumpyBody:
    """Made once per body and rotating joints."""
    known = _BODIES.setdefault(body, {})
    if layout.rotating not in known:
        known[layout.rotating] = NumpyBody(body, layout)
    return known[layout.rotating]


class NumpyTerm(Protocol):
    """A term of the energy for one person; `NumpyProblem` asks it at every step."""

    def add(self, e: "NumpyLinearization", sums: "NumpySums", weight: float) -> None:
        """Add what the term says, times weight, to the sums."""


class NumpySums:
    """What the terms of one person say, each in its own coordinates; `finish` brings all of it to the columns.

    cost, gradient (P,), hessian (P, P): terms of the columns themselves add to these.
    of_points: residuals (2 K,), covectors a (K, 2, 3) with dr = a · dX, and the term's weight.
    of_turns: the columns from which on they stand, gradient (d,), Hessian (d, d) and the weight of d coordinates, the
    first 3 n of which are turns of n joints, and T (n, 3, 3), their derivatives by those joints' columns.
    cost_only: nothing else is asked for: terms may leave the rest out, which is most of the work.
    """

    def __init__(self, columns: int, cost_only: bool = False) -> None:
        self.cost, self.cost_only = 0.0, cost_only
        self.gradient, self.hessian = np.zeros(columns), np.zeros((columns, columns))
        self.of_points: list[tuple[Array, Array, float]] = []
        self.of_turns: list[tuple[slice, Array, Array, Array, float]] = []
        self.rows: list[Array] = []

    def add_rows(self, residuals: Array, rows: Array, weight: float) -> None:
        """Residuals (M,) and their Jacobian (M, P), whose memory is used up."""
        self.cost += weight * (0.5 * float(residuals @ residuals))
        self.gradient += weight * (residuals @ rows)
        rows *= weight**0.5
        self.rows.append(rows)

    def total_cost(self) -> float:
        """The cost alone, before `finish`: that of the points' residuals with it."""
        return self.cost + sum(weight * (0.5 * float(r @ r)) for r, _, weight in self.of_points)

    def finish(self, e: "NumpyLinearization") -> NumpySystem:
        """The equations; the Hessian of all rows is one product."""
        for own, gradient, hessian, T, weight in self.of_turns:
            n, ours = len(T), self.gradient[own]
            ours[: 3 * n] += weight * (gradient[: 3 * n].reshape(n, 1, 3) @ T).ravel()
            ours[3 * n :] += weight * gradient[3 * n :]
            self.hessian[own, own] += weight * turned(hessian, T)
        for residuals, covectors, weight in self.of_points:
            self.add_rows(residuals, e.point_rows(covectors), weight)
        if self.rows:
            rows = self.rows[0] if len(self.rows) == 1 else np.concatenate(self.rows)
            self.hessian += rows.T @ rows
        return NumpySystem(self.cost, self.gradient, self.hessian)


def turned(hessian: Array, turns: Array) -> Array:
    """Tᵀ H T of one person, T block-diagonal: turns (n, 3, 3), then ones. H (d, d), d at least 3 n."""
    n, d = len(turns), len(hessian)
    back = turns.transpose(0, 2, 1)
    for _ in range(2):
        rows = np.empty_like(hessian)
        rows[: 3 * n] = (back @ hessian[: 3 * n].reshape(n, 3, d)).reshape(3 * n, d)
        rows[3 * n :] = hessian[3 * n :]
        hessian = rows.T
    return hessian


class NumpyProblem:
    """Implements `solver.Problem` for one person of a stage.

    Args:
        seen: the people's state and observation, and which of them this one is.
        terms, warm_up: the terms with their weights, and those of the warm-up steps.
    """

    def __init__(
        self,
        points: PointBody,
        layout: Layout,
        seen: tuple[State, Observation, int],
        terms: Sequence[tuple[NumpyTerm, float]],
        warm_up: Sequence[tuple[NumpyTerm, float]],
    ) -> None:
        state, observation, row = seen
        self.points, self.layout, self.body = points, layout, numpy_body(points, layout)
        self.terms, self.warm_up = terms, warm_up
        self.focal, self.center = state.camera.focal[row].numpy(), state.camera.center[row].numpy()
        anchor = observation.anchor
        self.start_back = None if anchor is None else anchor.rotations[row].numpy().transpose(0, 2, 1)
        self.start = PoseState.of(state, row, self.body)
        self._seen = seen

    def seen(self, copies: int = 1) -> tuple[Camera, Observation]:
        """This person's camera and observation with as many equal rows, for terms in torch."""
        state, observation, row = self._seen
        repeated = lambda t: t[row : row + 1].expand(copies, *t.shape[1:])  # noqa: E731
        return state.camera.map(repeated), observation.map(repeated)

    @cached_property
    def alone(self) -> tuple[Camera, Observation]:
        """This person's camera and observation, one row each."""
        state, observation, _ = self._seen
        return (state.camera, observation) if len(state) == 1 else self.seen()

    def retract(self, x: PoseState, delta: Array) -> PoseState:
        """`State.retract`."""
        rotating, n = self.body.rotating, len(self.body.rotating)
        turn = (x.world[rotating].transpose(0, 2, 1) * delta[3 : 3 + 3 * n].reshape(n, 1, 3)).sum(-1)
        rotations = x.rotations.copy()
        rotations[rotating] = rotations[rotating] @ so3.exp(turn)
        world = self.body.world_rotations(rotations)
        return PoseState(rotations, x.betas + delta[3 + 3 * n :], x.transl + delta[:3], world)

    def linearize(self, x: PoseState, warm_up: bool = False) -> NumpySystem:
        """Cost, gradient and Hessian."""
        e, sums = self._sums(x, warm_up)
        return sums.finish(e)

    def term_costs(self, x: PoseState) -> list[float]:
        """The weighted cost of every term."""
        e = NumpyLinearization(self, x)

        def cost(term: NumpyTerm, weight: float) -> float:
            sums = NumpySums(self.layout.columns, cost_only=True)
            term.add(e, sums, weight)
            return sums.total_cost()

        return [cost(term, weight) for term, weight in self.terms]

    def cost_at(self, x: PoseState, warm_up: bool = False) -> float:
        """The cost alone."""
        return self._sums(x, warm_up, cost_only=True)[1].total_cost()

    def _sums(self, x: PoseState, warm_up: bool, cost_only: bool = False) -> tuple["NumpyLinearization", NumpySums]:
        """The body at x, and what the terms say there."""
        e, sums = NumpyLinearization(self, x), NumpySums(self.layout.columns, cost_only)
        for term, weight in self.warm_up if warm_up else self.terms:
            term.add(e, sums, weight)
        return e, sums


class NumpyLinearization:
    """The body of one person at a pose: what every `NumpyTerm` looks at, as `Linearization` is for a batch."""

    def __init__(self, problem: NumpyProblem, x: PoseState) -> None:
        self.problem, self.body, self.x = problem, problem.body, x
        self.posed = self.body.pose(x)
        rotations, back = x.rotations, problem.start_back
        parts = [rotations[1:]] if back is None else [back @ rotations, rotations[1:]]
        self._logs = so3.log(np.concatenate(parts))  # of both in one call, which takes as long as one
        self._first = 1 - len(rotations)
        # log R (J-1, 3) of the body joints, and φ = log(R⁰ᵀ R) (J, 3) where the observation has an anchor; radians
        self.theta, self.start_turn = self._logs[self._first :], self._logs[: self._first]

    @cached_property
    def _derivatives(self) -> Array:
        """By a turn R <- R exp(δ), of both."""
        return so3.right_jacobian_inverse(self._logs)

    @property
    def theta_derivative(self) -> Array:
        """(J-1, 3, 3)."""
        return self._derivatives[self._first :]

    @property
    def start_derivative(self) -> Array:
        """(J, 3, 3)."""
        return self._derivatives[: self._first]

    @cached_property
    def bone_steps(self) -> Array:
        """(J, 3, S): the derivatives by the betas of where each joint is from the one above it."""
        steps = self.x.world[self.body.up] @ self.body.bone_shapes
        steps[0] = self.body.bone_shapes[0]
        return steps

    def point_rows(self, a: Array) -> Array:
        """`Linearization.point_rows` of covectors a (K, 2, 3): (2 K, P)."""
        return self.body.rows(self.x, self.posed, a, self.bone_steps)

    @cached_property
    def in_torch(self) -> Linearization:
        """The same as a batch of one."""
        camera, observation = self.problem.alone
        x, posed = self.x, self.posed
        of_one = lambda a: torch.from_numpy(a)[None]  # noqa: E731
        rotations, world = of_one(x.rotations), of_one(x.world)
        params = BodyParams(rotations[:, 0], rotations[:, 1:], of_one(x.betas), of_one(x.transl))
        e = Linearization(self.problem.points, State(params, camera, world), observation, self.problem.layout)
        e.posed = PosedPoints(of_one(posed.points), of_one(posed.joints), world, of_one(posed.pairs), rotations)
        return e


class CostlessTerm:
    """A term that has nothing to say of this person."""

    def add(self, e: NumpyLinearization, sums: NumpySums, weight: float) -> None:
        """Add nothing."""


class AddsToBatch(Protocol):
    """A `Term`, as far as `TorchTerm` knows it."""

    def add(self, e: Linearization, sums: NormalEquations, weight: float) -> None:
        """Add cost, gradient and Hessian of a batch to the sums."""


@dataclass(frozen=True, eq=False)
class TorchTerm:
    """A term without a NumPy form, computed in torch for a batch of one."""

    term: AddsToBatch

    def add(self, e: NumpyLinearization, sums: NumpySums, weight: float) -> None:
        """Add its cost, gradient and Hessian to the sums."""
        own = NormalEquations(e.in_torch)
        self.term.add(e.in_torch, own, weight)
        cost, gradient, hessian = (part[0].detach().numpy() for part in own.finish(e.in_torch))
        sums.cost += float(cost)
        sums.gradient += gradient
        sums.hessian += hessian
