"""The guess from a photograph: cut out as in training, mirrored for the mirror image, the same in any company."""

import numpy as np
import pytest
import torch

from hmrfit.camera import Camera
from hmrfit.io.image import Crop
from hmrfit.keypoints import COCO17, SMPL24, flip_permutation
from hmrfit.network.checkpoints import save_network
from hmrfit.network.encoders import ImageEncoder, KeypointEncoder, normalise_keypoints
from hmrfit.network.hmr import HMR, in_full_image
from hmrfit.network.image_estimate import ImageHmr
from hmrfit.network.regressor import IterativeRegressor
from hmrfit.ops.rotation import mirror
from hmrfit.types import Keypoints, Regression

WIDTH, HEIGHT = 160, 120


def network() -> HMR:
    torch.manual_seed(0)
    encoder = ImageEncoder("resnet10", resolution=40)
    hmr = HMR(encoder, IterativeRegressor(encoder.features, hidden=32)).eval()
    torch.nn.init.normal_(hmr.regressor.fc3.weight, std=0.05)
    return hmr


@pytest.fixture(scope="module")
def guess() -> ImageHmr:
    return ImageHmr(network())


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8)


def people(count: int = 3) -> tuple[Keypoints, Camera]:
    xy = torch.tensor([80.0, 60.0]) + 15 * torch.randn(count, 17, 2, generator=torch.Generator().manual_seed(1))
    return Keypoints(xy.double(), torch.ones(count, 17).double(), COCO17), Camera.from_size(WIDTH, HEIGHT, count=count)


def everything(answer: Regression) -> torch.Tensor:
    params = answer.params
    return torch.cat([params.rotations.flatten(1), params.betas, params.transl, answer.weak_camera], 1)


def test_it_is_the_network_asked_about_the_crop(photo):
    keypoints, camera = people(1)
    guess = ImageHmr(network(), flip_test=False)
    _, center, side = normalise_keypoints(keypoints)
    crop = Crop(tuple(center[0].tolist()), side.item(), 40).image(photo)
    with torch.no_grad():
        slow = network()(torch.as_tensor(crop.transpose(2, 0, 1).copy())[None] / 255)[-1].to(torch.float64)
    expected = Regression(in_full_image(slow, center, side, camera), slow.weak_camera)
    # batch norm is folded into the convolutions: float32
    torch.testing.assert_close(
        everything(guess.predict(photo, keypoints, camera)), everything(expected), atol=1e-3, rtol=1e-3
    )


def test_company_changes_nothing(guess, photo):
    keypoints, camera = people()
    together = everything(guess.predict(photo, keypoints, camera))
    for i in range(3):
        assert torch.equal(everything(guess.predict(photo, keypoints[i], camera[i]))[0], together[i])


def test_the_mirror_image_is_the_mirror_image(guess, photo):
    keypoints, camera = people()
    order = flip_permutation(COCO17)
    flipped = Keypoints(
        keypoints.xy[:, order] * torch.tensor([-1.0, 1.0]) + torch.tensor([WIDTH, 0.0]), keypoints.confidence, COCO17
    )
    a = guess.predict(photo, keypoints, camera)
    b = guess.predict(np.ascontiguousarray(photo[:, ::-1]), flipped, camera)
    mates = flip_permutation(SMPL24)
    # the two crops lie on other pixels by a rounding of the box
    torch.testing.assert_close(mirror(a.params.rotations[:, mates]), b.params.rotations, rtol=0, atol=0.02)
    torch.testing.assert_close(
        a.params.transl * torch.tensor([-1.0, 1.0, 1.0]).double(), b.params.transl, rtol=0.02, atol=0.02
    )


def test_a_file_says_how_fine_the_crop_is(guess, photo, tmp_path):
    again = ImageHmr.from_file(save_network(tmp_path / "hmr.npz", network()))
    assert again.resolution == 40
    keypoints, camera = people()
    assert torch.equal(
        everything(again.predict(photo, keypoints, camera)), everything(guess.predict(photo, keypoints, camera))
    )


def test_nobody_seen_is_answered_finitely(guess, photo):
    keypoints, camera = people(1)
    blind = Keypoints(keypoints.xy, torch.zeros(1, 17).double(), COCO17)
    assert everything(guess.predict(photo, blind, camera)).isfinite().all()


def test_other_networks_are_refused():
    with pytest.raises(ValueError, match="encoder takes keypoints"):
        ImageHmr(HMR(KeypointEncoder(16, 1)))
