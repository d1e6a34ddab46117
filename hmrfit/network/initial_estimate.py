"""The initial estimate Θ₀ of the fit: a network's body before the full image's camera.

    Θ₀ = ½ [hmr(x) + mirror hmr(mirror x)]        flip test-time augmentation (`hmrfit.network.mirror`)

    KeypointHmr    x keypoints of any named set and where their box lies before the camera; shipped
                   of a detector whose keypoints lie elsewhere on the body, x is brought to the body's own points
                   (`hmrfit.network.moved_keypoints`)
    ImageHmr       x the person's square crop of a photograph, cut out around the keypoints as in training

Batch independence: the estimate for one person has the same bits in a batch of any size (`inference.pad_rows`); crops
pass through the convolutions one at a time.
"""

import copy
from os import PathLike
from typing import Self

import torch
from torch import Tensor

from hmrfit.body.skeleton import SMPL
from hmrfit.camera import Camera
from hmrfit.io.image import Crop, Image
from hmrfit.network.checkpoints import load_hmr
from hmrfit.network.encoders import (
    EncodedKeypoints,
    ImageEncoder,
    KeypointEncoder,
    normalise_keypoints,
    to_tensor,
    view_of_box,
)
from hmrfit.network.hmr import HMR, in_full_image
from hmrfit.network.inference import fast_inference, packed, pad_rows
from hmrfit.network.mirror import average_with_mirror, mirrored_points, mirrored_view
from hmrfit.network.moved_keypoints import MovedKeypoints
from hmrfit.types import Keypoints, Regression

ROUNDS = 2
"""How often the keypoints are brought to where the body has them, by the pose of the estimate before."""


class _InitialEstimate:
    """A trained HMR prepared for inference. It never changes."""

    def __init__(self, hmr: HMR, flip_test: bool = True) -> None:
        """
        Args:
            hmr: stays as it is. flip_test: average with the estimate for the mirror image.
        Raises:
            ValueError: the HMR's encoder takes other inputs, or its joints are not SMPL's.
        """
        if hmr.regressor.layout.joints != len(SMPL):
            raise ValueError(f"An initial estimate needs SMPL's 24 joints, not {hmr.regressor.layout.joints}.")
        self.hmr, self.flip_test = self._prepared(hmr), flip_test

    @classmethod
    def from_file(cls, path: str | PathLike[str], flip_test: bool = True) -> Self:
        """From an npz that `save_network` wrote, or a checkpoint of others; errors are those of `load_hmr`."""
        return cls(load_hmr(path), flip_test)

    def without_flip_test(self) -> Self:
        """The same network without the mirror image, as published evaluations run theirs."""
        other = copy.copy(self)
        other.flip_test = False
        return other

    def _prepared(self, hmr: HMR) -> HMR:
        raise NotImplementedError

    def _regression(self, theta: Tensor, count: int) -> Regression:
        """Θ of `count` people, and with flip_test of as many mirror images after them -> the estimate for the
        people."""
        regression = self.hmr.regressor.layout.regression(theta[: 2 * count if self.flip_test else count])
        return average_with_mirror(regression[:count], regression[count:]) if self.flip_test else regression


class KeypointHmr(_InitialEstimate):
    """The estimate from keypoints of any named set and a camera."""

    moved: MovedKeypoints | None = None

    def seeing(self, moved: MovedKeypoints | None) -> Self:
        """The same network for a detector whose keypoints lie elsewhere on the body."""
        other = copy.copy(self)
        other.moved = moved
        return other

    def _prepared(self, hmr: HMR) -> HMR:
        if not isinstance(hmr.encoder, KeypointEncoder):
            raise ValueError("KeypointHmr needs an HMR that sees keypoints; this one's encoder takes images.")
        self.dtype = hmr.dtype
        return packed(hmr)

    @torch.no_grad()
    def predict(self, keypoints: Keypoints, camera: Camera) -> Regression:
        """The estimate for B people.

        Args:
            keypoints: (B, K) pixels of the full image, any named set that shares a name with the network's. Without a
                single visible keypoint the estimate is the mean person about where the camera looks.
            camera: (B,) of the full image, its focal length known or assumed.
        Returns:
            The body with its translation before the full image's camera (metres), and the weak camera of the person's
            box; in the precision of the keypoints.
        """
        return self.forward(keypoints, camera)[0]

    @torch.no_grad()
    def forward(self, keypoints: Keypoints, camera: Camera) -> tuple[Regression, EncodedKeypoints]:
        """`predict`, and the encoder's inputs and features, which the error model takes."""
        answer = self._forward(keypoints, camera)
        for _ in range(ROUNDS if self.moved is not None else 0):
            assert self.moved is not None
            answer = self._forward(self.moved.as_ours(keypoints, camera, answer[0].params), camera)
        return answer

    def _forward(self, keypoints: Keypoints, camera: Camera) -> tuple[Regression, EncodedKeypoints]:
        """The same for keypoints where the body has them."""
        points, center, side = normalise_keypoints(keypoints)
        view, B = view_of_box(center, side, camera), len(points)
        inputs, views = points, view
        if self.flip_test:
            inputs = torch.cat([points, mirrored_points(points, keypoints.names)])
            views = torch.cat([view, mirrored_view(view)])
        inputs, views = (pad_rows(x, self.hmr).to(self.dtype) for x in (inputs, views))
        phi = self.hmr.encoder(inputs, keypoints.names, views)
        regression = self._regression(self.hmr.regressor(phi)[-1].to(keypoints.xy.dtype), B)
        encoded = EncodedKeypoints(points, view, phi[:B], keypoints.names, phi[B : 2 * B] if self.flip_test else None)
        return Regression(in_full_image(regression, center, side, camera), regression.weak_camera), encoded


class ImageHmr(_InitialEstimate):
    """The estimate from a photograph. The keypoints say where the person is, and nothing else: their box is cut out,
    1.2 times their extent, as in training."""

    def _prepared(self, hmr: HMR) -> HMR:
        if not isinstance(hmr.encoder, ImageEncoder):
            raise ValueError("ImageHmr needs an HMR that sees images; this one's encoder takes keypoints.")
        self.resolution = hmr.encoder.resolution
        return fast_inference(hmr.eval(), "float32")

    @torch.no_grad()
    def predict(self, image: Image, keypoints: Keypoints, camera: Camera) -> Regression:
        """The estimate for B people of a photograph.

        Args:
            image: (H, W, 3) RGB uint8. keypoints: (B, K), pixels of the image. camera: of the image, B times.
        Returns:
            The body with its translation before the camera (metres), and the weak camera of the person's box; in the
            precision of the keypoints.
        """
        _, center, side = normalise_keypoints(keypoints)
        crops = [self._crop(image, *box) for box in zip(center.tolist(), side.tolist(), strict=True)]
        regression = Regression.cat([self._of_crop(crop) for crop in crops]).map(lambda t: t.to(keypoints.xy))
        return Regression(in_full_image(regression, center, side, camera), regression.weak_camera)

    def _crop(self, image: Image, center: list[float], side: float) -> Tensor:
        """(1, 3, R, R) in [0, 1]."""
        return to_tensor(Crop((center[0], center[1]), side, self.resolution).image(image)) / 255

    def _of_crop(self, crop: Tensor) -> Regression:
        """The last iteration for one crop, in float32."""
        crops = torch.cat([crop, crop.flip(-1)]) if self.flip_test else crop
        return self._regression(self.hmr.thetas(crops)[-1], 1)
