"""Predictions for a whole data set: who predicts, and the export in chunks that a stopped run goes on with.

    path = export(predictor, data, stamp, "out/initial_estimate.npz")

Each chunk is a file of its own until all are there. A person who cannot be predicted (no image, nothing seen) is left
out alone, with the reason in the file; nothing is predicted from the truth but the keypoints the data set gives.
"""

import shutil
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from hmrfit.body.skeleton import SMPL
from hmrfit.camera import Camera, default_focal, weak_to_translation
from hmrfit.datasets.spin_npz import BOX_UNIT
from hmrfit.evaluate.predictions import Predictions, Stamp, read_predictions, write_predictions
from hmrfit.evaluate.protocol import EvaluationData
from hmrfit.fitting.fitter import Fitter
from hmrfit.fitting.parameters import UPRIGHT
from hmrfit.io.image import image_size, read_image
from hmrfit.keypoints import OPENPOSE25
from hmrfit.network.encoders import BOX_SCALE
from hmrfit.network.initial_estimate import ImageHmr, KeypointHmr
from hmrfit.network.regressor import MEAN_SCALE
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.types import BodyParams, Keypoints, TensorRecord

CHUNK = 64
"""People predicted side by side, and lost when a run is stopped."""


@dataclass(frozen=True)
class Seen(TensorRecord):
    """What a predictor is given of B people."""

    keypoints: Keypoints  # pixels of the full image
    camera: Camera  # of the full image
    box_center: Tensor  # (B, 2) pixels
    box_side: Tensor  # (B,)
    rows: Tensor  # (B,) in the data set

    def __len__(self) -> int:
        return len(self.rows)


class Predictor(ABC):
    """Bodies before the full image's camera, for B people at once; nobody's answer depends on the others."""

    needs_keypoints: bool

    def knows(self, rows: Tensor) -> Tensor:
        """(B,) whether it has an answer for these rows of the data set at all; it is asked for no others."""
        return torch.ones(len(rows), dtype=torch.bool)

    @abstractmethod
    def __call__(self, seen: Seen) -> BodyParams:
        """The bodies of B people, float64."""


class MeanPose(Predictor):
    """The same for everybody: one pose, mean shape, upright, facing the camera, filling nine tenths of the box."""

    needs_keypoints = False

    def __init__(self, theta: Tensor, shape_count: int) -> None:
        """theta: (3 (J-1),) rotation vectors of the body's pose, float64."""
        self.body_pose, self.shape_count = rotvec_to_matrix(theta.reshape(-1, 3)), shape_count

    def __call__(self, seen: Seen) -> BodyParams:
        B = len(seen)
        weak = torch.tensor([[MEAN_SCALE, 0.0, 0.0]], dtype=torch.float64).expand(B, 3)
        transl = weak_to_translation(weak, seen.box_center, seen.box_side, seen.camera)
        orient = torch.tensor(UPRIGHT, dtype=torch.float64).expand(B, 3, 3)
        betas = transl.new_zeros(B, self.shape_count)
        return BodyParams(orient.clone(), self.body_pose.expand(B, -1, 3, 3).clone(), betas, transl)


class InitialEstimate(Predictor):
    """The keypoint HMR's answer."""

    needs_keypoints = True

    def __init__(self, network: KeypointHmr) -> None:
        self.network = network

    def __call__(self, seen: Seen) -> BodyParams:
        return self.network.predict(seen.keypoints, seen.camera).params


class ImageNetwork(Predictor):
    """An image HMR shown the crop of the data set's own box, which is how published tables are made.

    Give a guess with flip_test=False for those: HMR and SPIN do not ask about the mirror image. What still differs is
    the crop, which is averaged before it shrinks and cut to a part of a pixel, where SPIN's is cut to whole ones.
    """

    needs_keypoints = False
    CORNERS = ("low_corner", "high_corner")

    def __init__(self, network: ImageHmr, data: EvaluationData) -> None:
        self.network, self.data = network, data

    def __call__(self, seen: Seen) -> BodyParams:
        answers = []
        for i, row in enumerate(seen.rows.tolist()):
            image = read_image(self.data.image_path(row))
            answers.append(self.network.predict(image, self._corners(seen[i]), seen.camera[i]).params)
        return BodyParams.cat(answers)

    def _corners(self, seen: Seen) -> Keypoints:
        """Two keypoints of which the network's own box is the data set's."""
        half = seen.box_side[:, None] / (2 * BOX_SCALE)
        xy = torch.stack([seen.box_center - half, seen.box_center + half], 1)
        return Keypoints(xy, torch.ones_like(xy[..., 0]), self.CORNERS)


class Given(Predictor):
    """Predictions of somebody else, from a file for the same people."""

    needs_keypoints = False

    def __init__(self, predictions: Predictions) -> None:
        self.predictions = predictions

    def knows(self, rows: Tensor) -> Tensor:
        """Those who are in the file."""
        return self.predictions.done[rows]

    def __call__(self, seen: Seen) -> BodyParams:
        return self.predictions.params[seen.rows]


class Fit(Predictor):
    """A fit to the keypoints; from the fitter's own starts, or from one predictor's answer."""

    needs_keypoints = True

    def __init__(self, fitter: Fitter, start: Predictor | None = None) -> None:
        self.fitter, self.start = fitter, start

    def knows(self, rows: Tensor) -> Tensor:
        """Those whom the start knows."""
        return super().knows(rows) if self.start is None else self.start.knows(rows)

    def __call__(self, seen: Seen) -> BodyParams:
        init = None if self.start is None else self.start(seen)
        return self.fitter.fit(seen.keypoints, seen.camera, init).state.params


def observed_keypoints(data: EvaluationData) -> Keypoints | None:
    """What a predictor may see of everybody: the data set's detections, else its annotations; None: it has neither.

    Only keypoints that somebody has, by their true names (`EvaluationData.slot_names`).
    """
    everything = data.people.keypoints()
    count = len(OPENPOSE25)
    detected = everything.confidence[:, :count]
    slots = slice(0, count) if (detected > 0).any() else slice(count, None)
    confidence = everything.confidence[:, slots]
    names = OPENPOSE25 if slots.start == 0 else data.slot_names
    kept = (confidence > 0).any(0).nonzero()[:, 0]
    if not len(kept):
        return None
    xy = everything.xy[:, slots]
    return Keypoints(xy[:, kept], confidence[:, kept], tuple(names[i] for i in kept.tolist()))


def keypoint_source(data: EvaluationData) -> str:
    """In words, for the stamp."""
    openpose = data.people.openpose
    if openpose is not None and (openpose[..., 2] > 0).any():
        return "detections of the data set"
    return "annotations of the data set" if data.people.part is not None else "none"


def export(predictor: Predictor, data: EvaluationData, stamp: Stamp, path: Path, chunk: int = CHUNK) -> Path:
    """Predicts everybody and writes one file; a file that is there and has the same stamp is left as it is.

    Raises:
        FileNotFoundError: not one image is there. ValueError: keypoints are needed and there are none; nobody could be
            predicted. OSError: see `atomic_write`.
    """
    if _has(path, stamp, len(data)):
        return path
    keypoints = observed_keypoints(data)
    _check(predictor, data, keypoints)
    folder = path.with_name(f"{path.stem}.parts")
    parts = []
    for first in tqdm(range(0, len(data), chunk), desc=path.stem, unit="chunk", disable=None):
        rows = torch.arange(first, min(first + chunk, len(data)))
        part = folder / f"{first:06d}.npz"
        if not _has(part, stamp, len(rows)):
            predictions, problems = predict_rows(predictor, data, keypoints, rows)
            write_predictions(part, predictions, replace(stamp, problems=problems))
        parts.append(part)
    read = [read_predictions(part) for part in parts]
    problems = {row: letter for _, own in read for row, letter in own.problems.items()}
    some = next((predictions for predictions, _ in read if predictions.done.any()), None)
    if some is None:
        raise ValueError(f"Nobody could be predicted. Of the first one: {next(iter(problems.values()))}")
    alike = [p if p.done.any() else _nothing(len(p), p.camera, some.params) for p, _ in read]
    write_predictions(path, Predictions.cat(alike), replace(stamp, problems=problems))
    shutil.rmtree(folder)
    return path


def _has(path: Path, stamp: Stamp, count: int) -> bool:
    """Is there a whole file of this stamp?"""
    try:
        predictions, found = read_predictions(path)
    except (FileNotFoundError, ValueError):
        return False
    return found == stamp and len(predictions) == count


def _check(predictor: Predictor, data: EvaluationData, keypoints: Keypoints | None) -> None:
    """What can be known before any work."""
    if not len(data):
        raise ValueError(f"'{data.root}' holds nobody to predict: the split is empty.")
    if predictor.needs_keypoints and keypoints is None:
        raise ValueError(
            f"The data in '{data.root}' has no 2D keypoints (`openpose`, `part`), which this predictor needs. Write "
            "detections into the field `openpose` of its npz, or use --predictor mean_pose."
        )
    if not any(data.image_path(row).is_file() for row in range(len(data))):
        raise FileNotFoundError(
            f"Not one of {len(data)} images is where the data names them; the first would be '{data.image_path(0)}'. "
            "Give the folder that the images' names start from."
        )


def predict_rows(
    predictor: Predictor, data: EvaluationData, keypoints: Keypoints | None, rows: Tensor
) -> tuple[Predictions, dict[str, str]]:
    """Predictions for some people of a data set, NaN where there is none, and why: row -> letter."""
    cameras, problems = _cameras(data, rows)
    problems |= {str(row): "the predictions given have none" for row in rows[~predictor.knows(rows)].tolist()}
    for row in rows.tolist():
        if predictor.needs_keypoints and str(row) not in problems and not (keypoints.confidence[row] > 0).any():
            problems[str(row)] = "not one keypoint is seen"
    good = torch.tensor([str(row) not in problems for row in rows.tolist()])
    params = _predict(predictor, _seen(data, keypoints, rows[good], cameras[good]), problems) if good.any() else None
    done = torch.tensor([str(row) not in problems for row in rows.tolist()])
    if params is None:
        return _nothing(len(rows), cameras), problems
    whole = _nothing(len(rows), cameras, params)
    filled = whole.params.map(torch.clone)
    for target, source in zip(_tensors(filled), _tensors(params), strict=True):
        target[done] = source
    return replace(whole, params=filled, done=done), problems


def _predict(predictor: Predictor, seen: Seen, problems: dict[str, str]) -> BodyParams | None:
    """Together; where that fails, one after the other. Answers that are no numbers are left out. Writes `problems`."""
    try:
        params = predictor(seen)
    except ValueError as error:
        if len(seen) == 1:
            problems[str(int(seen.rows[0]))] = str(error)
            return None
        alone = [_predict(predictor, seen[i], problems) for i in range(len(seen))]
        found = [params for params in alone if params is not None]
        return BodyParams.cat(found) if found else None
    finite = torch.stack([t.flatten(1).isfinite().all(1) for t in _tensors(params)]).all(0)
    problems |= {str(row): "the prediction is not a number" for row in seen.rows[~finite].tolist()}
    return params[finite] if finite.any() else None


def _tensors(params: BodyParams) -> tuple[Tensor, ...]:
    return params.global_orient, params.body_pose, params.betas, params.transl


def _nothing(count: int, cameras: Camera, like: BodyParams | None = None) -> Predictions:
    """Nobody predicted yet."""
    J, S = (len(SMPL), 10) if like is None else (like.rotations.shape[1], like.betas.shape[1])
    nan = lambda *shape: torch.full((count, *shape), torch.nan, dtype=torch.float64)  # noqa: E731
    params = BodyParams(nan(3, 3), nan(J - 1, 3, 3), nan(S), nan(3))
    return Predictions(params, cameras, torch.zeros(count, dtype=torch.bool), nan(3))


def _cameras(data: EvaluationData, rows: Tensor) -> tuple[Camera, dict[str, str]]:
    """Of the images' sizes, with the default focal length; NaN where an image cannot be read or is another one."""
    sizes, problems = np.full((len(rows), 2), np.nan), {}
    for i, row in enumerate(rows.tolist()):
        try:
            sizes[i] = image_size(data.image_path(row))
        except (OSError, ValueError) as error:
            problems[str(row)] = str(error)
            continue
        center = data.people.center[row]
        if not ((center >= 0) & (center <= sizes[i])).all():
            problems[str(row)] = (
                f"the person's box is around {center.round(1).tolist()}, outside of the image of "
                f"{sizes[i, 0]:.0f} × {sizes[i, 1]:.0f} pixels: is it of another edition of the data set?"
            )
    size = torch.as_tensor(sizes)
    focal = default_focal(size[:, :1], size[:, 1:]).expand(-1, 2).clone()
    return Camera(focal, size / 2, size, torch.zeros(len(size), dtype=torch.bool)), problems


def _seen(data: EvaluationData, keypoints: Keypoints | None, rows: Tensor, cameras: Camera) -> Seen:
    own = data.people[rows.numpy()]
    nothing = torch.zeros(len(rows), 1, 2, dtype=torch.float64)
    points = Keypoints(nothing, nothing[..., 0], ("nose",)) if keypoints is None else keypoints[rows]
    return Seen(points, cameras, torch.as_tensor(own.center), BOX_UNIT * torch.as_tensor(own.scale), rows)
