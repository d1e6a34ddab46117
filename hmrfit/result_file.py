"""The .npz that a result is saved as: everything but the pixels, one row per person, or per frame of a sequence.

It is no motion file, although it names poses as AMASS does: its frame is the CAMERA's, with y down, and every row has
its own betas. Readers of AMASS would put the people on their heads; `FitResult.save_motion` writes what they take.

    poses (N, 72)  trans (N, 3)  betas (N, 10)                                 rotation vectors, metres, shape; camera
                                                                               frame: x right, y down, z forward
    gender  body  body_kind                                                    of the body's file: female, male, neutral
    rows                                                                       "people" of a photograph, or "frames"
    fps = mocap_framerate                                                      of a sequence, frames a second; absent
                                                                               for a photograph, which has no rate
    up (3,)                                                                    points up in the camera frame; absent
                                                                               where that is not known
    focal (N, 2)  center (N, 2)  image_size (2,)                               pixels
    focal_source  focal_known (N,)                                             text; bool, see `Camera.focal_known`
    keypoints (N, K, 3)  keypoint_names (K,)                                   pixels and confidence, as fitted
    cost (N,)  term_names (T,)  term_cost (N, T)  status (N,)  steps (N,)
    hypothesis_poses (H, N, 72)  hypothesis_trans  hypothesis_betas  hypothesis_cost (N, H)
    probability (N, H)  covariance (N, H, P, P)  nu                            see `fitting.uncertainty`; covariance in
                                                                               32 bits, columns [transl | 3 J | betas]
    start_poses (N, 72)  start_trans  start_betas  reason (N,)                 where there was one start
    start_term_names (T,)  start_term_cost (N, T)
    focal_factor  focal_depth (N,)  focal_moved (N, J, 3)                      see `FitResult.focal_effect`
    person_ids (N,)  left_out  measurements  warnings  versions                text; JSON where nested
    image  image_path  stamp  apart                                            text

Read with numpy alone: `numpy.load(path)["poses"]`. Nothing in it is a pickle.
"""

import io
import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hmrfit.body.gender import GENDERS, gender_of
from hmrfit.camera import Camera
from hmrfit.fitting.finite import ENDS
from hmrfit.fitting.fit import REASONS
from hmrfit.fitting.focal import FocalSensitivity
from hmrfit.fitting.uncertainty import Posterior
from hmrfit.io.atomic import atomic_write
from hmrfit.io.bounded import parse_json, read_npz, read_numpy
from hmrfit.io.budget import TooLarge, brief
from hmrfit.ops.check import check_finite, check_shape
from hmrfit.ops.level import unit_up
from hmrfit.types import BodyParams, Keypoints

FORMAT = "hmrfit result 1"

SHAPES = {
    "poses": "N P", "trans": "N 3", "betas": "N S", "focal": "N 2", "center": "N 2", "keypoints": "N K 3",
    "keypoint_names": "K", "cost": "N", "term_names": "T", "term_cost": "N T", "status": "N", "steps": "N",
    "hypothesis_poses": "H N P", "hypothesis_trans": "H N 3", "hypothesis_betas": "H N S", "hypothesis_cost": "N H",
    "person_ids": "N", "image_size": "2",
}  # fmt: skip
MAY_LACK = {
    "probability": "N H", "covariance": "N H C C", "start_poses": "N P", "start_trans": "N 3", "start_betas": "N S",
    "reason": "N", "start_term_names": "Q", "start_term_cost": "N Q", "focal_depth": "N", "focal_moved": "N J 3",
    "focal_known": "N",
}  # fmt: skip
"""What a result of an earlier version, or of a fit without one start, does not have."""

EARLIER_SEQUENCE = "the other frames"
"""What `apart` says in sequences of earlier versions, by which they are known."""
WHOLE = ("status", "steps", "reason", "image_size")
CODES = {"status": ENDS, "reason": REASONS}

LARGEST = 1e12
"""Of any number; squares of larger ones are none that can be calculated with."""

TEXTS = ("keypoint_names", "term_names", "start_term_names", "person_ids")

LISTS, MOST_ROWS = ("hypothesis_poses", "term_names", "start_term_names", "keypoint_names"), 10_000
"""Rows that are read one by one; a file can have any number of them that take no bytes, where it has no people."""

MAY_BE_INFINITE = ("cost", "term_cost", "hypothesis_cost", "start_term_cost")
"""A fit that could not begin has no finite cost."""


def write_result(path: str | PathLike, fields: Mapping[str, Any]) -> None:
    """Writes the fields of a FitResult, whole or not at all.

    Raises:
        ValueError: the name does not end in .npz. OSError: see `atomic.atomic_write`.
    """
    if Path(path).suffix != ".npz":
        raise ValueError(f"A result is saved as .npz; '{path}' ends otherwise. Choose a name such as result.npz.")
    content = io.BytesIO()
    np.savez_compressed(content, **_arrays(fields))
    with atomic_write(path) as temporary:
        temporary.write_bytes(content.getvalue())


def _arrays(fields: Mapping[str, Any]) -> dict[str, NDArray]:
    """The table above."""
    keypoints, camera, path = fields["keypoints"], fields["camera"], fields["image_path"]
    poses, betas, trans = zip(*map(_amass, [fields["params"], *fields["hypotheses"]]), strict=True)
    names = list(fields["term_cost"])
    return {
        "format": np.array(FORMAT),
        "poses": poses[0],
        "betas": betas[0],
        "trans": trans[0],
        "gender": np.array(fields["gender"]),
        "rows": np.array(fields["rows"]),
        "frame": np.array("camera: +x right, +y down, +z forward, metres"),
        "focal": camera.focal.numpy(),
        "center": camera.center.numpy(),
        "image_size": camera.size[0].numpy().astype(np.int64),
        "focal_source": np.array(fields["focal_source"]),
        "focal_known": camera.focal_known.numpy(),
        "keypoints": torch.cat([keypoints.xy, keypoints.confidence[..., None]], -1).numpy(),
        "keypoint_names": np.array(keypoints.names),
        "cost": fields["cost"],
        "term_names": np.array(names),
        "term_cost": np.stack([fields["term_cost"][name] for name in names], 1),
        "status": fields["status_code"],
        "steps": fields["steps"],
        "hypothesis_poses": np.stack(poses[1:]),
        "hypothesis_betas": np.stack(betas[1:]),
        "hypothesis_trans": np.stack(trans[1:]),
        "hypothesis_cost": fields["hypothesis_cost"],
        "person_ids": np.array(fields["person_ids"]),
        "warnings": np.array(json.dumps(fields["warnings"])),
        "left_out": np.array(json.dumps(fields["left_out"])),
        "measurements": np.array(json.dumps(fields["measurements"])),
        "versions": np.array(json.dumps(fields["versions"])),
        "body": np.array(fields["body"]),
        "body_kind": np.array(fields["body_kind"]),
        "image": np.array("" if path is None else path.name),
        "image_path": np.array("" if path is None else str(path)),
        "stamp": np.array(fields["stamp"]),
        "apart": np.array(fields["apart"]),
        **_known_arrays(fields),
        **_spread_arrays(fields["spread"]),
        **_start_arrays(fields),
        **_focal_arrays(fields["focal_moves"]),
    }


def _known_arrays(fields: Mapping[str, Any]) -> dict[str, NDArray]:
    """The frame rate and the direction that points up, where they are known."""
    rate = {} if fields["fps"] is None else dict.fromkeys(("fps", "mocap_framerate"), np.array(float(fields["fps"])))
    return rate | ({} if fields["up"] is None else {"up": np.asarray(fields["up"], np.float64)})


def _focal_arrays(effect: FocalSensitivity | None) -> dict[str, NDArray]:
    if effect is None:
        return {}
    said = {"focal_depth": effect.depth.numpy(), "focal_moved": effect.moved.numpy()}
    return {"focal_factor": np.array(effect.factor), **said}


def _spread_arrays(spread: Posterior | None) -> dict[str, NDArray]:
    if spread is None:
        return {}
    covariance = spread.covariance.numpy().astype(np.float32)
    return {"probability": spread.probability.numpy(), "covariance": covariance, "nu": np.array(spread.nu)}


def _start_arrays(fields: Mapping[str, Any]) -> dict[str, NDArray]:
    if fields["start"] is None or fields["reason"] is None:
        return {}
    poses, betas, trans = _amass(fields["start"])
    costs = fields["start_term_cost"]
    return {
        "start_poses": poses,
        "start_betas": betas,
        "start_trans": trans,
        "reason": fields["reason"],
        "start_term_names": np.array(list(costs)),
        "start_term_cost": np.stack(list(costs.values()), 1),
    }


def _amass(params: BodyParams) -> tuple[NDArray, NDArray, NDArray]:
    """(poses (N, 3J), betas, trans)."""
    return torch.cat(params.to_rotvecs(), 1).numpy(), params.betas.numpy(), params.transl.numpy()


def read_result(path: str | PathLike) -> dict[str, Any]:
    """The fields of a FitResult.

    Raises:
        FileNotFoundError: there is no such file. ValueError: damaged, or no result; says which.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no result '{path}'. Results are written by `hmrfit fit` and FitResult.save.")
    data = _read(path)
    if str(data.get("format", "")) != FORMAT:
        raise ValueError(f"'{path}' is no result of hmrfit: expected the format '{FORMAT}'. It holds {_listed(data)}.")
    try:
        return _fields(data)
    except (KeyError, ValueError, TypeError, IndexError, RuntimeError, OverflowError) as error:
        missing = f"it lacks {error}" if isinstance(error, KeyError) else brief(str(error), 300)
        raise ValueError(f"'{path}' is a damaged result: {missing} Fit again, or copy it again.") from None


def read_stamp(path: Path) -> str | None:
    """The stamp of a result file; None where there is no readable one."""
    try:
        return str(read_npz(path, names=("stamp",))["stamp"])
    except (OSError, ValueError, KeyError):  # whatever is wrong with it, it is made anew
        return None


def _read(path: Path) -> dict[str, NDArray]:
    try:
        found = read_numpy(path)
    except TooLarge:
        raise
    except ValueError as error:
        raise ValueError(f"{error} Fit again, or copy it again.") from None
    return found if isinstance(found, dict) else {"array": found}


def _listed(data: Mapping[str, Any]) -> str:
    return brief(", ".join(list(data)[:8])) or "nothing"


def _fields(data: dict[str, NDArray]) -> dict[str, Any]:
    _check(data)
    keypoints = torch.tensor(data["keypoints"])
    return {
        "params": _params(data["poses"], data["betas"], data["trans"]),
        "camera": _camera(data),
        "keypoints": Keypoints(keypoints[..., :2], keypoints[..., 2], tuple(map(str, data["keypoint_names"]))),
        "cost": data["cost"],
        "term_cost": {str(name): data["term_cost"][:, i] for i, name in enumerate(data["term_names"])},
        "status_code": data["status"],
        "steps": data["steps"],
        "hypotheses": [
            _params(*of_one)
            for of_one in zip(data["hypothesis_poses"], data["hypothesis_betas"], data["hypothesis_trans"], strict=True)
        ],
        "hypothesis_cost": data["hypothesis_cost"],
        **_known_fields(data),
        **_spread_fields(data),
        **_start_fields(data),
        **_focal_fields(data),
        "apart": str(data.get("apart", "")),
        "warnings": _warnings(data),
        **{name: _words(data, name) for name in ("left_out", "measurements", "versions")},
        "person_ids": [str(name) for name in data["person_ids"]],
        "image_path": Path(str(data["image_path"])) if str(data["image_path"]) else None,
        **{name: str(data[name]) for name in ("focal_source", "body", "body_kind", "stamp")},
    }


def _camera(data: Mapping[str, NDArray]) -> Camera:
    focal, center = torch.tensor(data["focal"]), torch.tensor(data["center"])
    size = torch.tensor(data["image_size"]).double().expand(len(focal), 2).clone()
    return Camera(focal, center, size, torch.tensor(_focal_known(data)))


def _focal_known(data: Mapping[str, NDArray]) -> NDArray[np.bool_]:
    """(N,) `Camera.focal_known`. Files of earlier versions have it in the sentence `focal_source` alone."""
    if "focal_known" in data:
        return data["focal_known"].astype(bool)
    known = str(data["focal_source"]).startswith(("given", "the keypoints' file", "the photograph's EXIF"))
    return np.full(len(data["focal"]), known)


def _warnings(data: Mapping[str, NDArray]) -> list[list[str]]:
    """N lists of texts."""
    found = parse_json(str(data["warnings"]), "its warnings")
    lists = isinstance(found, list) and all(isinstance(said, list) for said in found)
    texts = lists and all(isinstance(text, str) for said in found for text in said)
    if not texts or len(found) != len(data["poses"]):
        raise ValueError("its warnings should be a list of texts for each row.")
    return found


def _words(data: Mapping[str, NDArray], name: str) -> dict[str, str]:
    """A dictionary of texts; empty in results of earlier versions."""
    found = parse_json(str(data.get(name, "{}")), f"its {name}")
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise ValueError(f"its {name} should be texts by name.")
    return found


def _known_fields(data: Mapping[str, NDArray]) -> dict[str, Any]:
    """What the rows are, frame rate, up, gender. Earlier versions wrote none of them, and "neutral" for everyone."""
    if "rows" not in data:
        rows = "frames" if str(data.get("apart", "")) == EARLIER_SEQUENCE else "people"
        return {"rows": rows, "gender": gender_of(str(data["body"]))}
    rows, gender = str(data["rows"]), str(data["gender"])
    if rows not in ("people", "frames") or gender not in GENDERS:
        raise ValueError(f"its rows are '{rows}' and its gender is '{gender}', which are no known words.")
    fps, up = data.get("fps"), data.get("up")
    if fps is not None and not (np.isfinite(fps).all() and np.size(fps) == 1 and fps > 0):
        raise ValueError("fps is no number above 0.")
    return {
        "rows": rows,
        "gender": gender,
        "fps": None if fps is None else float(fps),
        "up": None if up is None else unit_up(up).numpy(),
    }


def _spread_fields(data: Mapping[str, NDArray]) -> dict[str, Any]:
    if "covariance" not in data:
        return {}
    covariance = torch.tensor(data["covariance"]).double()
    return {"spread": Posterior(torch.tensor(data["probability"]), covariance, float(data["nu"]))}


def _focal_fields(data: Mapping[str, NDArray]) -> dict[str, Any]:
    if "focal_moved" not in data:
        return {}
    depth, moved = torch.tensor(data["focal_depth"]), torch.tensor(data["focal_moved"])
    return {"focal_moves": FocalSensitivity(float(data["focal_factor"]), depth, moved.norm(dim=-1), moved)}


def _start_fields(data: Mapping[str, NDArray]) -> dict[str, Any]:
    if "start_poses" not in data:
        return {}
    costs = {str(name): data["start_term_cost"][:, i] for i, name in enumerate(data["start_term_names"])}
    start = _params(data["start_poses"], data["start_betas"], data["start_trans"])
    return {"start": start, "reason": data["reason"], "start_term_cost": costs}


def _check(data: dict[str, NDArray]) -> None:
    """Shapes, types and numbers; what is to be a float becomes float64 in its place."""
    sizes: dict[str, int] = {}
    for name, pattern in (SHAPES | {k: v for k, v in MAY_LACK.items() if k in data}).items():
        sizes = check_shape(data[name], pattern, name, sizes)
        kinds, words = ("U", "texts") if name in TEXTS else ("fiub", "numbers")
        if data[name].dtype.kind not in kinds:
            raise ValueError(f"`{name}` should hold {words}, not {data[name].dtype}.")
        if name not in (*TEXTS, *WHOLE):
            data[name] = data[name].astype(np.float64, copy=False)
            _check_numbers(data[name], name)
    for name in WHOLE:
        _check_whole(data.get(name, np.zeros(0)), name)
    many = [n for n in LISTS if n in data and data[n].shape[0] > MOST_ROWS]
    if many:
        raise ValueError(f"`{many[0]}` has {data[many[0]].shape[0]} rows; at most {MOST_ROWS} are read.")


def _check_numbers(array: NDArray, name: str) -> None:
    if name in MAY_BE_INFINITE:
        if np.isnan(array).any():
            raise ValueError(f"`{name}` holds NaN.")
        return
    check_finite(array, name)
    if name == "covariance":
        if (np.diagonal(array, axis1=2, axis2=3) < 0).any():
            raise ValueError("`covariance` holds a variance below 0.")
    elif np.abs(array).max(initial=0) > LARGEST:
        raise ValueError(f"`{name}` holds {np.abs(array).max():.3g}, which no fit gives.")


def _check_whole(array: NDArray, name: str) -> None:
    check_finite(array, name)
    unknown = [value for value in np.unique(array) if value not in CODES.get(name, [value]) or value < 0]
    if unknown:
        raise ValueError(f"`{name}` holds {unknown[0]:.3g}, which no fit gives.")


def _params(poses: NDArray, betas: NDArray, trans: NDArray) -> BodyParams:
    poses = torch.tensor(poses)
    return BodyParams.from_rotvecs(poses[:, :3], poses[:, 3:], torch.tensor(betas), torch.tensor(trans))
