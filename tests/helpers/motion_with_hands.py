"""A made-up motion of a whole body and its fingers, seen by one camera."""

import torch
from helpers.people_with_hands import some_people

from hmrfit.build import load_body
from hmrfit.ops.rotation import matrix_to_rotvec, rotvec_to_matrix
from hmrfit.synthetic.people import People
from hmrfit.types import BodyParams, Keypoints


def moving_person(
    frames: int, keypoint_set: str = "coco_wholebody133", noise: float = 1.5, keys: int = 3, part: float = 1.0
) -> People:
    """One person on the way from pose to pose of `keys` people of `some_people`, as far as `part` of it; one shape."""
    people = some_people(keys, keypoint_set)
    body = load_body("free_body_h")
    R = people.params.rotations
    at = torch.linspace(0, part * (keys - 1), frames, dtype=torch.float64)
    a = at.floor().long().clamp(max=keys - 2)
    u = 0.5 - 0.5 * torch.cos(torch.pi * (at - a))
    turn = matrix_to_rotvec(R[a].mT @ R[a + 1])
    rotations = R[a] @ rotvec_to_matrix(u[:, None, None] * turn)
    rotations[:, 0] = R[0, 0]  # the person stands
    betas = people.params.betas[:1].expand(frames, -1)
    params = BodyParams(rotations[:, 0], rotations[:, 1:], betas, people.params.transl[:1].expand(frames, -1))
    points = body.points(people.keypoints.names).pose(params).points
    camera = people.camera[[0] * frames]
    xy = camera.project(points)
    generator = torch.Generator().manual_seed(5)
    noisy = xy + noise * torch.randn(xy.shape, generator=generator, dtype=torch.float64)
    ones = torch.ones(frames, len(people.keypoints.names), dtype=torch.float64)
    names = people.keypoints.names
    joints = body(params, vertices=False).joints
    return People(params, camera, Keypoints(xy, ones, names), Keypoints(noisy, ones, names), joints)
