"""Several calibrated cameras over time: what they saw of each person, and the fit of one person's motion.

    every frame alone, from the frame of every camera  ->  the best start of each frame  ->  all frames together

The frames are solved in the frame of one camera, the base, which sees the person best; the others are terms of the
energy (`fitting.terms.views`), and the motion is smooth in the world, where its pelvis moves in metres.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from hmrfit.camera import PIXEL_CENTER, Camera
from hmrfit.fitting.fit import Fit
from hmrfit.fitting.parameters import State
from hmrfit.fitting.smoothness import Poses
from hmrfit.fitting.terms.base import Known
from hmrfit.groups import (
    Pace,
    bodies_in_views,
    in_known_world,
    seen_with_hands,
    solved_together,
    with_hands_in_views,
)
from hmrfit.io.calibration.rig import CameraCalibration
from hmrfit.io.keypoint_checks.sides import SWAPPED
from hmrfit.io.keypoint_files import PersonKeypoints
from hmrfit.io.photo import Photo
from hmrfit.make_result import FEW_KEYPOINTS, FEW_SEEN
from hmrfit.ops.how_many import how_many
from hmrfit.people_in_views import Person, ViewTrack, match_people, view_disagreement
from hmrfit.prepare import Prepared
from hmrfit.result import FitResult, WorldResult
from hmrfit.several import SetLike, photo_of_frames, read_people_of_frames
from hmrfit.types import Keypoints
from hmrfit.video.track_files import read_tracks
from hmrfit.world import between, moved_params

DISAGREE = (
    "The cameras do not agree about this person: lines of sight to one point miss each other by {:.1%} of the box in "
    "the median. Look whether the videos are synchronous, whether a camera was moved after its calibration, and "
    "whether all show the same person."
)

DISAGREES = 0.03

NOBODY_IN_TWO = (
    "No person is seen by two cameras. Look whether the views are given in the order of the calibration's cameras, and "
    "whether their frames are of the same times."
)

OF_ONE_VIEW = (SWAPPED, "x and y may be exchanged")
"""Warnings that one view's keypoints give rise to; cameras that agree about every point contradict them."""

ARRAYS = (".npy", ".npz")
"""Files of one person's frames; others name the people and frames."""

FEWEST_VIEWS = 2
"""Cameras that see a person, for a fit in the world."""


@dataclass(frozen=True, eq=False)
class TrackInView:
    """One person in one camera's video, the keypoints as the lens made them."""

    frames: NDArray[np.int64]  # (n,) ascending, counted from the common beginning
    people: tuple[PersonKeypoints, ...]  # (n,)


@dataclass(frozen=True, eq=False)
class SeenPerson:
    """What C cameras saw of one person in T frames."""

    photos: tuple[Photo, ...]  # of each camera that saw the person, T frames; blank ones filled with their neighbours'
    blank: NDArray[np.bool_]  # (V, T) which are blank
    views: tuple[int, ...]  # (V,) which of the C cameras these are
    frames: NDArray[np.int64]  # (T,) the frames' numbers, one after the other
    disagreement: float  # between the views, a fraction of the box; see `people_in_views`

    @property
    def nowhere(self) -> NDArray[np.bool_]:
        """(T,) the frames in which no camera sees the person."""
        return np.asarray(self.blank.all(0), bool)

    @property
    def base(self) -> int:
        """Which of `photos` sees most of the person."""
        shown = [p.keypoints.confidence.sum(1).numpy() * ~b for p, b in zip(self.photos, self.blank, strict=True)]
        return int(np.argmax([of_one.sum() for of_one in shown]))

    def keypoints(self, place: int) -> Keypoints:
        """(T, K) without lens distortion, confidence 0 where nothing was seen."""
        seen = self.photos[place].keypoints
        return replace(seen, confidence=seen.confidence * torch.tensor(~self.blank[place])[:, None])


def read_views_over_time(
    views: Sequence[Any] | Mapping[str, Any], calibration: CameraCalibration, names: SetLike
) -> tuple[list[list[TrackInView]], CameraCalibration]:
    """(the tracks of each view, the cameras of these views), checked.

    Raises:
        ValueError, TypeError: another number of views than of cameras, or what a view holds is none of keypoints.
    """
    if isinstance(views, Mapping):
        calibration, views = calibration.select(list(views)), list(views.values())
    if isinstance(views, str | bytes) or not hasattr(views, "__len__"):
        raise TypeError(
            "views should be a list with the keypoints of each camera, or a dictionary of them by its name."
        )
    if len(views) != len(calibration):
        raise ValueError(
            f"There are {how_many(len(views), 'views')}, but the calibration has "
            f"{how_many(len(calibration), 'cameras')} "
            f"({', '.join(calibration.names[:8])}). Give one for each, or a dictionary of views by the camera's name."
        )
    if len(views) < FEWEST_VIEWS:
        raise ValueError("Several cameras are needed here. For the video of one there is hmrfit.fit_sequence.")
    found = []
    for i, view in enumerate(views):
        try:
            tracks = [_with_camera(track, calibration, i) for track in _tracks(view, names)]
        except (ValueError, TypeError) as error:
            kind = ValueError if isinstance(error, ValueError) else TypeError
            raise kind(f"View {i} ({calibration.names[i]}): {error}") from error
        found.append(tracks)
    sets = {person.names for tracks in found for track in tracks for person in track.people}
    if len(sets) != 1:
        what = "nobody is seen in any view" if not sets else f"the views have {len(sets)} keypoint sets"
        raise ValueError(f"All views need people of one keypoint set, but {what}.")
    return found, calibration


def _tracks(view: Any, names: SetLike) -> list[TrackInView]:
    """What a view holds: one person's frames, several people's, or tracks of `hmrfit.read_tracks`."""
    if isinstance(view, str | os.PathLike) and Path(view).suffix.lower() not in ARRAYS:
        view = read_tracks(view, names)
    if hasattr(view, "frames") and hasattr(view, "people"):
        view = [view]
    if isinstance(view, Sequence) and view and all(hasattr(one, "frames") and hasattr(one, "people") for one in view):
        return [_numbered(np.asarray(one.frames, np.int64), one.people) for one in view]
    several = isinstance(view, list | tuple) and len(view) > 0 and all(np.ndim(one) == 3 for one in view)
    if several or getattr(view, "ndim", 0) == 4:
        return [_track(read_people_of_frames(one, names)) for one in view]
    return [_track(read_people_of_frames(view, names))]


def _track(people: Sequence[PersonKeypoints]) -> TrackInView:
    """One person's frames, without those in which nothing is seen."""
    return _numbered(np.arange(len(people)), people)


def _numbered(frames: NDArray[np.int64], people: Sequence[PersonKeypoints]) -> TrackInView:
    there = [i for i, person in enumerate(people) if person.confidence.any() or person.problem]
    return TrackInView(frames[there], tuple(people[i] for i in there))


def _with_camera(track: TrackInView, calibration: CameraCalibration, view: int) -> TrackInView:
    return replace(track, people=tuple(calibration.of_person(person, view) for person in track.people))


def people_over_time(
    views: Sequence[Sequence[TrackInView]], calibration: CameraCalibration, names: SetLike
) -> tuple[list[SeenPerson], int]:
    """(the persons, matched between the views; how many tracks belong to nobody whom two cameras see)."""
    pinholes = [[_pinhole_track(track) for track in tracks] for tracks in views]
    P = projections(calibration)
    people: list[Person]
    if all(len(tracks) <= 1 for tracks in views):
        people = [{v: [0] for v, tracks in enumerate(views) if tracks}]
    else:
        people = match_people(pinholes, P)
    chosen = [person for person in people if len(person) >= FEWEST_VIEWS]
    left = sum(len(tracks) for person in people if len(person) < FEWEST_VIEWS for tracks in person.values())
    found = [_seen_person(person, views, calibration, names) for person in chosen]
    away = [view_disagreement(person, pinholes, P) for person in chosen]
    return [replace(one, disagreement=d) for one, d in zip(found, away, strict=True)], left


def projections(calibration: CameraCalibration) -> NDArray[np.float64]:
    """(C, 3, 4) K [R | t] in our pixels."""
    shift = np.array([[0, 0, PIXEL_CENTER], [0, 0, PIXEL_CENTER], [0, 0, 0]])
    K = np.stack([calibration.intrinsics(i) + shift for i in range(len(calibration))])
    return K @ calibration.extrinsics


def _pinhole_track(track: TrackInView) -> ViewTrack:
    straight = [person.pinhole() for person in track.people]
    xy, confidence = (np.stack([getattr(p, name) for p in straight]) for name in ("xy", "confidence"))
    return ViewTrack(track.frames, xy, confidence)


def _seen_person(
    person: Person, views: Sequence[Sequence[TrackInView]], calibration: CameraCalibration, names: SetLike
) -> SeenPerson:
    photos, blanks, used = [], [], []
    known = np.concatenate([views[view][i].frames for view, tracks in person.items() for i in tracks])
    numbers = np.arange(known.min(), known.max() + 1)
    for view, tracks in person.items():
        there = {int(t): p for i in tracks for t, p in zip(*_columns(views[view][i]), strict=True)}
        like = next(iter(there.values()))
        nothing = replace(like, xy=np.zeros_like(like.xy), confidence=np.zeros_like(like.confidence), problem=None)
        frames = [replace(there.get(t, nothing), person_id=str(t), image=None) for t in numbers.tolist()]
        camera = calibration.camera[[view]]
        try:
            size = calibration.image_size(view)
            photo, blank = photo_of_frames(None, frames, names, None, None, camera, size)
        except ValueError as error:
            raise ValueError(f"View {view} ({calibration.names[view]}): {error}") from error
        photos.append(photo)
        blanks.append(blank)
        used.append(view)
    return SeenPerson(tuple(photos), np.stack(blanks), tuple(used), numbers, 0.0)


def _columns(track: TrackInView) -> tuple[NDArray[np.int64], tuple[PersonKeypoints, ...]]:
    return track.frames, track.people


def grid_of(person: SeenPerson) -> tuple[Photo, Keypoints, Camera]:
    """(all frames of all views as one photo, what is seen of them, cameras): rows are the views of frame 0, then those
    of frame 1, and so on."""
    V, T = person.blank.shape
    rows = [(v, t) for t in range(T) for v in range(V)]
    people = tuple(person.photos[v].people[t] for v, t in rows)
    camera = Camera.cat([photo.camera for photo in person.photos])[in_frame_order(V, T)]
    seen = Keypoints.cat([person.keypoints(v) for v in range(V)])[in_frame_order(V, T)]
    warnings = tuple(person.photos[v].warnings[t] for v, t in rows)
    photo = replace(person.photos[0], people=people, camera=camera, warnings=warnings, rows=tuple(range(V * T)))
    return photo, seen, camera


def world_result(
    result: FitResult, person: SeenPerson, calibration: CameraCalibration, up: ArrayLike | None, name: str
) -> WorldResult:
    """The base camera's result with what all cameras saw beside it."""
    enough = torch.stack([photo.keypoints.presence.sum(1) for photo in person.photos]).sum(0) >= FEW_KEYPOINTS
    agreed = () if person.disagreement > DISAGREES else OF_ONE_VIEW  # the other cameras know better
    warnings = [
        [w for w in of_one if not (fine and w.startswith(FEW_SEEN)) and not any(said in w for said in agreed)]
        for of_one, fine in zip(result.warnings, enough.tolist(), strict=True)
    ]
    if person.disagreement > DISAGREES and warnings:
        warnings[0] = [DISAGREE.format(person.disagreement), *warnings[0]]
    ids = [str(number) for number in person.frames]
    base = replace(result, origin=replace(result.origin, warnings=warnings, person_ids=ids))
    rows = list(person.views)
    base = in_known_world(base, calibration.extrinsics[[rows[person.base]]], up)
    seen = [person.keypoints(place) for place in range(len(rows))]
    return WorldResult(base, calibration.select(rows), tuple(seen), person.base, name)


def in_frame_order(views: int, frames: int) -> torch.Tensor:
    """(T V,) where the rows of `grid_of` stand among all frames of view 0, then all of view 1, and so on."""
    return torch.arange(views * frames).view(views, frames).T.flatten()


def reordered(known: Known, order: torch.Tensor) -> Known:
    """The rows of what is known in another order."""
    warnings = tuple(known.warnings[i] for i in order.tolist()) if known.warnings else ()
    return replace(known, record=known.record[order], warnings=warnings)


def fit_person_over_time(
    ready: Prepared, person: SeenPerson, photo: Photo, poses: NDArray[np.float64], pace: Pace
) -> Fit:
    """The person's motion in the base camera's frame.

    Args:
        photo: of `grid_of`, for which `ready` was made. poses: (V, 3, 4) extrinsics of the views.
    """
    V, T = person.blank.shape
    base, body = person.base, ready.fitter.body
    alone = bodies_in_views(ready, photo.keypoints, photo.camera)
    cost = alone.cost.view(T, V).nan_to_num(torch.inf).masked_fill(torch.tensor(person.blank.T), torch.inf)
    best = cost.argmin(1).numpy()
    nowhere, seen = np.flatnonzero(person.nowhere), np.flatnonzero(~person.nowhere)
    frame = np.arange(T)
    frame[nowhere] = seen[np.abs(seen[:, None] - nowhere).argmin(0)]
    best = best[frame]
    rows, of_base = torch.tensor(frame * V + best), torch.arange(T) * V + base
    found = with_hands_in_views(ready, alone, photo.keypoints, rows)
    Q, q = between(poses[best], np.broadcast_to(poses[base], (T, 3, 4)))
    state = State(moved_params(found.state.params, body, Q, q), photo.camera[of_base])
    fit = seen_with_hands(ready, alone, state, photo.keypoints, of_base)
    fit = replace(fit, state=state, start=None, acceptance=None)
    rotation, translation = (torch.tensor(part).expand(T, *part.shape) for part in np.split(poses[base], [3], 1))
    return solved_together(ready, fit, person.blank[base], pace, Poses(rotation, translation[..., 0]))[0]
