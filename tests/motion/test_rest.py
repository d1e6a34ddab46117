"""The target convention: signs, mirror, and the way from the ideal T-pose and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from hmrfit.body.skeleton import SMPL
from hmrfit.keypoints import SMPL24
from hmrfit.motion.rest import (
    MIRROR,
    global_from_local,
    halfway,
    ideal_from_local,
    local_from_ideal,
    mirror_poses,
    rest_bend,
    turn,
)

EXACT = 1e-9  # round trips through rotation vectors in float64


def random_ideal(rng: np.random.Generator, frames: int = 5) -> dict[str, np.ndarray]:
    return {name: Rotation.random(frames, random_state=i).as_matrix() for i, name in enumerate(SMPL24)}


def fk(poses: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Positions (T, 24, 3) with given rest offsets, joint by joint."""
    glob, positions = global_from_local(poses), np.zeros((*poses.shape[:-1], 3))
    for j, parent in enumerate(SMPL.parents):
        if parent >= 0:
            positions[..., j, :] = positions[..., parent, :] + glob[..., parent, :, :] @ offsets[j]
    return positions


def test_ideal_rotations_come_back(rng):
    ideal = random_ideal(rng)
    back = ideal_from_local(local_from_ideal(ideal))
    for j, name in enumerate(SMPL24):
        assert np.allclose(back[:, j], ideal[name], atol=EXACT), name


def test_the_bent_template_bones_point_where_the_ideal_ones_do():
    """G B-direction = H ideal-direction for the four bent bones, whose directions the page states."""
    a, c = np.radians(5.5), np.radians(1.0)
    for joint, ideal, rest in (
        ("left_knee", (0, -1, 0), (0, -np.cos(a), -np.sin(a))),
        ("left_shoulder", (1, 0, 0), (np.cos(a), 0, -np.sin(a))),
        ("right_shoulder", (-1, 0, 0), (-np.cos(a), 0, -np.sin(a))),
        ("left_elbow", (1, 0, 0), (np.cos(c), 0, -np.sin(c))),
        ("right_elbow", (-1, 0, 0), (-np.cos(c), 0, -np.sin(c))),
    ):
        assert np.allclose(rest_bend(joint) @ rest, ideal, atol=EXACT), joint


@pytest.mark.parametrize(
    ("joint", "axis", "degrees", "moves", "towards"),
    [
        ("left_knee", "x", 60.0, (0, -1, 0), (0, 0, -1)),  # the shank goes back
        ("left_hip", "x", -60.0, (0, -1, 0), (0, 0, 1)),  # the thigh comes forward
        ("left_elbow", "y", -60.0, (1, 0, 0), (0, 0, 1)),  # the forearm comes forward
        ("right_elbow", "y", 60.0, (-1, 0, 0), (0, 0, 1)),
        ("left_shoulder", "z", -75.0, (1, 0, 0), (0, -1, 0)),  # the arm hangs
        ("right_shoulder", "z", 75.0, (-1, 0, 0), (0, -1, 0)),
    ],
)
def test_signs(joint, axis, degrees, moves, towards):
    ideal = {name: np.eye(3)[None] for name in SMPL24}
    ideal[joint] = turn(axis, degrees)[None]
    poses = local_from_ideal(ideal)
    moved = ideal_from_local(poses)[0, SMPL24.index(joint)] @ moves
    assert moved @ np.array(towards) > 0.8
    assert np.sign(poses[0, SMPL24.index(joint), "xyz".index(axis)]) == np.sign(degrees)


def test_mirrored_pose_is_the_mirror_image(rng):
    """By forward kinematics on a symmetric skeleton: swap sides, negate x."""
    poses = rng.normal(size=(50, 24, 3))
    offsets = rng.normal(size=(24, 3))
    flip = np.array([-1.0, 1.0, 1.0])
    offsets = 0.5 * (offsets + offsets[MIRROR] * flip)
    assert np.allclose(fk(mirror_poses(poses), offsets), fk(poses, offsets)[:, MIRROR] * flip, atol=EXACT)
    assert np.allclose(mirror_poses(mirror_poses(poses)), poses)
    assert np.allclose(mirror_poses(poses[:, 1:]), mirror_poses(poses)[:, 1:])


def test_mirror_refuses_other_numbers_of_joints():
    with pytest.raises(ValueError, match="24 or 23 joints"):
        mirror_poses(np.zeros((4, 22, 3)))


def test_without_a_pelvis_there_is_no_pose():
    with pytest.raises(ValueError, match="pelvis"):
        local_from_ideal({"head": np.eye(3)[None]})


def test_what_is_not_given_does_not_turn(rng):
    ideal = random_ideal(rng)
    del ideal["left_hand"], ideal["left_wrist"]
    poses = local_from_ideal(ideal)
    for name in ("left_hand", "left_wrist"):
        assert np.array_equal(poses[:, SMPL24.index(name)], np.zeros((5, 3)))


@given(share=st.floats(0.0, 1.0), seed=st.integers(0, 1000))
def test_halfway_goes_its_share_of_the_angle(share, seed):
    start, end = Rotation.random(2, random_state=seed)
    middle = Rotation.from_matrix(halfway(start.as_matrix()[None], end.as_matrix()[None], share)[0])
    whole = (start.inv() * end).magnitude()
    assert np.isclose((start.inv() * middle).magnitude(), share * whole, atol=1e-7)  # arccos near 0 and pi
