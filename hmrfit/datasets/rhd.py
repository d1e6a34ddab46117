"""RHD (Zimmermann and Brox, ICCV 2017): both hands of rendered people, from a pickle that is never run.

    ROOT/evaluation/anno_evaluation.pickle     sample -> K (3, 3), uv_vis (42, 3), xyz (42, 3)
    ROOT/evaluation/color/00000.png ...        320 × 320; training alike

42 points: the left hand's 21, then the right one's; each the wrist, then every finger from its tip. Metres of the
camera. `valid` is what uv_vis calls visible; a hand of which nothing is visible is left out.
"""

from pathlib import Path

import numpy as np

from hmrfit.camera import PIXEL_CENTER
from hmrfit.datasets.download import DamagedDownload, reading, require
from hmrfit.datasets.hand_dataset import HandDataset
from hmrfit.io.pickles import as_numbers, read_pickle

TREE = """\
  ROOT/{split}/anno_{split}.pickle
  ROOT/{split}/color/00000.png ..."""

SIZE = (320, 320)
HANDS = {"left": slice(0, 21), "right": slice(21, 42)}

MOST_STEPS = 6_000_000
"""Of the pickle: its 41,258 training samples take about seventy each."""


def read_rhd(root: Path, split: str = "evaluation") -> HandDataset:
    """One split (evaluation, training): a row for each visible hand."""
    path = root / split / f"anno_{split}.pickle"
    require(root, TREE.format(split=split), [path.relative_to(root)])
    found, samples = read_pickle(path, MOST_STEPS), []
    with reading(path):
        for sample, annotation in sorted(found.items()):
            K, uv, xyz = (as_numbers(annotation[name], f"`{name}`") for name in ("K", "uv_vis", "xyz"))
            if K.shape != (3, 3) or uv.shape != (42, 3) or xyz.shape != (42, 3):
                raise ValueError(f"sample {sample} has {K.shape}, {uv.shape} and {xyz.shape}")
            for side, points in HANDS.items():
                if (uv[points, 2] > 0).any():
                    samples.append((int(sample), side, K, uv[points], xyz[points]))
    if not samples:
        raise DamagedDownload(path, "no hand is visible in it")
    number, sides, K, uv, xyz = map(np.array, zip(*samples, strict=True))
    seen = uv[..., 2] > 0
    xy = np.where(seen[..., None], uv[..., :2] + PIXEL_CENTER, 0.0)
    N = len(number)
    return HandDataset(
        root,
        "rhd21",
        np.array([f"{n:05d}" for n in number], np.str_),
        sides,
        xyz,
        seen,
        K,
        np.tile(np.array(SIZE, np.int64), (N, 1)),
        number.astype(np.int64),
        np.full(N, ""),
        np.array([f"{split}/color/{n:05d}.png" for n in number], np.str_),
        keypoints=np.concatenate([xy, seen[..., None]], -1),
    )
