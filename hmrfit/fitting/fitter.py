"""The fit of a batch of people: starts, stages, the choice between hypotheses.

    for every person:  hypotheses -> a few steps each -> the likelier half -> to the end -> the one of least energy

All hypotheses of all people run side by side in one batch of the solver.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from hmrfit.body.points import PointBody
from hmrfit.body.smpl import SmplBody
from hmrfit.camera import Camera
from hmrfit.fitting.problem import Stage, StageProblem
from hmrfit.fitting.solver import Options, solve
from hmrfit.fitting.start import PoseLibrary, starts
from hmrfit.fitting.state import Observation, State
from hmrfit.fitting.terms import (
    JointLimitPrior,
    PosePrior,
    Reprojection,
    ResidualFunction,
    ShapePrior,
    Term,
    Upright,
    terms_by_name,
)
from hmrfit.network.first_guess import KeypointHmr
from hmrfit.priors.gmm import PoseGmm
from hmrfit.priors.limits import JointLimits
from hmrfit.types import BodyParams, Keypoints

PRIOR_WEIGHTS = {"gmm": 1.0, "joint_limits": 1.0, "shape": 1.0, "upright": 8.0}

WIDE = Stage({**PRIOR_WEIGHTS, "reprojection_wide": 200.0}, options=Options(max_steps=5, ftol=1e-3))
"""First the robust scale is so wide (0.3 of the box) that no keypoint counts as an outlier: a raised arm that the start
has hanging must pull. Starting at the final scale left it behind: 58.0 instead of 53.9 mm on validation motion."""

FINAL = Stage({**PRIOR_WEIGHTS, "reprojection": 24.0}, options=Options(max_steps=30, ftol=1e-4))
"""Then 0.06: near the truth the cost is that of a Gaussian of 0.06/sqrt(24) = 1.2 % of the box, and no keypoint can
cost more than 12."""


@dataclass(frozen=True)
class Schedule:
    """What to do with the hypotheses. Each round: (stage, how many hypotheses a person keeps after it).

    hypotheses: starts a person, all from the library. with_guess: as many where a first guess is one of them; more gain
    nothing then (validation motion, PA-MPJPE in mm: 51.7 from the guess alone, 51.9 with one to three beside it; the
    second best heading stays as an insurance). Without a guess: 57.2 with four, 53.8 with six, 53.2 with eight.
    """

    hypotheses: int = 6
    rounds: tuple[tuple[Stage, int], ...] = ((WIDE, 2), (FINAL, 2))
    with_guess: int = 3


def default_terms(gmm: PoseGmm, limits: JointLimits, sigma: float = 0.06) -> list[Term]:
    """The terms that the default schedule weighs. sigma: the robust scale at the end, as a share of the box."""
    wide, final = Reprojection(0.3, "reprojection_wide"), Reprojection(sigma)
    return [wide, final, PosePrior(gmm), JointLimitPrior(limits), ShapePrior(), Upright()]


@dataclass
class Fit:
    """The outcome for B people; `kept` hypotheses each, the best first."""

    state: State  # (B,) the best
    cost: Tensor  # (B,)
    term_cost: dict[str, Tensor]  # name -> (B,) weighted
    status: Tensor  # (B,) see solver.STATUS
    steps: Tensor  # (B,) solver steps of the winner, all rounds
    hypotheses: list[State] = field(default_factory=list)  # kept entries of (B,), by rising cost
    hypothesis_cost: Tensor | None = None  # (B, kept)


class Fitter:
    """Fits bodies to keypoints. Holds what does not change from call to call: body, terms, library of poses.

    Args:
        body: an SMPL-format body in float64.
        terms: the energy's terms; plain functions (state, output, observation) -> (B, M) are welcome.
        library_poses: (N, 3 (J-1)) rotation vectors to start from.
        schedule: hypotheses, stages, weights.
        headings: from how many sides each library pose is tried.
        first_guess: a network that answers for keypoints; its answer is then the first of the hypotheses.
    """

    def __init__(
        self,
        body: SmplBody,
        terms: Sequence[Term | ResidualFunction],
        library_poses: Tensor,
        schedule: Schedule | None = None,
        headings: int = 16,
        first_guess: KeypointHmr | None = None,
    ) -> None:
        self.body = body
        self.terms = terms_by_name(terms)
        self.library_poses = library_poses
        self.schedule = schedule or Schedule()
        self.headings, self.first_guess = headings, first_guess
        self._points: dict[tuple[str, ...], PointBody] = {}
        self._libraries: dict[tuple[str, ...], PoseLibrary] = {}

    def point_body(self, names: tuple[str, ...]) -> PointBody:
        """The body reduced to a keypoint set; made once per set."""
        if names not in self._points:
            self._points[names] = self.body.points(names)
        return self._points[names]

    def library(self, names: tuple[str, ...]) -> PoseLibrary:
        """The starting poses seen through a keypoint set; made once per set."""
        if names not in self._libraries:
            self._libraries[names] = PoseLibrary.build(self.point_body(names), self.library_poses, self.headings)
        return self._libraries[names]

    def fit(self, keypoints: Keypoints, camera: Camera, init: BodyParams | None = None) -> Fit:
        """Fit B people.

        Args:
            keypoints: float64 pixels of the full image, in a set that the body defines.
            camera: one per person.
            init: (B,) parameters to start from instead of the library.
        """
        observation = Observation.of(keypoints)
        if init is not None:
            return self.refine(State(init, camera), observation, 1)
        return self.refine(self.starts(keypoints, camera), observation, self.hypotheses)

    @property
    def hypotheses(self) -> int:
        """Starts a person."""
        return self.schedule.hypotheses if self.first_guess is None else self.schedule.with_guess

    def starts(self, keypoints: Keypoints, camera: Camera) -> State:
        """The hypotheses to begin from, `hypotheses` adjacent ones for each person, a first guess before the others."""
        if self.first_guess is None:
            return self._from_library(keypoints, camera, self.hypotheses)
        guess = State(self.first_guess.predict(keypoints, camera).params, camera)
        count = self.hypotheses - 1
        if not count:
            return guess
        others = self._from_library(keypoints, camera, count)
        people = torch.arange(len(guess))[:, None]
        rows = torch.cat([people, len(guess) + people * count + torch.arange(count)], 1).flatten()
        return State.cat([guess, others])[rows]

    def _from_library(self, keypoints: Keypoints, camera: Camera, count: int) -> State:
        body, library = self.point_body(keypoints.names), self.library(keypoints.names)
        return starts(body, library, Observation.of(keypoints), camera, count)

    def refine(self, state: State, observation: Observation, count: int) -> Fit:
        """Run the rounds from `count` adjacent hypotheses per person."""
        body = self.point_body(observation.keypoints.names)
        B = len(observation.box_size)
        steps = torch.zeros(B * count, dtype=torch.int64)
        for stage, keep in self.schedule.rounds:
            problem = StageProblem(body, observation[_each(B, count)], self.terms, stage)
            solution = solve(problem, state, stage.options)
            rows = _cheapest(solution.cost, count, keep)
            count = min(keep, count)
            state, status = problem.fill(solution.x)[rows], solution.status[rows]
            steps = (steps + solution.steps)[rows]
        # once more with the joints filled in, which the solver's own costs have at their start
        term_cost = problem.select(rows).term_costs(state)
        cost = sum(term_cost.values())
        rows = _cheapest(cost, count, count)
        best = rows[::count]
        return Fit(
            state[best],
            cost[best],
            {name: value[best] for name, value in term_cost.items()},
            status[best],
            steps[best],
            [state[rows[h::count]] for h in range(count)],
            cost[rows].reshape(B, count),
        )

    def with_schedule(self, schedule: Schedule) -> "Fitter":
        """The same fitter with another schedule, sharing what is cached."""
        other = object.__new__(Fitter)
        other.__dict__ = self.__dict__ | {"schedule": schedule}
        return other


def _each(people: int, count: int) -> Tensor:
    """Whose each of `count` adjacent hypotheses is: (people · count,)."""
    return torch.arange(people).repeat_interleave(count)


def _cheapest(cost: Tensor, count: int, keep: int) -> Tensor:
    """Rows of the `keep` cheapest of every person's `count` adjacent hypotheses, the cheapest first; NaN comes last."""
    order = cost.nan_to_num(torch.inf).reshape(-1, count).argsort(dim=1, stable=True)[:, :keep]
    return (order + torch.arange(len(order))[:, None] * count).flatten()


def reweighted(schedule: Schedule, **weights: float) -> Schedule:
    """The schedule with some weights of every stage changed."""
    rounds = tuple((replace(stage, weights={**stage.weights, **weights}), keep) for stage, keep in schedule.rounds)
    return replace(schedule, rounds=rounds)
