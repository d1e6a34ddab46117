"""BVH: the parser against a file of known contents, the dialects, and error messages for what is damaged."""

from contextlib import suppress

import numpy as np
import pytest
from helpers.motion_files import cmu_bvh, cmu_expmap, random_angles
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from hmrfit.keypoints import SMPL24
from hmrfit.motion.bvh import motion_from_bvh, parse_bvh
from hmrfit.motion.cmu import motion_from_expmap
from hmrfit.motion.rest import ideal_from_local

EXACT = 1e-6  # radians; the files carry nine digits

TWO_BONES = """HIERARCHY
ROOT a
{
  OFFSET 1 2 3
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  JOINT b
  {
    OFFSET 0 5 0
    CHANNELS 3 Yrotation Xrotation Zrotation
    End Site
    {
      OFFSET 0 1 0
    }
  }
}
MOTION
Frames: 2
Frame Time: 0.02
10 20 30 90 0 0 0 90 0
0 0 0 10 20 30 40 50 60
"""


def test_channels_multiply_in_the_order_of_the_file():
    bvh = parse_bvh(TWO_BONES)
    glob = bvh.global_rotations()
    root = Rotation.from_euler("ZXY", [10, 20, 30], degrees=True)
    child = root * Rotation.from_euler("YXZ", [40, 50, 60], degrees=True)
    assert np.allclose(glob["a"][1], root.as_matrix()) and np.allclose(glob["b"][1], child.as_matrix())
    assert bvh.names == ("a", "b") and bvh.parents == (-1, 0) and bvh.frame_time == 0.02


def test_positions_follow_by_hand():
    """Root at offset + channels; Rz(90) carries the child's offset (0, 5, 0) to (-5, 0, 0)."""
    positions = parse_bvh(TWO_BONES).joint_positions()
    assert np.allclose(positions[0], [[11, 22, 33], [6, 22, 33]])


def golden() -> dict[str, tuple[float, float, float]]:
    """The reference page's values of CMU's inserted T-pose, degrees; what is not named is 0."""
    values = {"left_hip": (0, 0, -1), "right_hip": (0, 0, 1), "neck": (2, 0, 0), "head": (2, 0, 0)}
    for side, sign in (("left", 1.0), ("right", -1.0)):
        values |= {f"{side}_knee": (-5.5, 0, 0), f"{side}_ankle": (5.5, 0, 0)}
        values |= {f"{side}_shoulder": (-30.3, -3.3 * sign, -6.4 * sign), f"{side}_elbow": (0, 4.5 * sign, 0)}
        values[f"{side}_wrist"] = (30, sign, -0.3 * sign)
    return values


def test_golden_frame_of_a_hand_written_file():
    """CMU's T-pose: legs 21 degrees in, arms 8 down, head pitched by 16. The page rounds to 0.1 degree."""
    angles = {"LeftUpLeg": (-21, 0, 0), "RightUpLeg": (21, 0, 0), "Head": (0, 0, 16)}
    angles |= {"LeftArm": (-8, 0, 0), "RightArm": (8, 0, 0)}
    motion = motion_from_bvh(cmu_bvh([angles]))
    expected = golden()
    for j, name in enumerate(SMPL24):
        assert np.allclose(np.degrees(motion.poses[0, j]), expected.get(name, (0, 0, 0)), atol=0.06), name


def test_dialect_scale_rate_and_what_is_driven():
    motion = motion_from_bvh(cmu_bvh([{}, {}]), name="trial")
    assert motion.source == "cmu_motionbuilder" and motion.name == "trial" and len(motion) == 2
    assert np.isclose(motion.fps, 120) and np.allclose(motion.transl, [0, 17 * 0.0254 / 0.45, 0])
    still = [SMPL24[j] for j in np.flatnonzero(~motion.driven[0])]
    assert still == ["left_collar", "right_collar", "left_hand", "right_hand"]
    assert len(motion_from_bvh(cmu_bvh([{}, {}]), skip=0)) == 3


def test_elbows_stay_hinges(rng):
    """CMU's elbow turns about (0, -.866, .5) left and its mirror image right: -y and +y in SMPL's convention."""
    flexion = np.radians(70.0)
    frame = {}
    for bone, axis in (("LeftForeArm", (0, -np.sqrt(0.75), 0.5)), ("RightForeArm", (0, np.sqrt(0.75), -0.5))):
        frame[bone] = tuple(Rotation.from_rotvec(flexion * np.array(axis)).as_euler("ZYX", degrees=True))
    motion = motion_from_bvh(cmu_bvh([frame]))
    left, right = (motion.poses[0, SMPL24.index(f"{s}_elbow")] for s in ("left", "right"))
    bend = np.radians(4.5)  # of the template's arm
    assert np.allclose(left, [0, bend - flexion, 0], atol=1e-3) and np.allclose(
        right, [0, flexion - bend, 0], atol=1e-3
    )


def test_exponential_maps_hold_the_same_as_bvh(rng):
    """The same angles in both dialects, the root mangled as upstream mangles it: equal after the repair."""
    angles = random_angles(rng, 20)
    one, other = motion_from_bvh(cmu_bvh(angles)), motion_from_expmap(cmu_expmap(angles))
    assert np.abs(ideal_from_local(one.poses) - ideal_from_local(other.poses)).max() < EXACT
    assert np.allclose(one.transl, other.transl) and np.array_equal(one.driven, other.driven)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda t: t[: len(t) // 3], "truncated"),
        (lambda t: t[: t.rindex("0 17")], "truncated or damaged"),
        (lambda t: t.replace("Frames: 2", "Frames: 3"), "announced"),
        (lambda t: t.replace("Frames: 2", "Frames: 99999999999"), "announced"),
        (lambda t: t.replace("Frame Time: 0.008", "Frame Time: -0.008"), "time > 0"),
        (lambda t: t.replace("0 17 0", "0 nan 0"), "NaN"),
        (lambda t: t.replace("0 17 0", "0 seventeen 0"), "cannot be read"),
        (lambda t: t.replace("ROOT Hips", "ROOT Hips2"), "unknown skeleton.*'Hips' is missing"),
        (lambda t: t.replace("JOINT Spine1", "JOINT Spine"), "stands twice"),
        (lambda t: t.replace("Zrotation", "Wrotation"), "unknown channel 'wrotation'"),
        (lambda t: t.replace("OFFSET 1.4", "OFFSET x"), "expected a number"),
        (lambda t: "hello", "no BVH"),
        (lambda t: "HIERARCHY MOTION Frames: 1 Frame Time: 1", "no ROOT"),
    ],
)
def test_damaged_bvh_files(damage, message):
    with pytest.raises(ValueError, match=message):
        motion_from_bvh(damage(cmu_bvh([{}])))


def test_only_a_t_pose_is_no_motion():
    with pytest.raises(ValueError, match="none is left"):
        motion_from_bvh(cmu_bvh([]))


def test_deep_nesting_is_no_recursion():
    """A hostile hierarchy ends in an error message, not in a stack overflow."""
    text = "HIERARCHY ROOT a { OFFSET 0 0 0 CHANNELS 3 Xrotation Yrotation Zrotation "
    text += "".join(f"JOINT j{i} {{ OFFSET 0 0 0 CHANNELS 0 " for i in range(5000)) + "}" * 5001
    with pytest.raises(ValueError, match="more than 1000 joints"):
        parse_bvh(text + " MOTION Frames: 1 Frame Time: 1 0 0 0")


@given(cut=st.integers(0, 4000), junk=st.text(max_size=10))
def test_any_damage_is_a_value_error(cut, junk):
    """Whatever is cut out and put in: a motion or a ValueError, nothing else."""
    text = cmu_bvh([{}])
    text = text[:cut] + junk + text[cut + 40 :]
    with suppress(ValueError):
        motion_from_bvh(text)
