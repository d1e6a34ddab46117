"""The guess of an image HMR: a photograph, its people's keypoints and a camera -> bodies before that camera.

    Θ₀ = ½ [hmr(x) + mirror hmr(mirror x)]        x the person's square crop; the mean as in `initial_estimate`

The keypoints say where the person is, and nothing else: their box is cut out, 1.2 times their extent, as in training.
Everybody is asked about alone, so that the answer keeps its bits whoever else is in the picture.
"""

import copy
from os import PathLike

import numpy as np
import torch
from torch import Tensor

from hmrfit.camera import Camera
from hmrfit.io.image import Crop, Image
from hmrfit.keypoints import SMPL24
from hmrfit.network.checkpoints import load_hmr
from hmrfit.network.encoders import ImageEncoder, normalise_keypoints
from hmrfit.network.hmr import HMR, in_full_image
from hmrfit.network.inference import fast_inference
from hmrfit.network.mirror import average_with_mirror
from hmrfit.types import Keypoints, Regression


class ImageHmr:
    """A trained image HMR, ready to be asked. It never changes."""

    def __init__(self, hmr: HMR, flip_test: bool = True) -> None:
        """
        Args:
            hmr: its encoder says how fine a crop it was trained on. flip_test: ask about the mirror image too.
        Raises:
            ValueError: the HMR's encoder takes keypoints, or its joints are not SMPL's.
        """
        if not isinstance(hmr.encoder, ImageEncoder):
            raise ValueError("A guess from images needs an HMR that sees images; this one's encoder takes keypoints.")
        if hmr.regressor.layout.joints != len(SMPL24):
            raise ValueError(f"A guess needs SMPL's 24 joints, not {hmr.regressor.layout.joints}.")
        self.resolution, self.flip_test = hmr.encoder.resolution, flip_test
        self.hmr = fast_inference(hmr.eval(), "float32")

    @classmethod
    def from_file(cls, path: str | PathLike, flip_test: bool = True) -> "ImageHmr":
        """From an npz that `save_network` wrote, or a published checkpoint; errors are those of `load_hmr`."""
        return cls(load_hmr(path), flip_test)

    def without_flip_test(self) -> "ImageHmr":
        """The same network asked about the person alone, as published evaluations do."""
        other = copy.copy(self)
        other.flip_test = False
        return other

    @torch.no_grad()
    def predict(self, image: Image, keypoints: Keypoints, camera: Camera) -> Regression:
        """What is likely of each person of a photograph.

        Args:
            image: (H, W, 3) RGB uint8. keypoints: (B, K), pixels of the image. camera: of the image, B times.
        Returns:
            The body with its translation before the camera (metres), and the weak camera of the person's box; in the
            precision of the keypoints.
        """
        _, center, side = normalise_keypoints(keypoints)
        asked = [self._ask(self._crop(image, *box)) for box in zip(center.tolist(), side.tolist(), strict=True)]
        regression = Regression.cat(asked).map(lambda t: t.to(keypoints.xy))
        return Regression(in_full_image(regression, center, side, camera), regression.weak_camera)

    def _crop(self, image: Image, center: list[float], side: float) -> Tensor:
        """(1, 3, R, R) in [0, 1]."""
        picture = Crop((center[0], center[1]), side, self.resolution).image(image)
        return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))[None] / 255

    def _ask(self, crop: Tensor) -> Regression:
        """The last iteration for one crop, in float32."""
        crops = torch.cat([crop, crop.flip(-1)]) if self.flip_test else crop
        theta = self.hmr.thetas(crops)[-1]
        regression = self.hmr.regressor.layout.regression(theta)
        return average_with_mirror(regression[:1], regression[1:]) if self.flip_test else regression
