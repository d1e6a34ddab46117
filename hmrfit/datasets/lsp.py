"""Leeds Sports Poses (Johnson and Everingham, BMVC 2010) and LSP-extended (the same, CVPR 2011), 14 joints each.

    LSP        ROOT/joints.mat                       joints (3, 14, 2000): x, y, and a flag that SPIN does not use
               ROOT/images/im0001.jpg ... im2000.jpg

The first half is for training (SPIN takes it from the high-resolution edition, whose layout is the same), the second
for testing. The joints are LSP's own clicks, in pixels of whichever edition they came with; the masks are of Unite the
People.

    extended   ROOT/joints.mat                       joints (14, 3, N): x, y, visible
               ROOT/im00001.png ... im10000.png      the high-resolution edition of Unite the People

SPIN gives the i-th file of the sorted folder the i-th column: one lost image shifts all after it. Here the number in
the name chooses the column.
"""

from pathlib import Path

import numpy as np

from hmrfit.datasets.download import DamagedDownload, boxes, read_mat, reading, require, spin_slots
from hmrfit.datasets.spin_npz import SpinDataset
from hmrfit.keypoints import LSP14
from hmrfit.ops.how_many import how_many

TREE = """\
  ROOT/joints.mat
  ROOT/images/im0001.jpg ... im2000.jpg        (lsp_dataset.zip, or lsp_dataset_original.zip for training)"""

EXTENDED_TREE = """\
  ROOT/joints.mat
  ROOT/im00001.png ... im10000.png             (hr-lspet.zip)"""

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
        np.array(images),
        center,
        scale,
        spin_slots(points, LSP14),
        maskname=None if masks is None else np.array([f"{m}_segmentation.png" for m in masks]),
        partname=None if masks is None else np.array([f"{m}_part_segmentation.png" for m in masks]),
    )


def read_lsp_extended(root: Path, visible_only: bool = False) -> SpinDataset:
    """All images that are there.

    Args:
        visible_only: believe only joints that are marked visible, in the box too. SPIN believes all 14.
    """
    require(root, EXTENDED_TREE, ["joints.mat"])
    images = sorted(path.name for path in root.glob("im*.png"))
    if not images:
        require(root, EXTENDED_TREE, ["im00001.png"])
    path = root / "joints.mat"
    with reading(path):
        joints = np.asarray(read_mat(path)["joints"], np.float64)
    if joints.ndim != 3 or joints.shape[:2] != (14, 3):
        lsp = " as in LSP itself, which is the dataset 'lsp-train'" if joints.shape[:2] == (3, 14) else ""
        raise DamagedDownload(path, f"`joints` should be (14, 3, N), but is {joints.shape}{lsp}")
    columns = _columns(images, joints.shape[2], path)
    points, visible = joints[:, :2, columns].transpose(2, 0, 1), joints[:, 2, columns].T > 0
    known = visible if visible_only else np.ones_like(visible)
    rows = known.sum(1) >= 2  # a box needs two
    points, known = points[rows], known[rows]
    center, scale = boxes(points, known)
    return SpinDataset(np.array(images)[rows], center, scale, spin_slots(points, LSP14, known))


def _columns(images: list[str], count: int, path: Path) -> list[int]:
    """im00001.png -> 0."""
    numbers = [Path(name).stem.removeprefix("im") for name in images]
    odd = [name for name, number in zip(images, numbers, strict=True) if not number.isdigit()]
    columns = [int(number) - 1 for number in numbers if number.isdigit()]
    if odd or max(columns) >= count:
        raise DamagedDownload(
            path, f"it has {how_many(count, 'people')}, but among the images there is '{(odd or images[-1:])[0]}'"
        )
    return columns
