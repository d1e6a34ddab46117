"""Who is who in a video: people of single frames, in any order, become tracks of persons.

    1  twice the same         two people of a frame that lie on each other are one
    2  frame after frame      tracks move on with their velocity; Hungarian assignment by keypoint similarity
    3  crossings              where two come close, both tracks are parted; `joining` decides how they go on
    4  after a gap            `joining` puts pieces together by motion, size and clothes
    5  what is nobody         tracks of a few frames are left out, and said

Everything is a function of the keypoints (and of what clothes look like, where pixels were at hand); the order of the
people within a frame changes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hmrfit.ops.assignment import least_cost_pairs
from hmrfit.ops.how_many import how_many
from hmrfit.video.joining import Joining, join_pieces
from hmrfit.video.looks import affinity, mean_looks
from hmrfit.video.seen import Floats, PeopleSeen, Rows, doubles, similarity

LIMB_SPEED = 0.9
"""Sizes a second by which keypoints move against the body's own motion: κ = `STILL` + `LIMB_SPEED` · seconds."""

STILL, WIDEST = 0.07, 0.4
"""κ from one frame to the next of a fast camera, and the widest."""

LEAST_ALIKE = 0.15
"""Similarity of a person to where a track is expected, at the least."""

HOLDS = 0.35
"""Seconds without being seen after which a track ends; it may be joined to a later one."""

STEADY = 0.15
"""Seconds over which a track's velocity is averaged."""

CLOTHES = 0.3
"""How much other clothes count against keypoints that are where they are expected."""

CLOSE = 0.35
"""Of their sizes: people whose places are closer may be confused."""

RECENT = 12
"""Frames whose clothes are remembered while a track is followed."""


@dataclass(frozen=True)
class TrackingOptions:
    """What is a track."""

    reentry: float = 5.0  # seconds after which somebody who left is not looked for any more
    shortest: float = 0.3  # seconds that a person is seen, at least; but never more than a quarter of the video
    least_confidence: float = 0.0  # mean over the keypoints that count: people below are not tracked
    most: int | None = None  # only so many persons, those who are large and long in the picture


@dataclass(frozen=True, eq=False)
class Tracking:
    """Which of the people seen is which person."""

    tracks: list[Rows]  # rows of `PeopleSeen`, in the order of frames; those who appear first come first
    notes: list[str] = field(default_factory=list)  # what was joined, left out, or is unsure: sentences


def track_people(
    seen: PeopleSeen, fps: float, cuts: Sequence[int] = (), options: TrackingOptions = TrackingOptions()
) -> Tracking:
    """The persons of a video.

    Args:
        seen: people, `frame` being the numbers of the video's frames.
        fps: frames a second of the video, by those numbers.
        cuts: numbers of the first frames after a cut, where every track ends.
    """
    rows = np.lexsort((*seen.xy[..., 0].T[::-1], seen.frame))  # the order in a frame is not the file's
    twice = doubles(seen)
    rows = rows[~np.isin(rows, twice)]
    known = seen.known()
    sure = (seen.confidence * known).sum(1) / np.maximum(known.sum(1), 1)
    unsure = sure < options.least_confidence
    usable = known.any(1) & ~unsure
    rows = rows[usable[rows]]
    one = seen[rows]
    scenes = np.searchsorted(np.asarray(sorted(cuts), np.intp), one.frame, side="right")
    pieces: list[Rows] = []
    for scene in np.unique(scenes):
        among = np.flatnonzero(scenes == scene)
        pieces += [among[piece] for piece in follow(one[among], fps)]
    pieces, parted = part_crossings(one, pieces, fps)
    joined = join_pieces(one, pieces, scenes, parted, Joining(fps, options.reentry))
    kept, notes = _long_enough(one, joined.tracks, fps, options)
    kept, fewer = _most_prominent(one, kept, options.most)
    remarks = (
        [f"{how_many(len(twice), 'people were', 'person was')} found twice in one frame, and counted once."]
        if len(twice)
        else []
    )
    if unsure.any():
        remarks.append(
            f"{how_many(unsure.sum(), 'people')} of less confidence than {options.least_confidence:g} left out."
        )
    tracks = sorted((rows[track] for track in kept), key=lambda t: (seen.frame[t[0]], seen.xy[t[0]].min(0)[0]))
    alive = set(np.concatenate(kept).tolist()) if kept else set()
    about = [note for row, note in joined.notes if row in alive]
    return Tracking(tracks, [*remarks, *about, *notes, *fewer])


# ---- frame after frame


class _Moving:
    """A track while it is followed: where each keypoint was last, and how the person moves."""

    def __init__(self, seen: PeopleSeen, row: int, weight: Floats) -> None:
        self.rows = [row]
        self.xy, self.weight = seen.xy[row].astype(float), weight[row].astype(float)
        self.frame = int(seen.frame[row])
        self.velocity = np.zeros(2)  # pixels a frame
        self.size = float(seen[np.array([row])].size()[0])

    def expected(self, frame: int) -> Floats:
        """(K, 2) at a later frame."""
        return self.xy + self.velocity * (frame - self.frame)

    def add(self, seen: PeopleSeen, row: int, weight: Floats, size: float, fps: float) -> None:
        """The person in the next frame."""
        frames = int(seen.frame[row]) - self.frame
        shown, both = weight[row] > 0, (weight[row] > 0) & (self.weight > 0)
        if both.any():
            moved = np.median(seen.xy[row][both] - self.xy[both], axis=0) / frames
            share = max(1 - np.exp(-frames / (STEADY * fps)), 1 / (len(self.rows) + 1))
            self.velocity = self.velocity + share * (moved - self.velocity)
        self.xy = np.where(shown[:, None], seen.xy[row], self.expected(int(seen.frame[row])))
        self.weight = np.where(shown, weight[row], 0.7 * self.weight)  # what is not seen is less and less sure
        self.size += 0.2 * (size - self.size)
        self.frame = int(seen.frame[row])
        self.rows.append(row)


def follow(seen: PeopleSeen, fps: float) -> list[Rows]:
    """Pieces of tracks: people who are where a track is expected. seen: of one scene, in the order of frames."""
    weight, sizes = np.where(seen.known(), seen.confidence, 0.0), seen.size()
    weight = weight / np.maximum(weight.max(1, keepdims=True, initial=0), 1e-9)
    moving: list[_Moving] = []
    ended: list[_Moving] = []
    holds = max(2.0 * _step(seen.frame), HOLDS * fps)
    for group in np.split(np.arange(len(seen)), np.flatnonzero(np.diff(seen.frame)) + 1):
        if not len(group):
            continue
        frame = int(seen.frame[group[0]])
        ended += [track for track in moving if frame - track.frame > holds]
        moving = [track for track in moving if frame - track.frame <= holds]
        pairs = _assigned(seen, group, moving, weight, sizes, fps)
        for t, row in pairs:
            moving[t].add(seen, row, weight, float(sizes[row]), fps)
        moving += [_Moving(seen, int(row), weight) for row in np.setdiff1d(group, [row for _, row in pairs])]
    return [np.array(track.rows, np.intp) for track in ended + moving]


def _step(frame: Rows) -> int:
    """The least distance between two frames that were looked at."""
    steps = np.diff(np.unique(frame))
    return int(steps.min()) if len(steps) else 1


def _assigned(
    seen: PeopleSeen, group: Rows, moving: list[_Moving], weight: Floats, sizes: Floats, fps: float
) -> list[tuple[int, int]]:
    """(track, row) of those who belong together."""
    if not moving:
        return []
    frame = int(seen.frame[group[0]])
    expected = np.stack([track.expected(frame) for track in moving])
    weights = np.stack([track.weight for track in moving])
    size = np.sqrt(np.array([track.size for track in moving])[:, None] * sizes[group][None])
    seconds = np.array([(frame - track.frame) / fps for track in moving])
    reach = np.minimum(STILL + LIMB_SPEED * seconds, WIDEST)[:, None] * size
    alike = similarity(expected, weights, seen.xy[group], weight[group], reach)
    score = alike - CLOTHES * (1 - _affinities(seen, moving, group))
    cost = np.where(alike >= LEAST_ALIKE, -score, 10.0)
    chosen = zip(*least_cost_pairs(cost), strict=True)
    return [(int(t), int(group[i])) for t, i in chosen if alike[t, i] >= LEAST_ALIKE]


def _affinities(seen: PeopleSeen, moving: list[_Moving], group: Rows) -> Floats:
    """(tracks, people) of their clothes; 1 where they are not known."""
    if seen.looks is None:
        return np.ones((len(moving), len(group)))
    lately = np.stack([mean_looks(seen.looks[track.rows[-RECENT:]]) for track in moving])
    return np.nan_to_num(affinity(lately[:, None], seen.looks[group][None]), nan=1.0)


# ---- crossings


def part_crossings(seen: PeopleSeen, pieces: list[Rows], fps: float) -> tuple[list[Rows], dict[int, int]]:
    """Every piece parted in the middle of the time that it spends close to another one.

    Returns: the pieces, and which of them were one: the first one's number -> that of its continuation.
    """
    place, size = seen.place(), seen.size()
    at: dict[int, list[tuple[int, int]]] = {}  # frame -> (piece, row)
    for number, piece in enumerate(pieces):
        for row in piece:
            at.setdefault(int(seen.frame[row]), []).append((number, int(row)))
    close: dict[int, set[int]] = {}
    for frame, people in at.items():
        for i, (a, row) in enumerate(people):
            for b, other in people[i + 1 :]:
                if np.linalg.norm(place[row] - place[other]) < CLOSE * (size[row] + size[other]) / 2:
                    close.setdefault(a, set()).add(frame)
                    close.setdefault(b, set()).add(frame)
    _near_ends(seen, pieces, at, close, place, size)
    parted: list[Rows] = []
    goes_on: dict[int, int] = {}
    for number, piece in enumerate(pieces):
        ends = _middles(sorted(close.get(number, ())), fps)
        parts = [part for part in np.split(piece, np.searchsorted(seen.frame[piece], ends)) if len(part)]
        for part in parts[:-1]:
            goes_on[len(parted)] = len(parted) + 1
            parted.append(part)
        parted.append(parts[-1])
    return parted, goes_on


def _near_ends(
    seen: PeopleSeen,
    pieces: list[Rows],
    at: dict[int, list[tuple[int, int]]],
    close: dict[int, set[int]],
    place: Floats,
    size: Floats,
) -> None:
    """Adds to `close` where somebody begins or ends close to another one, who may have taken over the track."""
    for number, piece in enumerate(pieces):
        for row in (piece[0], piece[-1]):
            for other, its in at[int(seen.frame[row])]:
                near = np.linalg.norm(place[row] - place[its]) < 2 * CLOSE * (size[row] + size[its]) / 2
                if other != number and near:
                    close.setdefault(other, set()).add(int(seen.frame[row]))


def _middles(frames: list[int], fps: float) -> list[int]:
    """The middle frame of each stretch of frames, where gaps below half a second do not end a stretch."""
    if not frames:
        return []
    breaks = np.flatnonzero(np.diff(frames) > 0.5 * fps) + 1
    return [int(np.median(stretch)) for stretch in np.split(np.array(frames), breaks)]


# ---- who is nobody


def _long_enough(
    seen: PeopleSeen, tracks: list[Rows], fps: float, options: TrackingOptions
) -> tuple[list[Rows], list[str]]:
    """Without those that are seen in a few frames only."""
    if not len(seen):
        return [], []
    step = _step(seen.frame)
    frames = int(seen.frame.max() - seen.frame.min()) // step + 1
    least = min(options.shortest * fps / step, frames / 4)
    kept = [track for track in tracks if len(track) >= least]
    gone = [track for track in tracks if len(track) < least]
    if not gone:
        return kept, []
    places = ", ".join(str(seen.frame[track[0]]) for track in gone[:5]) + (" ..." if len(gone) > 5 else "")
    return kept, [
        f"{how_many(len(gone), 'tracks')} of fewer than {how_many(int(np.ceil(least)), 'frames')} left out as nobody "
        f"(from frame {places})."
    ]


def _most_prominent(seen: PeopleSeen, tracks: list[Rows], most: int | None) -> tuple[list[Rows], list[str]]:
    """The `most` tracks of the greatest sum of sizes."""
    if most is None or len(tracks) <= most:
        return tracks, []
    size = seen.size()
    order = sorted(tracks, key=lambda track: -float(size[track].sum()))
    return order[:most], [
        f"{how_many(len(tracks) - most, f'of {len(tracks)} tracks were', f'of {len(tracks)} tracks was')} left out: at "
        f"most {most} were asked for."
    ]


def purity(truth: NDArray[np.integer], tracks: Sequence[Rows]) -> dict[str, float]:
    """How well tracks agree with the truth: {"idf1", "switches", "tracks"}.

    Args:
        truth: (N,) the person of each row, −1 for nobody.

    IDF1 = 2 IDTP / (2 IDTP + IDFP + IDFN), with each person matched to one track (Ristani et al. 2016); a switch is a
    person whose next row is in another track than the last one.
    """
    own = np.full(len(truth), -1)
    for number, track in enumerate(tracks):
        own[track] = number
    people = [person for person in np.unique(truth) if person >= 0]
    shared = np.array([[np.sum((truth == p) & (own == t)) for t in range(len(tracks))] for p in people])
    matched = 0 if shared.size == 0 else int(shared[least_cost_pairs(-shared)].sum())
    switches = 0
    for person in people:
        in_tracks = own[(truth == person) & (own >= 0)]
        switches += int((np.diff(in_tracks) != 0).sum())
    total = int((truth >= 0).sum()) + int((own >= 0).sum())
    return {"idf1": 2 * matched / max(total, 1), "switches": switches, "tracks": len(tracks)}
