"""A plain reader and forward kinematics of Acclaim ASF/AMC, the format of the CMU originals. For tests only.

For a bone with rest axis rotation C (from its `axis`) and motion M (from its degrees of freedom), both Rz Ry Rx:
G = G_parent C M C^T, and the bone points along G d with d its rest direction in the world.
"""

import numpy as np


def rotation(x: float, y: float, z: float) -> np.ndarray:
    """Rz Ry Rx, degrees."""
    cx, cy, cz, sx, sy, sz = *np.cos(np.radians([x, y, z])), *np.sin(np.radians([x, y, z]))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def read_asf(text: str) -> tuple[dict[str, dict], dict[str, str]]:
    """name -> direction (3,), axis (3, 3), degrees of freedom; and name -> parent."""
    bones = {"root": {"direction": np.zeros(3), "axis": np.eye(3), "dof": ["tx", "ty", "tz", "rx", "ry", "rz"]}}
    for block in text.split(":bonedata")[1].split(":hierarchy")[0].split("begin")[1:]:
        rows = {line.split()[0]: line.split()[1:] for line in block.splitlines() if line.split()}
        bones[rows["name"][0]] = {
            "direction": np.array(rows["direction"], float),
            "axis": rotation(*map(float, rows["axis"][:3])),
            "dof": rows.get("dof", []),
        }
    parent = {}
    for line in text.split(":hierarchy")[1].splitlines():
        words = line.split()
        if len(words) > 1:
            parent |= dict.fromkeys(words[1:], words[0])
    return bones, parent


def read_amc(text: str) -> list[dict[str, list[float]]]:
    """One dict a frame, bone -> numbers."""
    frames: list[dict[str, list[float]]] = []
    for line in text.splitlines():
        words = line.split()
        if len(words) == 1 and words[0].isdigit():
            frames.append({})
        elif frames and words:
            frames[-1][words[0]] = [float(w) for w in words[1:]]
    return frames


def bone_directions(asf: str, frame: dict[str, list[float]]) -> dict[str, np.ndarray]:
    """Unit direction of every bone in the world."""
    bones, parent = read_asf(asf)
    glob: dict[str, np.ndarray] = {}

    def solve(name: str) -> np.ndarray:
        if name not in glob:
            angles = dict(zip(bones[name]["dof"], frame.get(name, []), strict=False))
            motion = rotation(*(angles.get(axis, 0.0) for axis in ("rx", "ry", "rz")))
            local = bones[name]["axis"] @ motion @ bones[name]["axis"].T
            glob[name] = local if name == "root" else solve(parent[name]) @ local
        return glob[name]

    return {name: solve(name) @ bone["direction"] for name, bone in bones.items() if name != "root"}
