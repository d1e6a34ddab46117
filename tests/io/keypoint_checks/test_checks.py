"""What geometry tells about keypoints, both ways: silent on right ones, speaking on wrong ones."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hmrfit.io.keypoint_checks import check_keypoints
from hmrfit.io.keypoint_checks.order import unevenness
from hmrfit.io.keypoint_files import PersonKeypoints, read_keypoints
from hmrfit.keypoints import base_name, mirrored_name, resolve_set

SIZE = (640, 480)

FRONT = {
    "nose": (320, 90), "left_eye": (327, 84), "right_eye": (313, 84), "left_ear": (334, 88), "right_ear": (306, 88),
    "neck": (320, 120), "left_shoulder": (350, 125), "right_shoulder": (290, 125), "left_elbow": (368, 175),
    "right_elbow": (272, 175), "left_wrist": (375, 220), "right_wrist": (265, 220), "pelvis": (320, 220),
    "left_hip": (338, 222), "right_hip": (302, 222), "left_knee": (342, 300), "right_knee": (298, 300),
    "left_ankle": (344, 372), "right_ankle": (296, 372), "spine": (320, 170), "jaw": (320, 108), "head": (320, 65),
    "left_big_toe": (352, 385), "right_big_toe": (288, 385), "left_small_toe": (358, 382), "left_heel": (343, 378),
    "right_small_toe": (282, 382), "right_heel": (297, 378), "spine1": (320, 200), "spine2": (320, 180),
    "spine3": (320, 160), "left_foot": (352, 385), "right_foot": (288, 385), "left_collar": (330, 125),
    "right_collar": (310, 125), "left_hand": (377, 235), "right_hand": (263, 235),
}  # fmt: skip
"""Somebody standing upright, facing the camera: their left is on the picture's right."""


def beside(name: str) -> tuple[float, float]:
    """Where MediaPipe's own points lie: beside the eyes, at the mouth, at the wrists and the toes."""
    side = 1 if name.startswith("left") else -1
    nearby = {"eye_inner": (4, 84), "eye_outer": (10, 84), "mouth": (5, 98), "index": (57, 236), "heel": (23, 378)}
    dx, y = next((at for part, at in nearby.items() if part in name), (55, 230))
    return (320 + side * dx, y) if "foot" not in name else (320 + side * 32, 385)


FACE = ("eye", "ear")
LEGS = ("knee", "ankle", "toe", "heel")
ARMS = ("elbow", "wrist")


def standing(keypoint_set: str = "coco17") -> np.ndarray:
    names = resolve_set(keypoint_set)
    return np.array([FRONT[n] if n in FRONT else FRONT[base_name(n)] for n in names], np.float64)


def seen_from_the_side():
    """(17, 2) of someone at attention, a tenth as wide as from the front."""
    xy = standing()
    xy[:, 0] = 320 + 0.1 * (xy[:, 0] - 320)
    return xy


def seen_from_behind() -> tuple[np.ndarray, np.ndarray]:
    """The same person turned about: everything mirrored, the face unseen, the ears seen."""
    xy, confidence = standing(), np.ones(17)
    xy[:, 0] = 640 - xy[:, 0]
    confidence[:3] = 0
    return xy, confidence


def swapped(names: tuple[str, ...], values: np.ndarray, parts: tuple[str, ...]) -> np.ndarray:
    """The rows of those parts with left and right exchanged."""
    order = [names.index(mirrored_name(n)) if any(p in n for p in parts) else i for i, n in enumerate(names)]
    return values[order]


# Silence


@pytest.mark.parametrize(
    "name", ["coco17", "h36m17", "smpl24", "spin24", "openpose25", "openpose25b", "lsp14", "mpii16"]
)
def test_a_standing_person_is_well_in_every_set(name):
    assert check_keypoints(name, standing(name), image_size=SIZE) == []


def test_a_person_from_behind_is_well():
    assert check_keypoints("coco17", *seen_from_behind(), SIZE) == []


def test_a_person_in_any_direction_of_the_picture_is_well():
    """Lying, or on their head: the sides are those of the body, not of the picture."""
    for angle in np.linspace(0, 2 * np.pi, 13):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        assert check_keypoints("coco17", (standing() - 240) @ turn + [320, 240], image_size=SIZE) == []


def test_a_person_from_the_side_gets_no_warning_about_sides():
    assert check_keypoints("coco17", seen_from_the_side(), image_size=SIZE) == []


def test_crossed_ankles_or_wrists_are_not_swapped_limbs():
    names, xy = resolve_set("coco17"), standing()
    assert check_keypoints(names, swapped(names, xy, ("ankle",)), image_size=SIZE) == []
    assert check_keypoints(names, swapped(names, xy, ("wrist",)), image_size=SIZE) == []


def test_keypoints_of_low_confidence_do_not_count():
    """A detector's hidden hand or ear, found somewhere with a confidence of 0.1, does not count."""
    names, xy, confidence = resolve_set("coco17"), standing(), np.ones(17)
    xy = swapped(names, xy, (*ARMS, "ear"))
    confidence[[3, 4, 7, 8, 9, 10]] = 0.1
    assert check_keypoints(names, xy, confidence, SIZE) == []


def test_inputs_stay():
    xy, confidence = seen_from_behind()
    before = xy.copy(), confidence.copy()
    check_keypoints("coco17", xy, confidence, SIZE)
    np.testing.assert_array_equal(xy, before[0])
    np.testing.assert_array_equal(confidence, before[1])


# Sides


@pytest.mark.parametrize("name", ["coco17", "openpose25"])
@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (("left", "right"), "The whole body may have left and right swapped: the face is seen from the front"),
        (FACE, "The face may have left and right swapped"),
        (("shoulder", "hip", *ARMS, *LEGS), "Everything but the face may have"),
        (("shoulder", *ARMS), "Shoulders or hips may have"),
        (LEGS, "The legs may have left and right swapped"),
        (ARMS, "The arms may have left and right swapped"),
    ],
)
def test_swapped_sides_are_named(name, parts, message):
    names = resolve_set(name)
    warnings = check_keypoints(names, swapped(names, standing(name), parts), image_size=SIZE)
    assert len(warnings) == 1
    assert warnings[0].startswith(message)
    assert warnings[0].endswith("`left_` means the person's own left.")


def test_swapped_sides_from_behind():
    names = resolve_set("coco17")
    xy, confidence = seen_from_behind()
    (warning,) = check_keypoints(names, swapped(names, xy, ("left", "right")), confidence, SIZE)
    assert "of the head only ears are seen" in warning


# Sets

PAIRS = [("coco17", "h36m17"), ("h36m17", "coco17"), ("smpl24", "spin24"), ("spin24", "smpl24"),
         ("openpose25", "openpose25b"), ("openpose25b", "openpose25")]  # fmt: skip


@pytest.mark.parametrize(("true", "given"), PAIRS)
def test_a_wrong_set_of_the_same_size_is_named(true, given):
    (warning,) = check_keypoints(given, standing(true), image_size=SIZE)
    assert f"a more likely body as '{true}'" in warning


@pytest.mark.parametrize(("name", "share"), [("openpose25", 0.8), ("coco17", 0.6), ("lsp14", 0.35)])
def test_an_order_that_no_set_has(name, share):
    """Shuffled keypoints: the fewer there are, and the narrower the person, the more often chance makes a body."""
    xy = standing(name)
    orders = [np.random.default_rng(i).permutation(len(xy)) for i in range(200)]
    assert np.mean([bool(check_keypoints(name, xy[order], image_size=SIZE)) for order in orders]) > share


def test_unevenness_of_bones_in_random_directions():
    """E[log 1/sin θ] = 1 − log 2 for directions uniform on the sphere."""
    names, rng, values = resolve_set("coco17"), np.random.default_rng(0), []
    index = {n: i for i, n in enumerate(names)}
    for _ in range(300):
        xy = np.zeros((17, 2))
        for side in ("left", "right"):
            at = np.zeros(3)
            for part, share in (
                ("hip_coco", -1.0),
                ("knee_coco", 0.85),
                ("ankle", 0.8),
                ("shoulder_coco", 0),
                ("elbow", 0.6),
                ("wrist", 0.5),
            ):
                at = np.zeros(3) if part == "shoulder_coco" else at
                direction = rng.standard_normal(3)
                at = at + 100 * share * direction / np.linalg.norm(direction)
                xy[index[f"{side}_{part}"]] = at[:2]
        values.append(unevenness(names, xy, np.ones(17, bool)))
    assert np.mean(values) == pytest.approx(1 - np.log(2), abs=0.03)  # the longest is a little short of its length
    assert np.quantile(values, 0.999) < 1.0


# Frames


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda xy: xy / [640, 480], "look normalised"),
        (lambda xy: xy / [320, 240] - 1, "look normalised"),
        (lambda xy: xy / 100 + 50, "spans only 2.9 pixels"),
        (lambda xy: xy * 3, r"lie far outside of the image of 640 × 480 pixels \(x 795 to 1125"),
        (lambda xy: xy - 500, "Are they of another image, crop or scale"),
    ],
)
def test_another_frame_is_named(change, message):
    warnings = check_keypoints("coco17", change(standing()), image_size=SIZE)
    assert len(warnings) == 1
    assert re.search(message, warnings[0])


def test_exchanged_rows_and_columns_are_named():
    tall = standing() * [0.5, 1] * 2
    (warning,) = check_keypoints("coco17", tall[:, ::-1], image_size=(400, 800))
    assert "With x and y exchanged they would fit" in warning


def test_a_person_partly_outside_is_well():
    xy = standing() + np.array([0, 130])  # cut off below the knees
    assert check_keypoints("coco17", xy, image_size=SIZE) == []


def test_a_person_without_seen_keypoints():
    assert check_keypoints("coco17", standing(), np.zeros(17)) == [
        "No keypoint has a confidence above 0: no person is seen."
    ]
    one = np.eye(17)[5]
    (warning,) = check_keypoints("coco17", standing(), one, SIZE)
    assert warning.startswith("Only 1 of 17 keypoints")
    assert check_keypoints("coco17", np.full((17, 2), np.nan), np.ones(17))[0].startswith("No keypoint")


def test_zeros_that_count_as_seen():
    xy = standing()
    xy[[3, 9]] = 0
    (warning,) = check_keypoints("coco17", xy, image_size=SIZE)
    assert warning.startswith("2 keypoints lie at exactly (0, 0)")


# What is no body


@pytest.mark.parametrize("place", [(100.0, 200.0), (0.0, 0.0), (0.5, 0.5)])
def test_all_on_one_spot_is_named(place):
    (warning,) = check_keypoints("coco17", np.tile(place, (17, 1)), image_size=SIZE)
    assert "lie at one spot" in warning


@pytest.mark.parametrize("direction", [(1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (-3.0, 1.0)])
def test_all_on_one_line_is_named(direction, rng):
    along = rng.permutation(np.linspace(-1, 1, 17))[:, None]
    xy = np.array([320, 240]) + 60 * along * direction + 0.1 * rng.standard_normal((17, 2))
    (warning,) = check_keypoints("coco17", xy, image_size=SIZE)
    assert warning.startswith("All 17 keypoints lie on one line")


def test_a_thin_person_is_no_line():
    """Standing at attention, seen from the side: 4 % as wide as high."""
    assert check_keypoints("coco17", seen_from_the_side(), image_size=SIZE) == []


def test_a_heap_of_keypoints_is_named():
    names, xy = resolve_set("coco17"), standing()
    xy[[names.index(part) for part in ("left_wrist", "right_knee_coco", "left_hip_coco")]] = 300.0
    (warning,) = check_keypoints(names, xy, image_size=SIZE)
    assert warning.startswith("3 keypoints lie at exactly one spot, (300, 300)")


def test_a_small_face_may_be_one_pixel():
    names, xy = resolve_set("coco17"), standing()
    xy[:5] = xy[0]
    assert not any("one spot" in warning for warning in check_keypoints(names, xy, image_size=SIZE))


@pytest.mark.parametrize("far", [1e4, -1e6, 1e9])
def test_a_stray_keypoint_is_named(far):
    names, xy = resolve_set("coco17"), standing()
    xy[names.index("left_wrist"), 0] = far
    (warning,) = check_keypoints(names, xy, image_size=SIZE)
    assert warning.startswith("Far from the person's other keypoints") and "lie left_wrist." in warning


@pytest.mark.parametrize("name", ["coco17", "openpose25", "h36m17", "lsp14", "mpii16", "mediapipe33"])
@given(seed=st.integers(0, 10**6), share=st.floats(0, 0.7))
def test_missing_keypoints_are_no_other_order(name, seed, share):
    """Whatever is unseen, what is seen has the right names, and lies neither on one line nor on one heap."""
    xy = np.array([FRONT.get(n) or FRONT.get(base_name(n)) or beside(n) for n in resolve_set(name)], np.float64)
    seen = np.random.default_rng(seed).random(len(xy)) >= share
    for warning in check_keypoints(name, np.where(seen[:, None], xy, 0), seen.astype(float), SIZE):
        assert warning.startswith(("Only", "No keypoint")) or "left and right swapped" in warning


@pytest.mark.parametrize(("xy", "confidence"), [(np.zeros((16, 2)), None), (np.zeros((17, 2)), np.ones(16))])
def test_as_many_names_as_keypoints(xy, confidence):
    with pytest.raises(ValueError, match="should have the shape"):
        check_keypoints("coco17", xy, confidence)


@pytest.mark.filterwarnings("error")
@given(
    arrays(np.float64, (17, 2), elements=st.sampled_from([np.nan, -1e9, 0.0, 5.0, 5.0, 100.0, 333.3, 1e9])),
    arrays(np.float64, 17, elements=st.sampled_from([0.0, 0.1, 1.0])),
)
def test_any_numbers_get_sentences(xy, confidence):
    """Coinciding, missing and wild keypoints: never an error, never a division by nothing."""
    assert all(isinstance(w, str) for w in check_keypoints("coco17", xy, confidence, SIZE))


# Real people


@pytest.fixture(scope="module")
def people(shared) -> list[PersonKeypoints]:
    return [read_keypoints(path)[0] for path in sorted((shared / "photos").glob("*.json"))]


def test_no_false_alarm_on_real_photographs(people):
    for person in people:
        assert check_keypoints(person.names, person.xy, person.confidence, person.image_size) == []


@pytest.mark.parametrize(
    ("parts", "least"),
    [(("left", "right"), 18), (LEGS, 14), (ARMS, 19), ((*LEGS, "hip"), 20), ((*ARMS, "shoulder"), 20), (FACE, 13)],
)
def test_most_swaps_on_real_photographs_are_found(people, parts, least):
    """Of 22 people; the others are seen from the side, from behind without ears, or with limbs at one place."""
    found = [
        check_keypoints(p.names, swapped(p.names, p.xy, parts), swapped(p.names, p.confidence, parts), p.image_size)
        for p in people
    ]
    assert sum(map(bool, found)) >= least


def test_most_wrong_sets_on_real_photographs_are_found(people):
    given = {"coco17": "h36m17", "openpose25": "openpose25b"}
    sets = [next(g for t, g in given.items() if resolve_set(t) == p.names) for p in people]
    found = [check_keypoints(s, p.xy, p.confidence, p.image_size) for s, p in zip(sets, people, strict=True)]
    assert sum(bool(w) and "a more likely body as" in w[0] for w in found) >= 19
