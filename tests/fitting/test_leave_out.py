"""Keypoints left out are predicted by the others: well where all are right, badly where one of them is not."""

from functools import cache

import pytest
import torch
from helpers.fits import people, photograph, shipped

from hmrfit.fitting.leave_out import LeftOut, leave_out
from hmrfit.keypoints import resolve_set
from hmrfit.types import Keypoints

SEEN = people(3, "coco17", 0.002)
WRIST, KNEE = (resolve_set("coco17").index(f"left_{n}") for n in ("wrist", "knee_coco"))


def planted() -> Keypoints:
    """The second person's left wrist is 40 % of the box off, the third one's left knee was not seen."""
    xy, confidence = SEEN.keypoints.xy.clone(), SEEN.keypoints.confidence.clone()
    xy[1, WRIST] += 0.4 * SEEN.keypoints.box_size()[1] * torch.tensor([0.0, 1.0]).double()
    confidence[2, KNEE] = 0
    return Keypoints(xy, confidence, SEEN.keypoints.names)


@cache
def checked() -> LeftOut:
    return leave_out(shipped(), planted(), photograph(3))


def test_right_keypoints_are_predicted():
    """Limbs of which nothing is seen, from the rest of a person: still within a fifth of the size of the person."""
    found = checked()
    right = torch.ones_like(found.predicted, dtype=torch.bool)
    right[1] = False
    right[2, KNEE] = False
    assert found.predicted[right].median() < 0.15 and found.fitted[right].median() < 0.02
    assert (found.predicted[right] >= 0).all() and found.start is not None


def test_a_wrong_keypoint_is_found():
    found = checked()
    assert found.farthest()[1] == "left_arm"
    assert found.predicted[1, WRIST] > 0.2


def test_unseen_keypoints_have_no_distance():
    assert checked().predicted[2, KNEE].isnan() and checked().fitted[2, KNEE].isnan()
    assert checked().of_group()["left_leg"][2].isfinite()  # by the ankle


def test_groups():
    found = checked()
    alone = {"left_shoulder_coco", "right_shoulder_coco", "left_hip_coco", "right_hip_coco"}
    assert set(found.groups) == {"left_arm", "right_arm", "left_leg", "right_leg", "head", *alone}
    assert found.groups["left_arm"] == (7, 9) and found.groups["head"] == (0, 1, 2, 3, 4)
    assert sorted(i for places in found.groups.values() for i in places) == list(range(17))


def test_groups_of_ones_own_and_inputs_as_they_were():
    keypoints = planted()
    before = keypoints.map(torch.clone)
    found = leave_out(shipped(), keypoints[:1], photograph(1), groups={"both": ("left_wrist", "right_wrist")})
    assert found.predicted.isfinite().sum() == 2 and list(found.groups) == ["both"]
    assert torch.equal(keypoints.xy, before.xy) and torch.equal(keypoints.confidence, before.confidence)
    with pytest.raises(ValueError, match="no keypoint 'left_tail' among the 17"):
        leave_out(shipped(), keypoints, photograph(3), groups={"tail": ("left_tail",)})
    with pytest.raises(ValueError, match="'limbs', 'keypoints' or a mapping"):
        leave_out(shipped(), keypoints, photograph(3), groups="limb")


def test_too_few_left_is_no_answer():
    confidence = torch.zeros(1, 17).double()
    confidence[0, [5, 6, 9]] = 1
    few = Keypoints(SEEN.keypoints.xy[:1], confidence, SEEN.keypoints.names)
    found = leave_out(shipped(), few, photograph(1))
    assert found.predicted.isnan().all() and found.farthest() == [""]
