"""HO-3D's own scores, v2 and v3: FreiHAND's, and a third alignment of the keypoints.

    ST    X |Y_4 − Y_0| / |X_4 − X_0|, the wrists together; 4 is the middle finger's knuckle of MANO's order

The two versions differ in their hands, not in their scores: how many there are says which one it is.
"""

from pathlib import Path
from typing import ClassVar

from hmrfit.datasets import read_hands
from hmrfit.datasets.hand_dataset import HandDataset
from hmrfit.datasets.ho3d import VERSIONS
from hmrfit.evaluate.hand_predictions import PublicFormat
from hmrfit.evaluate.hand_protocol import register_hands
from hmrfit.evaluate.protocols.freihand import PublicScores


@register_hands
class Ho3d(PublicScores):
    """The evaluation of either version."""

    name, order, tips = "ho3d", "mano_native21", "ho3d"
    title = "HO-3D v2 and v3: keypoints by three alignments, mesh, F-scores, AUC, as its public scorer has them"
    joint_set = "21 points in MANO's order, on MANO's mesh HO-3D's tips"
    alignment = f"{PublicScores.alignment}; ST: scale and place of wrist and middle knuckle"
    public_format: ClassVar[PublicFormat | None] = "ho3d"
    samples: ClassVar[dict[int, str]] = {count: f"the whole evaluation of {v}" for count, v in VERSIONS.items()}
    wrist_aligned = True

    def load(self, root: Path) -> HandDataset:
        """The evaluation of a download."""
        return read_hands("ho3d", root)
