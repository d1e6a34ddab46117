"""The frames of a sequence of any length, in memory that hardly grows with them.

    begin:   window after window, frames alone                (`hmrfit.fitting.key_frames`)
    solve:   all frames together, as one problem              (`hmrfit.fitting.sequence`), its equations by windows

What a frame knows beside its keypoints, the start and how wrong it may be (12 kB, and 50 kB with what is made of it),
is kept of as many frames as `KEPT` bytes hold, and made again whenever it is asked for of the others, by the network
that made it. What is kept of every frame is the outcome: its body and its keypoints.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hmrfit.body.points import PointBody
from hmrfit.fitting.anchor_inflation import inflated
from hmrfit.fitting.energy import Stage, StageProblem, observed
from hmrfit.fitting.fit import Fit
from hmrfit.fitting.fitter import Fitter, each_ones
from hmrfit.fitting.gaussian_prior import SILENT
from hmrfit.fitting.key_frames import fitted_frames, key_frames_apart
from hmrfit.fitting.parameters import Observation
from hmrfit.fitting.sequence import one_shape, pieces
from hmrfit.fitting.sequence_posterior import SeenFrames
from hmrfit.fitting.smoothness import Poses, Smoothness
from hmrfit.fitting.starts import Given
from hmrfit.fitting.terms.base import Term
from hmrfit.groups import (
    Pace,
    beside_each_other,
    depth_of,
    from_coarse_frames,
    settled,
    smoothness,
    solved,
    solved_together,
    together,
)
from hmrfit.io.photo import Photo
from hmrfit.prepare import Prepared
from hmrfit.types import BodyParams

MANY = 2048
"""Frames from which they are not begun all at once, nor what they know kept beside the outcome."""

WINDOW = 1024
"""Frames that are begun at a time."""

KEPT = 2**29
"""Bytes of what is kept of what frames know, in single precision: of 40,000 frames."""


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
    if len(given) < MANY:
        fit = fitted_frames(ready.fitter, given, torch.tensor(~blank), pace.fps)
        return *solved_together(ready, fit, blank, pace, poses), None
    fit, seen = begun_by_windows(ready.fitter, given, torch.tensor(blank), pace.fps)
    motion = smoothness(ready, pace, poses, depth_of(fit.state))
    points = ready.fitter.point_body(given.keypoints.names)
    problem = together(ManyFrames(points, seen, ready.fitter.terms, fit.stage), motion, pace)
    found = solved(ready, problem, from_coarse_frames(ready, problem, one_shape(fit.state), pace.fps))

    def outcome(part: slice) -> Fit:
        fit_of_part = replace(fit[part], observation=seen[part])
        return without_what_is_known(settled(ready.fitter, fit_of_part, found.x[part]))

    whole = Fit.cat([outcome(part) for part in pieces(len(fit), WINDOW)])
    return (
        replace(whole, status=torch.full_like(whole.status, found.status), steps=whole.steps + found.steps),
        motion,
        seen,
    )


class ManyFrames(StageProblem):
    """The frames of a stage, each alone, of which what they know is made when some of them are asked about."""

    def __init__(
        self, body: PointBody, seen: "FramesSeen", terms: Mapping[str, Term], stage: Stage, rows: Tensor | None = None
    ) -> None:
        super().__init__(body, observed(seen[:1], terms, stage), terms, stage)
        self.seen, self.rows = seen, rows

    def select(self, index: Tensor | slice) -> StageProblem:
        """The problem of some of the frames: (n,) of them in the same way, those of a slice as they are now."""
        rows = index if self.rows is None else self.rows[index]
        if isinstance(index, Tensor) and isinstance(rows, Tensor):
            return ManyFrames(self.body, self.seen, self.terms, self.stage, rows)
        return StageProblem(self.body, observed(self.seen[rows], self.terms, self.stage), self.terms, self.stage)


@dataclass(frozen=True)
class FramesSeen:
    """What T frames know: keypoints, the start and how wrong it may be. Kept of the first ones, made of the others when
    it is asked for.

    kept: of the first frames, anchors in single precision. Of the others, wider: (T,) log of how much greater the
    variances about the starts are than at first; others: (T,) which of `own` a frame has whose start is another one
    (`hmrfit.fitting.retry`), -1 elsewhere.
    """

    fitter: Fitter
    given: Given
    blank: Tensor  # (T,) bool
    kept: Observation | None
    wider: Tensor
    others: Tensor
    own: Observation | None

    def __getitem__(self, part: slice | Tensor) -> Observation:
        last = part.stop - 1 if isinstance(part, slice) else int(part.max())
        if self.kept is not None and last < len(self.kept.box_size):
            return _in_precision(self.kept[part], torch.float64)
        observation = self.fitter.begin(self.given[part]).observation
        if observation.anchor is not None:
            wider = self.wider[part].exp()[:, None]
            observation = replace(observation, anchor=inflated(observation.anchor, wider))
        rows = (self.others[part] >= 0).nonzero()[:, 0]
        if self.own is not None and len(rows):
            observation = observation.with_rows(rows, self.own[self.others[part].clamp_min(0)])
        return beside_each_other(observation, self.blank[part])


def begun_by_windows(fitter: Fitter, given: Given, blank: Tensor, fps: float) -> tuple[Fit, FramesSeen]:
    """(where the frames begin, without what they know, and what they know)."""
    fits: list[Fit] = []
    kept: list[Observation] = []
    own: list[Observation] = []
    room, T = KEPT, len(given)
    wider, others = torch.zeros(T, dtype=torch.float64), torch.full((T,), -1)
    for part in windows(~blank, key_frames_apart(fps)):
        seen = slice(part.start, part.stop + 1)  # frames lie between key frames, the next window's first one too
        fit = fitted_frames(fitter, given[seen], ~blank[seen], fps)[: part.stop - part.start]
        if room > 0:
            kept.append(_in_precision(beside_each_other(fit.observation, blank[part]), torch.float32))
            room -= _bytes_of_anchor(kept[-1])
        else:
            wider[part], chosen = _changed(fitter, given[part], fit.observation)
            rows = chosen.nonzero()[:, 0]
            others[part.start + rows] = sum(len(one.box_size) for one in own) + torch.arange(len(rows))
            own.append(fit.observation[rows])
        fits.append(without_what_is_known(fit))
    known = FramesSeen(
        fitter,
        given,
        blank,
        Observation.cat(kept) if kept else None,
        wider,
        others,
        Observation.cat(own) if own else None,
    )
    return Fit.cat(fits), known


def windows(usable: Tensor, apart: int) -> list[slice]:
    """At least WINDOW frames each but for the last, which begin where all frames (T,) have a key frame."""
    T = len(usable)
    keys = usable[::apart].nonzero()[:, 0] * apart
    edges = [0]
    while len(keys := keys[keys >= edges[-1] + WINDOW]):
        edges.append(int(keys[0]))
    return [slice(*pair) for pair in pairwise([*edges, T])]


def _changed(fitter: Fitter, given: Given, observation: Observation) -> tuple[Tensor, Tensor]:
    """(how much wider the frames' anchors are than at first (n,), whether they are others (n,) bool)."""
    first, now, n = fitter.begin(given).observation.anchor, observation.anchor, len(given)
    if first is None or now is None:
        return torch.zeros(n, dtype=torch.float64), torch.zeros(n, dtype=torch.bool)
    ratio = 2 * (now.scale / first.scale).log()
    uneven = (ratio - ratio[:, :1]) * (first.scale < SILENT)  # of fingers nothing is said
    moved = (now.rotations - first.rotations).abs().amax((1, 2, 3)) > 0
    return ratio[:, 0], moved | (uneven.abs().amax(1) > 1e-9)


def _in_precision(observation: Observation, kind: torch.dtype) -> Observation:
    """The same with an anchor of this kind of numbers."""
    anchor = observation.anchor
    return observation if anchor is None else replace(observation, anchor=anchor.to(kind))


def _bytes_of_anchor(observation: Observation) -> int:
    """How much memory the anchor takes; a byte where there is none."""
    sizes = [1]

    def count(values: Tensor) -> Tensor:
        sizes.append(values.nbytes)
        return values

    if observation.anchor is not None:
        observation.anchor.map(count)
    return sum(sizes)


def without_what_is_known(fit: Fit) -> Fit:
    """A fit without what is large and can be made again."""
    return replace(fit, observation=replace(fit.observation, anchor=None), start=None)
