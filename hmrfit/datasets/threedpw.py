"""3DPW (von Marcard et al., ECCV 2018), from its pickles, which are read as data and never run.

    ROOT/sequenceFiles/test/downtown_arguing_00.pkl      for P people and N frames: poses [P] (N, 72), betas [P] (10+,),
        poses2d [P] (N, 3, 18), cam_poses (N, 4, 4) world -> camera, campose_valid [P] (N,), genders [P]
    ROOT/imageFiles/downtown_arguing_00/image_00000.jpg ...

    global_orient = R_cam R_world;   the box is around the 2D keypoints with confidence, 1.2 times as large

The pose is that of the person's own gendered SMPL. Frames in which the camera was lost, or none of the keypoints was
seen, are left out. There are no `part` and no `S`: the truth's joints are those of the gendered body. The 2D keypoints
are detections of OpenPose's older model; they fill what they can of `openpose`, which SPIN's file lacks.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hmrfit.datasets.download import DamagedDownload, boxes, reading, require
from hmrfit.datasets.spin_npz import SpinDataset
from hmrfit.io.pickles import as_numbers, read_pickle
from hmrfit.keypoints import OPENPOSE18, OPENPOSE25
from hmrfit.ops.rotation import matrix_to_rotvec, rotvec_to_matrix

TREE = """\
  ROOT/sequenceFiles/{split}/<sequence>.pkl ...    (sequenceFiles.zip)
  ROOT/imageFiles/<sequence>/image_00000.jpg ...   (imageFiles.zip)"""

COLUMNS = ("imgname", "center", "scale", "openpose", "pose", "shape", "gender")


def read_3dpw(root: Path, split: str = "test") -> SpinDataset:
    """One split (train, validation, test): every person in every frame with a valid camera."""
    tree, folder = TREE.format(split=split), f"sequenceFiles/{split}"
    require(root, tree, [folder])
    files = sorted((root / folder).glob("*.pkl"))
    if not files:
        require(root, tree, [f"{folder}/<sequence>.pkl"])
    parts = []
    for path in files:
        with reading(path):
            data = read_pickle(path)
            parts += [_person(data, person) for person in range(len(data["poses"]))]
    if not sum(len(part["imgname"]) for part in parts):
        raise DamagedDownload(root / folder, "no person is seen in it")
    dataset = SpinDataset(**{name: np.concatenate([part[name] for part in parts]) for name in COLUMNS})
    require(root, tree, dict.fromkeys(dataset.imgname))
    return dataset


def _person(data: dict[str, Any], person: int) -> dict[str, NDArray]:
    """One person's rows."""
    pose, points = _numbers(data["poses"][person]), _numbers(data["poses2d"][person])
    seen = points[:, 2] > 0
    frames = ((_numbers(data["campose_valid"][person]) > 0) & (seen.sum(1) > 1)).nonzero()[0]
    center, scale = boxes(points[frames, :2].transpose(0, 2, 1), seen[frames])
    openpose = np.zeros((len(frames), len(OPENPOSE25), 3))
    openpose[:, [OPENPOSE25.index(name) for name in OPENPOSE18]] = points[frames].transpose(0, 2, 1)
    turned = pose[frames]  # a copy
    turned[:, :3] = _before_camera(turned[:, :3], _numbers(data["cam_poses"])[frames, :3, :3])
    betas = _numbers(data["betas"][person])[:10]
    return {
        "imgname": np.array([f"imageFiles/{data['sequence']}/image_{f:05d}.jpg" for f in frames], np.str_),
        "center": center,
        "scale": scale,
        "openpose": openpose,
        "pose": turned,
        "shape": np.tile(betas, (len(frames), 1)),
        "gender": np.full(len(frames), str(data["genders"][person])),
    }


def _numbers(values: Any) -> NDArray[np.float64]:
    return as_numbers(values, "it")


def _before_camera(world: NDArray, camera: NDArray) -> NDArray:
    """Rotation vectors (N, 3) in the world, R_cam (N, 3, 3) -> rotation vectors in the camera frame."""
    return matrix_to_rotvec(torch.as_tensor(camera) @ rotvec_to_matrix(torch.as_tensor(world))).numpy()
