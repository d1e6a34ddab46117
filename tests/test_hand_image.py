"""The image network of hands on a photograph: what training's own scores see, mirrored hands, what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch

import hmrfit
from hmrfit.build import load_body
from hmrfit.hand_image import HandImageHmr
from hmrfit.network.checkpoints import save_network
from hmrfit.network.encoders import HeatmapEncoder, ImageEncoder
from hmrfit.network.hand_regressor import HandRegressor
from hmrfit.network.hmr import HMR
from hmrfit.train.hand_images import HandFiles, HandImages
from hmrfit.train.hand_validation import held_out, regress_hands

SIZE = (160, 120)


def network(heatmaps: bool = False) -> HMR:
    torch.manual_seed(0)
    encoder = (HeatmapEncoder if heatmaps else ImageEncoder)("resnet18", 64)
    poses = load_body("free_hand").hands["right"]
    return HMR(encoder, HandRegressor(encoder.features, poses, 6, 10, 64)).eval()


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    smooth = np.random.default_rng(0).random((6, 8, 3)).repeat(20, 0).repeat(20, 1)
    return (255 * smooth).astype(np.uint8)


POINTS = np.random.default_rng(1).uniform([50, 30], [110, 90], (21, 2))


@pytest.mark.parametrize("heatmaps", [False, True])
def test_a_photograph_is_seen_as_in_training(picture: np.ndarray, tmp_path: Path, heatmaps: bool) -> None:
    hmr = network(heatmaps)
    save_network(tmp_path / "hmr.npz", hmr)
    hmrfit.write_image(tmp_path / "a.png", picture)
    found = HandImageHmr.from_file(tmp_path / "hmr.npz").predict(tmp_path / "a.png", POINTS)
    files = HandFiles([tmp_path / "a.png"], POINTS[None], np.ones((1, 21)))
    theirs = regress_hands(hmr, held_out(HandImages(files, resolution=64, masks="none"), 1))
    np.testing.assert_allclose(found.numbers, theirs.numbers[0].numpy(), atol=1e-4)
    assert found.numbers.shape == (22,) and found.mesh.shape[1] == 3


def test_a_left_hand_is_the_mirror_image(picture: np.ndarray) -> None:
    hmr = HandImageHmr(network())
    right = hmr.predict(picture, POINTS)
    mirrored = np.ascontiguousarray(picture[:, ::-1])
    left = hmr.predict(mirrored, POINTS * [-1, 1] + [picture.shape[1], 0], side="left")
    np.testing.assert_allclose(left.points, right.points * [-1, 1, 1], atol=1e-6)
    np.testing.assert_allclose(left.keypoints, right.keypoints * [-1, 1] + [picture.shape[1], 0], atol=1e-3)
    np.testing.assert_allclose(np.sort(left.mesh[:, 0]), np.sort(-right.mesh[:, 0]), atol=1e-6)
    own = left.body.points(tuple(f"left_{part}" for part in ("wrist", "index_tip"))).pose(left.params).points[0].numpy()
    np.testing.assert_allclose(own[1] - own[0], left.points[8], atol=1e-5)


def test_the_start_of_a_fit_is_taken_from_it(picture: np.ndarray) -> None:
    found = HandImageHmr(network()).predict(picture, [50, 30, 110, 90])
    fit = hmrfit.fit_hand(None, POINTS, image_size=SIZE, init=found.params)
    assert np.isfinite(fit.joints).all()


def test_what_is_refused(picture: np.ndarray) -> None:
    hmr = HandImageHmr(network(heatmaps=True))
    with pytest.raises(ValueError, match="heat maps"):
        hmr.predict(picture, [50, 30, 110, 90])
    with pytest.raises(ValueError, match="has the shape"):
        hmr.predict(picture, POINTS[:20])
    with pytest.raises(ValueError, match="side should be"):
        hmr.predict(picture, POINTS, side="both")
    with pytest.raises(ValueError, match="right hand"):
        HandImageHmr(network(), "free_body")
