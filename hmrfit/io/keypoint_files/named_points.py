"""JSON in which every point says its own name, and lists of coordinates beside lists of scores.

    TensorFlow.js, ml5     [{"keypoints": [{"x", "y", "score", "name"}, ...]}, ...]; PoseNet's "part", "position"
    points by name         {"nose": [x, y, c] or {"x", "y", "score"}, ...}, or [{"name", "x", "y"}, ...]; one person
    labelme, X-AnyLabeling {"shapes": [{"label", "points": [[x, y]], "shape_type": "point", "group_id"}, ...]}
    Label Studio           [{"annotations": [{"result": [{"value": {"x", "y", "keypointlabels"}}]}]}]; percent
    with scores beside     {"keypoints": [[x, y], ...], "scores": [...]}: Hugging Face (and its "labels"), rtmlib,
                           torchvision; of one person or of several

Coordinates are cv2's (+0.5), Label Studio's percentages of the image. Points without a name are taken by their number.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmrfit.io.keypoint_files.names import DeclaredSet
from hmrfit.io.keypoint_files.numbers import numbers_of, size_of
from hmrfit.io.keypoint_files.person import Found
from hmrfit.keypoints import COCO17

NAMES = ("name", "part", "label", "keypoint", "bodypart", "joint", "id")
SCORES = ("score", "confidence", "conf", "visibility", "visible", "likelihood", "c", "v")
LISTED_SCORES = ("keypoint_scores", "keypoints_scores", "scores", "confidence", "conf", "visible", "visibility")
"""Words of other tools."""

FEWEST = 3
"""Points by name that make a dictionary a person."""

PERCENT = 100.0


def is_point(value: Any) -> bool:
    """{"x": 1, "y": 2, ...}, or PoseNet's {"position": {"x", "y"}, ...}."""
    return isinstance(value, Mapping) and ({"x", "y"} <= set(value) or is_point(value.get("position")))


def is_points(value: Any) -> bool:
    """A list of such points."""
    return isinstance(value, list | tuple) and len(value) > 0 and all(map(is_point, value))


def is_person(value: Any) -> bool:
    """{"keypoints": points that are dictionaries}, or points by name."""
    if not isinstance(value, Mapping):
        return False
    points = value.get("keypoints", value)
    if not isinstance(points, Mapping):
        return is_points(points)
    return len(points) >= FEWEST and all(is_point(p) or _is_numbers(p) for p in points.values())


def is_people(value: Any) -> bool:
    """A person, or a list of people."""
    people = _listed(value)
    return len(people) > 0 and all(map(is_person, people))


def is_one_named(value: Any) -> bool:
    """A list of points of which every one has a name."""
    return is_points(value) and all(any(isinstance(p.get(n), str) for n in NAMES) for p in value)


def _listed(content: Any) -> Sequence[Any]:
    """A list as it is; anything else alone in one."""
    return content if isinstance(content, list | tuple) else [content]


def _is_numbers(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) in (2, 3) and all(isinstance(v, int | float) for v in value)


def read_people(content: Any, name: str) -> Iterator[Found]:
    """One person or several, of points that are dictionaries."""
    people = _listed(content)
    for i, person in enumerate(people):
        what = name if len(people) == 1 else f"{name}, person {i}"
        yield _person(person.get("keypoints", person), what, str(i))


def read_one(content: Sequence[Mapping[str, Any]], name: str) -> Iterator[Found]:
    """A list of one person's points."""
    yield _person(content, name, "0")


def _person(points: Any, what: str, person_id: str) -> Found:
    declared: DeclaredSet
    if isinstance(points, Mapping):
        declared, points = [str(key) for key in points], list(points.values())
    else:
        said = [next((p[n] for n in NAMES if isinstance(p.get(n), str)), None) for p in points]
        declared = [str(one) for one in said] if None not in said else "coco17" if len(said) == len(COCO17) else None
    return Found(np.array([_row(p, what) for p in points]), declared, what, person_id)


def _row(point: Any, what: str) -> NDArray[np.float64]:
    """(3,) x, y and score."""
    if not isinstance(point, Mapping):
        row = numbers_of(point, what)
        return np.append(row, 1.0) if len(row) == 2 else row
    place, score = point.get("position", point), next((point[s] for s in SCORES if s in point), 1.0)
    return numbers_of([place["x"], place["y"], score], what)


# ---- annotation tools


def is_labelme(content: Any) -> bool:
    """labelme's and X-AnyLabeling's file of a photograph."""
    return isinstance(content, Mapping) and isinstance(content.get("shapes"), list) and "imagePath" in content


def read_labelme(content: Mapping[str, Any], name: str) -> Iterator[Found]:
    """Points of one `group_id` are a person; without one, all of the photograph are. Other shapes are left out."""
    size = size_of((content.get("imageWidth"), content.get("imageHeight")), name)
    groups: dict[Any, list[Mapping[str, Any]]] = {}
    for shape in content["shapes"]:
        if shape.get("shape_type", "point") == "point" and len(shape["points"]) == 1:
            groups.setdefault(shape.get("group_id"), []).append(shape)
    for i, (group, shapes) in enumerate(groups.items()):
        what = name if len(groups) == 1 else f"{name}, group {group}"
        points = numbers_of([shape["points"][0] for shape in shapes], what)
        yield Found(
            points,
            [str(shape["label"]) for shape in shapes],
            what,
            str(i if group is None else group),
            image=content["imagePath"],
            image_size=size,
        )


def is_label_studio(content: Any) -> bool:
    """Label Studio's export of keypoint labels."""
    tasks = _listed(content)
    return len(tasks) > 0 and all(isinstance(t, Mapping) and isinstance(t.get("annotations"), list) for t in tasks)


def read_label_studio(content: Any, name: str) -> Iterator[Found]:
    """A task is a photograph; points of one `parentID` (their rectangle) are a person."""
    tasks = _listed(content)
    for task in tasks:
        named = [v for v in (task.get("data") or {}).values() if isinstance(v, str)]
        results = [r for a in task["annotations"] for r in a.get("result") or []]
        groups: dict[Any, list[Mapping[str, Any]]] = {}
        for result in results:
            if "keypointlabels" in result.get("value", {}):
                groups.setdefault(result.get("parentID"), []).append(result)
        for i, found in enumerate(groups.values()):
            what = f"{name}, task {task.get('id')}"
            values = [r["value"] for r in found]
            size = size_of((found[0].get("original_width"), found[0].get("original_height")), what)
            yield Found(
                numbers_of([[v["x"], v["y"]] for v in values], what) / PERCENT,
                [str(v["keypointlabels"][0]) for v in values],
                what,
                str(i),
                shift=0.0,
                fractions=True,
                image=named[0] if named else None,
                image_size=size,
            )


# ---- coordinates beside scores


def has_scores_beside(content: Any) -> bool:
    """{"keypoints": lists in lists, one of LISTED_SCORES with a number for each}, or a list of such."""
    people = _listed(content)
    return len(people) > 0 and all(isinstance(p, Mapping) and _scores_beside(p) is not None for p in people)


def _scores_beside(entry: Mapping[str, Any]) -> NDArray[np.float64] | None:
    """The scores (..., K) of an entry's keypoints (..., K, 2 or 3); None where it has none."""
    if "keypoints" not in entry or "format" in entry:
        return None
    shape = _shape(entry["keypoints"])
    listed = (entry[key] for key in LISTED_SCORES if entry.get(key) is not None)
    found = next((scores for scores in listed if len(shape) in (2, 3) and _shape(scores) == shape[:-1]), None)
    return None if found is None else numbers_of(found, "keypoints")


def _shape(values: Any) -> tuple[int, ...]:
    """Of lists in lists, by their first elements."""
    if isinstance(values, np.ndarray):
        return values.shape
    if not isinstance(values, list | tuple):
        return ()
    return (len(values), *(_shape(values[0]) if len(values) else ()))


def read_scores_beside(content: Any, name: str) -> Iterator[Found]:
    """(K, 2) beside (K,), or (N, K, 2) beside (N, K); torchvision's (N, K, 3) beside heat maps' heights above 0."""
    entries = _listed(content)
    number = 0
    for entry in entries:
        points, scores = numbers_of(entry["keypoints"], name), _scores_beside(entry)
        assert scores is not None  # as recognised
        for xy, own in zip(points.reshape(-1, *points.shape[-2:]), scores.reshape(-1, points.shape[-2]), strict=True):
            rows = _scored(xy, own)
            labels = entry.get("labels") if points.ndim == 2 else None
            yield _in_places(rows, labels, f"{name}, person {number}", str(number))
            number += 1


def _scored(xy: NDArray[np.float64], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """(K, 3). Where there is a visibility already, a score only says whether it holds."""
    if xy.shape[-1] == 3:
        return np.concatenate([xy[:, :2], (xy[:, 2] * (scores > 0))[:, None]], 1)
    return np.concatenate([xy, scores[:, None]], 1)


def _in_places(rows: NDArray[np.float64], labels: Any, what: str, person_id: str) -> Found:
    """Hugging Face lists only the points that it found, and the number of each among COCO's."""
    if labels is not None and len(labels) == len(rows):
        at = numbers_of(labels, what)
        if np.isin(at, np.arange(len(COCO17))).all() and len(np.unique(at)) == len(at):
            whole = np.full((len(COCO17), rows.shape[1]), np.nan)
            whole[at.astype(int)] = rows
            rows = whole
    return Found(rows, "coco17" if len(rows) == len(COCO17) else None, what, person_id)
