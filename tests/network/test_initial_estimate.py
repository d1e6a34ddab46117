"""The initial estimate: the same for a person in any company, in any resolution, and mirrored for the mirror image."""

import pytest
import torch

from hmrfit.camera import Camera, weak_project, weak_to_translation
from hmrfit.keypoints import COCO17, SMPL24, flip_permutation, resolve_set
from hmrfit.network.checkpoints import save_network
from hmrfit.network.encoders import ImageEncoder, KeypointEncoder, normalise_keypoints, view_of_box
from hmrfit.network.hmr import HMR, in_full_image
from hmrfit.network.initial_estimate import KeypointHmr
from hmrfit.network.regressor import IterativeRegressor
from hmrfit.network.theta import ThetaLayout
from hmrfit.ops.rotation import mirror
from hmrfit.types import Keypoints


@pytest.fixture(scope="module")
def hmr() -> HMR:
    """Random weights, large enough that every keypoint matters."""
    torch.manual_seed(0)
    hmr = HMR(KeypointEncoder(64, 2), IterativeRegressor(64, hidden=64, dropout=0.5)).eval()
    torch.nn.init.normal_(hmr.regressor.fc3.weight, std=0.05)
    return hmr


@pytest.fixture(scope="module")
def guess(hmr) -> KeypointHmr:
    return KeypointHmr(hmr)


def keypoints(count: int, names: str = "coco17", seed: int = 0) -> Keypoints:
    generator = torch.Generator().manual_seed(seed)
    names = resolve_set(names)
    xy = 500 + 80 * torch.randn(count, len(names), 2, generator=generator, dtype=torch.float64)
    confidence = torch.rand(count, len(names), generator=generator, dtype=torch.float64).clamp_min(0.2)
    return Keypoints(xy, confidence.masked_fill(confidence < 0.3, 0.0), names)


def everything(guess: KeypointHmr, people: Keypoints, camera: Camera) -> torch.Tensor:
    """(B, n) all that is said of each."""
    answer = guess.predict(people, camera)
    params = answer.params
    return torch.cat([params.rotations.flatten(1), params.betas, params.transl, answer.weak_camera], 1)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 50])
def test_company_changes_nothing(guess, count):
    people, camera = keypoints(50), Camera.from_size(1024, 768, count=50)
    whole = everything(guess, people, camera)
    part = everything(guess, people[:count], camera[:count])
    # to the bit with MKL; another BLAS may add up in another order: float32
    torch.testing.assert_close(part, whole[:count], rtol=0, atol=1e-5)
    order = torch.arange(49, -1, -1)
    torch.testing.assert_close(everything(guess, people[order], camera[order]), whole[order], rtol=0, atol=1e-5)


def test_the_mirror_image_is_the_mirror_image(guess):
    people, camera = keypoints(9), Camera.from_size(1024, 768, count=9)
    flipped = people.xy[:, flip_permutation(COCO17)] * torch.tensor([-1.0, 1.0]) + torch.tensor([1024.0, 0.0])
    other = Keypoints(flipped, people.confidence[:, flip_permutation(COCO17)], COCO17)
    a, b = guess.predict(people, camera), guess.predict(other, camera)
    mates = flip_permutation(SMPL24)
    torch.testing.assert_close(mirror(a.params.rotations[:, mates]), b.params.rotations, rtol=0, atol=1e-5)
    torch.testing.assert_close(a.params.betas, b.params.betas, rtol=0, atol=1e-5)
    sign = torch.tensor([-1.0, 1.0, 1.0]).double()
    torch.testing.assert_close(a.params.transl * sign, b.params.transl, rtol=1e-4, atol=1e-5)


def test_resolution_changes_nothing(guess):
    people, camera = keypoints(9), Camera.from_size(1024, 768, count=9)
    large = Keypoints(3 * people.xy, people.confidence, people.names)
    a, b = everything(guess, people, camera), everything(guess, large, camera.resize(3 * camera.size))
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_the_translation_is_what_the_weak_camera_means(guess):
    people, camera = keypoints(9), Camera.from_size(1024, 768, focal=900.0, count=9)
    answer = guess.predict(people, camera)
    _, center, side = normalise_keypoints(people)
    assert (answer.weak_camera[:, 0] > 0.05).all()
    torch.testing.assert_close(weak_to_translation(answer.weak_camera, center, side, camera), answer.params.transl)
    assert (answer.params.transl[:, 2] > 0).all() and answer.params.transl.dtype == torch.float64


@pytest.mark.parametrize("names", ["openpose25", "smpl24", "spin49", "mediapipe33"])
def test_every_set_is_understood(guess, names):
    camera = Camera.from_size(640, 480, count=3)
    assert everything(guess, keypoints(3, names), camera).isfinite().all()
    params = guess.predict(keypoints(3, names), camera).params
    eye = torch.eye(3).double().expand(3, 24, 3, 3)
    torch.testing.assert_close(params.rotations @ params.rotations.mT, eye, rtol=0, atol=1e-6)


def test_what_is_unseen_does_not_matter_and_nothing_seen_is_no_trouble(guess):
    people, camera = keypoints(5), Camera.from_size(1024, 768, count=5)
    moved = people.xy + 1e4 * (people.confidence == 0)[..., None]
    other = Keypoints(moved, people.confidence, people.names)
    assert not torch.equal(moved, people.xy)
    assert torch.equal(everything(guess, people, camera), everything(guess, other, camera))
    nobody = Keypoints(people.xy, torch.zeros_like(people.confidence), people.names)
    assert everything(guess, nobody, camera).isfinite().all()


def test_inputs_stay_and_answers_repeat(guess):
    people, camera = keypoints(5), Camera.from_size(1024, 768, count=5)
    before = people.xy.clone(), people.confidence.clone()
    first, second = everything(guess, people, camera), everything(guess, people, camera)
    assert torch.equal(first, second)  # dropout is off
    assert torch.equal(people.xy, before[0]) and torch.equal(people.confidence, before[1])


def test_one_side_alone_is_the_network_itself(guess, hmr):
    people, camera = keypoints(5), Camera.from_size(1024, 768, count=5)
    alone = KeypointHmr(hmr, flip_test=False)
    assert not torch.allclose(everything(alone, people, camera), everything(guess, people, camera), atol=1e-3)


def test_a_file_gives_the_same_answers(guess, hmr, tmp_path):
    people, camera = keypoints(5), Camera.from_size(1024, 768, count=5)
    again = KeypointHmr.from_file(save_network(tmp_path / "hmr.npz", hmr))
    assert torch.equal(everything(guess, people, camera), everything(again, people, camera))


def test_a_network_in_training_is_asked_without_its_dropout_and_stays_as_it_was(guess):
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


def test_a_point_at_the_origin_lands_where_the_weak_camera_says(guess):
    """At any lens: it lies at the very depth of the translation."""
    people, camera = keypoints(9), Camera.from_size(1024, 768, count=9)
    answer = guess.predict(people, camera)
    _, center, side = normalise_keypoints(people)
    pixel = camera.project(answer.params.transl[:, None])[:, 0]
    in_crop = weak_project(torch.zeros(9, 1, 3).double(), answer.weak_camera)[:, 0]
    torch.testing.assert_close(pixel, center + in_crop * side[:, None] / 2)
    assert answer.params.transl.dtype == torch.float64 and not answer.params.transl.requires_grad


def test_other_networks_are_refused():
    with pytest.raises(ValueError, match="encoder takes images"):
        KeypointHmr(HMR(ImageEncoder("resnet18"), IterativeRegressor(512)))
    small = IterativeRegressor(16, ThetaLayout(joints=16), hidden=16)
    with pytest.raises(ValueError, match="24 joints, not 16"):
        KeypointHmr(HMR(KeypointEncoder(16, 1), small))
