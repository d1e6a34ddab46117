"""Bone lengths, palm and joint angles of hands: known hands, mirror images, derivatives, and where they degenerate."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.hands import FINGER_LENGTHS, right_hand
from torch import Tensor

from hmrfit.assets import locate
from hmrfit.priors.biomechanics import (
    HandLimits,
    Hulls,
    biomechanical_losses,
    biomechanical_residuals,
    bones_of,
    interval,
    joint_angles,
    length,
    mirrored_hands,
    palm_of,
    turned_along,
    unit,
)

SQUARE = torch.tensor([[[-0.5, -0.2], [1.5, -0.2], [1.5, 0.2], [-0.5, 0.2]]], dtype=torch.float64)


def limits(corners: Tensor | None = None) -> HandLimits:
    """Around the hand that is made by hand: lengths to 10 %, every joint from −0.5 to 1.5 and ±0.2 radians."""
    bones = bones_of(right_hand()[None])
    palm, own = palm_of(bones), length(bones).flatten()
    around = lambda x, by: torch.stack([x - by, x + by], -1)  # noqa: E731
    corners = (SQUARE if corners is None else corners).expand(15, -1, -1)
    return HandLimits(around(own, 0.1 * own), around(palm.curvature[0], 2.0), around(palm.angle[0], 0.2), corners)


def test_bones_have_the_lengths_that_the_hand_was_made_with() -> None:
    found = length(bones_of(right_hand(30.0)[None]))[0]
    torch.testing.assert_close(found, torch.tensor(FINGER_LENGTHS, dtype=torch.float64))


@pytest.mark.parametrize("flexion", [0.0, 25.0, 80.0])
def test_every_joint_shows_the_flexion_that_it_was_bent_by(flexion: float) -> None:
    angles = joint_angles(bones_of(right_hand(flexion, arch=0.0)[None]))[0].rad2deg()
    torch.testing.assert_close(angles[:, 0], torch.full((15,), flexion, dtype=torch.float64), atol=1e-6, rtol=0)
    torch.testing.assert_close(angles[:, 1], torch.zeros(15, dtype=torch.float64), atol=1e-6, rtol=0)


def test_a_left_hand_has_negative_flexion_and_its_mirror_image_a_right_ones() -> None:
    right = right_hand(40.0)[None]
    left = mirrored_hands(right)
    angles, wrong, mirrored = (joint_angles(bones_of(hand)) for hand in (right, left, mirrored_hands(left)))
    assert (angles[..., 0] > 0).all() and (wrong[..., 0] < 0).all()
    torch.testing.assert_close(mirrored, angles)


def test_angles_do_not_know_where_the_hand_is() -> None:
    turn, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))
    turn = turn * torch.linalg.det(turn).sign()
    hand = right_hand(35.0)[None]
    moved = 1.7 * hand @ turn.T + torch.tensor([0.3, -1.0, 2.0])
    torch.testing.assert_close(joint_angles(bones_of(moved)), joint_angles(bones_of(hand)))
    torch.testing.assert_close(palm_of(bones_of(moved)).angle, palm_of(bones_of(hand)).angle)
    torch.testing.assert_close(palm_of(bones_of(moved)).curvature, palm_of(bones_of(hand)).curvature / 1.7)


def test_the_arch_of_the_palm_is_its_curvature() -> None:
    flat, arched = (palm_of(bones_of(right_hand(arch=a)[None])).curvature for a in (0.0, 15.0))
    torch.testing.assert_close(flat, torch.zeros_like(flat), atol=1e-9, rtol=0)
    assert (arched.abs().sum(1) > 1).all()


def test_positive_flexion_in_every_source_of_real_hands(shared: Path) -> None:
    with np.load(shared / "hands" / "data" / "fingers21.npz") as data:
        joints, side, source = torch.tensor(data["xyz"]).double(), data["side"] == "left", data["source"]
    joints = torch.where(torch.tensor(side)[:, None, None], mirrored_hands(joints), joints)
    flexion = joint_angles(bones_of(joints))[:, 3:, 0].reshape(len(joints), -1).rad2deg()
    for name in set(source.tolist()):
        assert flexion[torch.tensor(source == name)].mean() > 15, name


def test_the_smallest_rotation_takes_one_direction_to_the_other() -> None:
    z, v, a, b = unit(torch.randn(4, 50, 3, dtype=torch.float64))
    torch.testing.assert_close(turned_along(z, z, v), v)
    torch.testing.assert_close((turned_along(a, z, v) * turned_along(b, z, v)).sum(-1), (a * b).sum(-1))
    torch.testing.assert_close(turned_along(a, z, z), a)


def test_the_interval_is_zero_inside_and_a_distance_outside() -> None:
    x, low, high = torch.tensor([-1.0, 0.5, 4.0]), torch.tensor(0.0), torch.tensor(1.0)
    torch.testing.assert_close(interval(x, low, high), torch.tensor([1.0, 0.0, 3.0]))


def test_the_distance_to_a_hull() -> None:
    hulls = Hulls(SQUARE)
    inside, above, corner = (torch.tensor([[p]], dtype=torch.float64) for p in ([0.3, 0.1], [0.3, 0.5], [2.0, 1.0]))
    assert hulls.distance(inside) == 0 and hulls.signed_distance(inside) == pytest.approx(-0.1)
    assert hulls.signed_distance(above) == pytest.approx(0.3)
    for angles, p in ((above, (0.3, 0.2)), (corner, (1.5, 0.2))):
        theta = angles.flatten().tolist()
        by_hand = sum(
            abs(math.cos(t) - math.cos(q)) + abs(math.sin(t) - math.sin(q)) for t, q in zip(theta, p, strict=True)
        )
        assert float(hulls.distance(angles)) == pytest.approx(by_hand)


def test_repeated_corners_change_nothing() -> None:
    padded = Hulls(torch.cat([SQUARE, SQUARE[:, -1:].expand(-1, 3, -1)], 1))
    angles = torch.randn(200, 1, 2, dtype=torch.float64)
    torch.testing.assert_close(padded.signed_distance(angles), Hulls(SQUARE).signed_distance(angles))
    torch.testing.assert_close(padded.distance(angles), Hulls(SQUARE).distance(angles))


def test_a_hand_within_the_limits_costs_nothing_and_each_breach_its_own_loss() -> None:
    hand, fist, far = right_hand(10.0)[None], right_hand(100.0)[None], 1.3 * right_hand(10.0)[None]
    fine, bent, large = (biomechanical_losses(joints, limits()) for joints in (hand, fist, far))
    assert not biomechanical_residuals(hand, limits()).any()
    assert float(fine.bone_length + fine.palm + fine.angles) == 0
    assert float(bent.angles) > 0.1 and float(bent.bone_length) == pytest.approx(0, abs=1e-12)
    assert float(large.bone_length) > 0.001 and float(large.angles) == 0
    assert biomechanical_residuals(fist, limits())[0, 28:].min() > 0


@pytest.mark.parametrize("breach", ["bent", "large"])
def test_derivatives_agree_with_finite_differences(breach: str) -> None:
    hand = (right_hand(100.0) if breach == "bent" else 1.2 * right_hand(20.0)) + 0.002 * torch.randn(21, 3).double()
    joints = hand[None].requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: biomechanical_residuals(x, limits()), (joints,), eps=1e-7, atol=1e-4)
    losses = biomechanical_losses(joints, limits())
    (losses.bone_length + losses.palm + losses.angles).sum().backward()
    assert joints.grad is not None and joints.grad.isfinite().all() and joints.grad.any()


def _degenerate() -> dict[str, Tensor]:
    """Hands where a plane, a direction or a rotation is not defined."""
    flat, in_line, point = right_hand(arch=0.0), right_hand(arch=0.0), torch.zeros(21, 3, dtype=torch.float64)
    knuckles = [1, 5, 9, 13, 17]
    in_line[knuckles] = torch.linspace(0.05, 0.09, 5, dtype=torch.float64)[:, None] * torch.tensor([0.0, 0.0, -1.0])
    folded = right_hand()
    folded[7] = folded[5]  # the bone behind the knuckle points straight back
    return {"flat": flat, "knuckles in one line": in_line, "one point": point, "folded back": folded}


@pytest.mark.parametrize("name", _degenerate())
def test_degenerate_hands_have_finite_values_and_gradients(name: str) -> None:
    joints = _degenerate()[name][None].requires_grad_(True)
    losses, residuals = biomechanical_losses(joints, limits()), biomechanical_residuals(joints, limits())
    total = (losses.bone_length + losses.palm + losses.angles).sum() + residuals.sum()
    total.backward()
    assert total.isfinite() and joints.grad is not None and joints.grad.isfinite().all()


def test_limits_are_read_and_wrong_ones_refused(tmp_path: Path) -> None:
    own = limits()
    arrays = {name: getattr(own, name).numpy() for name in ("length", "curvature", "angle", "corners")}
    np.savez(tmp_path / "limits.npz", **arrays)
    read = HandLimits.from_file(tmp_path / "limits.npz")
    torch.testing.assert_close(read.corners, own.corners)
    np.savez(tmp_path / "wrong.npz", **(arrays | {"angle": arrays["angle"][:, ::-1]}))
    with pytest.raises(ValueError, match="ends before it begins"):
        HandLimits.from_file(tmp_path / "wrong.npz")


def test_limits_of_hands_in_other_units() -> None:
    hand = right_hand(100.0)[None]
    torch.testing.assert_close(
        biomechanical_residuals(1000 * hand, limits().scaled(1000)), biomechanical_residuals(hand, limits())
    )


def test_the_shipped_limits_allow_what_hands_do_and_nothing_else() -> None:
    known = HandLimits.from_file(locate("hand_limits"))
    relaxed, overbent = (biomechanical_losses(right_hand(angle)[None], known) for angle in (25.0, -60.0))
    assert float(relaxed.angles) == 0 and float(relaxed.bone_length) == 0
    assert float(overbent.angles) > 0.2
    area = Hulls(known.corners).signed_distance(known.corners.mean(1)[None])
    assert (area < -0.05).all()  # corners are counter-clockwise: their mean is inside
