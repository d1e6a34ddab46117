"""The initial estimate Θ₀ of the fit of hands: the keypoint HMR of right hands, and left ones by their mirror image.

    Θ₀ = hmr(x)                    a right hand, x its 21 keypoints and where their box lies before the camera
    Θ₀ = M hmr(M x)                a left one, M x the keypoints in the picture mirrored about the camera's centre

The network (`hmrfit.train.hand_stream`) is `KeypointHmr`'s with 16 joints. Hands have no second side to average with,
so there is no flip test-time augmentation. Batch independence: as `KeypointHmr`.
"""

from dataclasses import replace
from os import PathLike
from typing import Self

import torch
from torch import Tensor

from hmrfit.body.mirrored import FLIP
from hmrfit.camera import Camera
from hmrfit.keypoints import mirrored_name
from hmrfit.network.checkpoints import load_hmr
from hmrfit.network.encoders import KeypointEncoder, normalise_keypoints, view_of_box
from hmrfit.network.hmr import HMR, in_full_image
from hmrfit.network.inference import packed, pad_rows
from hmrfit.network.mirror import FLIP_WEAK
from hmrfit.ops.rotation import mirror
from hmrfit.types import BodyParams, Keypoints, Regression

HAND_JOINTS = 16


class HandHmr:
    """The network prepared for inference. It never changes."""

    def __init__(self, hmr: HMR, side: str = "right") -> None:
        """
        Args:
            hmr: of right hands; stays as it is. side: of the hands that are given.
        Raises:
            ValueError: the HMR sees images, or its joints are not a hand's 16.
        """
        if not isinstance(hmr.encoder, KeypointEncoder):
            raise ValueError("HandHmr needs an HMR that sees keypoints; this one's encoder takes images.")
        if hmr.regressor.layout.joints != HAND_JOINTS:
            raise ValueError(
                f"An initial estimate of hands needs a hand's {HAND_JOINTS} joints, not {hmr.regressor.layout.joints}."
            )
        self.hmr, self.side, self.dtype = packed(hmr), side, hmr.dtype

    @classmethod
    def from_file(cls, path: str | PathLike[str], side: str = "right") -> Self:
        """From an npz that `save_network` wrote; errors are those of `load_hmr`."""
        return cls(load_hmr(path), side)

    @torch.no_grad()
    def predict(self, keypoints: Keypoints, camera: Camera) -> Regression:
        """The estimate for B hands.

        Args:
            keypoints: (B, K) pixels of the full image, of this side's names. camera: (B,) of the full image.
        Returns:
            The hand with its translation before the full image's camera (metres), and the weak camera of its box; in
            the precision of the keypoints.
        """
        if self.side == "right":
            return self._of_right_hands(keypoints, camera)
        found = self._of_right_hands(mirrored_picture(keypoints, camera), camera)
        return Regression(mirrored_params(found.params), found.weak_camera * found.weak_camera.new_tensor(FLIP_WEAK))

    def _of_right_hands(self, keypoints: Keypoints, camera: Camera) -> Regression:
        points, center, side = normalise_keypoints(keypoints)
        view, B = view_of_box(center, side, camera), len(points)
        inputs, views = (pad_rows(x, self.hmr).to(self.dtype) for x in (points, view))
        theta = self.hmr.regressor(self.hmr.encoder(inputs, keypoints.names, views))[-1][:B]
        regression = self.hmr.regressor.layout.regression(theta.to(keypoints.xy.dtype))
        return Regression(in_full_image(regression, center, side, camera), regression.weak_camera)


def mirrored_picture(keypoints: Keypoints, camera: Camera) -> Keypoints:
    """The other hand's keypoints in the picture mirrored about its camera's centre."""
    xy: Tensor = keypoints.xy * keypoints.xy.new_tensor([-1.0, 1.0])
    xy = torch.stack([xy[..., 0] + 2 * camera.center[:, :1], xy[..., 1]], -1)
    return replace(keypoints, xy=xy, names=tuple(map(mirrored_name, keypoints.names)))


def mirrored_params(params: BodyParams) -> BodyParams:
    """A hand as its mirror image: R -> M R M of all joints, t -> M t, betas as they are."""
    transl = params.transl * params.transl.new_tensor(FLIP)
    return BodyParams(mirror(params.global_orient), mirror(params.body_pose), params.betas, transl)
