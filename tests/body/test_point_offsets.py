"""Offsets of keypoints: they turn with the bones, their derivatives are right, and the file says what was saved."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.bodies import free_body
from helpers.stored_fits import fits_of
from torch.testing import assert_close

from hmrfit.body.point_offsets import PointOffsets
from hmrfit.camera import Camera
from hmrfit.fitting.parameters import Layout, State
from hmrfit.keypoints import COCO17
from hmrfit.ops.rotation import rotvec_to_matrix


def some_offsets() -> torch.Tensor:
    return 0.04 * torch.randn(17, 3, generator=torch.Generator().manual_seed(1)).double()


def test_a_point_moves_by_its_offset_in_the_frame_of_its_bones():
    body, d = free_body().points(COCO17), some_offsets()
    params = fits_of(3, 0).params
    own, moved = body.pose(params), body.with_offsets(d).pose(params)
    assert_close(moved.points - own.points, (body.turns(own) @ d[..., None]).squeeze(-1), rtol=0, atol=1e-12)
    assert_close(moved.joints, own.joints, rtol=0, atol=0)
    wrist = COCO17.index("left_wrist")  # a joint: the offset turns as the joint does
    G = own.world[:, body.skeleton.index("left_wrist")]
    assert_close((moved.points - own.points)[:, wrist], G @ d[wrist], rtol=0, atol=1e-12)


def test_the_body_that_it_is_made_of_stays_as_it_is():
    body = free_body().points(COCO17)
    before = body.offset.clone()
    seen = body.seen_joints
    moved = body.with_offsets(some_offsets())
    assert torch.equal(body.offset, before)
    wrist = body.skeleton.index("left_wrist")
    assert wrist not in seen and wrist in moved.seen_joints  # its own rotation moves the point now


def test_derivatives_hold_with_offsets():
    body, params = free_body().points(COCO17).with_offsets(some_offsets()), fits_of(2, 0).params
    posed = body.pose(params)
    rows = body.rows(posed, body.eye.expand(2, 17, 3, 3))
    delta = torch.randn(2, body.columns).double()
    step = 1e-6
    state, layout = State(params, Camera.from_size(640, 480, count=2)), Layout.everything(body)
    moved = (state.retract(sign * step * delta, body.parents, layout).params for sign in (1, -1))
    ahead, behind = (body.pose(params).points for params in moved)
    assert_close((rows @ delta[:, None, :, None])[..., 0], (ahead - behind) / (2 * step), rtol=0, atol=1e-6)


def test_turning_the_whole_body_turns_the_offsets():
    body = free_body().points(COCO17).with_offsets(some_offsets())
    params = fits_of(1, 0).params
    Q = rotvec_to_matrix(torch.tensor([[0.3, -0.4, 0.9]]).double())
    turned = replace(params, global_orient=Q @ params.global_orient)
    about = [posed.points - posed.joints[:, :1] for posed in (body.pose(params), body.pose(turned))]
    assert_close(about[0] @ Q[0].T, about[1], rtol=0, atol=1e-7)


def test_a_file_holds_what_was_saved_and_other_sets_take_what_they_share(tmp_path):
    saved = PointOffsets(COCO17, some_offsets(), notes={"people": 3})
    saved.save(tmp_path / "offsets.npz")
    found = PointOffsets.from_file(tmp_path / "offsets.npz")
    assert found.names == COCO17 and torch.equal(found.offsets, saved.offsets) and found.body == "free_body"
    other = found.of(("left_wrist", "pelvis"))
    assert torch.equal(other[0], saved.offsets[COCO17.index("left_wrist")]) and not other[1].any()


@pytest.mark.parametrize("change", [{"offsets": np.zeros((3, 2))}, {"offsets": np.full((17, 3), 9.0)}, {"names": None}])
def test_another_file_is_refused(tmp_path, change):
    arrays = {"names": np.array(COCO17), "offsets": np.zeros((17, 3)), "body": np.array("free_body")} | change
    np.savez(tmp_path / "x.npz", **{name: value for name, value in arrays.items() if value is not None})
    with pytest.raises(ValueError):
        PointOffsets.from_file(tmp_path / "x.npz")
