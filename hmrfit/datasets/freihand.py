"""FreiHAND (Zimmermann et al., ICCV 2019): right hands, 224 × 224 pixels, from JSON of numbers alone.

    ROOT/evaluation_K.json  evaluation_xyz.json  evaluation_verts.json      3,960 samples
    ROOT/training_K.json    training_xyz.json    training_verts.json        32,560
    ROOT/evaluation/rgb/00000000.jpg ...  training/rgb/...                  the training pictures four times

Metres of the camera; hand21 with FreiHAND's own five tips; MANO's 778 vertices. The annotations of the evaluation have
been public since 2021. A training picture of another background is the same sample: the first 32,560 are read.
"""

from pathlib import Path

import numpy as np

from hmrfit.datasets.download import DamagedDownload, require
from hmrfit.datasets.hand_dataset import HandDataset
from hmrfit.io.number_lists import read_matrices
from hmrfit.ops.how_many import how_many

TREE = """\
  ROOT/{split}_K.json, {split}_xyz.json, {split}_verts.json
  ROOT/{split}/rgb/00000000.jpg ..."""

SIZE = (224, 224)


def read_freihand(root: Path, split: str = "evaluation") -> HandDataset:
    """One split (evaluation, training). Vertices where there is a file of them."""
    require(root, TREE.format(split=split), [f"{split}_K.json", f"{split}_xyz.json"])
    K, joints = (_stacked(root / f"{split}_{name}.json", shape) for name, shape in (("K", (3, 3)), ("xyz", (21, 3))))
    vertex_file = root / f"{split}_verts.json"
    vertices = _stacked(vertex_file, (-1, 3)) if vertex_file.is_file() else None
    N = len(joints)
    for name, found in (("K", K), ("verts", vertices)):
        if found is not None and len(found) != N:
            raise DamagedDownload(
                root / f"{split}_{name}.json", f"{how_many(len(found), 'samples')}, but {N} in {split}_xyz.json"
            )
    names = np.array([f"{i:08d}" for i in range(N)], np.str_)
    return HandDataset(
        root,
        "hand21",
        names,
        np.full(N, "right"),
        joints,
        np.ones((N, 21), bool),
        K,
        np.tile(np.array(SIZE, np.int64), (N, 1)),
        np.arange(N),
        np.full(N, ""),
        np.array([f"{split}/rgb/{name}.jpg" for name in names], np.str_),
        vertices,
    )


def _stacked(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """(N, *shape) of a file of N matrices; -1: as many rows as the first has."""
    groups = read_matrices(path)
    found = groups[0]
    rows = len(found[0]) if shape[0] < 0 and found else shape[0]
    if len(groups) > 1 or not found or any(matrix.shape != (rows, shape[1]) for matrix in found):
        raise DamagedDownload(path, f"expected a list of matrices ({rows}, {shape[1]})")
    return np.stack(found)
