"""Keypoints that a fitted body cannot reach."""

import numpy as np

from hmrfit.io.keypoint_checks.residuals import BESIDE, FAR, unmet_keypoints

NAMES = ("nose", "left_knee", "left_ankle", "right_ankle")


def sentence(*distance: float) -> str | None:
    return unmet_keypoints(NAMES, np.array(distance))


def test_a_body_that_meets_all_of_them_has_no_warning():
    assert sentence(0.01, 0.03, FAR, 0.0) is None


def test_those_are_named_that_are_far_the_farthest_first():
    text = sentence(0.02, 0.2, 0.4, 0.08)
    assert text is not None and "left_ankle (40%), left_knee (20%)" not in text  # the knee is not beyond half as far
    text = sentence(0.02, 0.21, 0.4, 0.08)
    assert text is not None and "left_ankle (40%), left_knee (21%)," in text
    assert "nose" not in text and "right_ankle" not in text


def test_what_leans_towards_a_wrong_keypoint_is_not_named():
    text = sentence(0.02, BESIDE * 0.4, 0.4, 0.1)
    assert text is not None and "left_knee" not in text and "right_ankle" not in text


def test_many_are_counted():
    names = tuple(f"point_{i}" for i in range(7))
    text = unmet_keypoints(names, np.full(7, 0.3))
    assert text is not None and "point_3 (30%) and 3 more" in text
