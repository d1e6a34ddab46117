"""Synthetic people: in front of the camera, inside the picture, with the noise and gaps that were set."""

import pytest
import torch
from helpers.bodies import free_body

from hmrfit.fitting.starts import UPRIGHT
from hmrfit.keypoints import COCO17, SMPL24
from hmrfit.ops.rotation import geodesic_angle
from hmrfit.synthetic.people import Corruption, People, Views, camera_rotations, corrupt, make_people, uniform
from hmrfit.types import Keypoints

VIEWS = Views()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def poses(count: int) -> torch.Tensor:
    return 0.3 * torch.randn(count, 24, 3, generator=generator(7), dtype=torch.float64)


@pytest.fixture(scope="module")
def people() -> People:
    return make_people(free_body(), poses(500), COCO17, generator())


def test_nobody_is_behind_the_camera(people):
    assert (people.joints[..., 2] > 0.3).all()


def test_the_truth_is_consistent(people):
    posed = free_body().points(COCO17).pose(people.params)
    torch.testing.assert_close(people.camera.project(posed.points), people.clean.xy)
    torch.testing.assert_close(people.joints, posed.joints)
    assert (people.clean.confidence == 1).all() and people.clean.names == COCO17


def test_people_fill_their_share_of_the_picture(people):
    """By joints, up to perspective: near lenses draw what is near larger, and nobody stands nearer than their depth."""
    pixels = people.camera.project(people.joints)
    fill = (pixels.amax(1) - pixels.amin(1)).amax(-1) / min(VIEWS.size)
    assert fill.median() > 0.3 and fill.max() < 1.6 * VIEWS.fill[1]
    inside = ((pixels > 0) & (pixels < torch.tensor(VIEWS.size))).all(-1).double().mean()
    assert inside > 0.97


def test_lenses_are_within_their_range(people):
    lens = people.camera.focal[:, 0] * 43.27 / (VIEWS.size[0] ** 2 + VIEWS.size[1] ** 2) ** 0.5
    assert lens.min() >= VIEWS.lens_mm[0] and lens.max() <= VIEWS.lens_mm[1]
    log = lens.log()
    assert abs(log.mean() - log.new_tensor(VIEWS.lens_mm).log().mean()) < 0.1  # 5 standard errors of 500 uniforms: 0.11
    torch.testing.assert_close(people.camera.center, people.camera.size / 2)


def test_cameras_are_all_around_and_mostly_level():
    R = camera_rotations(2000, VIEWS, generator())
    torch.testing.assert_close(R @ R.mT, torch.eye(3).double().expand_as(R), rtol=0, atol=1e-14)
    up = R[..., 1]  # the world's up in the camera: -y, tilted
    elevation = torch.rad2deg(torch.asin(-up[:, 2]))  # from above, what is higher is nearer
    low, high = VIEWS.elevation
    assert low - 1 < elevation.min() < low + 2 and high - 2 < elevation.max() < high + 1
    assert (up[:, 1] < -0.7).all()
    heading = torch.atan2(R[:, 0, 2], -R[:, 2, 2])
    counts = torch.histc(heading, 8, -torch.pi, torch.pi)
    assert counts.min() > 250 - 5 * 250**0.5  # Poisson


def test_upright_is_a_camera_without_tilt():
    level = Views(elevation=(0.0, 0.0), roll=0.0)
    R = camera_rotations(100, level, generator())
    torch.testing.assert_close(R[..., 1], torch.tensor([0.0, -1.0, 0.0]).double().expand(100, 3), rtol=0, atol=1e-15)
    assert geodesic_angle(R, torch.tensor(UPRIGHT).double()).min() < 0.2


def clean_keypoints(count: int = 4000) -> Keypoints:
    xy = 500 + 80 * torch.randn(count, 17, 2, generator=generator(3), dtype=torch.float64)
    return Keypoints(xy, torch.ones(count, 17, dtype=torch.float64), COCO17)


def test_noise_is_a_share_of_the_box():
    clean = clean_keypoints()
    noisy = corrupt(clean, Corruption(noise=0.02, missing=0.0), generator())
    units = (noisy.xy - clean.xy) / clean.box_size()[:, None, None]
    # standard errors of 136,000 numbers: 0.02/sqrt(2 N) = 4e-5 of the deviation, 5e-5 of the mean
    assert abs(units.std() - 0.02) < 2e-4 and units.mean().abs() < 3e-4
    assert (noisy.confidence == 1).all()


@pytest.mark.parametrize("missing", [0.0, 0.1, 0.4])
def test_as_many_are_missing_as_asked_for(missing):
    noisy = corrupt(clean_keypoints(), Corruption(missing=missing), generator())
    share = (noisy.confidence == 0).double().mean()
    assert abs(share - missing) < 0.01  # 68,000 draws: standard error below 0.002; the four that stay take 0.002 at 0.4
    assert (noisy.xy[noisy.confidence == 0] == 0).all()


@pytest.mark.parametrize("how", [Corruption(missing=1.0), Corruption(missing=0.9, occluder=1.0)])
def test_at_least_four_stay(how):
    assert (corrupt(clean_keypoints(), how, generator()).confidence > 0).sum(1).min() >= 4


def test_an_occluder_hides_one_side_of_a_line():
    """Some half plane holds exactly the hidden keypoints."""
    clean = clean_keypoints(200)
    hidden = corrupt(clean, Corruption(noise=0.0, missing=0.0, occluder=1.0), generator()).confidence == 0
    share = hidden.double().mean()
    assert 0.1 < share < 0.5
    angles = torch.linspace(0, 2 * torch.pi, 721, dtype=torch.float64)
    along = clean.xy @ torch.stack([angles.cos(), angles.sin()])  # (B, K, A)
    least_hidden = along.masked_fill(~hidden[..., None], torch.inf).amin(1)
    most_seen = along.masked_fill(hidden[..., None], -torch.inf).amax(1)
    separated = (least_hidden > most_seen).any(1)
    assert separated.double().mean() > 0.97  # angles half a degree apart miss a few narrow gaps


def test_occluders_come_as_often_as_asked_for():
    hidden = corrupt(clean_keypoints(), Corruption(missing=0.0, occluder=0.3), generator()).confidence == 0
    assert abs(hidden.any(1).double().mean() - 0.3) < 0.04  # 5 standard errors of 4,000, and cuts that hide nobody


def test_the_same_seed_makes_the_same_people_and_inputs_stay(people):
    given = poses(20)
    before = given.clone()
    a, b = (make_people(free_body(), given, SMPL24, generator(1)) for _ in range(2))
    c = make_people(free_body(), given, SMPL24, generator(2))
    assert torch.equal(given, before)
    assert torch.equal(a.keypoints.xy, b.keypoints.xy) and torch.equal(a.params.transl, b.params.transl)
    assert not torch.equal(a.keypoints.xy, c.keypoints.xy)


def test_shapes_are_of_unit_variance(people):
    assert abs(people.params.betas.std() - 1) < 0.05  # 5,000 numbers: standard error 0.01


def test_uniform_reaches_both_ends():
    x = uniform(-2.0, 3.0, 10_000, generator())
    assert -2 <= x.min() < -1.99 and 2.99 < x.max() <= 3
