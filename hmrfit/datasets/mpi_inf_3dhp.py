"""MPI-INF-3DHP (Mehta et al., 3DV 2017).

    training   ROOT/S1/Seq1/annot.mat                              annot2, annot3 {video}(frames, 28 · 2 or 3), px, mm
               ROOT/S1/Seq1/imageSequence/video_0.avi              2048 × 2048
               ROOT/S1/Seq1/imageFrames/video_0/frame_000001.jpg   made of it by `extract_images`
    test       ROOT/mpi_inf_3dhp_test_set/TS1/annot_data.mat       MATLAB 7.3: annot2, univ_annot3, valid_frame
               ROOT/mpi_inf_3dhp_test_set/TS1/imageSequence/img_000001.jpg

The test set's joints are of the universal skeleton. Frames with any of the 17 joints outside of the image are left out.
Of the training frames that remain every 10th is kept, counted through. SPIN goes through the training images in
whatever order the disk lists them and gives the i-th the i-th annotation; here the number in the name decides.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hmrfit.datasets.download import (
    DamagedDownload,
    all_inside,
    boxes,
    extract_frames,
    h5_numbers,
    open_h5,
    read_mat,
    reading,
    require,
    spin_slots,
)
from hmrfit.datasets.human36m import JOINTS
from hmrfit.datasets.spin_npz import SpinDataset
from hmrfit.io.image import read_image

NAMES = tuple(JOINTS)
"""The same 17 as Human3.6M's, the root first."""

TRAIN_JOINTS = (4, 18, 19, 20, 23, 24, 25, 3, 5, 6, 7, 9, 10, 11, 14, 15, 16)
TEST_JOINTS = (14, 11, 12, 13, 8, 9, 10, 15, 1, 16, 0, 5, 6, 7, 2, 3, 4)
"""Where they stand among the training set's 28 and the test set's 17."""

ACTIVITIES = ("Stand/Walk", "Exercise", "Sit on chair", "Crouch/Reach", "On the floor", "Sports", "Misc.")
"""1 to 7 in the test set's activity_annotation."""

VIDEOS = (0, 1, 2, 4, 5, 6, 7, 8)
"""The cameras at chest height, as SPIN takes them."""

SEQUENCES = tuple(f"S{subject}/Seq{sequence}" for subject in range(1, 9) for sequence in (1, 2))
TEST_SEQUENCES = tuple(f"mpi_inf_3dhp_test_set/TS{number}" for number in range(1, 7))
SIZE = (2048, 2048)
EVERY = 10

TRAIN_TREE = """\
  ROOT/S1/Seq1/annot.mat
  ROOT/S1/Seq1/imageFrames/video_0/frame_000001.jpg ...      (extract_images makes them of imageSequence/video_0.avi)
  the same for S1 to S8, Seq1 and Seq2, videos 0, 1, 2, 4, 5, 6, 7, 8"""
TEST_TREE = """\
  ROOT/mpi_inf_3dhp_test_set/TS1/annot_data.mat
  ROOT/mpi_inf_3dhp_test_set/TS1/imageSequence/img_000001.jpg ...
  the same for TS1 to TS6"""


def read_3dhp_train(root: Path) -> SpinDataset:
    """All sequences of all eight subjects."""
    require(root, TRAIN_TREE, [f"{s}/annot.mat" for s in SEQUENCES])
    require(root, TRAIN_TREE, [f"{s}/imageFrames/video_{v}" for s in SEQUENCES for v in VIDEOS])
    images, xy, S = (
        np.concatenate(v) for v in zip(*(p for s in SEQUENCES for p in _train_parts(root, s)), strict=True)
    )
    inside = all_inside(xy, SIZE).nonzero()[0][::EVERY]
    return _dataset(images[inside], xy[inside], S[inside])


def _train_parts(root: Path, sequence: str) -> Iterator[tuple[NDArray, NDArray, NDArray]]:
    """Of each video: images (n,), joints (n, 17, 2) pixels, (n, 17, 3) millimetres."""
    path = root / sequence / "annot.mat"
    annotation = read_mat(path)
    for video in VIDEOS:
        folder = f"{sequence}/imageFrames/video_{video}"
        images = sorted(image.name for image in (root / folder).glob("frame_*.jpg"))
        if not images:
            require(root, TRAIN_TREE, [f"{folder}/frame_000001.jpg"])
        with reading(path):
            rows = [int(name[len("frame_") : -len(".jpg")]) - 1 for name in images]
            xy, S = (
                np.asarray(annotation[key][video][0], np.float64).reshape(-1, 28, size)[:, TRAIN_JOINTS]
                for key, size in (("annot2", 2), ("annot3", 3))
            )
        if max(rows) >= min(len(xy), len(S)):
            raise DamagedDownload(path, f"it ends before {folder}/{images[-1]}")
        yield np.array([f"{folder}/{name}" for name in images]), xy[rows], S[rows]


def read_3dhp_test(root: Path, inside_only: bool = True) -> SpinDataset:
    """The valid frames of all six sequences.

    inside_only: leave out frames with a joint outside of the image, as SPIN does; the official script keeps them.
    """
    require(root, TEST_TREE, [f"{s}/annot_data.mat" for s in TEST_SEQUENCES])
    parts = [_test_part(root, sequence, inside_only) for sequence in TEST_SEQUENCES]
    return _dataset(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def _test_part(root: Path, sequence: str, inside_only: bool) -> tuple[NDArray, NDArray, NDArray]:
    """Images (n,), joints (n, 17, 2) pixels, (n, 17, 3) millimetres of the valid frames."""
    path = root / sequence / "annot_data.mat"
    with open_h5(path) as file:
        xy = h5_numbers(file, "annot2").reshape(-1, 17, 2)[:, TEST_JOINTS]
        S = h5_numbers(file, "univ_annot3").reshape(-1, 17, 3)[:, TEST_JOINTS]
        rows = (h5_numbers(file, "valid_frame").ravel() > 0).nonzero()[0]
    images = np.array([f"{sequence}/imageSequence/img_{row + 1:06d}.jpg" for row in rows])
    require(root, TEST_TREE, images)
    if not len(rows):
        raise DamagedDownload(path, "no frame of it is valid")
    if not inside_only:
        return images, xy[rows], S[rows]
    height, width = read_image(root / images[0]).shape[:2]  # one camera: one size for all of a sequence
    inside = all_inside(xy[rows], (width, height))
    return images[inside], xy[rows][inside], S[rows][inside]


def read_3dhp_activities(root: Path, people: SpinDataset) -> NDArray[np.str_]:
    """(N,) what each person of the test set does, one of `ACTIVITIES`; "" where a download does not say."""
    found = np.full(len(people), "", f"<U{max(map(len, ACTIVITIES))}")
    for sequence in TEST_SEQUENCES:
        rows = [i for i, name in enumerate(people.imgname) if str(name).startswith(f"{sequence}/")]
        frames = [int(Path(str(people.imgname[i])).stem.removeprefix("img_")) - 1 for i in rows]
        path = root / sequence / "annot_data.mat"
        with open_h5(path) as file:
            if "activity_annotation" not in file:
                continue
            numbers = h5_numbers(file, "activity_annotation").ravel().astype(int)
            found[rows] = np.array(ACTIVITIES)[numbers[frames] - 1]
    return found


def _dataset(images: NDArray, xy: NDArray, millimetres: NDArray) -> SpinDataset:
    center, scale = boxes(xy)
    S = (millimetres - millimetres[:, :1]) / 1000
    return SpinDataset(images, center, scale, spin_slots(xy, NAMES), S=spin_slots(S, NAMES))


def extract_images(root: Path) -> int:
    """Writes every annotated frame of the training videos below imageFrames; those already there stay. How many."""
    written = 0
    for sequence in SEQUENCES:
        require(root, TRAIN_TREE, [path := f"{sequence}/annot.mat"])
        annotation = read_mat(root / path)
        for video in VIDEOS:
            with reading(root / path):
                count = len(annotation["annot2"][video][0])
            folder = root / sequence / "imageFrames" / f"video_{video}"
            wanted = {i: folder / f"frame_{i + 1:06d}.jpg" for i in range(count)}
            written += extract_frames(root / sequence / "imageSequence" / f"video_{video}.avi", wanted)
    return written
