"""Numbers in few bits mean the same: where they come in they are made float64, before a sum or a difference can wrap.

What is compared is computed from whole numbers that 8 or 16 bits hold, once as those and once as float64.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.bodies import demo_points
from numpy.typing import ArrayLike, NDArray

import hmrfit
from hmrfit.camera import default_focal, focal_from_35mm
from hmrfit.detectors.detector import Detection
from hmrfit.io.image import Crop, undistort_points
from hmrfit.io.keypoint_checks import check_keypoints
from hmrfit.io.keypoint_files.person import PersonKeypoints
from hmrfit.keypoints import COCO17, resolve_set
from hmrfit.motion.motion import Motion
from hmrfit.video.seen import PeopleSeen

SIZE = 250, 240
NAMES = resolve_set("coco17")
K = [[250, 0, 120], [0, 240, 120], [0, 0, 1]]
Give = Callable[[ArrayLike], NDArray]


def points() -> NDArray:
    """(17, 3) in whole pixels below 256."""
    return np.floor(demo_points(SIZE[1]) * [0.9, 1, 0]) + np.array([0, 0, 1])


def answers(result: hmrfit.FitResult) -> list[NDArray]:
    return [result.poses, result.trans, result.joint_std, result.reprojection_error]


def fitted(give: Give, *, keypoints: object = None, **asked: object) -> list[NDArray]:
    known = {"keypoint_set": "coco17", "image_size": SIZE} | asked
    return answers(hmrfit.fit(None, points() if keypoints is None else keypoints, **known))


def of_records(give: Give) -> list[NDArray]:
    p = points()
    person = PersonKeypoints(NAMES, give(p[:, :2]), give(p[:, 2]), Path("x"), image_size=SIZE)
    return [*fitted(give, keypoints=[person], keypoint_set=None), person.at_size((500, 480)).xy]


def of_a_detector(give: Give) -> list[NDArray]:
    class Finds:
        name, keypoint_set, confidence, min_confidence, fingerprint = "finds", "coco17", "probability", 0.0, "1"

        def detect(self, image: object, boxes: object = None) -> list[Detection]:
            p = points()
            return [Detection(give(p[:, :2] // n), give(p[:, 2]), 1.0) for n in (2, 1)]

    people = hmrfit.detect(np.zeros((SIZE[1], SIZE[0], 3), np.uint8), detector=Finds())
    return [np.stack([p.xy for p in people]), *fitted(give, keypoints=people, keypoint_set=None)]


def of_tensors(give: Give) -> list[NDArray]:
    t = lambda values: torch.from_numpy(give(values))  # noqa: E731
    seen = hmrfit.Keypoints(t(points()[None, :, :2]), t(points()[None, :, 2]), COCO17)
    camera = hmrfit.Camera(t([[250, 240]]), t([[120, 120]]), t([SIZE]))
    params = hmrfit.BodyParams.from_rotvecs(
        *map(t, ([[1, 2, 3]], np.ones((1, 69)), np.zeros((1, 10)), [[0, 100, 200]]))
    )
    moved = params.transl * params.transl
    shown = camera.project(torch.tensor([[[0.1, 0.2, 3.0]]]).double())
    return [a.numpy() for a in (seen.box_size(), seen.weight, seen.relative_confidence, shown, moved)]


def of_lenses(give: Give) -> list[NDArray]:
    rig = hmrfit.CameraCalibration.of(give([K]), give(np.eye(4)[None, :3]), give([SIZE]), distortion=[[0.1, 0, 0, 0]])
    camera = hmrfit.Camera.from_intrinsics(give(K), *give(SIZE))
    return [
        rig.undistorted(give(points()), 0),
        undistort_points(give(points()[:, :2]), give(K), [0.1, 0, 0, 0]),
        *fitted(give, camera=camera),
        np.array([default_focal(*give(SIZE)), focal_from_35mm(give(50)[()], *give(SIZE))]),
    ]


def of_columns(give: Give) -> list[NDArray]:
    seen = PeopleSeen(np.arange(2), give(np.stack([points()[:, :2]] * 2)), give(np.ones((2, 17))), NAMES)
    motion = Motion(give(np.ones((2, 24, 3))), give([[200, 0, 0], [0, 200, 0]]), 30.0, np.ones(24, bool))
    box = Crop(tuple(give([200, 100])), give(200)[()], 64)
    texts = "".join(check_keypoints(NAMES, give(points()[:, :2]), give(points()[:, 2]), SIZE))
    in_box = box.points_to_crop(give([[3, 240]]))
    return [seen.size(), seen.place(), np.diff(motion.transl, axis=0), box.low, in_box, np.array([len(texts)])]


PUBLIC: dict[str, Callable[[Give], list[NDArray]]] = {
    "keypoints": lambda give: fitted(give, keypoints=give(points())),
    "x and y": lambda give: fitted(give, keypoints=give(points()[:, :2])),
    "scores apart": lambda give: fitted(give, keypoints=(give(points()[:, :2]), give(points()[:, 2]))),
    "records": of_records,
    "a detector": of_a_detector,
    "tensors": of_tensors,
    "size": lambda give: fitted(give, image_size=give(SIZE)),
    "focal length": lambda give: fitted(give, focal=give([250, 240])),
    "35 mm": lambda give: fitted(give, focal_35mm=give(50)[()]),
    "lenses": of_lenses,
    "up": lambda give: fitted(give, measurements=[hmrfit.Up(give([0, 200, 20]))], up=give([0, 200, 20])),
    "floor": lambda give: fitted(give, measurements=[hmrfit.Floor(give([0, 200, 20]), give(1)[()])]),
    "mask": lambda give: fitted(give, measurements=[hmrfit.Mask(give(np.tri(SIZE[1], SIZE[0]) * 255))]),
    "height": lambda give: fitted(give, measurements=[hmrfit.Height(give(2)[()])]),
    "shape": lambda give: fitted(give, measurements=[hmrfit.Shape(give([1, 2]))]),
    "3D keypoints": lambda give: fitted(give, measurements=[hmrfit.Keypoints3D(give(points() // 100 + 1), "coco17")]),
    "frames": lambda give: answers(
        hmrfit.fit_sequence(
            give(np.stack([points()] * 3)), keypoint_set="coco17", image_size=give(SIZE), fps=give(30)[()]
        )
    ),
    "columns": of_columns,
}
"""What takes numbers -> what is computed from them."""


@pytest.mark.parametrize("kind", ["uint8", "int16", "float16"])
@pytest.mark.parametrize("name", PUBLIC)
def test_few_bits_mean_the_same(name: str, kind: str) -> None:
    if kind == "float16" and name in ("tensors", "lenses"):
        pytest.skip("networks compute with tensors in 16 bits; their precision is the caller's")
    with np.errstate(all="raise"):
        few, plain = (PUBLIC[name](lambda values, k=k: np.asarray(values).astype(k)) for k in (kind, "float64"))
    for one, other in zip(few, plain, strict=True):
        np.testing.assert_array_equal(one, other)
