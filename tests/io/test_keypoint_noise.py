"""Who made the keypoints and how far off they are: noted for each person, or refused."""

import numpy as np
import pytest
import torch

from hmrfit.io.keypoint_noise import with_known_noise, with_known_noise_in_views
from hmrfit.io.photo import Photo, read_photo
from hmrfit.keypoints import COCO17

POINTS = np.c_[np.random.default_rng(0).uniform(50, 400, (3, 17, 2)).reshape(-1, 2), np.ones(51)].reshape(3, 17, 3)


@pytest.fixture
def photo() -> Photo:
    """The second of three people is not seen."""
    points = POINTS.copy()
    points[1, :, 2] = 0
    return read_photo(None, points, COCO17, image_size=(640, 480))


def test_a_source_is_noted_for_everyone(photo: Photo) -> None:
    assert [p.made_by for p in with_known_noise(photo, None, None).people] == [None, None]
    assert [p.made_by for p in with_known_noise(photo, "labelled", None).people] == ["labelled"] * 2


def test_standard_deviations_of_one_for_all_of_keypoints_and_of_people(photo: Photo) -> None:
    """People are counted as they were given, those who are left out too."""
    each = np.linspace(0.01, 0.05, 17)
    forms = {
        "one": (0.02, np.full((2, 17), 0.02)),
        "keypoints": (each, np.stack([each] * 2)),
        "tensor": (torch.tensor(each), np.stack([each] * 2)),
        "people": ([[0.01], [0.02], [0.03]], np.repeat([[0.01], [0.03]], 17, 1)),
        "both": (each * np.array([[1.0], [2.0], [3.0]]), each * np.array([[1.0], [3.0]])),
    }
    for name, (given, expected) in forms.items():
        noted = with_known_noise(photo, None, given)
        np.testing.assert_allclose([p.std for p in noted.people], expected, err_msg=name)


def test_views_are_counted_as_people() -> None:
    photos = [read_photo(None, points, COCO17, image_size=(640, 480)) for points in POINTS]
    noted = with_known_noise_in_views(photos, None, [[0.01], [0.02], [0.03]])
    assert [p.people[0].std[5] for p in noted] == [0.01, 0.02, 0.03] and all(len(p) == 1 for p in noted)
    assert [p.people[0].made_by for p in with_known_noise_in_views(photos, "exact", None)] == ["exact"] * 3


@pytest.mark.parametrize(
    ("source", "std", "said"),
    [
        ("detectors", None, "one of labelled, detector, exact, not 'detectors'. Did you mean 'detector'"),
        (3, None, "one of labelled, detector, exact, not 3"),
        (None, 4.0, "fractions of the person's box .* between 0.0001 and 0.5, but is 4"),
        (None, 0.0, "between 0.0001 and 0.5, but is 0"),
        (None, [0.01, 0.02], r"\(17,\) one for each keypoint.* has the shape \(2,\)"),
        (None, [[0.01], [0.02]], r"\(3, 1\) one for each person.* has the shape \(2, 1\)"),
        (None, np.nan, "NaN"),
        ("exact", 0.01, "Give one of them"),
    ],
)
def test_what_makes_no_sense_is_refused(photo: Photo, source: object, std: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        with_known_noise(photo, source, std)
    with pytest.raises(TypeError, match="fractions of the person's box"):
        with_known_noise(photo, None, "0.01")
