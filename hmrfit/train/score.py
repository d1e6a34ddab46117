"""What a keypoint HMR is worth: joint errors on people in motion it was not trained on.

PA-MPJPE and MPJPE over `keypoints.COMMON14` in millimetres, as benchmarks/fit_accuracy.py takes them: COCO's keypoints,
1 % noise, a tenth missing, the focal length not told.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch

from hmrfit.body.smpl import SmplBody
from hmrfit.camera import Camera
from hmrfit.data.people import Corruption, Views, make_people
from hmrfit.evaluate.metrics import facing_wrong, mpjpe, pa_mpjpe
from hmrfit.keypoints import COMMON14, resolve_set
from hmrfit.network.hmr import HMR, regress_keypoints


def validation_score(
    body: SmplBody,
    frames: Mapping[str, np.ndarray],
    count: int = 1000,
    names: str = "coco17",
    corruption: Corruption | None = None,
    seed: int = 0,
) -> Callable[[HMR], dict[str, float]]:
    """The function that scores a network, always on the same people.

    Args:
        body: in float64. frames: of `load_frames`, of a split that is not trained on.
    """
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(frames["weight"]), count, p=frames["weight"] / frames["weight"].sum())
    generator, poses = torch.Generator().manual_seed(seed), torch.as_tensor(frames["poses"][chosen])
    people = make_people(body, poses, resolve_set(names), generator, corruption=corruption)
    camera = Camera.from_size(*Views().size, count=count)
    index, points = [body.joint_names.index(name) for name in COMMON14], body.points(())
    truth, root = people.joints[:, index], people.joints[:, 0]

    def score(hmr: HMR) -> dict[str, float]:
        _, params = regress_keypoints(hmr, people.keypoints, camera)
        joints = points.pose(params).joints
        turned = facing_wrong(params.global_orient, people.params.global_orient)
        return {
            "pa_mpjpe_mm": 1e3 * pa_mpjpe(joints[:, index], truth).mean().item(),
            "mpjpe_mm": 1e3 * mpjpe(joints[:, index], truth, joints[:, 0], root).mean().item(),
            "facing_wrong_percent": 100 * turned.double().mean().item(),
        }

    return score
