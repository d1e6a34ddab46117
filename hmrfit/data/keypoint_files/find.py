"""Which keypoint file belongs to an image, and which of its people."""

import os
from collections.abc import Sequence
from pathlib import Path

from hmrfit.data.keypoint_files.person import PersonKeypoints
from hmrfit.data.keypoint_files.read import READERS

DATASET_PATTERNS = ("*annotations*.json", "*keypoints*.json", "*results*.json")
"""How files that hold a whole dataset are called."""


def find_keypoint_file(image_path: str | os.PathLike, folder: str | os.PathLike) -> Path | None:
    """The keypoint file of an image in a folder, or None.

    Tried in this order: `<stem>.json`, .npy, .npz, .csv; `<stem>_keypoints.json` as OpenPose writes; the only file
    that is called like a whole dataset's (`person_keypoints_val2017.json`, `annotations.json`, `results.json`).
    """
    image_path, folder = Path(image_path), Path(folder)
    if folder.is_file():
        return folder
    stem = image_path.stem
    own = [folder / f"{stem}{suffix}" for suffix in READERS] + [folder / f"{stem}_keypoints.json"]
    for path in own:
        if path.is_file() and path != image_path:
            return path
    datasets = {path for pattern in DATASET_PATTERNS for path in folder.glob(pattern)}
    datasets = {path for path in datasets if not path.stem.endswith("_keypoints")}
    return datasets.pop() if len(datasets) == 1 else None


def people_in_image(people: Sequence[PersonKeypoints], image_path: str | os.PathLike) -> list[PersonKeypoints]:
    """Those people whose file says that they are in this image, and those whose file names no image.

    Names are compared without folder and suffix; numbers (COCO's image_id) with the number that the name ends in.
    """
    stem = Path(image_path).stem
    return [p for p in people if p.image is None or _same_image(Path(p.image).stem, stem)]


def _same_image(named: str, stem: str) -> bool:
    if named == stem:
        return True
    digits = stem[len(stem.rstrip("0123456789")) :]
    return named.isdecimal() and digits != "" and int(named) == int(digits)
