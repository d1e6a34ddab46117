"""Pieces of tracks put together: over gaps, through crossings, and after somebody left and came back.

    cost(a, b) = (d / σ_d)² + (Δ log size / σ_s)² + (clothes / σ_c)² + g / patience  [− LOYAL where both were one track]

d is the distance, in sizes, between where piece a leads and where piece b comes from, both in the middle of the gap of
g seconds; σ_d grows with the gap, as people may turn. All pieces are joined at once, by linear assignment: of two who
cross, the way in which both go on together is taken. Costs above `DEAREST` join nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hmrfit.ops.assignment import least_cost_pairs
from hmrfit.video.looks import affinity, mean_looks
from hmrfit.video.seen import Floats, PeopleSeen, Rows

WINDOW = 0.5
"""Seconds at the end of a piece from which its place, velocity and size are taken."""

CLEAR = 0.1
"""Seconds at a crossing that are left out of them: keypoints are mixed up there."""

NEAR, TURNS = 0.15, 0.9
"""σ_d = `NEAR` + `TURNS` · g sizes."""

FARTHEST = 3.0
"""σ_d at most, sizes."""

GROWS = 0.15
"""σ_s, at a gap of nothing; twice as much after a second."""

CLOTHES = 0.12
"""σ_c, of 1 − affinity."""

BRIEF, TRUSTED = 0.4, 4.0
"""Seconds over which any piece may be joined, and more for each second that it lasts."""

MOST_CLOTHES = 4.0, 6.0
"""What other clothes cost at most, and more for each second of the gap: light changes at once, for everybody."""

PATIENCE = 2.0
"""Seconds of a gap that cost 1."""

DEAREST = 9.0

LOYAL = 1.5
"""What it counts that the frame-by-frame assignment thought two pieces one."""

SAID = 0.5
"""Seconds of a gap from which a join is worth a note."""

UNSURE = 1.0
"""Difference of the costs of two ways below which the choice is noted as unsure."""


@dataclass(frozen=True)
class Joining:
    """fps: frames a second. reentry: the longest gap, seconds."""

    fps: float
    reentry: float


@dataclass(frozen=True, eq=False)
class Joined:
    """The tracks, and what is to be said about them."""

    tracks: list[Rows]
    notes: list[tuple[int, str]] = field(default_factory=list)  # a row of the person, a sentence


@dataclass(frozen=True, eq=False)
class _End:
    """Where a piece begins or ends."""

    time: float  # seconds
    place: Floats  # (2,) pixels
    velocity: Floats  # (2,) pixels a second
    size: float  # pixels


def join_pieces(
    seen: PeopleSeen, pieces: Sequence[Rows], scenes: Rows, parted: Mapping[int, int], joining: Joining
) -> Joined:
    """The tracks that pieces make.

    Args:
        seen: rows in the order of frames. scenes: (N,) the scene of each row: nothing is joined across a cut.
        parted: pieces that were one, the number of each -> its continuation.
    """
    if not pieces:
        return Joined([])
    place, size = seen.place(), seen.size()
    crossing = set(parted) | set(parted.values())
    ends = [_end(seen, piece, place, size, joining.fps, True, i in crossing) for i, piece in enumerate(pieces)]
    begins = [_end(seen, piece, place, size, joining.fps, False, i in crossing) for i, piece in enumerate(pieces)]
    looks = None if seen.looks is None else [mean_looks(seen.looks[piece]) for piece in pieces]
    cost = np.full((len(pieces), len(pieces)), np.inf)
    first, last = ([int(seen.frame[piece[k]]) for piece in pieces] for k in (0, -1))
    order = np.argsort(first, kind="stable")
    starts = np.array(first)[order]
    for a in range(len(pieces)):
        longest = min(joining.reentry, _patience(pieces[a], joining.fps)) * joining.fps
        within = slice(*np.searchsorted(starts, [last[a] + 1, last[a] + longest + 1e-6]))
        for b in map(int, order[within]):
            gap = (first[b] - last[a]) / joining.fps
            if scenes[pieces[a][0]] == scenes[pieces[b][0]] and gap <= _patience(pieces[b], joining.fps):
                cost[a, b] = _cost(ends[a], begins[b], gap, None if looks is None else (looks[a], looks[b]))
                cost[a, b] -= LOYAL * (parted.get(a) == b)
    pairs = _cheapest(cost)
    notes = _notes(cost, pairs, first, last, joining.fps, looks is not None)
    return Joined(_chains(pieces, pairs), [(int(pieces[a][0]), note) for a, note in notes.items()])


def _patience(piece: Rows, fps: float) -> float:
    """Seconds over which a piece may be joined: of a few frames it is not known that they are somebody."""
    return BRIEF + TRUSTED * len(piece) / fps


def _end(seen: PeopleSeen, piece: Rows, place: Floats, size: Floats, fps: float, last: bool, crossing: bool) -> _End:
    """The line through the places of the last (or first) frames."""
    frame = seen.frame[piece] / fps
    edge = frame[-1] if last else frame[0]
    distance = np.abs(frame - edge)
    used = (distance >= CLEAR * crossing) & (distance <= WINDOW + CLEAR * crossing)
    if used.sum() < 2:
        used = distance <= WINDOW
    time, where = frame[used], place[piece][used]
    middle = time.mean()
    spread = np.square(time - middle).sum()
    velocity = ((time - middle)[:, None] * where).sum(0) / spread if spread > 0 and used.sum() > 2 else np.zeros(2)
    at_edge = where.mean(0) + velocity * (edge - middle)
    return _End(float(edge), at_edge, velocity, float(np.median(size[piece][used])))


def _cost(a: _End, b: _End, gap: float, looks: tuple[Floats, Floats] | None) -> float:
    half = min(gap / 2, WINDOW)  # nobody keeps a direction for long
    size = np.sqrt(a.size * b.size)
    off = float(np.linalg.norm(a.place + half * a.velocity - (b.place - half * b.velocity))) / size
    cost = (off / min(NEAR + TURNS * gap, FARTHEST)) ** 2
    cost += (np.log(b.size / a.size) / (GROWS * (1 + min(gap, 2.0)))) ** 2
    cost += gap / PATIENCE
    if looks is not None:
        alike = float(affinity(*looks))
        most = MOST_CLOTHES[0] + MOST_CLOTHES[1] * gap
        cost += 0.0 if np.isnan(alike) else min(((1 - alike) / CLOTHES) ** 2, most)
    return cost


def _cheapest(cost: NDArray[np.float64]) -> list[tuple[int, int]]:
    """The pairs that cost least together, where not joining one costs `DEAREST`."""
    bounded = np.where(cost < DEAREST, cost, DEAREST)
    return [(int(a), int(b)) for a, b in zip(*least_cost_pairs(bounded), strict=True) if cost[a, b] < DEAREST]


def _chains(pieces: Sequence[Rows], pairs: list[tuple[int, int]]) -> list[Rows]:
    after = dict(pairs)
    tracks = []
    for number in sorted(set(range(len(pieces))) - set(after.values())):
        chain = [number]
        while chain[-1] in after:
            chain.append(after[chain[-1]])
        tracks.append(np.concatenate([pieces[i] for i in chain]))
    return tracks


def _notes(
    cost: NDArray[np.float64],
    pairs: list[tuple[int, int]],
    first: list[int],
    last: list[int],
    fps: float,
    dressed: bool,
) -> dict[int, str]:
    """Long gaps, and choices that could as well have been the other way: piece -> sentence."""
    notes: dict[int, str] = {}
    by = "place, size and clothes" if dressed else "place and size"
    for a, b in pairs:
        gap = (first[b] - last[a]) / fps
        if gap >= SAID:
            notes[a] = (
                f"Somebody who is not seen for {gap:.1f} s after frame {last[a]} was taken for the same person by {by}."
            )
    for i, (a, b) in enumerate(pairs):
        for c, d in pairs[i + 1 :]:
            other, chosen = cost[a, d] + cost[c, b], cost[a, b] + cost[c, d]
            if other - chosen < UNSURE:
                notes[a] = f"Who is who after frame {max(last[a], last[c])} is unsure: two persons are alike there."
    return notes
