"""The flipped photograph gives the mirrored body."""

import pytest
import torch
from helpers.bodies import free_body
from helpers.fits import gmm, joints_of, people, photograph, shipped

from hmrfit.fitting.fitter import Fitter
from hmrfit.keypoints import COCO17, SMPL24, flip_permutation
from hmrfit.ops.rotation import matrix_to_rotvec, mirror
from hmrfit.types import BodyParams, Keypoints

COUNT, WIDTH = 60, 1024
OTHER_SIDE = flip_permutation(SMPL24)


def flipped(keypoints: Keypoints) -> Keypoints:
    """What a detector that treats both sides alike says of the flipped photograph."""
    order = flip_permutation(keypoints.names)
    xy = keypoints.xy[:, order] * torch.tensor([-1.0, 1.0]) + torch.tensor([float(WIDTH), 0.0])
    seen = keypoints.confidence[:, order]
    return Keypoints(torch.where(seen[..., None] > 0, xy, 0.0), seen, keypoints.names)


def mirrored(params: BodyParams) -> BodyParams:
    """The free body's mesh mirrors exactly, its pelvis lies in the middle."""
    rotations = mirror(params.rotations[:, OTHER_SIDE])
    sign = torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
    return BodyParams(rotations[:, 0], rotations[:, 1:], params.betas, params.transl * sign)


def worst_apart(fitter: Fitter, keypoints: Keypoints, init: BodyParams | None = None) -> torch.Tensor:
    """(B,) millimetres, of each person's worst joint, the translation in it."""
    count = len(keypoints)
    fit = fitter.fit(keypoints, photograph(count), init)
    other = fitter.fit(flipped(keypoints), photograph(count), None if init is None else mirrored(init))
    a, b = (joints_of(params) for params in (fit.state.params, mirrored(other.state.params)))
    return 1e3 * (a - b).norm(dim=-1).amax(1)


CONFIGS = {
    "default": None,
    "SMPLify": "fit_smplify",
    "SPIN": "fit_spin",
    "no initial estimate": {"PRIORS.INITIAL_ESTIMATE": "", "FIT.LIBRARY": 100},
    "no error model": {"PRIORS.ERROR_MODEL": "", "FIT.LIBRARY": 100},
}


@pytest.mark.parametrize("how", CONFIGS)
def test_the_flipped_photograph_gives_the_mirrored_body(how):
    fitter = shipped(CONFIGS[how])
    count = COUNT if how == "default" else 12
    keypoints = people(COUNT, "coco17", noise=0.01, missing=0.1).keypoints[slice(0, count)]
    assert worst_apart(fitter, keypoints).max() < 0.1


def test_one_person_alone_and_low_confidences():
    """The NumPy path, and keypoints that count in part."""
    fitter = shipped()
    keypoints = people(COUNT, "coco17", noise=0.02).keypoints.map(torch.clone)
    keypoints.confidence.copy_(torch.rand(COUNT, 17, generator=torch.Generator().manual_seed(0)).double())
    for i in range(4):
        assert worst_apart(fitter, keypoints[i]).max() < 0.1
    assert worst_apart(fitter, keypoints).max() < 0.1


def test_from_a_given_start():
    truth = people(COUNT, "coco17", noise=0.01)[slice(0, 12)]
    assert worst_apart(shipped(), truth.keypoints, truth.params).max() < 0.1


def test_every_component_of_the_pose_prior_is_its_own_mirror_image():
    theta = gmm().sample(200, torch.Generator().manual_seed(0))
    order = [side - 1 for side in OTHER_SIDE[1:]]
    turned = (theta.unflatten(1, (-1, 3))[:, order] * torch.tensor([1.0, -1.0, -1.0])).flatten(1)
    torch.testing.assert_close(gmm().energies(turned), gmm().energies(theta), rtol=1e-9, atol=1e-8)


def test_error_covariance_of_both_sides():
    """Σ of the flipped photograph is M Σ M, and σ of each keypoint its other side's."""
    fitter = shipped()
    keypoints = people(COUNT, "coco17", noise=0.01, missing=0.1).keypoints[slice(0, 8)]
    one, other = (fitter.fit(k, photograph(8)).observation for k in (keypoints, flipped(keypoints)))
    torch.testing.assert_close(other.noise[:, flip_permutation(COCO17)], one.noise, rtol=1e-4, atol=0)
    everything = torch.arange(82)
    sigma, image = (o.anchor.covariance(everything) for o in (one, other))
    order = torch.cat([(3 * torch.tensor(OTHER_SIDE)[:, None] + torch.arange(3)).flatten(), torch.arange(72, 82)])
    sign = torch.tensor([*[1.0, -1.0, -1.0] * 24, *[1.0] * 10]).double()
    torch.testing.assert_close(image[:, order][:, :, order] * sign[:, None] * sign, sigma, rtol=1e-3, atol=1e-6)


def test_mirror_of_parameters_is_the_mirror_of_the_body():
    """What the tests above stand on."""
    params = people(4, "coco17").params
    body = free_body().points(SMPL24)
    a, b = body.pose(params).joints, body.pose(mirrored(params)).joints[:, OTHER_SIDE]
    torch.testing.assert_close(b * torch.tensor([-1.0, 1.0, 1.0]), a, rtol=0, atol=1e-6)
    assert matrix_to_rotvec(mirrored(params).body_pose).isfinite().all()
