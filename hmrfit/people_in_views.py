"""Which of the people that one camera sees are which of those that another sees, by geometry alone.

    cost(a person, a track) = median over common frames and keypoints of  min(|Π_v(X) − x_v| / size_v, CAP)

X is triangulated from all views that the person would have then, size_v the person's box there. View after view the
tracks are assigned to the persons so far (`linear_sum_assignment`); a person has all views' agreement at once, so what
pairs of views say can form no contradiction. Then every view is taken out and assigned again, until nothing changes:
the order in which views and tracks are given does not decide.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hmrfit.ops.assignment import least_cost_pairs
from hmrfit.ops.triangulation import triangulate

Floats = NDArray[np.float64]

DEAREST = 0.06
"""Fractions of the box: a track further from a person is another's. Detectors are within 0.02, a rig that was moved
after its calibration within 0.03."""

CAP = 0.5
FRAMES = 40
"""That are looked at, spread over the common ones."""

LEAST_POINTS = 4
"""Keypoints that two views share, median over those frames: fewer agree by chance."""

ROUNDS = 4


@dataclass(frozen=True, eq=False)
class ViewTrack:
    """One person as one camera sees it, lens distortion taken out."""

    frames: NDArray[np.int64]  # (n,) ascending
    xy: Floats  # (n, K, 2) pixels
    confidence: Floats  # (n, K), 0 where unseen

    def size(self) -> float:
        """The longer side of the box, median over the frames, pixels."""
        seen = (self.confidence > 0)[..., None]
        low, high = np.where(seen, self.xy, np.inf).min(1), np.where(seen, self.xy, -np.inf).max(1)
        size = (high - low).max(1)
        size = size[np.isfinite(size)]
        return max(float(np.median(size)), 1.0) if size.size else 1.0


Person = dict[int, list[int]]
"""View -> its tracks of the person, which do not overlap in time."""


def match_people(views: Sequence[Sequence[ViewTrack]], projections: Floats) -> list[Person]:
    """The persons, those who are seen most first; a track that agrees with no other view's is a person of its own.

    Args:
        views: of each of C cameras, its tracks. projections: (C, 3, 4) K [R | t], pixels.
    """
    matching = _Matching(views, projections)
    order = sorted(range(len(views)), key=lambda v: (-len(views[v]), v))
    people: list[Person] = []
    for view in order:
        people = matching.with_view(people, view)
    for _ in range(ROUNDS):
        before = _frozen(people)
        for view in order:
            without = [{v: tracks for v, tracks in one.items() if v != view} for one in people]
            people = matching.with_view([one for one in without if one], view)
        if _frozen(people) == before:
            break
    people = [{view: sorted(one[view]) for view in sorted(one)} for one in people]
    return sorted(people, key=lambda one: (-matching.seen(one), list(one.items())))


def _frozen(people: Sequence[Person]) -> set[tuple[tuple[int, tuple[int, ...]], ...]]:
    return {tuple((view, tuple(sorted(one[view]))) for view in sorted(one)) for one in people}


def view_disagreement(person: Person, views: Sequence[Sequence[ViewTrack]], projections: Floats) -> float:
    """By what fraction of the box the views of a person miss each other; NaN where no frame is seen by two."""
    matching, (view, *rest) = _Matching(views, projections), sorted(person)
    others = {v: person[v] for v in rest}
    found = [matching.cost(others, view, i) for i in person[view]]
    known = [cost for cost in found if cost < CAP]
    return float(np.mean(known)) if known else float("nan")


class _Matching:
    """The tracks of all views, and what it costs to take some of them for one person."""

    def __init__(self, views: Sequence[Sequence[ViewTrack]], projections: Floats) -> None:
        self.views, self.projections = views, projections
        self.sizes = [[track.size() for track in tracks] for tracks in views]

    def seen(self, person: Person) -> int:
        """Frames times views."""
        return sum(len(self.views[v][i].frames) for v, tracks in person.items() for i in tracks)

    def with_view(self, people: list[Person], view: int) -> list[Person]:
        """The persons with one more view's tracks; those of nobody are new persons."""

        people = [{v: list(tracks) for v, tracks in one.items()} for one in people]
        left = list(range(len(self.views[view])))
        while left and people:
            cost = np.array([[self.cost(one, view, i) for i in left] for one in people])
            rows, columns = least_cost_pairs(np.minimum(cost, CAP))
            taken = [(r, left[c]) for r, c in zip(rows, columns, strict=True) if cost[r, c] < DEAREST]
            for row, track in taken:
                people[row].setdefault(view, []).append(track)
            left = [i for i in left if i not in {track for _, track in taken}]
            if not taken:
                break
        return [*people, *({view: [i]} for i in left)]

    def cost(self, person: Person, view: int, track: int) -> float:
        """Of taking a track for the person's; `CAP` where the two say nothing of each other."""
        own = self.views[view][track]
        if any(len(np.intersect1d(own.frames, self.views[view][i].frames)) for i in person.get(view, ())):
            return CAP
        parts = [(v, i) for v, tracks in person.items() if v != view for i in tracks]
        others = np.unique(np.concatenate([self.views[v][i].frames for v, i in parts])) if parts else np.zeros(0, int)
        common = np.intersect1d(own.frames, others)
        if not len(common):
            return CAP
        frames = common[np.linspace(0, len(common) - 1, min(FRAMES, len(common))).round().astype(int)]
        seen = [(view, track), *parts]
        used = sorted({v for v, _ in seen})
        K = own.xy.shape[1]
        xy, weight = np.zeros((len(frames), K, len(used), 2)), np.zeros((len(frames), K, len(used)))
        sizes = np.ones(len(used))
        for v, i in seen:
            at, one = used.index(v), self.views[v][i]
            where = np.searchsorted(one.frames, frames).clip(0, len(one.frames) - 1)
            there = (one.frames[where] == frames)[:, None]
            xy[:, :, at] = np.where(there[..., None], one.xy[where], xy[:, :, at])
            weight[:, :, at] = np.where(there, one.confidence[where], weight[:, :, at])
            sizes[at] = self.sizes[v][i]
        shared = (weight[:, :, used.index(view)] > 0) & ((weight > 0).sum(-1) >= 2)
        if np.median(shared.sum(1)) < LEAST_POINTS:
            return CAP
        _, away = triangulate(self.projections[used], xy[shared], weight[shared])
        away = np.minimum(away / sizes, CAP)
        return float(np.median(np.nanmean(away, 1)))
