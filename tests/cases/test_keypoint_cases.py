"""Keypoints as bug reports have them: made-up people in the layouts of other tools come out where they are.

What each layout means is in `hmrfit.data.keypoint_files`; the numbers here are the demo's person, projected.
"""

import io
import json
import random
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.keypoint_layouts import HALF, SIZE, pixels, plain, rows
from hypothesis import given
from hypothesis import strategies as st

import hmrfit
from hmrfit.data.keypoint_files import PersonKeypoints, read_keypoints
from hmrfit.data.keypoint_files.frames import frame_number, read_frames
from hmrfit.data.keypoint_files.names import choose_points, match_names
from hmrfit.data.photo import Photo, read_photo
from hmrfit.keypoints import COCO17, H36M17, HALPE26, LSP14, MEDIAPIPE33, MPII16, OPENPOSE25, SMPL24, resolve_set

COCO = pixels("coco17")


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def flat(points: np.ndarray) -> list[float]:
    return points.ravel().tolist()


def assert_at(person: PersonKeypoints, keypoint_set: str | tuple[str, ...], atol: float = 1e-6) -> None:
    """That every seen point of the person lies where its name says."""
    seen = person.confidence > 0
    assert seen.any()
    assert set(person.names) <= set(resolve_set(keypoint_set))
    places = dict(zip(resolve_set(keypoint_set), pixels(keypoint_set), strict=True))
    np.testing.assert_allclose(person.xy[seen], np.stack([places[n] for n in person.names])[seen], atol=atol)


def photo_of(keypoints: Any, keypoint_set: Any = "coco17", image_size: Any = SIZE, image: Any = None) -> Photo:
    return read_photo(image, keypoints, keypoint_set, image_size=image_size)


def coco_file(path: Path, points: np.ndarray, names: list[str] | None, **image: Any) -> Path:
    category = {"id": 1, "name": "person"} | ({} if names is None else {"keypoints": names})
    visible = np.c_[points[:, :2], np.full(len(points), 2)]
    return write(path, {
        "images": [{"id": 5, "file_name": "photo.jpg", "width": SIZE[0], "height": SIZE[1]} | image],
        "annotations": [{"id": 1, "image_id": 5, "category_id": 1, "keypoints": flat(visible)}],
        "categories": [category],
    })  # fmt: skip


# ---- names


@given(st.permutations(range(17)), st.sampled_from(["{}", "upper", "camel", "short", "behind", "spaces"]))
def test_names_in_any_order_and_spelling_are_the_same_person(order: list[int], spelling: str) -> None:
    def spelt(name: str) -> str:
        side, _, part = name.partition("_")
        if not part:
            return name.title() if spelling == "camel" else name
        return {
            "{}": name, "upper": name.upper(), "camel": side[0].upper() + part.title(), "short": f"{side[0]}_{part}",
            "behind": f"{part}_{side}", "spaces": f"{side} {part}".title(),
        }[spelling]  # fmt: skip

    names = [spelt(plain(COCO17)[i]) for i in order]
    assert match_names(names, "file") == tuple(COCO17[i] for i in order)


def test_a_coco_category_in_its_own_order(tmp_path: Path) -> None:
    order = np.random.default_rng(1).permutation(17)
    path = coco_file(tmp_path / "a.json", rows("coco17")[order], [plain(COCO17)[i] for i in order])
    (person,) = read_keypoints(path)
    assert person.names == tuple(COCO17[i] for i in order)
    assert_at(person, "coco17")
    assert_at(read_keypoints(path, "COCO_17")[0], "coco17")  # the caller names the set, the file its order


def test_a_caller_who_contradicts_the_names_is_followed_and_warned(tmp_path: Path) -> None:
    (person,) = read_keypoints(coco_file(tmp_path / "a.json", rows("coco17"), plain(COCO17)), "h36m17")
    assert person.names == H36M17
    assert "The file calls its keypoints nose" in person.warnings[0]


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
def test_numbers_as_names_say_nothing(tmp_path: Path, names: list[str]) -> None:
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


def test_a_fit_of_133_points_is_the_fit_of_its_23() -> None:
    whole = hmrfit.fit(None, rows("coco_wholebody133", shift=0), keypoint_set="coco_wholebody133", image_size=SIZE)
    body = hmrfit.fit(None, np.c_[pixels("coco_wholebody133"), np.full(23, 0.8)],
                      keypoint_set=resolve_set("coco_wholebody133"), image_size=SIZE)  # fmt: skip
    np.testing.assert_array_equal(whole.joints, body.joints)


@pytest.mark.parametrize("name", ["coco_wholebody133", "goliath308"])
def test_all_names_of_a_set_mean_that_set(name: str) -> None:
    points = torch.tensor(rows(name, shift=0))
    named = hmrfit.Keypoints(points[None, :, :2], points[None, :, 2], hmrfit.keypoints.find_set(name).layout)
    assert photo_of(named).people[0].names == resolve_set(name)


def test_the_orders_of_the_large_sets() -> None:
    goliath, halpe = hmrfit.keypoints.find_set("goliath308"), hmrfit.keypoints.find_set("Halpe-26")
    places = {0: "nose", 9: "left_hip_coco", 14: "right_ankle", 15: "left_big_toe", 20: "right_heel", 41: "right_wrist",
              62: "left_wrist"}  # fmt: skip
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


# ---- missing points


MISSING = {
    "NaN": [np.nan, np.nan, 0.8], "NaN without a score": [np.nan, np.nan, np.nan], "(0, 0)": [0, 0, 0.8],
    "(-1, -1)": [-1, -1, 0.8], "(-999, -999)": [-999, -999, 1], "confidence 0": [55, 66, 0],
    "confidence -1": [55, 66, -1], "infinite, unseen": [np.inf, 5, 0],
}  # fmt: skip


@pytest.mark.parametrize("form", ["array", "coco results", "openpose", "mmpose", "csv", "npz", "hmrfit"])
@pytest.mark.parametrize("row", MISSING.values(), ids=MISSING)
def test_a_missing_point_is_missing_in_every_format(tmp_path: Path, form: str, row: list[float]) -> None:
    points = rows("coco17", shift=0.0 if form in ("array", "csv", "npz") else HALF)
    points[9] = row
    listed = [[None if np.isnan(v) else v for v in r] for r in points.tolist()]
    flattened = [v for r in listed for v in r]
    if form == "array":
        person = photo_of(points).people[0]
    elif form == "npz":
        np.savez(tmp_path / "a.npz", keypoints=points)
        (person,) = read_keypoints(tmp_path / "a.npz", "coco17")
    elif form == "csv":
        text = "\n".join(",".join("" if v is None else str(v) for v in r) for r in listed)
        (person,) = read_keypoints(write(tmp_path / "a.csv", text), "coco17")
    else:
        scores = [0.8 if r[2] is None else r[2] for r in listed]
        content = {
            "coco results": [{"image_id": 1, "keypoints": flattened}],
            "openpose": {"people": [{"pose_keypoints_2d": flattened}]},
            "mmpose": [{"keypoints": [r[:2] for r in listed], "keypoint_scores": scores}],
            "hmrfit": {"format": "coco17", "keypoints": listed},
        }[form]
        (person,) = read_keypoints(write(tmp_path / "a.json", content), "coco17")
    assert person.confidence[9] == 0 and (person.xy[9] == 0).all()
    assert (np.delete(person.confidence, 9) == 0.8).all()
    assert_at(person, "coco17")


@pytest.mark.parametrize("row", [[np.nan, np.nan], [0, 0], [-1, -1], [-3, -7.5]])
def test_a_missing_point_without_confidences(row: list[float]) -> None:
    points = COCO.copy()
    points[9] = row
    person = photo_of(points).people[0]
    assert person.confidence.tolist() == [float(i != 9) for i in range(17)]


def test_a_point_outside_of_the_image_is_a_point() -> None:
    points = rows("coco17", shift=0)
    points[9], points[10] = [-3.2, 200, 0.7], [-3.2, -5.1, 0.6]
    person = photo_of(points).people[0]
    assert person.confidence[9:11].tolist() == [0.7, 0.6]
    assert person.xy[9:11].tolist() == [[-3.2, 200], [-3.2, -5.1]]
    assert photo_of(points[:, :2]).people[0].confidence[9:11].tolist() == [1, 0]


def test_a_person_without_a_body_loses_only_that_person(tmp_path: Path) -> None:
    body = flat(rows("openpose25"))
    people: list[dict] = [{"pose_keypoints_2d": None, "face_keypoints_2d": [1.0, 2, 1]}, {"pose_keypoints_2d": body}]
    people += [{"hand_left_keypoints_2d": [1.0] * 63}, {"pose_keypoints_2d": [0.0] * 75}, {"pose_keypoints_2d": body}]
    found = read_keypoints(write(tmp_path / "a.json", {"people": people}))
    assert [p.person_id for p in found] == ["1", "4"]
    for person in found:
        assert_at(person, "openpose25")


def test_a_person_with_broken_numbers_does_not_take_the_others_down(tmp_path: Path) -> None:
    broken = rows("coco17")
    broken[3, 0] = 1e60
    results = [{"image_id": 1, "keypoints": flat(p)} for p in (broken, rows("coco17"))]
    first, second = read_keypoints(write(tmp_path / "a.json", results))
    assert "keypoint 3 is at" in first.problem and not first.confidence.any()
    assert second.problem is None
    assert_at(second, "coco17")
    with pytest.raises(ValueError, match="keypoint 3 is at"):
        read_keypoints(write(tmp_path / "b.json", results[:1]))


@pytest.mark.parametrize("form", ["openpose", "coco annotations", "coco results", "mmpose"])
@pytest.mark.parametrize("broken", [[1.0] * 50, ["a"] * 51, [10**400, *[1.0] * 50], {"x": 1}, 7])
def test_a_person_who_is_built_differently_does_not_take_the_others_down(
    tmp_path: Path, form: str, broken: Any
) -> None:
    points = rows("openpose25" if form == "openpose" else "coco17")
    scores = points[:, 2].tolist()
    content = {
        "openpose": lambda: {"people": [{"pose_keypoints_2d": k} for k in (broken, flat(points))]},
        "coco results": lambda: [{"image_id": 1, "keypoints": k} for k in (broken, flat(points))],
        "mmpose": lambda: {"instance_info": [
            {"keypoints": k, "keypoint_scores": scores} for k in (broken, points[:, :2].tolist())
        ], "meta_info": {"dataset_name": "coco"}},
        "coco annotations": lambda: {"images": [], "annotations": [
            {"id": i, "image_id": 1, "keypoints": k} for i, k in enumerate((broken, flat(points)))
        ]},
    }[form]()  # fmt: skip
    first, second = read_keypoints(write(tmp_path / "a.json", content))
    assert first.problem and first.names == second.names and second.problem is None
    assert_at(second, "openpose25" if form == "openpose" else "coco17")


def test_a_number_of_400_digits_is_refused(tmp_path: Path) -> None:
    text = json.dumps([{"image_id": 1, "keypoints": [1.0] * 51}]).replace("1.0", "1" * 400, 1)
    with pytest.raises(ValueError, match=r"result 0: keypoint 0 is at .inf"):
        read_keypoints(write(tmp_path / "a.json", text))


# ---- scores


def scored(scores: list[float]) -> PersonKeypoints:
    return photo_of(np.c_[COCO, np.resize(scores, 17)]).people[0]


@pytest.mark.parametrize(
    ("scores", "confidence", "said"),
    [
        ([0.05, 5.3, 0.3, 1.8], [0.05, 1, 0.3, 1], "from 0.05 to 5.3"),  # detectron2
        ([0.2, 1.05, 0.9], [0.2, 1, 0.9], "from 0.2 to 1.05"),  # RTMW
        ([5, 95.0, 50], [0.05, 0.95, 0.5], "divided by 100"),
        ([255, 51, 5.1], [1, 0.2, 0.02], "divided by 255"),
        ([-3.0, 0.5, 2], [0, 0.5, 1], "as 0 where they are negative"),
        ([-0.1, 0.5], [0, 0.5], "the negative ones were taken as 0"),
        ([0, 1, 2], [0, 1, 1], None),  # visibility
        ([0, 0.3, 1], [0, 0.3, 1], None),
    ],
)
def test_scores_of_any_scale(scores: list[float], confidence: list[float], said: str | None) -> None:
    person = scored(scores)
    np.testing.assert_allclose(person.confidence, np.resize(confidence, 17))
    assert (said is None and not person.warnings) or said in person.warnings[0]
    assert "sigmoid" not in "".join(person.warnings)


@given(st.lists(st.floats(-5, 300), min_size=17, max_size=17).filter(lambda s: max(s) > 0.001))
def test_scores_keep_their_order_and_low_ones_stay_low(scores: list[float]) -> None:
    confidence = scored(scores).confidence
    by_score = confidence[np.argsort(scores)]
    assert (np.diff(by_score) >= 0).all() and by_score[-1] > 0
    low = np.array(scores) <= 0.3
    assert (confidence[low] <= 0.3).all() and (confidence <= 1).all()


def test_the_scores_of_missing_points_say_nothing() -> None:
    points = rows("coco17", shift=0)
    points[3], points[4] = [-1, -1, -1], [0, 0, 99]
    person = photo_of(points).people[0]
    assert not person.warnings
    assert person.confidence.tolist() == [0.8 * (i not in (3, 4)) for i in range(17)]


def test_one_file_has_one_scale(tmp_path: Path) -> None:
    points = [rows("coco17", score=s) for s in (0.6, 80.0)]
    first, second = read_keypoints(write(tmp_path / "a.json", [{"image_id": 1, "keypoints": flat(p)} for p in points]))
    assert (first.confidence == 0.006).all() and (second.confidence == 0.8).all()


def test_the_warning_about_scores_reaches_the_result() -> None:
    result = hmrfit.fit(None, np.c_[COCO, np.full(17, 1.3)], keypoint_set="coco17", image_size=SIZE)
    assert any("from 1.3 to 1.3" in warning for warning in result.warnings[0])


# ---- sizes


@pytest.mark.parametrize("unit", ["pixels", "shares"])
def test_a_canvas_is_scaled_to_the_photograph(tmp_path: Path, unit: str) -> None:
    points = rows("openpose18", shift=0)
    canvas = (320, 240)
    points[:, :2] = points[:, :2] / 2 - HALF if unit == "pixels" else (points[:, :2] / 2 - HALF) / canvas
    person = {"pose_keypoints_2d": flat(points), "face_keypoints_2d": None}
    content = [{"people": [person], "canvas_width": canvas[0], "canvas_height": canvas[1]}]
    path = write(tmp_path / "a.json", content)
    photo = photo_of(path, None)
    assert_at(photo.people[0], "openpose18")
    assert "of an image of 320 × 240 pixels: they were scaled to 640 × 480" in photo.warnings[0][0]
    assert photo_of(path, None, image_size=None).size == canvas
    with pytest.raises(ValueError, match=r"do not agree \(the image: 640 × 600; .*: 320 × 240\)"):
        photo_of(path, None, image_size=(640, 600))


def test_the_size_and_the_lens_that_a_file_states_are_scaled_together(tmp_path: Path) -> None:
    points = rows("coco17", shift=0)
    points[:, :2] = points[:, :2] / 2 - HALF
    K = [[450.0, 0, 159.5], [0, 450, 119.5], [0, 0, 1]]
    path = write(tmp_path / "a.json", {"format": "coco17", "keypoints": points.tolist(), "size": [320, 240], "K": K})
    photo = photo_of(path, None)
    assert_at(photo.people[0], "coco17")
    np.testing.assert_allclose(photo.camera.focal, [[900, 900]])
    np.testing.assert_allclose(photo.camera.center, [[320, 240]])


# ---- formats of single tools


def ultralytics(shares: bool) -> list[dict]:
    unit = np.array(SIZE) if shares else np.ones(2)
    points = rows("coco17")
    x, y = ((points[:, :2]) / unit).T
    box = dict(zip(("x1", "y1", "x2", "y2"), (np.array([50, 20, 300, 400]) / np.tile(unit, 2)).tolist(), strict=True))
    keypoints = {"x": x.tolist(), "y": y.tolist(), "visible": points[:, 2].tolist()}
    return [{"name": "person", "class": 0, "confidence": 0.9, "box": box, "keypoints": keypoints}]


def easymocap() -> dict:
    annots = [{"personID": 3, "bbox": [10, 20, 110, 220, 1], "keypoints": rows("openpose25").tolist()}]
    return {"filename": "images/1/000000.jpg", "height": SIZE[1], "width": SIZE[0], "annots": annots}


def vitpose() -> dict:
    skeleton = {str(i): name for i, name in enumerate(plain(COCO17))}
    return {"keypoints": [{"0": rows("coco17")[:, [1, 0, 2]].tolist()}], "skeleton": skeleton}


def landmarks() -> list[dict]:
    points = rows("mediapipe33", shift=0) / (*SIZE, 1)
    return [{"x": x, "y": y, "z": 0.1, "visibility": c} for x, y, c in points.tolist()]


TOOLS = {
    "ultralytics": (ultralytics(False), "coco17"), "ultralytics, normalised": (ultralytics(True), "coco17"),
    "EasyMocap": (easymocap(), "openpose25"), "easy_ViTPose": (vitpose(), "coco17"),
    "ControlNet": ([{"people": [{"pose_keypoints_2d": flat(rows("openpose18"))}], "canvas_width": 640,
                     "canvas_height": 480}], "openpose18"),
    "AlphaPose cmu": ({"photo.jpg": {"version": "AlphaPose", "bodies": [{"joints": flat(rows("openpose18"))}]}},
                      "openpose18"),
    "AlphaPose open": ({"photo.jpg": {"people": [{"pose_keypoints_2d": flat(rows("openpose18"))}]}}, "openpose18"),
    "MediaPipe": (landmarks(), "mediapipe33"), "MediaPipe, a list": ([landmarks()], "mediapipe33"),
    "MediaPipe, named": ({"pose_landmarks": landmarks()}, "mediapipe33"),
}  # fmt: skip


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("form", ["file", "utf-16", "loaded", "bytes", "open file"])
def test_json_of_other_tools(tmp_path: Path, tool: str, form: str) -> None:
    content, name = TOOLS[tool]
    text = json.dumps(content)
    path = tmp_path / "a.json"
    path.write_text(text, encoding="utf-16" if form == "utf-16" else "utf-8")
    given = {"loaded": content, "bytes": text.encode(), "open file": io.StringIO(text)}.get(form, path)
    photo = photo_of(given, None)
    assert photo.people[0].names == resolve_set(name)
    assert_at(photo.people[0], name)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "latin-1"])
def test_tables_of_any_encoding(tmp_path: Path, encoding: str) -> None:
    lines = ["Größe;x;y;confidence", *(f"{n};{x};{y};{c}" for n, (x, y, c) in zip(COCO17, rows("coco17", shift=0), strict=True))]  # fmt: skip  # noqa: E501
    lines[0] = lines[0].replace("Größe", "name")
    lines.append("")
    text = "\n".join(lines).replace("nose;", "nosé;" if encoding == "latin-1" else "nose;")
    (tmp_path / "a.csv").write_bytes(text.encode(encoding))
    set_of_latin = {"keypoint_set": "coco17"} if encoding == "latin-1" else {}
    assert_at(read_keypoints(tmp_path / "a.csv", **set_of_latin)[0], "coco17")


@pytest.mark.parametrize("between", [";", "\t", ",", " "])
@pytest.mark.parametrize("heading", ["landmark y x visibility", "name x y z presence likelihood", ""])
def test_tables_with_headings_in_any_order(tmp_path: Path, between: str, heading: str) -> None:
    columns = heading.split() or ["name", "x", "y", "c"]
    names = [n.upper() for n in plain(COCO17)]
    lines = [heading.replace(" ", between)] if heading else []
    comma = (lambda v: f"{v:.7f}".replace(".", ",")) if between in ";\t" else (lambda v: f"{v:.7f}")
    for name, (x, y, c) in zip(names, rows("coco17", shift=0), strict=True):
        cell = {"name": name, "landmark": name, "x": comma(x), "y": comma(y), "z": "7", "presence": "0.1"}
        lines.append(between.join(cell.get(column, comma(c)) for column in columns))
    (person,) = read_keypoints(write(tmp_path / "a.csv", "\n".join(lines)))
    assert_at(person, "coco17", atol=1e-5)
    np.testing.assert_allclose(person.confidence, 0.8)


def test_mediapipes_long_table(tmp_path: Path) -> None:
    points = rows("mediapipe33", shift=0) / (*SIZE, 1)
    lines = [f"{f},{i},{x},{y},-0.1,{c}" for f in (0, 1) for i, (x, y, c) in enumerate(points)]
    path = write(tmp_path / "a.csv", "\n".join(["frame,landmark,x,y,z,visibility", *reversed(lines)]))
    people = read_keypoints(path, image_size=SIZE)
    assert [p.image for p in people] == ["1", "0"]
    assert_at(people[0], "mediapipe33")
    assert read_keypoints(path)[0].shares is not None  # the size may come later
    assert_at(photo_of(write(tmp_path / "b.csv", "\n".join(["frame,landmark,x,y,z,visibility", *lines[:33]])), None).people[0], "mediapipe33")  # fmt: skip  # noqa: E501


def test_a_table_with_a_line_a_frame(tmp_path: Path) -> None:
    points = rows("coco17", shift=0)
    heading = ["frame", *(f"{n}_{axis}" for n in plain(COCO17) for axis in ("x", "y", "conf"))]
    lines = [",".join(heading), *(",".join(map(str, [i, *flat(points)])) for i in range(3))]
    people = read_keypoints(write(tmp_path / "a.csv", "\n".join(lines)))
    assert [p.image for p in people] == ["0", "1", "2"]
    assert_at(people[2], "coco17")


@pytest.mark.parametrize("individuals", [False, True])
def test_deeplabcuts_table(tmp_path: Path, individuals: bool) -> None:
    who = ["anna", "ben"] if individuals else [""]
    names = [n for _ in who for n in plain(COCO17) for _ in range(3)]
    lines = [["scorer", *["DLC"] * len(names)]]
    lines += [["individuals", *(w for w in who for _ in range(51))]] if individuals else []
    lines += [["bodyparts", *names], ["coords", *["x", "y", "likelihood"] * 17 * len(who)]]
    lines += [[str(i), *map(str, flat(rows("coco17")) * len(who))] for i in range(2)]
    people = read_keypoints(write(tmp_path / "a.csv", "\n".join(map(",".join, lines))))
    assert [(p.image, p.person_id) for p in people] == [(str(i), w or "0") for i in range(2) for w in who]
    assert_at(people[-1], "coco17")


@pytest.mark.parametrize("more", [[], [0.9], [0.9, 7]])
def test_yolos_labels(tmp_path: Path, more: list[float]) -> None:
    points = rows("coco17")
    points[:, :2] /= SIZE
    path = write(tmp_path / "a.txt", " ".join(map(str, [0, 0.5, 0.5, 0.25, 0.5, *flat(points), *more])))
    person = photo_of(path, None).people[0]
    assert_at(person, "coco17")
    assert person.box == (240, 120, 160, 240)
    assert person.track == ("7" if len(more) == 2 else None)
    with pytest.raises(ValueError, match="image_size="):
        photo_of(path, None, image_size=None)


@pytest.mark.parametrize("fields", [("openpose",), ("part",), ("part", "openpose")])
def test_spins_npz(tmp_path: Path, fields: tuple[str, ...]) -> None:
    arrays = {"openpose": rows("openpose25")[None], "part": rows("spin24")[None]}
    names = {"openpose": "openpose25", "part": "spin24"}[fields[0]] if len(fields) == 1 else "spin49"
    hidden = {field: np.zeros_like(arrays[field]) for field in arrays if field not in fields}
    np.savez(tmp_path / "a.npz", imgname=np.array(["photo.jpg"]), center=[[300, 200]], scale=[1.5], **arrays | hidden)
    (person,) = read_keypoints(tmp_path / "a.npz")
    assert person.names == resolve_set(names) and person.image == "photo.jpg" and person.box == (150, 50, 300, 300)
    assert_at(person, names)


DAMAGE = (None, "", [], {}, 0, -1, 10**400, float("nan"), float("inf"), -1e300, "abc", ["abc"], True, [[[]]], 1e60)


def damaged(content: Any, rng: random.Random) -> Any:
    """A copy in which something, somewhere, is something else."""
    if isinstance(content, dict | list) and content and rng.random() < 0.8:
        copy = content.copy()
        key = rng.choice(list(copy)) if isinstance(copy, dict) else rng.randrange(len(copy))
        copy[key] = damaged(copy[key], rng)
        return copy
    return rng.choice(DAMAGE)


@pytest.mark.parametrize("tool", TOOLS)
def test_any_damage_is_read_or_refused(tool: str) -> None:
    rng = random.Random(0)
    for _ in range(60):
        content = damaged(TOOLS[tool][0], rng)
        if not isinstance(content, str):
            with suppress(ValueError, TypeError):
                assert photo_of(content, None).keypoints.xy.isfinite().all()


# ---- in memory


class Landmark:
    """As MediaPipe's objects are."""

    def __init__(self, x: float, y: float, visibility: float) -> None:
        self.x, self.y, self.visibility = x, y, visibility


MARKS = [Landmark(*row) for row in rows("coco17", shift=0) / (*SIZE, 1)]
ROWS = rows("coco17", shift=0)
IN_MEMORY = {
    "a tensor with gradients": torch.tensor(ROWS, requires_grad=True),
    "half precision": torch.tensor(ROWS[None], dtype=torch.float64).to(torch.float32),
    "a list of tensors": [torch.tensor(ROWS, requires_grad=True)],
    "(xy, scores)": (ROWS[:, :2], ROWS[:, 2]),
    "(xy, scores) of several": (ROWS[None, :, :2], ROWS[None, :, 2]),
    "[xy, scores, column]": [ROWS[:, :2].tolist(), ROWS[:, 2:].tolist()],
    "flat": flat(ROWS),
    "flat, of several": [flat(ROWS), flat(ROWS)],
    "arrays by name": {"xy": ROWS[:, :2], "confidence": ROWS[:, 2]},
    "hmrfit's dictionaries": [{"format": "coco17", "keypoints": (ROWS - [HALF, HALF, 0]).tolist()}] * 2,
    "MMPose's predictions": {"predictions": [[{"keypoints": ROWS[:, :2] - HALF, "keypoint_scores": ROWS[:, 2]}]]},
    "Keypoints": hmrfit.Keypoints(torch.tensor(ROWS[None, :, :2]), torch.tensor(ROWS[None, :, 2]), COCO17),
}


@pytest.mark.parametrize("form", IN_MEMORY)
def test_keypoints_in_memory(form: str) -> None:
    person = photo_of(IN_MEMORY[form]).people[-1]
    assert person.names == COCO17
    assert_at(person, "coco17", atol=1e-4)
    np.testing.assert_allclose(person.confidence, 0.8)


@pytest.mark.parametrize("form", ["list", "people", "result"])
def test_mediapipes_objects(form: str) -> None:
    marks = [Landmark(*row) for row in rows("mediapipe33", shift=0) / (*SIZE, 1)]
    result = type("Result", (), {"pose_landmarks": [marks]})()
    given = {"list": marks, "people": [marks], "result": result}[form]
    assert_at(photo_of(given, None).people[0], "mediapipe33")


def test_what_is_given_in_memory_is_never_changed() -> None:
    points = ROWS.copy()
    points[3] = [-1, -1, 7]
    before = points.copy()
    photo_of(points)
    np.testing.assert_array_equal(points, before)


def test_flat_lists_of_xy_alone() -> None:
    assert_at(photo_of(flat(ROWS[:, :2])).people[0], "coco17")
    with pytest.raises(ValueError, match=r"17 keypoints, but does not say which"):
        photo_of(flat(ROWS), None)


@pytest.mark.parametrize("what", ["image", "keypoints", "both"])
@pytest.mark.parametrize("address", ["https://example.org/a.json", "s3://bucket/a.json"])
def test_a_url_gets_a_sentence(what: str, address: str) -> None:
    image = None if what == "keypoints" else address.replace("json", "jpg")
    with pytest.raises(ValueError, match=r"is a URL .*Download it first"):
        hmrfit.fit(image, ROWS if what == "image" else address, keypoint_set="coco17", image_size=SIZE)


def test_another_form_is_refused() -> None:
    for form in (3, [{"x": 1}], {"a": 1}, object(), [[10**400, 1, 1]] * 17):
        with pytest.raises((TypeError, ValueError), match="keypoints should"):
            photo_of(form)


# ---- sequences


def video(frames: list[int], people: int = 1, tracks: bool = True) -> list[dict]:
    """AlphaPose's list; in frame f the person is f pixels further right."""
    points = [(f, p, rows("coco17") + np.array([f, 0, 0])) for f in frames for p in range(people)]
    track = lambda p: {"idx": [float(p)]} if tracks else {}  # noqa: E731
    return [{"image_id": f"{f}.jpg", "keypoints": flat(x), "score": 3.0, **track(p)} for f, p, x in points]


def shifts(people: list[PersonKeypoints]) -> list[float | None]:
    return [round(p.xy[0, 0] - COCO[0, 0], 6) if p.confidence.any() else None for p in people]


def test_frames_stand_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", video([0, 1, 10, 11, *range(2, 10)]))
    assert shifts(read_frames(path)) == list(range(12))
    result = hmrfit.fit_sequence(read_keypoints(path), fps=30, image_size=(700, 480))
    np.testing.assert_allclose(np.diff(result.keypoints.xy[:, 0, 0]), 1)


def test_frames_that_a_file_leaves_out_are_blank(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", video([3, 4, 6]))
    assert shifts(read_frames(path)) == [3, 4, None, 6]
    result = hmrfit.fit_sequence(path, fps=30, image_size=(700, 480))
    assert len(result) == 4 and (result.keypoints.confidence[2] == 0).all()
    listed = hmrfit.fit_sequence(read_keypoints(path), fps=30, image_size=(700, 480))
    assert len(listed) == 3 and "between 4 and 6 are left out" in listed.warnings[2][0]


def test_a_frame_that_cannot_be_read_is_filled_in_and_warned_of(tmp_path: Path) -> None:
    content = video([0, 1, 2])
    content[1]["keypoints"] = content[1]["keypoints"][:-1]
    result = hmrfit.fit_sequence(write(tmp_path / "a.json", content), fps=30, image_size=(700, 480))
    assert "Filled in from the nearest frames:" in result.warnings[1][0] and (result.keypoints.confidence[1] == 0).all()


def test_mmposes_frames_without_people_are_blank(tmp_path: Path) -> None:
    shown = lambda f: [{"keypoints": (rows("coco17")[:, :2] + [f, 0]).tolist(), "keypoint_scores": [0.8] * 17}]  # noqa: E731
    frames = [{"frame_id": f, "instances": shown(f) if f in (1, 2) else []} for f in range(4)]
    path = write(tmp_path / "a.json", {"meta_info": {"dataset_name": "coco"}, "instance_info": frames})
    assert shifts(read_frames(path)) == [None, 1, 2, None]


def test_two_people_in_a_frame_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", video([0, 1], people=2))
    with pytest.raises(ValueError, match=r"2 people in frame 0.jpg.*tracks are 0, 1.*p.track == '0'"):
        hmrfit.fit_sequence(path, fps=30, image_size=SIZE)
    with pytest.raises(ValueError, match=r"2 people in frame 0.jpg.*Choose the same person"):
        hmrfit.fit_sequence(
            read_keypoints(write(tmp_path / "b.json", video([0, 1], 2, False))), fps=30, image_size=SIZE
        )
    one = [p for p in read_keypoints(path) if p.track == "1"]
    assert [p.person_id for p in one] == ["1", "1"]
    assert len(hmrfit.fit_sequence(one, fps=30, image_size=(700, 480))) == 2


def test_a_track_that_changes_is_warned_of(tmp_path: Path) -> None:
    content = video([0, 1])
    content[1]["idx"] = [4.0]
    assert "'4' from here on, and '0' before" in read_frames(write(tmp_path / "a.json", content))[1].warnings[0]


def test_a_folder_with_a_file_a_frame(tmp_path: Path) -> None:
    for f in (9, 10, 12):
        person = {"pose_keypoints_2d": flat(rows("openpose25") + np.array([f, 0, 0]))}
        write(tmp_path / f"video_{f:012d}_keypoints.json", {"people": [person]})
    write(tmp_path / f"video_{11:012d}_keypoints.json", {"people": []})
    people = read_frames(tmp_path)
    assert [None if not p.confidence.any() else int(p.image) for p in people] == [9, 10, None, 12]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no people"):
        read_frames(tmp_path / "empty")


@pytest.mark.parametrize(
    ("name", "number"),
    [("0.jpg", 0), ("frame_0012.png", 12), ("v2_000000000007_keypoints.json", 7), ("a\\b\\3.jpg", 3), ("x.jpg", None)],
)
def test_the_number_in_a_frames_name(name: str, number: int | None) -> None:
    assert frame_number(name) == number


# ---- settings


def test_settings_as_a_mapping() -> None:
    fast = {"FIT": {"HYPOTHESES": 2}, "SEED": 3}
    more = {"keypoint_set": "coco17", "image_size": SIZE}
    nested, dotted = (hmrfit.load_config(c) for c in (fast, {"FIT.HYPOTHESES": 2, "SEED": 3}))
    assert nested == dotted and nested.FIT.HYPOTHESES == 2
    assert len(hmrfit.fit(None, ROWS, config=fast, **more)) == 1
    with pytest.raises(ValueError, match=r"there is no setting FIT.SIGMAS\. Did you mean 'FIT.SIGMA'"):
        hmrfit.fit(None, ROWS, config={"FIT": {"SIGMAS": 1}}, **more)


def test_openpose25_is_openposes_own_name() -> None:
    assert resolve_set("BODY_25") == resolve_set("OpenPose 25") == OPENPOSE25
