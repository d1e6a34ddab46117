"""Mean and components of finger poses, as MANO's, SMPL-H's and SMPL-X's files hold them."""

import numpy as np
import pytest
import torch
from helpers.synthetic_body import synthetic_body, synthetic_hand, synthetic_smplh, synthetic_smplx

from hmrfit.body.smpl import SmplBody
from hmrfit.ops.rotation import matrix_to_rotvec

FILES = {"smplh": synthetic_smplh, "smplx": synthetic_smplx}


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_hands_file_describes_its_own_hand(side):
    data = synthetic_hand(side)
    body = SmplBody(data)
    assert set(body.hands) == {side}
    np.testing.assert_array_equal(body.hands[side].mean, data["hands_mean"])
    np.testing.assert_array_equal(body.hands[side].components, data["hands_components"])


@pytest.mark.parametrize("name", FILES)
def test_a_bodys_file_describes_both(name):
    data = FILES[name]()
    body = SmplBody(data)
    for side in ("left", "right"):
        np.testing.assert_array_equal(body.hands[side].mean, data[f"hands_mean{side[0]}"])


def test_poses_are_the_mean_and_components():
    data = synthetic_hand()
    poses, c = SmplBody(data).hands["right"], torch.randn(4, 6, dtype=torch.float64)
    theta = data["hands_mean"] + c.numpy() @ data["hands_components"][:6]
    np.testing.assert_allclose(poses.rotvecs(c), theta.reshape(4, 15, 3), atol=1e-14)
    assert poses.rotations(c).shape == (4, 15, 3, 3) and poses.rotations().shape == (15, 3, 3)


def test_hands_are_flat_unless_asked():
    body = SmplBody(synthetic_smplx())
    flat, mean = body.neutral(2), body.neutral(2, mean_hands=True)
    assert not matrix_to_rotvec(flat.body_pose).any()
    theta = matrix_to_rotvec(mean.body_pose)
    for side, joints in body.skeleton.fingers.items():
        fingers = theta[:, [j - 1 for j in joints]].flatten(1)
        torch.testing.assert_close(fingers, body.hands[side].mean.expand(2, -1), rtol=0, atol=1e-12)
    assert not theta[:, : min(body.skeleton.fingers["left"]) - 1].any()


def test_they_move_and_change_precision_with_their_body():
    body = SmplBody(synthetic_smplh())
    assert body.to(dtype=torch.float32).hands["left"].mean.dtype == torch.float32
    assert body.hands["left"].mean.dtype == torch.float64


def test_bodies_without_such_fields_have_none():
    assert SmplBody(synthetic_body()).hands == {}
    bare = {name: value for name, value in synthetic_smplh().items() if not name.startswith("hands")}
    assert SmplBody(bare).hands == {} and len(SmplBody(bare).neutral(mean_hands=True)) == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [("hands_mean", np.zeros(30)), ("hands_components", np.zeros((6, 30))), ("hands_mean", np.full(45, np.nan))],
)
def test_fields_of_another_shape_are_refused(field, value):
    with pytest.raises(ValueError, match=field):
        SmplBody(synthetic_hand() | {field: value})
