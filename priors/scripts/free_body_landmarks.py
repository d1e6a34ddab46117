"""Named landmarks as means of a few posed vertices:  x_k = Σ_v landmark_regressor[k, v] v',  rows non-negative, sum 1.

Each place is known on T-posed adults (from anny's own keypoint regressors, from bone heads, or from anatomy relative to
the joints) and on a posed body (carried by its joint); the row is the non-negative combination of nearby vertices that
follows it best. Right rows are mirrored left rows; midline rows are their own mirror images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from free_body_correctives import corrected, posed_frames, random_poses
from free_body_mesh import eyelid_loop, largest_part, lip_loop
from free_body_shape import Mesh, nearest, regressor_row, symmetric_row
from free_body_source import JOINT_NAMES, Source

LANDMARK_NAMES = (
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear"),
    *("left_eye_inner", "left_eye_outer", "right_eye_inner", "right_eye_outer", "left_mouth", "right_mouth"),
    *("left_big_toe", "right_big_toe", "left_small_toe", "right_small_toe", "left_heel", "right_heel"),
    *("left_foot_index", "right_foot_index", "left_thumb_knuckle", "right_thumb_knuckle"),
    *("left_index_knuckle", "right_index_knuckle", "left_pinky_knuckle", "right_pinky_knuckle"),
    *(f"{side}_{finger}_tip" for side in ("left", "right") for finger in ("thumb", "index", "middle", "ring", "pinky")),
    *("left_hip_coco", "right_hip_coco", "mid_hip_coco", "neck_openpose", "left_hip_lsp", "right_hip_lsp", "neck_lsp"),
    *("head_top", "pelvis_mpii", "thorax_mpii", "pelvis_h36m", "left_hip_h36m", "right_hip_h36m", "spine_h36m"),
    *("neck_h36m", "jaw_h36m", "head_h36m"),
    *("left_shoulder_coco", "right_shoulder_coco", "left_knee_coco", "right_knee_coco"),
)
# From the centre of the femoral head to the axis of the shaft: 43 mm (Noble 1988, 43.0 ± 6.8); the tip of the greater
# trochanter stands about 10 mm above that centre.
FEMORAL_OFFSET, TROCHANTER_UP = 0.043, 0.010
# A third of the way from the femoral head to the front iliac spine, which stands 72 mm above and 46 mm in front of it
# (Bell 1989: 0.30 and 0.19 of the distance between the spines, 240 mm): the fold between thigh and trunk.
GROIN = np.array([0, 0.025, 0.016])
# From the base of the neck to the level of the breastbone's notch, 0.817 of stature (ANSUR II, suprasternale height).
SUPRASTERNALE_DOWN = -0.017
# Where annotators and detectors see shoulder and knee, from the joint, hip and ear, from anny's keypoint: least squares
# over 29 people of COCO (labels CC BY 4.0) and 20 views of Pose2Sim's demo (BSD-3-Clause), metres, the left side. The
# knee's first part is a fraction of the shin.
SHOULDER_LABEL = np.array([-0.018, 0.008, -0.009])
HIP_LABEL = np.array([0.006, 0.010, 0.0])
KNEE_LABEL_DOWN, KNEE_LABEL = 0.045, np.array([-0.008, 0, -0.004])
EAR_LABEL = np.array([0.004, -0.003, 0.013])
_FINGERS = ("thumb", "index", "middle", "ring", "pinky")


@dataclass(frozen=True)
class Adults:
    """T-posed people on anny's full mesh (B, V0, 3), on ours (B, V, 3), their bone-head joints (B, 24, 3)."""

    full: np.ndarray
    bodies: np.ndarray
    joints: np.ndarray


def landmark_vertices(source: Source) -> dict[str, int]:
    """anny's vertices that are landmarks by themselves, left side and midline; thinning must keep them.

    Corners of the left eye and mouth, crown; finger tips and the front of the second toe, found as the farthest vertex
    along the last bone.
    """
    rest, heads = source.rest(np.full((1, len(source.model.phenotype_labels)), 0.5))
    rest, heads, labels = rest[0], heads[0], source.model.bone_labels
    weights = bone_weights(source)
    body = source.quads[largest_part(source.quads, len(rest))[source.quads[:, 0]]]
    lids, lips = np.array(eyelid_loop(body, rest)), np.array(lip_loop(body, rest))
    out = {
        "left_eye_inner": lids[rest[lids, 0].argmin()],
        "left_eye_outer": lids[rest[lids, 0].argmax()],
        "left_mouth": lips[rest[lips, 0].argmax()],
        "head_top": _crown(rest),
    }
    for k, finger in enumerate(_FINGERS, 1):
        out[f"left_{finger}_tip"] = _farthest(rest, heads, weights, labels, f"finger{k}-2.L", f"finger{k}-3.L")
    out["left_foot_index"] = _farthest(rest, heads, weights, labels, "toe2-2.L", "toe2-3.L")
    return {name: int(v) for name, v in out.items()}


def bone_weights(source: Source) -> np.ndarray:
    model = source.model
    out = np.zeros((len(model.template_vertices), len(model.bone_labels)))
    rows = np.arange(len(out))[:, None]
    np.add.at(out, (rows, model.vertex_bone_indices.numpy()), model.vertex_bone_weights.numpy())
    return out


def _crown(rest: np.ndarray) -> int:
    return int(np.where(np.abs(rest[:, 0]) < 1e-9, rest[:, 1], -np.inf).argmax())


def _farthest(rest, heads, weights, labels, before: str, last: str) -> int:
    a, b = labels.index(before), labels.index(last)
    along = heads[b] - heads[a]
    reach = np.where(weights[:, b] > 0.5, (rest - heads[b]) @ along, -np.inf)
    return int(reach.argmax())


def adult_places(source: Source, adults: Adults, heads: np.ndarray, marks: dict[str, int]) -> dict[str, np.ndarray]:
    """Where each left or midline landmark is on each T-posed adult, (B, 3)."""
    joint = {name: adults.joints[:, j] for j, name in enumerate(JOINT_NAMES)}
    coco = {name: row @ adults.full for name, row in source.coco.items()}
    head = {name: heads[:, source.model.bone_labels.index(bone)] for name, bone in _KNUCKLES.items()}
    out = {name: adults.full[:, v] for name, v in marks.items()}
    out |= {n: coco[n] for n in ("nose", "left_eye", "left_ear", "left_big_toe", "left_small_toe", "left_heel")}
    out |= head
    out["left_ear"] = out["left_ear"] + EAR_LABEL
    out["left_hip_coco"] = coco["left_hip"] + HIP_LABEL
    out |= _anatomical(joint, out["head_top"], coco)
    return out


_KNUCKLES = {
    "left_thumb_knuckle": "finger1-3.L",
    "left_index_knuckle": "finger2-1.L",
    "left_pinky_knuckle": "finger5-1.L",
}


def _anatomical(joint: dict[str, np.ndarray], crown: np.ndarray, coco: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Places that no bone head or anny keypoint gives; offsets in metres for a person of 1.7 m, see the card."""
    hips = 0.5 * (joint["left_hip"] + joint["right_hip"])
    base_of_neck = 0.5 * (joint["neck"] + 0.5 * (joint["left_collar"] + joint["right_collar"]))
    breastbone = np.add(base_of_neck, [0, SUPRASTERNALE_DOWN, 0])
    trochanter = np.add(joint["left_hip"], [FEMORAL_OFFSET, TROCHANTER_UP, 0])
    middle = np.add(hips, [0, TROCHANTER_UP, 0])
    shin = joint["left_ankle"] - joint["left_knee"]
    return {
        "left_shoulder_coco": joint["left_shoulder"] + SHOULDER_LABEL,
        "left_knee_coco": joint["left_knee"] + KNEE_LABEL_DOWN * shin + KNEE_LABEL,
        "left_hip_lsp": np.add(joint["left_hip"], [FEMORAL_OFFSET, 0, 0]) + GROIN,
        "neck_lsp": np.add(base_of_neck, [0, 0.02, 0.01]),
        "pelvis_mpii": np.add(hips, [0, -0.01, 0]),
        "thorax_mpii": base_of_neck,
        "pelvis_h36m": middle,
        "left_hip_h36m": trochanter,
        "spine_h36m": 0.5 * (middle + breastbone),
        "neck_h36m": breastbone,
        "jaw_h36m": 0.5 * (coco["nose"] + breastbone),
        "head_h36m": 0.4 * joint["head"] + 0.6 * crown,
    }


# Which joint carries a place, and from how many of its nearest vertices the row may choose.
_CARRIED = {
    "nose": ("head", 30), "left_eye": ("head", 12), "left_ear": ("head", 100), "left_eye_inner": ("head", 1),
    "left_eye_outer": ("head", 1), "left_mouth": ("head", 1), "left_big_toe": ("left_foot", 24),
    "left_small_toe": ("left_foot", 24), "left_heel": ("left_ankle", 40), "left_foot_index": ("left_foot", 1),
    "left_thumb_knuckle": ("left_hand", 30), "left_index_knuckle": ("left_hand", 30),
    "left_pinky_knuckle": ("left_hand", 30), **{f"left_{f}_tip": ("left_hand", 1) for f in _FINGERS},
    "left_hip_coco": ("pelvis", 600), "left_shoulder_coco": ("left_collar", 500), "left_knee_coco": ("left_knee", 300),
    "left_hip_lsp": ("pelvis", 600),
    "neck_lsp": ("spine3", 500), "head_top": ("head", 1), "pelvis_mpii": ("pelvis", 600),
    "thorax_mpii": ("spine3", 500), "pelvis_h36m": ("pelvis", 600), "left_hip_h36m": ("pelvis", 600),
    "spine_h36m": ("spine2", 600), "neck_h36m": ("spine3", 500), "jaw_h36m": ("neck", 300), "head_h36m": ("head", 200),
}  # fmt: skip


def fit(
    places: dict[str, np.ndarray], adults: Adults, weights: np.ndarray, posedirs: np.ndarray, mesh: Mesh, seed: int
) -> np.ndarray:
    """landmark_regressor (K, V)."""
    template, joints = adults.bodies.mean(0), adults.joints.mean(0)
    local = random_poses(200, np.random.default_rng(seed))
    world, shift = posed_frames(joints, local)
    posed = corrected(template, weights, joints, posedirs, local)
    points = np.concatenate([adults.bodies, posed])
    rows: dict[str, np.ndarray] = {}
    for name, place in places.items():
        carrier, count = _CARRIED[name]
        j = JOINT_NAMES.index(carrier)
        target = np.concatenate([place, world[:, j] @ place.mean(0) + shift[:, j]])
        near = nearest(template, place.mean(0), count)
        middle = not name.startswith("left_")
        rows[name] = symmetric_row(points, target, near, mesh.mirror) if middle else regressor_row(points, target, near)
        if not middle:
            rows["right" + name[4:]] = rows[name][mesh.mirror]
    rows["mid_hip_coco"] = 0.5 * (rows["left_hip_coco"] + rows["right_hip_coco"])
    rows["neck_openpose"] = 0.5 * (rows["left_shoulder_coco"] + rows["right_shoulder_coco"])
    return np.stack([rows[name] for name in LANDMARK_NAMES])
