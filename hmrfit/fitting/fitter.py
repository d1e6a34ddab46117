"""The fit of a batch of people: starts, stages, the choice between hypotheses.

    for every person:  hypotheses -> a few steps each -> the likelier half -> to the end -> the one of least energy

All hypotheses of all people run side by side in one batch of the solver.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from hmrfit.body.points import PointBody
from hmrfit.body.smpl import SmplBody
from hmrfit.camera import Camera, default_focal
from hmrfit.fitting.anchor import Anchor
from hmrfit.fitting.anchor_term import AnchorPrior
from hmrfit.fitting.evidence import Evidence
from hmrfit.fitting.guard import Verdict, judge
from hmrfit.fitting.hypotheses import flips
from hmrfit.fitting.problem import Stage, StageProblem, term_costs
from hmrfit.fitting.solver import Options, Solution, solve
from hmrfit.fitting.start import PoseLibrary, starts
from hmrfit.fitting.state import Evaluation, Observation, State
from hmrfit.fitting.terms import (
    JointLimitPrior,
    PosePrior,
    Reprojection,
    ResidualFunction,
    ShapePrior,
    StudentReprojection,
    Term,
    Upright,
    terms_by_name,
)
from hmrfit.fitting.uncertainty import GAUSSIAN, MEASURED, Calibration, Posterior, posterior
from hmrfit.network.error_model import ErrorModel
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


ANCHOR_WEIGHTS = {"anchor": 1.0, "joint_limits": 1.0}

PULLED = Stage({**ANCHOR_WEIGHTS, "keypoints_gaussian": 1.0}, options=Options(max_steps=2, ftol=0.0))
"""From a start whose error is known, first two steps without outliers: what is far off must pull. With outliers from
the first step on, a tenth of the people took twenty steps to the same end."""

ANCHORED = Stage({**ANCHOR_WEIGHTS, "keypoints": 1.0}, options=Options(max_steps=12, ftol=1e-4))
"""Then the energy itself: the start's own prior, keypoints with their own noise, and what no joint can do."""


Rounds = tuple[tuple[Stage, int], ...]


@dataclass(frozen=True)
class Schedule:
    """What to do with the hypotheses. Each round: (stage, how many hypotheses a person keeps after it).

    hypotheses: starts a person, all from the library. with_guess: as many where a first guess is one of them; more gain
    nothing then (validation motion, PA-MPJPE in mm: 51.7 from the guess alone, 51.9 with one to three beside it; the
    second best heading stays as an insurance). Without a guess: 57.2 with four, 53.8 with six, 53.2 with eight.

    anchored: the stages for a start whose error is known, in place of all of the above; empty: there are none.
    flips, window: so many flips of its answer (see `hypotheses`) are fitted too, those that cost at most so many nats
    more than the answer itself.
    """

    hypotheses: int = 6
    rounds: Rounds = ((WIDE, 2), (FINAL, 2))
    with_guess: int = 3
    anchored: tuple[Stage, ...] = (PULLED, ANCHORED)
    flips: int = 3
    window: float = 8.0


def default_terms(gmm: PoseGmm, limits: JointLimits, sigma: float = 0.06) -> list[Term]:
    """The terms that the default schedule weighs. sigma: the robust scale at the end, as a share of the box."""
    wide, final = Reprojection(0.3, "reprojection_wide"), Reprojection(sigma)
    own = [AnchorPrior(), StudentReprojection(), StudentReprojection(nu=torch.inf, name="keypoints_gaussian")]
    return [*own, wide, final, PosePrior(gmm), JointLimitPrior(limits), ShapePrior(), Upright()]


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
    start: State | None = None  # (B,) the first guess or the given start, where there was one
    observation: Observation | None = None  # what was fitted, the start's anchor in it
    verdict: Verdict | None = None  # whether it is better than its start; where not, `state` is the start
    start_term_cost: dict[str, Tensor] = field(default_factory=dict)  # name -> (B,) weighted, at the start

    def of(self, rows: Tensor) -> "Fit":
        """The outcome for some of the people."""
        pick = lambda value: None if value is None else value[rows]  # noqa: E731
        return Fit(
            self.state[rows],
            self.cost[rows],
            {name: value[rows] for name, value in self.term_cost.items()},
            self.status[rows],
            self.steps[rows],
            [state[rows] for state in self.hypotheses],
            pick(self.hypothesis_cost),
            pick(self.start),
            pick(self.observation),
            pick(self.verdict),
            {name: value[rows] for name, value in self.start_term_cost.items()},
        )


class Fitter:
    """Fits bodies to keypoints. Holds what does not change from call to call: body, terms, library of poses.

    Args:
        body: an SMPL-format body in float64.
        terms: the energy's terms; plain functions (state, output, observation) -> (B, M) are welcome.
        library_poses: (N, 3 (J-1)) rotation vectors to start from.
        schedule: hypotheses, stages, weights.
        headings: from how many sides each library pose is tried.
        first_guess: a network that answers for keypoints; its answer is then the first of the hypotheses.
        error_model: says how wrong that answer is; the fit is then anchored at it, by the schedule's stages `anchored`.
        calibration: what was measured of the covariance of such fits.
    """

    def __init__(
        self,
        body: SmplBody,
        terms: Sequence[Term | ResidualFunction],
        library_poses: Tensor,
        schedule: Schedule | None = None,
        headings: int = 16,
        first_guess: KeypointHmr | None = None,
        error_model: ErrorModel | None = None,
        calibration: Calibration = MEASURED,
    ) -> None:
        self.body = body
        self.terms = terms_by_name(terms)
        self.library_poses = library_poses
        self.schedule = schedule or Schedule()
        self.headings, self.first_guess, self.error_model = headings, first_guess, error_model
        self.calibration = calibration
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

    def fit(
        self,
        keypoints: Keypoints,
        camera: Camera,
        init: BodyParams | None = None,
        init_std: float | Tensor | None = None,
        evidence: Evidence | None = None,
    ) -> Fit:
        """Fit B people.

        Args:
            keypoints: float64 pixels of the full image, in a set that the body defines.
            camera: one per person.
            init: (B,) parameters to start from instead of the first guess or the library.
            init_std: degrees, how wrong init is, per joint and axis: one number, (J,) or (B, J).
            evidence: what else is known about the B people, for the terms that look at it.
        """
        observation = Observation.of(keypoints, evidence)
        if init is not None:
            start = State(init, camera)
            spread = {} if init_std is None else {"degrees": init_std}
            observation = replace(observation, anchor=Anchor.around(init, self.body.parents, **spread))
            return self.from_start(start, observation, others=False)
        if self.first_guess is not None and self.error_model is not None and self.schedule.anchored:
            return self.from_start(*self.guess(observation, camera))
        return self.refine(self.starts(keypoints, camera), observation, self.hypotheses)

    def guess(self, observation: Observation, camera: Camera) -> tuple[State, Observation]:
        """The first guess, and the observation with its anchor and the keypoints' noise."""
        keypoints = observation.keypoints
        answer, seen = self.first_guess.look(keypoints, camera)
        projected = camera.project(self.point_body(keypoints.names).pose(answer.params).points)
        misses = (keypoints.xy - projected) / observation.box_size[:, None, None]
        told = (camera.focal.mean(-1) / default_focal(*camera.size.T) - 1).abs() > 1e-6
        spread = self.error_model.judge(seen, answer, misses, told)
        anchor = Anchor.at(answer.params, self.body.parents, spread.scale, spread.factors)
        noise = self.error_model.noise_of(spread, keypoints.names)
        return State(answer.params, camera), replace(observation, anchor=anchor, noise=noise)

    def from_start(self, start: State, observation: Observation, others: bool = True) -> Fit:
        """Fit from one start a person, anchored at it where the schedule has a stage for that; then its flips."""
        stages = self.schedule.anchored
        rounds = tuple((stage, 1) for stage in stages) or self.schedule.rounds
        fit = replace(self.refine(start, observation, 1, rounds), start=start, observation=observation)
        if others and stages and self.schedule.flips:
            fit = self._with_flips(fit, stages[-1])
        return self._guarded(fit, rounds[-1][0])

    def posterior(self, fit: Fit) -> Posterior:
        """How sure each hypothesis of a fit is, and how likely. Measured for fits from the first guess; for others what
        their energy says of itself."""
        body, how = self.point_body(fit.observation.keypoints.names), self.calibration
        if fit.observation.noise is None:
            stage = (*(stage for stage, _ in self.schedule.rounds), *self.schedule.anchored)[-1]
            last = stage if fit.start is not None else self.schedule.rounds[-1][0]
            how = Calibration(last.weights, GAUSSIAN)
        return posterior(body, self.terms, how, fit.hypotheses, fit.hypothesis_cost, fit.observation)

    def _guarded(self, fit: Fit, stage: Stage) -> Fit:
        """The fit where it is better than its start, elsewhere the start (see `guard`)."""
        body = self.point_body(fit.observation.keypoints.names)
        begun = term_costs(Evaluation(body, fit.start, fit.observation), self.terms, stage)
        before = sum(begun.values())
        verdict = judge(body, self.terms, fit.start, before, fit.state, fit.cost, fit.observation)
        fit = replace(fit, verdict=verdict, start_term_cost=begun)
        back = (~verdict.accepted).nonzero()[:, 0]
        if not len(back):
            return fit
        state = fit.state.with_rows(back, fit.start)
        cost = fit.cost.index_copy(0, back, before[back])
        return replace(
            fit,
            state=state,
            cost=cost,
            term_cost={name: value.index_copy(0, back, begun[name][back]) for name, value in fit.term_cost.items()},
            hypotheses=[state, *fit.hypotheses[1:]],
            hypothesis_cost=torch.cat([cost[:, None], fit.hypothesis_cost[:, 1:]], 1),
        )

    def _with_flips(self, fit: Fit, stage: Stage) -> Fit:
        """The same beside what its flips lead to, and the best of all in its place."""
        body, observation, keep = self.point_body(fit.observation.keypoints.names), fit.observation, self.schedule.flips
        flipped = [State(p, fit.state.camera) for p in flips(fit.state.params, body.pose(fit.state.params).joints, body.parents)]  # fmt: skip  # noqa: E501
        count, B = len(flipped), len(fit.cost)
        people = torch.arange(B).repeat(count)
        state = State.cat(flipped)
        begin = sum(term_costs(Evaluation(body, state, observation[people]), self.terms, stage).values())
        begin, order = begin.view(count, B).nan_to_num(torch.inf).sort(dim=0, stable=True)
        alive = begin[:keep] < fit.cost + self.schedule.window
        places, people = alive.nonzero().unbind(1)
        if not len(people):
            return fit
        problem = StageProblem(body, observation[people], self.terms, stage)
        solution = solve(problem, state[order[places, people] * B + people], stage.options)
        found = problem.fill(solution.x)
        cost = sum(problem.term_costs(found).values())
        merged = _merged(fit, body, replace(solution, x=found, cost=cost), places + 1, people, keep)
        term_cost = term_costs(Evaluation(body, merged.state, observation), self.terms, stage)
        return replace(merged, cost=sum(term_cost.values()), term_cost=term_cost)

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

    def refine(self, state: State, observation: Observation, count: int, rounds: Rounds | None = None) -> Fit:
        """Run the rounds, the schedule's own by default, from `count` adjacent hypotheses per person."""
        body = self.point_body(observation.keypoints.names)
        B = len(observation.box_size)
        steps = torch.zeros(B * count, dtype=torch.int64)
        for stage, keep in rounds or self.schedule.rounds:
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
            observation=observation,
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
    return restaged(schedule, lambda stage: replace(stage, weights={**stage.weights, **weights}))


def restaged(schedule: Schedule, change: Callable[[Stage], Stage]) -> Schedule:
    """The schedule with every stage changed."""
    rounds = tuple((change(stage), keep) for stage, keep in schedule.rounds)
    return replace(schedule, rounds=rounds, anchored=tuple(map(change, schedule.anchored)))


SAME = 0.03
"""Metres. Answers none of whose joints are farther apart, the pelvises together, are one."""


def _merged(fit: Fit, body: PointBody, more: Solution, place: Tensor, people: Tensor, keep: int) -> Fit:
    """The fit with more hypotheses, those of `people`, to stand in their `place` (1 .. keep). Answers that are the same
    are kept once; whoever has fewer has copies of the best, at an infinite cost."""
    B, one = len(fit.cost), torch.arange(len(fit.cost))
    rows = one.repeat(keep + 1, 1)  # (H, B) of everyone: the best, then `more`
    rows[place, people] = B + torch.arange(len(people))
    costs = torch.full((B, keep + 1), torch.inf).to(fit.cost)
    costs[:, 0] = fit.cost
    costs[people, place] = more.cost.nan_to_num(torch.inf)
    everyone = State.cat([fit.state, more.x])
    joints = body.pose(everyone.params).joints
    joints = (joints - joints[:, :1])[rows]  # (H, B, J, 3)
    order = costs.argsort(dim=1, stable=True)
    for i in range(1, keep + 1):
        for j in range(i):
            again = (joints[order[:, i], one] - joints[order[:, j], one]).norm(dim=-1).amax(-1) < SAME
            costs[one[again], order[again, i]] = torch.inf
    order = costs.argsort(dim=1, stable=True)
    costs = costs.gather(1, order)
    rows = rows.T.gather(1, order)
    rows = torch.where(costs.isfinite(), rows, rows[:, :1]).T
    steps, status = torch.cat([fit.steps, more.steps]), torch.cat([fit.status, more.status])
    return replace(
        fit,
        state=everyone[rows[0]],
        status=status[rows[0]],
        steps=steps[rows[0]],
        hypotheses=[everyone[row] for row in rows],
        hypothesis_cost=costs,
    )
