"""A made-up person, the demo's, whose keypoints of any set are known, to be written in other people's layouts."""

from functools import cache

import numpy as np
from helpers.bodies import free_body

from hmrfit.cli.demo import make_truth
from hmrfit.keypoints import find_set, resolve_set

SIZE = (640, 480)
HALF = 0.5  # what formats whose pixel centres are integers add


@cache
def _projected(names: tuple[str, ...]) -> np.ndarray:
    truth = make_truth(free_body(), SIZE[1])
    return truth.camera.project(free_body().points(names).pose(truth.params).points)[0].numpy()


def pixels(keypoint_set: str | tuple[str, ...]) -> np.ndarray:
    """(K, 2) where the points that are used lie, our pixels."""
    return _projected(resolve_set(keypoint_set)).copy()


def rows(keypoint_set: str | tuple[str, ...], score: float = 0.8, shift: float = HALF) -> np.ndarray:
    """(K, 3) as a detector writes them; ignored points are somewhere else."""
    known = find_set(keypoint_set)
    found = np.random.default_rng(3).uniform(5, 400, (len(known.layout), 3))
    found[:, 2] = score
    found[list(known.rows), :2] = pixels(keypoint_set) - shift
    return found


def plain(names: tuple[str, ...]) -> list[str]:
    """Our names as other people write them: `left_hip_coco` -> `left_hip`."""
    endings = ("_coco", "_lsp", "_mpii", "_h36m", "_openpose")
    return [next((n.removesuffix(e) for e in endings if n.endswith(e)), n) for n in names]
