"""GLB clips of the Quaternius / Mesh2Motion skeletons (hand-keyed).

    H(t) = G(t) G(ref)^T align(ideal direction, bone direction in ref),

with ref the clip that holds the rest ('T-Pose', or 'Rest Pose' in the add-on file). y up, facing +z.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from hmrfit.motion.gltf import Gltf, clip_times, global_transforms, parse_glb
from hmrfit.motion.motion import Motion
from hmrfit.motion.rest import driven_mask, local_from_ideal

FPS = 30.0
"""Clips are sampled at this rate: their keys follow none."""
UNKEYED = np.radians(0.5)
"""A joint that stays this near its rest through a whole clip was not animated: it does not count as driven."""


@dataclass(frozen=True)
class Rig:
    name: str
    rest_clip: str
    trunk: Mapping[str, str]
    """SMPL joint -> node."""
    limbs: Mapping[str, str]
    """SMPL joint without its side -> node without its side."""
    suffix: tuple[str, str]
    """What the nodes of the left and the right side end in."""

    def nodes(self) -> dict[str, str]:
        """SMPL joint -> node, both sides."""
        left = {f"left_{joint}": node + self.suffix[0] for joint, node in self.limbs.items()}
        right = {f"right_{joint}": node + self.suffix[1] for joint, node in self.limbs.items()}
        return {**self.trunk, **left, **right}


RIGS = (
    Rig(
        "mesh2motion_base", "T-Pose",
        {"pelvis": "DEF-hips", "spine1": "DEF-spine.001", "spine2": "DEF-spine.002", "spine3": "DEF-spine.003",
         "neck": "DEF-neck", "head": "DEF-head"},
        {"hip": "DEF-thigh", "knee": "DEF-shin", "ankle": "DEF-foot", "foot": "DEF-toe", "collar": "DEF-shoulder",
         "shoulder": "DEF-upper_arm", "elbow": "DEF-forearm", "wrist": "DEF-hand"},
        (".L", ".R"),
    ),
    Rig(
        "mesh2motion_addon", "Rest Pose",
        {"pelvis": "pelvis", "spine1": "spine_01", "spine2": "spine_02", "spine3": "spine_03", "neck": "neck_01",
         "head": "head"},
        {"hip": "thigh", "knee": "calf", "ankle": "foot", "foot": "ball", "collar": "clavicle",
         "shoulder": "upperarm", "elbow": "lowerarm", "wrist": "hand"},
        ("_l", "_r"),
    ),
)  # fmt: skip

_IDEAL = {"hip": (0.0, -1.0, 0.0), "knee": (0.0, -1.0, 0.0), "shoulder": (1.0, 0.0, 0.0), "elbow": (1.0, 0.0, 0.0)}
_NEXT = {"hip": "knee", "knee": "ankle", "shoulder": "elbow", "elbow": "wrist"}


def align(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(3, 3) smallest rotation that carries one direction to another, both (3,)."""
    lengths = np.linalg.norm(source), np.linalg.norm(target)
    if min(lengths) < 1e-12:
        raise ValueError("A direction of length zero: two joints of the resting skeleton lie on each other.")
    a, b = source / lengths[0], target / lengths[1]
    axis, cosine = np.cross(a, b), float(a @ b)
    sine = np.linalg.norm(axis)
    if sine < 1e-9:
        return np.eye(3) if cosine > 0 else Rotation.from_rotvec(np.pi * _perpendicular(a)).as_matrix()
    return Rotation.from_rotvec(axis / sine * np.arctan2(sine, cosine)).as_matrix()


def _perpendicular(a: np.ndarray) -> np.ndarray:
    other = np.cross(a, np.eye(3)[np.abs(a).argmin()])
    return other / np.linalg.norm(other)


def _rig_of(gltf: Gltf) -> Rig:
    for rig in RIGS:
        if set(rig.nodes().values()) <= set(gltf.names) and rig.rest_clip in gltf.clips:
            return rig
    raise ValueError(
        f"GLB: unknown skeleton ({len(gltf.names)} nodes, {len(gltf.clips)} clips). Known: "
        + "; ".join(f"{s.name} with the clip '{s.rest_clip}'" for s in RIGS)
        + ". Add a Rig to hmrfit/motion/glb.py."
    )


def _rest_corrections(gltf: Gltf, rig: Rig) -> dict[str, np.ndarray]:
    """G(ref)^T align(ideal, bone in ref) of every joint, (3, 3)."""
    nodes = rig.nodes()
    rest = global_transforms(gltf, rig.rest_clip, clip_times(gltf, rig.rest_clip, FPS)[:1])
    out = {}
    for joint, node in nodes.items():
        side, _, part = joint.rpartition("_")
        straighten = np.eye(3)
        if part in _IDEAL:
            ideal = np.array(_IDEAL[part]) * ((-1.0, 1.0, 1.0) if side == "right" else 1.0)
            straighten = align(ideal, rest[nodes[f"{side}_{_NEXT[part]}"]][1][0] - rest[node][1][0])
        out[joint] = rest[node][0][0].T @ straighten
    return out


def motions_from_glb(data: bytes, clips: list[str] | None = None) -> list[Motion]:
    """The clips of a GLB file as Motions named after them; all but the rest pose where none are asked for.

    Raises:
        ValueError: unknown skeleton, unknown clip, or a damaged file.
    """
    gltf = parse_glb(data)
    try:
        return list(_read_clips(gltf, clips))
    except (KeyError, IndexError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"GLB: the file is damaged ({type(error).__name__}: {str(error)[:80]}).") from error


def _read_clips(gltf: Gltf, clips: list[str] | None) -> Iterator[Motion]:
    rig = _rig_of(gltf)
    corrections = _rest_corrections(gltf, rig)
    wanted = [c for c in gltf.clips if c != rig.rest_clip] if clips is None else clips
    unknown = [c for c in wanted if c not in gltf.clips]
    if unknown:
        raise ValueError(f"GLB: there is no clip '{unknown[0]}'. Clips: {', '.join(gltf.clips)}.")
    for clip in wanted:
        yield _motion(gltf, rig, corrections, clip)


def _motion(gltf: Gltf, rig: Rig, corrections: Mapping[str, np.ndarray], clip: str) -> Motion:
    frames = global_transforms(gltf, clip, clip_times(gltf, clip, FPS))
    nodes = rig.nodes()
    ideal = {joint: frames[node][0] @ corrections[joint] for joint, node in nodes.items()}
    poses, transl = local_from_ideal(ideal), frames[nodes["pelvis"]][1]
    driven = driven_mask(ideal) & (np.linalg.norm(poses, axis=-1).max(axis=0) > UNKEYED)
    return Motion(poses, transl, FPS, driven, name=clip, label=clip, source=rig.name)
