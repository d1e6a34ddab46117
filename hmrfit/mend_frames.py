"""Frames and views of one person whose left and right are exchanged: runs of frames are mended, the rest is warned of.

`hmrfit.fitting.mend_labels` does so for single people. Of those that belong together the others know better: the frames
before and after a run (`hmrfit.network.label_runs`).
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hmrfit.fitting.exchanged_sides import missed
from hmrfit.fitting.fit import Fit
from hmrfit.io.keypoint_checks.sides import SWAPPED, swapped
from hmrfit.io.photo import Photo
from hmrfit.network.label_model import EXCHANGES, LabelModel, places_as_fitted
from hmrfit.network.label_runs import DOUBTED, DOUBTED_ALONE, LOOKED_AT, exchanged_runs, log_odds

_EXCHANGES = list(EXCHANGES)
RUN = (
    "before and after this run of frames it is the other way round, so it was fitted with them exchanged back "
    "(PRIORS.LABELS='' takes them as they are)"
)
ALL_FRAMES = "a network that knows how exchanged keypoints look says so of these frames together"
ONE_VIEW = "a network that knows how exchanged keypoints look says so of this view"
ONE_FRAME = "a network that knows how exchanged keypoints look says so of this frame, and the body misses them"
"""Why, in warnings."""


def with_runs_mended(photo: Photo, blank: NDArray[np.bool_], model: LabelModel | None, fps: float) -> Photo:
    """The frames (T) of one person with the exchanges of runs of frames undone, and warned of; and, where all frames
    look exchanged, with a warning in each.

    Args:
        blank: (T,) frames in which nothing is seen. model: None changes nothing. fps: frames a second.
    """
    rows = np.flatnonzero(~blank)
    if model is None or not len(rows):
        return photo
    seen, camera = photo.keypoints[torch.from_numpy(rows)], photo.camera[torch.from_numpy(rows)]
    exchanged = exchanged_runs(seen, rows, fps, lambda: log_odds(model, seen, camera))
    of_frame = dict(zip(rows.tolist(), exchanged.tolist(), strict=True))
    of_keypoints = {id(photo.people[t].xy): kind for t, kind in of_frame.items()}  # blank frames have a neighbour's
    places = places_as_fitted(seen.names, torch.arange(1 + len(EXCHANGES))).numpy()
    people, warnings = [], list(photo.warnings)
    for frame, person in enumerate(photo.people):
        if own := of_keypoints.get(id(person.xy), 0):
            std = None if person.std is None else person.std[places[own]]
            mended = {"xy": person.xy[places[own]], "confidence": person.confidence[places[own]], "std": std}
            person = replace(person, **mended)
        people.append(person)
        if kind := of_frame.get(frame, 0):
            others = [warning for warning in warnings[frame] if SWAPPED not in warning]
            warnings[frame] = (*others, swapped(_EXCHANGES[kind - 1], RUN))
    left = np.flatnonzero(exchanged == 0)
    some = torch.from_numpy(left[:: max(1, len(left) // LOOKED_AT)])
    odds = log_odds(model, seen[some], camera[some]).mean(0)
    if odds.max() > DOUBTED:
        doubt = swapped(_EXCHANGES[int(odds.argmax())], ALL_FRAMES)
        warnings = [w if of_frame.get(t) != 0 else _also(w, doubt) for t, w in enumerate(warnings)]
    return replace(photo, people=tuple(people), warnings=tuple(warnings))


def with_views_doubted(photos: Sequence[Photo], model: LabelModel | None) -> list[Photo]:
    """The views of one person, with a warning of those whose left and right look exchanged."""
    if model is None:
        return list(photos)
    found = []
    for photo in photos:
        odds = log_odds(model, photo.keypoints, photo.camera)[0]
        doubt = swapped(_EXCHANGES[int(odds.argmax())], ONE_VIEW)
        found.append(
            replace(photo, warnings=(_also(photo.warnings[0], doubt),)) if odds.max() > DOUBTED_ALONE else photo
        )
    return found


def doubted_frames(model: LabelModel | None, fit: Fit, distance: Tensor) -> list[str | None]:
    """The warning of each frame whose left and right look exchanged, and of which the body of all frames together
    misses some keypoint; see `hmrfit.make_result.Exchanged`.

    A fit with them exchanged back says hardly more of frames (of 162 single frames of 20 test clips, each with another
    exchange, 116 are warned of instead of 108, of 4,816 tidy ones 91 instead of 83) and takes 50 times as long.
    """
    found: list[str | None] = [None] * len(fit)
    rows = missed(distance)
    if model is None or not len(rows):
        return found
    for row, odds in zip(
        rows.tolist(), log_odds(model, fit.observation.keypoints[rows], fit.state.camera[rows]), strict=True
    ):
        if odds.max() > DOUBTED_ALONE:
            found[row] = swapped(_EXCHANGES[int(odds.argmax())], ONE_FRAME)
    return found


def _also(warnings: tuple[str, ...], doubt: str) -> tuple[str, ...]:
    """With one more, unless the sides are warned of already."""
    return warnings if any(SWAPPED in warning for warning in warnings) else (*warnings, doubt)
