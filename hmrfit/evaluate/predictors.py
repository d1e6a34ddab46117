"""What predicts the bodies of a data set: the mean pose, networks, predictions from a file, and fits.

    PREDICTORS.find("mean_pose")(parts)(given)          -> the bodies of the people of `given`

Adding a predictor is one class here or in a user's own code, under `@PREDICTORS.register("its name")`; `hmrfit evaluate
--predictor` then knows the name. A predictor sees the keypoints and boxes that the data set gives, never its truth.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from hmrfit.camera import Camera, weak_to_translation
from hmrfit.evaluate.predictions import Predictions
from hmrfit.evaluate.protocol import EvaluationData
from hmrfit.fitting.fitter import Fitter
from hmrfit.fitting.parameters import UPRIGHT
from hmrfit.io.image import read_image
from hmrfit.network.encoders import BOX_SCALE
from hmrfit.network.initial_estimate import ImageHmr, KeypointHmr
from hmrfit.network.regressor import MEAN_SCALE
from hmrfit.ops.registry import Registry
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.types import BodyParams, Keypoints, TensorRecord


@dataclass(frozen=True)
class PredictorInput(TensorRecord):
    """What a predictor is given about B people."""

    keypoints: Keypoints  # pixels of the full image
    camera: Camera  # of the full image
    box_center: Tensor  # (B, 2) pixels
    box_side: Tensor  # (B,) pixels
    rows: Tensor  # (B,) their rows in the data set

    def __len__(self) -> int:
        return len(self.rows)


class Predictor(ABC):
    """Bodies in the frame of the full image's camera, for B people at once; an answer does not depend on the batch."""

    needs_keypoints: bool

    def knows(self, rows: Tensor) -> Tensor:
        """(B,) bool, whether it has an answer for these rows of the data set; it is called for no others."""
        return torch.ones(len(rows), dtype=torch.bool)

    @abstractmethod
    def __call__(self, given: PredictorInput) -> BodyParams:
        """The bodies of B people, float64.

        Raises:
            ValueError: one of them cannot be predicted; they are then predicted one by one.
        """


@dataclass(frozen=True)
class PredictorParts:
    """What predictors are made from: the files and networks of the settings, and the data to predict."""

    mean_pose: Tensor  # (3 (J-1),) rotation vectors, the mean of the pose prior, float64
    shape_count: int  # S of the body
    keypoint_network: KeypointHmr
    image_network: ImageHmr | None
    data: EvaluationData


PREDICTORS: Registry[Callable[[PredictorParts], Predictor]] = Registry("predictor", __name__)
"""Those below, and a user's own. Making one raises ValueError where a part is missing that it needs."""


@PREDICTORS.register("mean_pose")
class MeanPosePredictor(Predictor):
    """One pose for all people, the mean shape, upright, facing the camera, nine tenths of the box high."""

    needs_keypoints = False

    def __init__(self, parts: PredictorParts) -> None:
        self.body_pose = rotvec_to_matrix(parts.mean_pose.reshape(-1, 3))
        self.shape_count = parts.shape_count

    def __call__(self, given: PredictorInput) -> BodyParams:
        B = len(given)
        weak = torch.tensor([[MEAN_SCALE, 0.0, 0.0]], dtype=torch.float64).expand(B, 3)
        transl = weak_to_translation(weak, given.box_center, given.box_side, given.camera)
        orient = torch.tensor(UPRIGHT, dtype=torch.float64).expand(B, 3, 3)
        betas = transl.new_zeros(B, self.shape_count)
        return BodyParams(orient.clone(), self.body_pose.expand(B, -1, 3, 3).clone(), betas, transl)


@PREDICTORS.register("initial_estimate")
class KeypointPredictor(Predictor):
    """The keypoint HMR's answer, from which the default fit starts."""

    needs_keypoints = True

    def __init__(self, parts: PredictorParts) -> None:
        self.network = parts.keypoint_network

    def __call__(self, given: PredictorInput) -> BodyParams:
        return self.network.predict(given.keypoints, given.camera).params


@PREDICTORS.register("image_estimate")
class ImagePredictor(Predictor):
    """An image HMR's answer to the crop of the data set's own box, which is how published tables are made.

    As in HMR's and SPIN's evaluation there is no flip test. The crop still differs: here it is averaged before it
    shrinks and cut to a fraction of a pixel, SPIN's is cut to whole pixels.
    """

    needs_keypoints = False
    CORNERS = ("low_corner", "high_corner")

    def __init__(self, parts: PredictorParts) -> None:
        if parts.image_network is None:
            raise ValueError(
                "image_estimate needs an image network, trained or a published one: --set PRIORS.IMAGE_ESTIMATE=FILE."
            )
        self.network, self.data = parts.image_network.without_flip_test(), parts.data

    def __call__(self, given: PredictorInput) -> BodyParams:
        answers = []
        for i, row in enumerate(given.rows.tolist()):
            image = read_image(self.data.image_path(row))
            answers.append(self.network.predict(image, self._corners(given[i]), given.camera[i]).params)
        return BodyParams.cat(answers)

    def _corners(self, given: PredictorInput) -> Keypoints:
        """Two keypoints around which the network's own box is the data set's."""
        half = given.box_side[:, None] / (2 * BOX_SCALE)
        xy = torch.stack([given.box_center - half, given.box_center + half], 1)
        return Keypoints(xy, torch.ones_like(xy[..., 0]), self.CORNERS)


class GivenPredictions(Predictor):
    """Predictions from a file for the same people."""

    needs_keypoints = False

    def __init__(self, predictions: Predictions) -> None:
        self.predictions = predictions

    def knows(self, rows: Tensor) -> Tensor:
        """Whether the file has a prediction."""
        return self.predictions.done[rows]

    def __call__(self, given: PredictorInput) -> BodyParams:
        return self.predictions.params[given.rows]


class FitPredictor(Predictor):
    """A fit to the keypoints, from the fitter's own starts or from the answer of one predictor."""

    needs_keypoints = True

    def __init__(self, fitter: Fitter, start: Predictor | None = None) -> None:
        self.fitter, self.start = fitter, start

    def knows(self, rows: Tensor) -> Tensor:
        """Whether the start has an answer."""
        return super().knows(rows) if self.start is None else self.start.knows(rows)

    def __call__(self, given: PredictorInput) -> BodyParams:
        init = None if self.start is None else self.start(given)
        return self.fitter.fit(given.keypoints, given.camera, init).state.params
