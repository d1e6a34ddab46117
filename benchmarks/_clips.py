"""Clips of held-out motion before a camera that stands still: the truth, and keypoints with noise that may last.

    noise_t = sqrt(1 - c) a_t + sqrt(c) b_t,      b_t = rho b_(t-1) + sqrt(1 - rho²) a'_t,      rho = exp(-1/(fps tau))

a are new in every frame, b errors of a detector that stay for tau seconds; c is their part of the variance.
The pool of `hmrfit.motion.pool` has gaps in time and half of this rate, so the archives are read themselves.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hmrfit.body.smpl import SmplBody
from hmrfit.camera import Camera
from hmrfit.io.bounded import read_json
from hmrfit.motion import Motion
from hmrfit.motion.clean import clean
from hmrfit.motion.pool import read_archive, read_folder, split, thin
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.synthetic.people import Views, camera_rotations, normal, place_before, uniform
from hmrfit.types import BodyParams, Keypoints

FPS = 30.0
SIZE = (1024, 768)
LENS_MM, FILL = (20.0, 110.0), (0.5, 0.9)
SHORTEST, LONGEST = 60, 150
"""Frames of a clip."""


@dataclass(frozen=True)
class Noise:
    """level: standard deviation per coordinate, a fraction of the box. missing: of the keypoints. lasting, seconds: c
    and tau. hidden: whether a limb's half of the person is hidden for the middle third of the clip."""

    level: float = 0.01
    missing: float = 0.1
    lasting: float = 0.0
    seconds: float = 0.3
    hidden: bool = False


@dataclass(frozen=True)
class Clip:
    """T frames of one person. fps: frames a second."""

    name: str
    params: BodyParams
    joints: Tensor  # (T, J, 3) metres, camera frame
    camera: Camera  # one
    clean: Keypoints
    fps: float = FPS


def held_out(folder: Path, part: str = "test", longest: int = LONGEST) -> list[Motion]:
    """The motions of a split in one piece, `FPS` frames a second, at most `longest` frames from their middle."""
    found = []
    for motion in _motions(folder, part):
        whole = clean(motion.y_up())
        if whole is None or len(whole) != len(motion):
            continue
        short = thin(whole, FPS)
        first = max(0, (len(short) - longest) // 2)
        if len(short) >= SHORTEST and abs(short.fps - FPS) < 6:
            found.append(short[first : first + longest])
    return found


def _motions(folder: Path, part: str) -> Iterator[Motion]:
    if not (folder / "MANIFEST.json").is_file():
        return (m for m in read_folder(folder) if split(m) == part)
    manifest = read_json(folder / "MANIFEST.json")
    chosen = {source: [e for e in entries if split(e["id"]) == part] for source, entries in manifest.items()}
    return (m for s, entries in chosen.items() if entries for m in read_archive(folder / f"{s}.tar.xz", entries))


def filmed(body: SmplBody, motion: Motion, names: tuple[str, ...], generator: torch.Generator) -> Clip:
    """A motion of a person of random shape, seen from anywhere at a distance from which all of it is in the image."""
    rotations, T = rotvec_to_matrix(torch.tensor(motion.poses)), len(motion)
    to_camera = camera_rotations(1, Views(), generator)
    betas = normal((1, body.shape_count), generator).expand(T, -1)
    params = BodyParams(to_camera @ rotations[:, 0], rotations[:, 1:], betas, torch.zeros(T, 3).double())
    points = body.points(names)
    posed = points.pose(params)
    path = torch.tensor(motion.transl) @ to_camera[0].T - posed.joints[:, 0]
    low, high = map(math.log, LENS_MM)
    lens, fill = uniform(low, high, 1, generator).exp(), uniform(*FILL, 1, generator)
    across = torch.stack([uniform(-1, 1, 1, generator), uniform(-1, 1, 1, generator)], -1)
    there = (posed.joints + path[:, None]).reshape(1, -1, 3)
    shift, camera = place_before(there, SIZE, lens, fill, across)
    params = replace(params, transl=path + shift)
    posed = points.pose(params)
    xy = camera[[0] * T].project(posed.points)
    return Clip(motion.name, params, posed.joints, camera, Keypoints(xy, torch.ones(xy.shape[:2]).double(), names))


def noisy(clip: Clip, how: Noise, generator: torch.Generator) -> np.ndarray:
    """(T, K, 3) keypoints as a detector gives them."""
    T, K = clip.clean.confidence.shape
    fast = normal((T, K, 2), generator)
    slow, rho = normal((T, K, 2), generator), math.exp(-1 / (clip.fps * how.seconds))
    for t in range(1, T):
        slow[t] = rho * slow[t - 1] + (1 - rho**2) ** 0.5 * slow[t]
    noise = (1 - how.lasting) ** 0.5 * fast + how.lasting**0.5 * slow
    box = clip.clean.box_size()[:, None, None]
    seen = uniform(0, 1, (T, K), generator) >= how.missing
    if how.hidden:
        angle = uniform(0, 2 * torch.pi, 1, generator)
        along = (clip.clean.xy * torch.stack([angle.cos(), angle.sin()], -1)[:, None]).sum(-1)
        middle = (torch.arange(T) > T / 3) & (torch.arange(T) < 2 * T / 3)
        seen &= ~((along > along.median(1, keepdim=True).values) & middle[:, None])
    xy = torch.where(seen[..., None], clip.clean.xy + how.level * box * noise, 0.0)
    return torch.cat([xy, seen[..., None].double()], -1).numpy()


def film(body: SmplBody, motions: list[Motion], names: tuple[str, ...], seed: int, views: int = 1) -> list[Clip]:
    """Every motion seen from `views` sides."""
    generator = torch.Generator().manual_seed(seed)
    return [filmed(body, motion, names, generator) for motion in motions for _ in range(views)]
