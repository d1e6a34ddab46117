"""Keypoint sets by name: the published flip tables, mirrors, parts, and the error message of a wrong name."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hmrfit.keypoints
from hmrfit.keypoints import (
    COCO17,
    COMMON14,
    LSP14,
    OPENPOSE25,
    SMPL24,
    base_name,
    find_part,
    find_set,
    flip_permutation,
    keypoint_sets,
    limb_of,
    limbs,
    mirrored_name,
    part_of,
    register_keypoint_set,
    resolve_set,
    sets_of_size,
)

J24_FLIP = [5, 4, 3, 2, 1, 0, 11, 10, 9, 8, 7, 6, 12, 13, 14, 15, 16, 17, 18, 19, 21, 20, 23, 22]
OPENPOSE_FLIP = [0, 1, 5, 6, 7, 2, 3, 4, 8, 12, 13, 14, 9, 10, 11, 16, 15, 18, 17, 22, 23, 24, 19, 20, 21]
SMPL_FLIP = [0, 2, 1, 3, 5, 4, 6, 8, 7, 9, 11, 10, 12, 14, 13, 15, 17, 16, 19, 18, 21, 20, 23, 22]
"""As SPIN's constants have them."""

every_set = pytest.mark.parametrize("name", list(keypoint_sets()))


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("spin24", J24_FLIP),
        ("openpose25", OPENPOSE_FLIP),
        ("smpl24", SMPL_FLIP),
        ("spin49", OPENPOSE_FLIP + [25 + i for i in J24_FLIP]),
        ("coco17", [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]),
    ],
)
def test_flips_are_the_published_tables(name, table):
    assert flip_permutation(resolve_set(name)) == table


@every_set
def test_sizes_are_what_the_names_say(name):
    assert len(find_set(name).layout) == int(re.search(r"(\d+)b?$", name)[1])


@every_set
def test_every_side_has_its_mate(name):
    names = resolve_set(name)
    assert {mirrored_name(n) for n in names} == set(names)


@every_set
def test_a_flip_is_its_own_inverse_and_moves_every_side(name):
    names = resolve_set(name)
    flip = flip_permutation(names)
    assert [flip[i] for i in flip] == list(range(len(names)))
    assert all((flip[i] != i) == n.startswith(("left_", "right_")) for i, n in enumerate(names))


@every_set
def test_limbs_join_what_belongs_together(name):
    names = resolve_set(name)
    pairs = {frozenset((base_name(names[a]), base_name(names[b]))) for a, b in limbs(names)}
    for side in ("left", "right"):
        assert {f"{side}_knee", f"{side}_ankle"} in pairs
        assert {f"{side}_elbow", f"{side}_wrist"} in pairs
    crossing = [p for p in pairs if len({n.split("_")[0] for n in p} & {"left", "right"}) == 2]
    assert all(len({n.split("_", 1)[1] for n in p}) == 1 for p in crossing)  # only hip to hip, shoulder to shoulder


@given(st.permutations(COCO17))
def test_flips_follow_the_names_in_any_order(names):
    flip = flip_permutation(names)
    assert [names[i] for i in flip] == [mirrored_name(n) for n in names]


def test_mirrored_names():
    assert mirrored_name("left_knee") == "right_knee"
    assert mirrored_name("right_hip_lsp") == "left_hip_lsp"
    assert mirrored_name("leftover") == "leftover"


def test_parts_are_found_under_any_definition():
    assert find_part(LSP14, "left_hip") == 3
    assert find_part(OPENPOSE25, "pelvis") == 8
    assert find_part(SMPL24, "left_hip") == 1
    assert find_part(COCO17, "neck") is None
    assert find_part(("left_hip_lsp", "left_hip"), "left_hip") == 1  # the exact name before another definition


def test_base_names():
    assert [base_name(n) for n in ("left_hip_coco", "neck_lsp", "head_top", "thorax_mpii", "mid_hip_coco")] == [
        "left_hip",
        "neck",
        "head",
        "neck",
        "pelvis",
    ]


PARTS = {
    "left_foot": ("left_ankle", "left_heel", "left_big_toe", "left_foot", "left_foot_index"),
    "right_hand": ("right_wrist", "right_hand", "right_index_knuckle", "right_hand_root", "right_middle1"),
    "head": ("nose", "left_ear", "right_eye_inner", "head_top", "jaw_h36m", "left_mouth", "face_12", "right_eye_joint"),
    "left_hip": ("left_hip", "left_hip_coco", "left_hip_lsp"),
    "hip": ("pelvis", "mid_hip_coco", "pelvis_mpii"),
    "neck": ("neck_openpose", "thorax_mpii", "left_collar"),
    None: ("spine1", "spine_h36m", "left_acromion", "my_own_point", ""),
}


@pytest.mark.parametrize("part", PARTS, ids=str)
def test_names_are_signs_of_parts(part):
    assert {part_of(name) for name in PARTS[part]} == {part}


@every_set
def test_every_point_but_the_spine_is_of_some_part(name):
    names = resolve_set(name)
    assert all(part_of(n) or n.startswith("spine") for n in names)
    assert [part_of(mirrored_name(n)) for n in names] == [mirrored_name(part_of(n) or "") or None for n in names]


@pytest.mark.parametrize(
    ("name", "limb"),
    [
        ("left_elbow", "left_arm"),
        ("right_pinky_tip", "right_arm"),
        ("left_shoulder", None),
        ("right_knee", "right_leg"),
        ("left_foot_index", "left_leg"),
        ("left_hip_coco", None),
        ("nose", "head"),
        ("neck", None),
        ("pelvis", None),
    ],
)
def test_limbs_are_what_moves_with_them(name, limb):
    assert limb_of(name) == limb


def test_the_common_joints_are_smpls():
    assert set(COMMON14) <= set(SMPL24)
    assert len(set(COMMON14)) == 14


def test_goliaths_hands_begin_at_the_tips():
    """Sapiens's goliath308: right_thumb4 is its point 21, right_forefinger4 25; the left hand's are 42 and 46."""
    names = hmrfit.keypoints.GOLIATH308
    for first, side in ((21, "right"), (42, "left")):
        assert names[first] == f"{side}_thumb_tip" and names[first + 3] == f"{side}_thumb_cmc"
        assert names[first + 4] == f"{side}_index_tip" and names[first + 20] == f"{side}_wrist"


def test_sets_of_one_size():
    assert set(sets_of_size(17)) >= {"coco17", "h36m17"}
    assert set(sets_of_size(24)) >= {"smpl24", "spin24"}
    assert sets_of_size(3) == []


def test_an_unknown_set_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match=r"Unknown keypoint set 'coco'. Did you mean 'coco17'\? Known sets: smpl24"):
        resolve_set("coco")
    assert resolve_set(["a", "b"]) == ("a", "b")


def test_registering(monkeypatch):
    monkeypatch.setattr("hmrfit.keypoints._SETS", dict(hmrfit.keypoints._SETS))
    assert register_keypoint_set("two", ["nose", "left_wrist"]) == ("nose", "left_wrist")
    assert resolve_set("two") == ("nose", "left_wrist")
    register_keypoint_set("two", ("nose", "left_wrist"))  # again the same: nothing to say
    with pytest.raises(ValueError, match="exists already"):
        register_keypoint_set("coco17", ("nose",))
    with pytest.raises(ValueError, match="empty"):
        register_keypoint_set("none", ())


def test_the_registry_is_handed_out_as_a_copy():
    keypoint_sets().clear()
    assert "coco17" in keypoint_sets()
