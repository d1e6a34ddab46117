"""A crowd looked at at once: nobody is passed over whom the checks of one person would doubt, and most need no look."""

import numpy as np
import pytest
from helpers.fits import people

import hmrfit
from hmrfit.io import photo
from hmrfit.io.keypoint_checks import check_keypoints, stray_places
from hmrfit.io.keypoint_checks.crowd import near_each_other, surely_in_order
from hmrfit.keypoints import flip_permutation, resolve_set

SIZE, COUNT = (1024, 768), 80


def crowd(name: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    seen = people(COUNT, name, 0.01, 0.15, seed).keypoints
    return seen.xy.numpy(), seen.confidence.numpy()


def clean(name: str, xy: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    return np.array([not check_keypoints(name, *one, SIZE) for one in zip(xy, confidence, strict=True)])


@pytest.mark.parametrize("name", ["coco17", "openpose25", "lsp14", "h36m17"])
def test_most_who_are_in_order_need_no_look(name):
    xy, confidence = crowd(name)
    passed, right = surely_in_order(resolve_set(name), xy, confidence, SIZE), clean(name, xy, confidence)
    assert not (passed & ~right).any()
    assert passed.sum() > 0.8 * right.sum() > 0.5 * COUNT


def wrong(draws: np.random.Generator, xy: np.ndarray, confidence: np.ndarray) -> dict[str, tuple[np.ndarray, ...]]:
    """What goes wrong with keypoints: kind -> (xy, confidence)."""
    names, (N, K, _) = resolve_set("coco17"), xy.shape
    sides = flip_permutation(names)
    shuffled = draws.permuted(np.tile(np.arange(K), (N, 1)), axis=1)
    face = [sides[k] if k < 5 else k for k in range(K)]
    legs = [sides[k] if k > 10 else k for k in range(K)]
    astray = np.where(draws.random((N, K, 1)) < 0.06, draws.normal(0, 3000, (N, K, 2)), xy)
    heaped = np.where(draws.random((N, K, 1)) < 0.2, xy[:, :1], xy)
    some = draws.random((N, K)) * (draws.random((N, K)) > 0.4)
    return {
        "sides": (xy[:, sides], confidence[:, sides]),
        "face": (xy[:, face], confidence[:, face]),
        "legs": (xy[:, legs], confidence[:, legs]),
        "names": (np.take_along_axis(xy, shuffled[..., None], 1), np.take_along_axis(confidence, shuffled, 1)),
        "axes": (xy[..., ::-1], confidence),
        "astray": (astray, confidence),
        "heaped": (heaped, confidence),
        "line": (np.stack([xy[..., 0], 2 * xy[..., 0]], 2) / 2, confidence),
        "confidence": (xy, some),
        "nobody": (xy, 0 * confidence),
        "broken": (np.where(draws.random((N, K, 1)) < 0.05, np.nan, xy), confidence),
        "fractions": (xy / np.array(SIZE), confidence),
        "small": (500 + xy / 60, confidence),
        "outside": (xy + 500, confidence),
        "zeros": (np.where(draws.random((N, K, 1)) < 0.05, 0.0, xy), confidence),
        "pixels": (np.round(xy), confidence),
    }


@pytest.mark.parametrize("kind", list(wrong(np.random.default_rng(0), *crowd("coco17"))))
def test_nobody_is_passed_over(kind):
    xy, confidence = wrong(np.random.default_rng(1), *crowd("coco17", 1))[kind]
    with np.errstate(all="ignore"):
        right = clean("coco17", xy, confidence)
    assert not (surely_in_order(resolve_set("coco17"), xy, confidence, SIZE) & ~right).any()


def test_a_crowd_is_told_what_each_would_be_told_alone(monkeypatch):
    xy, confidence = crowd("coco17")
    sides = flip_permutation(resolve_set("coco17"))
    xy[::5], xy[7], confidence[9] = xy[::5][:, sides], -1e9, 0.0
    given = np.concatenate([xy, confidence[..., None]], -1)
    together = photo.read_photo(None, given, "coco17", image_size=SIZE)
    monkeypatch.setattr(photo, "CROWD", COUNT + 1)
    apart = photo.read_photo(None, given, "coco17", image_size=SIZE)
    assert together.warnings == apart.warnings and any(together.warnings)
    assert together.left_out == apart.left_out and list(together.left_out) == ["7", "9"]


def test_sets_without_a_trunk_are_looked_at():
    """Nothing is assumed of names that a set lacks."""
    names = hmrfit.keypoint_sets()["coco17"][5:11]
    xy, confidence = crowd("coco17")
    passed = surely_in_order(names, xy[:, 5:11], confidence[:, 5:11], SIZE)
    assert not (passed & ~clean(names, xy[:, 5:11], confidence[:, 5:11])).any()


def test_who_is_near_is_without_strays() -> None:
    """Nobody of whom the crowd is sure has a stray keypoint; of those it is not, most have one."""
    rng = np.random.default_rng(0)
    xy = rng.normal(size=(500, 17, 2)) * 40 + 300
    xy[::2, 4] *= rng.choice([1.0, 10.0, 30.0, 300.0], (250, 1))
    seen = rng.uniform(size=(500, 17)) > 0.3
    near = near_each_other(xy, seen)
    stray = np.array([len(stray_places(*person)[0]) > 0 for person in zip(xy, seen, strict=True)])
    assert not (near & stray).any() and stray.sum() > 50
    assert (~near & ~stray).sum() < 0.2 * stray.sum()


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_frames_in_which_nothing_is_seen_are_none_of_a_body_and_no_trouble():
    xy, confidence = crowd("coco17")
    seen = confidence > 0
    seen[3] = False
    near = near_each_other(xy, seen)
    assert not near[3] and near.sum() > 0.8 * COUNT
