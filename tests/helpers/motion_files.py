"""Small motion files with known contents, written by hand. Nothing in them is recorded from anybody."""

import json
import struct

import numpy as np
from scipy.spatial.transform import Rotation

from hmrfit.motion.cmu import NODES

CMU_OFFSETS = {
    "LeftUpLeg": (1.4, -1.8, 0.8), "LeftLeg": (2.4, -6.6, 0.0), "LeftFoot": (2.5, -6.9, 0.0),
    "LeftToeBase": (0.2, -0.4, 2.3), "RightUpLeg": (-1.4, -1.8, 0.8), "RightLeg": (-2.4, -6.6, 0.0),
    "RightFoot": (-2.5, -6.9, 0.0), "RightToeBase": (-0.2, -0.4, 2.3), "Spine": (0.0, 2.0, 0.0),
    "Spine1": (0.0, 2.0, 0.0), "Neck1": (0.0, 1.7, 0.1), "Head": (0.0, 1.7, 0.0), "LeftArm": (3.3, 1.2, -0.3),
    "LeftForeArm": (5.0, 0.0, 0.0), "LeftHand": (3.4, 0.0, 0.0), "LeftHandIndex1": (0.7, 0.0, 0.0),
    "RightArm": (-3.3, 1.2, -0.3), "RightForeArm": (-5.0, 0.0, 0.0), "RightHand": (-3.4, 0.0, 0.0),
    "RightHandIndex1": (-0.7, 0.0, 0.0),
}  # fmt: skip


def cmu_bvh(angles: list[dict[str, tuple[float, float, float]]], frame_time: float = 1 / 120) -> str:
    """A MotionBuilder-dialect BVH: a T-pose frame, then one frame for each dict of bone -> (z, y, x) degrees."""
    names = [name for name, _ in NODES]
    children: dict[int, list[int]] = {}
    for i, (_, parent) in enumerate(NODES):
        children.setdefault(parent, []).append(i)

    def write(i: int, depth: int) -> list[str]:
        pad, name = "  " * depth, names[i]
        if name == "_":
            return [f"{pad}End Site", pad + "{", f"{pad}  OFFSET 0 0 1", pad + "}"]
        offset = " ".join(map(str, CMU_OFFSETS.get(name, (0.0, 0.0, 0.0))))
        position = "6 Xposition Yposition Zposition" if i == 0 else "3"
        lines = [f"{pad}{'ROOT' if i == 0 else 'JOINT'} {name}", pad + "{", f"{pad}  OFFSET {offset}"]
        lines.append(f"{pad}  CHANNELS {position} Zrotation Yrotation Xrotation")
        for child in children.get(i, ()):
            lines += write(child, depth + 1)
        return [*lines, pad + "}"]

    joints = [name for name in names if name != "_"]
    rows = ["0 17 0 " + " ".join(f"{a:.9f}" for n in joints for a in f.get(n, (0, 0, 0))) for f in [{}, *angles]]
    head = ["HIERARCHY", *write(0, 0), "MOTION", f"Frames: {len(rows)}", f"Frame Time: {frame_time:.9f}"]
    return "\n".join([*head, *rows, ""])


def cmu_expmap(angles: list[dict[str, tuple[float, float, float]]]) -> str:
    """The same as exponential-map text: row vectors, the root composed in the wrong order as upstream does it."""
    rows = []
    for frame in [{}, *angles]:
        row = [0.0, 17.0, 0.0]
        for name, parent in NODES:
            z, y, x = frame.get(name, (0.0, 0.0, 0.0))
            order, turned = ("ZXY", (z, x, y)) if parent < 0 else ("ZYX", (z, y, x))
            row += (-Rotation.from_euler(order, turned, degrees=True).as_rotvec()).tolist()
        rows.append(",".join(f"{v:.12g}" for v in row))
    return "\n".join(rows) + "\n"


def random_angles(rng: np.random.Generator, frames: int) -> list[dict[str, tuple[float, float, float]]]:
    """Angles for every bone, moderate, the elbows and knees as hinges."""
    joints = [name for name, _ in NODES if name != "_"]
    return [{name: tuple(rng.uniform(-40, 40, 3)) for name in joints} for _ in range(frames)]


def deepmimic(frames: list[dict[str, list[float]]], dt: float = 1 / 30) -> str:
    """DeepMimic text; what a frame does not name is at rest (quaternions w x y z)."""
    layout = {"position": [0.0, 0.85, 0.0], "root": 4, "chest": 4, "neck": 4}
    for side in ("right", "left"):
        layout |= {f"{side}_hip": 4, f"{side}_knee": 1, f"{side}_ankle": 4, f"{side}_shoulder": 4, f"{side}_elbow": 1}
    rests = {4: [1.0, 0.0, 0.0, 0.0], 1: [0.0]}
    rows = []
    for frame in frames:
        row = [dt]
        for name, rest in layout.items():
            row += frame.get(name, rests[rest] if isinstance(rest, int) else rest)
        rows.append(row)
    return json.dumps({"Loop": "none", "Frames": rows})


def glb(content: dict, binary: bytes) -> bytes:
    """A binary glTF 2.0 file around its two chunks."""
    text = json.dumps(content).encode()
    text += b" " * (-len(text) % 4)
    body = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body


def animated_glb(
    nodes: list[dict], clips: dict[str, dict[int, list[tuple[float, list[float]]]]], interpolation: str = "LINEAR"
) -> bytes:
    """A GLB whose clips turn nodes: clip -> node -> [(time, quaternion x y z w)]."""
    binary, accessors, views, animations = b"", [], [], []

    def store(values: np.ndarray) -> int:
        nonlocal binary
        data = np.asarray(values, "<f4")
        views.append({"buffer": 0, "byteOffset": len(binary), "byteLength": data.nbytes})
        kind = "SCALAR" if data.ndim == 1 else f"VEC{data.shape[1]}"
        accessors.append({"bufferView": len(views) - 1, "componentType": 5126, "count": len(data), "type": kind})
        binary += data.tobytes()
        return len(accessors) - 1

    for name, tracks in clips.items():
        samplers, channels = [], []
        for node, keys in tracks.items():
            times, turns = store([k[0] for k in keys]), store([k[1] for k in keys])
            samplers.append({"input": times, "output": turns, "interpolation": interpolation})
            channels.append({"sampler": len(samplers) - 1, "target": {"node": node, "path": "rotation"}})
        animations.append({"name": name, "samplers": samplers, "channels": channels})
    content = {"asset": {"version": "2.0"}, "nodes": nodes, "animations": animations, "accessors": accessors}
    return glb(content | {"bufferViews": views, "buffers": [{"byteLength": len(binary)}]}, binary)
