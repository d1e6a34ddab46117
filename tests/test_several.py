"""What fit_views and fit_sequence are given, read and checked before any work."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.groups import SIZE, rig, sequence, views, walk

from hmrfit.io import photo as photos
from hmrfit.io.photo import read_photo
from hmrfit.several import photo_of_frames, read_people_of_frames


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"extrinsics": np.eye(4)[None].repeat(2, 0)}, "shape"),
        ({"extrinsics": np.full((3, 3, 4), np.nan)}, "NaN"),
        ({"extrinsics": np.ones((3, 3, 4))}, "no rotation"),
        ({"extrinsics": rig()[0] * [[[1, 1, -1, 1]]]}, "reflection"),
        ({"extrinsics": np.concatenate([rig()[0], np.ones((3, 1, 4))], 1)}, "0, 0, 0, 1"),
        ({"extrinsics": rig()[0] + [[[0, 0, 0, 1e9]]]}, "millimetres"),
        (
            {"cameras": [rig()[2]] * 2 + [replace(rig()[2], focal=rig()[2].focal * np.nan)]},
            r"View 2: camera\.focal holds",
        ),
        ({"cameras": [replace(rig()[2], focal=-rig()[2].focal)] * 3}, "View 0: camera's focal length"),
        ({"cameras": [replace(rig()[2], center=rig()[2].center * np.nan)] * 3}, r"View 0: camera\.center holds"),
        ({"image_size": [SIZE] * 2}, "one for each of the 3 views"),
        ({"image_size": [SIZE, SIZE, (1e300, 4)]}, "View 2: image_size should be"),
        ({"image_size": [SIZE, SIZE, (640, 480)]}, r"View 2: The camera is of an image"),
        ({"keypoints": rig()[1] * [1, 1, 0]}, "View 0: Person 0: no keypoint has"),
        (
            {"keypoints": rig()[1] + np.array([[[0, 0, 0]], [[0, 0, 0]], [[1e60, 0, 0]]])},
            "View 2: keypoints: keypoint 0 is at",
        ),
        ({"extrinsics": np.stack([np.c_[np.eye(3), [0, 0, 3000.0]]] * 3)}, "millimetres"),
        ({"keypoints": np.ones((2, 17, 3))}, "one for each of the 3 views"),
        ({"cameras": None}, "is not known"),
        ({"focal": 900}, "focal of fit_views is 'free' or None, not 900"),
        ({"focal": "fre"}, "focal of fit_views is 'free' or None, not 'fre'"),
        ({"focal": np.full(3, 900.0)}, "focal of fit_views is 'free' or None"),
        ({"keypoints": np.full((3, 2, 17, 2), 9.0)}, "2 people"),
    ],
)
def test_views_that_are_none(changes: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        views(**changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"extrinsics": "E"}, "extrinsics should be"),
        ({"extrinsics": rig()[0] * 1j}, "extrinsics should be"),
        ({"extrinsics": [None] * 3}, "extrinsics should be"),
        ({"keypoints": 3}, "keypoints should be a list, one for each view"),
        ({"cameras": "camera"}, "cameras should be a list"),
        ({"cameras": [3] * 3}, "View 0: camera should be a hmrfit.Camera"),
        ({"cameras": [replace(rig()[2], focal=rig()[2].focal > 0)] * 3}, "View 0: camera.focal should be a tensor"),
    ],
)
def test_views_of_another_kind(changes: dict, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        views(**changes)


def test_frames_that_are_hopeless_are_filled_in_and_say_so() -> None:
    """One coordinate of 1e60, a person far outside, and numbers that are none do not lose the sequence."""
    keypoints = walk()[1]
    broken = keypoints.copy()
    broken[2, 3, 0], broken[6, :, 0], broken[9, :, 2] = 1e60, 9e4, 0
    result = sequence(broken)
    assert len(result) == 12 and not result.left_out and np.isfinite(result.joints).all()
    assert [bool(w and w[0].startswith("Filled in")) for w in result.warnings] == [t in (2, 6, 9) for t in range(12)]
    assert "1e+60" in result.warnings[2][0] and "outside" in result.warnings[6][0]
    assert (result.keypoints.confidence[[2, 6, 9]] == 0).all() and len(set(result.person_ids)) == 12
    holes = keypoints.copy()
    holes[[2, 6, 9], :, 2] = 0
    np.testing.assert_allclose(result.joints, sequence(holes).joints, atol=1e-9)


def test_a_list_of_people_is_a_sequence() -> None:
    keypoints = walk()[1][:4]
    people = read_photo(None, keypoints, "coco17", image_size=SIZE).people
    result = sequence(list(people), keypoint_set=None)
    np.testing.assert_allclose(result.joints, sequence(keypoints).joints, atol=1e-9)


@pytest.mark.parametrize(
    ("keypoints", "more", "said"),
    [
        (np.ones((17, 3)), {}, "frames first"),
        (np.zeros((3, 17, 3)), {}, "No frame shows"),
        ("photo.json", {}, "There is no keypoint file"),
        ("https://example.org/walk.json", {}, "is a URL"),
        (np.ones((3, 17, 3)), {"fps": 0}, "frames a second"),
        (np.ones((3, 17, 3)), {"smooth": -1}, "0 or more"),
        *(
            (np.ones((3, 17, 3)), {"fps": wrong}, "frames a second")
            for wrong in (np.nan, 1e300, -1, [], [30, 30], True, "30", None, 1j)
        ),
        *((np.ones((3, 17, 3)), {"smooth": wrong}, "0 or more") for wrong in (np.nan, 1e300, [], True, "1", None)),
        (
            np.full((3, 17, 3), 5000.0) * [1, 1, 0.0002],
            {},
            "No frame shows anybody who can be fitted.*Frame 0: no keypoint",
        ),
        (walk()[1], {"camera": replace(walk()[2], focal=walk()[2].focal * np.nan)}, "holds 2 NaN"),
        (walk()[1], {"camera": replace(walk()[2], focal=-walk()[2].focal)}, "above 0"),
        (walk()[1], {"camera": None, "focal": 0}, "above 0"),
        (walk()[1] * 1j, {}, "keypoints should be numbers"),
        ([], {}, "holds no people"),
        (np.ones((3, 17, 3)), {"up": (0, np.nan, 0)}, "up should be three finite"),
    ],
)
def test_sequences_that_are_none(keypoints, more: dict, said: str) -> None:
    with pytest.raises((ValueError, TypeError, FileNotFoundError), match=said):
        sequence(keypoints, **more)


def test_views_of_different_sizes_and_rounded_extrinsics() -> None:
    """The third camera's image is cut to its middle: the same keypoints, the same body."""
    extrinsics, keypoints, camera = rig()
    low, size = torch.tensor([[100.0, 50.0]]).double(), torch.tensor([[600.0, 500.0]]).double()
    moved = keypoints - np.array([[[0, 0, 0]], [[0, 0, 0]], [[100, 50, 0]]])
    whole = views()
    cut = views(keypoints=moved, cameras=[camera, camera, camera.crop(low, size)], image_size=[SIZE, SIZE, (600, 500)])
    np.testing.assert_allclose(cut[0].joints, whole[0].joints, atol=2e-3)  # the crop is seen a little elsewhere
    assert cut[2].image_size == (600, 500)
    np.testing.assert_allclose(views(extrinsics=extrinsics.round(4))[0].joints, whole[0].joints, atol=2e-3)


def test_frames_that_are_not_looked_at_closely_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = np.tile(walk()[1], (10, 1, 1))
    frames[7] = np.nan
    frames[9, :, 2] = 0.0
    frames[11, :, :2] += 1e4
    read = lambda: photo_of_frames(None, read_people_of_frames(frames, "coco17"), "coco17", None, None, None, SIZE)  # noqa: E731
    photo, blank = read()
    monkeypatch.setattr(photos, "_plain", lambda people, size: set())
    slowly, blank_slowly = read()
    assert blank.nonzero()[0].tolist() == blank_slowly.nonzero()[0].tolist() == [7, 9, 11]
    assert photo.warnings == slowly.warnings
    assert torch.equal(photo.keypoints.xy, slowly.keypoints.xy)
