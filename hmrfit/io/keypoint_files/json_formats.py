"""The JSON formats: one function each, from the parsed file to people; `JSON_FORMATS` says how each is recognised.

A format is added with one function and one line in that table (and its line in the package's table of conventions).
The formats of single tools are in `other_json`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from numpy.typing import NDArray

from hmrfit.io.keypoint_files.json_parts import (
    JsonFormat,
    box_of,
    has,
    joined_scores,
    list_of,
    lists_of,
    person_of,
    size_of,
    track_of,
    triples,
)
from hmrfit.io.keypoint_files.names import Said, match_names
from hmrfit.io.keypoint_files.numbers import numbers_of
from hmrfit.io.keypoint_files.openpose import read_openpose
from hmrfit.io.keypoint_files.other_json import OTHER_FORMATS
from hmrfit.io.keypoint_files.person import Found

AIC14 = (
    "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist", "right_hip_lsp",
    "right_knee", "right_ankle", "left_hip_lsp", "left_knee", "left_ankle", "head_top", "neck_lsp",
)  # fmt: skip
CROWDPOSE14 = (
    "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip_lsp",
    "right_hip_lsp", "left_knee", "right_knee", "left_ankle", "right_ankle", "head_top", "neck_lsp",
)  # fmt: skip
POSETRACK17 = (
    "nose", "neck_lsp", "head_top", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip_coco", "right_hip_coco", "left_knee", "right_knee",
    "left_ankle", "right_ankle",
)  # fmt: skip

MMPOSE_SETS: dict[str, Said] = {
    "coco": "coco17", "mpii": "mpii16", "h36m": "h36m17", "lsp": "lsp14", "halpe26": "halpe26", "halpe": "halpe136",
    "coco_wholebody": "coco_wholebody133", "goliath": "goliath308", "aic": AIC14, "crowdpose": CROWDPOSE14,
    "posetrack18": POSETRACK17,
}  # fmt: skip
"""MMPose's `dataset_name` -> our set, or its names."""


def _coco_annotations(content: dict, name: str) -> Iterator[Found]:
    """{"images": [...], "annotations": [...], "categories": [...]}; without crowds and people without keypoints."""
    images = {image["id"]: image for image in content["images"]}
    named = {c.get("id"): c["keypoints"] for c in content.get("categories") or [] if c.get("keypoints")}
    human = {key for key, names in named.items() if _is_human(names, name)}
    for annotation in content["annotations"]:
        if annotation.get("iscrowd") or not annotation.get("keypoints"):
            continue
        what = f"{name}, annotation {annotation.get('id')}"
        category = annotation.get("category_id")
        if category in named and category not in human and human:
            continue  # the animal beside a person
        image = images.get(annotation.get("image_id"), {})
        called = image.get("file_name") or str(annotation.get("image_id"))
        make = partial(_coco_person, annotation, named.get(category), image, called, what)
        yield person_of(make, what, annotation.get("id", 0), called)


def _coco_person(annotation: Mapping, names: Said, image: Mapping, called: str, what: str) -> Found:
    points = triples(annotation["keypoints"], what)
    return Found(
        points, names or _coco_set(points), what, str(annotation.get("id", 0)), image=called,
        image_size=size_of((image.get("width"), image.get("height")), what),
        box=box_of(annotation.get("bbox"), what), track=track_of(annotation.get("track_id")),
    )  # fmt: skip


def _is_human(names: Sequence[str], what: str) -> bool:
    try:
        match_names(names, what)
    except ValueError:
        return False
    return True


def _coco_set(points: NDArray) -> str | None:
    """In COCO's own formats 17 keypoints are COCO's, unless a category names others."""
    return "coco17" if len(points) == 17 else None


def _coco_results(content: list, name: str) -> Iterator[Found]:
    """[{"image_id": 785, "keypoints": [x, y, c, ...], "score": 0.9}, ...]; AlphaPose writes the same, with `idx`."""
    tracks = [track_of(result.get("idx", result.get("track_id"))) for result in content]
    unique = len({(str(r["image_id"]), t) for r, t in zip(content, tracks, strict=True)}) == len(content)
    for i, result in enumerate(content):
        what = f"{name}, result {i}"
        if result["keypoints"] is None or result["keypoints"] == []:
            continue
        own = tracks[i] if unique and tracks[i] is not None else str(result.get("id", i))
        yield person_of(partial(_coco_result, result, own, tracks[i], what), what, own, str(result["image_id"]))


def _coco_result(result: Mapping, person_id: str, track: str | None, what: str) -> Found:
    points = triples(result["keypoints"], what)
    box = box_of(result.get("bbox", result.get("box")), what)
    return Found(
        points, _coco_set(points), what, person_id, image=str(result["image_id"]), box=box, track=track
    )  # fmt: skip


def _mmpose(content: dict | list, name: str) -> Iterator[Found]:
    """{"meta_info": {...}, "instance_info": [frames or instances]}, or that list alone, as the inferencer writes it."""
    listed = isinstance(content, list)
    meta = {} if listed else content.get("meta_info") or {}
    entries = content if listed else content["instance_info"]
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
    instance: Mapping, meta: Mapping, what: str, person_id: str, image: str | None, frames: tuple[int, int] | None
) -> Found:
    points = joined_scores(instance["keypoints"], instance.get("keypoint_scores"), what, "keypoint_scores")
    return Found(
        points, _mmpose_set(meta, len(points)), what, person_id, image=image,
        box=box_of(instance.get("bbox"), what, corners=True), track=track_of(instance.get("track_id")), frames=frames,
    )  # fmt: skip


def _all_frames(entries: Sequence[Any]) -> tuple[int, int] | None:
    """The first and last frame of a video's list; None where not every entry is a numbered frame."""
    numbers = [entry.get("frame_id") if isinstance(entry, Mapping) else None for entry in entries]
    return (min(numbers), max(numbers)) if numbers and all(type(number) is int for number in numbers) else None


def _mmpose_set(meta: Mapping, count: int) -> Said:
    """The set that an MMPose file's `meta_info` names, by its list of keypoint names or by dataset."""
    by_index = meta.get("keypoint_id2name") or {}
    if by_index:
        return [by_index[k] for k in sorted(by_index, key=int)] if isinstance(by_index, Mapping) else by_index
    dataset = str(meta.get("dataset_name") or "").lower()
    said = MMPOSE_SETS.get(dataset)
    return said if said is None or isinstance(said, str) or len(said) == count else None


def _mmpose_predictions(content: dict | list, name: str) -> Iterator[Found]:
    """What MMPose's inferencer returns: {"predictions": [instances of each image]}, or that list alone."""
    pictures = content["predictions"] if isinstance(content, Mapping) else content
    if len(pictures) and isinstance(pictures[0], Mapping):
        pictures = [pictures]
    if len(pictures) == 1:
        yield from _mmpose(list(pictures[0]), name)
        return
    yield from _mmpose([{"frame_id": i, "instances": people} for i, people in enumerate(pictures)], name)


def _hmrfit(content: Mapping, name: str) -> Iterator[Found]:
    """{"format": set, "keypoints": [[x, y, c], ...], "image", "size", "bbox", "mask", "K", "dist"}; one person."""
    points = triples(content["keypoints"], name)
    lens = {key: numbers_of(content[key], f"{name}, {key}") for key in ("K", "dist") if content.get(key) is not None}
    if "K" in lens and lens["K"].shape != (3, 3):
        raise ValueError(f"{name}: 'K' should be 3×3, but has the shape {lens['K'].shape}.")
    yield Found(
        points, content.get("format"), name, str(content.get("id", 0)),
        image=content.get("image"), image_size=size_of(content.get("size"), name),
        box=box_of(content.get("bbox"), name), intrinsics=lens.get("K"), distortion=lens.get("dist"),
        mask=content.get("mask"), kept=True,
    )  # fmt: skip


def _hmrfit_list(content: list, name: str) -> Iterator[Found]:
    """Several people in hmrfit's own format."""
    for i, person in enumerate(content):
        (found,) = _hmrfit(person, f"{name}, person {i}")
        yield found if "id" in person else replace(found, person_id=str(i))


JSON_FORMATS = (
    JsonFormat("OpenPose", has("people"), read_openpose),
    JsonFormat("COCO annotations", has("images", "annotations"), _coco_annotations),
    JsonFormat("COCO results", list_of("image_id", "keypoints"), _coco_results),
    JsonFormat("MMPose", has("instance_info"), _mmpose),
    JsonFormat("MMPose instances", list_of("keypoints", "keypoint_scores"), _mmpose),
    JsonFormat("MMPose frames", list_of("instances"), _mmpose),
    JsonFormat("MMPose predictions", has("predictions"), _mmpose_predictions),
    JsonFormat("MMPose predictions", lists_of("keypoints", "keypoint_scores"), _mmpose_predictions),
    *OTHER_FORMATS,
    JsonFormat("hmrfit", has("keypoints"), _hmrfit),
    JsonFormat("hmrfit", list_of("keypoints"), _hmrfit_list),
)
"""The first that recognises a file reads it."""
