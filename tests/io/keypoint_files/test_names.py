"""The names that a caller gives."""

from hmrfit.body.skeleton import MANO_RIGHT
from hmrfit.io.keypoint_files.names import asked_set


def test_joints_of_hands_keep_their_names():
    """A body with fingers defines them; in a file of a body's keypoints, points of fingers are left out."""
    assert asked_set(MANO_RIGHT.names).names == MANO_RIGHT.names
    assert asked_set(("nose", "left_index1")).names == ("nose", "left_index1")
