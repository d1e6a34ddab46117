"""People who move, for tests of motion files."""

import torch
from torch import Tensor

from hmrfit.body.smpl import SmplBody
from hmrfit.camera import Camera
from hmrfit.export.person_motion import PersonMotion
from hmrfit.fitting.starts import UPRIGHT
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.ops.skinning import forward_kinematics
from hmrfit.types import BodyParams


def walk(body: SmplBody, seed: int = 0, frames: int = 5, fps: float = 25.0, **options: object) -> PersonMotion:
    """Upright before a level camera of 640 x 480 pixels, going to its right and away, all joints turned at random."""
    draw = torch.Generator().manual_seed(seed)
    rotvecs = 0.4 * torch.randn(frames, len(body.parents), 3, generator=draw, dtype=torch.float64)
    rotvecs[:, 0] = torch.tensor([0.0, 0.5, 0.0])
    R = rotvec_to_matrix(rotvecs)
    orient = torch.tensor(UPRIGHT, dtype=torch.float64) @ R[:, 0]
    betas = torch.randn(1, body.shape_count, generator=draw, dtype=torch.float64).expand(frames, -1)
    step = torch.arange(frames, dtype=torch.float64)[:, None] * torch.tensor([0.02, 0.0, 0.05])
    params = BodyParams(orient, R[:, 1:], betas, torch.tensor([0.1, 0.4, 3.0]) + step)
    given = {"name": f"person_{seed}", "camera": Camera.from_size(640, 480, 600)} | options
    return PersonMotion(params, body, fps, **given)


def without_correctives(body: SmplBody) -> SmplBody:
    """The same body, its mesh by linear blend skinning alone."""
    other = body.to()
    other.posedirs = torch.zeros_like(body.posedirs)
    return other


def skinned_with_mean_correctives(person: PersonMotion) -> Tensor:
    """(T, V, 3) camera frame: linear blend skinning of the mesh at rest with the mean of the frames' pose correctives,
    offsets that turn with the bones."""
    body, params = person.body, person.params
    turns = forward_kinematics(params.rotations, body.rest_joints, body.parents)[0]
    feature = (params.body_pose - torch.eye(3)).flatten(1).mean(0)
    turned = torch.einsum("vj,tjab,vb->tva", body.weights, turns, body.posedirs @ feature)
    return without_correctives(body)(params).vertices + turned
