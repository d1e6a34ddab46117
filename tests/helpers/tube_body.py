"""A body made of open tubes whose radii and lengths are known for every shape: a known answer for capsules."""

import numpy as np
from helpers.synthetic_body import SMPL_PARENTS

from hmrfit.body.capsules import PARTS
from hmrfit.fitting.check_term import STICK_CM
from hmrfit.keypoints import SMPL24

AROUND, ALONG = 16, 6
THICKER, TALLER = 0.002, 0.05
"""What beta 0 adds to every radius, metres, and beta 1 to every length and radius, as a share."""


def tube_body() -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """(arrays in SMPL's format with 3 betas, radii (20,), extents along the axes (20,)), metres, of the mean shape."""
    rest = np.array(STICK_CM) / 100
    vertices, normals, faces, owners, regressor, radii, extents = [], [], [], [], {}, [], []
    for i, (name, (joints, direction)) in enumerate(PARTS.items()):
        own, radius = SMPL24.index(joints[0]), 0.03 + 0.004 * i
        if direction in SMPL24:
            along = rest[SMPL24.index(direction)] - rest[own]
        else:
            axis = {"x": [1, 0, 0], "y": [0, 1, 0]}.get(direction, [0, 0, 1] if "foot" in name else [1, 0, 0])
            along = np.array(axis) * (0.3 + 0.02 * i)
        begin = rest[own] - (0.0 if direction in SMPL24 else 0.5) * along
        first = len(vertices) * AROUND * ALONG
        ring, out = _tube(begin, along, radius)
        vertices.append(ring), normals.append(out), owners.append(np.full(len(ring), own))
        faces += [(first + a, first + b, first + c) for a, b, c in _faces()]
        all_of_it = np.arange(first, first + len(ring))
        regressor[own] = all_of_it[:AROUND] if direction in SMPL24 else all_of_it
        if len(joints) > 1:
            regressor[SMPL24.index(joints[1])] = all_of_it[-AROUND:]
        radii.append(radius), extents.append(np.linalg.norm(along))
    v, owner = np.concatenate(vertices), np.concatenate(owners)
    J_regressor = np.zeros((24, len(v)))
    for joint, chosen in regressor.items():
        J_regressor[joint, chosen] = 1 / len(chosen)
    data = {
        "v_template": v,
        "shapedirs": np.stack([THICKER * np.concatenate(normals), TALLER * v, np.zeros_like(v)], -1),
        "posedirs": np.zeros((len(v), 3, 207)),
        "J_regressor": J_regressor,
        "weights": np.eye(24)[owner],
        "kintree_table": np.array([[2**32 - 1, *SMPL_PARENTS[1:]], range(24)], dtype=np.uint32),
        "f": np.array(faces),
    }
    return data, np.array(radii), np.array(extents)


def _tube(begin: np.ndarray, along: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Rings around an axis, and the directions away from it."""
    plane = np.linalg.svd(along[None])[2][1:]
    angle = 2 * np.pi * np.arange(AROUND) / AROUND
    out = np.stack([np.cos(angle), np.sin(angle)], 1) @ plane
    rings = [begin + share * along + radius * out for share in np.linspace(0, 1, ALONG)]
    return np.concatenate(rings), np.tile(out, (ALONG, 1))


def _faces() -> list[tuple[int, int, int]]:
    """Two triangles between neighbours on neighbouring rings."""
    found = []
    for ring in range(ALONG - 1):
        for a in range(AROUND):
            b = (a + 1) % AROUND
            p, q, r, s = (AROUND * ring + a, AROUND * ring + b, AROUND * (ring + 1) + a, AROUND * (ring + 1) + b)
            found += [(p, q, r), (q, s, r)]
    return found
