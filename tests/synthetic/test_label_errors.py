"""Every error of labels does what it says, to those it says."""

import pytest
import torch

from hmrfit.keypoints import COCO17, LSP14
from hmrfit.ops.row_random import RowRandom
from hmrfit.synthetic.label_errors import (
    FEWEST,
    LABEL_STD,
    at_least_some,
    behind_something,
    behind_table,
    beyond_border,
    blanked,
    borrowed_limb,
    detection_quality,
    face_turned_away,
    hidden,
    label_sigmas,
    mislabelled,
    person_area,
    quality_factor,
    stated_confidence,
)
from hmrfit.types import Keypoints

B, K = 4000, len(COCO17)
EVERYONE, NOBODY = torch.ones(B, dtype=torch.bool), torch.zeros(B, dtype=torch.bool)
RANDOM = RowRandom(0, torch.arange(B))


@pytest.fixture(scope="module")
def exact() -> Keypoints:
    xy = 500 + 80 * torch.randn(B, K, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return Keypoints(xy, torch.ones(B, K, dtype=torch.float64), COCO17)


def test_the_sigmas_are_cocos():
    """In COCO's order, from its own evaluation (pycocotools)."""
    coco = [26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89]
    assert label_sigmas(COCO17).tolist() == pytest.approx([s / 1000 for s in coco])
    assert (label_sigmas(LSP14) > 0).all()


def test_labels_are_off_by_half_of_them_with_heavy_tails(exact):
    area = person_area(exact)
    found = mislabelled(exact, area, torch.ones(B, K), RANDOM)
    off = (found.xy - exact.xy) / area.sqrt()[:, None, None]
    std = off.square().mean((0, 2)).sqrt()
    assert (std / (LABEL_STD * label_sigmas(COCO17))).tolist() == pytest.approx([1.0] * K, abs=0.12)
    white = off / (LABEL_STD * label_sigmas(COCO17))[:, None]
    assert (white.abs() > 4).double().mean() > 20 * 6.3e-5  # a Gaussian's
    assert torch.equal(mislabelled(exact, area, torch.zeros(B, K), RANDOM).xy, exact.xy)


def test_the_area_is_the_boxs_share_and_no_line_has_none():
    xy = torch.tensor([[[0.0, 0.0], [100.0, 200.0]], [[0.0, 0.0], [0.0, 200.0]]]).double()
    area = person_area(Keypoints(xy, torch.ones(2, 2).double(), ("nose", "left_ankle")))
    assert area.tolist() == pytest.approx([0.53 * 100 * 200, 0.53 * 50 * 200])


def test_honest_confidences_tell_the_error_and_flat_ones_nothing(exact):
    quality = detection_quality(EVERYONE, K, RANDOM)
    assert quality.min() >= 0.1 and quality.max() <= 1
    assert torch.equal(detection_quality(NOBODY, K, RANDOM), torch.ones(B, K).double())
    honest = stated_confidence(quality, NOBODY, NOBODY)
    inflated, flat = stated_confidence(quality, EVERYONE, NOBODY), stated_confidence(quality, NOBODY, EVERYONE)
    assert torch.equal(honest, quality) and inflated.min() >= 0.85 and (flat == 1).all()
    off = (mislabelled(exact, person_area(exact), quality_factor(quality), RANDOM).xy - exact.xy).norm(dim=-1)
    assert off[honest < 0.25].mean() / off[honest > 0.7].mean() == pytest.approx(2.85, abs=0.3)


def test_a_borrowed_limb_is_one_limb_some_way_off(exact):
    who = RANDOM.chance("who", 0.3)
    found = borrowed_limb(exact, who, RANDOM)
    moved = (found.xy != exact.xy).any(-1)
    assert torch.equal(moved.any(1), who)
    kinds = {tuple(COCO17[k] for k in row.nonzero()[:, 0]) for row in moved[who]}
    assert kinds == {
        (f"{side}_{a}", f"{side}_{b}")
        for side in ("left", "right")
        for a, b in (("elbow", "wrist"), ("knee_coco", "ankle"))
    }
    assert torch.equal(found.confidence, exact.confidence)


def test_what_is_behind_an_edge_lies_together_on_one_side(exact):
    behind = behind_something(exact, EVERYONE, RANDOM)
    assert not behind_something(exact, NOBODY, RANDOM).any()
    share = behind.double().mean(1)
    assert share.min() > 0.15 and share.max() < 0.65
    seen_middle = (exact.xy * ~behind[..., None]).sum(1) / (~behind).sum(1, keepdim=True)
    hidden_middle = (exact.xy * behind[..., None]).sum(1) / behind.sum(1, keepdim=True)
    normal = torch.nn.functional.normalize(hidden_middle - seen_middle, dim=-1)
    assert (normal.norm(dim=-1) > 0.99).all() and (hidden_middle - seen_middle).norm(dim=-1).median() > 80


def test_a_table_hides_all_that_is_below_its_edge():
    height = torch.linspace(-0.8, 0.8, K).double().expand(B, K)
    under = behind_table(height, EVERYONE, RANDOM)
    assert under[height < -0.05].all() and not under[height > 0.25].any()
    assert (under.diff(dim=1).int().abs().sum(1) <= 1).all()
    assert not behind_table(height, NOBODY, RANDOM).any()


def test_points_outside_are_beyond_the_border(exact):
    size = torch.tensor([[500.0, 2000.0]]).double()
    assert torch.equal(beyond_border(exact, size), (exact.xy[..., 0] > 500) | (exact.xy < 0).any(-1))


def head(yaw: float) -> torch.Tensor:
    """(1, K, 3) a face at 3 m that looks at the camera, turned about the vertical."""
    points = torch.zeros(1, K, 3).double()
    points[0, :5] = torch.tensor(
        [[0, 0.02, -0.11], [0.035, -0.01, -0.09], [-0.035, -0.01, -0.09], [0.075, 0, 0], [-0.075, 0, 0]]
    )
    angle = torch.deg2rad(torch.tensor(yaw)).double()
    turn = torch.tensor([[angle.cos(), 0, angle.sin()], [0, 1, 0], [-angle.sin(), 0, angle.cos()]]).double()
    return points @ turn.T + torch.tensor([0.0, 0.0, 3.0]).double()


@pytest.mark.parametrize(
    ("yaw", "gone"),
    [
        (0.0, set()),
        (180.0, {"nose", "left_eye", "right_eye"}),
        (40.0, {"right_ear"}),
        (-75.0, {"left_ear", "left_eye"}),
        (120.0, {"nose", "right_eye", "right_ear"}),
    ],
)
def test_the_head_hides_what_is_on_its_far_side(yaw, gone):
    away = face_turned_away(head(yaw), COCO17)[0]
    found = {name for name, is_away in zip(COCO17, away, strict=True) if is_away}
    assert found == gone
    assert not face_turned_away(torch.zeros(1, 14, 3), LSP14).any()


def test_hidden_points_are_unseen_and_told_nothing_of(exact):
    where = RANDOM.chance("where", 0.5, K)
    found = blanked(hidden(exact, where))
    assert torch.equal(found.confidence == 0, where) and (found.xy[where] == 0).all()
    assert torch.equal(found.xy[~where], exact.xy[~where])


def test_some_points_stay_where_there_are_as_many(exact):
    before = RANDOM.chance("inside", 0.4, K).double()
    found = at_least_some(hidden(replace_confidence(exact, before), RANDOM.chance("gone", 0.8, K)), before, RANDOM)
    seen = (found.confidence > 0).sum(1)
    assert (seen >= torch.minimum(before.sum(1), torch.tensor(FEWEST))).all()
    assert not ((found.confidence > 0) & (before == 0)).any()


def replace_confidence(keypoints: Keypoints, confidence: torch.Tensor) -> Keypoints:
    return Keypoints(keypoints.xy, confidence, keypoints.names)
