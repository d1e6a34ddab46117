"""The wrist's depth from 2.5D: exact without noise, finite where it is not defined, better from all bones than one."""

import json
from pathlib import Path

import pytest
import torch
from helpers.hands import BONES, right_hand
from torch import Tensor

from hmrfit.ops.root_depth import error_parts, normalised, points_at, root_depth, root_depth_of_bone

PLACE = torch.tensor([0.05, -0.1, 0.6], dtype=torch.float64)
FOCAL, CENTER = torch.tensor([[600.0, 620.0]]).double(), torch.tensor([[320.0, 240.0]]).double()
INDEX = BONES[4]


def hand_in_view() -> Tensor:
    """(1, 21, 3) metres, camera frame."""
    turn, _ = torch.linalg.qr(torch.tensor([[1.0, 0.2, 0.3], [0.1, 0.8, -0.6], [-0.3, 0.5, 0.8]]).double())
    return (right_hand(35.0) @ turn.T + PLACE)[None]


def lengths_of(P: Tensor) -> Tensor:
    """(20,) metres."""
    return torch.stack([(P[0, n] - P[0, m]).norm() for n, m in BONES])


def seen(P: Tensor, noise: float, count: int, size: Tensor) -> tuple[Tensor, Tensor]:
    """(xy (count, 21, 2), z in units of `size`), noisy by a fraction of the hand's extent in the image."""
    pixels = P[..., :2] / P[..., 2:] * FOCAL[:, None] + CENTER[:, None]
    extent = (pixels.amax(1) - pixels.amin(1)).amax()
    pixels = pixels.expand(count, -1, -1) + noise * extent * torch.randn(count, 21, 2).double()
    z = ((P[..., 2] - P[:, :1, 2]) / size).expand(count, -1) + 5 * noise * torch.randn(count, 21).double()
    return normalised(pixels, FOCAL, CENTER), z - z[:, :1]


def test_one_bone_and_all_bones_are_exact_without_noise() -> None:
    P = hand_in_view()
    own = lengths_of(P)
    xy, z = seen(P, 0.0, 1, own[4])
    Z = root_depth_of_bone(xy, z, INDEX)
    torch.testing.assert_close(own[4] * points_at(xy, z, Z), P, atol=1e-9, rtol=0)
    Z, s = root_depth(xy, z, own, 0.1 * own, BONES, 0.7 * Z)  # from a start that is wrong
    torch.testing.assert_close(s[:, None, None] * points_at(xy, z, Z), P, atol=1e-6, rtol=0)


def test_all_bones_are_nearer_than_one_with_noise() -> None:
    P = hand_in_view()
    own = lengths_of(P)
    xy, z = seen(P, 0.01, 200, own[4])
    one = root_depth_of_bone(xy, z, INDEX)
    Z, s = root_depth(xy, z, own, 0.02 * own, BONES, one.clamp(2, 60))
    alone, together = ((depth - P[0, 0, 2]).abs().mean() for depth in (one * own[4], Z * s))
    assert together < 0.6 * alone


def test_a_bone_that_nobody_sees_does_not_count() -> None:
    P = hand_in_view()
    own = lengths_of(P)
    xy, z = seen(P, 0.0, 1, own[4])
    weight = torch.ones(1, 20).double()
    wrong, broken = [i for i, bone in enumerate(BONES) if 8 in bone], xy.clone()
    broken[:, 8] += 3.0  # the tip of the index finger
    weight[:, wrong] = 0
    Z, s = root_depth(broken, z, own, 0.1 * own, BONES, torch.tensor([5.0]).double(), weight)
    assert float(Z * s) == pytest.approx(float(P[0, 0, 2]), abs=1e-6)


def test_a_bone_towards_the_camera_gives_a_number() -> None:
    xy, z = torch.zeros(1, 21, 2).double(), torch.zeros(1, 21).double()
    z[:, 5] = 1.0
    assert root_depth_of_bone(xy, z, INDEX).isfinite().all()
    Z, s = root_depth(xy, z, torch.full((20,), 0.05).double(), torch.full((20,), 0.01).double(), BONES, torch.ones(1))
    assert Z.isfinite().all() and s.isfinite().all()


def test_the_parts_of_an_error() -> None:
    P = hand_in_view()
    deeper, aside = P * 1.1, P.clone()
    aside[..., 0] += 0.01
    in_image, in_depth = error_parts(deeper, P)
    assert float(in_image) == pytest.approx(0, abs=1e-12)
    torch.testing.assert_close(in_depth, 0.1 * P.norm(dim=-1).mean(-1))
    in_image, in_depth = error_parts(aside, P)
    assert float(in_image) == pytest.approx(0.01) and float(in_depth) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", ["interhand_image2017_right", "interhand_image29590_left"])
def test_exact_on_real_cameras(shared: Path, name: str) -> None:
    hand = json.loads((shared / "hands" / "photos" / f"{name}.json").read_text())
    P, K = torch.tensor(hand["keypoints3d"])[None].double() / 1000, torch.tensor(hand["K"]).double()
    size = (P[0, INDEX[0]] - P[0, INDEX[1]]).norm()
    focal, center = K.diagonal()[None, :2], K[None, :2, 2]
    pixels = P[..., :2] / P[..., 2:] * focal[:, None] + center[:, None]
    Z = root_depth_of_bone(normalised(pixels, focal, center), (P[..., 2] - P[:, :1, 2]) / size, INDEX)
    assert float(Z * size) == pytest.approx(float(P[0, 0, 2]), abs=1e-9)
