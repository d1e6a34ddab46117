"""The fit of batches of people: what does not change from call to call, pieces of a batch, and another device."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import torch
from torch import Tensor

from hmrfit.body.points import PointBody
from hmrfit.body.smpl import SmplBody
from hmrfit.camera import Camera
from hmrfit.fitting.devices import moved
from hmrfit.fitting.fit import Fit
from hmrfit.fitting.route import Begun, Route
from hmrfit.fitting.schedule import Schedule
from hmrfit.fitting.starts import Given, GivenStart
from hmrfit.fitting.terms.base import Term
from hmrfit.fitting.terms.reprojection import StudentReprojection
from hmrfit.fitting.uncertainty import (
    GAUSSIAN,
    Calibration,
    KeypointNoise,
    Posterior,
    Weight,
    posterior,
    residual_noise,
)
from hmrfit.network.initial_estimate import KeypointHmr
from hmrfit.ops.threads import set_own_threads
from hmrfit.types import BodyParams, Keypoints, RecordTable

CHUNK = 128
"""People in one batch of the solver: more are no faster, and memory stays bounded."""

DEVICE_CHUNK = 4096
"""The same on another device, which wants more at a time."""


class Fitter:
    """Fits bodies to keypoints. Holds what does not change from call to call.

    Args:
        body: an SMPL-format body in float64.
        terms: the energy's terms by name.
        schedule: start, stages, and what comes after them.
        from_given: the schedule for people whose start the caller gives; default the same stages and steps from it.
    """

    chunk = CHUNK

    def __init__(
        self, body: SmplBody, terms: dict[str, Term], schedule: Schedule, from_given: Schedule | None = None
    ) -> None:
        self.body, self.terms, self.schedule = body, terms, schedule
        self.from_given = from_given or replace(schedule, start=GivenStart())
        self.device: torch.device | None = None
        self._on_device: Fitter | None = None
        self._points: dict[tuple[str, ...], PointBody] = {}

    def point_body(self, names: tuple[str, ...]) -> PointBody:
        """The body reduced to a keypoint set; made once per set."""
        if names not in self._points:
            self._points[names] = self.body.points(names)
        return self._points[names]

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
        std = None if init_std is None else _each_ones(init_std, keypoints.xy)
        given = Given(keypoints, camera, init, std, measurements or RecordTable())
        if self.device is None:
            return self._fit(given)
        return moved(self._moved()._fit(given.to(self.device)), keypoints.xy.device)

    def begin(self, given: Given) -> Begun:
        """Where the route of these people begins."""
        schedule = self.schedule if given.init is None else self.from_given
        return schedule.start(given, self.point_body(given.keypoints.names))

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
        """This fitter on its device, made when it is first needed. Networks stay where they are."""
        if self._on_device is None:
            copy = self.with_schedule(self.schedule)
            copy.device = None
            copy.__dict__ = moved(vars(copy), self.device or torch.device("cpu")) | {"chunk": DEVICE_CHUNK}
            self._on_device = copy
        return self._on_device

    def _fit(self, given: Given) -> Fit:
        """`fit` where everything is on this fitter's device."""
        if len(given) > self.chunk:
            return in_pieces(lambda part: self._fit_piece(given[part]), len(given), self.chunk)
        return self._fit_piece(given)

    def _fit_piece(self, given: Given) -> Fit:
        """`fit` of as many people as one batch of the solver takes."""
        schedule = self.schedule if given.init is None else self.from_given
        return self.run(self.begin(given), schedule)

    def run(self, begun: Begun, schedule: Schedule | None = None) -> Fit:
        """The stages and steps of a schedule, its own by default, from where a route begins."""
        schedule = schedule or self.schedule
        route = self.route(begun.observation.keypoints.names)
        fit = route.run(begun, schedule.stages)
        for step in schedule.after:
            fit = step(fit, route)
        return replace(fit, calibration=schedule.calibration)

    def posterior(self, fit: Fit, noise: KeypointNoise | None = None) -> Posterior:
        """How sure each hypothesis of a fit is, and how likely: as measured of fits of its schedule; where nothing was
        measured, or the anchor is left out of the energy, what the energy says of itself.

        Args:
            noise: what is known of the keypoints; None: they are exact. Energies whose keypoints have no noise of their
                own make nothing of it.
        """
        body, seen, how = self.point_body(fit.observation.keypoints.names), fit.observation, fit.calibration
        costs = fit.hypothesis_cost if fit.calibrated_cost is None else fit.calibrated_cost
        if how is not None and how.noise == "residuals":
            seen = replace(seen, noise=residual_noise(body, fit.state, seen))
        elif how is None or seen.anchor is None or not fit.stage.weights.get("anchor"):
            how = Calibration({name: Weight(w) for name, w in fit.stage.weights.items() if w}, GAUSSIAN)
        own = next((t for n in how.weights if isinstance(t := self.terms[n], StudentReprojection)), None)
        if own is None:
            return posterior(body, self.terms, how, fit.hypotheses, costs, seen)
        found = torch.full_like(seen.keypoints.confidence, own.sigma) if seen.noise is None else seen.noise
        if noise is not None:
            found = noise.with_predicted(found, residual_noise(body, fit.state, seen))
        return posterior(body, self.terms, how, fit.hypotheses, costs, seen, found)


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
