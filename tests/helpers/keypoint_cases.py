"""People and files as the tests of bug reports about keypoints need them: the demo's person, projected."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from helpers.keypoint_layouts import SIZE, pixels

from hmrfit.io.keypoint_files import PersonKeypoints
from hmrfit.io.photo import Photo, read_photo
from hmrfit.keypoints import resolve_set

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
    return write(
        path,
        {
            "images": [{"id": 5, "file_name": "photo.jpg", "width": SIZE[0], "height": SIZE[1]} | image],
            "annotations": [{"id": 1, "image_id": 5, "category_id": 1, "keypoints": flat(visible)}],
            "categories": [category],
        },
    )
