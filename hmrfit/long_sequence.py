"""The frames of a sequence of any length: at once, or where they are many by windows that overlap.

    every window w:       (x_w, beta_w) = argmin E_w
    all windows:          beta = (sum A_w)⁻¹ sum (A_w beta_w - g_w)                         a Newton step of the whole
    every window again:   x_w = argmin E_w(., beta),     until beta stands

g_w is the gradient dE_w/dbeta of a window's own frames, those beside them being there for these only, A_w its Hessian
d²E_w/dbeta² less what the frames take, so that where beta stands, it is that of all frames at once.
What is beyond a window's end is forgotten within the overlap: where frames show little, an error fades to 1/e in about
half a second. Equations take the memory of one window; what a frame knows beside its keypoints, the start and how wrong
it may be, is made again when it is asked for (`FramesSeen`). What is kept of every frame still grows with their number:
0.2 MB a frame, joint_std included. With the sweeps a frame takes twice as long as in one piece.
"""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hmrfit.fitting.anchor_inflation import inflated
from hmrfit.fitting.fit import Fit
from hmrfit.fitting.fitter import Fitter, each_ones
from hmrfit.fitting.gaussian_prior import SILENT
from hmrfit.fitting.key_frames import fitted_frames, key_frames_apart
from hmrfit.fitting.parameters import Observation, State
from hmrfit.fitting.sequence import SequenceProblem, one_shape
from hmrfit.fitting.sequence_posterior import SeenFrames
from hmrfit.fitting.smoothness import Poses, Smoothness
from hmrfit.fitting.starts import Given
from hmrfit.groups import (
    Pace,
    beside_each_other,
    depth_of,
    from_coarse_frames,
    minimised,
    problem_of,
    smoothness,
    solved_together,
)
from hmrfit.io.photo import Photo
from hmrfit.prepare import Prepared
from hmrfit.types import BodyParams

WINDOW = 1024
"""Frames that are a window's own."""

SWEEPS, STANDS = 3, 0.003
"""At most so many times again, until no beta moves by more."""

OVERLAP = 3.0
"""Seconds, on both sides."""


def fit_frames(
    ready: Prepared,
    photo: Photo,
    blank: NDArray[np.bool_],
    pace: Pace,
    start: tuple[BodyParams | None, Tensor | None],
    poses: Poses | None = None,
) -> tuple[Fit, Smoothness | None, SeenFrames | None]:
    """Some frames alone, then all together: (the outcome, the smoothness in it, what frames know where the outcome does
    not hold it). start: of each frame, and how wrong it is. poses: of the camera, where its world is known."""
    init, std = start
    std = None if std is None else each_ones(std, photo.keypoints.xy)
    given = Given(photo.keypoints, photo.camera, init, std, ready.records)
    parts = windows(len(given), pace.fps)
    if len(parts) == 1:
        fit = fitted_frames(ready.fitter, given, torch.tensor(~blank), pace.fps)
        return *solved_together(ready, fit, blank, pace, poses), None
    return _Windows(ready, given, torch.tensor(blank), pace, poses, parts).solved()


@dataclass(frozen=True)
class FrameWindow:
    """Some frames: those that it sees, and those that are its own."""

    seen: slice
    own: slice

    @property
    def kept(self) -> slice:
        """Its own frames among those that it sees."""
        return slice(self.own.start - self.seen.start, self.own.stop - self.seen.start)


def windows(T: int, fps: float) -> list[FrameWindow]:
    """All T frames, as evenly as can be; one window where two would not pay."""
    overlap, apart = int(np.ceil(OVERLAP * fps)), key_frames_apart(fps)
    size = max(WINDOW, 4 * overlap)
    count = max(1, round(T / size)) if 2 * size < T else 1
    edges = np.linspace(0, T, count + 1).round().astype(int).tolist()
    begins = [max(0, a - overlap) // apart * apart for a in edges[:-1]]  # key frames are the same in all windows
    ends = [min(T, b + overlap) for b in edges[1:]]
    return [
        FrameWindow(slice(*seen), slice(*own))
        for seen, own in zip(zip(begins, ends, strict=True), pairwise(edges), strict=True)
    ]


@dataclass(frozen=True)
class FramesSeen:
    """What T frames know, made when it is asked for: keypoints, the start and how wrong it may be.

    wider: (T,) log of how much greater the variances about the starts are than at first. others: (T,) which of `own`
    a frame has whose start is another one (`hmrfit.fitting.retry`), -1 elsewhere.
    """

    fitter: Fitter
    given: Given
    blank: Tensor  # (T,) bool
    wider: Tensor
    others: Tensor
    own: Observation | None

    def __getitem__(self, part: slice) -> Observation:
        observation = self.fitter.begin(self.given[part]).observation
        if observation.anchor is not None:
            wider = self.wider[part].exp()[:, None]
            observation = replace(observation, anchor=inflated(observation.anchor, wider))
        rows = (self.others[part] >= 0).nonzero()[:, 0]
        if self.own is not None and len(rows):
            observation = observation.with_rows(rows, self.own[self.others[part].clamp_min(0)])
        return beside_each_other(observation, self.blank[part])


@dataclass(frozen=True)
class _Windows:
    """The fit by windows."""

    ready: Prepared
    given: Given
    blank: Tensor
    pace: Pace
    poses: Poses | None
    parts: list[FrameWindow]

    def solved(self) -> tuple[Fit, Smoothness | None, SeenFrames]:
        """(the outcome, the smoothness in it, what frames know)."""
        first = [self._alone(window) for window in self.parts]
        found, seen = [one.found for one in first], self._seen(first)
        depth = depth_of(State.cat([one.fit.state for one in found]))
        for _ in range(SWEEPS):
            fit = Fit.cat([one.fit for one in found])
            matrix, pull = (torch.stack([getattr(one, part) for one in found]).sum(0) for part in ("matrix", "pull"))
            betas = torch.linalg.lstsq(matrix, pull[:, None]).solution[:, 0]
            moved = float((fit.state.params.betas - betas).abs().max())
            params = replace(fit.state.params, betas=betas.expand(len(fit), -1).contiguous())
            fit = replace(fit, state=State(params, fit.state.camera))
            found = [self._again(window, fit, seen, depth) for window in self.parts]
            if moved < STANDS:
                break
        return Fit.cat([one.fit for one in found]), smoothness(self.ready, self.pace, self.poses, depth), seen

    def _alone(self, window: FrameWindow) -> "_Begun":
        """A window with a shape of its own."""
        part = window.seen
        begun = fitted_frames(self.ready.fitter, self.given[part], ~self.blank[part], self.pace.fps)
        wider, others = self._changed(begun.observation, part)
        fit = replace(begun, observation=beside_each_other(begun.observation, self.blank[part]))
        poses = None if self.poses is None else self.poses[part]
        problem = problem_of(self.ready, fit, self.pace, poses, depth_of(fit.state))
        state = from_coarse_frames(problem, one_shape(fit.state), self.pace.fps)
        fit = minimised(self.ready, fit, problem, state)
        chosen = others[window.kept].nonzero()[:, 0] + window.kept.start
        own = begun.observation[chosen] if len(chosen) else None
        return _Begun(_found(problem, fit, window), wider[window.kept], others[window.kept], own)

    def _changed(self, observation: Observation, part: slice) -> tuple[Tensor, Tensor]:
        """(how much wider the frames' anchors are than at first (n,), whether they are others (n,) bool)."""
        first, now = self.ready.fitter.begin(self.given[part]).observation.anchor, observation.anchor
        n = part.stop - part.start
        if first is None or now is None:
            return torch.zeros(n, dtype=torch.float64), torch.zeros(n, dtype=torch.bool)
        ratio = 2 * (now.scale / first.scale).log()
        uneven = (ratio - ratio[:, :1]) * (first.scale < SILENT)  # of fingers nothing is said
        moved = (now.rotations - first.rotations).abs().amax((1, 2, 3)) > 0
        return ratio[:, 0], moved | (uneven.abs().amax(1) > 1e-9)

    def _seen(self, first: "list[_Begun]") -> FramesSeen:
        others = torch.cat([one.others for one in first])
        place = torch.where(others, others.cumsum(0) - 1, -1)
        own = [one.own for one in first if one.own is not None]
        wider = torch.cat([one.wider for one in first])
        return FramesSeen(
            self.ready.fitter, self.given, self.blank, wider, place, Observation.cat(own) if own else None
        )

    def _again(self, window: FrameWindow, fit: Fit, seen: FramesSeen, depth: float) -> "_Found":
        """A window's own frames, with the shape of all."""
        part = window.seen
        own = replace(fit[part], observation=seen[part])
        poses = None if self.poses is None else self.poses[part]
        problem = problem_of(self.ready, own, self.pace, poses, depth, shape_moves=False)
        return _found(problem, minimised(self.ready, own, problem, own.state), window)


@dataclass(frozen=True)
class _Found:
    """The outcome for a window's own frames, and what they say of the shape of all."""

    fit: Fit
    matrix: Tensor  # (S, S) A_w
    pull: Tensor  # (S,) A_w beta_w - g_w


@dataclass(frozen=True)
class _Begun:
    """A window with a shape of its own, and what its own frames know (`FramesSeen`)."""

    found: _Found
    wider: Tensor  # (n,)
    others: Tensor  # (n,) bool
    own: Observation | None


def _found(problem: SequenceProblem, fit: Fit, window: FrameWindow) -> _Found:
    """Without what is large and can be made again."""
    matrix, gradient = problem.shape_equations(fit.state, window.kept)
    light = replace(fit, observation=replace(fit.observation, anchor=None), start=None)
    return _Found(light[window.kept], matrix, matrix @ fit.state.params.betas[0] - gradient)
