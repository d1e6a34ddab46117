"""Boxes of people from another detector's file, found by photograph as keypoint files are.

    {"a.jpg": [[x, y, width, height], ...], ...}                                    by name
    [{"image_id": 785 or "a.jpg", "bbox": [x, y, width, height], ...}, ...]         COCO results, people only
    {"images": [...], "annotations": [{"image_id", "bbox", ...}]}                   COCO annotations
    [[x, y, width, height], ...]                                                    of one photograph

Pixels of the full image, corners as corners.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hmrfit.detectors.detect import checked_boxes
from hmrfit.detectors.detector import Boxes
from hmrfit.io.bounded import read_json
from hmrfit.io.keypoint_files import PersonKeypoints
from hmrfit.io.keypoint_files.find import ImageIndex

PERSON = 1
"""COCO's category."""


class BoxFile:
    """The boxes of many photographs.

    Raises:
        OSError, ValueError: it cannot be read, or holds no boxes; says what was expected.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        content = read_json(self.path)
        try:
            listed = [(image, [float(v) for v in box[:4]]) for image, box in _boxes(content)]
            checked_boxes([box for _, box in listed])
        except (TypeError, KeyError, AttributeError, IndexError) as error:
            raise ValueError(
                f"'{path}' should hold boxes of people, {{\"photo.jpg\": [[x, y, width, height], ...]}} or as COCO has "
                f"them, but is built differently ({type(error).__name__}: {error})."
            ) from None
        except ValueError as error:
            raise ValueError(f"'{path}': {error}") from None
        self._index = ImageIndex([_person(self.path, image, box) for image, box in listed])

    def of(self, photograph: Path) -> Boxes:
        """(N, 4) of a photograph; none where the file has none for it."""
        people = self._index.of(photograph) if self._index.people else []
        return np.array([person.box for person in people], np.float64).reshape(-1, 4)


def _boxes(content: Any) -> Iterator[tuple[str | None, Sequence[float]]]:
    """(what the file calls the photograph, box)."""
    if isinstance(content, Mapping) and "annotations" in content:
        names = {image["id"]: image.get("file_name") or str(image["id"]) for image in content.get("images") or []}
        for entry in content["annotations"]:
            if entry.get("category_id", PERSON) == PERSON and not entry.get("iscrowd"):
                yield names.get(entry["image_id"], str(entry["image_id"])), entry["bbox"]
    elif isinstance(content, Mapping):
        for image, boxes in content.items():
            yield from ((image, box) for box in boxes)
    elif content and isinstance(content[0], Mapping):
        for entry in content:
            if entry.get("category_id", PERSON) == PERSON:
                yield str(entry.get("image", entry.get("image_id"))), entry["bbox"]
    else:
        yield from ((None, box) for box in content)


def _person(path: Path, image: str | None, box: Sequence[float]) -> PersonKeypoints:
    """A box as a person without keypoints, for `ImageIndex`."""
    x, y, width, height = box
    return PersonKeypoints((), np.zeros((0, 2)), np.zeros(0), path, image=image, box=(x, y, width, height))
