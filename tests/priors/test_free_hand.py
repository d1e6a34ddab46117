"""The shipped hand: MANO's format, the lengths of real hands, one thing a beta, its volume in a fist."""

from functools import cache

import numpy as np
import pytest
import torch
from helpers.hands import FINGER_LENGTHS

from hmrfit.assets import locate
from hmrfit.body.skeleton import MANO_RIGHT
from hmrfit.body.smpl import SmplBody
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.priors.biomechanics import bones_of, joint_angles
from hmrfit.types import BodyParams

FINGERS = ("thumb", "index", "middle", "ring", "pinky")


@cache
def hand() -> SmplBody:
    return SmplBody.from_file(locate("free_hand"))


def params(pose: torch.Tensor | None = None, betas: torch.Tensor | None = None) -> BodyParams:
    """Of pose (B, 45) rotation vectors and betas (B, 10)."""
    count = len(pose) if pose is not None else len(betas) if betas is not None else 1
    pose = torch.zeros(count, 45, dtype=torch.float64) if pose is None else pose
    betas = torch.zeros(count, 10, dtype=torch.float64) if betas is None else betas
    eye = torch.eye(3, dtype=torch.float64).expand(count, 3, 3)
    return BodyParams(eye, rotvec_to_matrix(pose.unflatten(1, (15, 3))), betas, torch.zeros(count, 3).double())


def points21(given: BodyParams) -> torch.Tensor:
    """(B, 21, 3) in the order of hand21."""
    output = hand()(given)
    joints = {name: output.joints[:, j] for j, name in enumerate(hand().joint_names)}
    tips = hand().points([f"right_{finger}_tip" for finger in FINGERS]).pose(given).points
    rows = [joints["right_wrist"]]
    for f, finger in enumerate(FINGERS):
        rows += [joints[f"right_{finger}{k}"] for k in (1, 2, 3)] + [tips[:, f]]
    return torch.stack(rows, 1)


def volume(vertices: torch.Tensor) -> torch.Tensor:
    """(B,) cubic metres inside the closed mesh."""
    a, b, c = (vertices[:, hand().faces[:, i]] for i in range(3))
    return (a * torch.linalg.cross(b, c)).sum((1, 2)) / 6


def test_it_is_a_right_hand_of_manos_kind_and_small() -> None:
    assert hand().skeleton == MANO_RIGHT and locate("free_hand").stat().st_size < 3e6
    with np.load(locate("free_hand")) as data:
        assert data["hands_mean"].shape == (45,) and data["hands_components"].shape == (45, 45)
        rows = data["hands_components"]
    np.testing.assert_allclose(rows @ rows.T, np.eye(45), atol=1e-9)
    assert float(volume(hand()(params()).mesh)) == pytest.approx(3.6e-4, rel=0.1)  # 360 ml, with some forearm


def test_its_bones_have_the_lengths_of_real_hands_and_its_fingers_are_straight() -> None:
    bones = bones_of(points21(params()))
    lengths = bones.norm(dim=-1)[0].numpy()
    np.testing.assert_allclose(lengths, FINGER_LENGTHS, rtol=0.05)
    flexion = joint_angles(bones)[0, :, 0].rad2deg().view(5, 3)
    assert flexion[:, :2].abs().max() < 0.1 and flexion[:, 2].abs().max() < 6  # a tip is on the skin, not on the axis


def test_a_beta_is_one_thing() -> None:
    betas = 2 * torch.eye(10, dtype=torch.float64)
    bones = bones_of(points21(params(betas=betas))).norm(dim=-1) / bones_of(points21(params())).norm(dim=-1)
    assert bones[0].sub(1.11).abs().max() < 0.01  # size
    assert bones[1, :, 1:].min() > 1.03 and bones[1, :, 0].sub(1).abs().max() < 0.01  # fingers against the palm
    for f in range(5):
        others = [g for g in range(5) if g != f]
        assert bones[5 + f, f, 1:].min() > 1.03 and bones[5 + f, others].sub(1).abs().max() < 0.005
    wider = points21(params(betas=betas[2:3])) - points21(params())
    assert wider[0, 17].norm() > 0.002 and wider[0, 9].norm() < 0.001  # the little finger's knuckle, the middle one's


def test_joints_are_found_for_all_shapes() -> None:
    betas = torch.randn(50, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    bones = bones_of(points21(params(betas=betas))).norm(dim=-1)
    assert 0.5 < float(bones.min() / bones_of(points21(params())).norm(dim=-1).min()) < 1.1


def test_a_fist_keeps_its_volume_and_correctives_stay_on_their_finger() -> None:
    fist = torch.zeros(1, 45, dtype=torch.float64)
    for name in ("index", "middle", "ring", "pinky"):
        for k in (1, 2, 3):
            joint = MANO_RIGHT.index(f"right_{name}{k}") - 1
            fist[0, 3 * joint + 2] = 1.2  # about +z: towards the palm
    flat, bent = (hand()(params(pose)).mesh for pose in (None, fist))
    assert (points21(params(fist))[0, [8, 12, 16, 20], 1] < -0.02).all()  # the tips below the palm
    assert float(volume(bent) / volume(flat)) == pytest.approx(1, abs=0.04)
    index = [3 * (MANO_RIGHT.index(f"right_index{k}") - 1) for k in (1, 2, 3)]
    columns = torch.cat([torch.arange(3 * i, 3 * i + 9) for i in index])
    with np.load(locate("free_hand")) as data:
        moved = np.abs(data["posedirs"][:, :, columns.numpy()]).max((1, 2))
        others = data["weights"][
            :, [MANO_RIGHT.index(f"right_{n}{k}") for n in ("ring", "pinky", "thumb") for k in (2, 3)]
        ]
    assert moved.max() > 1e-3 and moved[others.sum(1) > 0.9].max() < 2e-4


def test_manos_pose_space_bends_it_as_hands_are_bent() -> None:
    with np.load(locate("free_hand")) as data:
        mean = torch.as_tensor(data["hands_mean"])[None]
    flexion = joint_angles(bones_of(points21(params(mean))))[0].reshape(5, 3, 2)[1:, :, 0].rad2deg()
    assert 10 < flexion.mean() < 60
