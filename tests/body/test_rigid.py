"""A rigid motion of the world moves a body as it moves points."""

import torch
from helpers.synthetic_body import synthetic_body

from hmrfit.body.rigid import turned
from hmrfit.body.smpl import SmplBody
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.types import BodyParams


def test_vertices_and_joints_follow() -> None:
    body = SmplBody(synthetic_body())
    pose = rotvec_to_matrix(0.4 * torch.randn(2, 24, 3).double())
    params = BodyParams(pose[:, 0], pose[:, 1:], torch.randn(2, 10).double(), torch.randn(2, 3).double())
    R, t = rotvec_to_matrix(torch.randn(3).double()), torch.randn(3).double()
    moved, still = body(turned(params, body.rest_joints[0], body.joint_shapes[0], R, t)), body(params)
    torch.testing.assert_close(moved.vertices, still.vertices @ R.T + t, rtol=0, atol=1e-12)
    torch.testing.assert_close(moved.joints, still.joints @ R.T + t, rtol=0, atol=1e-12)
