"""Hands in keypoint files: of the tools that find hands, of whole-body keypoints, and of arrays.

    MediaPipe hands       fractions of the image; which hand by `handedness`, see below; their `visibility` says nothing
    MediaPipe holistic    left_hand_landmarks, right_hand_landmarks: the person's own sides
    OpenPose              hand_left_keypoints_2d, hand_right_keypoints_2d beside each person
    COCO-WholeBody        lefthand_kpts, righthand_kpts beside each annotation
    133, 135, 136, 308    whole-body keypoints in any format of bodies: their two hands
    arrays, tables        (21, 3) of a set of hands; the caller says which hand it is

The 21 points are hand21's but in arrays, where the caller may name another set. A hand of which nothing is seen is left
out. MediaPipe's `handedness` is that of a mirrored picture, as a selfie camera shows it: in an ordinary photograph its
"Left" is the person's right hand. So the two are exchanged here unless `mirrored=True` says that the picture is one.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hmrfit.camera import PIXEL_CENTER
from hmrfit.hand_keypoints import HAND_SETS, HAND_SIDES, USUAL_SETS, hand_set
from hmrfit.io import bounded
from hmrfit.io.keypoint_files.json_formats import has, list_of, lists_of, person_of, triples
from hmrfit.io.keypoint_files.numbers import numbers_of
from hmrfit.io.keypoint_files.person import Found, PersonKeypoints, finish, unreadable
from hmrfit.io.keypoint_files.readers import read_keypoints
from hmrfit.keypoints import SETS_BY_COUNT, KeypointsFrom, find_set
from hmrfit.ops.check import brief_repr

POINTS = 21

MEDIAPIPE_HANDS = ("hand_landmarks", "handLandmarks", "multi_hand_landmarks", "multiHandLandmarks")
MEDIAPIPE_SIDES = ("handedness", "handednesses", "multi_handedness", "multiHandedness")
HOLISTIC = {side: (f"{side}_hand_landmarks", f"{side}HandLandmarks") for side in HAND_SIDES}
OPENPOSE = {side: (f"hand_{side}_keypoints_2d", f"hand_{side}_keypoints") for side in HAND_SIDES}
WHOLEBODY = {side: f"{side}hand_kpts" for side in HAND_SIDES}

OTHER = {"left": "right", "right": "left"}

Sided = tuple[str | None, Found]
"""Which hand, as far as the file says it, and its points."""


@dataclass(frozen=True)
class HandFormat:
    """How one format with hands is recognised in a parsed file, and read."""

    name: str
    recognises: Callable[[Any], bool]
    read: Callable[[Any, str, bool], Iterator[Sided]]
    made_by: KeypointsFrom = "detector"


def side_of_hand(person: PersonKeypoints) -> str | None:
    """ "left" or "right" of one hand's keypoints; None of others."""
    sides = {name.split("_")[0] for name in person.names}
    return sides.pop() if len(sides) == 1 and sides <= set(HAND_SIDES) else None


def read_hands_of_file(
    path: str | os.PathLike,
    side: str | None = None,
    keypoint_set: str | Sequence[str | None] | None = None,
    image_size: tuple[int, int] | None = None,
    mirrored: bool = False,
) -> list[PersonKeypoints]:
    """The hands of a keypoint file; see `hmrfit.read_hand_keypoints`."""
    path, what = Path(path), f"'{path}'"
    own = None
    if path.suffix.lower() == ".json" and path.is_file():
        content = bounded.read_json(path)
        form = next((form for form in HAND_FORMATS if form.recognises(content)), None)
        if form is not None:
            try:
                sided = list(form.read(content, what, mirrored))
            except (KeyError, TypeError, AttributeError, IndexError) as error:
                reason = f"{type(error).__name__}: {error}"
                raise ValueError(f"{what} looks like {form.name}, but is built differently ({reason}).") from error
            return _finished(sided, form, path, side, keypoint_set or "hand21", image_size)
        own = _own_side(content)
    if own is not None:
        return [] if side not in (None, own) else _one_hand(path, own, keypoint_set, image_size)
    whole = _whole_body(path, side, image_size) if keypoint_set is None else None
    return whole if whole is not None else _one_hand(path, side, keypoint_set, image_size)


def _own_side(content: Any) -> str | None:
    """Which hand hmrfit's own JSON says: {"format": "hand21", "side": "left", "keypoints": [[x, y, c], ...]}."""
    said = content.get("side") if has("keypoints", "side")(content) else None
    return said if said in HAND_SIDES else None


def _finished(
    sided: Sequence[Sided],
    form: HandFormat,
    path: Path,
    side: str | None,
    keypoint_set: str | Sequence[str | None],
    image_size: tuple[int, int] | None,
) -> list[PersonKeypoints]:
    """Those of the wanted side, in our pixels. A file of one hand is read as the side that the caller says."""
    hands: list[PersonKeypoints] = []
    problems: list[str] = []
    for own, found in sided:
        if own is None and side is None:
            raise ValueError(f"{found.what} does not say which hand it is: side='left' or 'right', the person's own.")
        which = own or side
        if side in (None, which):
            asked = hand_set(keypoint_set, str(which))
            try:
                hands += finish([replace(found, made_by=form.made_by)], path, asked.layout, image_size)
            except ValueError as error:
                problems.append(str(error))
                hands.append(unreadable(found, asked.names, str(error), path))
    if problems and len(problems) == len(hands):
        raise ValueError(problems[0])
    return hands


# ---- the formats


def _points(landmarks: Any, what: str) -> np.ndarray:
    """(21, 2) of MediaPipe's landmarks, as objects of x, y, z or as lists."""
    marks = landmarks.get("landmark", landmarks.get("landmarks")) if isinstance(landmarks, Mapping) else landmarks
    rows = [[m["x"], m["y"]] if isinstance(m, Mapping) else list(m)[:2] for m in marks]
    points = numbers_of(rows, what)
    if points.shape != (POINTS, 2):
        raise ValueError(f"{what}: MediaPipe's hands have {POINTS} landmarks with x and y, not {points.shape}.")
    return points


def _landmarks(marks: Any, what: str, number: int) -> Found:
    return person_of(
        lambda: Found(_points(marks, what), None, what, str(number), shift=0.0, fractions=True), what, number
    )


def _said_side(said: Any) -> str | None:
    """Of one entry of `handedness`, in any of MediaPipe's forms: its best category."""
    while isinstance(said, Sequence) and not isinstance(said, str) and said:
        said = said[0]
    if isinstance(said, Mapping):
        inner = next((said[k] for k in ("classification", "categories") if k in said), None)
        if inner is not None:
            return _said_side(inner)
        said = next((said[k] for k in ("categoryName", "category_name", "label", "displayName") if k in said), None)
    word = str(said).strip().lower()
    return word if word in HAND_SIDES else None


def _mediapipe(content: Mapping[str, Any], name: str, mirrored: bool) -> Iterator[Sided]:
    """{"hand_landmarks": [21 of x, y, z, ...], "handedness": [[{"category_name": "Left"}], ...]}, and its other
    spellings in Python and JavaScript, of the older solutions and of the newer tasks."""
    hands = _first(content, (*MEDIAPIPE_HANDS, "landmarks")) or []
    sides = _first(content, MEDIAPIPE_SIDES) or []
    for i, marks in enumerate(hands):
        said = _said_side(sides[i]) if i < len(sides) else None
        side = said if said is None or mirrored else OTHER[said]
        yield side, _landmarks(marks, f"{name}, hand {i}", i)


def _holistic(content: Mapping[str, Any], name: str, mirrored: bool) -> Iterator[Sided]:
    """{"left_hand_landmarks": ..., "right_hand_landmarks": ...} of one person."""
    for i, (side, keys) in enumerate(HOLISTIC.items()):
        marks = _first(content, keys)
        if marks and (not isinstance(marks, Mapping) or marks.get("landmark")):
            nested = not isinstance(marks, Mapping) and isinstance(marks[0], Sequence) and len(marks) == 1
            yield side, _landmarks(marks[0] if nested else marks, f"{name}, {side} hand", i)


def _bare(content: Sequence[Any], name: str, mirrored: bool) -> Iterator[Sided]:
    """Landmarks alone, of one hand or of several."""
    hands = [content] if isinstance(content[0], Mapping) else content
    for i, marks in enumerate(hands):
        yield None, _landmarks(marks, f"{name}, hand {i}" if len(hands) > 1 else name, i)


def _first(content: Mapping[str, Any], keys: Sequence[str]) -> Any:
    return next((content[key] for key in keys if content.get(key) is not None), None)


def _openpose(content: Mapping[str, Any], name: str, mirrored: bool) -> Iterator[Sided]:
    """Both hands of each person; OpenPose writes zeros for a hand that it has not found."""
    for i, person in enumerate(content["people"] or []):
        for side, keys in OPENPOSE.items():
            flat = _first(person, keys)
            if flat and any(flat):
                what = f"{name}, person {i}, {side} hand"
                yield side, person_of(partial(_flat, flat, what, str(i)), what, i)


def _flat(flat: Sequence[float], what: str, person_id: str, image: str | None = None) -> Found:
    """x, y, confidence of 21 points, pixel centres at integers."""
    points = triples(flat, what)
    if len(points) != POINTS:
        raise ValueError(f"{what}: a hand has {POINTS} points, not {len(points)}.")
    return Found(points, None, what, person_id, PIXEL_CENTER, image=image)


def _wholebody(content: Mapping[str, Any], name: str, mirrored: bool) -> Iterator[Sided]:
    """{"images": [...], "annotations": [{"lefthand_kpts": [...], "lefthand_valid": true, ...}]}."""
    images = {image["id"]: image for image in content["images"]}
    for annotation in content["annotations"]:
        number = annotation.get("id", 0)
        image = images.get(annotation.get("image_id"), {})
        called = image.get("file_name") or str(annotation.get("image_id"))
        for side, key in WHOLEBODY.items():
            flat = annotation.get(key)
            if flat and any(flat) and annotation.get(f"{side}hand_valid", True):
                what = f"{name}, annotation {number}, {side} hand"
                yield side, person_of(partial(_flat, flat, what, str(number), called), what, number, called)


def _has_one_of(*keys: str) -> Callable[[Any], bool]:
    return lambda content: isinstance(content, Mapping) and any(key in content for key in keys)


def _people_with_hands(content: Any) -> bool:
    keys = [key for own in OPENPOSE.values() for key in own]
    return has("people")(content) and any(_has_one_of(*keys)(person) for person in content["people"] or [])


def _annotated_hands(content: Any) -> bool:
    return has("images", "annotations")(content) and any(
        _has_one_of(*WHOLEBODY.values())(annotation) for annotation in content["annotations"][:1]
    )


def _are_landmarks(content: Any) -> bool:
    """21 of x, y, z; or lists of these."""
    one = list_of("x", "y")(content) and len(content) == POINTS
    return one or (lists_of("x", "y")(content) and all(len(hand) == POINTS for hand in content))


HAND_FORMATS = (
    HandFormat("OpenPose's hands", _people_with_hands, _openpose),
    HandFormat("COCO-WholeBody", _annotated_hands, _wholebody, "labelled"),
    HandFormat("MediaPipe holistic", _has_one_of(*(k for own in HOLISTIC.values() for k in own)), _holistic),
    HandFormat("MediaPipe hands", _has_one_of(*MEDIAPIPE_HANDS), _mediapipe),
    HandFormat("MediaPipe hands", _has_one_of(*MEDIAPIPE_SIDES), _mediapipe),
    HandFormat("MediaPipe hands", _are_landmarks, _bare),
)
"""The first that recognises a file reads it."""


# ---- the formats of bodies, and arrays


def _whole_body(path: Path, side: str | None, image_size: tuple[int, int] | None) -> list[PersonKeypoints] | None:
    """The hands of whole-body keypoints; None where the file has none of their numbers of points."""
    for name in SETS_BY_COUNT.values():
        layout = find_set(name).layout
        hands: list[PersonKeypoints] = []
        for own in HAND_SIDES if side is None else (side,):
            names = set(hand_set("hand21", own).names)
            part = tuple(point if point in names else None for point in layout)
            if not any(part):
                break
            try:
                hands += read_keypoints(path, part, image_size)
            except ValueError:
                break
        else:
            return hands
    return None


def _one_hand(
    path: Path,
    side: str | None,
    keypoint_set: str | Sequence[str | None] | None,
    image_size: tuple[int, int] | None,
) -> list[PersonKeypoints]:
    """Arrays and tables of one hand's points, or of several hands of one side."""
    if side is None:
        raise ValueError(f"'{path}' does not say which hand it is: side='left' or 'right', the person's own.")
    if keypoint_set is not None:
        return read_keypoints(path, hand_set(keypoint_set, side).layout, image_size)
    wrong = None
    for name in USUAL_SETS.values():
        try:
            return read_keypoints(path, hand_set(name, side).layout, image_size)
        except ValueError as error:
            wrong = wrong or error
    raise ValueError(f"{wrong} Or name a set of hands as keypoint_set: {', '.join(HAND_SETS)}.") from wrong


def check_side(side: object) -> None:
    """Raises ValueError for anything but "left", "right" and None."""
    if side is not None and side not in HAND_SIDES:
        raise ValueError(f"side should be 'left' or 'right', the person's own, not {brief_repr(side)}.")
