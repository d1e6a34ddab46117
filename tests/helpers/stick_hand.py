"""A right hand in MANO's layout made of small diamonds about its joints, with tips and two shapes: size and chance."""

import numpy as np
from helpers.synthetic_body import HAND_PARENTS

BASES = ((-0.09, 0, 0.03), (-0.09, 0, 0.01), (-0.09, 0, -0.03), (-0.09, 0, -0.01), (-0.03, 0, 0.04))
"""Metres from the wrist to the index, middle, little, ring finger and thumb."""

PHALANX = 0.03
TIPS = (3, 6, 9, 12, 15)


def stick_hand() -> dict[str, np.ndarray]:
    """Arrays of the file."""
    rng, J = np.random.default_rng(0), len(HAND_PARENTS)
    rest = np.zeros((J, 3))
    for finger, base in enumerate(BASES):
        along = np.array([-0.7, 0, 0.7]) if finger == 4 else np.array([-1.0, 0, 0])
        rest[1 + 3 * finger : 4 + 3 * finger] = base + PHALANX * np.arange(3)[:, None] * along
    corners = 0.008 * np.concatenate([np.eye(3), -np.eye(3)])
    tips = np.array([2 * rest[tip] - rest[tip - 1] for tip in TIPS])
    vertices = np.concatenate([(rest[:, None] + corners).reshape(-1, 3), tips])
    owner = np.concatenate([np.arange(J).repeat(len(corners)), TIPS])
    regressor = np.zeros((J, len(vertices)))
    regressor[owner[: -len(tips)], np.arange(len(vertices) - len(tips))] = 1 / len(corners)
    landmarks = np.eye(len(vertices))[-len(tips) :]
    return {
        "v_template": vertices,
        "shapedirs": np.stack([0.05 * vertices, rng.normal(0, 1e-3, vertices.shape)], -1),
        "posedirs": np.zeros((len(vertices), 3, 9 * (J - 1))),
        "J_regressor": regressor,
        "weights": np.eye(J)[owner],
        "kintree_table": np.array([HAND_PARENTS, range(J)]),
        "f": np.arange(6).reshape(2, 3),
        "landmark_names": np.array([f"right_{finger}_tip" for finger in ("index", "middle", "pinky", "ring", "thumb")]),
        "landmark_regressor": landmarks,
    }
