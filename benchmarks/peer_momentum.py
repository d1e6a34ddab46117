"""The fit beside pymomentum's, a C++ Gauss-Newton solver of skeletons: accuracy and processor time, one person a call.

    python benchmarks/peer_momentum.py [--people 200] [--motion FOLDER]

It needs pymomentum-core (pip, Python 3.12 and 3.13), and is skipped without it.

Both have the free body's mean skeleton and see the same coco17 keypoints and cameras. pymomentum's energy, as far as it
has the terms:

    E = Σ c_k |Π(X_k) − x_k|²/(σ box)²  +  Σ (θ − θ̄)²/s²  +  Σ outside²/softness²  +  (scale/0.15)²

X_k hangs on the bone that carries most of it, at its place on the resting mean body; θ are Euler angles, as its joints
have them, θ̄ and s their mean and standard deviation over the shipped pose set, the limits their quantiles. There is one
size of the whole body in place of a shape, and no robust kernel. It starts at the mean pose twice, facing the camera
and turned away, where the spread of the points puts it; the lower energy is the answer.

Scored are the 12 joints of the limbs, PA-MPJPE and about the middle of the hips. Times are the processor's, one thread,
medians over people of the least of three runs; ours are those of `Fitter.fit`, by default and without the network
(`from_scratch`).
"""

import argparse
import logging
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from _common import finish, motion_argument, skip, threads, world_poses
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from hmrfit.assets import locate
from hmrfit.body.points import PointBody
from hmrfit.camera import Camera
from hmrfit.config import load_config
from hmrfit.evaluate.metrics import mpjpe, pa_mpjpe
from hmrfit.keypoints import COCO17, PAIRED
from hmrfit.pipeline import Pipeline
from hmrfit.synthetic.people import People, make_people
from hmrfit.types import BodyParams

try:
    from pymomentum import geometry, solver2
except ImportError:
    geometry = solver2 = None

Array = NDArray[np.float64]

SIGMA = 0.012
"""Of the box: what the fit takes for a keypoint's noise where no network says it."""

QUANTILE, SOFTNESS, SCALE_STD = 0.002, 0.1, 0.15
"""Of the angles at which a limit stands; radians; of the logarithm to base 2 of the body's size."""

CM = 100.0
"""pymomentum counts in centimetres."""

OWN_WEIGHT = {"parameters": 0.1, "limits": 10.0}
"""What its error functions multiply squares with by themselves."""


def mean_points(body: PointBody) -> tuple[Array, NDArray[np.int32], Array]:
    """Of the resting mean body: its joints (J, 3), the bone that carries most of each point (K,), and each point from
    that bone's joint (K, 3); metres."""
    J, S = len(body.parents), body.joint_shapes.shape[-1]
    eye = torch.eye(3).double().expand(1, J, 3, 3)
    rest = BodyParams(eye[:, 0], eye[:, 1:], torch.zeros(1, S).double(), torch.zeros(1, 3).double())
    posed = body.pose(rest)
    carried = torch.zeros(len(body.names), J).double()
    carried.index_put_((body.pair_point, body.pair_bone), body.pair_weight, accumulate=True)
    bone = carried.argmax(1)
    joints, points = posed.joints[0], posed.points[0]
    return joints.numpy(), bone.numpy().astype(np.int32), (points - joints[bone]).numpy()


@dataclass
class Momentum:
    """pymomentum's fit of one person after the other."""

    body: PointBody
    angles: Array  # (N, 3 (J-1)) Euler angles of the shipped poses
    iterations: int

    def __post_init__(self) -> None:
        joints, self.bone, self.offset = mean_points(self.body)
        parents, names = self.body.parents, self.body.skeleton.names
        none, f = np.array([0, 0, 0, 1], np.float32), np.float32
        steps = [np.zeros(3) if p < 0 else joints[j] - joints[p] for j, p in enumerate(parents)]
        skeleton = geometry.Skeleton(
            [geometry.Joint(n, p, none, (CM * d).astype(f)) for n, p, d in zip(names, parents, steps, strict=True)]
        )
        J = len(parents)
        own = [("pelvis", axis) for axis in ("tx", "ty", "tz", "rx", "ry", "rz", "sc")]
        own += [(name, axis) for name in names[1:] for axis in ("rx", "ry", "rz")]
        transform = np.zeros((7 * J, len(own)), f)
        for column, (name, axis) in enumerate(own):
            row = 7 * names.index(name) + ("tx", "ty", "tz", "rx", "ry", "rz", "sc").index(axis)
            transform[row, column] = 1
        labels = [f"{name}_{axis}" for name, axis in own]
        parameters = geometry.ParameterTransform(labels, skeleton, transform)
        low, high = np.quantile(self.angles, [QUANTILE, 1 - QUANTILE], axis=0)
        weight = 1 / (OWN_WEIGHT["limits"] * SOFTNESS**2)
        limits = [
            geometry.ParameterLimit.create_minmax(7 + i, float(a), float(b), weight)
            for i, (a, b) in enumerate(zip(low, high, strict=True))
        ]
        plain = geometry.Character("free body", skeleton, parameters)
        self.character = plain.with_parameter_limits(limits)
        self.mean = np.concatenate([np.zeros(7), self.angles.mean(0)]).astype(f)
        std = self.angles.std(0).clip(0.02)
        own_prior = np.concatenate([np.zeros(6), [1 / SCALE_STD], 1 / std])
        strength = 1 / OWN_WEIGHT["parameters"]
        self.known = [
            solver2.LimitErrorFunction(self.character),
            solver2.ModelParametersErrorFunction(
                self.character, self.mean, weights=own_prior.astype(f), weight=strength
            ),
        ]

    def fit(self, xy: Array, confidence: Array, focal: Array, center: Array, box: float) -> Array:
        """(J, 3) joints of one person, metres, camera frame."""
        K, seen, f = len(xy), confidence > 0, np.float32
        scale = 1 / (SIGMA * box)
        camera = np.zeros((3, 4))
        camera[[0, 1], [0, 1]] = focal * scale
        camera[2, 2] = 1
        target = (xy - center) * scale
        points = solver2.ProjectionErrorFunction(self.character)
        points.add_constraints(
            camera[None].repeat(K, 0).astype(f)[seen],
            target.astype(f)[seen],
            self.bone[seen],
            (CM * self.offset).astype(f)[seen],
            confidence.astype(f)[seen],
        )
        function = solver2.SkeletonSolverFunction(self.character, [points, *self.known])
        options = solver2.GaussNewtonSolverOptions()
        options.max_iterations, options.min_iterations, options.threshold = self.iterations, 4, 1e3
        options.regularization, options.do_line_search = 0.05, True
        best, least = self.mean, np.inf
        for turned in (False, True):
            start = self._start(target[seen] / scale, focal, seen, turned)
            found = solver2.GaussNewtonSolver(function, options).solve(start)
            error = function.get_error(found)
            if error < least:
                best, least = found, error
        state = np.asarray(geometry.model_parameters_to_skeleton_state(self.character, best))
        return state[:, :3].astype(float) / CM

    def _start(self, xy: Array, focal: Array, seen: NDArray[np.bool_], turned: bool) -> NDArray[np.float32]:
        """The mean pose, upright, where the spread of the points puts it. xy: pixels from the principal point."""
        start = self.mean.copy()
        start[3:6] = [0, 0, np.pi] if turned else [np.pi, 0, 0]
        state = np.asarray(geometry.model_parameters_to_skeleton_state(self.character, start))[self.bone]
        points = (state[:, :3] + Rotation.from_quat(state[:, 3:7]).apply(CM * self.offset))[seen]
        spread = lambda p: np.sqrt(((p - p.mean(0)) ** 2).sum(1).mean())  # noqa: E731
        depth = float(focal.mean() * spread(points[:, :2]) / max(spread(xy), 1e-6))
        start[:2] = xy.mean(0) * depth / focal - points[:, :2].mean(0)
        start[2] = depth
        return start


def shipped_angles() -> Array:
    """(N, 3 (J-1)) Euler angles, R = Rz Ry Rx, of the shipped pose set."""
    with np.load(locate("poses"), allow_pickle=False) as file:
        poses = file["poses"].astype(float).reshape(len(file["poses"]), -1, 3)
    angles = Rotation.from_rotvec(poses.reshape(-1, 3)).as_euler("xyz")
    return angles.reshape(len(poses), -1)


def scored(joints: Tensor, truth: Tensor, names: Sequence[str]) -> dict[str, float]:
    """Over the limbs' joints (B, J, 3)."""
    limbs = [names.index(f"{side}_{part}") for side in ("left", "right") for part in PAIRED]
    hips = [names.index(f"{side}_hip") for side in ("left", "right")]
    own, true = (x - x[:, hips].mean(1, keepdim=True) for x in (joints, truth))
    return {
        "pa_mpjpe_mm": 1e3 * pa_mpjpe(own[:, limbs], true[:, limbs]).mean().item(),
        "mpjpe_mm": 1e3 * mpjpe(own[:, limbs], true[:, limbs]).mean().item(),
    }


def timed(run: Callable[[int], Any], count: int) -> tuple[list[Any], float]:
    """(what it returns of each person, median milliseconds of the processor)."""
    found, spent = [], []
    run(0)
    for i in range(count):
        times = []
        for _ in range(3):
            begun = time.process_time()
            answer = run(i)
            times.append(time.process_time() - begun)
        found.append(answer)
        spent.append(min(times))
    return found, 1e3 * statistics.median(spent)


def ours(people: People, camera: Camera, settings: dict[str, Any]) -> tuple[Tensor, float]:
    """(joints (B, J, 3), milliseconds a person) of `Fitter.fit`."""
    pipeline = Pipeline.of(load_config(settings))
    body = pipeline.body.points(pipeline.body.skeleton.names)
    fits, spent = timed(lambda i: pipeline.fitter.fit(people.keypoints[[i]], camera[[i]]), len(people.params))
    return torch.cat([body.pose(fit.state.params).joints for fit in fits]), spent


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit the same people with both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    motion_argument(parser)
    parser.add_argument("--people", type=int, default=200)
    parser.add_argument("--iterations", type=int, default=25, help="of each start, at most")
    options = parser.parse_args(arguments)
    if geometry is None:
        skip("needs pymomentum-core, for Python 3.12 and 3.13: pip install pymomentum-core")
    logging.getLogger("hmrfit").setLevel(logging.ERROR)
    threads(1)
    poses, origin = world_poses(options.motion, options.cache, options.people, seed=1)
    pipeline = Pipeline.of()
    people = make_people(pipeline.body, poses, COCO17, torch.Generator().manual_seed(1))
    names, seen = pipeline.body.skeleton.names, people.keypoints
    camera = people.camera
    peer = Momentum(pipeline.body.points(COCO17), shipped_angles(), options.iterations)
    xy, confidence, box = (t.numpy() for t in (seen.xy, seen.confidence, seen.box_size()))
    focal, center = camera.focal.numpy(), camera.center.numpy()
    found, spent = timed(lambda i: peer.fit(xy[i], confidence[i], focal[i], center[i], float(box[i])), options.people)
    rows = {
        "momentum": (torch.tensor(np.stack(found)), spent),
        "default": ours(people, camera, {}),
        "from_scratch": ours(people, camera, {"PRIORS.INITIAL_ESTIMATE": ""}),
    }
    figures = {}
    for name, (joints, spent) in rows.items():
        score = scored(joints, people.joints, names)
        figures |= {f"{name}_{key}": value for key, value in score.items()} | {f"{name}_processor_ms": spent}
        errors = f"PA-MPJPE {score['pa_mpjpe_mm']:.1f}  MPJPE {score['mpjpe_mm']:.1f} mm"
        print(f"{name:14s} {errors}   {spent:.2f} ms a person")
    finish(benchmark="peer_momentum", people=options.people, motion=origin, **figures)


if __name__ == "__main__":
    main()
