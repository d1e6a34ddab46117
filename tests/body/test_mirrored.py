"""The mirror image of a hand's file is the other hand."""

import pytest
import torch
from helpers.bodies import PRIORS, free_body

from hmrfit.body.mirrored import mirrored_hand, mirrored_turns
from hmrfit.body.skeleton import MANO_LEFT
from hmrfit.body.smpl import SmplBody
from hmrfit.types import BodyParams


def test_a_mirrored_pose_of_the_mirrored_hand_is_the_mirror_image():
    right = SmplBody.from_file(PRIORS / "free_hand.npz")
    left = mirrored_hand(right)
    assert left.skeleton == MANO_LEFT and "left_index_tip" in left.landmark_names
    generator = torch.Generator().manual_seed(0)
    turns, betas = (torch.randn(2, n, generator=generator, dtype=torch.float64) for n in (48, 10))
    place = torch.tensor([[0.1, 0.2, 0.5]] * 2, dtype=torch.float64)
    flip = torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
    one = right(BodyParams.from_rotvecs(turns[:, :3], turns[:, 3:], betas, place))
    other = mirrored_turns(turns)
    two = left(BodyParams.from_rotvecs(other[:, :3], other[:, 3:], betas, place * flip))
    for part in ("vertices", "joints", "landmarks"):
        torch.testing.assert_close(getattr(two, part), getattr(one, part) * flip)
    torch.testing.assert_close(left.hands["left"].mean, mirrored_turns(right.hands["right"].mean))
    again = mirrored_hand(left)
    torch.testing.assert_close(again.posedirs, right.posedirs)
    assert torch.equal(again.faces, right.faces)


def test_bodies_have_no_other_side():
    with pytest.raises(ValueError, match="Only hands have a mirror image here"):
        mirrored_hand(free_body())
