"""Small made-up bodies in SMPL's, SMPL-H's, SMPL-X's and MANO's layouts: real structure, random numbers, no licence."""

import numpy as np

SMPL_PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
HAND_PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14)  # MANO's 16
SMPLH_PARENTS = (
    *SMPL_PARENTS[:22],
    *(20, 22, 23, 20, 25, 26, 20, 28, 29, 20, 31, 32, 20, 34, 35),
    *(21, 37, 38, 21, 40, 41, 21, 43, 44, 21, 46, 47, 21, 49, 50),
)
SMPLX_PARENTS = (
    *(*SMPL_PARENTS[:22], 15, 15, 15),
    *(20, 25, 26, 20, 28, 29, 20, 31, 32, 20, 34, 35, 20, 37, 38),
    *(21, 40, 41, 21, 43, 44, 21, 46, 47, 21, 49, 50, 21, 52, 53),
)


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


def synthetic_hand(side: str = "right", **options: int) -> dict[str, np.ndarray]:
    """A hand in MANO's layout; the fingers of a right one lie towards -x, as in its files."""
    data = synthetic_body(HAND_PARENTS, **options)
    x = data["v_template"][:, 0]
    x *= np.sign(x.mean() - data["J_regressor"][0] @ x) * (-1.0 if side == "right" else 1.0)
    return data | _hand_poses("", np.random.default_rng(1))


def mano_like_hand(side: str = "right") -> dict[str, np.ndarray]:
    """A hand of as many vertices as MANO's, whose first shape makes it larger; the left one has the shapes of the right
    one, as MANO's file has them."""
    data = synthetic_hand("right", vertices=778)
    data["v_template"] = 0.2 * data["v_template"]
    data["shapedirs"] = 0.1 * data["shapedirs"]
    data["shapedirs"][..., 0] = 0.05 * data["v_template"] + 0.02 * data["shapedirs"][..., 0]
    if side == "left":
        data["v_template"] = data["v_template"] * [-1, 1, 1]
        m = np.array([-1, 1, 1])
        turned = (m[:, None, None] * m[:, None] * m).reshape(3, 9)
        data["posedirs"] = data["posedirs"] * np.tile(turned, 15)
        turns = np.tile([1, -1, -1], 15)
        data["hands_mean"], data["hands_components"] = data["hands_mean"] * turns, data["hands_components"] * turns
    return data


def synthetic_smplh(**options: int) -> dict[str, np.ndarray]:
    """SMPL-H's layout, with the poses of both hands."""
    rng = np.random.default_rng(1)
    return synthetic_body(SMPLH_PARENTS, **options) | _hand_poses("l", rng) | _hand_poses("r", rng)


def synthetic_smplx(shapes: int = 20, **options: int) -> dict[str, np.ndarray]:
    """SMPL-X's layout: shapes, then expressions (10 of each among 20, 300 and 100 among 400), points of the face."""
    rng = np.random.default_rng(1)
    face = {
        "lmk_faces_idx": rng.integers(0, 120, 51),
        "lmk_bary_coords": rng.dirichlet(np.ones(3), 51),
    }
    hands = _hand_poses("l", rng) | _hand_poses("r", rng)
    return synthetic_body(SMPLX_PARENTS, shapes=shapes, **options) | hands | face


def _hand_poses(ending: str, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A mean pose and 45 components of 15 finger joints."""
    components = np.linalg.qr(rng.normal(size=(45, 45)))[0]
    return {f"hands_mean{ending}": rng.normal(0, 0.3, 45), f"hands_components{ending}": components}
