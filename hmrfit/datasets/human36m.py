"""Human3.6M (Ionescu et al., PAMI 2014), from its archives of poses, segments and videos.

    ROOT/S9/MyPoseFeatures/D3_Positions_mono/Directions 1.54138969.cdf   3D, camera frame, mm (1, frames, 96)
    ROOT/S9/MyPoseFeatures/D2_Positions/Directions 1.54138969.cdf        2D, pixels (1, frames, 64)
    ROOT/S9/MySegmentsMat/ground_truth_bb/Directions 1.54138969.mat      masks of each frame's box (MATLAB 7.3)
    ROOT/S9/Videos/Directions 1.54138969.mp4

Every 5th frame of the 50 a second; the box is the mask's, times 0.9 because it is loose. Protocol 1 has all cameras,
protocol 2 only the frontal one. The evaluation's images lag: what SPIN stores for frame i is video frame i + 1, 20 ms
later, because it reads one frame too many; `extract_images` does so too. Its training images do not lag.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hmrfit.datasets.download import (
    DamagedDownload,
    extract_frames,
    h5_numbers,
    open_h5,
    read_cdf,
    reading,
    require,
    spin_slots,
)
from hmrfit.datasets.spin_npz import BOX_UNIT, SpinDataset
from hmrfit.ops.how_many import how_many

JOINTS = {
    "pelvis_h36m": 11, "left_hip_h36m": 6, "left_knee": 7, "left_ankle": 8, "right_hip_h36m": 1, "right_knee": 2,
    "right_ankle": 3, "spine_h36m": 12, "neck_h36m": 24, "jaw_h36m": 14, "head_h36m": 15, "left_shoulder_coco": 17,
    "left_elbow": 18, "left_wrist": 19, "right_shoulder_coco": 25, "right_elbow": 26, "right_wrist": 27,
}  # fmt: skip
"""Of the file's 32 joints, the 17 that are used."""

TREE = """\
  ROOT/S9/MyPoseFeatures/D3_Positions_mono/Directions 1.54138969.cdf ...       (the same for every subject)
  ROOT/S9/MyPoseFeatures/D2_Positions/Directions 1.54138969.cdf ...            (for training)
  ROOT/S9/MySegmentsMat/ground_truth_bb/Directions 1.54138969.mat ...
  ROOT/S9/Videos/Directions 1.54138969.mp4 ...                                 (for the images)"""

EVERY = 5
FRONTAL = "60457274"
BOX_SCALE = 0.9
SPLITS = {"train": (1, 5, 6, 7, 8), "protocol1": (9, 11), "protocol2": (9, 11)}


@dataclass(frozen=True)
class Recording:
    """One subject doing one thing before one camera."""

    root: Path
    subject: str  # S9
    action: str  # "Directions 1", as in file names
    camera: str

    def path(self, folder: str, suffix: str) -> Path:
        return self.root / self.subject / folder / f"{self.action}.{self.camera}{suffix}"

    def image(self, frame: int) -> str:
        """Numbers from 1, spaces as underscores."""
        return f"images/{self.subject}_{self.action.replace(' ', '_')}.{self.camera}_{frame + 1:06d}.jpg"


def recordings(root: Path, split: str) -> list[Recording]:
    """All of a split in order, without `_ALL`, which repeats the others.

    Raises:
        FileNotFoundError: a subject has no poses.
    """
    found = []
    for subject in (f"S{number}" for number in SPLITS[split]):
        folder = f"{subject}/MyPoseFeatures/D3_Positions_mono"
        require(root, TREE, [folder])
        files = [path.stem.rsplit(".", 1) for path in sorted((root / folder).glob("*.*.cdf"))]
        own = [Recording(root, subject, *names) for names in files if not names[0].startswith("_ALL")]
        own = [recording for recording in own if split != "protocol2" or recording.camera == FRONTAL]
        if not own:
            require(root, TREE, [f"{folder}/Directions 1.{FRONTAL}.cdf"])
        found += own
    return found


def read_human36m(root: Path, split: str = "protocol2", keypoints: bool | None = None) -> SpinDataset:
    """One of `SPLITS`. Joints are about joint 11, the pelvis.

    keypoints: also the true 2D keypoints; by default only in training, as in SPIN's files.
    """
    own = recordings(root, split)
    masks = [r.path("MySegmentsMat/ground_truth_bb", ".mat") for r in own]
    keypoints = split == "train" if keypoints is None else keypoints
    flat = [r.path("MyPoseFeatures/D2_Positions", ".cdf") for r in own] if keypoints else []
    require(root, TREE, [path.relative_to(root) for path in (*masks, *flat)])
    images, centers, scales, parts, joints = [], [], [], [], []
    for recording in own:
        S = _poses(recording.path("MyPoseFeatures/D3_Positions_mono", ".cdf"), 3) / 1000
        boxes = np.array(list(_boxes(recording.path("MySegmentsMat/ground_truth_bb", ".mat"), len(S))))
        images += [recording.image(EVERY * i) for i in range(len(S))]
        centers.append((boxes[:, :2] + boxes[:, 2:]) / 2)
        scales.append(BOX_SCALE * (boxes[:, 2:] - boxes[:, :2]).max(1) / BOX_UNIT)
        joints.append(spin_slots(S - S[:, :1], tuple(JOINTS)))
        if keypoints:
            xy = _poses(path := recording.path("MyPoseFeatures/D2_Positions", ".cdf"), 2)
            if len(xy) != len(S):
                raise DamagedDownload(path, f"{how_many(len(xy), 'frames')} of 2D joints, {len(S)} of 3D")
            parts.append(spin_slots(xy, tuple(JOINTS)))
    part = np.concatenate(parts) if parts else None
    return SpinDataset(
        np.array(images), np.concatenate(centers), np.concatenate(scales), part, S=np.concatenate(joints)
    )


def _poses(path: Path, size: int) -> NDArray[np.float64]:
    """(frames / 5, 17, size) of a file's (1, frames, 32 size)."""
    with reading(path):
        values = read_cdf(path)
        return values.reshape(-1, 32, size)[::EVERY, list(JOINTS.values())]


def _boxes(path: Path, count: int) -> Iterator[tuple[int, int, int, int]]:
    """(left, top, right, bottom) of every 5th frame's mask, in corners: the last pixel belongs to it."""
    with open_h5(path) as file:
        masks = file["Masks"]
        for frame in range(0, EVERY * count, EVERY):
            # MATLAB's columns come as rows: (width, height)
            columns, rows = np.nonzero(h5_numbers(file, masks[frame, 0]) == 1)
            if not len(rows):
                raise DamagedDownload(path, f"the mask of frame {frame} is empty")
            yield int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def extract_images(root: Path, split: str = "protocol2") -> int:
    """Writes the images that the dataset's rows name below ROOT/images; those already there stay. Returns how many."""
    written, lag = 0, 0 if split == "train" else 1
    for recording in recordings(root, split):
        count = len(_poses(recording.path("MyPoseFeatures/D3_Positions_mono", ".cdf"), 3))
        wanted = {EVERY * i + lag: root / recording.image(EVERY * i) for i in range(count)}
        written += extract_frames(recording.path("Videos", ".mp4"), wanted)
    return written
