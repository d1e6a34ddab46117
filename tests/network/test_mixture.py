"""The mixture beside an initial estimate: its components and their order, mirror images, batches, files."""

from functools import cache

import pytest
import torch
from torch import Tensor

from hmrfit.assets import locate
from hmrfit.camera import Camera
from hmrfit.keypoints import COCO17, flip_permutation
from hmrfit.network.checkpoints import load_error_model, load_hmr, load_mixture, save_network
from hmrfit.network.error_model import ErrorModel
from hmrfit.network.inference import packed
from hmrfit.network.initial_estimate import KeypointHmr
from hmrfit.network.mirror import mirrored_regression
from hmrfit.network.mixture import Components, MixtureModel, components_of
from hmrfit.types import Keypoints
from tests.helpers.fits import people, photograph


@cache
def mixture() -> MixtureModel:
    return packed(load_mixture(locate("mixture_hmr")))


@cache
def network() -> KeypointHmr:
    return KeypointHmr.from_file(locate("keypoint_hmr"))


@cache
def seen() -> Keypoints:
    return people(3, "coco17", noise=0.01).keypoints


def components(keypoints: Keypoints, camera: Camera, flip: bool = True) -> Components:
    estimator = network() if flip else network().without_flip_test()
    return components_of(mixture(), keypoints, camera, *estimator.forward(keypoints, camera))


def theta(found: Components) -> Tensor:
    params = found.estimate.params
    return torch.cat([params.rotations.flatten(1), params.betas, params.transl, found.estimate.weak_camera], 1)


@pytest.mark.parametrize("flip, count", [(False, 5), (True, 9)])
def test_the_initial_estimate_comes_first_then_its_components(flip: bool, count: int):
    """K of the person and, averaged with the mirror image, K of that."""
    camera = photograph(3)
    found = components(seen(), camera, flip)
    assert found.person.tolist() == sorted(list(range(3)) * count)
    assert found.first.view(3, count).tolist() == [[True] + [False] * (count - 1)] * 3
    estimator = network() if flip else network().without_flip_test()
    estimate = estimator.predict(seen(), camera)
    torch.testing.assert_close(found.estimate.params.rotations[found.first], estimate.params.rotations)
    torch.testing.assert_close(found.estimate.params.transl[found.first], estimate.params.transl)


def test_components_are_bodies_before_the_camera_and_differ():
    found = components(seen(), photograph(3))
    rotations = found.estimate.params.rotations
    torch.testing.assert_close(rotations @ rotations.mT, torch.eye(3).expand_as(rotations).to(rotations))
    assert (found.estimate.params.transl[:, 2] > 0.5).all()
    each = rotations.view(3, 9, -1)[:, 1:5]
    assert (torch.cdist(each, each) + 9 * torch.eye(4) > 0.1).all()


def test_the_mirror_image_has_the_mirrored_components():
    """As a set: those of the person and those of the mirror image change places."""
    keypoints, camera = seen(), photograph(3)
    order = flip_permutation(COCO17)
    size = camera.size[:, None, :1]
    xy = keypoints.xy[:, order].clone()
    xy[..., 0] = size[..., 0] - xy[..., 0]
    flipped = Keypoints(
        torch.where(keypoints.confidence[:, order, None] > 0, xy, 0.0), keypoints.confidence[:, order], COCO17
    )
    found, other = components(keypoints, camera), components(flipped, camera)
    expected = mirrored_regression(found.estimate).params.rotations.view(3, 9, -1)
    swapped = [0, 5, 6, 7, 8, 1, 2, 3, 4]
    torch.testing.assert_close(other.estimate.params.rotations.view(3, 9, -1)[:, swapped], expected, atol=1e-4, rtol=0)


def test_components_are_independent_of_the_batch():
    alone, together = components(seen()[1], photograph(1)), components(seen(), photograph(3))
    assert torch.equal(theta(alone), theta(together)[together.person == 1])


def test_a_mixture_is_saved_and_read_back(tmp_path):
    model = load_mixture(locate("mixture_hmr"))
    again = load_mixture(save_network(tmp_path / "again.npz", model, half=True))
    assert again.count == model.count == 4 and again.settings() == model.settings()
    phi = torch.randn(2, model.features, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again.components(phi), model.components(phi))


def test_another_network_is_no_mixture():
    with pytest.raises(ValueError, match="holds a HMR, not a mixture"):
        load_mixture(locate("keypoint_hmr"))
    with pytest.raises(ValueError, match="holds a MixtureModel, not an error model"):
        load_error_model(locate("mixture_hmr"))


def test_an_error_model_without_weights_is_refused():
    regressor = load_hmr(locate("keypoint_hmr")).regressor
    with pytest.raises(ValueError, match="weighted=True"):
        MixtureModel(regressor, ErrorModel(regressor.features))
