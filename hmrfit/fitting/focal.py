"""The focal length: what a wrong one does to a fit, and finding it.

What a wrong one does is seen by two short fits side by side, one with each. To find it: at a fit x* of the energy
E(x, s), s = log f, the gradient g(x*, s) vanishes. So, by the implicit function theorem,

    d x*/d s = - H⁻¹ d g/d s,            H = d g/d x

says how the whole body answers to another focal length. x is taken along with it first: a pelvis at depth e^s Z is seen
where it was, so g changes by what perspective alone tells, and what is left to solve for is small. The Gauss-Newton
matrix is not good enough here (by it the pose changes twice as much as in refits), so H is the true one, by conjugate
gradients: its products are differences of the analytic gradient, the Gauss-Newton matrix is the preconditioner.

With a prior on s, the focal length is fitted as one unknown more. The energy that is left when the body has answered,
E*(s) = min_x E, has the derivatives (envelope theorem, Schur complement)

    E*' = dE/ds,      E*'' = d²E/ds² + (dg/ds)^T d x*/d s

so a Newton step on s, the body following by d x*/d s and a few steps of its own, is the joint Newton step.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hmrfit.body.points import PointBody
from hmrfit.fitting.energy import Stage, StageProblem
from hmrfit.fitting.parameters import Observation, State
from hmrfit.fitting.solver import BatchedSystem
from hmrfit.fitting.terms.base import Term
from hmrfit.ops.check import numbers
from hmrfit.types import TensorRecord

STEP = 1e-4
"""Of log f, in the differences."""

WRONG = 1.2
"""The report's factor: the focal length used is a sixth too short."""

REFIT_STEPS, REFIT_FTOL, PAIRS = 8, 1e-4, 64
"""Of the two fits that are compared, and how many people at a time. On the 22 photographs 0.2 mm from fits to the end
(40 steps, 1e-8), of 6.9 mm that the joints move; 7 ms for one person, d x*/d s takes six times as long."""

LENS_STD = 0.35
"""Standard deviation of log f about the image's diagonal. Of lenses from 20 to 110 mm (35 mm equivalent), uniform in
the logarithm, it is 0.49; most photographs are nearer to the middle."""

FARTHEST = 1.0
"""Of log f: how far from the prior's middle the search goes, e^1 = 2.7 times."""

NEWTON_STEPS, LONGEST_STEP = 6, 0.3

CG_STEPS, TOLERANCE = 25, 1e-6
"""Of the conjugate gradients: most steps, and the part of the preconditioned residual's square that may be left."""


FACTORS = (1e-3, 1e3)
"""What `focal_effect` may be asked about."""


def checked_factor(factor: float) -> float:
    """A factor of the focal length.

    Raises:
        ValueError, TypeError: it is none.
    """
    what = "a number above 0, how many times as long the focal length is"
    return float(numbers(factor, "factor", what, (), *FACTORS))


@dataclass(frozen=True)
class FocalSensitivity(TensorRecord):
    """What a focal length `factor` times the one that was used would have changed, for B people."""

    factor: float
    depth: Tensor  # (B,) metres, of the pelvis along z
    joints: Tensor  # (B, J) metres, how far each joint moves relative to the pelvis
    moved: Tensor  # (B, J, 3) metres, the same as vectors

    def at(self, factor: float, depth: Tensor) -> "FocalSensitivity":
        """For another factor, to first order in its logarithm. depth: (B,) of the pelvises as they are."""
        share = math.log(factor) / math.log(self.factor)
        farther = depth * ((1 + self.depth / depth) ** share - 1)
        return FocalSensitivity(factor, farther, abs(share) * self.joints, share * self.moved)

    def summary(self, person: int | None = None) -> str:
        """In words, of one person or in the median."""
        of = slice(None) if person is None else slice(person, person + 1)
        depth, joints = self.depth[of].median().item(), 1e3 * self.joints[of, 1:].mean(1).median().item()
        where = "farther away" if depth >= 0 else "nearer"
        return f"{abs(depth):.2f} m {where}, joints moved by {joints:.0f} mm on average"


def refocused(body: PointBody, state: State, s: Tensor | float) -> State:
    """The state seen with e^s times the focal length, s (B,) or one for all, from e^s times as far away."""
    p, factor = state.params, torch.as_tensor(s).to(state.params.transl).exp().expand(len(state))
    camera = replace(state.camera, focal=state.camera.focal * factor[:, None])
    pelvis = body.rest_joints[0, 2] + p.betas @ body.joint_shapes[0, 2]
    depth = factor * (p.transl[:, 2] + pelvis) - pelvis
    return State(replace(p, transl=torch.cat([p.transl[:, :2], depth[:, None]], 1)), camera, state.world)


class FocalProblem:
    """A stage's energy as a function of x and s, the depth of the pelvis following e^s."""

    def __init__(self, body: PointBody, observation: Observation, terms: Mapping[str, Term], stage: Stage) -> None:
        self.problem, self.body = StageProblem(body, observation, terms, stage), body

    def refocused(self, state: State, s: Tensor | float) -> State:
        """See `refocused`."""
        return refocused(self.body, state, s)

    def derivatives(self, state: State) -> tuple[BatchedSystem, Tensor, Tensor, Tensor]:
        """(the problem at x, dE/ds (B,), d²E/ds² (B,), dg/ds (B, P))."""
        here, up, down = (self.problem.linearize(self.refocused(state, s)) for s in (0.0, STEP, -STEP))
        slope = (up.cost - down.cost) / (2 * STEP)
        curvature = (up.cost + down.cost - 2 * here.cost) / STEP**2
        return here, slope, curvature, (up.gradient - down.gradient) / (2 * STEP)

    def answer(self, state: State, system: BatchedSystem, mixed: Tensor) -> Tensor:
        """d x*/ds (B, P): conjugate gradients on H y = -dg/ds for every person, stopped where H is not positive."""
        precondition = _inverse(system.hessian)
        y, r = torch.zeros_like(mixed), -mixed
        z = precondition(r)
        direction, rz = z, (r * z).sum(-1)
        going, enough = rz > 0, TOLERANCE * rz
        for _ in range(CG_STEPS):
            curved = self.product(state, direction)
            curvature = (direction * curved).sum(-1)
            going = going & (curvature > 0)
            step = torch.where(going, rz / curvature.clamp_min(1e-300), 0.0)
            y, r = y + step[:, None] * direction, r - step[:, None] * curved
            z = precondition(r)
            new = (r * z).sum(-1)
            going = going & (new > enough)
            if not going.any():
                break
            direction, rz = z + (new / rz.clamp_min(1e-300))[:, None] * direction, new
        return y

    def product(self, state: State, direction: Tensor) -> Tensor:
        """H times directions (B, P), a central difference of the gradient over a step of length STEP."""
        length = direction.norm(dim=-1, keepdim=True).clamp_min(1e-30)
        up, down = (
            self.problem.linearize(self.problem.retract(state, s * direction / length)).gradient for s in (STEP, -STEP)
        )
        return (up - down) / (2 * STEP) * length


def _inverse(H: Tensor) -> Callable[[Tensor], Tensor]:
    """Vectors (B, P) -> H⁻¹ of them, H with a floor under its diagonal where nothing is known."""
    diagonal = H.diagonal(dim1=1, dim2=2)
    floor = 1e-9 * diagonal.amax(1, keepdim=True).clamp_min(1e-30)
    lower, _ = torch.linalg.cholesky_ex(H + torch.diag_embed(floor.expand_as(diagonal)))
    return lambda v: torch.cholesky_solve(v[..., None], lower).squeeze(-1)


@dataclass(frozen=True)
class FittedEnergy:
    """What a fit of B people minimised at its end."""

    terms: Mapping[str, Term]
    stage: Stage
    observation: Observation


def focal_sensitivity(
    body: PointBody, energy: FittedEnergy, state: State, factor: float = WRONG, fixed: Tensor | None = None
) -> FocalSensitivity:
    """How far depth and joints move where the focal length is `factor` times what it is: both are fitted on, from
    `state` and from the same body seen with the other focal length, and compared.

    What was known to the fit stays as it was, a start and its covariance too. fixed: (B,) bool, people whose answer is
    their start whatever the energy says; they only stand elsewhere.
    """
    options = replace(energy.stage.options, warm_up_steps=0, max_steps=REFIT_STEPS, ftol=REFIT_FTOL)
    stage = replace(energy.stage, options=options)
    parts = torch.arange(len(state)).split(PAIRS) if len(state) else ()
    found = [_pair(body, replace(energy, stage=stage), state, rows, factor, fixed) for rows in parts]
    moved = torch.cat(found) if found else body.pose(state.params).joints
    about = moved - moved[:, :1]
    return FocalSensitivity(factor, moved[:, 0, 2], about.norm(dim=-1), about)


def _pair(
    body: PointBody, energy: FittedEnergy, state: State, rows: Tensor, factor: float, fixed: Tensor | None
) -> Tensor:
    """(b, J, 3) metres: by how much the joints of some people differ between the two refits."""
    twice = torch.arange(len(rows)).repeat(2)
    begun = State.cat([state[rows], refocused(body, state[rows], math.log(factor))])
    problem = StageProblem(body, energy.observation[rows][twice], energy.terms, energy.stage)
    found = problem.fill(problem.solve(begun).x)
    if fixed is not None:
        found = found.with_rows(fixed[rows][twice].nonzero()[:, 0], begun)
    before, after = body.pose(found.params).joints.chunk(2)
    return (after - before).nan_to_num(0.0)


@dataclass(frozen=True)
class FocalFit:
    """A fit whose focal length was free."""

    state: State  # its camera has the focal length that was found
    cost: Tensor  # (B,) with the prior of log f
    log_factor: Tensor  # (B,) log of the focal length found over the one begun with
    std: Tensor  # (B,) of log f: what the data and the prior leave open
    steps: Tensor  # (B,) of the solver


def free_focal(
    body: PointBody,
    terms: Mapping[str, Term],
    stage: Stage,
    state: State,
    observation: Observation,
    std: float = LENS_STD,
) -> FocalFit:
    """The focal length of every person's camera beside the body, from a fit `state` at the prior's middle.

    std: of the prior on log f. Costs are only compared where they fall: a step that raises the energy is halved.
    """
    problem = FocalProblem(body, observation, terms, stage)
    prior = lambda away: 0.5 * (away / std) ** 2  # noqa: E731
    away = torch.zeros(len(state)).to(state.params.transl)
    settled = problem.problem.solve(state)
    state, cost, steps = settled.x, settled.cost, settled.steps
    reach, curvature = torch.full_like(away, LONGEST_STEP), torch.ones_like(away)
    for _ in range(NEWTON_STEPS):
        system, slope, second, mixed = problem.derivatives(state)
        answer = problem.answer(state, system, mixed)
        curvature = (second + (mixed * answer).sum(-1)).clamp_min(0) + 1 / std**2
        move = (-(slope + away / std**2) / curvature).clamp(-reach, reach)
        move = (away + move).clamp(-FARTHEST, FARTHEST) - away
        trial = problem.refocused(problem.problem.retract(state, move[:, None] * answer), move)
        found = problem.problem.solve(trial)
        better = found.cost + prior(away + move) < cost + prior(away)
        steps = steps + found.steps
        state = _choose(better, found.x, state)
        cost, away = torch.where(better, found.cost, cost), torch.where(better, away + move, away)
        reach = torch.where(better, reach, 0.25 * move.abs())
        if bool((move.abs() < 1e-3).all()):
            break
    return FocalFit(problem.problem.fill(state), cost + prior(away), away, curvature.rsqrt(), steps)


def _choose(first: Tensor, a: State, b: State) -> State:
    """State a where `first` (B,), b elsewhere."""
    rows = first.nonzero()[:, 0]
    return State(b.params, b.camera).with_rows(rows, State(a.params, a.camera)) if len(rows) else b
