"""People who walk through a video: paths on the floor, a gait, and what a detector would see of them, with the truth.

    phase φ = 2π · distance / STRIDE,   hip flexion A sin φ,   knee flexion K max(0, cos(φ + lag)),   arms against legs

The gait is procedural, so nobody's recorded motion is in it. The lowest foot is on the floor in every frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from hmrfit.body.smpl import SmplBody
from hmrfit.camera import Camera
from hmrfit.fitting.parameters import UPRIGHT
from hmrfit.keypoints import COCO17, limbs
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.types import BodyParams
from hmrfit.video.seen import PeopleSeen

STRIDE = 1.45
"""Metres of two steps."""

HIP, KNEE, ARM, ELBOW = 26.0, 48.0, 24.0, 22.0
"""Degrees of a full stride."""

ANKLE_HEIGHT = 0.09
"""Metres of the ankle's joint above the floor."""

CAMERA_HEIGHT = 1.3

Waypoints = Sequence[tuple[float, float, float]]
"""(seconds, x, z): metres in the level camera frame, x right, z away."""

CROSSING: tuple[Waypoints, ...] = (
    ((0, -1.7, 4.2), (3.3, 1.65, 4.1), (4.2, 1.6, 4.0), (7.0, -0.6, 4.2), (8.0, -0.9, 4.3)),
    ((0, 2.1, 5.3), (4.6, -4.0, 5.2), (5.4, -4.0, 5.6), (7.2, -1.9, 5.4), (8.0, -1.4, 5.3)),
)
"""Two people who cross, of whom one leaves the picture and comes back."""


@dataclass(frozen=True)
class Walkers:
    """P people in T frames, and the camera that stands still."""

    params: list[BodyParams]  # of each person (T,), camera frame
    camera: Camera  # one
    fps: float
    up: Tensor  # (3,) in the camera frame

    @property
    def frame_count(self) -> int:
        """T."""
        return len(self.params[0])


def walkers(
    body: SmplBody, paths: Sequence[Waypoints], fps: float = 20.0, size: tuple[int, int] = (640, 400), tilt: float = 4.0
) -> Walkers:
    """People who walk along waypoints, each with a shape of their own.

    Args:
        size: of the picture, pixels. tilt: degrees by which the camera looks down.
    """
    camera = Camera.from_size(*size, focal=0.97 * size[0])
    axis = torch.tensor([np.deg2rad(tilt), 0.0, 0.0], dtype=torch.float64)
    level = rotvec_to_matrix(axis)
    params = [_walker(body, path, fps, level, i) for i, path in enumerate(paths)]
    return Walkers(params, camera, fps, level @ torch.tensor([0.0, -1.0, 0.0], dtype=torch.float64))


def random_paths(rng: np.random.Generator, people: int, seconds: float) -> list[Waypoints]:
    """People who go to and fro, cross each other, and leave the picture now and then."""
    paths: list[Waypoints] = []
    for i in range(people):
        times = np.concatenate([[0.0], np.arange(1.6, seconds - 1.0, 2.2) + rng.uniform(0, 0.5), [seconds]])
        side = rng.choice([-1.0, 1.0])
        x = side * np.where(np.arange(len(times)) % 2, 1, -1) * rng.uniform(0.6, 2.6, len(times))
        z = 3.6 + 0.9 * i + rng.uniform(-0.3, 0.3, len(times))
        paths.append([(float(t), float(a), float(b)) for t, a, b in zip(times, x, z, strict=True)])
    return paths


def _walker(body: SmplBody, path: Waypoints, fps: float, level: Tensor, number: int) -> BodyParams:
    end = path[-1][0]
    time = np.arange(0, end, 1 / fps)
    knots = np.array(path)
    x, z = (gaussian_filter1d(np.interp(time, knots[:, 0], knots[:, k]), 0.25 * fps, mode="nearest") for k in (1, 2))
    vx, vz = np.gradient(x) * fps, np.gradient(z) * fps
    speed = np.hypot(vx, vz)
    heading = gaussian_filter1d(np.unwrap(np.arctan2(vx, -vz)), 0.15 * fps, mode="nearest")
    phase = 2 * np.pi * np.cumsum(speed) / fps / STRIDE + number
    strength = gaussian_filter1d(np.clip(speed / 1.1, 0, 1), 0.1 * fps, mode="nearest")
    pose = _gait(body, phase, strength)
    turn = rotvec_to_matrix(torch.from_numpy(heading)[:, None] * torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64))
    upright = torch.tensor(UPRIGHT, dtype=torch.float64) @ turn
    generator = torch.Generator().manual_seed(7 + number)
    betas = 0.8 * torch.randn(1, body.shape_count, dtype=torch.float64, generator=generator)
    params = BodyParams(upright, pose, betas.expand(len(time), -1), torch.zeros(len(time), 3, dtype=torch.float64))
    joints = body.points(body.joint_names[:1]).pose(params).joints
    ankles = [body.joint_names.index(name) for name in ("left_ankle", "right_ankle")]
    lowest = joints[:, ankles, 1].amax(1)  # y points down
    place = torch.stack([torch.from_numpy(x), CAMERA_HEIGHT - ANKLE_HEIGHT - lowest, torch.from_numpy(z)], -1)
    place[:, [0, 2]] -= joints[:, 0, [0, 2]]
    pelvis = joints[:, 0] + place
    rest = body.rest_joints[0] + params.betas @ body.joint_shapes[0].mT
    return BodyParams(level @ upright, pose, params.betas.contiguous(), pelvis @ level.T - rest)


def _gait(body: SmplBody, phase: NDArray, strength: NDArray) -> Tensor:
    """(T, J - 1, 3, 3)."""
    angles = {name: np.zeros((len(phase), 3)) for name in body.joint_names[1:]}
    for side, shift in (("left", 0.0), ("right", np.pi)):
        swing = np.sin(phase + shift)
        angles[f"{side}_hip"][:, 0] = -HIP * swing * strength - 3
        angles[f"{side}_knee"][:, 0] = KNEE * np.maximum(0, np.cos(phase + shift - 0.3)) * strength + 6
        angles[f"{side}_ankle"][:, 0] = -8 * swing * strength
        angles[f"{side}_elbow"][:, 1] = (-1 if side == "left" else 1) * ELBOW
    angles["spine2"][:, 1] = 5 * np.sin(phase) * strength
    matrices = {name: _matrices(value) for name, value in angles.items()}
    for side, shift, sign in (("left", np.pi, -1.0), ("right", 0.0, 1.0)):  # arms swing against the legs of their side
        down = np.zeros((len(phase), 3))
        down[:, 2] = sign * 73
        forward = np.zeros((len(phase), 3))
        forward[:, 0] = -ARM * np.sin(phase + shift) * strength
        matrices[f"{side}_shoulder"] = _matrices(forward) @ _matrices(down)
    return torch.stack([matrices[name] for name in body.joint_names[1:]], 1)


def _matrices(degrees: NDArray) -> Tensor:
    return rotvec_to_matrix(torch.deg2rad(torch.from_numpy(degrees)))


# ---- what a detector sees


@dataclass(frozen=True)
class DetectorErrors:
    """How a detector errs. noise: standard deviation per coordinate, a fraction of the person's box."""

    noise: float = 0.01
    missed: float = 0.03  # people of a frame
    lost: float = 0.05  # keypoints
    invented: float = 0.03  # people of a frame who are nobody
    hidden: float = 0.9  # of the keypoints behind somebody, that are not found


@dataclass(frozen=True, eq=False)
class Footage:
    """What a detector says of walkers. truth: (N,) the person of each row, −1 for nobody."""

    seen: PeopleSeen
    truth: NDArray[np.intp]
    clean: NDArray[np.float64]  # (P, T, K, 2) pixels
    visible: NDArray[np.bool_]  # (P, T, K) in the picture, and in front


def observe(
    scene: Walkers, body: SmplBody, errors: DetectorErrors, rng: np.random.Generator, names: tuple[str, ...] = COCO17
) -> Footage:
    """The people of every frame, in an order that means nothing."""
    points = [body.points(names).pose(params).points for params in scene.params]
    xy = np.stack([scene.camera.project(p).numpy() for p in points])  # (P, T, K, 2)
    depth = np.stack([p[..., 2].numpy() for p in points])
    width, height = scene.camera.size[0].tolist()
    inside = (xy >= 0).all(-1) & (xy[..., 0] < width) & (xy[..., 1] < height)
    behind = _hidden(xy, depth, float(scene.camera.focal[0, 0]), names)
    visible = inside & ~behind
    P, T, K = visible.shape
    found = inside & ~(behind & (rng.random((P, T, K)) < errors.hidden)) & (rng.random((P, T, K)) >= errors.lost)
    box = np.ptp(xy, axis=2).max(-1)
    noisy = xy + rng.normal(size=xy.shape) * (errors.noise * box)[..., None, None]
    rows: list[tuple[int, int, NDArray, NDArray]] = []
    for t in range(T):
        people = []
        for p in range(P):
            if found[p, t].sum() >= 5 and rng.random() >= errors.missed:
                confidence = found[p, t] * rng.uniform(0.6, 0.95, K)
                people.append((t, p, noisy[p, t], confidence))
        if rng.random() < errors.invented:
            p, when = rng.integers(P), rng.integers(T)
            shape = xy[p, when] - xy[p, when].mean(0)
            people.append((t, -1, shape * rng.uniform(0.3, 0.9) + rng.random(2) * (width, height), np.full(K, 0.4)))
        rows += [people[i] for i in rng.permutation(len(people))]
    frame, truth = (np.array([row[k] for row in rows], np.intp) for k in (0, 1))
    seen = PeopleSeen(frame, np.stack([row[2] for row in rows]), np.stack([row[3] for row in rows]), names)
    return Footage(seen, truth, xy, visible)


def _hidden(xy: NDArray, depth: NDArray, focal: float, names: tuple[str, ...]) -> NDArray[np.bool_]:
    """(P, T, K) points behind a limb, a hand's breadth wide, of somebody nearer."""
    P = len(xy)
    hidden = np.zeros(xy.shape[:3], bool)
    near = depth.mean(-1)
    trunk = [("left_shoulder_coco", "right_hip_coco"), ("right_shoulder_coco", "left_hip_coco")]
    pairs = [*limbs(names), *((names.index(a), names.index(b)) for a, b in trunk if a in names and b in names)]
    for p in range(P):
        for q in range(P):
            front = near[q] < near[p]
            for a, b in pairs if p != q else ():
                radius = 0.11 * focal / depth[q, :, [a, b]].mean(0)
                distance = _to_segment(xy[p], xy[q, :, None, a], xy[q, :, None, b])
                hidden[p] |= (distance < radius[:, None]) & front[:, None]
    return hidden


def _to_segment(points: NDArray, a: NDArray, b: NDArray) -> NDArray[np.float64]:
    along = b - a
    share = ((points - a) * along).sum(-1) / np.maximum((along * along).sum(-1), 1e-9)
    return np.asarray(np.linalg.norm(points - a - share.clip(0, 1)[..., None] * along, axis=-1))
