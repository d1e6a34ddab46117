"""Poses between bodies of other joints."""

import pytest
import torch
from helpers.bodies import free_body, random_params
from helpers.fingered_body import fingered_body

from hmrfit.body.skeleton import MANO_LEFT, SMPL, SMPLH, SMPLX
from hmrfit.body.transfer import transferred


@pytest.mark.parametrize("other", [SMPLH, SMPLX], ids=["SMPL-H", "SMPL-X"])
def test_a_body_with_fingers_stands_as_smpl_with_its_hands_at_rest(other):
    params = random_params(free_body(), 3)
    params.body_pose[:, -2:] = torch.eye(3).double()
    smpl, fingered = free_body()(params), fingered_body(other)(transferred(params, SMPL, other))
    torch.testing.assert_close(fingered.vertices, smpl.vertices, rtol=0, atol=1e-9)
    torch.testing.assert_close(fingered.joints[:, :22], smpl.joints[:, :22], rtol=0, atol=1e-9)


def test_there_and_back_loses_the_hands_only():
    params = random_params(free_body(), 3)
    back = transferred(transferred(params, SMPL, SMPLX), SMPLX, SMPL)
    assert torch.equal(back.rotations[:, :22], params.rotations[:, :22])
    assert torch.equal(back.rotations[:, 22:], torch.eye(3).double().expand(3, 2, 3, 3))
    assert back.betas is params.betas and transferred(params, SMPL, SMPL) is params


def test_a_hand_is_no_body():
    with pytest.raises(ValueError, match="about 'pelvis' says nothing of a body that hangs on 'left_wrist'"):
        transferred(random_params(free_body(), 1), SMPL, MANO_LEFT)
