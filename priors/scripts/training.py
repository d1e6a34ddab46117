"""Shared by the scripts: the pool's frames as vectors, mirrored, with the joints that their source drives; sources and
attribution for the cards; the keypoints on which networks are measured."""

from dataclasses import dataclass

import numpy as np

from hmrfit.body.skeleton import SMPL
from hmrfit.motion import Motion, load_frames, mirror_poses
from hmrfit.motion.rest import MIRROR
from hmrfit.synthetic.people import Corruption

BODY_JOINTS = SMPL.names[1:]
ATTRIBUTION = (
    "The data used in this project was obtained from mocap.cs.cmu.edu. "
    "The database was created with funding from NSF EIA-0196217."
)
SOURCES = """CMU motion capture database (free to use; it may not be resold, also not in converted form, so no
  frames are shipped), DeepMimic and Jump (MIT, (c) 2018 Xue Bin Peng, (c) 2021 arpspoof), AnimatedDrawings fair1 (MIT,
  (c) Meta), Mesh2Motion / Quaternius clips (CC0, animated by hand; all of them together weigh as one class)"""

SETTINGS: dict[str, tuple[str, Corruption]] = {
    "coco17, 1 % noise, a tenth missing": ("coco17", Corruption()),
    "openpose25": ("openpose25", Corruption()),
    "smpl24": ("smpl24", Corruption()),
    "lsp14": ("lsp14", Corruption()),
    "coco17, 3 % noise": ("coco17", Corruption(0.03)),
    "coco17, half hidden": ("coco17", Corruption(occluder=1.0)),
}
"""Keypoints on which the cards measure networks: title -> (keypoint set, noise and gaps)."""


@dataclass(frozen=True)
class Samples:
    """N poses of 23 joints: D = 69."""

    theta: np.ndarray
    """(N, 69) rotation vectors log R, angle <= pi."""
    observed: np.ndarray
    """(N, 69) bool: the source drives that joint."""
    weight: np.ndarray
    """(N,) mean 1."""
    label: np.ndarray
    """(N,) class."""


def samples(pool: list[Motion], part: str, mirror: bool) -> Samples:
    """The frames of one split; with `mirror`, each a second time as a mirror shows it."""
    frames = load_frames(pool, part)
    poses, driven = frames["poses"][:, 1:], frames["driven"][:, 1:]
    weight, label = frames["weight"], frames["label"]
    if mirror:
        order = MIRROR[1:] - 1
        poses = np.concatenate([poses, mirror_poses(poses)])
        driven = np.concatenate([driven, driven[:, order]])
        weight, label = np.tile(weight, 2), np.tile(label, 2)
    return Samples(poses.reshape(len(poses), -1), np.repeat(driven, 3, axis=1), weight, label)


def coordinates(*joints: str) -> np.ndarray:
    """Indices into the 69 numbers of all coordinates of the joints whose name ends so."""
    chosen = [j for j, name in enumerate(BODY_JOINTS) if name.endswith(joints)]
    return np.array([3 * j + axis for j in chosen for axis in range(3)])


def flexion(joint: str) -> list[tuple[int, float]]:
    """(index of the hinge coordinate, its sign when flexed) of both knees or both elbows."""
    signs = {"knee": ("x", 1.0, 1.0), "elbow": ("y", -1.0, 1.0)}[joint]
    axis = "xyz".index(signs[0])
    return [
        (3 * BODY_JOINTS.index(f"{side}_{joint}") + axis, sign)
        for side, sign in zip(("left", "right"), signs[1:], strict=True)
    ]
