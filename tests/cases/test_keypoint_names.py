"""Keypoints by name, as bug reports have them: any order and spelling, sets with parts that the fit ignores."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.keypoint_cases import assert_at, coco_file, flat, photo_of, write
from helpers.keypoint_layouts import HALF, SIZE, pixels, plain, rows
from hypothesis import given
from hypothesis import strategies as st

import hmrfit
from hmrfit.io.keypoint_files import read_keypoints
from hmrfit.io.keypoint_files.names import choose_points, match_names
from hmrfit.keypoints import COCO17, H36M17, HALPE26, LSP14, MEDIAPIPE33, MPII16, SMPL24, resolve_set

# ---- names


@given(st.permutations(range(17)), st.sampled_from(["{}", "upper", "camel", "short", "behind", "spaces"]))
def test_names_in_any_order_and_spelling_are_the_same_person(order: list[int], spelling: str) -> None:
    def spelt(name: str) -> str:
        side, _, part = name.partition("_")
        if not part:
            return name.title() if spelling == "camel" else name
        return {
            "{}": name,
            "upper": name.upper(),
            "camel": side[0].upper() + part.title(),
            "short": f"{side[0]}_{part}",
            "behind": f"{part}_{side}",
            "spaces": f"{side} {part}".title(),
        }[spelling]

    names = [spelt(plain(COCO17)[i]) for i in order]
    assert match_names(names, "file") == tuple(COCO17[i] for i in order)


def test_a_coco_category_in_its_own_order(tmp_path: Path) -> None:
    order = np.random.default_rng(1).permutation(17)
    path = coco_file(tmp_path / "a.json", rows("coco17")[order], [plain(COCO17)[i] for i in order])
    (person,) = read_keypoints(path)
    assert person.names == tuple(COCO17[i] for i in order)
    assert_at(person, "coco17")
    assert_at(read_keypoints(path, "COCO_17")[0], "coco17")  # the caller names the set, the file its order


def test_a_set_that_contradicts_the_names_is_used_with_a_warning(tmp_path: Path) -> None:
    (person,) = read_keypoints(coco_file(tmp_path / "a.json", rows("coco17"), plain(COCO17)), "h36m17")
    assert person.names == H36M17
    assert "The file calls its keypoints nose" in person.warnings[0]


@pytest.mark.parametrize(
    "form", ["a string", "places", "dictionaries", "one category", "no id", "another id", "text id"]
)
def test_a_categorys_names_are_found_however_they_are_written(tmp_path: Path, form: str) -> None:
    """Names that are overlooked give COCO's order, which is another body without a word."""
    order = np.random.default_rng(1).permutation(17)
    names = [plain(COCO17)[i] for i in order]
    content = json.loads(coco_file(tmp_path / "a.json", rows("coco17")[order], names).read_text())
    (category,), (annotation,) = content["categories"], content["annotations"]
    if form == "a string":
        category["keypoints"] = ", ".join(names)
    elif form == "places":
        category["keypoints"] = {str(i): name for i, name in enumerate(names)}
    elif form == "dictionaries":
        category["keypoints"] = [{"name": name, "id": i} for i, name in enumerate(names)]
    elif form == "one category":
        content["categories"] = category
    elif form == "no id":
        del category["id"]
    elif form == "another id":
        annotation["category_id"] = 77
    else:
        category["id"] = str(category["id"])
    assert_at(read_keypoints(write(tmp_path / "b.json", content))[0], "coco17")


def test_a_category_that_is_not_there_beside_two_that_differ(tmp_path: Path) -> None:
    content = json.loads(coco_file(tmp_path / "a.json", rows("coco17"), plain(COCO17)).read_text())
    content["categories"].append({"id": 2, "name": "turned", "keypoints": plain(COCO17)[::-1]})
    content["annotations"][0]["category_id"] = 7
    with pytest.raises(ValueError, match="category 7 is not among the file's categories"):
        read_keypoints(write(tmp_path / "b.json", content))


def test_a_point_without_a_name_is_ignored(tmp_path: Path) -> None:
    path = coco_file(tmp_path / "a.json", rows("coco17"), [*plain(COCO17)[:16], None])
    (person,) = read_keypoints(path)
    assert person.names == COCO17[:16]


MOUSE = ["nose", "left_ear", "right_ear", "neck", "spine1", "spine2", "left_hip", "right_hip", "left_rear_paw",
         "right_rear_paw", "tail_base", "tail_tip"]  # fmt: skip


def test_a_mouse_is_no_human(tmp_path: Path) -> None:
    path = coco_file(tmp_path / "a.json", np.full((12, 3), 50.0), MOUSE)
    with pytest.raises(ValueError, match=r"'left_rear_paw', .*are no points of a human body.*keypoint_set, None"):
        read_keypoints(path)


def test_a_mouse_beside_a_person_is_left_out(tmp_path: Path) -> None:
    content = json.loads(coco_file(tmp_path / "a.json", rows("coco17"), plain(COCO17)).read_text())
    content["categories"].append({"id": 2, "name": "mouse", "keypoints": MOUSE})
    content["annotations"].append({"id": 9, "image_id": 5, "category_id": 2, "keypoints": [50.0, 50, 2] * 12})
    assert [p.person_id for p in read_keypoints(write(tmp_path / "b.json", content))] == ["1"]


@pytest.mark.parametrize("names", [[str(i + 1) for i in range(17)], [f"keypoint_{i}" for i in range(17)]])
def test_numbers_are_no_names(tmp_path: Path, names: list[str]) -> None:
    path = coco_file(tmp_path / "a.json", rows("coco17"), names)
    with pytest.raises(ValueError, match=r"calls its 17 keypoints .* does not say which.*keypoint_set='coco17'"):
        read_keypoints(path)
    assert_at(read_keypoints(path, "coco17")[0], "coco17")


def test_a_misspelt_name_gets_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"'left_sholder' is no point.*Did you mean 'left_shoulder'"):
        match_names(["nose", "left_sholder"], "file")
    with pytest.raises(ValueError, match="'left_wrist' and 'LWrist' are one point"):
        match_names(["nose", "left_wrist", "LWrist"], "file")


OFFICIAL = {
    "openpose25": "Nose Neck RShoulder RElbow RWrist LShoulder LElbow LWrist MidHip RHip RKnee RAnkle LHip LKnee "
                  "LAnkle REye LEye REar LEar LBigToe LSmallToe LHeel RBigToe RSmallToe RHeel",
    "halpe26": "Nose LEye REye LEar REar LShoulder RShoulder LElbow RElbow LWrist RWrist LHip RHip LKnee Rknee LAnkle "
               "RAnkle Head Neck Hip LBigToe RBigToe LSmallToe RSmallToe LHeel RHeel",
    "mpii16": "right_ankle right_knee right_hip left_hip left_knee left_ankle pelvis thorax upper_neck head_top "
              "right_wrist right_elbow right_shoulder left_shoulder left_elbow left_wrist",
    "h36m17": "root right_hip right_knee right_foot left_hip left_knee left_foot spine thorax neck_base head "
              "left_shoulder left_elbow left_wrist right_shoulder right_elbow right_wrist",
    "smpl24": "Pelvis L_Hip R_Hip Spine1 L_Knee R_Knee Spine2 L_Ankle R_Ankle Spine3 L_Foot R_Foot Neck L_Collar "
              "R_Collar Head L_Shoulder R_Shoulder L_Elbow R_Elbow L_Wrist R_Wrist L_Hand R_Hand",
    "mediapipe33": " ".join(MEDIAPIPE33).upper().replace("_COCO", "").replace("_KNUCKLE", "")
                   .replace("LEFT_MOUTH", "MOUTH_LEFT").replace("RIGHT_MOUTH", "MOUTH_RIGHT"),
}  # fmt: skip
"""The points as their authors call them."""


@pytest.mark.parametrize("name", OFFICIAL)
def test_the_authors_names_of_a_set_are_its_points(name: str) -> None:
    assert match_names(OFFICIAL[name].split(), "file") == resolve_set(name)


def test_what_a_hip_is_depends_on_its_neighbours() -> None:
    limbs = ["left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle"]
    assert match_names(limbs, "file")[0] == "left_hip_coco"
    assert match_names(plain(LSP14), "file") == LSP14
    assert match_names(plain(MPII16), "file") == MPII16
    assert match_names(SMPL24, "file") == SMPL24
    assert match_names([*limbs, "left_hip_coco"], "file")[0] == "left_hip"  # in our own words


def test_faces_and_fingers_are_left_out_by_name() -> None:
    names = [
        *plain(COCO17),
        "face-0",
        "left_thumb4",
        "RIndex1Knuckles",
        "REyeBrow3",
        "l_center_of_pupil",
        "tip_of_nose",
    ]
    assert match_names(names, "file") == (*COCO17, *[None] * 6)


def test_the_callers_own_list_of_names() -> None:
    assert choose_points(17, None, plain(COCO17), "x").names == COCO17
    assert choose_points(17, None, [n.upper() for n in COCO17], "x").names == COCO17
    assert choose_points(4, None, ["left_hip", "right_hip", "left_knee", "neck"], "x").names[0] == "left_hip"
    assert choose_points(3, None, ["nose", None, "left_wrist"], "x").rows == (0, 2)
    assert choose_points(2, None, ["mine1", "mine2"], "x").names == ("mine1", "mine2")


@pytest.mark.parametrize("meta", ["names", "dataset"])
def test_mmpose_names_its_points(tmp_path: Path, meta: str) -> None:
    order = np.random.default_rng(2).permutation(17) if meta == "names" else np.arange(17)
    said = {"keypoint_id2name": {str(i): plain(COCO17)[j] for i, j in enumerate(order)}, "dataset_name": "other"}
    points = rows("coco17")[order]
    instance = {"keypoints": points[:, :2].tolist(), "keypoint_scores": points[:, 2].tolist()}
    meta_info = said if meta == "names" else {"dataset_name": "coco"}
    (person,) = read_keypoints(write(tmp_path / "a.json", {"meta_info": meta_info, "instance_info": [instance]}))
    assert_at(person, "coco17")


# ---- sets with parts that are ignored


@pytest.mark.parametrize("name", ["halpe26", "halpe136", "coco_wholebody133", "openpose135", "goliath308"])
@pytest.mark.parametrize("form", ["array", "openpose", "alphapose", "mmpose"])
def test_the_sets_of_todays_detectors_are_recognised_by_their_number(tmp_path: Path, name: str, form: str) -> None:
    points = rows(name, shift=0.0 if form == "array" else HALF)
    if form == "array":
        person = photo_of(points, None).people[0]
    else:
        content = {
            "openpose": {"people": [{"pose_keypoints_2d": flat(points)}]},
            "alphapose": [{"image_id": "photo.jpg", "keypoints": flat(points), "idx": [0.0]}],
            "mmpose": [{"keypoints": points[:, :2].tolist(), "keypoint_scores": points[:, 2].tolist()}],
        }[form]
        (person,) = read_keypoints(write(tmp_path / "a.json", content))
    assert person.names == resolve_set(name)
    assert_at(person, name)


def test_without_hands_a_fit_of_133_points_is_the_fit_of_its_23() -> None:
    whole = hmrfit.fit(
        None,
        rows("coco_wholebody133", shift=0),
        keypoint_set="coco_wholebody133",
        image_size=SIZE,
        config={"PRIORS.HANDS": ""},
    )
    body = hmrfit.fit(
        None,
        np.c_[pixels("coco_wholebody133"), np.full(23, 0.8)],
        keypoint_set=resolve_set("coco_wholebody133"),
        image_size=SIZE,
    )
    np.testing.assert_array_equal(whole.joints, body.joints)


@pytest.mark.parametrize("name", ["coco_wholebody133", "goliath308"])
def test_all_names_of_a_set_mean_that_set(name: str) -> None:
    points = torch.tensor(rows(name, shift=0))
    named = hmrfit.Keypoints(points[None, :, :2], points[None, :, 2], hmrfit.keypoints.find_set(name).layout)
    assert photo_of(named).people[0].names == resolve_set(name)


def test_the_orders_of_the_large_sets() -> None:
    goliath, halpe = hmrfit.keypoints.find_set("goliath308"), hmrfit.keypoints.find_set("Halpe-26")
    places = {
        0: "nose",
        9: "left_hip_coco",
        14: "right_ankle",
        15: "left_big_toe",
        20: "right_heel",
        41: "right_wrist",
        62: "left_wrist",
    }
    assert all(goliath.layout[i] == name for i, name in places.items())
    assert halpe.layout[17:20] == ("head_top", "neck_openpose", "mid_hip_coco")
    assert HALPE26[20:22] == ("left_big_toe", "right_big_toe")


def test_an_own_set_may_ignore_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hmrfit.keypoints._SETS", dict(hmrfit.keypoints._SETS))
    names = [*plain(COCO17), "racket_grip", "racket_head"]
    used = hmrfit.register_keypoint_set("tennis", names, ignored=["racket_grip", "racket_head"])
    assert used == tuple(plain(COCO17))
    points = np.vstack([rows("coco17", shift=0), [[1, 2, 1], [3, 4, 1]]])
    assert_at(photo_of(points, "Tennis").people[0], "coco17")
    with pytest.raises(ValueError, match="has no point 'ball'"):
        hmrfit.register_keypoint_set("other", names, ignored=["ball"])
