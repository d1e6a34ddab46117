"""Leeds Sports Poses (Johnson and Everingham, BMVC 2010): 2000 images, 14 joints; the masks are of Unite the People.

    ROOT/joints.mat                       joints (3, 14, 2000): x, y, and a flag that SPIN does not use
    ROOT/images/im0001.jpg ... im2000.jpg

The first half is for training (SPIN takes it from the high-resolution edition, whose layout is the same), the second
for testing. The joints are LSP's own clicks, in pixels of whichever edition they came with.
"""

from pathlib import Path

import numpy as np

from hmrfit.datasets.download import DamagedDownload, boxes, read_mat, reading, require, spin_slots
from hmrfit.datasets.spin_npz import SpinDataset
from hmrfit.keypoints import LSP14

TREE = """\
  ROOT/joints.mat
  ROOT/images/im0001.jpg ... im2000.jpg        (lsp_dataset.zip, or lsp_dataset_original.zip for training)"""

HALVES = {"train": range(1000), "test": range(1000, 2000)}


def read_lsp(root: Path, split: str = "test") -> SpinDataset:
    """One half. The test half names the masks below the folder of UPi-S1h: `data/lsp/im1001_segmentation.png`, ...

    Boxes are around all 14 joints, as in SPIN: what is measured with them is given the true box.
    """
    rows = HALVES[split]
    images = [f"images/im{i + 1:04d}.jpg" for i in rows]
    require(root, TREE, ["joints.mat", *images])
    path = root / "joints.mat"
    with reading(path):
        joints = np.asarray(read_mat(path)["joints"], np.float64)
    if joints.shape != (3, 14, 2000):
        extended = " as in LSP-extended, which is the dataset 'lsp-extended'" if joints.shape[:2] == (14, 3) else ""
        raise DamagedDownload(path, f"`joints` should be (3, 14, 2000), but is {joints.shape}{extended}")
    points = joints[:2].transpose(2, 1, 0)[list(rows)]
    center, scale = boxes(points)
    masks = [f"data/lsp/im{i + 1:04d}" for i in rows] if split == "test" else None
    return SpinDataset(
        np.array(images), center, scale, spin_slots(points, LSP14),
        maskname=None if masks is None else np.array([f"{m}_segmentation.png" for m in masks]),
        partname=None if masks is None else np.array([f"{m}_part_segmentation.png" for m in masks]),
    )  # fmt: skip
