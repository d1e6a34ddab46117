"""Predictions as a file: exported once, scored as often as wanted, without the network or the fit that made them.

    format                       "hmrfit predictions 1"
    rotations (N, J, 3, 3)       body -> the full image's camera for the root, child -> parent for the others
    betas (N, S)  transl (N, 3)  metres, the full image's camera frame
    focal (N, 2)  center (N, 2)  image_size (N, 2)      pixels
    weak_camera (N, 3)           s, tx, ty in the crop of the person's box; NaN where the predictor has none
    done (N,)                    whether there is a prediction
    joints (N, K, 3)  joint_names (K,)                  only from methods that give joints themselves
    run, dataset, problems       text: JSON of what made them; of what for; row -> why there is none

Matrices, not rotation vectors, so that the very same numbers come back. Nothing in the file is a pickle.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hmrfit.camera import Camera
from hmrfit.datasets.spin_npz import SpinDataset
from hmrfit.io.atomic import atomic_write
from hmrfit.io.bounded import parse_json, read_npz
from hmrfit.io.budget import TooLarge, brief
from hmrfit.ops.check import check_shape
from hmrfit.types import BodyParams, TensorRecord

FORMAT = "hmrfit predictions 1"

SHAPES = {
    "rotations": "N J 3 3", "betas": "N S", "transl": "N 3", "focal": "N 2", "center": "N 2", "image_size": "N 2",
    "weak_camera": "N 3", "done": "N",
}  # fmt: skip
MAY_LACK = {"focal_known": "N"}
"""Not in files of earlier versions."""


@dataclass(frozen=True)
class Predictions(TensorRecord):
    """N people of a data set, in its order, float64. Rows that are not `done` hold NaN."""

    params: BodyParams  # before the full image's camera
    camera: Camera
    done: Tensor  # (N,) bool
    weak_camera: Tensor | None = None  # (N, 3)
    joints: Tensor | None = None  # (N, K, 3) metres
    joint_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.params)


@dataclass(frozen=True)
class Stamp:
    """What predictions depend on. Two stamps agree where all of both is equal."""

    run: Mapping[str, Any]  # predictor, settings, body, version
    dataset: Mapping[str, Any]  # from `dataset_stamp`
    problems: Mapping[str, str] = field(default_factory=dict, compare=False)  # row -> why there is no prediction


def dataset_stamp(name: str, people: SpinDataset) -> dict[str, Any]:
    """Which people, in which order: a name to speak of them, their count, and a checksum of images, boxes, keypoints.

    The checksum decides; so protocols that score the same people can share a file.
    """
    digest = hashlib.sha256()
    for field_name in ("imgname", "center", "scale", "part", "openpose"):
        value = getattr(people, field_name)
        if value is not None:
            digest.update(field_name.encode())
            digest.update("\n".join(value).encode() if value.dtype.kind == "U" else np.ascontiguousarray(value))
    return {"name": name, "people": len(people), "sha256": digest.hexdigest()}


def write_predictions(path: str | PathLike, predictions: Predictions, stamp: Stamp) -> None:
    """Writes the file, whole or not at all. Errors: see `atomic_write`."""
    camera, params = predictions.camera, predictions.params
    weak = predictions.weak_camera
    arrays = {
        "rotations": params.rotations, "betas": params.betas, "transl": params.transl,
        "focal": camera.focal, "center": camera.center, "image_size": camera.size, "focal_known": camera.focal_known,
        "weak_camera": torch.full_like(params.transl, torch.nan) if weak is None else weak,
        "done": predictions.done,
    }  # fmt: skip
    if predictions.joints is not None:
        arrays["joints"] = predictions.joints
    texts = {name: json.dumps(value) for name, value in vars(stamp).items()}
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            format=FORMAT,
            joint_names=np.array(predictions.joint_names, np.str_),
            **{name: tensor.detach().cpu().numpy() for name, tensor in arrays.items()},
            **texts,
        )


def read_predictions(path: str | PathLike, dataset: Mapping[str, Any] | None = None) -> tuple[Predictions, Stamp]:
    """A predictions file, and what it was made of.

    Args:
        dataset: the `dataset_stamp` of what is to be scored; a file made for anything else is refused.
    Raises:
        FileNotFoundError: no such file. ValueError: damaged, cut off, another format, or of another data set.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no predictions file '{path}'. `hmrfit evaluate` without --predictions makes one.")  # fmt: skip  # noqa: E501
    data = _arrays(path)
    try:
        sizes: dict[str, int] = {}
        for name, pattern in (SHAPES | {n: p for n, p in MAY_LACK.items() if n in data}).items():
            sizes = check_shape(data[name], pattern, name, sizes)
        may_be = (*SHAPES, *MAY_LACK, "joints")
        wrong = [name for name in may_be if name in data and data[name].dtype.kind not in "fiub"]
        if wrong:
            raise ValueError(f"`{wrong[0]}` should hold numbers, not {data[wrong[0]].dtype}")
        stamp = Stamp(*(_record(data, name) for name in ("run", "dataset", "problems")))
        names = tuple(map(str, data["joint_names"]))
        if "joints" in data:
            check_shape(data["joints"], f"N {len(names)} 3", "joints", {"N": sizes["N"]})
        predictions = _predictions(data, names)
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise ValueError(f"'{path}' is no whole predictions file ({error}). Export the predictions again.") from error
    if dataset is not None and stamp.dataset.get("sha256") != dataset["sha256"]:
        raise ValueError(
            f"'{path}' holds predictions for {_named(stamp.dataset)}, but {_named(dataset)} is to be scored. Give the "
            "file of this run, or export the predictions again."
        )
    return predictions, stamp


def _record(data: Mapping[str, NDArray], name: str) -> dict[str, Any]:
    """A dictionary that the file holds as JSON."""
    found = parse_json(str(data[name]), f"`{name}`")
    if not isinstance(found, dict):
        raise ValueError(f"`{name}` should be a dictionary, not {type(found).__name__}")
    return found


def _named(dataset: Mapping[str, Any]) -> str:
    return f"{dataset.get('people')} people of '{dataset.get('name')}' (checksum {str(dataset.get('sha256'))[:12]})"


def _arrays(path: Path) -> dict[str, NDArray]:
    try:
        data = read_npz(path)
    except TooLarge as error:
        raise TooLarge(f"{error} Or export the predictions again.") from error
    except ValueError as error:
        raise ValueError(f"{error} Export the predictions again.") from error
    if str(data.get("format")) != FORMAT:
        said = brief(str(data.get("format")))
        raise ValueError(f"'{path}' is no predictions file: its `format` is {said}, not '{FORMAT}'.")
    return data


def _predictions(data: Mapping[str, NDArray], names: tuple[str, ...]) -> Predictions:
    number = lambda name: torch.as_tensor(data[name].astype(np.float64))  # noqa: E731
    rotations, known = number("rotations"), data.get("focal_known", np.ones(len(data["focal"])))
    return Predictions(
        BodyParams(rotations[:, 0], rotations[:, 1:], number("betas"), number("transl")),
        Camera(number("focal"), number("center"), number("image_size"), torch.as_tensor(known.astype(bool))),
        torch.as_tensor(data["done"].astype(bool)),
        number("weak_camera"),
        number("joints") if "joints" in data else None,
        names,
    )
