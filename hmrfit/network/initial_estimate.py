"""The shipped initial estimate: keypoints of any named set and a camera -> a body before that camera, Θ₀ of the fit.

    Θ₀ = ½ [hmr(x) + mirror hmr(mirror x)]        the mean of what is said of the person and of the mirror image

The mean is taken of the 6D columns, which Gram-Schmidt makes a rotation again; it costs nothing but a second row in the
batch. The answer for one person keeps its bits whoever else is asked about (`packed.pad_rows`).
"""

from os import PathLike

import torch
from torch import Tensor

from hmrfit.camera import Camera
from hmrfit.keypoints import SMPL24
from hmrfit.network.checkpoints import load_hmr
from hmrfit.network.encoders import EncodedKeypoints, KeypointEncoder, normalise_keypoints, view_of_box
from hmrfit.network.hmr import HMR, in_full_image
from hmrfit.network.mirror import average_with_mirror, mirrored_points, mirrored_view
from hmrfit.network.packed import packed, pad_rows
from hmrfit.types import Keypoints, Regression


class KeypointHmr:
    """A trained keypoint HMR, ready to be asked. It never changes."""

    def __init__(self, hmr: HMR, flip_test: bool = True) -> None:
        """
        Args:
            hmr: stays as it is. flip_test: ask about the mirror image too, and take the mean.
        Raises:
            ValueError: the HMR's encoder takes images, or its joints are not SMPL's.
        """
        if not isinstance(hmr.encoder, KeypointEncoder):
            raise ValueError("The initial estimate needs an HMR that sees keypoints; this one's encoder takes images.")
        if hmr.regressor.layout.joints != len(SMPL24):
            raise ValueError(f"The initial estimate needs SMPL's 24 joints, not {hmr.regressor.layout.joints}.")
        self.hmr, self.flip_test = packed(hmr), flip_test
        self.dtype = hmr.dtype

    @classmethod
    def from_file(cls, path: str | PathLike, flip_test: bool = True) -> "KeypointHmr":
        """From an npz that `save_network` wrote; errors are those of `load_hmr`."""
        return cls(load_hmr(path), flip_test)

    @torch.no_grad()
    def predict(self, keypoints: Keypoints, camera: Camera) -> Regression:
        """What is likely of each person.

        Args:
            keypoints: pixels of the full image, any named set that shares a name with the network's. Without a single
                visible keypoint the answer is the mean person about where the camera looks.
            camera: of the full image; a focal length that was told is used, as the default one is.
        Returns:
            The body with its translation before the full image's camera (metres), and the weak camera of the person's
            box; in the precision of the keypoints.
        """
        return self.forward(keypoints, camera)[0]

    @torch.no_grad()
    def forward(self, keypoints: Keypoints, camera: Camera) -> tuple[Regression, EncodedKeypoints]:
        """`predict`, and what the encoder was shown and made of the person and of the mirror image."""
        points, center, side = normalise_keypoints(keypoints)
        view = view_of_box(center, side, camera)
        regression, *phi = self._ask(points, view, keypoints.names, keypoints.xy.dtype)
        body = in_full_image(regression, center, side, camera)
        return Regression(body, regression.weak_camera), EncodedKeypoints(
            points, view, phi[0], keypoints.names, *phi[1:]
        )

    def _ask(self, points: Tensor, view: Tensor, names: tuple[str, ...], dtype: torch.dtype) -> tuple:
        """(the last iteration in `dtype`, φ, and φ of the mirror image where it is asked about too).

        points (B, K, 3) and view (B, 3) as the encoder takes them.
        """
        B = len(points)
        if self.flip_test:
            points = torch.cat([points, mirrored_points(points, names)])
            view = torch.cat([view, mirrored_view(view)])
        points, view = (pad_rows(x, self.hmr).to(self.dtype) for x in (points, view))
        phi = self.hmr.encoder(points, names, view)
        theta = self.hmr.regressor(phi)[-1].to(dtype)
        if not self.flip_test:
            return self.hmr.regressor.layout.regression(theta[:B]), phi[:B]
        regression = self.hmr.regressor.layout.regression(theta[: 2 * B])
        return average_with_mirror(regression[:B], regression[B:]), phi[:B], phi[B : 2 * B]
