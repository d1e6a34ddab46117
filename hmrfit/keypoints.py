"""Keypoint sets by name. A set is a tuple of names; flips, selections, limbs and conversions follow from the names.

The same name means the same anatomical point: `right_hip` is SMPL's hip joint, `right_hip_lsp` is where annotators of
LSP click, `right_hip_coco` where those of COCO do. Limb joints (shoulder, elbow, wrist, knee, ankle) share one
definition in every set, as they do in SPIN's table of 49. `left_` and `right_` are the person's own sides.

Adding a set is one line: `register_keypoint_set("mine", ("nose", "left_wrist", ...))`.
"""

from collections.abc import Sequence
from itertools import pairwise

from hmrfit.ops.check import did_you_mean

SMPL24 = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle", "right_ankle",
    "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head", "left_shoulder",
    "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hand", "right_hand",
)  # fmt: skip

COCO17 = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip_coco", "right_hip_coco", "left_knee", "right_knee",
    "left_ankle", "right_ankle",
)  # fmt: skip

OPENPOSE25 = (
    "nose", "neck_openpose", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow",
    "left_wrist", "mid_hip_coco", "right_hip_coco", "right_knee", "right_ankle", "left_hip_coco", "left_knee",
    "left_ankle", "right_eye", "left_eye", "right_ear", "left_ear", "left_big_toe", "left_small_toe", "left_heel",
    "right_big_toe", "right_small_toe", "right_heel",
)  # fmt: skip

OPENPOSE18 = (
    "nose", "neck_openpose", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow",
    "left_wrist", "right_hip_coco", "right_knee", "right_ankle", "left_hip_coco", "left_knee", "left_ankle",
    "right_eye", "left_eye", "right_ear", "left_ear",
)  # fmt: skip
"""OpenPose's older COCO model."""

OPENPOSE25B = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip_coco", "right_hip_coco", "left_knee", "right_knee",
    "left_ankle", "right_ankle", "neck_lsp", "head_top", "left_big_toe", "left_small_toe", "left_heel",
    "right_big_toe", "right_small_toe", "right_heel",
)  # fmt: skip
"""OpenPose's BODY_25B: as many numbers as BODY_25, in another order."""

LSP14 = (
    "right_ankle", "right_knee", "right_hip_lsp", "left_hip_lsp", "left_knee", "left_ankle", "right_wrist",
    "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist", "neck_lsp", "head_top",
)  # fmt: skip

MPII16 = (
    "right_ankle", "right_knee", "right_hip_lsp", "left_hip_lsp", "left_knee", "left_ankle", "pelvis_mpii",
    "thorax_mpii", "neck_lsp", "head_top", "right_wrist", "right_elbow", "right_shoulder", "left_shoulder",
    "left_elbow", "left_wrist",
)  # fmt: skip

H36M17 = (
    "pelvis_h36m", "right_hip_h36m", "right_knee", "right_ankle", "left_hip_h36m", "left_knee", "left_ankle",
    "spine_h36m", "neck_h36m", "jaw_h36m", "head_h36m", "left_shoulder", "left_elbow", "left_wrist",
    "right_shoulder", "right_elbow", "right_wrist",
)  # fmt: skip
"""Human3.6M's own order, right leg first (the rows of SPIN's J_regressor_h36m have the left leg first)."""

MEDIAPIPE33 = (
    "nose", "left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye", "right_eye_outer",
    "left_ear", "right_ear", "left_mouth", "right_mouth", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_pinky_knuckle", "right_pinky_knuckle", "left_index_knuckle",
    "right_index_knuckle", "left_thumb_knuckle", "right_thumb_knuckle", "left_hip_coco", "right_hip_coco",
    "left_knee", "right_knee", "left_ankle", "right_ankle", "left_heel", "right_heel", "left_foot_index",
    "right_foot_index",
)  # fmt: skip

SPIN24 = (
    *LSP14, "pelvis_mpii", "thorax_mpii", "spine_h36m", "jaw_h36m", "head_h36m", "nose", "left_eye", "right_eye",
    "left_ear", "right_ear",
)  # fmt: skip
"""The "ground truth superset" of SPIN's npz files."""

_SETS: dict[str, tuple[str, ...]] = {
    "smpl24": SMPL24,
    "coco17": COCO17,
    "openpose25": OPENPOSE25,
    "openpose25b": OPENPOSE25B,
    "openpose18": OPENPOSE18,
    "lsp14": LSP14,
    "mpii16": MPII16,
    "h36m17": H36M17,
    "mediapipe33": MEDIAPIPE33,
    "spin24": SPIN24,
    "spin49": OPENPOSE25 + SPIN24,
}

COMMON14 = (
    "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "right_wrist", "right_elbow",
    "right_shoulder", "left_shoulder", "left_elbow", "left_wrist", "neck", "head",
)  # fmt: skip
"""The 14 SMPL joints over which our benchmarks average."""

LIMB_CHAINS = (
    ("left_hip", "left_knee", "left_ankle", "left_big_toe"),
    ("right_hip", "right_knee", "right_ankle", "right_big_toe"),
    ("left_shoulder", "left_elbow", "left_wrist"),
    ("right_shoulder", "right_elbow", "right_wrist"),
    ("left_shoulder", "right_shoulder"),
    ("left_hip", "right_hip"),
    ("left_shoulder", "left_hip"),
    ("right_shoulder", "right_hip"),
    ("neck", "head"),
    ("neck", "nose"),
    ("nose", "left_eye", "left_ear"),
    ("nose", "right_eye", "right_ear"),
)
"""What is joined by a line when a skeleton is drawn, by base name (`left_hip` stands for any left hip of the set)."""


def keypoint_sets() -> dict[str, tuple[str, ...]]:
    """Every known set, built in or registered: name -> keypoint names."""
    return dict(_SETS)


def register_keypoint_set(name: str, names: Sequence[str]) -> tuple[str, ...]:
    """Add a keypoint set. Names that no body defines are noticed when a body is asked for them.

    Raises:
        ValueError: `name` stands for another set already, or `names` is empty.
    """
    names = tuple(names)
    if not names:
        raise ValueError(f"Keypoint set '{name}' is empty. Expected at least one keypoint name.")
    if _SETS.get(name, names) != names:
        raise ValueError(f"Keypoint set '{name}' exists already with other names. Choose another name for yours.")
    _SETS[name] = names
    return names


def resolve_set(keypoint_set: str | Sequence[str]) -> tuple[str, ...]:
    """A set's name, or the names themselves -> the tuple of keypoint names."""
    if not isinstance(keypoint_set, str):
        return tuple(keypoint_set)
    if keypoint_set not in _SETS:
        hint = did_you_mean(keypoint_set, _SETS)
        raise ValueError(f"Unknown keypoint set '{keypoint_set}'.{hint} Known sets: {', '.join(_SETS)}.")
    return _SETS[keypoint_set]


def sets_of_size(count: int) -> list[str]:
    """The names of the sets with `count` keypoints, to say what an unnamed array might be."""
    return [name for name, names in _SETS.items() if len(names) == count]


def mirrored_name(name: str) -> str:
    """`left_knee` <-> `right_knee`; names without a side stay."""
    if name.startswith("left_"):
        return "right_" + name[len("left_") :]
    if name.startswith("right_"):
        return "left_" + name[len("right_") :]
    return name


def flip_permutation(names: Sequence[str]) -> list[int]:
    """p such that keypoint i of the mirrored picture is keypoint p[i] of the original, from the names alone.

    A name that stands several times in the set (spin49) meets its mirror in the same order.
    """
    places: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        places.setdefault(name, []).append(i)
    seen: dict[str, int] = {}
    permutation = []
    for i, name in enumerate(names):
        turn = seen[name] = seen.get(name, -1) + 1
        mates = places.get(mirrored_name(name), [])
        permutation.append(mates[turn] if turn < len(mates) else i)
    return permutation


def base_name(name: str) -> str:
    """The plain body part of a definition: `left_hip_coco` -> `left_hip`, `head_top` -> `head`."""
    for suffix in ("_coco", "_lsp", "_mpii", "_h36m", "_openpose"):
        name = name.removesuffix(suffix)
    return {"thorax": "neck", "mid_hip": "pelvis", "head_top": "head"}.get(name, name)


def find_part(names: Sequence[str], part: str) -> int | None:
    """The index of the keypoint of that base name, whichever definition the set has; None where it has none."""
    exact = [i for i, name in enumerate(names) if name == part]
    loose = [i for i, name in enumerate(names) if base_name(name) == part]
    return (exact or loose or [None])[0]


def limbs(names: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of indices to join by lines when the keypoints of this set are drawn."""
    pairs = []
    for chain in LIMB_CHAINS:
        found = [i for i in (find_part(names, part) for part in chain) if i is not None]
        pairs += pairwise(found)
    return pairs
