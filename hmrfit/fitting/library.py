"""Starts where nothing is known but keypoints: the poses of a library, seen from all around.

Every pose of the library is turned to many views, of a standing body to a ring of headings, of a hand to all sides, and
compared with the keypoints under the similarity (scale, in-plane turn, shift) that suits it best. With image points as
complex numbers that is one product of matrices,

    z = argmin_z  sum_k c_k |z p_k - x_k|²  =  sum c conj(p) x / sum c |p|²,    residual = sum c |x|² - |z|² sum c |p|²

(all centred), so thousands of poses cost less than one step of the fit. The best of them, seen from different sides,
become the hypotheses. Their translation then follows in closed form under the real camera (`hmrfit.fitting.placing`).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from hmrfit.body.points import PointBody
from hmrfit.camera import Camera
from hmrfit.fitting.parameters import UPRIGHT, Observation, State
from hmrfit.fitting.placing import solve_translation
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.types import BodyParams

HEADINGS = 16
"""From how many sides a standing body is seen."""


def ring(count: int = HEADINGS) -> Tensor:
    """(count, 3, 3) orientations of an upright person, turned about the vertical; the first faces the camera."""
    heading = torch.arange(count, dtype=torch.float64) * (2 * torch.pi / count)
    return torch.tensor(UPRIGHT).to(heading) @ rotvec_to_matrix(heading[:, None] * heading.new_tensor([0.0, 1.0, 0.0]))


def all_sides(count: int) -> Tensor:
    """(count, 3, 3) orientations in which the camera sees a body from directions that are even on the sphere (a
    Fibonacci spiral); the turn in the image, which is found in closed form, is any."""
    k = torch.arange(count, dtype=torch.float64)
    z, around = 1 - (2 * k + 1) / count, k * (torch.pi * (3 - 5**0.5))
    flat = (1 - z * z).sqrt()
    away = -torch.stack([flat * around.cos(), flat * around.sin(), z], 1)  # from the body, along the optical axis
    across = torch.stack([-around.sin(), around.cos(), torch.zeros_like(z)], 1)
    return torch.stack([across, torch.linalg.cross(away, across), away], 1)


@dataclass(frozen=True)
class PoseLibrary:
    """Poses to start from, seen from many sides: C = poses × views candidates."""

    body_pose: Tensor  # (N, J-1, 3, 3)
    orient: Tensor  # (C, 3, 3) body -> camera
    pose_index: Tensor  # (C,)
    toward: Tensor  # (C, 3) unit, the direction to the camera in the body's own axes
    points: Tensor  # (C, K, 3) the keypoints about the root, camera axes, metres

    @classmethod
    def build(cls, body: PointBody, theta: Tensor, views: Tensor) -> "PoseLibrary":
        """From poses theta (N, 3 (J-1)) as rotation vectors, on the mean shape, and orientations (H, 3, 3)."""
        N, S, H = len(theta), body.joint_shapes.shape[-1], len(views)
        eye = torch.eye(3).to(theta).expand(N, 3, 3)
        zeros = theta.new_zeros(N, max(S, 3))
        pose = rotvec_to_matrix(theta.unflatten(1, (-1, 3)))
        posed = body.pose(BodyParams(eye, pose, zeros[:, :S], zeros[:, :3]))
        points = posed.points - posed.joints[:, :1]
        turns = views.to(theta)
        seen = torch.einsum("hij,nkj->nhki", turns, points).flatten(0, 1)
        index = torch.arange(N).repeat_interleave(H)
        return cls(pose, turns.repeat(N, 1, 1), index, -turns[:, 2].repeat(N, 1), seen)


def similarity_scores(library: PoseLibrary, observation: Observation, sigma: float, roll_sigma: float) -> tuple:
    """How well every candidate fits: (score (B, C), lower is better; in-plane turn (B, C) radians).

    score = residual / (2 (sigma box)²) + turn² / (2 roll_sigma²), residual weighted by confidence.
    """
    keypoints = observation.keypoints
    c = keypoints.confidence
    total = c.sum(1, keepdim=True).clamp_min(1e-9)
    x = torch.complex(*keypoints.xy.unbind(-1))
    x = x - (c * x).sum(1, keepdim=True) / total
    p = torch.complex(*library.points[..., :2].unbind(-1))
    cross = (c * x) @ p.conj().mT  # (B, C); x is centred, so p need not be
    mean = c.to(p) @ p.mT / total
    extent = (c @ p.abs().square().mT - total * mean.abs().square()).clamp_min(1e-9)
    residual = (c * x.abs().square()).sum(1, keepdim=True) - cross.abs().square() / extent
    turn = cross.angle()
    unit = (sigma * observation.box_size[:, None]).square()
    return residual.clamp_min(0) / (2 * unit) + turn.square() / (2 * roll_sigma**2), turn


def pick(scores: Tensor, toward: Tensor, count: int, separation: float = 3.0, beside: Tensor | None = None) -> Tensor:
    """Indices (B, count) of good candidates seen from different sides: after each pick, those nearby in view pay.

    Args:
        toward: (C, 3) of `PoseLibrary`. beside: (B, 3) a side from which each is seen already.
    """

    def farther(scores: Tensor, side: Tensor) -> Tensor:
        near = (side @ toward.T).clamp_min(0)
        return scores * (1 + separation * near**2) + 0.5 * near**2

    scores = scores.clone() if beside is None else farther(scores, beside)
    chosen = []
    for _ in range(count):
        best = scores.argmin(1)
        chosen.append(best)
        scores = farther(scores, toward[best])
        scores.scatter_(1, best[:, None], torch.inf)
    return torch.stack(chosen, 1)


def library_starts(
    body: PointBody,
    library: PoseLibrary,
    observation: Observation,
    camera: Camera,
    count: int,
    sigma: float = 0.05,
    roll_sigma: float = 0.4,
    beside: Tensor | None = None,
) -> State:
    """`count` hypotheses for each of B people, as one state of B · count people (a person's hypotheses adjacent).

    beside: (B, 3) directions to the camera in each body's own axes, of which they keep away.
    """
    scores, turn = similarity_scores(library, observation, sigma, roll_sigma)
    index = pick(scores, library.toward, count, beside=beside)
    turn = turn.gather(1, index).flatten()
    index = index.flatten()
    many = torch.arange(len(observation.box_size)).repeat_interleave(count)
    roll = rotvec_to_matrix(turn[:, None] * turn.new_tensor([0.0, 0.0, 1.0]))
    orient = roll @ library.orient[index]
    points = library.points[index] @ roll.mT
    transl = solve_translation(points, observation[many], camera[many])
    betas = transl.new_zeros(len(many), body.joint_shapes.shape[-1])
    pose = library.body_pose[library.pose_index[index]]
    # points are given about the root joint; transl moves the body's origin
    return State(BodyParams(orient, pose, betas, transl - body.rest_joints[0]), camera[many])
