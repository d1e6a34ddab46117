"""The generic hand of WebXR (MIT), read, welded, and brought into MANO's rest pose and joints.

    a right hand at rest: fingers towards −x, its back up (+y), the thumb forwards (+z), wrist at the origin; metres
    16 joints in MANO's order: the wrist, then three joints each of index, middle, little, ring finger and thumb

The template's 25 joints are the wrist, and of each finger a metacarpal (the thumb's is its first joint), the phalanges
and a tip. Its own skinning weights drive what is done here: fingers are straightened, then every bone is stretched
along itself to the length that hands have. Metacarpal weights are the wrist's in the end.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from hmrfit.body.skeleton import MANO_RIGHT
from hmrfit.priors.biomechanics import bones_of, joint_angles

LENGTHS = (
    np.array([[38, 37, 31, 28], [86, 41, 25, 22], [84, 43, 29, 22], [81, 39, 27, 22], [77, 30, 20, 19]], float) / 1000
)
"""Metres, thumb to little finger, from the wrist outwards: means of six adults' hands, numbers quoted from
measurements of InterHand2.6M's joints."""

WRIST_FORWARD = 0.012
"""Metres by which WebXR's wrist lies nearer to the elbow than where annotators have it."""

FINGERS = ("thumb", "index-finger", "middle-finger", "ring-finger", "pinky-finger")
BONES = {
    finger: (
        ("thumb-metacarpal", "thumb-phalanx-proximal", "thumb-phalanx-distal", "thumb-tip")
        if finger == "thumb"
        else tuple(f"{finger}-{part}" for part in ("phalanx-proximal", "phalanx-intermediate", "phalanx-distal", "tip"))
    )
    for finger in FINGERS
}
"""The template's joints at the four points of each finger of hand21."""

MANO_FINGER = {"index": 1, "middle": 2, "pinky": 4, "ring": 3, "thumb": 0}
"""MANO's finger -> its place in hand21."""

COMPONENTS = {5121: np.uint8, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}


@dataclass(frozen=True)
class Template:
    """vertices (V, 3) metres, faces (F, 3), weights (V, 25), joints (25, 3) with their names."""

    vertices: np.ndarray
    faces: np.ndarray
    weights: np.ndarray
    joints: np.ndarray
    names: tuple[str, ...]

    def place(self, name: str) -> int:
        return self.names.index(name)

    def points21(self) -> np.ndarray:
        """(21, 3) in the order of hand21."""
        rows = [self.place("wrist"), *(self.place(name) for finger in FINGERS for name in BONES[finger])]
        return self.joints[rows]


def read_template(path: Path) -> Template:
    """The right hand's GLB, its seams welded, in the axes of a right hand at rest."""
    blob = path.read_bytes()
    size = struct.unpack("<I", blob[12:16])[0]
    scene, data = json.loads(blob[20 : 20 + size]), blob[28 + size :]
    attributes = scene["meshes"][0]["primitives"][0]
    read = lambda index: _accessor(scene, data, index)  # noqa: E731
    vertices = read(attributes["attributes"]["POSITION"]).astype(float)
    bones, own = (read(attributes["attributes"][name]) for name in ("JOINTS_0", "WEIGHTS_0"))
    skin = scene["skins"][0]
    names = tuple(scene["nodes"][i]["name"] for i in skin["joints"])
    joints = np.linalg.inv(read(skin["inverseBindMatrices"]).reshape(-1, 4, 4).swapaxes(1, 2))[:, :3, 3]
    weights = np.zeros((len(vertices), len(names)))
    np.add.at(weights, (np.arange(len(vertices))[:, None], bones.astype(int)), own)
    _, first, back = np.unique(np.round(vertices, 5), axis=0, return_index=True, return_inverse=True)
    faces = back.reshape(-1)[read(attributes["indices"]).reshape(-1, 3).astype(int)]
    faces = faces[(np.diff(np.sort(faces, 1), axis=1) > 0).all(1)]
    return _at_rest(Template(vertices[first], faces, weights[first], joints.astype(float), names))


def _accessor(scene: dict, data: bytes, index: int) -> np.ndarray:
    about = scene["accessors"][index]
    view = scene["bufferViews"][about["bufferView"]]
    kind, width = np.dtype(COMPONENTS[about["componentType"]]), WIDTHS[about["type"]]
    start = view.get("byteOffset", 0) + about.get("byteOffset", 0)
    stride = view.get("byteStride") or kind.itemsize * width
    rows = np.ndarray((about["count"], width), kind, data, start, (stride, kind.itemsize))
    return rows.copy()


def _at_rest(hand: Template) -> Template:
    """Turned: the middle metacarpal along −x, the palm's normal along +y; the wrist at the origin."""
    points = hand.points21()
    forward = points[9] - points[0]
    back = np.cross(points[17] - points[0], points[5] - points[0])  # little × index: out of a right hand's back
    x = -forward / np.linalg.norm(forward)
    y = back - (back @ x) * x
    y /= np.linalg.norm(y)
    turn = np.stack([x, y, np.cross(x, y)])
    origin = points[0] + WRIST_FORWARD * forward / np.linalg.norm(forward)
    vertices, joints = ((points - origin) @ turn.T for points in (hand.vertices, hand.joints))
    joints[hand.place("wrist")] = 0
    return Template(vertices, hand.faces, hand.weights, joints, hand.names)


def flattened(hand: Template) -> Template:
    """Every finger straight: no flexion in any of its joints; its abduction stays."""
    angles = joint_angles(bones_of(torch.tensor(hand.points21())[None]))[0].numpy().reshape(5, 3, 2)
    for f, finger in enumerate(FINGERS):
        for k in range(3):
            hand = _turned(hand, BONES[finger][k:], angles[f, k, 0])
    return hand


def _turned(hand: Template, names: tuple[str, ...], angle: float) -> Template:
    """A finger straightened at its joint `names[0]` by an angle."""
    start = hand.joints[hand.place(names[0])]
    turn = _rotation(_flexion_axis(hand, names[0]), angle)
    weight = hand.weights[:, [hand.place(name) for name in names]].sum(1)[:, None]
    vertices = hand.vertices + weight * ((hand.vertices - start) @ turn.T + start - hand.vertices)
    joints = hand.joints.copy()
    rows = [hand.place(name) for name in names]
    joints[rows] = (joints[rows] - start) @ turn.T + start
    return Template(vertices, hand.faces, hand.weights, joints, hand.names)


def _flexion_axis(hand: Template, name: str) -> np.ndarray:
    """A turn about it by a positive angle straightens what is bent towards the palm."""
    finger = next(f for f in FINGERS if name in BONES[f])
    k = BONES[finger].index(name)
    before = hand.joints[hand.place(BONES[finger][k - 1])] if k else hand.joints[hand.place("wrist")]
    z = hand.joints[hand.place(name)] - before
    z /= np.linalg.norm(z)
    roots = [hand.joints[hand.place(BONES[f][0])] for f in FINGERS]
    f = FINGERS.index(finger)
    normal = np.cross(roots[min(f + 1, 4)], roots[f]) if f < 4 else np.cross(roots[4], roots[3])
    x = -normal / np.linalg.norm(normal)
    if f in (2, 3):
        n = [np.cross(roots[i + 1], roots[i]) for i in (f - 1, f)]
        x = -sum(v / np.linalg.norm(v) for v in n)
    x -= (x @ z) * z
    return np.cross(x / np.linalg.norm(x), z)


def _rotation(axis: np.ndarray, angle: float) -> np.ndarray:
    axis = axis / np.linalg.norm(axis)
    K = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.eye(3) + np.sin(angle) * K + (1 - np.cos(angle)) * K @ K


@dataclass(frozen=True)
class Build:
    """How a hand differs from another: factors of its bones and of what is around them."""

    lengths: np.ndarray  # (5, 4) of every bone, from the wrist outwards
    thickness: np.ndarray  # (5,) of each finger, across its bones
    palm_thickness: float = 1.0
    palm_width: float = 1.0
    size: float = 1.0

    @classmethod
    def none(cls) -> Build:
        return cls(np.ones((5, 4)), np.ones(5))


def shaped(hand: Template, build: Build) -> Template:
    """Each bone b moves what it carries by  p ↦ x'_b + S_b (p − x_b),  S_b a scale along the bone and one across."""
    new = _moved_joints(hand, build)
    total = np.zeros_like(hand.vertices)
    for name in hand.names:
        j = hand.place(name)
        scale, start, end = _bone_scale(hand, name, build, new)
        total += hand.weights[:, [j]] * ((hand.vertices - start) @ scale.T + end)
    return Template(build.size * total, hand.faces, hand.weights, build.size * new, hand.names)


def _moved_joints(hand: Template, build: Build) -> np.ndarray:
    """Joints with bones of other lengths, along the same directions; the palm's spread in z is its width."""
    new = hand.joints.copy()
    for f, finger in enumerate(FINGERS):
        before_old, before_new = hand.joints[hand.place("wrist")], new[hand.place("wrist")]
        for k, name in enumerate(BONES[finger]):
            j = hand.place(name)
            bone = (hand.joints[j] - before_old) * build.lengths[f, k]
            if k == 0 and finger != "thumb":
                bone = bone * [1.0, 1.0, build.palm_width]
            new[j] = before_new + bone
            before_old, before_new = hand.joints[j], new[j]
        if finger != "thumb":
            j = hand.place(f"{finger}-metacarpal")
            new[j] = hand.joints[j] * [1.0, 1.0, build.palm_width]
    return new


def _bone_scale(hand: Template, name: str, build: Build, new: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(S (3, 3), the bone's start before, and after)."""
    j = hand.place(name)
    if name == "wrist":
        return np.diag([1.0, build.palm_thickness, build.palm_width]), hand.joints[j], new[j]
    finger = next(f for f in FINGERS if name.startswith(f.split("-")[0]))
    f, chain = FINGERS.index(finger), BONES[finger]
    if name.endswith("metacarpal") and finger != "thumb":
        end, across = hand.place(chain[0]), None
    else:
        k = chain.index(name)
        end, across = hand.place(chain[min(k + 1, 3)]), build.thickness[f]
        j = hand.place(chain[min(k, 2)])
    bone_old, bone_new = hand.joints[end] - hand.joints[j], new[end] - new[j]
    u = bone_old / np.linalg.norm(bone_old)
    along = np.linalg.norm(bone_new) / np.linalg.norm(bone_old)
    if across is None:
        base = np.diag([1.0, build.palm_thickness, build.palm_width])
        return base + (along - 1) * np.outer(u, u), hand.joints[j], new[j]
    return across * (np.eye(3) - np.outer(u, u)) + along * np.outer(u, u), hand.joints[j], new[j]


def adult(hand: Template) -> Template:
    """With the lengths of adults' bones; what is beyond the last joint included, up to the finger's end."""
    tips = tip_vertices(hand)
    points = hand.points21()
    points[[4, 8, 12, 16, 20]] = hand.vertices[tips]
    now = np.linalg.norm(bones_of(torch.tensor(points)[None])[0].numpy(), axis=-1)
    return shaped(hand, Build(LENGTHS / now, np.ones(5)))


def tip_vertices(hand: Template) -> list[int]:
    """Of each finger, thumb first, the vertex farthest along its last bone."""
    found = []
    for finger in FINGERS:
        last, tip = (hand.joints[hand.place(name)] for name in BONES[finger][2:])
        mine = hand.weights[:, [hand.place(name) for name in BONES[finger][2:]]].sum(1) > 0.5
        found.append(int(np.where(mine, (hand.vertices - last) @ (tip - last), -np.inf).argmax()))
    return found


def mano_weights(hand: Template) -> np.ndarray:
    """(V, 16): metacarpals with the wrist, tips with the last phalanges."""
    weights = np.zeros((len(hand.vertices), 16))
    weights[:, 0] = hand.weights[:, [hand.place(n) for n in hand.names if n == "wrist" or _is_metacarpal(n)]].sum(1)
    for j, name in enumerate(MANO_RIGHT.names[1:], 1):
        finger, k = FINGERS[MANO_FINGER[name[6:-1]]], int(name[-1]) - 1
        own = BONES[finger][k : k + (2 if k == 2 else 1)]
        weights[:, j] = hand.weights[:, [hand.place(n) for n in own]].sum(1)
    return weights / weights.sum(1, keepdims=True)


def _is_metacarpal(name: str) -> bool:
    return name.endswith("metacarpal") and not name.startswith("thumb")


def mano_joints(hand: Template) -> np.ndarray:
    """(16, 3)."""
    joints = [hand.joints[hand.place("wrist")]]
    for name in MANO_RIGHT.names[1:]:
        joints.append(hand.joints[hand.place(BONES[FINGERS[MANO_FINGER[name[6:-1]]]][int(name[-1]) - 1])])
    return np.array(joints)
