"""DexYCB (Chao et al., CVPR 2021): one hand with objects in eight cameras, from npz and YAML of plain values.

    ROOT/20200709-subject-01/20200709_141754/meta.yml                   num_frames, mano_sides
    ROOT/20200709-subject-01/20200709_141754/836212060125/color_000000.jpg, labels_000000.npz
    ROOT/calibration/intrinsics/836212060125_640x480.yml                color: fx, fy, ppx, ppy

    joint_3d (1, 21, 3)  metres of the camera, hand21;  all −1: no hand is seen, and the sample is left out

A sample's name is its number in the split, as files of results have it: subjects, sequences, cameras, frames in their
order, those without a hand counted too. So the sequences of a subject must all be there.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from yaml import YAMLError, safe_load

from hmrfit.datasets.download import DamagedDownload, reading, require
from hmrfit.datasets.hand_dataset import HandDataset
from hmrfit.io.bounded import read_npz, read_text
from hmrfit.ops.check import did_you_mean

TREE = """\
  ROOT/<subject>/<sequence>/meta.yml, <camera>/labels_000000.npz ...
  ROOT/calibration/intrinsics/<camera>_640x480.yml"""

SIZE = (640, 480)

SUBJECTS = (
    "20200709-subject-01", "20200813-subject-02", "20200820-subject-03", "20200903-subject-04", "20200908-subject-05",
    "20200918-subject-06", "20200928-subject-07", "20201002-subject-08", "20201015-subject-09", "20201022-subject-10",
)  # fmt: skip

CAMERAS = (
    "836212060125", "839512060362", "840412060917", "841412060263", "932122060857", "932122060861", "932122061900",
    "932122062010",
)  # fmt: skip

ALL = range(10)
LONGEST_YAML = 100_000
"""Characters. Their files have some hundreds."""


class Part(NamedTuple):
    """What a split takes."""

    subjects: range | tuple[int, ...]
    cameras: range | tuple[int, ...]
    sequence: Callable[[int], bool]  # by its number among a subject's hundred


def _every(number: int) -> bool:
    return True


SPLITS = {
    "s0_train": Part(ALL, range(8), lambda i: i % 5 != 4),
    "s0_val": Part((0, 1), range(8), lambda i: i % 5 == 4),
    "s0_test": Part(range(2, 10), range(8), lambda i: i % 5 == 4),
    "s1_train": Part((0, 1, 2, 3, 4, 5, 9), range(8), _every),
    "s1_val": Part((6,), range(8), _every),
    "s1_test": Part((7, 8), range(8), _every),
    "s2_train": Part(ALL, range(6), _every),
    "s2_val": Part(ALL, (6,), _every),
    "s2_test": Part(ALL, (7,), _every),
    "s3_train": Part(ALL, range(8), lambda i: i // 5 not in (3, 7, 11, 15, 19)),
    "s3_val": Part(ALL, range(8), lambda i: i // 5 in (3, 19)),
    "s3_test": Part(ALL, range(8), lambda i: i // 5 in (7, 11, 15)),
}
"""Setups s0 to s3: everything seen, new subjects, new cameras, new objects."""


def read_dexycb(root: Path, split: str = "s0_test") -> HandDataset:
    """One split of one setup, such as "s0_test"."""
    if split not in SPLITS:
        near = did_you_mean(split, SPLITS)
        raise ValueError(f"DexYCB has no split '{split}'.{near} Known: {', '.join(SPLITS)}.")
    part = SPLITS[split]
    subjects, cameras = [SUBJECTS[i] for i in part.subjects], [CAMERAS[i] for i in part.cameras]
    require(root, TREE, [*subjects, *(f"calibration/intrinsics/{camera}_640x480.yml" for camera in cameras)])
    K = {camera: _intrinsics(root / f"calibration/intrinsics/{camera}_640x480.yml") for camera in cameras}
    rows: list[dict[str, Any]] = []
    count = 0
    for subject in subjects:
        folders = sorted(path for path in (root / subject).iterdir() if path.is_dir())
        for picked, folder in enumerate(folders):
            if not part.sequence(picked):
                continue
            meta = _yaml(folder / "meta.yml")
            with reading(folder / "meta.yml"):
                frames, side = int(meta["num_frames"]), str(meta["mano_sides"][0])
            for camera in cameras:
                for frame in range(frames):
                    found = _hand(folder / camera / f"labels_{frame:06d}.npz")
                    if found is not None:
                        image = f"{subject}/{folder.name}/{camera}/color_{frame:06d}.jpg"
                        rows.append(
                            {
                                "names": str(count),
                                "side": side,
                                "joints": found,
                                "K": K[camera],
                                "picture": count,
                                "group": subject,
                                "image": image,
                            }
                        )
                    count += 1
    if not rows:
        raise DamagedDownload(root, "no hand is seen in this split")
    N = len(rows)
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    size = np.tile(np.array(SIZE, np.int64), (N, 1))
    return HandDataset(root, "hand21", **columns, valid=np.ones((N, 21), bool), size=size)


def _hand(path: Path) -> np.ndarray | None:
    """(21, 3) metres; None where no hand is seen."""
    with reading(path):
        joints = read_npz(path, ("joint_3d",))["joint_3d"].astype(np.float64).reshape(21, 3)
    return None if (joints == -1).all() else joints


def _intrinsics(path: Path) -> np.ndarray:
    found = _yaml(path)
    with reading(path):
        fx, fy, x, y = (float(found["color"][name]) for name in ("fx", "fy", "ppx", "ppy"))
    return np.array([[fx, 0, x], [0, fy, y], [0, 0, 1]])


def _yaml(path: Path) -> Any:
    """Plain values only; aliases, with which a short text becomes a large one, are refused."""
    text = read_text(path)
    if len(text) > LONGEST_YAML or "&" in text or "*" in text:
        raise DamagedDownload(path, "longer than any of the data set, or with aliases")
    try:
        return safe_load(text)
    except YAMLError as error:
        raise DamagedDownload(path, f"no YAML: {str(error)[:80]}") from None
