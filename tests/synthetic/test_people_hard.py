"""Harder people, as the initial estimate is trained on them: any tilt, cut by the border, sides confused, low
confidence."""

import pytest
import torch
from helpers.bodies import free_body

from hmrfit.keypoints import COCO17, flip_permutation, limb_of
from hmrfit.synthetic.people import (
    Corruption,
    Views,
    camera_rotations,
    corrupt,
    make_people,
    people_from_points,
)
from hmrfit.types import Keypoints


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def poses(count: int) -> torch.Tensor:
    return 0.3 * torch.randn(count, 24, 3, generator=generator(7), dtype=torch.float64)


def clean_keypoints(count: int = 4000) -> Keypoints:
    xy = 500 + 80 * torch.randn(count, 17, 2, generator=generator(3), dtype=torch.float64)
    return Keypoints(xy, torch.ones(count, 17, dtype=torch.float64), COCO17)


def test_as_many_are_tilted_and_tumbled_as_asked_for():
    R = camera_rotations(4000, Views(elevation=(0.0, 0.0), roll=0.0, tilted=0.3, tumbled=0.2), generator())
    torch.testing.assert_close(R @ R.mT, torch.eye(3).double().expand_as(R), rtol=0, atol=1e-12)
    assert (torch.linalg.det(R) > 0).all()
    upright = R[:, 1, 1] < -1 + 1e-9
    assert abs(upright.double().mean() - 0.5) < 0.04  # 5 standard errors
    upside_down = R[:, 1, 1] > 0  # tilts of up to 85 degrees keep the head up, a tumble does so half the time
    assert abs(upside_down.double().mean() - 0.1) < 0.025


def test_what_is_outside_the_image_is_not_seen_where_four_are_inside():
    views = Views(beyond=0.3)
    people = make_people(free_body(), poses(500), COCO17, generator(), views, Corruption(0.0, 0.0, truncated=True))
    inside = ((people.clean.xy > 0) & (people.clean.xy < people.camera.size[:, None])).all(-1)
    enough = inside.sum(1) >= 4
    seen = people.keypoints.confidence > 0
    assert torch.equal(seen[enough], inside[enough])
    assert (~inside).any(1).double().mean() > 0.2 and enough.double().mean() > 0.95
    assert (seen.sum(1) >= 4).all()


def test_nobody_is_cut_unless_asked_for():
    people = make_people(free_body(), poses(200), COCO17, generator(), Views(beyond=0.3), Corruption(0.0, 0.0))
    assert (people.keypoints.confidence == 1).all()


def test_sides_are_confused_in_arms_legs_or_everywhere():
    clean = clean_keypoints()
    found = corrupt(clean, Corruption(noise=0.0, missing=0.0, swapped=0.3), generator())
    moved = (found.xy != clean.xy).any(-1)
    assert abs(moved.any(1).double().mean() - 0.3) < 0.04
    mirrored = flip_permutation(COCO17)
    torch.testing.assert_close(found.xy[moved], clean.xy[:, mirrored][moved], rtol=0, atol=0)
    arm, leg = (torch.tensor([(limb_of(name) or "").endswith(limb) for name in COCO17]) for limb in ("arm", "leg"))
    paired = torch.tensor([m != k for k, m in enumerate(mirrored)])
    kinds = [(moved == kind).all(1).double().mean() for kind in (arm, leg, paired)]
    assert kinds == pytest.approx([0.1, 0.1, 0.1], abs=0.025) and sum(kinds) == pytest.approx(
        moved.any(1).double().mean()
    )


def test_ranges_are_drawn_for_each_person():
    clean = clean_keypoints()
    found = corrupt(clean, Corruption(noise=(0.001, 0.1), missing=0.0), generator())
    level = ((found.xy - clean.xy) / clean.box_size()[:, None, None]).square().mean((1, 2)).sqrt()
    assert level.log10().quantile(0.5) == pytest.approx(-2, abs=0.15)  # the middle of a log-uniform range
    assert level.min() < 0.002 and level.max() > 0.07
    gaps = (corrupt(clean, Corruption(missing=(0.0, 0.6)), generator()).confidence == 0).double().mean(1)
    assert gaps.mean() == pytest.approx(0.3, abs=0.02) and gaps.std() > 0.17  # 0.1 without the range


def test_low_confidence_means_more_noise():
    clean = clean_keypoints()
    found = corrupt(clean, Corruption(noise=0.01, missing=0.0, unsure=1.0), generator())
    assert 0.02 <= found.confidence.min() < 0.05 and found.confidence.max() <= 1
    error = (found.xy - clean.xy).norm(dim=-1) / clean.box_size()[:, None]
    low, high = error[found.confidence < 0.4].mean(), error[found.confidence > 0.8].mean()
    assert 1.3 < low / high < 2.2
    sure = corrupt(clean, Corruption(noise=0.01, missing=0.0, unsure=0.25), generator()).confidence
    assert (sure == 1).all(1).double().mean() == pytest.approx(0.75, abs=0.04)


def test_what_a_detector_makes_up_has_a_low_confidence():
    clean = clean_keypoints()
    found = corrupt(clean, Corruption(noise=0.0, missing=0.0, unsure=1.0, stray=0.6), generator())
    off = (found.xy - clean.xy).norm(dim=-1) / clean.box_size()[:, None]
    assert (off[found.confidence >= 0.5] == 0).all()
    assert (off[found.confidence < 0.05] > 0).double().mean() == pytest.approx(0.58, abs=0.06)
    assert (off[found.confidence < 0.3] > 0).double().mean() == pytest.approx(0.6 * (1 - 0.32), abs=0.06)
    assert off[off > 0].min() > 0.049 and off.max() < 1.001


def test_points_that_a_set_lacks_are_never_seen():
    body, count = free_body().points(COCO17), 200
    has = torch.rand(count, 17, generator=generator(1)) < 0.6
    people = people_from_points(body, poses(count), generator(), None, Corruption(missing=0.9, occluder=0.5), has)
    seen = people.keypoints.confidence > 0
    assert not (seen & ~has).any()
    assert (seen.sum(1) >= torch.minimum(has.sum(1), torch.tensor(4))).double().mean() > 0.9


def test_a_body_in_single_precision_makes_people_in_single_precision():
    double = make_people(free_body(), poses(50), COCO17, generator())
    single = make_people(free_body().to(dtype=torch.float32), poses(50), COCO17, generator())
    assert single.keypoints.xy.dtype == single.joints.dtype == single.camera.focal.dtype == torch.float32
    torch.testing.assert_close(single.clean.xy.double(), double.clean.xy, rtol=0, atol=0.01)  # of 1,024 pixels
    assert torch.equal(single.keypoints.confidence.double(), double.keypoints.confidence)
