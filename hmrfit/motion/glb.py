"""GLB clips of the Quaternius / Mesh2Motion skeletons (hand-keyed).

    H(t) = G(t) G(ref)^T align(ideal direction, bone direction in ref),

with ref the clip that holds the rest ('T-Pose', or 'Rest Pose' in the add-on file). y up, facing +z.

Of binary glTF 2.0 the part is read that animation clips need: the node tree, and translation, rotation and scale over
time. A GLB is a 12-byte header, a JSON chunk and a binary chunk; an accessor is a typed window on the latter. Nothing
is loaded from outside the file. Quaternions x y z w.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp

from hmrfit.io.bounded import parse_json
from hmrfit.io.budget import Meter, TooLarge
from hmrfit.motion.motion import Motion
from hmrfit.motion.rest import driven_mask, local_from_ideal
from hmrfit.ops.how_many import how_many

_TYPES = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTH = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}
TRANSFORM_BYTES = 400
"""What a node takes in a frame: rotation and affine matrix, and where they are made of."""
MOST_CHUNKS = 16
"""Of a GLB; it has two."""
_WEIGHTED = ("translation", "rotation", "scale", "weights")
"""What a channel can move of a node."""
_DEFAULTS = {"translation": (0.0, 0.0, 0.0), "rotation": (0.0, 0.0, 0.0, 1.0), "scale": (1.0, 1.0, 1.0)}


@dataclass(frozen=True)
class Gltf:
    """A parsed file."""

    content: Mapping[str, Any]
    binary: bytes
    names: tuple[str, ...]
    parents: tuple[int, ...]
    """Index of each node's parent, -1 at a root."""
    order: tuple[int, ...]
    """Node indices, every parent before its children."""

    meter: Meter = field(default_factory=lambda: Meter("GLB: the file"))
    """What its accessors and clips take."""
    read: dict[int, NDArray[np.float64]] = field(default_factory=dict)
    """The accessors that were read."""

    @cached_property
    def clips(self) -> dict[str, Mapping[str, Any]]:
        """The animations by name."""
        return {str(a.get("name", i)): a for i, a in enumerate(self.content.get("animations", []))}


def parse_glb(data: bytes) -> Gltf:
    """Parse the bytes of a .glb file.

    Raises:
        ValueError: it is no binary glTF 2.0, is truncated, or its node tree is none.
    """
    if len(data) < 20 or data[:4] != b"glTF":
        raise ValueError("GLB: the file does not open with 'glTF'. Expected a binary glTF 2.0 file.")
    version, length = struct.unpack("<II", data[4:12])
    if version != 2 or length > len(data):
        raise ValueError(
            f"GLB: version {version}, {how_many(length, 'bytes')} announced, {len(data)} there. Truncated, or not 2.0."
        )
    chunks: dict[bytes, bytes] = {}
    at = 12
    for _ in range(MOST_CHUNKS):
        if at + 8 > length:
            break
        size, kind = struct.unpack("<I4s", data[at : at + 8])
        chunks.setdefault(kind, data[at + 8 : at + 8 + size])
        at += 8 + size
    try:
        content = parse_json(chunks[b"JSON"], "it")
        nodes = content["nodes"]
        names = tuple(str(n.get("name", i)) for i, n in enumerate(nodes))
        parents = _parents(nodes)
    except TooLarge:
        raise
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"GLB: the JSON chunk cannot be read ({type(error).__name__}: {str(error)[:80]}).") from None
    return Gltf(content, chunks.get(b"BIN\0", b""), names, tuple(parents), _parents_first(parents))


def _parents(nodes: Sequence[Mapping[str, Any]]) -> list[int]:
    parents = [-1] * len(nodes)
    for i, node in enumerate(nodes):
        for child in node.get("children", ()):
            if not 0 <= child < len(nodes) or parents[child] >= 0:
                raise ValueError(f"node {child} does not exist or has two parents")
            parents[child] = i
    return parents


def _parents_first(parents: list[int]) -> tuple[int, ...]:
    children: dict[int, list[int]] = {}
    for i, parent in enumerate(parents):
        children.setdefault(parent, []).append(i)
    order = list(children.get(-1, ()))
    for node in order:
        order.extend(children.get(node, ()))
    if len(order) != len(parents):
        raise ValueError("GLB: the node tree has a loop.")
    return tuple(order)


def _accessor(gltf: Gltf, index: int) -> NDArray[np.float64]:
    """(count, width) numbers of one accessor."""
    if index not in gltf.read:
        gltf.read[index] = _read_accessor(gltf, index)
    return gltf.read[index]


def _read_accessor(gltf: Gltf, index: int) -> NDArray[np.float64]:
    try:
        accessor = gltf.content["accessors"][index]
        view = gltf.content["bufferViews"][accessor["bufferView"]]
        dtype, width = np.dtype(_TYPES[accessor["componentType"]]), _WIDTH[accessor["type"]]
        start = view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
        stride = view.get("byteStride", dtype.itemsize * width)
        count = accessor["count"]
        if not all(type(n) is int for n in (index, start, stride, count)):
            raise ValueError("its numbers are no whole ones")
        if "sparse" in accessor or stride < dtype.itemsize * width:
            raise ValueError("it is sparse, or its elements lie on one another")
        if min(index, start, count - 1) < 0 or start + stride * (count - 1) + dtype.itemsize * width > len(gltf.binary):
            raise ValueError("an accessor points outside the file; it is truncated or damaged")
        gltf.meter.add(4 * 8 * count * width)
        values = np.ndarray((count, width), dtype, gltf.binary, start, (stride, dtype.itemsize)).astype(float)
    except TooLarge:
        raise
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ValueError(f"GLB: accessor {index} cannot be read ({str(error)[:80]}).") from None
    if accessor.get("normalized") and dtype.kind in "iu":
        values = np.maximum(values / np.iinfo(dtype).max, -1.0)
    if not np.isfinite(values).all():
        raise ValueError(f"GLB: accessor {index} holds NaN or infinite numbers.")
    return values


def _interpolate(
    kind: str, path: str, keys: NDArray[np.float64], values: NDArray[np.float64], times: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(T, width) values at the given times; held constant outside the keys."""
    if kind not in ("STEP", "LINEAR"):
        raise ValueError(f"GLB: interpolation {kind} is not read. Export the clip with LINEAR or STEP keys.")
    if len(keys) != len(values) or (np.diff(keys) <= 0).any():
        raise ValueError("GLB: a sampler's times do not increase or do not match its values.")
    times = np.clip(times, keys[0], keys[-1])
    if kind == "STEP" or len(keys) == 1:
        return values[np.searchsorted(keys, times + 1e-6, side="right").clip(1) - 1]
    if path == "rotation":
        return Slerp(keys, Rotation.from_quat(values))(times).as_quat()
    return np.stack([np.interp(times, keys, column) for column in values.T], axis=1)


def clip_times(gltf: Gltf, clip: str, fps: float) -> NDArray[np.float64]:
    """Sample times of a clip, seconds, from its first key to its last."""
    inputs = {sampler["input"] for sampler in gltf.clips[clip]["samplers"]}
    if not inputs:
        raise ValueError(f"GLB: clip '{clip}' has no samplers.")
    keys = [_accessor(gltf, index)[:, 0] for index in inputs]
    start, end = min(k[0] for k in keys), max(k[-1] for k in keys)
    if not 0 <= end - start < 3600:
        raise ValueError(f"GLB: clip '{clip}' lasts {end - start:.0f} s; expected less than an hour.")
    return start + np.arange(int((end - start) * fps + 1e-3) + 1) / fps


def node_tracks(gltf: Gltf, clip: str, times: NDArray[np.float64]) -> list[dict[str, NDArray[np.float64]]]:
    """For each node translation, rotation and scale (T, 3 | 4 | 3) at the given times; resting where not animated."""
    animation, tracks = gltf.clips[clip], []
    for node in gltf.content["nodes"]:
        if "matrix" in node:
            raise ValueError("GLB: a node is given by a matrix, which an animated skeleton may not have.")
        rest = {path: np.asarray(node.get(path, default), float) for path, default in _DEFAULTS.items()}
        if any(rest[path].shape != (len(default),) for path, default in _DEFAULTS.items()):
            raise ValueError("GLB: a node's translation, rotation or scale has another number of numbers.")
        tracks.append({path: np.tile(value, (len(times), 1)) for path, value in rest.items()})
    if len(animation["channels"]) > len(tracks) * len(_WEIGHTED):
        raise ValueError(f"GLB: clip '{clip}' moves some node twice. The file is damaged.")
    for channel in animation["channels"]:
        path, node = channel["target"].get("path"), channel["target"].get("node")
        if path in _DEFAULTS and node is not None:
            sampler = animation["samplers"][channel["sampler"]]
            keys, values = _accessor(gltf, sampler["input"])[:, 0], _accessor(gltf, sampler["output"])
            tracks[node][path] = _interpolate(sampler.get("interpolation", "LINEAR"), path, keys, values, times)
    return tracks


def global_transforms(
    gltf: Gltf, clip: str, times: NDArray[np.float64]
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """name -> (rotations (T, 3, 3), positions (T, 3)) of every node in the file's world."""
    gltf.meter.add(TRANSFORM_BYTES * len(times) * len(gltf.names))
    tracks = node_tracks(gltf, clip, times)
    rotation: dict[int, NDArray[np.float64]] = {}
    affine: dict[int, NDArray[np.float64]] = {}
    for i in gltf.order:
        local = Rotation.from_quat(tracks[i]["rotation"]).as_matrix()
        frame = np.tile(np.eye(4), (len(times), 1, 1))
        frame[:, :3, :3], frame[:, :3, 3] = local * tracks[i]["scale"][:, None, :], tracks[i]["translation"]
        parent = gltf.parents[i]
        rotation[i] = local if parent < 0 else rotation[parent] @ local
        affine[i] = frame if parent < 0 else affine[parent] @ frame
    return {gltf.names[i]: (rotation[i], affine[i][:, :3, 3]) for i in gltf.order}


# ---- skeletons and clips

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


def align(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
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


def _perpendicular(a: NDArray[np.float64]) -> NDArray[np.float64]:
    other = np.cross(a, np.eye(3)[np.abs(a).argmin()])
    return other / np.linalg.norm(other)


def _rig_of(gltf: Gltf) -> Rig:
    for rig in RIGS:
        if set(rig.nodes().values()) <= set(gltf.names) and rig.rest_clip in gltf.clips:
            return rig
    raise ValueError(
        f"GLB: unknown skeleton ({how_many(len(gltf.names), 'nodes')}, {how_many(len(gltf.clips), 'clips')}). Known: "
        + "; ".join(f"{s.name} with the clip '{s.rest_clip}'" for s in RIGS)
        + ". Add a Rig to hmrfit/motion/glb.py."
    )


def _rest_corrections(gltf: Gltf, rig: Rig) -> dict[str, NDArray[np.float64]]:
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


def motions_from_glb(data: bytes, clips: Sequence[str] | None = None) -> list[Motion]:
    """The clips of a GLB file as Motions named after them; all but the rest pose where none are asked for.

    Raises:
        ValueError: unknown skeleton, unknown clip, or a damaged file.
    """
    gltf = parse_glb(data)
    try:
        return list(_read_clips(gltf, clips))
    except (KeyError, IndexError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"GLB: the file is damaged ({type(error).__name__}: {str(error)[:80]}).") from error


def _read_clips(gltf: Gltf, clips: Sequence[str] | None) -> Iterator[Motion]:
    rig = _rig_of(gltf)
    corrections = _rest_corrections(gltf, rig)
    wanted = [c for c in gltf.clips if c != rig.rest_clip] if clips is None else clips
    unknown = [c for c in wanted if c not in gltf.clips]
    if unknown:
        raise ValueError(f"GLB: there is no clip '{unknown[0]}'. Clips: {', '.join(gltf.clips)}.")
    for clip in wanted:
        yield _motion(gltf, rig, corrections, clip)


def _motion(gltf: Gltf, rig: Rig, corrections: Mapping[str, NDArray[np.float64]], clip: str) -> Motion:
    frames = global_transforms(gltf, clip, clip_times(gltf, clip, FPS))
    nodes = rig.nodes()
    ideal = {joint: frames[node][0] @ corrections[joint] for joint, node in nodes.items()}
    poses, transl = local_from_ideal(ideal), frames[nodes["pelvis"]][1]
    driven = driven_mask(ideal) & (np.linalg.norm(poses, axis=-1).max(axis=0) > UNKEYED)
    return Motion(poses, transl, FPS, driven, name=clip, label=clip, source=rig.name)
