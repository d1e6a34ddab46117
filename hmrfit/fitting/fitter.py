"""The fit of a batch of people: starts, stages, the choice between hypotheses.

    for every person:  hypotheses -> a few steps each -> the likelier half -> to the end -> the one of least energy

All hypotheses of all people run side by side in one batch of the solver.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hmrfit.body.points import PointBody
from hmrfit.body.smpl import SmplBody
from hmrfit.camera import Camera
from hmrfit.fitting.anchor import Anchor
from hmrfit.fitting.anchor_inflation import held, loosened
from hmrfit.fitting.devices import AtHome, moved
from hmrfit.fitting.energy import StageProblem
from hmrfit.fitting.evidence import Evidence
from hmrfit.fitting.fit import Fit
from hmrfit.fitting.focal import last_stage
from hmrfit.fitting.guarded import guarded
from hmrfit.fitting.modes import with_flips
from hmrfit.fitting.parameters import Observation, State
from hmrfit.fitting.schedule import Rounds, Schedule
from hmrfit.fitting.starts import PoseLibrary, starts
from hmrfit.fitting.terms.anchor import AnchorPrior
from hmrfit.fitting.terms.base import ResidualFunction, Term, terms_by_name
from hmrfit.fitting.terms.joint_limits import JointLimitPrior
from hmrfit.fitting.terms.keypoints import Reprojection, StudentReprojection
from hmrfit.fitting.terms.pose_prior import PosePrior
from hmrfit.fitting.terms.shape import ShapePrior
from hmrfit.fitting.terms.upright import Upright
from hmrfit.fitting.uncertainty import GAUSSIAN, GIVEN, MEASURED, Calibration, Posterior, Weight, posterior
from hmrfit.network.error_model import ErrorModel
from hmrfit.network.initial_estimate import KeypointHmr
from hmrfit.ops.threads import set_own_threads
from hmrfit.priors.gmm import PoseGmm
from hmrfit.priors.limits import JointLimits
from hmrfit.types import BodyParams, Keypoints, Regression, TensorRecord

CHUNK = 128
"""People in one batch of the solver: more are no faster, and memory stays bounded."""

CHUNK_THERE = 4096
"""The same on another device, which wants more at a time."""

LEAST_SEEN = 4
"""Keypoints that everyone whom the error model was trained on had; of people with fewer it knows nothing."""


def default_terms(gmm: PoseGmm, limits: JointLimits, sigma: float = 0.06) -> list[Term]:
    """The terms that the default schedule weighs. sigma: the robust scale at the end, as a share of the box."""
    wide, final = Reprojection(0.3, "reprojection_wide"), Reprojection(sigma)
    own = [AnchorPrior(), StudentReprojection(), StudentReprojection(nu=torch.inf, name="keypoints_gaussian")]
    return [*own, wide, final, PosePrior(gmm), JointLimitPrior(limits), ShapePrior(), Upright()]


@dataclass(frozen=True)
class Given(TensorRecord):
    """What `Fitter.fit` is given of B people, one row each."""

    keypoints: Keypoints
    camera: Camera
    init: BodyParams | None
    init_std: Tensor | None  # (B, J), or (B, 1) for all joints alike
    evidence: Evidence | None

    def __len__(self) -> int:
        return len(self.keypoints)


class Fitter:
    """Fits bodies to keypoints. Holds what does not change from call to call: body, terms, library of poses.

    Args:
        body: an SMPL-format body in float64.
        terms: the energy's terms; plain functions (state, output, observation) -> (B, M) are welcome.
        library_poses: (N, 3 (J-1)) rotation vectors to start from.
        schedule: hypotheses, stages, weights.
        headings: from how many sides each library pose is tried.
        initial_estimate: a network that answers for keypoints; its answer is then the first of the hypotheses.
        error_model: says how wrong that answer is; the fit is then anchored at it, by the schedule's stages `anchored`.
        calibration: what was measured of the covariance of such fits.
        own_shapes: are the initial estimate's betas this body's? On others' bodies its shape is not used.
    """

    chunk = CHUNK

    def __init__(
        self,
        body: SmplBody,
        terms: Sequence[Term | ResidualFunction],
        library_poses: Tensor,
        schedule: Schedule | None = None,
        headings: int = 16,
        initial_estimate: KeypointHmr | None = None,
        error_model: ErrorModel | None = None,
        calibration: Calibration = MEASURED,
        own_shapes: bool = True,
    ) -> None:
        self.body = body
        self.terms = terms_by_name(terms)
        self.library_poses = library_poses
        self.schedule = schedule or Schedule()
        self.headings, self.initial_estimate, self.error_model = headings, initial_estimate, error_model
        self.calibration, self.own_shapes = calibration, own_shapes
        self.device: torch.device | None = None
        self._twin: Fitter | None = None
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
        """Fit B people; of nobody, the outcome is empty.

        Args:
            keypoints: float64 pixels of the full image, in a set that the body defines.
            camera: one per person.
            init: (B,) parameters to start from instead of the initial estimate or the library.
            init_std: degrees, how wrong init is, per joint and axis: one number, (J,) or (B, J).
            evidence: what else is known about the B people, for the terms that look at it.
        """
        std = None if init_std is None else _each_ones(init_std, keypoints.xy)
        given = Given(keypoints, camera, init, std, evidence)
        if self.device is None:
            return self._fit(given)
        return moved(self._there()._fit(given.to(self.device)), keypoints.xy.device)

    def on(self, device: torch.device | str) -> "Fitter":
        """A fitter whose `fit` does its work on another device, such as "cuda"; what it takes and gives stays here."""
        other = self.with_schedule(self.schedule)
        other.device = torch.device(device)
        return other

    def _there(self) -> "Fitter":
        """This fitter on its device, made when it is first needed."""
        if self._twin is None:
            twin = self.with_schedule(self.schedule)
            networks = {name: getattr(self, name) for name in ("initial_estimate", "error_model")}
            held = moved({k: v for k, v in vars(twin).items() if k not in networks}, self.device)
            home = {name: network and AtHome(network, self.device) for name, network in networks.items()}
            twin.__dict__ = held | home | {"device": None, "chunk": CHUNK_THERE}
            self._twin = twin
        return self._twin

    def _fit(self, given: Given) -> Fit:
        """`fit` where everything is on this fitter's device."""
        if len(given) > self.chunk:
            return in_pieces(lambda part: self._fit_piece(given[part]), len(given), self.chunk)
        return self._fit_piece(given)

    def _fit_piece(self, given: Given) -> Fit:
        """`fit` of as many people as one batch of the solver takes."""
        observation = Observation.of(given.keypoints, given.evidence)
        if given.init is not None:
            start = State(given.init, given.camera)
            spread = {} if given.init_std is None else {"degrees": given.init_std}
            observation = replace(observation, anchor=Anchor.around(given.init, self.body.parents, **spread))
            return self.from_start(start, observation, others=False)
        if self.initial_estimate is not None and self.error_model is not None and self.schedule.anchored:
            return self.from_start(*self.guess(observation, given.camera))
        return self.refine(self.starts(given.keypoints, given.camera), observation, self.hypotheses)

    def guess(self, observation: Observation, camera: Camera) -> tuple[State, Observation]:
        """The initial estimate, and the observation with its anchor and the keypoints' noise."""
        keypoints = observation.keypoints
        answer, seen = self.initial_estimate.forward(keypoints, camera)
        answer = answer if self.own_shapes else self._of_mean_shape(answer)
        projected = camera.project(self.point_body(keypoints.names).pose(answer.params).points)
        misses = (keypoints.xy - projected) / observation.box_size[:, None, None]
        spread = self.error_model.predict(seen, answer, misses, camera.focal_known)
        anchor = held(Anchor.at(answer.params, self.body.parents, spread.scale, spread.factors))
        anchor = anchor if self.own_shapes else anchor.of_unknown_shape()
        anchor = anchor.unknown((LEAST_SEEN - keypoints.presence.sum(1)).clamp(0, 1))
        noise = self.error_model.noise_of(spread, keypoints.names)
        return State(answer.params, camera), replace(observation, anchor=anchor, noise=noise)

    def _of_mean_shape(self, answer: Regression) -> Regression:
        """The answer on this body, whose betas mean something else than the network's."""
        betas = answer.params.betas.new_zeros(len(answer), self.body.shape_count)
        return replace(answer, params=replace(answer.params, betas=betas))

    def from_start(self, start: State, observation: Observation, others: bool = True) -> Fit:
        """Fit from one start a person, anchored at it where the schedule has a stage for that; then its flips."""
        stages = self.schedule.anchored
        rounds = tuple((stage, 1) for stage in stages) or self.schedule.rounds
        fit = replace(self.refine(start, observation, 1, rounds), start=start, observation=observation)
        body, how = self.point_body(observation.keypoints.names), self.schedule
        plain = observation.noise is not None and observation.evidence is None
        if stages and how.loosening is not None and plain:
            refine = lambda state, seen, stage: self.refine(state, seen, 1, ((stage, 1),))  # noqa: E731
            fit = loosened(fit, stages[-1], how.loosening, refine)
        if others and stages and how.flips:
            fit = with_flips(fit, body, self.terms, stages[-1], how.likely, how.flips, how.window)
        return guarded(fit, body, self.terms, rounds[-1][0], how.likely) if how.guarded else fit

    def posterior(self, fit: Fit) -> Posterior:
        """How sure each hypothesis of a fit is, and how likely: as measured where it is anchored, at the initial
        estimate or (as far as `init_std` is true) at a given start; else what its energy says of itself."""
        body = self.point_body(fit.observation.keypoints.names)
        how = self.calibration if fit.observation.noise is not None else GIVEN
        weights = last_stage(self.schedule, fit).weights
        if fit.observation.anchor is None or not weights.get("anchor"):
            how = Calibration({name: Weight(w) for name, w in weights.items() if w}, GAUSSIAN)
        costs = fit.hypothesis_cost if fit.likely_cost is None else fit.likely_cost
        return posterior(body, self.terms, how, fit.hypotheses, costs, fit.observation)

    @property
    def hypotheses(self) -> int:
        """Starts a person."""
        return self.schedule.hypotheses if self.initial_estimate is None else self.schedule.with_estimate

    def starts(self, keypoints: Keypoints, camera: Camera) -> State:
        """The hypotheses to begin from, `hypotheses` adjacent ones for each person, an initial estimate before the
        others."""
        if self.initial_estimate is None:
            return self._from_library(keypoints, camera, self.hypotheses)
        guess = State(self.initial_estimate.predict(keypoints, camera).params, camera)
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
        steps = torch.zeros(B * count, dtype=torch.int64, device=state.params.transl.device)
        for stage, keep in rounds or self.schedule.rounds:
            problem = StageProblem(body, observation[_each(B, count)], self.terms, stage)
            solution = problem.solve(state)
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
        other = object.__new__(type(self))
        other.__dict__ = self.__dict__ | {"schedule": schedule, "_twin": None}
        return other


def in_pieces(fit: Callable[[slice], Fit], people: int, chunk: int = CHUNK) -> Fit:
    """Fits of `chunk` people each, as many side by side as torch has threads, as one.

    The matrices of a piece are too small for several threads to share, so every piece has one. The pieces are the same
    on any number of cores, and so are the answers. Terms are called from these threads: they must not keep notes.
    """
    parts = [slice(i, i + chunk) for i in range(0, people, chunk)]
    with ThreadPoolExecutor(torch.get_num_threads(), initializer=set_own_threads, initargs=(1,)) as pool:
        return Fit.cat(list(pool.map(fit, parts)))


def _each_ones(init_std: float | Tensor, like: Tensor) -> Tensor:
    """One number, (J,) or (B, J) of them -> (B, 1) or (B, J)."""
    std = torch.as_tensor(init_std, dtype=like.dtype, device=like.device)
    return std if std.ndim == 2 else std.expand(len(like), std.shape[0] if std.ndim else 1)


def _each(people: int, count: int) -> Tensor:
    """Whose each of `count` adjacent hypotheses is: (people · count,)."""
    return torch.arange(people).repeat_interleave(count)


def _cheapest(cost: Tensor, count: int, keep: int) -> Tensor:
    """Rows of the `keep` cheapest of every person's `count` adjacent hypotheses, the cheapest first; NaN comes last."""
    order = cost.nan_to_num(torch.inf).reshape(-1, count).argsort(dim=1, stable=True)[:, :keep]
    return (order + count * torch.arange(len(order), device=order.device)[:, None]).flatten()
