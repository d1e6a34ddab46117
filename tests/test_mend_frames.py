"""Runs of frames with exchanged sides are mended and said; views and whole sequences that look so are warned of."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from helpers.groups import SIZE, joints_of, rig, sequence, views, walk
from helpers.rigs import calibration, view_of, walker

import hmrfit
from hmrfit.fitting.terms.keypoints_3d import Keypoints3D
from hmrfit.io.keypoint_checks.sides import SWAPPED
from hmrfit.io.keypoint_noise import with_known_noise
from hmrfit.io.photo import Photo
from hmrfit.keypoints import COCO17
from hmrfit.mend_frames import ONE_VIEW, RUN, doubted_frames, with_runs_mended
from hmrfit.network.label_model import EXCHANGES, exchanged_places
from hmrfit.pipeline import Pipeline
from hmrfit.several import photo_of_frames, read_people_of_frames


def exchanged(points: np.ndarray, kind: str = "The arms", frames: slice = slice(4, 7)) -> np.ndarray:
    found = points.copy()
    found[frames] = points[frames][:, exchanged_places(COCO17)[list(EXCHANGES).index(kind)].numpy()]
    return found


def mended(points: np.ndarray, std: Any = None, config: Any = None) -> Photo:
    frames = read_people_of_frames(points, "coco17")
    photo, blank = photo_of_frames(None, frames, "coco17", None, None, walk()[2], SIZE)
    return with_runs_mended(with_known_noise(photo, None, std), blank, Pipeline.of(config).schedules.labels(), 30.0)


def said(warnings: Any, what: str) -> list[int]:
    """The frames of which that is said."""
    return [i for i, lines in enumerate(warnings) if any(what in text for text in lines)]


@pytest.mark.parametrize("kind", ["The arms", "The legs", "Everything"])
def test_keypoints_and_what_is_known_of_them_get_their_own_names(kind: str) -> None:
    stds = np.tile(np.where(np.char.startswith(COCO17, "left"), 0.01, 0.02), (12, 1))
    given = exchanged(np.concatenate([walk()[1], stds[..., None]], -1), kind)
    found = mended(given[..., :3], given[..., 3])
    assert said(found.warnings, RUN) == [4, 5, 6] and all(kind in found.warnings[t][0] for t in (4, 5, 6))
    torch.testing.assert_close(found.keypoints.xy, torch.tensor(walk()[1][..., :2]))
    np.testing.assert_array_equal(np.stack([person.std for person in found.people]), stds)


def test_tidy_frames_and_names_taken_at_their_word_stay() -> None:
    assert not any(mended(walk()[1]).warnings)
    given, settings = exchanged(walk()[1]), Pipeline.of().schedules
    np.testing.assert_array_equal(mended(given, config={"PRIORS.LABELS": ""}).keypoints.xy.numpy(), given[..., :2])
    assert settings.labels(init=object()) is None  # who gives a start, or points in 3D, knows whose they are
    assert settings.labels(measurements=[Keypoints3D(np.zeros((17, 4)))]) is None


def test_a_blank_frame_within_a_run_is_filled_with_a_mended_one() -> None:
    points = walk()[1].copy()
    points[5] = 0
    found = mended(exchanged(points))
    assert said(found.warnings, RUN) == [4, 6]
    torch.testing.assert_close(found.keypoints.xy[5], torch.tensor(points[4, :, :2]))


def test_a_sequence_that_is_exchanged_from_end_to_end_is_warned_of_and_kept() -> None:
    given = exchanged(walk()[1], frames=slice(None))
    found = mended(given)
    assert said(found.warnings, SWAPPED) == list(range(12)) and not said(found.warnings, RUN)
    np.testing.assert_array_equal(found.keypoints.xy.numpy(), given[..., :2])


def test_a_fit_of_exchanged_frames_is_that_of_tidy_ones() -> None:
    right, found = sequence(walk()[1]), sequence(exchanged(walk()[1]))
    assert said(found.warnings, RUN) == [4, 5, 6]
    np.testing.assert_allclose(found.joints, right.joints, atol=1e-6)
    torch.testing.assert_close(found.keypoints.xy, right.keypoints.xy)


def test_a_view_that_is_exchanged_is_warned_of() -> None:
    keypoints = rig()[1].copy()
    keypoints[2] = exchanged(keypoints[2:], "The legs", slice(None))[0]
    assert said([result.warnings[0] for result in views(keypoints=keypoints)], ONE_VIEW) == [2]


def test_a_run_in_one_of_several_cameras() -> None:
    seen = [view_of(walker(), v) for v in range(3)]
    seen[1] = exchanged(seen[1], frames=slice(3, 5))
    found = hmrfit.fit_views_sequence(seen, calibration(), fps=30.0, keypoint_set="coco17")[0]
    assert np.linalg.norm(found.joints - joints_of(walker()).numpy(), axis=-1).mean() < 0.03


def test_an_exchanged_frame_whose_keypoints_the_body_misses_is_warned_of() -> None:
    """Nothing is said of tidy frames, nor of one that the body reaches."""
    model, result = Pipeline.of().schedules.labels(), sequence(keypoints=walk()[1])
    fit, far = result.fit, torch.full((len(result), len(COCO17)), 0.1)
    xy = torch.from_numpy(exchanged(walk()[1], "The arms", slice(5, 6))[..., :2])
    seen = replace(fit.observation.keypoints, xy=xy)
    wrong = replace(fit, observation=replace(fit.observation, keypoints=seen))
    assert [t for t, text in enumerate(doubted_frames(model, wrong, far)) if text] == [5]
    assert doubted_frames(model, fit, far) == doubted_frames(model, wrong, 0 * far) == [None] * len(result)
    assert doubted_frames(None, wrong, far) == [None] * len(result)
