"""COCO keypoints (Lin et al., ECCV 2014), from the JSON of person annotations.

    ROOT/annotations/person_keypoints_train2014.json
    ROOT/train2014/COCO_train2014_000000000036.jpg ...

Kept are people whose 12 limb joints are all annotated, visible or not; boxes are the annotated ones, times 1.2.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmrfit.datasets.download import BOX_SCALE, DamagedDownload, reading, require, spin_slots
from hmrfit.datasets.spin_npz import BOX_UNIT, SpinDataset
from hmrfit.io.bounded import read_json
from hmrfit.keypoints import COCO17

TREE = """\
  ROOT/annotations/person_keypoints_{split}.json
  ROOT/{split}/*.jpg                             (the 2014 and the 2017 editions alike)"""

LIMBS = slice(COCO17.index("left_shoulder_coco"), None)
"""The last 12: shoulders, elbows, wrists, hips, knees, ankles."""


def read_coco(root: Path, split: str = "train2014") -> SpinDataset:
    """The people of one split whose limbs are all annotated."""
    file = f"annotations/person_keypoints_{split}.json"
    require(root, TREE.format(split=split), [file, split])
    with reading(root / file):
        data = read_json(root / file)
        names = {image["id"]: image["file_name"] for image in data["images"]}
        people = [_person(annotation) for annotation in data["annotations"] if annotation.get("keypoints")]
        people = [person for person in people if (person[1][LIMBS, 2] > 0).all() and person[2][2:].max() > 0]
    if not people:
        raise DamagedDownload(root / file, "no person in it has all 12 limb joints")
    images, points, box = [p[0] for p in people], np.stack([p[1] for p in people]), np.stack([p[2] for p in people])
    require(root, TREE.format(split=split), [f"{split}/{names[i]}" for i in dict.fromkeys(images)])
    return SpinDataset(
        np.array([f"{split}/{names[i]}" for i in images]),
        box[:, :2] + box[:, 2:] / 2,
        BOX_SCALE * box[:, 2:].max(1) / BOX_UNIT,
        spin_slots(points[..., :2], COCO17, points[..., 2] > 0),
    )


def _person(annotation: dict[str, Any]) -> tuple[int, NDArray, NDArray]:
    """(image, keypoints (17, 3), box x, y, width, height)."""
    points = np.asarray(annotation["keypoints"], np.float64).reshape(len(COCO17), 3)
    return annotation["image_id"], points, np.asarray(annotation["bbox"], np.float64).reshape(4)
