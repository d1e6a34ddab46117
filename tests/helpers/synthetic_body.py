"""A small made-up body in SMPL's format: real structure, random numbers, no licence."""

import numpy as np

SMPL_PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
HAND_PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14)  # MANO's 16
LONG_PARENTS = (-1, *range(54))  # as many as SMPL-X, in one chain


def synthetic_body(
    parents: tuple[int, ...] = SMPL_PARENTS, vertices: int = 80, shapes: int = 10, seed: int = 0
) -> dict[str, np.ndarray]:
    """Arrays of an SMPL-format body: J = len(parents), about as large as a person, faces at random."""
    rng = np.random.default_rng(seed)
    joints = len(parents)
    weights = rng.random((vertices, joints)) ** 8
    regressor = rng.random((joints, vertices)) * (rng.random((joints, vertices)) < 0.2) + np.eye(joints, vertices)
    return {
        "v_template": rng.normal(0, 0.4, (vertices, 3)),
        "shapedirs": rng.normal(0, 0.01, (vertices, 3, shapes)),
        "posedirs": rng.normal(0, 0.01, (vertices, 3, 9 * (joints - 1))),
        "J_regressor": regressor / regressor.sum(1, keepdims=True),
        "weights": weights / weights.sum(1, keepdims=True),
        "kintree_table": np.array([[2**32 - 1, *parents[1:]], range(joints)], dtype=np.uint32),
        "f": rng.permuted(np.tile(np.arange(vertices, dtype=np.uint32), (120, 1)), axis=1)[:, :3],
    }
