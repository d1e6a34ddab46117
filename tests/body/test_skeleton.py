"""Skeletons: the published orders and trees, what follows from them, and how a file's kind is recognised."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from helpers.bodies import free_body
from helpers.synthetic_body import (
    HAND_PARENTS,
    SMPL_PARENTS,
    SMPLH_PARENTS,
    SMPLX_PARENTS,
    synthetic_body,
    synthetic_hand,
    synthetic_smplh,
    synthetic_smplx,
)

from hmrfit.body.skeleton import (
    KINDS,
    LIMBS,
    MANO_LEFT,
    MANO_RIGHT,
    PART_NAMES,
    SMPL,
    SMPLH,
    SMPLX,
    Skeleton,
    skeleton_of,
)
from hmrfit.body.smpl import SmplBody
from hmrfit.keypoints import SMPL24, keypoint_sets, mirrored_name

TREES = {
    "SMPL": (SMPL, SMPL_PARENTS),
    "SMPL-H": (SMPLH, SMPLH_PARENTS),
    "SMPL-X": (SMPLX, SMPLX_PARENTS),
    "left MANO": (MANO_LEFT, HAND_PARENTS),
    "right MANO": (MANO_RIGHT, HAND_PARENTS),
}
every_kind = pytest.mark.parametrize("skeleton", KINDS, ids=[f"{k.kind} {k.root}" for k in KINDS])


@pytest.mark.parametrize("name", TREES)
def test_trees_are_those_of_the_published_files(name):
    skeleton, parents = TREES[name]
    assert skeleton.parents == parents and len(skeleton) == len(parents) == len(skeleton.names)
    assert skeleton.pose_size == 3 * len(parents)


def test_names_are_the_smplx_packages():
    names = pytest.importorskip("smplx.joint_names")
    assert SMPLH.names == tuple(names.SMPLH_JOINT_NAMES[:52])
    theirs = [name.replace("_eye_smplhf", "_eye_joint") for name in names.JOINT_NAMES[:55]]
    assert SMPLX.names == tuple(theirs)


@every_kind
def test_no_joint_has_the_name_of_another_bodys_point(skeleton):
    """A name means one place: the keypoints that joints share with sets are SMPL's own."""
    points = {name for names in keypoint_sets().values() for name in names}
    assert points & set(skeleton.names) <= set(SMPL24)


@every_kind
def test_the_mirror_is_its_own_inverse_and_keeps_the_tree(skeleton):
    mirror = skeleton.mirror
    assert [mirror[j] for j in mirror] == list(range(len(skeleton)))
    if skeleton.root == "pelvis":
        assert [skeleton.names[j] for j in mirror] == [mirrored_name(name) for name in skeleton.names]
        up = [max(p, 0) for p in skeleton.parents]
        assert [mirror[up[j]] for j in range(len(skeleton))] == [up[mirror[j]] for j in range(len(skeleton))]


def test_a_mirrored_hand_is_the_other_one():
    assert MANO_LEFT.mirror == tuple(range(16))
    assert [mirrored_name(name) for name in MANO_LEFT.names] == list(MANO_RIGHT.names)


@every_kind
def test_every_joint_is_of_one_of_the_six_parts(skeleton):
    assert sorted(j for part in PART_NAMES for j in skeleton.parts[part]) == list(range(len(skeleton)))
    assert all(skeleton.part_of_joints[j] == part for part in PART_NAMES for j in skeleton.parts[part])


def test_parts_by_name():
    named = {part: {SMPLX.names[j] for j in joints} for part, joints in SMPLX.parts.items()}
    assert named["head"] == {"head", "jaw", "left_eye_joint", "right_eye_joint"}
    assert named["torso"] == {"pelvis", "spine1", "spine2", "spine3", "neck", "left_collar", "right_collar"}
    assert named["left_leg"] == {"left_hip", "left_knee", "left_ankle", "left_foot"}
    assert {"right_shoulder", "right_elbow"} | named["right_hand"] == named["right_arm"]
    assert len(named["right_hand"]) == 16 and "right_wrist" in named["right_hand"]
    assert [len(SMPL.parts[f"{side}_hand"]) for side in ("left", "right")] == [2, 2]
    assert MANO_RIGHT.parts["right_hand"] == tuple(range(16)) and not MANO_RIGHT.parts["left_hand"]
    assert SMPLX.trunk == SMPL.trunk == SMPLX.parts["torso"]


@pytest.mark.parametrize("skeleton", [SMPL, SMPLH, SMPLX], ids=["SMPL", "SMPL-H", "SMPL-X"])
def test_limbs_are_chains_of_the_tree(skeleton):
    assert skeleton.limbs == LIMBS
    for limb in skeleton.limbs:
        for upper, lower in pairwise(limb.joints):
            assert skeleton.parents[skeleton.index(lower)] == skeleton.index(upper)
    assert MANO_RIGHT.limbs == ()


def test_a_straight_limbs_hinge_is_square_to_it():
    """On the free body at rest, arms along x and legs along y."""
    rest = dict(zip(free_body().joint_names, free_body().rest_joints, strict=True))
    for limb in free_body().skeleton.limbs:
        start, _, end = (rest[name] for name in limb.joints)
        bone = torch.nn.functional.normalize(end - start, dim=0)
        assert bone[limb.axis].abs() < 0.2  # a leg stands a little apart, an arm hangs a little


def test_the_joints_that_smpls_priors_are_about():
    assert SMPL.body_joints == tuple(range(24))
    for skeleton in (SMPLH, SMPLX):
        assert [skeleton.names[j] for j in skeleton.body_joints] == list(SMPL24[:22])
        assert skeleton.shared_with(SMPL24) == SMPL24[1:22]
    assert MANO_LEFT.body_joints == () and MANO_LEFT.shared_with(SMPL24) == ()


def test_fingers_are_fifteen_of_a_hand_in_manos_order():
    assert SMPL.fingers == {}
    assert SMPLX.fingers == {"left": tuple(range(25, 40)), "right": tuple(range(40, 55))}
    assert [name.removeprefix("right_") for name in MANO_RIGHT.names[1:]] == [
        f"{finger}{k}" for finger in ("index", "middle", "pinky", "ring", "thumb") for k in (1, 2, 3)
    ]


def test_places_columns_and_what_hangs_below():
    assert SMPL.index("left_knee") == 4 and "left_knee" in SMPL and "nose" not in SMPL
    assert SMPL.columns(["left_hip", "left_knee"]) == (0, 1, 2, 9, 10, 11)
    assert SMPL.below("left_collar") == (13, 16, 18, 20, 22) and SMPLH.below("pelvis") == tuple(range(52))
    with pytest.raises(ValueError, match=r"no joint 'left_kne'\. Did you mean 'left_knee'\?"):
        SMPL.index("left_kne")


@pytest.mark.parametrize(
    ("names", "parents", "message"),
    [
        (("a", "b"), (-1,), "1 joint needs as many names, not 2"),
        (("a", "a"), (-1, 0), "Two joints are called 'a'"),
        (("a", "b"), (-1, 1), "an earlier joint for every other one"),
        (("a", "b"), (0, 0), "-1 for the first joint"),
        ((), (), "-1 for the first joint"),
    ],
)
def test_what_is_no_tree_is_refused(names, parents, message):
    with pytest.raises(ValueError, match=message):
        Skeleton("", names, parents)


@pytest.mark.parametrize(
    ("data", "skeleton"),
    [
        (synthetic_body(), SMPL),
        (synthetic_smplh(), SMPLH),
        (synthetic_smplx(), SMPLX),
        (synthetic_hand("left"), MANO_LEFT),
        (synthetic_hand("right"), MANO_RIGHT),
    ],
    ids=TREES,
)
def test_a_file_is_recognised_by_its_tree(data, skeleton):
    assert skeleton_of(data) == skeleton
    body = SmplBody(data)
    assert body.skeleton is skeleton and body.points(skeleton.names[:2]).skeleton is skeleton
    assert (body.joint_names, body.parents) == (skeleton.names, skeleton.parents)


def test_a_file_may_name_its_joints():
    assert skeleton_of(synthetic_body() | {"joint_names": np.array(SMPL24)}) is SMPL
    assert skeleton_of(synthetic_body() | {"joint_names": np.array(SMPL24, "S")}) is SMPL
    robot = synthetic_body((-1, 0, 1, 1)) | {"joint_names": np.array(["base", "arm", "left_wrist", "tool"])}
    found = SmplBody(robot).skeleton
    assert found.kind == "" and found.names == ("base", "arm", "left_wrist", "tool")
    assert found.part_of_joints == (None, None, "left_arm", None) and found.body_joints == found.limbs == ()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (synthetic_body((-1, 0, 1)), r"3 joints and does not name them; those of SMPL \(24\), SMPL-H \(52\), SMPL-X"),
        (synthetic_body((-1, *range(23))), r"as many joints as SMPL, but another tree: the parent of joint 2 is 1, no"),
        (synthetic_body() | {"joint_names": np.array(["a"])}, "24 joints needs as many names, not 1"),
        (synthetic_body() | {"joint_names": np.arange(24)}, "joint_names should hold 24 texts, not int64"),
        (synthetic_body() | {"joint_names": np.array(["a"] * 24)}, "Two joints are called 'a'"),
    ],
)
def test_other_trees_without_names_are_refused(data, message):
    with pytest.raises(ValueError, match=message):
        SmplBody(data)
