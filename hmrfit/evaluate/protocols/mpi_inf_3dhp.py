"""MPI-INF-3DHP's test set: MPJPE, PCK at 150 mm and its area under the curve, without and with alignment.

    3dhp-spin        SPIN's 17 joints, frames whose 17 joints all lie inside the image
    3dhp-official    the 14 of the official joint groups (head, neck, shoulders, elbows, wrists, hips, knees, ankles),
                     all 2,929 valid frames, a line for each of the seven activities

The truth is the universal skeleton, the root is the pelvis. PCK counts errors strictly below 150 mm; AUC is the mean
over 0, 5, ..., 150 mm, so the truth itself scores 30/31 = 96.77 %. (Ports to MuPoTS run to 195 mm: another quantity.)
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hmrfit.datasets import open_dataset
from hmrfit.datasets.mpi_inf_3dhp import TEST_SEQUENCES, read_3dhp_activities, read_3dhp_test
from hmrfit.datasets.spin_npz import SpinDataset
from hmrfit.evaluate.protocol import EvaluationData, register
from hmrfit.evaluate.protocols.human36m import H36M14, H36M_SLOTS
from hmrfit.evaluate.protocols.pose import Joints, PoseProtocol, slot_joints

MEASURES = ("MPJPE", "PCK@150", "AUC", "PA-MPJPE", "PA-PCK@150", "PA-AUC")

H36M17_SPIN = (*H36M14, "pelvis_h36m", "spine_h36m", "jaw_h36m")
"""SPIN's H36M_TO_J17."""


class MpiInf3dhp(PoseProtocol):
    """What the two share."""

    dataset, root, regressor, measures = "3dhp-test", ("pelvis_h36m",), "h36m", MEASURES
    box_source = "around the 17 true 2D joints, times 1.2"

    def load(self, root: Path) -> EvaluationData:
        """The rows of SPIN's file or of the download, by sequence."""
        people = open_dataset(self.dataset, root)
        return EvaluationData(root, people, slot_names=H36M_SLOTS, groups=sequences_of(people))

    def target(self, data: EvaluationData) -> Joints:
        """The universal skeleton's joints."""
        points = slot_joints(data.people, (*self.joints, *self.root))
        K = len(self.joints)
        return Joints(points[:, :K], points[:, K:].mean(1), groups=data.groups)


@register
class MpiInf3dhpSpin(MpiInf3dhp):
    """As SPIN's eval.py, with the measures of the official script over the same joints."""

    name, joints, headline = "3dhp-spin", H36M17_SPIN, ("MPJPE", "PCK@150", "AUC", "PA-MPJPE")
    title = "MPI-INF-3DHP, SPIN's 17 joints (the pelvis, always 0, among them)"
    joint_set = "17 of MPI-INF-3DHP, the pelvis among them"


@register
class MpiInf3dhpOfficial(MpiInf3dhp):
    """The official joint groups, by activity where the download has it, else by sequence."""

    name, joints, headline = "3dhp-official", H36M14, ("MPJPE", "PCK@150", "AUC")
    title = "MPI-INF-3DHP, the official 14 joints, by activity"
    joint_set = "14 of MPI-INF-3DHP: head, neck, shoulders, elbows, wrists, hips, knees, ankles"

    def load(self, root: Path) -> EvaluationData:
        """All valid frames of the download, or the rows of SPIN's file."""
        if not (root / TEST_SEQUENCES[0] / "annot_data.mat").is_file():
            return super().load(root)
        people = read_3dhp_test(root, inside_only=False)
        return EvaluationData(root, people, slot_names=H36M_SLOTS, groups=read_3dhp_activities(root, people))


def sequences_of(people: SpinDataset) -> NDArray[np.str_]:
    """(N,) the test sequence, TS1 to TS6, of each image's path; "" where it has none."""
    names = [Path(sequence).name for sequence in TEST_SEQUENCES]
    return np.array([next((p for p in Path(str(image)).parts if p in names), "") for image in people.imgname], np.str_)
