"""A hand of a photograph by a trained image network (Boukhayma et al., CVPR 2019): 22 numbers, and the hand they mean.

    network = hmrfit.hand_image.HandImageHmr.from_file("out/hand_image/hmr.npz")
    hand = network.predict("photo.jpg", points, side="left")        # points (21, 3) or a box (x0, y0, x1, y1)
    hand.points, hand.keypoints, hand.mesh                          # metres about the wrist; pixels of the photograph
    hmrfit.fit_hand("photo.jpg", points, side="left", init=hand.params)

`hmrfit train --config train_hand_image` writes such networks. The crop is that of its training, CROP times the box of
the keypoints; a left hand is the right hand of the mirrored photograph. A network with heat maps needs the keypoints.
"""

from dataclasses import dataclass
from os import PathLike
from typing import Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from hmrfit.body.mirrored import FLIP, side_of
from hmrfit.body.smpl import SmplBody
from hmrfit.build import MIRROR, load_body
from hmrfit.camera import Camera
from hmrfit.hand_keypoints import HAND_SIDES, hand_set
from hmrfit.io.image import Crop, Image, read_image
from hmrfit.network.checkpoints import load_hmr
from hmrfit.network.encoders import HeatmapEncoder, ImageEncoder, heatmaps_of, to_tensor
from hmrfit.network.hand_estimate import mirrored_params
from hmrfit.network.hand_regressor import HandRegression, HandRegressor, project_to_pixels
from hmrfit.network.hmr import HMR, in_full_image
from hmrfit.ops.check import brief_repr, numbers
from hmrfit.synthetic.hand_scenes import CROP
from hmrfit.train.objectives import as_input
from hmrfit.types import BodyParams

BODY = "free_hand"
"""The hand that networks are trained with, where nothing else is said."""


@dataclass(frozen=True)
class HandOfImage:
    """What the network says of one hand; metres and pixels, float32."""

    side: str
    numbers: NDArray[np.float32]
    """(22,) as published, of the right hand in the crop: s, t_x, t_y in its pixels, the wrist's rotation vector, six
    components of the pose, ten betas."""
    params: BodyParams  # (1,) of this side's hand, before the photograph's camera
    points: NDArray[np.float32]  # (21, 3) hand21, about the wrist, the camera's axes
    keypoints: NDArray[np.float32]  # (21, 2) the same in the photograph
    crop: Crop
    body: SmplBody

    @property
    def mesh(self) -> NDArray[np.float64]:
        """(V, 3) metres, before the camera; its faces are `body.faces`."""
        return self.body(self.params).mesh[0].numpy()


class HandImageHmr:
    """The network prepared for photographs.

    Args:
        hmr: of `hmrfit train --config train_hand_image`. body: the right hand it was trained with, a name or a file.
    Raises:
        ValueError: the network is none of hands' images, or the body is no right hand.
    """

    def __init__(self, hmr: HMR, body: str = BODY) -> None:
        if not isinstance(hmr.encoder, ImageEncoder | HeatmapEncoder) or not isinstance(hmr.regressor, HandRegressor):
            raise ValueError(
                "This is no image network of hands. Give what `hmrfit train --config train_hand_image` wrote."
            )
        if side_of(load_body(body).skeleton) != "right":
            raise ValueError(
                f"body should be a right hand, such as free_hand or MANO_RIGHT.pkl, not {brief_repr(body)}."
            )
        self.hmr, self.bodies = hmr.eval(), {"right": load_body(body), "left": load_body(MIRROR + body)}
        self.resolution = hmr.regressor.resolution

    @classmethod
    def from_file(cls, path: str | PathLike[str], body: str = BODY) -> Self:
        """From an npz that the training wrote; errors are those of `load_hmr`."""
        return cls(load_hmr(path), body)

    @torch.no_grad()
    def predict(
        self, image: str | PathLike[str] | Image, where: ArrayLike, side: str = "right", camera: Camera | None = None
    ) -> HandOfImage:
        """The hand of a photograph.

        Args:
            image: a file, or (H, W, 3) RGB uint8. where: its 21 keypoints in hand21's order, (21, 3) or (21, 2) x, y,
                confidence, pixels of the photograph; or the box of its keypoints, (x0, y0, x1, y1).
            side: the person's own hand. camera: of the photograph, for `params`; default a usual lens.
        Raises:
            ValueError: what was expected, what came, before any work.
        """
        if side not in HAND_SIDES:
            raise ValueError(f"side should be 'left' or 'right', the person's own, not {brief_repr(side)}.")
        xy, confidence = self._seen(where)
        picture = image if isinstance(image, np.ndarray) else read_image(image)
        height, width = picture.shape[:2]
        camera = camera or Camera.from_size(width, height)
        if side == "left":  # the right hand of the mirrored photograph
            picture, xy = np.ascontiguousarray(picture[:, ::-1]), xy * [-1, 1] + [width, 0]
            center = camera.center * camera.center.new_tensor([-1.0, 1.0]) + camera.center.new_tensor([width, 0.0])
            camera = Camera(camera.focal, center, camera.size, camera.focal_known)
        seen = xy[confidence > 0]
        crop = Crop.around(seen.min(0), seen.max(0), CROP, self.resolution)
        found = self._regression(picture, crop, xy, confidence)
        right = self.bodies["right"].points(hand_set("hand21", "right").names)
        of_box = (torch.tensor([[*crop.center]]).double(), torch.tensor([crop.side]).double())
        params = in_full_image(found.map(lambda t: t.double()), *of_box, camera)
        points = right.pose(params).points[0]
        points = points - points[:1]
        flat = project_to_pixels(right.pose(found.params.map(lambda t: t.double())).points, found.pixel_camera.double())
        pixels = crop.points_from_crop(flat[0].numpy())
        if side == "left":
            params = mirrored_params(params)
            points, pixels = points * points.new_tensor(FLIP), pixels * [-1, 1] + [width, 0]
            crop = Crop((width - crop.center[0], crop.center[1]), crop.side, crop.resolution)
        return HandOfImage(
            side,
            found.numbers[0].numpy(),
            params,
            points.numpy().astype(np.float32),
            pixels.astype(np.float32),
            crop,
            self.bodies[side],
        )

    def _seen(self, where: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(points (K, 2), confidence (K,)): 21 keypoints, or the corners of a box."""
        what = "21 keypoints (21, 3) or (21, 2), or a box (x0, y0, x1, y1), pixels"
        given = numbers(where, "where", what, None)
        if given.shape == (4,):
            if isinstance(self.hmr.encoder, HeatmapEncoder):
                raise ValueError("This network sees heat maps of keypoints beside the picture: give the 21 keypoints.")
            return given.reshape(2, 2), np.ones(2)
        if given.shape not in ((21, 2), (21, 3)):
            raise ValueError(f"where should be {what}, but has the shape {given.shape}.")
        confidence = given[:, 2] if given.shape[1] == 3 else np.ones(21)
        if not (confidence > 0).any():
            raise ValueError("No keypoint of the hand is seen, so nothing says where it is.")
        return given[:, :2], confidence

    def _regression(
        self, picture: Image, crop: Crop, xy: NDArray[np.float64], confidence: NDArray[np.float64]
    ) -> HandRegression:
        images = as_input(to_tensor(crop.image(picture)))
        inputs: list[Tensor] = [images]
        if isinstance(self.hmr.encoder, HeatmapEncoder):
            inside = torch.as_tensor(crop.points_to_crop(xy)).float()[None]
            inputs.append(heatmaps_of(inside, torch.as_tensor(confidence).float()[None], images.shape[-1]))
        found = self.hmr(*inputs)[-1]
        assert isinstance(found, HandRegression)
        return found
