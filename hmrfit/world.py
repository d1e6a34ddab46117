"""Results in the frame of the world: what of a body, of its posterior and of a view changes with the frame.

    x_camera = R x_world + t        a body turns about its pelvis (`body.rigid`), a covariance by its axes

The posterior's columns are [transl 3 | joints 3 J | betas S]; a joint's three are a rotation vector in the frame's
axes, and the pelvis is at J0 + S β + transl, so in another frame, x' = Q x + q,

    δ transl' = Q δ transl + (Q − 1) S δβ,      δ joint' = Q δ joint,      δβ' = δβ.
"""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hmrfit.body.rigid import turned
from hmrfit.body.smpl import SmplBody
from hmrfit.camera import Camera
from hmrfit.fitting.fit import Fit
from hmrfit.fitting.parameters import State
from hmrfit.fitting.uncertainty import Posterior
from hmrfit.types import BodyParams


def poses_in_world(extrinsics: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
    """(Rᵀ (N, 3, 3), −Rᵀ t (N, 3)): x_world = Rᵀ x_camera − Rᵀ t."""
    rotation, translation = torch.tensor(extrinsics[..., :3]), torch.tensor(extrinsics[..., 3])
    back = rotation.mT
    return back, -(back @ translation[..., None]).squeeze(-1)


def between(base: NDArray[np.float64], other: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
    """(Q (N, 3, 3), q (N, 3)): x_other = Q x_base + q, from two cameras' extrinsics (N, 3, 4)."""
    back, origin = poses_in_world(base)
    rotation, translation = torch.tensor(other[..., :3]), torch.tensor(other[..., 3])
    return rotation @ back, (rotation @ origin[..., None]).squeeze(-1) + translation


def moved_params(params: BodyParams, body: SmplBody, rotation: Tensor, shift: Tensor) -> BodyParams:
    """The same bodies in the frame x' = Q x + q."""
    pelvis, shapes = body.rest_joints[0], body.joint_shapes[0]
    return turned(params, pelvis, shapes[:, : params.betas.shape[1]], rotation, shift)


def moved_posterior(posterior: Posterior, body: SmplBody, rotation: Tensor) -> Posterior:
    """The same posterior in a frame whose axes are turned by Q (N, 3, 3)."""
    N, P, S = len(rotation), posterior.covariance.shape[-1], body.joint_shapes.shape[-1]
    joints = (P - 3 - S) // 3
    M = torch.eye(P, dtype=torch.float64).repeat(N, 1, 1)
    for place in range(joints + 1):  # the translation, then the joints
        at = slice(3 * place, 3 * place + 3)
        M[:, at, at] = rotation
    M[:, :3, P - S :] = (rotation - torch.eye(3).double()) @ body.joint_shapes[0]
    return replace(posterior, covariance=M[:, None] @ posterior.covariance @ M[:, None].mT)


def moved_fit(fit: Fit, camera: Camera, body: SmplBody, rotation: Tensor, shift: Tensor) -> Fit:
    """A fit as another camera sees it: its bodies moved, its energy the same."""
    move = lambda state: State(moved_params(state.params, body, rotation, shift), camera)  # noqa: E731
    return replace(
        fit,
        state=move(fit.state),
        hypotheses=[move(state) for state in fit.hypotheses],
        start=None if fit.start is None else move(fit.start),
        seeker=None,
    )
