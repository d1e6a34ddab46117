"""InterHand2.6M (Moon et al., ECCV 2020): one hand or two of a person, from its three JSON files.

    ROOT/annotations/test/InterHand2.6M_test_data.json       COCO's layout: images, annotations
    ROOT/annotations/test/InterHand2.6M_test_camera.json     capture -> campos, camrot, focal, princpt -> camera
    ROOT/annotations/test/InterHand2.6M_test_joint_3d.json   capture -> frame -> world_coord (42, 3) millimetres
    ROOT/images/test/Capture0/...

    x = R (X − C) / 1000,   42 points: the right hand's 21, then the left one's, tips first, the wrist last

A hand whose wrist is not valid has no valid point, as in the authors' code, since errors are taken about the wrist.
Hands without a valid point are left out. The groups are "single" and "interacting".
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmrfit.datasets.download import DamagedDownload, reading, require
from hmrfit.datasets.hand_dataset import HandDataset
from hmrfit.io.bounded import read_json

TREE = """\
  ROOT/annotations/{split}/InterHand2.6M_{split}_data.json, _camera.json, _joint_3d.json
  ROOT/images/{split}/Capture0/..."""

HANDS = {"right": slice(0, 21), "left": slice(21, 42)}
"""Of the 42 points."""

WRIST = 20
"""Of interhand21."""

MILLIMETRE = 1e-3


def read_interhand(root: Path, split: str = "test") -> HandDataset:
    """One split (train, val, test)."""
    names = [f"annotations/{split}/InterHand2.6M_{split}_{part}.json" for part in ("data", "camera", "joint_3d")]
    require(root, TREE.format(split=split), names)
    data, cameras, joints = (read_json(root / name) for name in names)
    rows: list[dict[str, Any]] = []
    with reading(root / names[0]):
        images = {image["id"]: image for image in data["images"]}
        for number, annotation in enumerate(data["annotations"]):
            rows += _hands(annotation, images[annotation["image_id"]], cameras, joints, number, split)
    if not rows:
        raise DamagedDownload(root / names[0], "no hand has a valid point")
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return HandDataset(root, "interhand21", **columns)


def _hands(
    annotation: Mapping[str, Any],
    image: Mapping[str, Any],
    cameras: Mapping[str, Any],
    joints: Mapping[str, Any],
    number: int,
    split: str,
) -> list[dict[str, Any]]:
    """The hands of one annotation, as rows."""
    camera, view = cameras[str(image["capture"])], str(image["camera"])
    world = _numbers(joints[str(image["capture"])][str(image["frame_idx"])]["world_coord"], (42, 3))
    R, center = _numbers(camera["camrot"][view], (3, 3)), _numbers(camera["campos"][view], (3,))
    focal, middle = _numbers(camera["focal"][view], (2,)), _numbers(camera["princpt"][view], (2,))
    seen = MILLIMETRE * (world - center) @ R.T
    valid = _numbers(annotation["joint_valid"], (42,)) > 0
    two = annotation["hand_type"] == "interacting"
    K = np.array([[focal[0], 0, middle[0]], [0, focal[1], middle[1]], [0, 0, 1]])
    found = []
    for side, points in HANDS.items():
        own = valid[points] & valid[points][WRIST]
        if own.any():
            found.append(
                {
                    "names": str(annotation["id"]),
                    "side": side,
                    "joints": seen[points],
                    "valid": own,
                    "K": K,
                    "size": (int(image["width"]), int(image["height"])),
                    "picture": number,
                    "group": "interacting" if two else "single",
                    "image": f"images/{split}/{image['file_name']}",
                }
            )
    return found


def _numbers(values: Any, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Raises ValueError where there are more or fewer."""
    return np.asarray(values, np.float64).reshape(shape)
