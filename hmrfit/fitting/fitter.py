"""The fit of batches of people: what does not change from call to call, pieces of a batch, and another device."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from hmrfit.body.mirrored import side_of
from hmrfit.body.point_offsets import PointOffsets
from hmrfit.body.points import PointBody
from hmrfit.body.smpl import SmplBody
from hmrfit.camera import Camera
from hmrfit.fitting.body_with_hands import BodyWithHands, SeekOtherHands, with_hands_sigma
from hmrfit.fitting.devices import moved
from hmrfit.fitting.fit import FITTED_AGAIN, Fit, Seeker
from hmrfit.fitting.mend_labels import as_fitted
from hmrfit.fitting.parameters import Observation
from hmrfit.fitting.pieces import CHUNK, LEAST, in_pieces, slices
from hmrfit.fitting.route import Begun, Route
from hmrfit.fitting.schedule import After, Schedule
from hmrfit.fitting.starts import Given, GivenStart
from hmrfit.fitting.terms.base import Term
from hmrfit.fitting.terms.reprojection import StudentReprojection
from hmrfit.fitting.terms.views import OtherViews
from hmrfit.fitting.uncertainty import (
    GAUSSIAN,
    Answers,
    Calibration,
    Posterior,
    Weight,
    posterior,
    posterior_noise,
    residual_noise,
)
from hmrfit.keypoints import body_places, has_hands
from hmrfit.network.initial_estimate import KeypointHmr
from hmrfit.ops.memory import reuse_memory
from hmrfit.ops.threads import FEW
from hmrfit.types import BodyParams, Keypoints, RecordTable

HAND_CHUNK = 256, LEAST
"""Of hands, which have fewer columns: 128 take 2.2 ms each, 256 take 1.9, 512 take 1.8."""

DEVICE_CHUNK = 4096, 4096
"""On another device, which wants more at a time than `CHUNK`."""


class Fitter:
    """Fits bodies to keypoints. Holds what does not change from call to call.

    Args:
        body: an SMPL-format body in float64.
        terms: the energy's terms by name.
        schedule: start, stages, and what comes after them.
        from_given: the schedule for people whose start the caller gives; default the same stages and steps from it.
        hands: continues fits of a body with hands, where its schedule has a stage for them.
        offsets: where the detector's keypoints lie, off the body's points of these names.
    """

    def __init__(
        self,
        body: SmplBody,
        terms: dict[str, Term],
        schedule: Schedule,
        from_given: Schedule | None = None,
        hands: BodyWithHands | None = None,
        offsets: PointOffsets | None = None,
    ) -> None:
        self.body, self.terms, self.schedule, self.hands = body, terms, schedule, hands
        self.chunk = (CHUNK, LEAST) if side_of(body.skeleton) is None else HAND_CHUNK  # as `pieces.slices` takes it
        self.offsets = offsets
        self.from_given = from_given or replace(schedule, start=GivenStart())
        self.device: torch.device | None = None
        self._on_device: Fitter | None = None
        self._points: dict[tuple[str, ...], PointBody] = {}

    def point_body(self, names: tuple[str, ...]) -> PointBody:
        """The body reduced to a keypoint set; made once per set."""
        if names not in self._points:
            body = self.body
            if self.hands is not None and has_hands(names):
                fingers = [body.joint_names[j] for joints in body.skeleton.fingers.values() for j in joints]
                body = body.driving([*(body.joint_names[j] for j in body.driven if j), *fingers])
            points, offsets = body.points(names), self.offsets_of(names)
            self._points[names] = points if offsets is None else points.with_offsets(offsets)
        return self._points[names]

    def offsets_of(self, names: tuple[str, ...]) -> Tensor | None:
        """(K, 3) metres, where the keypoints of a set lie off the body's own points; None where they do not."""
        return None if self.offsets is None else self.offsets.of(names)

    @property
    def network(self) -> KeypointHmr | None:
        """The network of the initial estimate, where the schedule's start has one."""
        return getattr(self.schedule.start, "network", None)

    def route(self, names: tuple[str, ...]) -> Route:
        """The route of people seen through a keypoint set."""
        return Route(self.point_body(names), self.terms)

    def fit(
        self,
        keypoints: Keypoints,
        camera: Camera,
        init: BodyParams | None = None,
        init_std: float | Tensor | None = None,
        measurements: RecordTable | None = None,
    ) -> Fit:
        """Fits B people; of nobody, the outcome is empty.

        Args:
            keypoints: float64 pixels of the full image, in a set that the body defines.
            camera: one per person.
            init: (B,) parameters to start from instead of the schedule's own start.
            init_std: degrees, how wrong init is, per joint and axis: one number, (J,) or (B, J).
            measurements: what else is known about the B people, for the terms that look at it.
        """
        std = None if init_std is None else each_ones(init_std, keypoints.xy)
        given = Given(keypoints, camera, init, std, measurements or RecordTable())
        fit = self._fit(given) if self.device is None else self._fit_there(given)
        if self.hands is not None and self.joins_hands(keypoints.names):
            return replace(fit, seeker=SeekOtherHands(self.hands))
        return replace(fit, seeker=self.schedule.seeker) if init is None else fit

    def with_hands(self, fit: Fit, keypoints: Keypoints, views: OtherViews) -> Fit:
        """The fit of bodies that several cameras see, continued with their hands; without points of hands, the same.

        Args:
            fit: to the points of the body. keypoints: all of the people's. views: all that the other cameras see.
        """
        if not self.joins_hands(keypoints.names):
            return fit
        assert self.hands is not None and self.schedule.hands is not None
        return self.hands(fit, keypoints, self.schedule.hands, self.route(keypoints.names), views)

    def joins_hands(self, names: Sequence[str]) -> bool:
        """Whether people with these points are fitted with their hands."""
        return self.hands is not None and self.schedule.hands is not None and has_hands(names)

    def _fit_there(self, given: Given) -> Fit:
        """`_fit` on the other device, the outcome here."""
        assert self.device is not None
        return moved(self._moved()._fit(given.to(self.device)), given.keypoints.xy.device)

    def begin(self, given: Given) -> Begun:
        """Where the route of these people begins; with hands, where that of the body alone does, seen through all."""
        schedule, names = self._schedule_of(given), given.keypoints.names
        if not self._fits_hands(names, schedule):
            return schedule.start(given, self.point_body(names))
        assert self.hands is not None and schedule.hands is not None
        own = body_places(names)
        begun = self.begin(replace(given, keypoints=given.keypoints.of_points(own)))
        state, route = begun.state, self.route(names)
        seen = self.hands.observation(state, begun.observation, given.keypoints, schedule.hands, route)
        return replace(begun, observation=seen)

    def on(self, device: torch.device | str) -> "Fitter":
        """A fitter whose `fit` does its work on another device, such as "cuda"; what it takes and gives stays here."""
        other = self.with_schedule(self.schedule)
        other.device = torch.device(device)
        return other

    def with_schedule(
        self, schedule: Schedule, from_given: Schedule | None = None, terms: dict[str, Term] | None = None
    ) -> "Fitter":
        """The same fitter with other schedules or terms, sharing what is cached."""
        other = object.__new__(type(self))
        other.__dict__ = self.__dict__ | {
            "schedule": schedule,
            "from_given": from_given or self.from_given,
            "terms": self.terms if terms is None else terms,
            "_on_device": None,
        }
        return other

    def _moved(self) -> "Fitter":
        """This fitter on its device, made when it is first needed.."""
        if self._on_device is None:
            copy = self.with_schedule(self.schedule)
            copy.device = None
            copy.__dict__ = moved(vars(copy), self.device or torch.device("cpu")) | {"chunk": DEVICE_CHUNK}
            self._on_device = copy
        return self._on_device

    def _fit(self, given: Given) -> Fit:
        """`fit` where everything is on this fitter's device."""
        if len(given) > FEW:
            reuse_memory()
        if len(slices(len(given), *self.chunk)) == 1:
            return self._fit_piece(given)
        own, names = self._schedule_of(given), given.keypoints.names
        each, together = (own, ()) if self._fits_hands(names, own) else own.divided()
        fitter = self.with_schedule(each, each)
        fit = in_pieces(lambda part: fitter._fit_piece(given[part]), len(given), Fit, *self.chunk)
        return self._after(fit, together, self.route(names))

    def _fit_piece(self, given: Given) -> Fit:
        """`fit` of as many people as one batch of the solver takes."""
        schedule, names = self._schedule_of(given), given.keypoints.names
        if not self._fits_hands(names, schedule):
            return self.run(self.begin(given), schedule)
        assert self.hands is not None and schedule.hands is not None
        own = body_places(names)
        fit = self.run(self.begin(replace(given, keypoints=given.keypoints.of_points(own))), schedule)
        found = self.hands(fit, as_fitted(given.keypoints, fit.mended), schedule.hands, self.route(names))
        return replace(found, mended=fit.mended)

    def run(self, begun: Begun, schedule: Schedule | None = None) -> Fit:
        """The stages and steps of a schedule, its own by default, from where a route begins."""
        schedule = schedule or self.schedule
        route = self.route(begun.observation.keypoints.names)
        fit = route.run(begun, schedule.stages)
        return replace(self._after(fit, schedule.after, route), calibration=schedule.calibration)

    def _after(self, fit: Fit, steps: Sequence[After], route: Route) -> Fit:
        """The steps after the stages."""
        for step in steps:
            fit = step(fit, route)
        return fit

    def _schedule_of(self, given: Given) -> Schedule:
        return self.schedule if given.init is None else self.from_given

    def _fits_hands(self, names: tuple[str, ...], schedule: Schedule) -> bool:
        """Whether these keypoints show hands, and the schedule fits them."""
        return self.hands is not None and schedule.hands is not None and len(body_places(names)) < len(names)

    def answers(self, fit: Fit) -> Answers:
        """What may be the answer for the people of a fit, how likely and how sure each is: the other answers that its
        schedule seeks, else the hypotheses that it kept. In pieces, as the fit itself."""
        again = torch.zeros(len(fit), dtype=torch.bool)
        if fit.acceptance is not None:
            again = fit.acceptance.reason == FITTED_AGAIN  # of whom the mixture knows as little as the estimate did
        seeker, anchored = fit.seeker, fit.observation.anchor is not None
        if seeker is None or (seeker.needs_anchor and not anchored) or again.all():
            kept = Answers(fit.hypotheses, fit.hypothesis_cost, self.posterior(fit))
            body = self.point_body(fit.observation.keypoints.names)
            return kept if seeker is None or not anchored else seeker.beside(kept, fit, body, self.terms)
        if again.any():
            rows, rest = (chosen.nonzero()[:, 0] for chosen in (again, ~again))
            both = Answers.cat([self.answers(fit.of(rest)), self.answers(fit.of(rows))])
            return both[torch.cat([rest, rows]).argsort()]
        if len(slices(len(fit))) == 1:
            return self._sought(seeker, fit)
        return in_pieces(lambda part: self._sought(seeker, fit[part]), len(fit), Answers)

    def _sought(self, seeker: Seeker, fit: Fit) -> Answers:
        """What the seeker finds; how sure it is by this fitter where it does not say."""
        found = seeker(fit, self.point_body(fit.observation.keypoints.names), self.terms)
        if found.posterior is not None:
            return found
        known = replace(fit, hypotheses=found.hypotheses, hypothesis_cost=found.cost)
        return replace(found, posterior=self.posterior(known)).as_many_as_there_are()

    def weighs_noise(self, fit: Fit) -> bool:
        """Whether the keypoints of the energy have a noise, so that what is known of it changes the posterior."""
        return self._student(self.calibration(fit)) is not None

    def posterior(self, fit: Fit) -> Posterior:
        """How sure each hypothesis of a fit is, and how likely: as measured of fits of its schedule; where nothing was
        measured, or the anchor is left out of the energy, what the energy says of itself. What is known of the
        keypoints (`fit.keypoint_noise`) is in it; energies whose keypoints have no noise make nothing of that."""
        body, how = self.point_body(fit.observation.keypoints.names), self.calibration(fit)
        seen, noise = self.seen_in_posterior(fit)
        return posterior(body, self.terms, how, fit.hypotheses, fit.hypothesis_cost, seen, noise)

    def seen_in_posterior(self, fit: Fit) -> tuple[Observation, Tensor | None]:
        """(what the weights of the calibration are about, σ_post (B, K) where the keypoints have a noise)."""
        body, seen, how = self.point_body(fit.observation.keypoints.names), fit.observation, self.calibration(fit)
        if how.noise == "residuals":
            seen = replace(seen, noise=residual_noise(body, fit.state, seen))
        own = self._student(how)
        if own is None:
            return (seen if how.hands == 1.0 else with_hands_sigma(seen, how.hands)), None
        found = torch.full_like(seen.keypoints.confidence, own.sigma) if seen.noise is None else seen.noise
        if how.hands != 1.0:
            of_body = set(body_places(seen.keypoints.names))
            found = found * found.new_tensor([1.0 if k in of_body else how.hands for k in range(found.shape[1])])
        return seen, posterior_noise(body, fit.state, seen, found, fit.keypoint_noise)

    def calibration(self, fit: Fit) -> Calibration:
        """What was measured of fits like this one; else the energy's own weights, of a Gaussian."""
        how = fit.calibration
        if how is not None and how.noise == "residuals":
            return how
        if how is None or fit.observation.anchor is None or not fit.stage.weights.get("anchor"):
            own = {name: Weight(w) for name, w in fit.stage.weights.items() if w}
            return Calibration(own, GAUSSIAN, hands=1.0 if how is None else how.hands)
        return how

    def _student(self, how: Calibration) -> StudentReprojection | None:
        """The term whose keypoints have a noise, if it is among the weights."""
        return next((t for n in how.weights if isinstance(t := self.terms[n], StudentReprojection)), None)


def each_ones(init_std: float | Tensor, like: Tensor) -> Tensor:
    """One number, (J,) or (B, J) of them -> (B, 1) or (B, J)."""
    std = torch.as_tensor(init_std, dtype=like.dtype, device=like.device)
    return std if std.ndim == 2 else std.expand(len(like), std.shape[0] if std.ndim else 1)
