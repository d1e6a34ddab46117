"""JSON of single tools, as they write or return it, one function each, and how each is recognised."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from hmrfit.io.keypoint_files.json_parts import JsonFormat, box_of, has, joined_scores, list_of, size_of, track_of
from hmrfit.io.keypoint_files.numbers import numbers_of
from hmrfit.io.keypoint_files.openpose import read_openpose
from hmrfit.io.keypoint_files.person import Found

EASYMOCAP_SETS = {25: "openpose25", 17: "coco17", 18: "openpose18"}

MEDIAPIPE_COUNT = 33


def _is_ultralytics(content: Any) -> bool:
    return list_of("box", "confidence")(content) and any(has("x", "y")(person.get("keypoints")) for person in content)


def _ultralytics(content: Sequence[Mapping], name: str) -> Iterator[Found]:
    """[{"name": "person", "box": {"x1", ...}, "keypoints": {"x": [...], "y": [...], "visible": [...]}}, ...].

    With `normalize=True` the numbers are shares of the image.
    """
    boxes = [entry["box"] for entry in content]
    shares = all(max(abs(float(v)) for v in box.values()) <= 1.001 for box in boxes if box)
    for i, entry in enumerate(content):
        what = f"{name}, result {i}"
        keypoints = entry.get("keypoints")
        if not keypoints or not len(keypoints["x"]):
            continue
        xy = np.stack([numbers_of(keypoints[axis], what) for axis in ("x", "y")], -1)
        points = joined_scores(xy, keypoints.get("visible", keypoints.get("confidence")), what, "visible")
        box = box_of([boxes[i][corner] for corner in ("x1", "y1", "x2", "y2")], what, corners=True)
        said = "coco17" if len(points) == 17 else None
        yield Found(points, said, what, str(i), shares=shares, box=box, track=track_of(entry.get("track_id")))


def _easymocap(content: Mapping, name: str) -> Iterator[Found]:
    """{"filename", "height", "width", "annots": [{"personID", "bbox": corners, "keypoints": [[x, y, c], ...]}]}."""
    size = size_of((content.get("width"), content.get("height")), name)
    for i, person in enumerate(content["annots"]):
        what = f"{name}, annotation {i}"
        if person.get("keypoints") is None or not len(person["keypoints"]):
            continue
        points = joined_scores(person["keypoints"], None, what, "keypoints")
        given = person.get("personID", person.get("id", i))
        yield Found(
            points, EASYMOCAP_SETS.get(len(points)), what, str(given), image=content.get("filename"), image_size=size,
            box=box_of(person.get("bbox"), what, corners=True), track=track_of(given),
        )  # fmt: skip


def _openpose_list(content: Sequence[Mapping], name: str) -> Iterator[Found]:
    """[{"people": [...], "canvas_width", "canvas_height"}, ...], one for each image: ControlNet's writers."""
    for i, picture in enumerate(content):
        one = len(content) == 1
        yield from read_openpose(picture, name if one else f"{name}, image {i}", None if one else str(i))


def _is_alphapose(content: Any) -> bool:
    return (
        isinstance(content, Mapping)
        and len(content) > 0
        and all(has("people")(value) or has("bodies")(value) for value in content.values())
    )


def _alphapose(content: Mapping, name: str) -> Iterator[Found]:
    """{"photo.jpg": {"bodies": [{"joints": [...]}]}} or {"photo.jpg": OpenPose's}, its formats `cmu` and `open`."""
    for image, picture in content.items():
        people = picture.get("people") or [
            {**body, "pose_keypoints_2d": body.get("joints")} for body in picture.get("bodies", [])
        ]
        yield from read_openpose({**picture, "people": people}, f"{name}, image '{image}'", str(image))


def _is_vitpose(content: Any) -> bool:
    return has("keypoints", "skeleton")(content) and list_of()(content["keypoints"])


def _vitpose(content: Mapping, name: str) -> Iterator[Found]:
    """easy_ViTPose: {"keypoints": [{person: [[y, x, c], ...]} of each frame], "skeleton": {place: name}}."""
    skeleton = content["skeleton"]
    names = [skeleton[key] for key in sorted(skeleton, key=int)]
    one = len(content["keypoints"]) == 1
    for i, frame in enumerate(content["keypoints"]):
        for person, rows in frame.items():
            what = f"{name}, frame {i}, person {person}"
            points = joined_scores(rows, None, what, "keypoints")[:, [1, 0, 2]]
            yield Found(points, names, what, str(person), image=None if one else str(i), track=track_of(person))


def _is_landmarks(content: Any) -> bool:
    return list_of("x", "y")(content) and len(content) == MEDIAPIPE_COUNT


def _mediapipe(content: Any, name: str) -> Iterator[Found]:
    """33 landmarks {"x", "y", "z", "visibility"}, shares of the image; or a list of such people; or in "landmarks"."""
    if isinstance(content, Mapping):
        content = next(content[key] for key in LANDMARK_KEYS if key in content)
    people = [content] if _is_landmarks(content) else content
    for i, landmarks in enumerate(people):
        what = f"{name}, person {i}"
        rows = landmarks["landmark"] if isinstance(landmarks, Mapping) else landmarks
        scores = [mark.get("visibility", mark.get("presence")) for mark in rows]
        points = joined_scores(
            [[mark["x"], mark["y"]] for mark in rows], None if None in scores else scores, what, "visibility"
        )
        yield Found(points, "mediapipe33", what, str(i), shift=0.0, shares=True)


LANDMARK_KEYS = ("pose_landmarks", "poseLandmarks", "landmarks", "landmark")

OTHER_FORMATS = (
    JsonFormat("ultralytics", _is_ultralytics, _ultralytics),
    JsonFormat("EasyMocap", has("annots"), _easymocap),
    JsonFormat("ControlNet", list_of("people"), _openpose_list),
    JsonFormat("easy_ViTPose", _is_vitpose, _vitpose),
    JsonFormat("MediaPipe", _is_landmarks, _mediapipe),
    JsonFormat("MediaPipe", lambda content: isinstance(content, list | tuple) and len(content) > 0
               and all(map(_is_landmarks, content)), _mediapipe),
    JsonFormat("MediaPipe", lambda content: any(has(key)(content) for key in LANDMARK_KEYS), _mediapipe),
    JsonFormat("AlphaPose", _is_alphapose, _alphapose),
)  # fmt: skip
"""Tried in this order."""
