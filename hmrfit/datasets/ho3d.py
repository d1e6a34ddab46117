"""HO-3D v2 and v3 (Hampali et al., CVPR 2020): right hands with objects, from JSON, and pickles that are never run.

    ROOT/evaluation.txt, train.txt                       SM1/0000 ...: the samples of a split, in its order
    ROOT/evaluation_xyz.json, evaluation_verts.json      their truth (a download of its own), in OpenGL's axes
    ROOT/evaluation/SM1/meta/0000.pkl                    camMat; of train also handJoints3D (21, 3)
    ROOT/evaluation/SM1/rgb/0000.png (v2) or .jpg (v3)   640 × 480

MANO's order of 16 joints and five tips. OpenGL's axes (y up, the hand at −z) become OpenCV's by diag(1, −1, −1).
v2 has 11,524 samples in its evaluation, v3 20,137.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmrfit.datasets.download import DamagedDownload, reading, require
from hmrfit.datasets.hand_dataset import HandDataset
from hmrfit.io.bounded import read_text, words
from hmrfit.io.number_lists import read_matrices
from hmrfit.io.pickles import as_numbers, read_pickle
from hmrfit.ops.how_many import how_many

TREE = """\
  ROOT/{split}.txt
  ROOT/{split}/<sequence>/meta/0000.pkl ...
  ROOT/evaluation_xyz.json, evaluation_verts.json    (evaluation only: the truth, which is a download of its own)"""

SIZE = (640, 480)

OPENGL = np.array([1.0, -1.0, -1.0])
"""From OpenGL's axes to OpenCV's, and back."""

VERSIONS = {11524: "v2", 20137: "v3"}
"""By the size of the evaluation."""


def read_ho3d(root: Path, split: str = "evaluation") -> HandDataset:
    """One split (evaluation, train). Samples without a hand in train are left out. The camera is unknown where a sample
    of the evaluation has no meta file."""
    tree, evaluation = TREE.format(split=split), split == "evaluation"
    truth = root / "evaluation_xyz.json", root / "evaluation_verts.json"
    require(root, tree, [f"{split}.txt", *([truth[0].name] if evaluation else [])])
    names = words(read_text(root / f"{split}.txt"), f"'{root / split}.txt'")
    metas = [_meta(root / split / name.split("/")[0] / "meta" / f"{name.split('/')[-1]}.pkl") for name in names]
    K = np.stack([_numbers(meta, "camMat", (3, 3)) for meta in metas]) if names else np.zeros((0, 3, 3))
    vertices: NDArray[np.float64] | None = None
    if evaluation:
        joints = _truth(truth[0], len(names), (21, 3))
        vertices = _truth(truth[1], len(names), None) if truth[1].is_file() else None
    else:
        joints = np.stack([_numbers(meta, "handJoints3D", (21, 3)) for meta in metas]) * OPENGL
    N = len(names)
    data = HandDataset(
        root,
        "mano_native21",
        np.array(names, np.str_),
        np.full(N, "right"),
        joints,
        np.all(np.isfinite(joints), axis=-1),
        K,
        np.tile(np.array(SIZE, np.int64), (N, 1)),
        np.arange(N),
        np.array([name.split("/")[0] for name in names], np.str_),
        np.array([_image(root, split, name) for name in names], np.str_),
        vertices,
    )
    return data[np.flatnonzero(data.valid.any(1))]


def _truth(path: Path, count: int, shape: tuple[int, int] | None) -> NDArray[np.float64]:
    groups = read_matrices(path)
    found = groups[0]
    shape = shape or (found[0].shape[0], 3)
    if len(groups) > 1 or len(found) != count or any(matrix.shape != shape for matrix in found):
        raise DamagedDownload(
            path, f"expected {how_many(count, 'matrices')} {shape}, one for each line of evaluation.txt"
        )
    return np.stack(found) * OPENGL


def _meta(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    with reading(path):
        found = read_pickle(path)
    if not isinstance(found, dict):
        raise DamagedDownload(path, f"a {type(found).__name__}, no dictionary")
    return found


def _numbers(meta: dict[str, Any], name: str, shape: tuple[int, int]) -> NDArray[np.float64]:
    """NaN where it is not there, or of another shape: the evaluation's has the wrist only."""
    value = meta.get(name)
    found = np.zeros(0) if value is None else as_numbers(value, f"`{name}`")
    return found if found.shape == shape else np.full(shape, np.nan)


def _image(root: Path, split: str, name: str) -> str:
    sequence, number = name.split("/")[0], name.split("/")[-1]
    stem = f"{split}/{sequence}/rgb/{number}"
    return f"{stem}.png" if (root / f"{stem}.png").is_file() else f"{stem}.jpg"
