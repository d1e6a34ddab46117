"""Human3.6M, four quantities that are all called protocol 1 or 2 in the literature.

    h36m-p1-spin   S9 and S11, every 5th frame, 4 cameras; 14 joints by J_regressor_h36m; root: the pelvis; mean over
                   people
    h36m-p2-spin   the same, the frontal camera only
    h36m-p1-hmr    both trials, 4 cameras; HMR's first 14 of cocoplus; root: the middle of the hips; mean over a
                   sequence, then over an action's sequences, then over the 15 actions
    h36m-p2-hmr    the same, first trials in the frontal camera only

The headline of SPIN and of HMR is MPJPE for protocol 1 and PA-MPJPE for protocol 2. The head is Human3.6M's for SPIN,
in prediction and truth; for HMR it is LSP's head top in the prediction. HMR's records of frames were not published:
here they are SPIN's, every 5th.
"""

import re
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from hmrfit.datasets import find_npz, open_dataset
from hmrfit.datasets.download import SPIN_SLOTS
from hmrfit.datasets.human36m import FRONTAL, JOINTS, read_human36m
from hmrfit.evaluate.protocol import EvaluationData, Measure, register
from hmrfit.evaluate.protocols.pose import Joints, PoseProtocol, slot_joints
from hmrfit.keypoints import LSP14, SPIN24

H36M14 = (
    "right_ankle", "right_knee", "right_hip_h36m", "left_hip_h36m", "left_knee", "left_ankle", "right_wrist",
    "right_elbow", "right_shoulder_coco", "left_shoulder_coco", "left_elbow", "left_wrist", "neck_h36m", "head_h36m",
)  # fmt: skip
"""SPIN's H36M_TO_J14: LSP's order, Human3.6M's definitions."""

_SLOT_OF = {SPIN_SLOTS.get(name, name): name for name in JOINTS}
H36M_SLOTS = tuple(_SLOT_OF.get(slot, slot) for slot in SPIN24)
"""The joints in the 24 slots of a file of Human3.6M or MPI-INF-3DHP."""

FIRST_TRIALS = {
    "S9": (
        "Directions_1", "Discussion_1", "Eating_1", "Greeting_1", "Phoning_1", "Posing_1", "Purchases_1", "Sitting_1",
        "SittingDown", "Smoking_1", "Photo_1", "Waiting_1", "Walking_1", "WalkDog_1", "WalkTogether_1",
    ),
    "S11": (
        "Directions_1", "Discussion_1", "Eating_1", "Greeting_2", "Phoning_3", "Posing_1", "Purchases_1", "Sitting_1",
        "SittingDown", "Smoking_2", "Photo_1", "Waiting_1", "Walking_1", "WalkDog_1", "WalkTogether_1",
    ),
}  # fmt: skip
"""Subaction 1 of each action, by the data set's own metadata.xml."""

CORRUPT = ("S11", "Directions", "54138969")
"""Subject, recording, camera: a video that HMR could not read."""

SPLIT_OF = {"h36m-p1": "protocol1", "h36m-p2": "protocol2"}

IMAGE = re.compile(r"(?:.*/)?(S\d+)_(.+)\.(\d+)_\d+\.\w+")


def recording_of(image: str) -> tuple[str, str, str] | None:
    """(subject, recording, camera) in an image's name: ("S9", "Directions_1", "60457274"); None: no such name."""
    found = IMAGE.fullmatch(image)
    return (found[1], found[2], found[3]) if found else None


def action_of(recording: str) -> str:
    """`Directions_1` -> `Directions`."""
    return re.sub(r"_\d+$", "", recording)


class Human36M(PoseProtocol):
    """What the four share."""

    truth_joints: ClassVar[tuple[str, ...]] = H36M14
    truth_root: ClassVar[tuple[str, ...]]
    box_source = "the data set's segments, times 0.9"

    def load(self, root: Path) -> EvaluationData:
        """The rows of SPIN's file or of the download, with the action of each.

        Predictors see the 2D joints of the download (D2_Positions) where it has them; SPIN's file has none.
        """
        split = SPLIT_OF[self.dataset]
        if find_npz(self.dataset, root) is None and (root / "S9/MyPoseFeatures/D2_Positions").is_dir():
            people = read_human36m(root, split, keypoints=True)
        else:
            people = open_dataset(self.dataset, root)
        recordings = [recording_of(str(name)) for name in people.imgname]
        groups = np.array([action_of(r[1]) if r else "" for r in recordings], np.str_)
        sequences = np.array([".".join(r) if r else "" for r in recordings], np.str_)
        data = EvaluationData(root, people, slot_names=H36M_SLOTS, groups=groups, sequences=sequences)
        return data[self.wanted(recordings, root)]

    def wanted(self, recordings: list[tuple[str, str, str] | None], root: Path) -> NDArray[np.bool_]:
        """(N,) which rows are scored."""
        return np.ones(len(recordings), bool)

    def target(self, data: EvaluationData) -> Joints:
        """The data set's own joints."""
        points = slot_joints(data.people, (*self.truth_joints, *self.truth_root))
        K = len(self.truth_joints)
        return Joints(points[:, :K], points[:, K:].mean(1), groups=data.groups, sequences=data.sequences)


class Human36MSpin(Human36M):
    """As SPIN's eval.py."""

    joints, root, truth_root = H36M14, ("pelvis_h36m",), ("pelvis_h36m",)
    joint_set, regressor = "14 of Human3.6M, in LSP's order", "h36m"


@register
class Human36MProtocol1Spin(Human36MSpin):
    """Four cameras."""

    name, dataset, headline = "h36m-p1-spin", "h36m-p1", ("MPJPE", "PA-MPJPE")
    title = "Human3.6M, S9 and S11, four cameras, as SPIN evaluates (headline: MPJPE)"


@register
class Human36MProtocol2Spin(Human36MSpin):
    """The frontal camera."""

    name, dataset, headline = "h36m-p2-spin", "h36m-p2", ("PA-MPJPE",)
    title = "Human3.6M, S9 and S11, frontal camera, as SPIN evaluates (headline: PA-MPJPE)"


class Human36MHmr(Human36M):
    """As HMR's evaluate_h36m.py."""

    dataset = "h36m-p1"
    joints, root = LSP14, ("left_hip_lsp", "right_hip_lsp")
    truth_root = ("left_hip_h36m", "right_hip_h36m")
    joint_set, regressor = "14 of LSP (the truth's of Human3.6M, its head for the head top)", "cocoplus"
    mean_over = "over a sequence, over an action's sequences, over actions"
    first_trial_frontal: ClassVar[bool]

    def wanted(self, recordings: list[tuple[str, str, str] | None], root: Path) -> NDArray[np.bool_]:
        """All but the corrupt video; in protocol 2 only first trials in the frontal camera."""
        known = [recording for recording in recordings if recording is not None]
        if len(known) < len(recordings):
            raise ValueError(
                f"'{root}': row {recordings.index(None)} names an image that is not like "
                f"S9_Directions_1.{FRONTAL}_000001.jpg, so its action and trial are unknown, which {self.name} needs. "
                "Give Human3.6M, or use h36m-p1-spin."
            )
        return np.array([r != CORRUPT and (not self.first_trial_frontal or _first_frontal(*r)) for r in known])

    def mean(self, values: NDArray[np.float64], rows: NDArray[np.bool_]) -> float:
        """The mean over the frames of a sequence, then over the sequences of an action, then over actions."""
        groups, sequences = np.concatenate(self._groups)[rows], np.concatenate(self._sequences)[rows]
        chosen = values[rows]
        by_action: dict[str, list[float]] = {}
        for sequence in dict.fromkeys(sequences):
            own = sequences == sequence
            by_action.setdefault(groups[own][0], []).append(chosen[own].mean())
        return float(np.mean([np.mean(means) for means in by_action.values()]))

    def _measures(self, values: dict[str, NDArray[np.float64]], rows: NDArray[np.bool_]) -> tuple[Measure, ...]:
        """The means over actions, and the means over all frames, which HMR prints too."""
        means = super()._measures(values, rows)
        frames = [replace(m, name=f"{m.name} over frames", value=float(values[m.name][rows].mean())) for m in means]
        return (*means, *frames)


def _first_frontal(subject: str, recording: str, camera: str) -> bool:
    return camera == FRONTAL and recording in FIRST_TRIALS.get(subject, ())


@register
class Human36MProtocol1Hmr(Human36MHmr):
    """Both trials, four cameras."""

    name, first_trial_frontal, headline = "h36m-p1-hmr", False, ("MPJPE", "PA-MPJPE")
    title = "Human3.6M, both trials, four cameras, as HMR evaluates (headline: MPJPE)"


@register
class Human36MProtocol2Hmr(Human36MHmr):
    """The first trial, the frontal camera."""

    name, first_trial_frontal, headline = "h36m-p2-hmr", True, ("PA-MPJPE",)
    title = "Human3.6M, first trial, frontal camera, as HMR evaluates (headline: PA-MPJPE)"
