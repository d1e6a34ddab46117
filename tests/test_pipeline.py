"""Pipelines: made once for equal settings and files, distinguished by what those files hold, and the same fit as
hmrfit.fit's."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.bodies import demo_points

import hmrfit
from hmrfit.assets import shipped
from hmrfit.build import load_body
from hmrfit.config import load_config
from hmrfit.io.image import read_image, write_image
from hmrfit.io.photo import read_photo
from hmrfit.keypoints import has_hands
from hmrfit.network.checkpoints import save_network
from hmrfit.network.encoders import ImageEncoder
from hmrfit.network.hmr import HMR
from hmrfit.network.regressor import IterativeRegressor
from hmrfit.pipeline import Pipeline
from hmrfit.types import BodyParams

SIZE = (480, 360)


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    """(17, 3) exact COCO keypoints of the demo's person in a picture of SIZE."""
    return demo_points(SIZE[1])


def same(a: hmrfit.FitResult, b: hmrfit.FitResult) -> bool:
    """The same numbers, to the last digit."""
    return np.array_equal(a.poses, b.poses) and np.array_equal(a.trans, b.trans) and np.array_equal(a.betas, b.betas)


def of_files(settings: str, files: list[Path]) -> Pipeline:
    """A pipeline that holds nothing but what its fingerprint is made of."""
    pipeline = Pipeline.__new__(Pipeline)
    pipeline.settings, pipeline.files = settings, tuple(files)
    return pipeline


def test_the_fingerprint_is_of_settings_and_contents(tmp_path: Path) -> None:
    files = [tmp_path / name for name in "abc"]
    for file in files:
        file.write_text(file.name)
    known = {of_files(settings, files).fingerprint for settings in ("settings", "settings", "others")}
    assert len(known) == 2
    for file in files:
        file.write_text("changed")
        known.add(of_files("settings", files).fingerprint)
    assert len(known) == 5


def test_equal_settings_give_the_same_pipeline() -> None:
    assert Pipeline.of() is Pipeline.of(load_config()) is Pipeline.of("fit")
    assert Pipeline.of(load_config(None, ["SEED=0"])) is Pipeline.of({"SEED": 0}) is Pipeline.of()
    assert Pipeline.of({"SEED": 1}) is not Pipeline.of()


def test_a_file_that_was_written_again_is_read_again(tmp_path: Path) -> None:
    own = tmp_path / "body.npz"
    shutil.copy(shipped("priors") / "free_body.npz", own)
    config = load_config(None, [f"BODY.PATH={own}"])
    pipeline, body = Pipeline.of(config), load_body(str(own))
    assert Pipeline.of(config) is pipeline and load_body(str(own)) is body
    shutil.copy(shipped("priors") / "free_body.npz", own)
    assert Pipeline.of(config) is not pipeline
    assert load_body(str(own)) is not body
    assert Pipeline.of() is Pipeline.of()


@pytest.mark.parametrize("name", ["fit_spin", None])
def test_a_pipeline_fits_as_the_function_does(points: np.ndarray, name: str | None) -> None:
    given = {"keypoint_set": "coco17", "image_size": SIZE}
    assert same(hmrfit.Pipeline(name).fit(None, points, **given), hmrfit.fit(None, points, **given, config=name))


def test_photographs_of_several_sets_come_back_in_order(points: np.ndarray) -> None:
    limbs = list(hmrfit.keypoint_sets()["coco17"][5:])
    photos = [
        read_photo(None, points, "coco17", image_size=SIZE),
        read_photo(None, points[5:], limbs, image_size=(640, 480)),
        read_photo(None, np.stack([points, points]), "coco17", image_size=SIZE),
    ]
    outcome = Pipeline.of().fit_photos(photos)
    assert [len(r) for r in outcome] == [1, 1, 2]
    assert [r.image_size for r in outcome] == [SIZE, (640, 480), SIZE]
    alone = hmrfit.fit(None, points, keypoint_set="coco17", image_size=SIZE)
    np.testing.assert_allclose(outcome[2].vertices[1], alone.vertices[0], atol=1e-6)


def test_an_image_network_takes_the_place_of_the_estimate(points: np.ndarray, tmp_path: Path) -> None:
    """With a photograph the fit starts from what the network says; without one, as always."""
    photo = tmp_path / "photo.png"
    write_image(photo, np.full((SIZE[1], SIZE[0], 3), 128, np.uint8))
    torch.manual_seed(0)
    encoder = ImageEncoder("resnet10", resolution=32)
    file = save_network(tmp_path / "image.npz", HMR(encoder, IterativeRegressor(encoder.features, hidden=16)))
    config = load_config(None, [f"PRIORS.IMAGE_ESTIMATE={file}"])
    seen = hmrfit.fit(photo, points, keypoint_set="coco17", config=config)
    pipeline = Pipeline.of(config)
    start = pipeline.image_estimate.predict(read_image(photo), seen.keypoints, seen.camera).params
    by_hand = hmrfit.fit(photo, points, keypoint_set="coco17", init=start)
    assert same(seen, by_hand) and len(seen.hypothesis_cost[0]) == 1
    blind = read_photo(None, points, "coco17", image_size=SIZE)
    with_pixels = read_photo(photo, points, "coco17").without_image()  # read again from its file
    alone, together = pipeline.fit_photos([blind]), pipeline.fit_photos([with_pixels, blind])
    assert same(together[0], seen) and same(together[1], alone[0]) and not same(alone[0], seen)


def test_the_focal_length_is_fitted_from_what_the_image_network_says(points: np.ndarray, tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = ImageEncoder("resnet10", resolution=32)
    file = save_network(tmp_path / "image.npz", HMR(encoder, IterativeRegressor(encoder.features, hidden=16)))
    photo = np.full((SIZE[1], SIZE[0], 3), 128, np.uint8)
    more = {"keypoint_set": "coco17", "focal": "free", "config": {"PRIORS.IMAGE_ESTIMATE": str(file)}}
    assert hmrfit.fit(photo, points, **more).origin.focal_source.startswith("fitted beside the people")


@pytest.mark.parametrize(
    ("config", "measurements", "init", "why"),
    [
        (None, [hmrfit.Age(30)], None, "Age and Gender are known of the body without hands"),
        (None, [hmrfit.Gender("male")], None, "Age and Gender"),
        ({"FIT.START": "library"}, (), None, "FIT.START is library"),
        ("fit_smplify", (), None, "FIT.STAGES are stages of a body alone"),
        (None, (), "a body", "init= is a body without hands"),
        (None, [hmrfit.Height(1.8)], None, None),
        ({"PRIORS.HANDS": ""}, [hmrfit.Age(30)], None, None),
    ],
)
@pytest.mark.parametrize("seen", [True, False])
def test_hands_that_are_seen_and_left_out_are_said(config, measurements, init, why: str | None, seen: bool) -> None:
    """Not where the settings say that hands are ignored, nor of people of whom no hand is seen."""
    pipeline, points = Pipeline.of(config), np.ones((133, 3))
    points[:, :2] = np.random.default_rng(0).uniform(50, 250, (133, 2))
    points[91:, 2] = seen
    start = BodyParams.from_rotvecs(*(torch.zeros(1, n) for n in (3, 69, 10, 3))) if init else None
    with pipeline.reading_hands_of(measurements, start):
        photo = read_photo(None, points, "coco_wholebody133", image_size=(300, 300))
    said = [text for text in photo.warnings[0] if "hands are left out" in text]
    assert len(said) == (why is not None and seen)
    assert all(why in text for text in said)
    assert has_hands(photo.people[0].names) == (why is None and config is None)
