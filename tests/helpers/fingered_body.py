"""The free body with the joints of SMPL-H or SMPL-X: the same skin, its hands and head moved by more bones."""

from functools import cache

import numpy as np
from helpers.bodies import PRIORS

from hmrfit.body.files import read_body_file
from hmrfit.body.skeleton import SMPL, Skeleton
from hmrfit.body.smpl import SmplBody


@cache
def fingered_body(skeleton: Skeleton) -> SmplBody:
    """With fingers at rest, jaw and eyes too, it is the free body with its hands at rest; never changed by a test."""
    return SmplBody(fingered_arrays(skeleton))


def fingered_arrays(skeleton: Skeleton) -> dict[str, np.ndarray]:
    """In that layout: what SMPL's hands moved follows the nearest finger joint; jaw and eyes move nothing."""
    free = read_body_file(PRIORS / "free_body.npz")
    landmarks = dict(zip(free["landmark_names"].tolist(), free["landmark_regressor"], strict=True))
    regressor = np.zeros((len(skeleton), len(free["v_template"])))
    weights, posedirs = np.zeros_like(regressor.T), np.zeros((*free["v_template"].shape, len(skeleton) - 1, 9))
    of_smpl = free["posedirs"].reshape(*free["v_template"].shape, -1, 9)
    for j, name in enumerate(skeleton.names):
        if name in SMPL:
            own = SMPL.index(name)
            regressor[j], weights[:, j] = free["J_regressor"][own], free["weights"][:, own]
            if j:
                posedirs[:, :, j - 1] = of_smpl[:, :, own - 1]
        else:
            regressor[j] = _row_of(name, landmarks, free["J_regressor"])
    rest = regressor @ free["v_template"]
    for side, joints in skeleton.fingers.items():
        moved = free["weights"][:, SMPL.index(f"{side}_hand")]
        away = np.linalg.norm(free["v_template"][:, None] - rest[list(joints)], axis=-1)
        weights[np.arange(len(moved)), np.array(joints)[away.argmin(1)]] += moved
    keep = ("v_template", "f", "shapedirs", "landmark_names", "landmark_regressor", "part_labels")
    return {name: free[name] for name in keep} | {
        "J_regressor": regressor,
        "weights": weights,
        "posedirs": posedirs.reshape(*free["v_template"].shape, -1),
        "kintree_table": np.array([skeleton.parents, range(len(skeleton))]),
    }


def _row_of(name: str, landmarks: dict[str, np.ndarray], regressor: np.ndarray) -> np.ndarray:
    """A joint between the wrist and the tip of its finger, or at the jaw or an eye."""
    if name in ("jaw", "left_eye_joint", "right_eye_joint"):
        return landmarks[{"jaw": "jaw_h36m"}.get(name, name.removesuffix("_joint"))]
    share = 0.25 + 0.2 * int(name[-1])
    wrist = regressor[SMPL.index(name.split("_")[0] + "_wrist")]
    return (1 - share) * wrist + share * landmarks[f"{name[:-1]}_tip"]
