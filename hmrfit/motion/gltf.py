"""The part of binary glTF 2.0 that animation clips need: the node tree, and translation, rotation and scale over time.

A GLB is a 12-byte header, a JSON chunk and a binary chunk; an accessor is a typed window on the latter. Nothing is
loaded from outside the file. Quaternions x y z w.
"""

import struct
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from hmrfit.io.bounded import parse_json
from hmrfit.io.budget import Meter, TooLarge

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

    content: dict
    binary: bytes
    names: tuple[str, ...]
    parents: tuple[int, ...]
    """Index of each node's parent, -1 at a root."""
    order: tuple[int, ...]
    """Node indices, every parent before its children."""

    meter: Meter = field(default_factory=lambda: Meter("GLB: the file"))
    """What its accessors and clips take."""
    read: dict[int, np.ndarray] = field(default_factory=dict)
    """The accessors that were read."""

    @cached_property
    def clips(self) -> dict[str, dict]:
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
        raise ValueError(f"GLB: version {version}, {length} bytes announced, {len(data)} there. Truncated, or not 2.0.")
    chunks, at = {}, 12
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


def _parents(nodes: list[dict]) -> list[int]:
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


def _accessor(gltf: Gltf, index: int) -> np.ndarray:
    """(count, width) numbers of one accessor."""
    if index not in gltf.read:
        gltf.read[index] = _read_accessor(gltf, index)
    return gltf.read[index]


def _read_accessor(gltf: Gltf, index: int) -> np.ndarray:
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


def _interpolate(kind: str, path: str, keys: np.ndarray, values: np.ndarray, times: np.ndarray) -> np.ndarray:
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


def clip_times(gltf: Gltf, clip: str, fps: float) -> np.ndarray:
    """Sample times of a clip, seconds, from its first key to its last."""
    inputs = {sampler["input"] for sampler in gltf.clips[clip]["samplers"]}
    if not inputs:
        raise ValueError(f"GLB: clip '{clip}' has no samplers.")
    keys = [_accessor(gltf, index)[:, 0] for index in inputs]
    start, end = min(k[0] for k in keys), max(k[-1] for k in keys)
    if not 0 <= end - start < 3600:
        raise ValueError(f"GLB: clip '{clip}' lasts {end - start:.0f} s; expected less than an hour.")
    return start + np.arange(int((end - start) * fps + 1e-3) + 1) / fps


def node_tracks(gltf: Gltf, clip: str, times: np.ndarray) -> list[dict[str, np.ndarray]]:
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


def global_transforms(gltf: Gltf, clip: str, times: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """name -> (rotations (T, 3, 3), positions (T, 3)) of every node in the file's world."""
    gltf.meter.add(TRANSFORM_BYTES * len(times) * len(gltf.names))
    tracks = node_tracks(gltf, clip, times)
    rotation, affine = {}, {}
    for i in gltf.order:
        local = Rotation.from_quat(tracks[i]["rotation"]).as_matrix()
        frame = np.tile(np.eye(4), (len(times), 1, 1))
        frame[:, :3, :3], frame[:, :3, 3] = local * tracks[i]["scale"][:, None, :], tracks[i]["translation"]
        parent = gltf.parents[i]
        rotation[i] = local if parent < 0 else rotation[parent] @ local
        affine[i] = frame if parent < 0 else affine[parent] @ frame
    return {gltf.names[i]: (rotation[i], affine[i][:, :3, 3]) for i in gltf.order}
