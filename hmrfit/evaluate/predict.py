"""Predictions for a whole data set, in chunks, so that a stopped run goes on where it stopped.

    path = export(predictor, data, fingerprint, "out/initial_estimate.npz")

Each chunk is a file of its own until all are there. A person who cannot be predicted (there is no image, no keypoint is
seen) is left out alone, and the file says why.
"""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from hmrfit.camera import Camera, default_focal
from hmrfit.datasets.spin_npz import BOX_UNIT
from hmrfit.evaluate.predictions import Fingerprint, Predictions, read_predictions, write_predictions
from hmrfit.evaluate.predictors import Predictor, PredictorInput
from hmrfit.evaluate.protocol import EvaluationData
from hmrfit.io.image import image_size
from hmrfit.keypoints import OPENPOSE25
from hmrfit.ops.how_many import how_many
from hmrfit.types import BodyParams, Keypoints

CHUNK = 64
"""People predicted together, and lost when a run is stopped."""


def observed_keypoints(data: EvaluationData) -> Keypoints | None:
    """The 2D keypoints that predictors see: the data set's detections, else its annotations; None where it has neither.

    They have their true names (`EvaluationData.slot_names`); those that no person has are left out.
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
    """What `observed_keypoints` are, in words, for the fingerprint."""
    openpose = data.people.openpose
    if openpose is not None and (openpose[..., 2] > 0).any():
        return "detections of the data set"
    return "annotations of the data set" if data.people.part is not None else "none"


def export(
    predictor: Predictor, data: EvaluationData, fingerprint: Fingerprint, path: Path, chunk: int = CHUNK
) -> Path:
    """Predicts all people and writes one file; a file that is there with the same fingerprint is left unchanged.

    Raises:
        FileNotFoundError: not one image is there. ValueError: keypoints are needed and there are none; no person could
            be predicted. OSError: see `atomic_write`.
    """
    if _has(path, fingerprint, len(data)):
        return path
    keypoints = observed_keypoints(data)
    _check(predictor, data, keypoints)
    folder = path.with_name(f"{path.stem}.parts")
    parts = []
    for first in tqdm(range(0, len(data), chunk), desc=path.stem, unit="chunk", disable=None):
        rows = torch.arange(first, min(first + chunk, len(data)))
        part = folder / f"{first:06d}.npz"
        if not _has(part, fingerprint, len(rows)):
            predictions, problems = predict_rows(predictor, data, keypoints, rows)
            write_predictions(part, predictions, replace(fingerprint, problems=problems))
        parts.append(part)
    read = [read_predictions(part) for part in parts]
    problems = {row: reason for _, own in read for row, reason in own.problems.items()}
    some = next((predictions for predictions, _ in read if predictions.done.any()), None)
    if some is None:
        raise ValueError(f"No person could be predicted. About the first one: {next(iter(problems.values()))}")
    alike = [p if p.done.any() else _no_predictions(p.camera, some.params) for p, _ in read]
    write_predictions(path, Predictions.cat(alike), replace(fingerprint, problems=problems))
    shutil.rmtree(folder)
    return path


def _has(path: Path, fingerprint: Fingerprint, count: int) -> bool:
    """Whether there is a whole file with this fingerprint."""
    try:
        predictions, found = read_predictions(path)
    except (FileNotFoundError, ValueError):
        return False
    return found == fingerprint and len(predictions) == count


def _check(predictor: Predictor, data: EvaluationData, keypoints: Keypoints | None) -> None:
    """Raises what can be known before any work."""
    if not len(data):
        raise ValueError(f"'{data.root}' holds no people to predict: the split is empty.")
    if predictor.needs_keypoints and keypoints is None:
        raise ValueError(
            f"The data in '{data.root}' has no 2D keypoints (`openpose`, `part`), which this predictor needs. Write "
            "detections into the field `openpose` of its npz, or use --predictor mean_pose."
        )
    if not any(data.image_path(row).is_file() for row in range(len(data))):
        raise FileNotFoundError(
            f"Not one of {how_many(len(data), 'images')} is where the data names them; the first would be "
            f"'{data.image_path(0)}'. "
            "Give the folder to which the images' names are relative."
        )


def predict_rows(
    predictor: Predictor, data: EvaluationData, keypoints: Keypoints | None, rows: Tensor
) -> tuple[Predictions, dict[str, str]]:
    """Predictions for some people of a data set, NaN where there is none; and row -> why there is none.

    Args:
        keypoints: of the whole data set, as `observed_keypoints` gives them. rows: (B,) in the data set.
    """
    cameras, problems = _cameras(data, rows)
    problems |= {str(row): "the given predictions have none" for row in rows[~predictor.knows(rows)].tolist()}
    for row in rows.tolist():
        unseen = keypoints is None or not (keypoints.confidence[row] > 0).any()
        if predictor.needs_keypoints and str(row) not in problems and unseen:
            problems[str(row)] = "not one keypoint is seen"
    good = _without(problems, rows)
    given = _input(data, keypoints, rows[good], cameras[good])
    params = _predict(predictor, given, problems) if good.any() else None
    if params is None:
        return _no_predictions(cameras), problems
    done = _without(problems, rows)
    return replace(_no_predictions(cameras, params), params=_at_rows(params, done), done=done), problems


def _without(problems: dict[str, str], rows: Tensor) -> Tensor:
    """(B,) bool, the rows that have no problem."""
    return torch.tensor([str(row) not in problems for row in rows.tolist()], dtype=torch.bool)


def _at_rows(params: BodyParams, done: Tensor) -> BodyParams:
    """The bodies of the people who are `done` (B,), at their places among all B; NaN at the others."""
    places = (done.cumsum(0) - 1).clamp_min(0)
    return params[places].map(lambda t: torch.where(done.reshape(-1, *[1] * (t.ndim - 1)), t, torch.nan))


def _predict(predictor: Predictor, given: PredictorInput, problems: dict[str, str]) -> BodyParams | None:
    """All together; where that fails, one by one. Answers with NaN are left out. Writes into `problems`."""
    try:
        params = predictor(given)
    except ValueError as error:
        if len(given) == 1:
            problems[str(int(given.rows[0]))] = str(error)
            return None
        alone = [_predict(predictor, given[i], problems) for i in range(len(given))]
        found = [params for params in alone if params is not None]
        return BodyParams.cat(found) if found else None
    parts = (params.global_orient, params.body_pose, params.betas, params.transl)
    finite = torch.stack([part.flatten(1).isfinite().all(1) for part in parts]).all(0)
    problems |= {str(row): "the prediction is not a number" for row in given.rows[~finite].tolist()}
    return params[finite] if finite.any() else None


def _no_predictions(cameras: Camera, like: BodyParams | None = None) -> Predictions:
    """NaN for the people of these cameras, with the joints and betas of `like`, or without any."""
    J, S = (1, 0) if like is None else (like.rotations.shape[1], like.betas.shape[1])
    count = len(cameras)

    def nan(*shape: int) -> Tensor:
        return torch.full((count, *shape), torch.nan, dtype=torch.float64)

    params = BodyParams(nan(3, 3), nan(J - 1, 3, 3), nan(S), nan(3))
    return Predictions(params, cameras, torch.zeros(count, dtype=torch.bool), nan(3))


def _cameras(data: EvaluationData, rows: Tensor) -> tuple[Camera, dict[str, str]]:
    """Cameras of the images' sizes with the default focal length, and the problems of rows whose image cannot be used.

    The camera is NaN where an image cannot be read.
    """
    sizes = np.full((len(rows), 2), np.nan)
    problems: dict[str, str] = {}
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
    focal = torch.as_tensor(default_focal(size[:, :1], size[:, 1:])).expand(-1, 2).clone()
    return Camera(focal, size / 2, size, torch.zeros(len(size), dtype=torch.bool)), problems


def _input(data: EvaluationData, keypoints: Keypoints | None, rows: Tensor, cameras: Camera) -> PredictorInput:
    own = data.people[rows.numpy()]
    nothing = torch.zeros(len(rows), 1, 2, dtype=torch.float64)
    points = Keypoints(nothing, nothing[..., 0], ("nose",)) if keypoints is None else keypoints[rows]
    return PredictorInput(points, cameras, torch.as_tensor(own.center), BOX_UNIT * torch.as_tensor(own.scale), rows)
