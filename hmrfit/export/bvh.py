"""BVH text: the skeleton of the person's own shape, and the angles of every joint in every frame.

    HIERARCHY   OFFSET of a joint = J_j − J_parent(j) at rest (T pose);  the root's is 0: some readers add it to the
                position channels, others do not
    MOTION      frames, 1 / fps;  a row: position of the root, then the angles of every joint, degrees

    R = R_c1(a) R_c2(b) R_c3(c)      channels c1 c2 c3, by default Zrotation Xrotation Yrotation
    position channels of the root = J_0 + transl(t)

y up, +z towards the camera, metres (or centimetres); joints have the names of the body's skeleton and at rest no turn
against the world, as SMPL has them, so these angles are SMPL's rotations. Of the two triples of angles that make one
rotation that one is written which is nearer to the frame before, so curves are smooth but where the middle angle
passes ±90°. Every joint has the same order: some readers take the first joint's for all.

Blender: File > Import > Motion Capture (.bvh), Forward -Z, Up Y (its defaults), Scale 1 (metres) or 0.01
(centimetres). MotionBuilder, Maya and Mixamo's tools take a unit for a centimetre.
"""

import warnings
from collections.abc import Sequence
from itertools import permutations
from os import PathLike

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from hmrfit.export.person_motion import PersonMotion, check_suffix, lowest_point
from hmrfit.io.atomic import atomic_write

UNITS = {"m": 1.0, "cm": 100.0}
"""Of a file, in a metre."""

ORDERS = tuple("".join(order) for order in permutations("XYZ"))

SHORT = 0.3
"""Of the bone above a last joint: how long the bone after it is where no vertices say it."""


def write_bvh(
    path: str | PathLike[str],
    person: PersonMotion,
    *,
    on_floor: bool = False,
    unit: str = "m",
    order: str = "ZXY",
) -> None:
    """Writes one person's motion, whole or not at all. Frames that are missing are interpolated.

    Args:
        path: ends in .bvh.
        on_floor: moves the motion up or down until the mesh's lowest point is at y = 0.
        unit: "m" or "cm".
        order: of the channels, "ZXY" and the like.

    Raises:
        ValueError: says what was expected; nothing is written. OSError: see `atomic.atomic_write`.
    """
    check_suffix(path, ".bvh")
    if unit not in UNITS:
        raise ValueError(f"unit should be m or cm, not {unit!r}.")
    if order not in ORDERS:
        raise ValueError(f"order should be one of {', '.join(ORDERS)}, not {order!r}.")
    person = person.even()
    world = person.in_world()
    roots = (person.rest_joints[0] + world.transl).numpy()
    if on_floor:
        roots[:, 1] -= lowest_point(person, world)
    scale = UNITS[unit]
    lines = _hierarchy(person, scale, order)
    lines += ["MOTION", f"Frames: {len(person)}", f"Frame Time: {1 / person.fps:.9f}"]
    angles = smooth_euler(world.rotations.numpy(), order)[:, _depth_first(person.body.parents)]
    row = " ".join(["%.7f"] * 3 + ["%.6f"] * angles[0].size)
    values = np.concatenate([roots * scale, angles.reshape(len(person), -1)], 1)
    lines += [row % tuple(frame) for frame in values.tolist()]
    with atomic_write(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _hierarchy(person: PersonMotion, scale: float, order: str) -> list[str]:
    """The lines of HIERARCHY. scale: of the file's unit in a metre."""
    skeleton, places = person.body.skeleton, scale * person.rest_joints.numpy()
    turns = " ".join(f"{axis}rotation" for axis in order)
    ends = {j: scale * end for j, end in _bone_ends(person).items()}
    lines = ["HIERARCHY"]

    def joint(j: int, depth: int) -> None:
        pad, inner, parent = "\t" * depth, "\t" * (depth + 1), skeleton.parents[j]
        lines.append(f"{pad}{'ROOT' if parent < 0 else 'JOINT'} {skeleton.names[j]}")
        lines.append(f"{pad}{{")
        lines.append(f"{inner}OFFSET {_numbers(places[j] - places[max(parent, 0)])}")
        positions = "6 Xposition Yposition Zposition" if parent < 0 else "3"
        lines.append(f"{inner}CHANNELS {positions} {turns}")
        for child in (k for k, p in enumerate(skeleton.parents) if p == j):
            joint(child, depth + 1)
        if j in ends:
            lines.extend((f"{inner}End Site", f"{inner}{{", f"{inner}\tOFFSET {_numbers(ends[j])}", f"{inner}}}"))
        lines.append(f"{pad}}}")

    joint(0, 0)
    return lines


def _depth_first(parents: Sequence[int], root: int = 0) -> list[int]:
    """Joints in the order in which the hierarchy names them."""
    below = [joint for child, p in enumerate(parents) if p == root for joint in _depth_first(parents, child)]
    return [root, *below]


def _numbers(values: NDArray[np.float64]) -> str:
    return " ".join(f"{value:.7f}" for value in values)


def _bone_ends(person: PersonMotion) -> dict[int, NDArray[np.float64]]:
    """For each joint without others below it, the end of its bone from there, metres, in the direction of the bone
    above: as far as the vertices reach that it moves most."""
    parents, vertices, places = person.body.parents, person.rest_vertices.numpy(), person.rest_joints.numpy()
    moved_by = person.body.weights.cpu().numpy().argmax(1)
    ends = {}
    for j in sorted(set(range(1, len(parents))) - set(parents)):
        bone = places[j] - places[parents[j]]
        length = np.linalg.norm(bone)
        reach = (vertices[moved_by == j] - places[j]) @ bone / max(length, 1e-9)
        far = reach.max() if len(reach) and reach.max() > 0 else SHORT * length
        ends[j] = bone / max(length, 1e-9) * far
    return ends


def smooth_euler(rotations: NDArray[np.float64], order: str) -> NDArray[np.float64]:
    """(T, J, 3, 3) -> intrinsic Euler angles (T, J, 3), degrees, each triple near the one of the frame before.

    R_a R_b R_c  =  R_(a + 180°) R_(180° − b) R_(c + 180°)        and whole turns more
    """
    T, J = rotations.shape[:2]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # where the middle angle is ±90°, the third one is 0
        one = Rotation.from_matrix(rotations.reshape(-1, 3, 3)).as_euler(order, degrees=True).reshape(T, J, 3)
    both = np.stack([one, one * (1, -1, 1) + 180.0])  # (2, T, J, 3)
    angles, before = np.empty((T, J, 3)), np.zeros((J, 3))
    for t in range(T):
        near = both[:, t] + 360.0 * np.round((before - both[:, t]) / 360.0)
        chosen = np.abs(near - before).sum(-1).argmin(0)
        angles[t] = before = near[chosen, np.arange(J)]
    return angles
