"""Predictions as a file: made once, scored as often as needed, without the network or the fit that made them.

    format                       "hmrfit predictions 1"
    rotations (N, J, 3, 3)       body -> the full image's camera for the root, child -> parent for the others
    betas (N, S)  transl (N, 3)  metres, the full image's camera frame
    focal (N, 2)  center (N, 2)  image_size (N, 2)      pixels
    weak_camera (N, 3)           s, tx, ty in the crop of the person's box; NaN where the predictor has none
    done (N,)                    whether there is a prediction
    joints (N, K, 3)  joint_names (K,)                  only from methods that give joints themselves
    focal_known (N,)             whether the data set gave the focal length; absent in files of earlier versions
    run, dataset, problems       text, JSON: what made them; for which people; row -> why there is none

Rotations are matrices, not rotation vectors, so that exactly the same numbers come back. Nothing is a pickle.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from hmrfit.camera import Camera
from hmrfit.datasets.spin_npz import SpinDataset
from hmrfit.io.atomic import write_npz
from hmrfit.io.bounded import parse_json, read_npz
from hmrfit.io.budget import TooLarge, brief
from hmrfit.ops.check import check_shape
from hmrfit.ops.how_many import how_many
from hmrfit.types import BodyParams, TensorRecord

FORMAT = "hmrfit predictions 1"

Json = str | int | float | bool | None | Mapping[str, "Json"] | Sequence["Json"]
"""A value that JSON can hold."""

SHAPES = {
    "rotations": "N J 3 3",
    "betas": "N S",
    "transl": "N 3",
    "focal": "N 2",
    "center": "N 2",
    "image_size": "N 2",
    "weak_camera": "N 3",
    "done": "N",
}
OPTIONAL = {"focal_known": "N"}
"""Absent in files of earlier versions."""


@dataclass(frozen=True)
class Predictions(TensorRecord):
    """N people of a data set, in its order, float64. Rows that are not `done` hold NaN."""

    params: BodyParams  # in the frame of the full image's camera, metres
    camera: Camera
    done: Tensor  # (N,) bool
    weak_camera: Tensor | None = None  # (N, 3)
    joints: Tensor | None = None  # (N, K, 3) metres
    joint_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.params)


@dataclass(frozen=True)
class Fingerprint:
    """What predictions depend on: those of two equal fingerprints are the same."""

    run: Mapping[str, Json]  # predictor, settings, body, version
    dataset: Mapping[str, Json]  # as `dataset_fingerprint` gives it
    problems: Mapping[str, str] = field(default_factory=dict, compare=False)  # row -> why there is no prediction


def dataset_fingerprint(name: str, people: SpinDataset) -> dict[str, Json]:
    """Which people, in which order: a name for messages, their count, and a checksum of images, boxes and keypoints.

    Only the checksum is compared, so protocols that score the same people can share a file.
    """
    digest = hashlib.sha256()
    for field_name in ("imgname", "center", "scale", "part", "openpose"):
        value = getattr(people, field_name)
        if value is not None:
            digest.update(field_name.encode())
            digest.update("\n".join(value).encode() if value.dtype.kind == "U" else value.tobytes())
    return {"name": name, "people": len(people), "sha256": digest.hexdigest()}


def write_predictions(path: str | PathLike, predictions: Predictions, fingerprint: Fingerprint) -> None:
    """Writes the file, whole or not at all. Errors: see `atomic_write`."""
    camera, params = predictions.camera, predictions.params
    weak = predictions.weak_camera
    tensors = {
        "rotations": params.rotations,
        "betas": params.betas,
        "transl": params.transl,
        "focal": camera.focal,
        "center": camera.center,
        "image_size": camera.size,
        "focal_known": camera.focal_known,
        "weak_camera": torch.full_like(params.transl, torch.nan) if weak is None else weak,
        "done": predictions.done,
    }
    if predictions.joints is not None:
        tensors["joints"] = predictions.joints
    # `format` comes first: by its first member hmrfit.io.own_files knows the file
    contents: dict[str, ArrayLike] = {"format": FORMAT, "joint_names": np.array(predictions.joint_names, np.str_)}
    contents |= {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}
    contents |= {name: json.dumps(value) for name, value in vars(fingerprint).items()}
    write_npz(path, contents)


def read_predictions(
    path: str | PathLike, dataset: Mapping[str, Json] | None = None
) -> tuple[Predictions, Fingerprint]:
    """A predictions file, and what made it.

    Args:
        dataset: the `dataset_fingerprint` of the people to be scored; a file for other people is refused.
    Raises:
        FileNotFoundError: there is no such file. ValueError: it is damaged, cut off, in another format, or holds
            predictions for other people.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no predictions file '{path}'. `hmrfit evaluate` without --predictions makes one."
        )
    data = _arrays(path)
    try:
        sizes: dict[str, int] = {}
        for name, pattern in (SHAPES | {n: p for n, p in OPTIONAL.items() if n in data}).items():
            sizes = check_shape(data[name], pattern, name, sizes)
        may_be = (*SHAPES, *OPTIONAL, "joints")
        wrong = [name for name in may_be if name in data and data[name].dtype.kind not in "fiub"]
        if wrong:
            raise ValueError(f"`{wrong[0]}` should hold numbers, not {data[wrong[0]].dtype}")
        run, for_people, problems = (_record(data, name) for name in ("run", "dataset", "problems"))
        fingerprint = Fingerprint(run, for_people, {row: str(why) for row, why in problems.items()})
        names = tuple(map(str, data["joint_names"]))
        if "joints" in data:
            check_shape(data["joints"], f"N {len(names)} 3", "joints", {"N": sizes["N"]})
        predictions = _predictions(data, names)
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise ValueError(f"'{path}' is no whole predictions file ({error}). Export the predictions again.") from error
    if dataset is not None and for_people.get("sha256") != dataset["sha256"]:
        raise ValueError(
            f"'{path}' holds predictions for {_named(for_people)}, but {_named(dataset)} is to be scored. Give the "
            "file of this run, or export the predictions again."
        )
    return predictions, fingerprint


def _record(data: Mapping[str, NDArray], name: str) -> dict[str, Json]:
    """A dictionary that the file holds as JSON."""
    found = parse_json(str(data[name]), f"`{name}`")
    if not isinstance(found, dict):
        raise ValueError(f"`{name}` should be a dictionary, not {type(found).__name__}")
    return found


def _named(dataset: Mapping[str, Json]) -> str:
    return (
        f"{how_many(dataset.get('people'), 'people')} of '{dataset.get('name')}' (checksum "
        f"{str(dataset.get('sha256'))[:12]})"
    )


def _arrays(path: Path) -> dict[str, NDArray]:
    try:
        data = read_npz(path)
    except TooLarge as error:
        raise TooLarge(f"{error} Or export the predictions again.") from error
    except ValueError as error:
        raise ValueError(f"{error} Export the predictions again.") from error
    if str(data.get("format")) != FORMAT:
        found = brief(str(data.get("format")))
        raise ValueError(f"'{path}' is no predictions file: its `format` is {found}, not '{FORMAT}'.")
    return data


def _predictions(data: Mapping[str, NDArray], names: tuple[str, ...]) -> Predictions:
    def number(name: str) -> Tensor:
        return torch.as_tensor(data[name].astype(np.float64))

    rotations, known = number("rotations"), data.get("focal_known", np.ones(len(data["focal"])))
    return Predictions(
        BodyParams(rotations[:, 0], rotations[:, 1:], number("betas"), number("transl")),
        Camera(number("focal"), number("center"), number("image_size"), torch.as_tensor(known.astype(bool))),
        torch.as_tensor(data["done"].astype(bool)),
        number("weak_camera"),
        number("joints") if "joints" in data else None,
        names,
    )
