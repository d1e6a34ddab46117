"""A detector's keypoints brought to where the body has them, so that a network that was trained on those can see them.

    x'_k = x_k − [Π(X_k + T_k d_k) − Π(X_k)],   T_k = Σ_b w_kb G_b        of a body that is about where the person is

d_k are `body.point_offsets`. The fit needs none of this: it moves the body's points instead.
"""

from dataclasses import replace

import torch

from hmrfit.body.point_offsets import PointOffsets
from hmrfit.body.points import PointBody
from hmrfit.body.smpl import SmplBody
from hmrfit.camera import Camera
from hmrfit.types import BodyParams, Keypoints


class MovedKeypoints:
    """Of one detector.

    Args:
        body: the one whose parameters the network speaks of, float64.
    """

    def __init__(self, body: SmplBody, offsets: PointOffsets) -> None:
        self.body, self.offsets = body, offsets
        self._points: dict[tuple[str, ...], tuple[PointBody, PointBody]] = {}

    def bodies(self, names: tuple[str, ...]) -> tuple[PointBody, PointBody]:
        """(the body with its own points, with the detector's); made once per set."""
        if names not in self._points:
            own = self.body.points(names)
            self._points[names] = own, own.with_offsets(self.offsets.of(names))
        return self._points[names]

    def as_ours(self, keypoints: Keypoints, camera: Camera, params: BodyParams) -> Keypoints:
        """x' (B, K), pixels. params: (B,) before the camera."""
        own, theirs = self.bodies(keypoints.names)
        params = params.to(torch.float64)
        away = camera.project(theirs.pose(params).points) - camera.project(own.pose(params).points)
        seen = (keypoints.confidence > 0)[..., None]
        return replace(keypoints, xy=torch.where(seen, keypoints.xy - away.to(keypoints.xy), keypoints.xy))
