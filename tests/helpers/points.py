"""One keypoint in the middle of the picture, for known answers of terms."""

import torch

from hmrfit.camera import Camera
from hmrfit.fitting.check_term import stick_body
from hmrfit.fitting.parameters import Linearization, Observation, State
from hmrfit.types import BodyParams, Keypoints


def one_point(x: float, y: float, confidence: float = 1.0, box: float = 100.0) -> Linearization:
    """A body whose pelvis projects to the picture's middle, (512, 384), seen at (512 + x, 384 + y)."""
    body = stick_body(("pelvis", "left_wrist"))
    eye = torch.eye(3).double().expand(1, 24, 3, 3)
    params = BodyParams(eye[:, 0], eye[:, 1:], torch.zeros(1, 10).double(), torch.tensor([[0.0, 0.0, 5.0]]).double())
    xy = torch.tensor([[[512.0 + x, 384.0 + y], [0.0, 0.0]]], dtype=torch.float64)
    keypoints = Keypoints(xy, torch.tensor([[confidence, 0.0]], dtype=torch.float64), body.names)
    state = State(params, Camera.from_size(1024, 768))
    return Linearization(body, state, Observation(keypoints, torch.tensor([box]).double()))
