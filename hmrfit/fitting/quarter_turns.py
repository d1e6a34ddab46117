"""The initial estimate from a picture that was turned by quarter turns about its principal point.

    x' = f' · Q ((x − c) / f) + c'       Q a quarter turn in the picture's plane, (f', c') those of the turned camera
    Θ = Qᵀ Θ',  e = Qᵀ e'                the estimate from x' and its error, turned back

A camera that is turned about its optical axis takes such a picture, so nothing is approximated. To a network that has
mostly seen upright people, somebody who stands on their hands is another person in each of them. A quarter turn
exchanges the camera's axes, so the error's covariance keeps its form.
"""

from dataclasses import replace

import torch
from torch import Tensor

from hmrfit.body.points import PointBody
from hmrfit.body.rigid import turned
from hmrfit.camera import Camera
from hmrfit.fitting.gaussian_prior import Anchor
from hmrfit.fitting.parameters import Observation, State
from hmrfit.fitting.route import Begun
from hmrfit.fitting.starts import Given, Start
from hmrfit.types import Keypoints

TURNS = (1, 2, 3)
"""Quarter turns beside the picture as it is."""

COS, SIN = (1.0, 0.0, -1.0, 0.0), (0.0, 1.0, 0.0, -1.0)
"""Of so many quarter turns, to the last bit."""


def quarter_turn(count: Tensor, like: Tensor) -> Tensor:
    """(B, 3, 3) from the camera's axes to those of a camera whose picture is turned by `count` (B,) quarter turns."""
    c, s, zero = like.new_tensor(COS)[count], like.new_tensor(SIN)[count], like.new_zeros(len(count))
    rows = [torch.stack(row, -1) for row in ((c, -s, zero), (s, c, zero), (zero, zero, zero + 1))]
    return torch.stack(rows, 1)


def turned_picture(keypoints: Keypoints, camera: Camera, turn: Tensor) -> tuple[Keypoints, Camera]:
    """Keypoints and camera of the turned picture. turn: (B, 3, 3) quarter turns."""
    Q = turn[:, :2, :2]
    along = lambda v: (Q @ v[..., None]).squeeze(-1)  # noqa: E731
    size, focal = along(camera.size).abs(), along(camera.focal).abs()
    center = size / 2 + along(camera.center - camera.size / 2)
    rays = (keypoints.xy - camera.center[:, None]) / camera.focal[:, None]
    xy = (rays @ Q.mT) * focal[:, None] + center[:, None]
    return replace(keypoints, xy=xy), Camera(focal, center, size, camera.focal_known)


def turned_anchor(anchor: Anchor, start: State, turn: Tensor) -> Anchor:
    """The anchor in axes turned by `turn` (B, 3, 3), quarter turns. start: its Θ₀ there."""
    J, S = anchor.rotations.shape[1], anchor.betas.shape[1]
    scale, shapes = anchor.scale.split([3 * J, S], 1)
    axes = scale.unflatten(1, (J, 3)) @ turn.abs().mT
    factors, shape_factors = anchor.factors.split([3 * J, S], 1)
    directions = turn[:, None] @ factors.unflatten(1, (J, 3))
    params = start.params
    return Anchor(
        params.rotations,
        turn[:, None] @ anchor.world,
        params.betas,
        params.transl,
        torch.cat([axes.flatten(1), shapes], 1),
        torch.cat([directions.flatten(1, 2), shape_factors], 1),
        (turn.abs() @ anchor.transl_std[..., None]).squeeze(-1),
    )


def starts_in_quarter_turns(
    start: Start, observation: Observation, camera: Camera, body: PointBody, turns: tuple[int, ...] = TURNS
) -> Begun:
    """`start` in turned pictures, turned back: as many rows for each of B people as there are turns, turn by turn.

    Args:
        start: one that gives everybody an anchor. observation, camera: (B,), of the picture as it is.
    """
    B, device = len(camera), camera.focal.device
    people = torch.arange(B, device=device).repeat(len(turns))
    turn = quarter_turn(torch.tensor(turns, device=device).repeat_interleave(B), camera.focal)
    seen, camera = observation[people], camera[people]
    begun = start(Given(*turned_picture(seen.keypoints, camera, turn), measurements=seen.measurements), body)
    pelvis = body.rest_joints[0], body.joint_shapes[0]
    state = State(turned(begun.state.params, *pelvis, turn.mT, camera.focal.new_zeros(3)), camera)
    assert begun.observation.anchor is not None
    anchor = turned_anchor(begun.observation.anchor, state, turn.mT)
    noise, depth = begun.observation.noise, begun.observation.start_depth
    return Begun.at(state, replace(seen, anchor=anchor, noise=noise, start_depth=depth))
