"""Data sets of hands, as `hmrfit.datasets` reads them -> the pictures that hands are trained on.

FreiHAND hands out more than its annotations name: masks, and every training picture before three more backgrounds,

    ROOT/training/mask/00000000.jpg ...              N
    ROOT/training/rgb/00000000.jpg ...               4 N, the k-th again as k + N, k + 2 N, k + 3 N

which are taken where they are there. Other sets have no masks here: GrabCut makes some (`hand_masks`).
"""

from pathlib import Path

import numpy as np

from hmrfit.datasets.hand_dataset import HandDataset
from hmrfit.hand_keypoints import HAND_SETS, WRIST
from hmrfit.train.hand_images import HandFiles

BACKGROUNDS = 4


def hand_files(dataset: HandDataset) -> HandFiles:
    """The hands of a data set whose pictures are known.

    Raises:
        ValueError: it names no pictures.
    """
    if dataset.image is None:
        raise ValueError(f"The data set in '{dataset.root}' names no pictures of its hands, so none can be cut out.")
    own = [name.replace("wrist_mano", WRIST) if name else name for name in HAND_SETS[dataset.order]]
    places = [own.index(name) for name in HAND_SETS["hand21"]]
    seen, images = dataset.keypoints_2d[:, places], [dataset.root / name for name in dataset.image.tolist()]
    points = np.where(dataset.valid[..., None], dataset.joints, np.nan)[:, places]
    files = HandFiles(images, seen[..., :2], seen[..., 2], points, dataset.side == "left", [_mask(p) for p in images])
    return _with_backgrounds(files)


def _mask(image: Path) -> Path | None:
    """FreiHAND's of a picture, or None."""
    path = image.parent.with_name("mask") / image.name
    return path if image.parent.name == "rgb" and path.is_file() else None


def _with_backgrounds(files: HandFiles) -> HandFiles:
    """The same hands before every background that is there."""
    count, copies = len(files), [list(files.images)]
    for k in range(1, BACKGROUNDS):
        again = [path for image in files.images if (path := _later(image, k * count)) is not None]
        if len(again) < max(1, count) or not (again[0].is_file() and again[-1].is_file()):
            break
        copies.append(again)
    times = len(copies)
    return HandFiles(
        images=[path for copy in copies for path in copy],
        keypoints=np.tile(files.keypoints, (times, 1, 1)),
        confidence=np.tile(files.confidence, (times, 1)),
        points=None if files.points is None else np.tile(files.points, (times, 1, 1)),
        left=None if files.left is None else np.tile(files.left, times),
        masks=list(files.masks) * times,
    )


def _later(image: Path, count: int) -> Path | None:
    """The picture whose number is larger by `count`, of FreiHAND's names."""
    number = image.stem
    if image.parent.name != "rgb" or not (number.isascii() and number.isdigit()):
        return None
    return image.with_name(f"{int(number) + count:0{len(number)}d}{image.suffix}")
