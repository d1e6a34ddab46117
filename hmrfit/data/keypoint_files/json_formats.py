"""The JSON formats: one function each, from the parsed file to people; `JSON_FORMATS` says how each is recognised.

A format is added with one function and one line in that table (and its line in the package's table of conventions).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmrfit.budget import brief
from hmrfit.camera import PIXEL_CENTER
from hmrfit.data.keypoint_files.person import PersonKeypoints, clean, names_for
from hmrfit.keypoints import base_name, keypoint_sets

AskedSet = str | Sequence[str] | None

OPENPOSE_SETS = {25: "openpose25", 18: "openpose18"}

MMPOSE_SETS = {"coco": "coco17", "mpii": "mpii16", "h36m": "h36m17", "lsp": "lsp14", "posetrack18": None}
"""MMPose's `dataset_name` -> our set."""


@dataclass(frozen=True)
class JsonFormat:
    """How one format is recognised in a parsed file, and read."""

    name: str
    recognises: Callable[[Any], bool]
    read: Callable[[Any, Path, AskedSet], Iterator[PersonKeypoints]]


def _has(*keys: str) -> Callable[[Any], bool]:
    return lambda content: isinstance(content, dict) and all(key in content for key in keys)


def _list_of(*keys: str) -> Callable[[Any], bool]:
    return lambda content: isinstance(content, list) and bool(content) and all(map(_has(*keys), content))


def _numbers(values: Any, what: str) -> NDArray:
    """A (nested) list of numbers, where null means NaN -> float64."""
    try:
        return np.array(values, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{what}: expected lists of numbers of equal length ({brief(str(error))}).") from error


def _triples(values: Any, what: str) -> NDArray:
    """A flat list x, y, c, x, y, c, ... -> (K, 3)."""
    flat = _numbers(values, what)
    if flat.ndim == 2 and flat.shape[1] == 3:
        return flat
    if flat.ndim != 1 or flat.size % 3 or not flat.size:
        raise ValueError(f"{what}: expected x, y, confidence for each keypoint, but there are {flat.size} numbers.")
    return flat.reshape(-1, 3)


def _box(values: Any, what: str, corners: bool = False) -> tuple[float, float, float, float] | None:
    """[x, y, width, height], or two corners; None where there is none."""
    if values is None:
        return None
    box = _numbers(values, f"{what}, bbox").ravel()
    if box.size < 4 or not np.isfinite(box[:4]).all():
        raise ValueError(f"{what}: a box should be four numbers, but is {values}.")
    x, y, width, height = box[:4] - (np.array([0, 0, *box[:2]]) if corners else 0)
    if width < 0 or height < 0:
        raise ValueError(f"{what}: the box has the negative size {width:g} × {height:g}. Expected x, y, width, height.")
    return float(x), float(y), float(width), float(height)


def _size(values: Any, what: str) -> tuple[int, int] | None:
    """(width, height) in pixels; None where there is none."""
    if values is None or None in tuple(values):
        return None
    size = _numbers(values, f"{what}, size")
    if size.shape != (2,) or not (size > 0).all() or not np.isfinite(size).all():
        raise ValueError(f"{what}: an image's size should be a positive width and height, but is {values}.")
    return int(size[0]), int(size[1])


def _openpose(content: dict, path: Path, asked: AskedSet) -> Iterator[PersonKeypoints]:
    """{"people": [{"person_id": [-1], "pose_keypoints_2d": [x, y, c, ...]}]}; hands and faces are left out."""
    for i, person in enumerate(content["people"]):
        what = f"'{path}', person {i}"
        body = person.get("pose_keypoints_2d", person.get("pose_keypoints"))
        if body is None:
            raise ValueError(f"{what}: there is no 'pose_keypoints_2d'. Were only hands or faces detected?")
        if not body:
            continue  # a hand or a face without its body
        points = _triples(body, what)
        names = names_for(len(points), OPENPOSE_SETS.get(len(points)), asked, what)
        xy, confidence = clean(points[:, :2], points[:, 2], PIXEL_CENTER, what)
        given = (person.get("person_id") or [-1])[0]
        yield PersonKeypoints(names, xy, confidence, path, str(i if given in (-1, None) else given))


def set_of_names(names: Sequence[str]) -> str | tuple[str, ...] | None:
    """The set whose keypoints are called so in other people's files ("left_hip" for `left_hip_coco`), or None."""
    plain = [name.strip().lower().replace(" ", "_").replace("-", "_") for name in names]
    for known, ours in keypoint_sets().items():
        if plain == list(ours) or plain == [base_name(name) for name in ours]:
            return known
    return None


def _coco_annotations(content: dict, path: Path, asked: AskedSet) -> Iterator[PersonKeypoints]:
    """{"images": [...], "annotations": [...], "categories": [...]}; without crowds and people without keypoints."""
    images = {image["id"]: image for image in content["images"]}
    said = {c.get("id"): set_of_names(c["keypoints"]) for c in content.get("categories", []) if c.get("keypoints")}
    for annotation in content["annotations"]:
        if annotation.get("iscrowd") or not annotation.get("keypoints"):
            continue
        what = f"'{path}', annotation {annotation.get('id')}"
        points = _triples(annotation["keypoints"], what)
        if not (points[:, 2] > 0).any():
            continue
        names = names_for(len(points), said.get(annotation.get("category_id")) or _coco_set(points), asked, what)
        xy, confidence = clean(points[:, :2], points[:, 2], PIXEL_CENTER, what)
        image = images.get(annotation.get("image_id"), {})
        yield PersonKeypoints(
            names, xy, confidence, path, str(annotation.get("id", 0)),
            image=image.get("file_name") or str(annotation.get("image_id")),
            image_size=_size((image.get("width"), image.get("height")), what),
            box=_box(annotation.get("bbox"), what),
        )  # fmt: skip


def _coco_set(points: NDArray) -> str | None:
    """In COCO's own formats 17 keypoints are COCO's, unless a category names others."""
    return "coco17" if len(points) == 17 else None


def _coco_results(content: list, path: Path, asked: AskedSet) -> Iterator[PersonKeypoints]:
    """[{"image_id": 785, "keypoints": [x, y, c, ...], "score": 0.9}, ...]; AlphaPose writes the same."""
    for i, result in enumerate(content):
        what = f"'{path}', result {i}"
        points = _triples(result["keypoints"], what)
        names = names_for(len(points), _coco_set(points), asked, what)
        xy, confidence = clean(points[:, :2], points[:, 2], PIXEL_CENTER, what)
        box = _box(result.get("bbox"), what)
        yield PersonKeypoints(names, xy, confidence, path, str(result.get("id", i)), str(result["image_id"]), box=box)


def _mmpose(content: dict | list, path: Path, asked: AskedSet) -> Iterator[PersonKeypoints]:
    """{"meta_info": {...}, "instance_info": [frames or instances]}, or that list alone, as the inferencer writes it."""
    listed = isinstance(content, list)
    meta = {} if listed else content.get("meta_info") or {}
    said = _mmpose_set(meta)
    for i, entry in enumerate(content if listed else content["instance_info"]):
        instances, frame = (
            ([entry], None) if "keypoints" in entry else (entry.get("instances", []), entry.get("frame_id"))
        )
        for j, instance in enumerate(instances):
            what = f"'{path}', " + (f"instance {i}" if frame is None else f"frame {frame}, instance {j}")
            points = _numbers(instance["keypoints"], what)
            if points.ndim != 2 or points.shape[1] not in (2, 3):
                raise ValueError(f"{what}: 'keypoints' should be a list of [x, y], but has the shape {points.shape}.")
            scores = _numbers(instance.get("keypoint_scores", np.ones(len(points))), what)
            if scores.shape != points.shape[:1]:
                raise ValueError(f"{what}: {len(points)} keypoints, but keypoint_scores has the shape {scores.shape}.")
            names = names_for(len(points), said, asked, what)
            xy, confidence = clean(points[:, :2], scores.clip(0, 1), PIXEL_CENTER, what)
            box = _box(instance.get("bbox"), what, corners=True)
            person = str(i if frame is None else j)
            yield PersonKeypoints(names, xy, confidence, path, person, None if frame is None else str(frame), box=box)


def _mmpose_set(meta: dict) -> str | None:
    """The set that an MMPose file's `meta_info` names, by dataset or by its list of keypoint names."""
    by_index = meta.get("keypoint_id2name") or {}
    if by_index and (found := set_of_names([by_index[k] for k in sorted(by_index, key=int)])):
        return found
    return MMPOSE_SETS.get(str(meta.get("dataset_name", "")).lower())


def _hmrfit(content: dict, path: Path, asked: AskedSet) -> Iterator[PersonKeypoints]:
    """{"format": set, "keypoints": [[x, y, c], ...], "image", "size", "bbox", "mask", "K", "dist"}; one person."""
    what = f"'{path}'"
    points = _triples(content["keypoints"], what)
    names = names_for(len(points), content.get("format"), asked, what)
    xy, confidence = clean(points[:, :2], points[:, 2], PIXEL_CENTER, what)
    lens = {key: _numbers(content[key], f"{what}, {key}") for key in ("K", "dist") if content.get(key) is not None}
    if "K" in lens and lens["K"].shape != (3, 3):
        raise ValueError(f"{what}: 'K' should be 3×3, but has the shape {lens['K'].shape}.")
    yield PersonKeypoints(
        names, xy, confidence, path, str(content.get("id", 0)),
        image=content.get("image"), image_size=_size(content.get("size"), what), box=_box(content.get("bbox"), what),
        intrinsics=lens.get("K"), distortion=lens.get("dist"), mask=content.get("mask"),
    )  # fmt: skip


JSON_FORMATS = (
    JsonFormat("OpenPose", _has("people"), _openpose),
    JsonFormat("COCO annotations", _has("images", "annotations"), _coco_annotations),
    JsonFormat("COCO results", _list_of("image_id", "keypoints"), _coco_results),
    JsonFormat("MMPose", _has("instance_info"), _mmpose),
    JsonFormat("MMPose instances", _list_of("keypoints", "keypoint_scores"), _mmpose),
    JsonFormat("MMPose frames", _list_of("instances"), _mmpose),
    JsonFormat("hmrfit", _has("keypoints"), _hmrfit),
)
"""The first that recognises a file reads it."""
