"""LSP-extended (Johnson and Everingham, CVPR 2011) in the high-resolution edition of Unite the People.

    ROOT/joints.mat                      joints (14, 3, N): x, y, visible; LSP itself has (3, 14, N)
    ROOT/im00001.png ... im10000.png

SPIN gives the i-th file of the sorted folder the i-th column: one lost image shifts everybody after it. Here the number
in the name chooses the column.
"""

from pathlib import Path

import numpy as np

from hmrfit.datasets.download import DamagedDownload, boxes, read_mat, reading, require, spin_slots
from hmrfit.datasets.spin_npz import SpinDataset
from hmrfit.keypoints import LSP14

TREE = """\
  ROOT/joints.mat
  ROOT/im00001.png ... im10000.png             (hr-lspet.zip)"""


def read_lsp_extended(root: Path, visible_only: bool = False) -> SpinDataset:
    """All images that are there.

    Args:
        visible_only: believe only joints that are marked visible, in the box too. SPIN believes all 14.
    """
    require(root, TREE, ["joints.mat"])
    images = sorted(path.name for path in root.glob("im*.png"))
    if not images:
        require(root, TREE, ["im00001.png"])
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
        raise DamagedDownload(path, f"it has {count} people, but among the images there is '{(odd or images[-1:])[0]}'")
    return columns
