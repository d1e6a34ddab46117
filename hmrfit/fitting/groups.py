"""Many frames of one person: a pose for each, one shape for all, and a motion that real bodies could make.

    E = sum_t E_t(pose_t, beta)  +  1/2 sum_t |a_t / s|²,      a_t = (x_(t-1) - 2 x_t + x_(t+1)) / dt²

E_t is the fit's own energy of frame t, whatever its terms, with what is said about the shape alone counted once. x are
points carried by every bone (the joint and two more, so that twists count), s how fast the bodies of real motion
accelerate there. Levenberg-Marquardt on all frames at once, the steps from `hmrfit.fitting.banded`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hmrfit.body.points import PointBody
from hmrfit.body.smpl import SmplBody
from hmrfit.fitting.banded import Bordered
from hmrfit.fitting.problem import Stage, StageProblem
from hmrfit.fitting.solver import MAX_DAMPING, NU_MAX, Options
from hmrfit.fitting.state import Layout, Observation, State
from hmrfit.fitting.terms import Term
from hmrfit.types import BodyParams

ACCELERATION = {
    "knee": 7.0, "ankle": 9.0, "foot": 12.0, "elbow": 5.0, "wrist": 7.0, "hand": 10.0,
}  # fmt: skip
"""m/s², root mean square over 94 recorded movements of the training split at 30 frames a second, in a typical one."""

TRUNK_ACCELERATION = 3.0

MARKER = 0.1
"""Metres from the joint, where the two further points of each bone are."""

SHAPE_ONLY = ("shape", "height", "known_shape")
"""Terms that look at nothing but the shape: what they say is said once, not in every frame."""


class Motion:
    """The smoothness residuals: points of every bone, twice differenced in time.

    Args:
        body: whose.
        weights: of the joints' points are 1/s², s their acceleration times dt²; made by `of`.
    """

    def __init__(self, points: PointBody, scale: Tensor) -> None:
        self.points, self.scale = points, scale  # scale (M,): 1/(s dt²)

    @classmethod
    def of(cls, body: SmplBody, fps: float, smooth: float = 1.0) -> "Motion":
        """For frames 1/fps seconds apart. smooth: multiplies the residuals' weight."""
        names = body.joint_names
        limit = [next((v for part, v in ACCELERATION.items() if part in n), TRUNK_ACCELERATION) for n in names]
        scale = torch.tensor(limit).to(body.v_template).reciprocal().repeat_interleave(3) * fps**2
        return cls(bone_points(body), scale * (smooth / 3) ** 0.5)

    def cost(self, params: BodyParams) -> Tensor:
        """E of the smoothness, one number."""
        return 0.5 * (self._scaled(params).diff(n=2, dim=0)).square().sum()

    def _scaled(self, params: BodyParams) -> Tensor:
        return self.points.pose(params).points * self.scale[:, None]

    def add(self, params: BodyParams, layout: Layout, sums: Bordered) -> Bordered:
        """The equations with this term: G = D^T D couples frames t and t + 1, t + 2, of Jacobians J_t."""
        T, n = sums.gradient.shape
        if T < 3:
            return sums
        posed = self.points.pose(params)
        axes = (self.scale[:, None, None] * torch.eye(3).to(self.scale)).expand(T, -1, 3, 3)
        wanted = [layout.moves(group) for group in ("transl", "betas")]
        J = self.points.rows(posed, axes, layout.turning, *wanted).flatten(1, 2)  # (T, 3 M, P)
        G = stencil(T).to(J)
        pull = banded_product(G, posed.points * self.scale[:, None]).flatten(1)
        J_t, J_shared = J[..., :n], J[..., n:]
        blocks = tuple(
            block + G[k, : T - k, None, None] * (J_t[: T - k].mT @ J_t[k:]) for k, block in enumerate(sums.blocks)
        )
        coupled = banded_product(G, J_shared)  # (T, 3 M, S)
        return Bordered(
            blocks,
            sums.border + J_t.mT @ coupled,
            sums.corner + (J_shared.mT @ coupled).sum(0),
            sums.gradient + (pull[:, None] @ J_t).squeeze(1),
            sums.shared_gradient + (pull[:, None] @ J_shared).sum((0, 1)),
        )


def bone_points(body: SmplBody) -> PointBody:
    """Three points of every bone (3 J): its joint, and MARKER away along the bone's own x and z."""
    J, S = len(body.parents), body.shape_count
    bone = torch.arange(J).repeat_interleave(3)
    offset = MARKER * torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 0, 1]]).repeat(J, 1).to(body.v_template)
    zeros = offset.new_zeros
    return PointBody(
        [f"{name}_{i}" for name in body.joint_names for i in range(3)], body.parents, body.rest_joints,
        body.joint_shapes, torch.arange(3 * J), bone, torch.ones_like(offset[:, 0]), offset,
        zeros(3 * J, 3, S), zeros(3 * J, 3, 9 * (J - 1)),
    )  # fmt: skip


def stencil(count: int) -> Tensor:
    """(3, T): the diagonals of D^T D, D the second differences of T frames; (k, t) is between t and t + k."""
    D = torch.zeros(3, count, dtype=torch.float64)
    for place, coefficient in enumerate((1.0, -2.0, 1.0)):
        for other, second in enumerate((1.0, -2.0, 1.0)):
            if other >= place:
                k = other - place
                D[k, place : count - 2 + place] += coefficient * second
    return D


def banded_product(G: Tensor, x: Tensor) -> Tensor:
    """The symmetric banded matrix of `stencil` times x (T, ...)."""
    shape = (-1, *[1] * (x.ndim - 1))
    total = G[0].view(shape) * x
    for k in (1, 2):
        between = G[k, : len(x) - k].view(shape)
        total[:-k] += between * x[k:]
        total[k:] += between * x[:-k]
    return total


class SequenceProblem:
    """All frames of one person, as equations with a border.

    Args:
        stage: the energy of a frame; weights of terms about the shape alone are divided by the number of frames.
    """

    def __init__(
        self,
        points: PointBody,
        observation: Observation,
        terms: Mapping[str, Term],
        stage: Stage,
        motion: Motion | None,
    ) -> None:
        T = len(observation.box_size)
        weights = {name: w / T if name in SHAPE_ONLY else w for name, w in stage.weights.items()}
        self.frames = StageProblem(points, observation, terms, replace(stage, weights=weights))
        self.motion = motion
        self.width = self.frames.layout.slice("betas").start  # n

    def linearize(self, state: State) -> tuple[float, Bordered]:
        """E, and its equations."""
        linear, n = self.frames.linearize(state), self.width
        H, g = linear.hessian, linear.gradient
        T = len(g)
        off = [H.new_zeros(max(T - k, 0), n, n) for k in ((1, 2) if self.motion else ())]
        sums = Bordered((H[:, :n, :n], *off), H[:, :n, n:], H[:, n:, n:].sum(0), g[:, :n], g[:, n:].sum(0))
        total = float(linear.cost.sum())
        if self.motion is None:
            return total, sums
        return total + float(self.motion.cost(state.params)), self.motion.add(state.params, self.frames.layout, sums)

    def retract(self, state: State, x: Tensor, y: Tensor) -> State:
        """Move every frame by its x (T, n) and the shape of all by y (S,)."""
        return self.frames.retract(state, torch.cat([x, y.expand(len(x), -1)], 1))


@dataclass
class SequenceSolution:
    """The best point found; joints that no term moves are filled in."""

    state: State
    cost: float
    status: int  # see solver.STATUS
    steps: int


def one_shape(state: State) -> State:
    """Every frame with the mean of the frames' shapes, at a depth that keeps its size in the image."""
    betas = state.params.betas.mean(0, keepdim=True).expand_as(state.params.betas).contiguous()
    return State(replace(state.params, betas=betas), state.camera)


def solve_sequence(problem: SequenceProblem, state: State, options: Options) -> SequenceSolution:
    """Levenberg-Marquardt on all frames together; damping as in `solver`, one for the whole sequence."""
    cost, system = problem.linearize(state)
    damping, nu, status, steps = options.damping, 2.0, 0, 0
    if not torch.isfinite(torch.tensor(cost)):
        return SequenceSolution(state, cost, 4, 0)
    while steps < options.max_steps and not status:
        steps += 1
        damped, added = system.damped(damping)
        step = damped.step()
        accepted = False
        if step is not None:
            gradients = (system.gradient, system.shared_gradient)
            predicted = 0.5 * float(sum((d * (a * d - g)).sum() for d, a, g in zip(step, added, gradients, strict=True)))  # fmt: skip  # noqa: E501
            trial = problem.retract(state, *step)
            new, linear = problem.linearize(trial)
            accepted = new <= cost and predicted > 0
        if accepted:
            gain = min((cost - new) / max(predicted, 1e-300), 2.0)
            damping, nu = max(damping * max(1 - (2 * gain - 1) ** 3, 0.1), 1e-9), 2.0
            status = int(cost - new <= options.ftol * new and predicted <= options.ftol * new)
            state, cost, system = trial, new, linear
        else:
            damping, nu = min(damping * nu, MAX_DAMPING), nu * 2
            status = 3 if nu >= NU_MAX else 0
    return SequenceSolution(problem.frames.fill(state), cost, status, steps)
