"""The JSON formats: one function each, from the parsed file to its people; `JSON_FORMATS` says how each is recognised.

A format is added with one function, (what the file holds, its name for errors) -> people as `Found`, and one row in
that table. What formats have in common (flat lists, boxes, sizes, tracks) comes first.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmrfit.io.keypoint_files import named_points
from hmrfit.io.keypoint_files.array_formats import people_of_array
from hmrfit.io.keypoint_files.names import DeclaredSet, match_names
from hmrfit.io.keypoint_files.numbers import numbers_of, size_of
from hmrfit.io.keypoint_files.person import Box, Found
from hmrfit.keypoints import SOURCES, KeypointsFrom
from hmrfit.ops.check import brief_repr
from hmrfit.ops.how_many import how_many

AIC14 = (
    "right_shoulder_coco", "right_elbow", "right_wrist", "left_shoulder_coco", "left_elbow", "left_wrist",
    "right_hip_lsp", "right_knee_coco", "right_ankle", "left_hip_lsp", "left_knee_coco", "left_ankle", "head_top",
    "neck_lsp",
)  # fmt: skip
CROWDPOSE14 = (
    "left_shoulder_coco", "right_shoulder_coco", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
    "left_hip_lsp", "right_hip_lsp", "left_knee_coco", "right_knee_coco", "left_ankle", "right_ankle", "head_top",
    "neck_lsp",
)  # fmt: skip
POSETRACK17 = (
    "nose", "neck_lsp", "head_top", "left_ear", "right_ear", "left_shoulder_coco", "right_shoulder_coco", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip_coco", "right_hip_coco", "left_knee_coco", "right_knee_coco",
    "left_ankle", "right_ankle",
)  # fmt: skip

MMPOSE_SETS: dict[str, DeclaredSet] = {
    "coco": "coco17", "mpii": "mpii16", "h36m": "h36m17", "lsp": "lsp14", "halpe26": "halpe26", "halpe": "halpe136",
    "coco_wholebody": "coco_wholebody133", "goliath": "goliath308", "aic": AIC14, "crowdpose": CROWDPOSE14,
    "posetrack18": POSETRACK17,
}  # fmt: skip
"""MMPose's `dataset_name` -> our set, or its names."""

OPENPOSE_SETS = {25: "openpose25", 18: "openpose18"}
EASYMOCAP_SETS = {25: "openpose25", 17: "coco17", 18: "openpose18"}

MEDIAPIPE_COUNT = 33
LANDMARK_KEYS = ("pose_landmarks", "poseLandmarks", "landmarks", "landmark")


@dataclass(frozen=True)
class JsonFormat:
    """How one format is recognised in a parsed file, and read."""

    name: str
    recognises: Callable[[Any], bool]
    read: Callable[[Any, str], Iterator[Found]]
    made_by: KeypointsFrom | None = "detector"  # None: the file may say it


def has(*keys: str) -> Callable[[Any], bool]:
    """A dictionary with these keys."""
    return lambda content: isinstance(content, Mapping) and all(key in content for key in keys)


def list_of(*keys: str) -> Callable[[Any], bool]:
    """A list of dictionaries with these keys."""
    return lambda content: isinstance(content, list | tuple) and len(content) > 0 and all(map(has(*keys), content))


def lists_of(*keys: str) -> Callable[[Any], bool]:
    """A list of such lists."""
    return lambda content: isinstance(content, list | tuple) and len(content) > 0 and all(map(list_of(*keys), content))


def person_of(make: Callable[[], Found], what: str, person_id: Any, image: Any = None) -> Found:
    """One of the people of a file; one who is broken is noted as such, and the others are read."""
    try:
        return make()
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
        known = isinstance(error, ValueError)
        problem = str(error) if known else f"{what} is built differently ({type(error).__name__}: {error})."
        return Found(np.zeros((0, 2)), None, what, str(person_id), image=image, problem=problem)


def triples(values: Any, what: str) -> NDArray:
    """A flat list x, y, c, x, y, c, ... -> (K, 3)."""
    flat = numbers_of(values, what)
    if flat.ndim == 2 and flat.shape[1] == 3:
        return flat
    if flat.ndim != 1 or flat.size % 3 or not flat.size:
        raise ValueError(
            f"{what}: expected x, y, confidence for each keypoint, but there are {how_many(flat.size, 'numbers')}."
        )
    return flat.reshape(-1, 3)


def joined_scores(xy: Any, scores: Any, what: str, called: str) -> NDArray:
    """[[x, y], ...] and its list of scores (or None) -> (K, 3), or (K, 2) without scores."""
    points = numbers_of(xy, what)
    if points.ndim != 2 or points.shape[1] not in (2, 3):
        raise ValueError(f"{what}: 'keypoints' should be a list of [x, y], but has the shape {points.shape}.")
    if scores is None:
        return points
    confidence = numbers_of(scores, what)
    if confidence.shape != points.shape[:1]:
        raise ValueError(
            f"{what}: {how_many(len(points), 'keypoints')}, but {called} has the shape {confidence.shape}."
        )
    return np.concatenate([points[:, :2], confidence[:, None]], 1)


def box_of(values: Any, what: str, corners: bool = False) -> Box | None:
    """[x, y, width, height], or two corners; None where there is none."""
    if values is None:
        return None
    box = numbers_of(values, f"{what}, bbox").ravel()
    if box.size < 4 or not np.isfinite(box[:4]).all():
        raise ValueError(f"{what}: a box should be four numbers, but is {values}.")
    x, y, width, height = box[:4] - (np.array([0, 0, *box[:2]]) if corners else 0)
    if width < 0 or height < 0:
        raise ValueError(f"{what}: the box has the negative size {width:g} × {height:g}. Expected x, y, width, height.")
    return float(x), float(y), float(width), float(height)


def track_of(value: Any) -> str | None:
    """The number of a track, as trackers write it: 3, 3.0, [3.0]; None and −1 are none."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = value[0] if len(value) == 1 else None
    if value is None or value == -1 or isinstance(value, Mapping):
        return None
    return f"{value:g}" if isinstance(value, int | float) else str(value)


# ---- OpenPose


def _openpose(content: Mapping[str, Any], name: str, image: str | None = None) -> Iterator[Found]:
    """{"people": [{"person_id": [-1], "pose_keypoints_2d": [x, y, c, ...]}]}; hands and faces are left out.

    `canvas_width` and `canvas_height`, as ControlNet's and DWPose's writers add them, are the size of the image; where
    all coordinates are within [0, 1], they are fractions of it.
    """
    size = size_of((content.get("canvas_width"), content.get("canvas_height")), name)
    people: list[Found] = []
    for i, person in enumerate(content["people"] or []):
        what = f"{name}, person {i}"
        body = person.get("pose_keypoints_2d", person.get("pose_keypoints"))
        if body is None or body == []:
            continue  # a hand or a face without its body
        people.append(
            person_of(partial(_openpose_person, body, person.get("person_id"), i, what, image, size), what, i, image)
        )
    fractions = size is not None and all(np.nanmax(p.points[:, :2], initial=0) <= 1 for p in people)
    yield from (replace(p, fractions=fractions) for p in people)


def _openpose_person(
    body: Sequence[float], given: Any, index: int, what: str, image: str | None, size: tuple[int, int] | None
) -> Found:
    points = triples(body, what)
    given = next(iter(given), None) if isinstance(given, Sequence) and not isinstance(given, str) else given
    known = given not in (-1, None)
    declared = OPENPOSE_SETS.get(len(points))
    return Found(
        points, declared, what, str(given if known else index), image=image, image_size=size, track=track_of(given)
    )


# ---- COCO, MMPose


def _coco_annotations(content: Mapping[str, Any], name: str) -> Iterator[Found]:
    """{"images": [...], "annotations": [...], "categories": [...]}; without crowds and people without keypoints."""
    images = {str(image["id"]): image for image in _listed(content["images"])}
    named = {str(c.get("id")): point_names(c.get("keypoints")) for c in _listed(content.get("categories") or [])}
    human = {key for key, names in named.items() if names and _is_human(names, name)}
    for annotation in _listed(content["annotations"]):
        if annotation.get("iscrowd") or not annotation.get("keypoints"):
            continue
        what = f"{name}, annotation {annotation.get('id')}"
        category = str(annotation.get("category_id"))
        if named.get(category) and category not in human and human:
            continue  # the animal beside a person
        image_id = annotation.get("image_id")
        image = images.get(str(image_id), {})
        called = image.get("file_name") or str(image_id)
        make = partial(_coco_person, annotation, category, named, human, image, called, what)
        yield person_of(make, what, annotation.get("id", 0), called)


def _listed(entries: Any) -> list[Mapping[str, Any]]:
    """Entries of a list; some tools write {id: entry}, or the only entry alone."""
    if isinstance(entries, Mapping):
        entries = list(entries.values()) if all(isinstance(e, Mapping) for e in entries.values()) else [entries]
    return list(entries)


def point_names(names: Any) -> list[str | None]:
    """The names of a file's points, in its order: a list of them, of {"name"}, {place: name}, or "nose, left_eye"."""
    if isinstance(names, Mapping):
        names = [names[key] for key in sorted(names, key=int)]
    if isinstance(names, str):
        names = [name.strip() for name in names.split(",")]
    return [name.get("name") if isinstance(name, Mapping) else name for name in names or []]


def _names_of(category: str, named: Mapping[str, DeclaredSet], human: set[str], what: str) -> DeclaredSet:
    """The names of an annotation's points. Where the file does not list its category, the names of all others, if
    these agree."""
    if category in named:
        return named[category] or None
    sets = [named[key] for key in human] or [names for names in named.values() if names]
    if any(names != sets[0] for names in sets):
        raise ValueError(
            f"{what}: category {category} is not among the file's categories ({', '.join(named)}), which call the "
            "keypoints differently. Give the annotations one of these as category_id."
        )
    return sets[0] if sets else None


def _coco_person(
    annotation: Mapping[str, Any],
    category: str,
    named: Mapping[str, DeclaredSet],
    human: set[str],
    image: Mapping[str, Any],
    called: str,
    what: str,
) -> Found:
    points = triples(annotation["keypoints"], what)
    return Found(
        points,
        _names_of(category, named, human, what) or _coco_set(points),
        what,
        str(annotation.get("id", 0)),
        image=called,
        image_size=size_of((image.get("width"), image.get("height")), what),
        box=box_of(annotation.get("bbox"), what),
        track=track_of(annotation.get("track_id")),
    )


def _is_human(names: Sequence[str | None], what: str) -> bool:
    try:
        match_names(names, what)
    except ValueError:
        return False
    return True


def _coco_set(points: NDArray) -> str | None:
    """In COCO's own formats 17 keypoints are COCO's, unless a category names others."""
    return "coco17" if len(points) == 17 else None


def _coco_results(content: Sequence[Any], name: str) -> Iterator[Found]:
    """[{"image_id": 785, "keypoints": [x, y, c, ...], "score": 0.9}, ...]; AlphaPose writes the same, with `idx`."""
    tracks = [track_of(result.get("idx", result.get("track_id"))) for result in content]
    unique = len({(str(r["image_id"]), t) for r, t in zip(content, tracks, strict=True)}) == len(content)
    for i, result in enumerate(content):
        what = f"{name}, result {i}"
        if result["keypoints"] is None or result["keypoints"] == []:
            continue
        own = (tracks[i] if unique else None) or str(result.get("id", i))
        yield person_of(partial(_coco_result, result, own, tracks[i], what), what, own, str(result["image_id"]))


def _coco_result(result: Mapping[str, Any], person_id: str, track: str | None, what: str) -> Found:
    points = triples(result["keypoints"], what)
    box = box_of(result.get("bbox", result.get("box")), what)
    return Found(points, _coco_set(points), what, person_id, image=str(result["image_id"]), box=box, track=track)


def _mmpose(content: Mapping[str, Any] | Sequence[Any], name: str) -> Iterator[Found]:
    """{"meta_info": {...}, "instance_info": [frames or instances]}, or that list alone, as the inferencer writes it."""
    meta = content.get("meta_info") or {} if isinstance(content, Mapping) else {}
    entries = content["instance_info"] if isinstance(content, Mapping) else content
    frames = _all_frames(entries)
    for i, entry in enumerate(entries):
        framed = "keypoints" not in entry
        frame = entry.get("frame_id") if framed else None
        for j, instance in enumerate(entry.get("instances") or [] if framed else [entry]):
            what = f"{name}, " + (f"instance {i}" if frame is None else f"frame {frame}, instance {j}")
            if instance.get("keypoints") is None:
                continue
            image, person_id = (None, str(i)) if frame is None else (str(frame), str(j))
            make = partial(_mmpose_person, instance, meta, what, person_id, image, frames)
            yield person_of(make, what, person_id, image)


def _mmpose_person(
    instance: Mapping[str, Any],
    meta: Mapping[str, Any],
    what: str,
    person_id: str,
    image: str | None,
    frames: tuple[int, int] | None,
) -> Found:
    points = joined_scores(instance["keypoints"], instance.get("keypoint_scores"), what, "keypoint_scores")
    return Found(
        points,
        _mmpose_set(meta, len(points)),
        what,
        person_id,
        image=image,
        box=box_of(instance.get("bbox"), what, corners=True),
        track=track_of(instance.get("track_id")),
        frames=frames,
    )


def _all_frames(entries: Sequence[Any]) -> tuple[int, int] | None:
    """The first and last frame of a video's list; None where not every entry is a numbered frame."""
    found = [entry.get("frame_id") if isinstance(entry, Mapping) else None for entry in entries]
    numbers = [number for number in found if type(number) is int]
    return (min(numbers), max(numbers)) if numbers and len(numbers) == len(found) else None


def _every(pictures: Sequence[Any]) -> tuple[int, int] | None:
    """The first and last frame of a list with an entry for each, counted from 0; of one picture, none."""
    return (0, len(pictures) - 1) if len(pictures) > 1 else None


def _mmpose_set(meta: Mapping[str, Any], count: int) -> DeclaredSet:
    """The set that an MMPose file's `meta_info` names, by its list of keypoint names or by dataset."""
    by_index = meta.get("keypoint_id2name") or {}
    if by_index:
        return point_names(by_index)
    dataset = str(meta.get("dataset_name") or "").lower()
    declared = MMPOSE_SETS.get(dataset)
    return declared if declared is None or isinstance(declared, str) or len(declared) == count else None


def _mmpose_predictions(content: Mapping[str, Any] | Sequence[Any], name: str) -> Iterator[Found]:
    """What MMPose's inferencer returns: {"predictions": [instances of each image]}, or that list alone."""
    pictures = content["predictions"] if isinstance(content, Mapping) else content
    if len(pictures) and isinstance(pictures[0], Mapping):
        pictures = [pictures]
    if len(pictures) == 1:
        yield from _mmpose(list(pictures[0]), name)
        return
    yield from _mmpose([{"frame_id": i, "instances": people} for i, people in enumerate(pictures)], name)


# ---- other tools


def _is_ultralytics(content: Any) -> bool:
    return list_of("box", "confidence")(content) and any(has("x", "y")(person.get("keypoints")) for person in content)


def _ultralytics(content: Sequence[Mapping[str, Any]], name: str) -> Iterator[Found]:
    """[{"name": "person", "box": {"x1", ...}, "keypoints": {"x": [...], "y": [...], "visible": [...]}}, ...].

    With `normalize=True` the numbers are fractions of the image.
    """
    boxes = [entry["box"] for entry in content]
    fractions = all(max(abs(float(v)) for v in box.values()) <= 1.001 for box in boxes if box)
    for i, entry in enumerate(content):
        what = f"{name}, result {i}"
        keypoints = entry.get("keypoints")
        if not keypoints or not len(keypoints["x"]):
            continue
        xy = np.stack([numbers_of(keypoints[axis], what) for axis in ("x", "y")], -1)
        points = joined_scores(xy, keypoints.get("visible", keypoints.get("confidence")), what, "visible")
        box = box_of([boxes[i][corner] for corner in ("x1", "y1", "x2", "y2")], what, corners=True)
        declared = "coco17" if len(points) == 17 else None
        yield Found(points, declared, what, str(i), fractions=fractions, box=box, track=track_of(entry.get("track_id")))


def _easymocap(content: Mapping[str, Any], name: str) -> Iterator[Found]:
    """{"filename", "height", "width", "annots": [{"personID", "bbox": corners, "keypoints": [[x, y, c], ...]}]}."""
    size = size_of((content.get("width"), content.get("height")), name)
    for i, person in enumerate(content["annots"]):
        what = f"{name}, annotation {i}"
        if person.get("keypoints") is None or not len(person["keypoints"]):
            continue
        points = joined_scores(person["keypoints"], None, what, "keypoints")
        given = person.get("personID", person.get("id", i))
        yield Found(
            points,
            EASYMOCAP_SETS.get(len(points)),
            what,
            str(given),
            image=content.get("filename"),
            image_size=size,
            box=box_of(person.get("bbox"), what, corners=True),
            track=track_of(given),
        )


def _openpose_list(content: Sequence[Mapping[str, Any]], name: str) -> Iterator[Found]:
    """[{"people": [...], "canvas_width", "canvas_height"}, ...], one for each image: ControlNet's writers."""
    for i, picture in enumerate(content):
        one, frames = len(content) == 1, _every(content)
        people = _openpose(picture, name if one else f"{name}, image {i}", None if one else str(i))
        yield from (replace(person, frames=frames) for person in people)


def _is_alphapose(content: Any) -> bool:
    return (
        isinstance(content, Mapping)
        and len(content) > 0
        and all(has("people")(value) or has("bodies")(value) for value in content.values())
    )


def _alphapose(content: Mapping[str, Any], name: str) -> Iterator[Found]:
    """{"photo.jpg": {"bodies": [{"joints": [...]}]}} or {"photo.jpg": OpenPose's}, its formats `cmu` and `open`."""
    for image, picture in content.items():
        people = picture.get("people") or [
            {**body, "pose_keypoints_2d": body.get("joints")} for body in picture.get("bodies", [])
        ]
        yield from _openpose({**picture, "people": people}, f"{name}, image '{image}'", str(image))


def _is_vitpose(content: Any) -> bool:
    return has("keypoints", "skeleton")(content) and list_of()(content["keypoints"])


def _vitpose(content: Mapping[str, Any], name: str) -> Iterator[Found]:
    """easy_ViTPose: {"keypoints": [{person: [[y, x, c], ...]} of each frame], "skeleton": {place: name}}."""
    skeleton = content["skeleton"]
    names = [skeleton[key] for key in sorted(skeleton, key=int)]
    one = len(content["keypoints"]) == 1
    for i, frame in enumerate(content["keypoints"]):
        for person, rows in frame.items():
            what = f"{name}, frame {i}, person {person}"
            points = joined_scores(rows, None, what, "keypoints")[:, [1, 0, 2]]
            image, frames = None if one else str(i), _every(content["keypoints"])
            yield Found(points, names, what, str(person), image=image, track=track_of(person), frames=frames)


def _is_landmarks(content: Any) -> bool:
    return list_of("x", "y")(content) and len(content) == MEDIAPIPE_COUNT


def _mediapipe(content: Any, name: str) -> Iterator[Found]:
    """33 landmarks {"x", "y", "z", "visibility"}, fractions of the image; a list of such people; or in "landmarks"."""
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
        yield Found(points, "mediapipe33", what, str(i), shift=0.0, fractions=True)


# ---- nothing but numbers, or other tools' lists of pictures


def _is_array(content: Any) -> bool:
    """(K, 2 or 3), (N, K, 2 or 3) or flat lists of numbers."""
    if not isinstance(content, list | tuple) or not content:
        return False
    if not isinstance(content[0], list | tuple) and len(content) < 3:
        return False
    while isinstance(content, list | tuple) and len(content):
        content = content[0]
    return isinstance(content, int | float) and not isinstance(content, bool)


def _array(content: Any, name: str) -> Iterator[Found]:
    """Our own pixels, as npy has them; a flat list is x, y, confidence of each keypoint."""
    points = numbers_of(content, name)
    yield from people_of_array(triples(points, name) if points.ndim == 1 else points, None, name)


def _are_pictures(content: Any) -> bool:
    """A list of lists of people with scores, of which some may be empty."""
    if not isinstance(content, list | tuple) or not all(isinstance(picture, list | tuple) for picture in content):
        return False
    filled = [picture for picture in content if len(picture)]
    return len(filled) > 0 and all(map(named_points.has_scores_beside, filled))


def _of_pictures(content: Sequence[Any], name: str) -> Iterator[Found]:
    """Hugging Face: a list of people for each image."""
    for i, picture in enumerate(content):
        for found in named_points.read_scores_beside(picture, name) if len(picture) else ():
            yield found if len(content) == 1 else replace(found, image=str(i), frames=_every(content))


# ---- our own


def _hmrfit(content: Mapping[str, Any], name: str) -> Iterator[Found]:
    """{"format": set, "keypoints": [[x, y, c], ...], "image", "size", "bbox", "mask", "K", "dist",
    "keypoint_source"}; one person."""
    points = triples(content["keypoints"], name)
    lens = {key: numbers_of(content[key], f"{name}, {key}") for key in ("K", "dist") if content.get(key) is not None}
    source = content.get("keypoint_source")
    if source is not None and source not in SOURCES:
        raise ValueError(f"{name}: 'keypoint_source' should be one of {', '.join(SOURCES)}, not {brief_repr(source)}.")
    if "K" in lens and lens["K"].shape != (3, 3):
        raise ValueError(f"{name}: 'K' should be 3×3, but has the shape {lens['K'].shape}.")
    yield Found(
        points,
        content.get("format"),
        name,
        str(content.get("id", 0)),
        image=content.get("image"),
        image_size=size_of(content.get("size"), name),
        box=box_of(content.get("bbox"), name),
        intrinsics=lens.get("K"),
        distortion=lens.get("dist"),
        mask=content.get("mask"),
        made_by=source,
        detector=content.get("detector"),
        kept=True,
    )


def _hmrfit_list(content: Sequence[Any], name: str) -> Iterator[Found]:
    """Several people in hmrfit's own format."""
    for i, person in enumerate(content):
        (found,) = _hmrfit(person, f"{name}, person {i}")
        yield found if "id" in person else replace(found, person_id=str(i))


def _detected(content: Mapping[str, Any], name: str) -> Iterator[Found]:
    """{"detected_people": [people in hmrfit's own format, but in our pixels], ...}: what `hmrfit fit` detected."""
    yield from (replace(found, shift=0.0) for found in _hmrfit_list(content["detected_people"], name))


JSON_FORMATS = (
    JsonFormat("hmrfit's detections", has("detected_people"), _detected, None),
    JsonFormat("OpenPose", has("people"), _openpose),
    JsonFormat("COCO annotations", has("images", "annotations"), _coco_annotations, "labelled"),
    JsonFormat("COCO results", list_of("image_id", "keypoints"), _coco_results),
    JsonFormat("MMPose", has("instance_info"), _mmpose),
    JsonFormat("MMPose instances", list_of("keypoints", "keypoint_scores"), _mmpose),
    JsonFormat("MMPose frames", list_of("instances"), _mmpose),
    JsonFormat("MMPose predictions", has("predictions"), _mmpose_predictions),
    JsonFormat("MMPose predictions", lists_of("keypoints", "keypoint_scores"), _mmpose_predictions),
    JsonFormat("keypoints beside scores", named_points.has_scores_beside, named_points.read_scores_beside),
    JsonFormat("keypoints beside scores", _are_pictures, _of_pictures),
    JsonFormat("ultralytics", _is_ultralytics, _ultralytics),
    JsonFormat("EasyMocap", has("annots"), _easymocap),
    JsonFormat("ControlNet", list_of("people"), _openpose_list),
    JsonFormat("easy_ViTPose", _is_vitpose, _vitpose),
    JsonFormat("MediaPipe", _is_landmarks, _mediapipe),
    JsonFormat(
        "MediaPipe",
        lambda content: isinstance(content, list | tuple) and len(content) > 0 and all(map(_is_landmarks, content)),
        _mediapipe,
    ),
    JsonFormat("MediaPipe", lambda content: any(has(key)(content) for key in LANDMARK_KEYS), _mediapipe),
    JsonFormat("AlphaPose", _is_alphapose, _alphapose),
    JsonFormat("TensorFlow.js, points by name", named_points.is_people, named_points.read_people),
    JsonFormat("TensorFlow.js, points by name", named_points.is_one_named, named_points.read_one),
    JsonFormat("labelme", named_points.is_labelme, named_points.read_labelme, "labelled"),
    JsonFormat("Label Studio", named_points.is_label_studio, named_points.read_label_studio, "labelled"),
    JsonFormat("lists of x, y, confidence", _is_array, _array, None),
    JsonFormat("hmrfit", has("keypoints"), _hmrfit, None),
    JsonFormat("hmrfit", list_of("keypoints"), _hmrfit_list, None),
)
"""The first that recognises a file reads it."""
