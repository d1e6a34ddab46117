"""3DPW's test set as SPIN evaluates it, and the error of the mesh, which SPIN does not report.

    truth        v = SMPL_gender(pose, betas),     Y = R v,     R = J_regressor_h36m
    prediction   v = SMPL_neutral(Θ),              X = R v;     14 joints, root: the pelvis R_0 v

PVE is the mean distance of the 6,890 vertices with the same root. Papers that take LSP's hips and head top for the 14
joints, or SMPL's own 24, measure another quantity.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from hmrfit.datasets import open_dataset
from hmrfit.evaluate.protocol import EvaluationData, Setting, register
from hmrfit.evaluate.protocols.human36m import H36M14
from hmrfit.evaluate.protocols.pose import Joints, JointSource, PoseProtocol
from hmrfit.types import BodyParams


@register
class ThreeDPW(PoseProtocol):
    """Every person in every frame with a valid camera; a line for each sequence."""

    name, dataset, gendered = "3dpw", "3dpw-test", True
    headline = ("MPJPE", "PA-MPJPE", "PVE")
    title = "3DPW test, 14 joints as SPIN evaluates, and the mesh; the truth of each person's gender"
    joints, root, regressor = H36M14, ("pelvis_h36m",), "h36m"
    joint_set = "14 of Human3.6M, in LSP's order"
    measures = ("PA-MPJPE", "MPJPE", "PVE")
    box_source = "around the detected 2D keypoints of the data set, times 1.2"

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        names = (*self.joints, *self.root)
        self._truth = {g: JointSource(setting, self.regressor, names, body) for g, body in setting.gendered.items()}

    def load(self, root: Path) -> EvaluationData:
        """The rows of SPIN's file or of the download.

        Raises:
            ValueError: the file has no pose or gender, or a gender has no body.
        """
        people = open_dataset(self.dataset, root)
        if people.pose is None or people.gender is None:
            raise ValueError(
                f"'{root}' holds no `pose`, `shape` and `gender`, which are 3DPW's truth. Give 3DPW's own download, or "
                "the 3dpw_test.npz that SPIN's preprocessing or hmrfit.datasets makes of it."
            )
        missing = sorted(set(people.gender.tolist()) - set(self.setting.gendered))
        if missing:
            raise ValueError(
                f"The truth has people of gender {', '.join(map(repr, missing))}, but there are bodies for "
                f"{', '.join(map(repr, self.setting.gendered)) or 'none'}. 3DPW's truth is posed by SMPL's own male "
                "and female bodies: put them where hmrfit.assets looks, or name the body the data was made with."
            )
        sequences = np.array([Path(str(name)).parent.name for name in people.imgname], np.str_)
        return EvaluationData(root, people, groups=sequences)

    def target(self, data: EvaluationData) -> Joints:
        """Each person posed by the body of their gender. Every body poses all people: the batch changes no answer."""
        genders, params = data.people.gender, data.people.params()
        assert genders is not None, "`load` refuses data without genders"
        first, *others = dict.fromkeys(genders.tolist())
        truth = self._posed(first, params)
        for gender in others:
            own = torch.as_tensor(np.flatnonzero(genders == gender))
            truth = truth.with_rows(own, self._posed(gender, params))
        return replace(truth, groups=data.groups)

    def _posed(self, gender: str, params: BodyParams) -> Joints:
        """All people by the body of one gender."""
        return self._split(self._truth[gender](params), self._vertices(self.setting.gendered[gender], params))
