"""MPII Human Pose (Andriluka et al., CVPR 2014), from its MATLAB annotation.

    ROOT/mpii_human_pose_v1_u12_1.mat    RELEASE.annolist(i).annorect(j): scale, objpos, annopoints.point(k): id, x, y
    ROOT/images/015601864.jpg ...

SPIN starts from train.h5 of the hourglass networks (Newell et al., ECCV 2016), whose boxes are moved down by 15 scale
and widened by 1.25 so that feet stay in; the same here. That file leaves out a validation set of some 3000 people which
the MATLAB file does not mark: here every person of `img_train` with all 16 joints is kept. Coordinates are as MATLAB
counts, from 1, and stay so, as in SPIN's files.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmrfit.datasets.download import DamagedDownload, read_mat, reading, require, spin_slots
from hmrfit.datasets.spin_npz import SpinDataset
from hmrfit.keypoints import MPII16

FILE = "mpii_human_pose_v1_u12_1.mat"
TREE = f"""\
  ROOT/{FILE}           (mpii_human_pose_v1_u12_2.zip)
  ROOT/images/015601864.jpg ...                (mpii_human_pose_v1.tar.gz)"""

FEET, WIDER = 15.0, 1.25


def read_mpii(root: Path) -> SpinDataset:
    """People of the training images with all 16 joints. The image files themselves are not looked for."""
    require(root, TREE, [FILE, "images"])
    with reading(root / FILE):
        release = read_mat(root / FILE, squeeze_me=True, struct_as_record=False)["RELEASE"]
        people = list(_people(release))
    if not people:
        raise DamagedDownload(root / FILE, "no person in it has all 16 joints")
    names, centers, scales, points = zip(*people, strict=True)
    center = np.array(centers) + FEET * np.array(scales)[:, None] * (0, 1)
    part = spin_slots(np.stack(points), MPII16)
    return SpinDataset(np.array(names), center, WIDER * np.array(scales), part)


def _people(release: Any) -> Iterator[tuple[str, NDArray, float, NDArray]]:
    """(image, center, scale, joints (16, 2)) of every person with all joints."""
    training = np.atleast_1d(release.img_train)
    for image, train in zip(np.atleast_1d(release.annolist), training, strict=True):
        for person in np.atleast_1d(image.annorect) if train else ():
            points = _joints(person)
            if points is not None and _filled(person, "objpos") and _filled(person, "scale"):
                center = np.array([person.objpos.x, person.objpos.y], np.float64)
                yield f"images/{image.image.name}", center, float(person.scale), points


def _filled(struct: Any, field: str) -> bool:
    """MATLAB writes an absent field of one struct as an empty array when another struct has it."""
    return np.size(getattr(struct, field, ())) > 0


def _joints(person: Any) -> NDArray | None:
    """(16, 2) by id; None unless all are there. The hourglass file has 0 for what is missing; SPIN wants > 0."""
    if not _filled(person, "annopoints") or not _filled(person.annopoints, "point"):
        return None
    points = np.zeros((len(MPII16), 2))
    for point in np.atleast_1d(person.annopoints.point):
        points[int(point.id)] = point.x, point.y
    return points if (points > 0).all() else None
