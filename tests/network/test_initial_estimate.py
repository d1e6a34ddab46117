"""The initial estimate, from keypoints and from a photograph: independent of the batch and of the resolution, and
mirrored for the mirror image."""

import numpy as np
import pytest
import torch

from hmrfit.camera import Camera, weak_project, weak_to_translation
from hmrfit.io.image import Crop
from hmrfit.keypoints import COCO17, SMPL24, flip_permutation, resolve_set
from hmrfit.network.checkpoints import save_network
from hmrfit.network.encoders import ImageEncoder, KeypointEncoder, normalise_keypoints, view_of_box
from hmrfit.network.hmr import HMR, in_full_image
from hmrfit.network.initial_estimate import ImageHmr, KeypointHmr
from hmrfit.network.regressor import IterativeRegressor, ThetaLayout
from hmrfit.ops.rotation import mirror
from hmrfit.types import Keypoints, Regression


@pytest.fixture(scope="module")
def hmr() -> HMR:
    """Random weights, large enough that every keypoint matters."""
    torch.manual_seed(0)
    hmr = HMR(KeypointEncoder(64, 2), IterativeRegressor(64, hidden=64, dropout=0.5)).eval()
    torch.nn.init.normal_(hmr.regressor.fc3.weight, std=0.05)
    return hmr


@pytest.fixture(scope="module")
def keypoint_hmr(hmr) -> KeypointHmr:
    return KeypointHmr(hmr)


def keypoints(count: int, names: str = "coco17", seed: int = 0) -> Keypoints:
    generator = torch.Generator().manual_seed(seed)
    names = resolve_set(names)
    xy = 500 + 80 * torch.randn(count, len(names), 2, generator=generator, dtype=torch.float64)
    confidence = torch.rand(count, len(names), generator=generator, dtype=torch.float64).clamp_min(0.2)
    return Keypoints(xy, confidence.masked_fill(confidence < 0.3, 0.0), names)


def flat(estimate: Regression) -> torch.Tensor:
    """(B, n) all of it."""
    params = estimate.params
    return torch.cat([params.rotations.flatten(1), params.betas, params.transl, estimate.weak_camera], 1)


def everything(keypoint_hmr: KeypointHmr, people: Keypoints, camera: Camera) -> torch.Tensor:
    return flat(keypoint_hmr.predict(people, camera))


@pytest.mark.parametrize("count", [1, 2, 3, 7, 50])
def test_estimates_are_independent_of_the_batch(keypoint_hmr, count):
    people, camera = keypoints(50), Camera.from_size(1024, 768, count=50)
    whole = everything(keypoint_hmr, people, camera)
    part = everything(keypoint_hmr, people[:count], camera[:count])
    # to the bit with MKL; another BLAS may add up in another order: float32
    torch.testing.assert_close(part, whole[:count], rtol=0, atol=1e-5)
    order = torch.arange(49, -1, -1)
    torch.testing.assert_close(everything(keypoint_hmr, people[order], camera[order]), whole[order], rtol=0, atol=1e-5)


def test_the_mirror_image_is_the_mirror_image(keypoint_hmr):
    people, camera = keypoints(9), Camera.from_size(1024, 768, count=9)
    flipped = people.xy[:, flip_permutation(COCO17)] * torch.tensor([-1.0, 1.0]) + torch.tensor([1024.0, 0.0])
    other = Keypoints(flipped, people.confidence[:, flip_permutation(COCO17)], COCO17)
    a, b = keypoint_hmr.predict(people, camera), keypoint_hmr.predict(other, camera)
    order = flip_permutation(SMPL24)
    torch.testing.assert_close(mirror(a.params.rotations[:, order]), b.params.rotations, rtol=0, atol=1e-5)
    torch.testing.assert_close(a.params.betas, b.params.betas, rtol=0, atol=1e-5)
    sign = torch.tensor([-1.0, 1.0, 1.0]).double()
    torch.testing.assert_close(a.params.transl * sign, b.params.transl, rtol=1e-4, atol=1e-5)


def test_resolution_changes_nothing(keypoint_hmr):
    people, camera = keypoints(9), Camera.from_size(1024, 768, count=9)
    large = Keypoints(3 * people.xy, people.confidence, people.names)
    a, b = everything(keypoint_hmr, people, camera), everything(keypoint_hmr, large, camera.resize(3 * camera.size))
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_the_translation_is_what_the_weak_camera_means(keypoint_hmr):
    people, camera = keypoints(9), Camera.from_size(1024, 768, focal=900.0, count=9)
    estimate = keypoint_hmr.predict(people, camera)
    _, center, side = normalise_keypoints(people)
    assert (estimate.weak_camera[:, 0] > 0.05).all()
    torch.testing.assert_close(weak_to_translation(estimate.weak_camera, center, side, camera), estimate.params.transl)
    assert (estimate.params.transl[:, 2] > 0).all() and estimate.params.transl.dtype == torch.float64


@pytest.mark.parametrize("names", ["openpose25", "smpl24", "spin49", "mediapipe33"])
def test_every_set_is_understood(keypoint_hmr, names):
    camera = Camera.from_size(640, 480, count=3)
    assert everything(keypoint_hmr, keypoints(3, names), camera).isfinite().all()
    params = keypoint_hmr.predict(keypoints(3, names), camera).params
    eye = torch.eye(3).double().expand(3, 24, 3, 3)
    torch.testing.assert_close(params.rotations @ params.rotations.mT, eye, rtol=0, atol=1e-6)


def test_invisible_keypoints_do_not_matter_and_none_may_be_visible(keypoint_hmr):
    people, camera = keypoints(5), Camera.from_size(1024, 768, count=5)
    moved = people.xy + 1e4 * (people.confidence == 0)[..., None]
    other = Keypoints(moved, people.confidence, people.names)
    assert not torch.equal(moved, people.xy)
    assert torch.equal(everything(keypoint_hmr, people, camera), everything(keypoint_hmr, other, camera))
    blind = Keypoints(people.xy, torch.zeros_like(people.confidence), people.names)
    assert everything(keypoint_hmr, blind, camera).isfinite().all()


def test_inputs_stay_and_estimates_repeat(keypoint_hmr):
    people, camera = keypoints(5), Camera.from_size(1024, 768, count=5)
    before = people.xy.clone(), people.confidence.clone()
    first, second = everything(keypoint_hmr, people, camera), everything(keypoint_hmr, people, camera)
    assert torch.equal(first, second)  # dropout is off
    assert torch.equal(people.xy, before[0]) and torch.equal(people.confidence, before[1])


def test_without_flip_test_it_is_the_network_itself(keypoint_hmr, hmr):
    people, camera = keypoints(5), Camera.from_size(1024, 768, count=5)
    plain = KeypointHmr(hmr, flip_test=False)
    assert not torch.allclose(everything(plain, people, camera), everything(keypoint_hmr, people, camera), atol=1e-3)


def test_a_file_gives_the_same_estimates(keypoint_hmr, hmr, tmp_path):
    people, camera = keypoints(5), Camera.from_size(1024, 768, count=5)
    again = KeypointHmr.from_file(save_network(tmp_path / "hmr.npz", hmr))
    assert torch.equal(everything(keypoint_hmr, people, camera), everything(again, people, camera))


def test_a_network_in_training_is_run_without_its_dropout_and_stays_as_it_was(keypoint_hmr):
    hmr = HMR(KeypointEncoder(32, 1), IterativeRegressor(32, hidden=32)).train()
    torch.nn.init.normal_(hmr.regressor.fc3.weight, std=0.05)
    people, camera = keypoints(4), Camera.from_size(1024, 768, count=4)
    one, again = (everything(KeypointHmr(hmr, flip_test=False), people, camera) for _ in range(2))
    assert torch.equal(one, again), "dropout was on"
    assert hmr.training and hmr.encoder.training and all(p.requires_grad for p in hmr.parameters())
    points, center, side = normalise_keypoints(people)
    slow = hmr.eval()(points.float(), COCO17, view_of_box(center, side, camera).float())[-1]
    placed = in_full_image(slow.to(torch.float64), center, side, camera)
    expected = torch.cat([placed.rotations.flatten(1), placed.betas, placed.transl, slow.weak_camera], 1)
    torch.testing.assert_close(one, expected, rtol=0, atol=1e-5)


def test_a_point_at_the_origin_lands_where_the_weak_camera_says(keypoint_hmr):
    """At any lens: it lies at the very depth of the translation."""
    people, camera = keypoints(9), Camera.from_size(1024, 768, count=9)
    estimate = keypoint_hmr.predict(people, camera)
    _, center, side = normalise_keypoints(people)
    pixel = camera.project(estimate.params.transl[:, None])[:, 0]
    in_crop = weak_project(torch.zeros(9, 1, 3).double(), estimate.weak_camera)[:, 0]
    torch.testing.assert_close(pixel, center + in_crop * side[:, None] / 2)
    assert estimate.params.transl.dtype == torch.float64 and not estimate.params.transl.requires_grad


def test_an_hmr_that_sees_images_is_refused():
    with pytest.raises(ValueError, match="encoder takes images"):
        KeypointHmr(HMR(ImageEncoder("resnet18"), IterativeRegressor(512)))
    small = IterativeRegressor(16, ThetaLayout(joints=16), hidden=16)
    with pytest.raises(ValueError, match="24 joints, not 16"):
        KeypointHmr(HMR(KeypointEncoder(16, 1), small))


# ---- from a photograph


WIDTH, HEIGHT = 160, 120


def image_network() -> HMR:
    torch.manual_seed(0)
    encoder = ImageEncoder("resnet10", resolution=40)
    hmr = HMR(encoder, IterativeRegressor(encoder.features, hidden=32)).eval()
    torch.nn.init.normal_(hmr.regressor.fc3.weight, std=0.05)
    return hmr


@pytest.fixture(scope="module")
def image_hmr() -> ImageHmr:
    return ImageHmr(image_network())


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8)


def people_in_photo(count: int = 3) -> tuple[Keypoints, Camera]:
    xy = torch.tensor([80.0, 60.0]) + 15 * torch.randn(count, 17, 2, generator=torch.Generator().manual_seed(1))
    return Keypoints(xy.double(), torch.ones(count, 17).double(), COCO17), Camera.from_size(WIDTH, HEIGHT, count=count)


def test_it_is_the_network_run_on_the_crop(photo):
    keypoints, camera = people_in_photo(1)
    image_hmr = ImageHmr(image_network(), flip_test=False)
    _, center, side = normalise_keypoints(keypoints)
    crop = Crop(tuple(center[0].tolist()), side.item(), 40).image(photo)
    with torch.no_grad():
        slow = image_network()(torch.as_tensor(crop.transpose(2, 0, 1).copy())[None] / 255)[-1].to(torch.float64)
    expected = Regression(in_full_image(slow, center, side, camera), slow.weak_camera)
    # batch norm is folded into the convolutions: float32
    torch.testing.assert_close(flat(image_hmr.predict(photo, keypoints, camera)), flat(expected), atol=1e-3, rtol=1e-3)


def test_people_of_a_photograph_are_independent_of_each_other(image_hmr, photo):
    keypoints, camera = people_in_photo()
    together = flat(image_hmr.predict(photo, keypoints, camera))
    for i in range(3):
        assert torch.equal(flat(image_hmr.predict(photo, keypoints[i], camera[i]))[0], together[i])


def test_a_mirrored_photograph_gives_the_mirror_image(image_hmr, photo):
    keypoints, camera = people_in_photo()
    order = flip_permutation(COCO17)
    flipped = Keypoints(
        keypoints.xy[:, order] * torch.tensor([-1.0, 1.0]) + torch.tensor([WIDTH, 0.0]), keypoints.confidence, COCO17
    )
    a = image_hmr.predict(photo, keypoints, camera)
    b = image_hmr.predict(np.ascontiguousarray(photo[:, ::-1]), flipped, camera)
    joints = flip_permutation(SMPL24)
    # the two crops lie on other pixels by a rounding of the box
    torch.testing.assert_close(mirror(a.params.rotations[:, joints]), b.params.rotations, rtol=0, atol=0.02)
    torch.testing.assert_close(
        a.params.transl * torch.tensor([-1.0, 1.0, 1.0]).double(), b.params.transl, rtol=0.02, atol=0.02
    )


def test_the_resolution_of_crops_is_in_the_file(image_hmr, photo, tmp_path):
    again = ImageHmr.from_file(save_network(tmp_path / "hmr.npz", image_network()))
    assert again.resolution == 40
    keypoints, camera = people_in_photo()
    assert torch.equal(flat(again.predict(photo, keypoints, camera)), flat(image_hmr.predict(photo, keypoints, camera)))


def test_without_visible_keypoints_the_estimate_is_finite(image_hmr, photo):
    keypoints, camera = people_in_photo(1)
    blind = Keypoints(keypoints.xy, torch.zeros(1, 17).double(), COCO17)
    assert flat(image_hmr.predict(photo, blind, camera)).isfinite().all()


def test_an_hmr_that_sees_keypoints_is_refused():
    with pytest.raises(ValueError, match="encoder takes keypoints"):
        ImageHmr(HMR(KeypointEncoder(16, 1)))
