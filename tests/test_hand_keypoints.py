"""Orders of a hand's keypoints against the tables that the field quotes, and the points on a hand."""

import numpy as np
import pytest
import torch

from hmrfit.assets import locate
from hmrfit.body.smpl import SmplBody
from hmrfit.hand_keypoints import HAND_SETS, hand_set, hand_sets_of_size, names_of_hand
from hmrfit.io.photo import read_photo
from hmrfit.keypoints import body_places
from hmrfit.types import BodyParams

TO_HAND21 = {
    "hand21": list(range(21)),
    "mano_native21": [0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20],
    "interhand21": [20, 3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12, 19, 18, 17, 16],
    "rhd21": [0, 4, 3, 2, 1, 8, 7, 6, 5, 12, 11, 10, 9, 16, 15, 14, 13, 20, 19, 18, 17],
    "webxr25": [0, 1, 2, 3, 4, 6, 7, 8, 9, 11, 12, 13, 14, 16, 17, 18, 19, 21, 22, 23, 24],
}
"""What to take of each set for the order of hand21."""


@pytest.mark.parametrize("name", TO_HAND21)
def test_the_orders(name: str) -> None:
    points = [HAND_SETS[name][i] for i in TO_HAND21[name]]
    assert points[1:] == list(HAND_SETS["hand21"][1:])
    assert "wrist" in str(points[0]) or points[0] == "hand_root"
    assert [i for i, point in enumerate(HAND_SETS[name]) if point is None] == sorted(
        set(range(len(HAND_SETS[name]))) - set(TO_HAND21[name])
    )


def test_sides_and_names_of_ones_own() -> None:
    assert hand_set("hand21", "left").names[8] == "left_index_tip"
    assert hand_set(["index_tip", None, "hand_root"], "right").names == ("right_index_tip", "right_hand_root")
    assert hand_sets_of_size(25) == ["webxr25"]
    with pytest.raises(ValueError, match="the person's own"):
        hand_set("hand21", "both")
    with pytest.raises(ValueError, match="Did you mean 'hand21'"):
        hand_set("hands21", "left")


def test_a_posed_hand_has_the_points_where_its_joints_are() -> None:
    body = SmplBody.from_file(locate("free_hand"))
    turn = torch.linalg.matrix_exp(torch.tensor([[0, -1.0, 0], [1, 0, 0], [0, 0, 0]]).double())
    pose = turn.expand(1, 15, 3, 3)
    params = BodyParams(turn[None], pose, torch.zeros(1, 10).double(), torch.ones(1, 3).double())
    names = hand_set("mano_native21", "right").names
    points, joints = body.points(names).pose(params).points, body(params).joints
    torch.testing.assert_close(points[:, :16], joints)
    webxr = body.points(["right_wrist_webxr", "right_hand_root"]).pose(params).points[0]
    assert float((webxr[0] - webxr[1]).norm()) == pytest.approx(0.012, abs=0.002)
    assert not np.isnan(points.numpy()).any()


@pytest.mark.parametrize("name", HAND_SETS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_hand_alone_is_looked_at_as_a_whole(name: str, side: str) -> None:
    """Its wrist, which some sets have by a name of their own, is no body beside fingers."""
    names = hand_set(name, side).names
    assert body_places(names) == tuple(range(len(names)))
    points = 100 + 80 * np.random.default_rng(0).uniform(size=(len(names), 3))
    points[:, 2] = 1
    photo = read_photo(None, points, names, image_size=(300, 300))
    assert not any("keypoint is seen" in text or "keypoints is seen" in text for text in photo.warnings[0])


@pytest.mark.parametrize(("shape", "count"), [((21, 3), 21), ((4, 21, 3), 21), ((1, 1, 21, 3), 21), ((63,), 21)])
def test_the_number_of_points_tells_the_set(shape: tuple[int, ...], count: int) -> None:
    names = names_of_hand(shape, None, "left")
    assert names is not None and len(names) == count
    with pytest.raises(ValueError, match="transpose"):
        names_of_hand((3, 21), None, "left")
