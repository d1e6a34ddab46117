"""The .npz that a result is saved as: everything but the pixels, one row per person, or per frame of a sequence.

It is no motion file, although it names poses as AMASS does: its frame is the CAMERA's, with y down, and every row has
its own betas. Readers of AMASS would put the people on their heads; `FitResult.save_motion` writes what they take.

    poses (N, 3 J)  trans (N, 3)  betas (N, S)                                 rotation vectors, metres, shape; camera
                                                                               frame: x right, y down, z forward
    gender  body  body_kind                                                    of the body's file: female, male, neutral
    rows                                                                       "people" of a photograph, or "frames"
    fps = mocap_framerate                                                      of a sequence, frames a second; absent
                                                                               for a photograph, which has no rate
    up (3,)  up_std                                                            points up in the camera frame; degrees,
                                                                               of an estimate; absent: not known, given
    extrinsics (N, 3, 4)  world_up (3,)                                        [R | t], x_camera = R x_world + t, and
                                                                               what points up there, where known
    focal (N, 2)  center (N, 2)  image_size (2,)                               pixels
    keypoint_offsets (K, 3)                                                    metres, where they lie off the body's
                                                                               points; absent: at them
    focal_source  focal_known (N,)                                             text; bool, see `Camera.focal_known`
    keypoints (N, K, 3)  keypoint_names (K,)                                   pixels and confidence, as fitted
    cost (N,)  term_names (T,)  term_cost (N, T)  status (N,)  steps (N,)
    hypothesis_poses (H, N, 3 J)  hypothesis_trans  hypothesis_betas  hypothesis_cost (N, H)
    keypoint_source (N,)  keypoint_std (N, K)                                  text; fractions of the box: what
                                                                               `probability` and `covariance` rest on;
                                                                               absent where the fit has no such noise
    probability (N, H)  covariance (N, H, P, P)  nu                            see `fitting.uncertainty`; covariance in
                                                                               32 bits, columns [transl | 3 J | betas]
    limb_towards (N, L)                                                        see `FitResult.limb_towards`
    start_poses (N, 3 J)  start_trans  start_betas  reason (N,)                 where there was one start
    start_term_names (T,)  start_term_cost (N, T)
    focal_factor  focal_depth (N,)  focal_moved (N, J, 3)                      see `FitResult.focal_effect`
    person_ids (N,)  left_out  measurements  warnings  versions                text; JSON where nested
    image  image_path  fingerprint  conditioned_on                             text

Read with numpy alone: `numpy.load(path)["poses"]`. Nothing in it is a pickle.
"""

import json
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hmrfit.body.gender import GENDERS, gender_of
from hmrfit.camera import Camera
from hmrfit.fitting.energy import Stage
from hmrfit.fitting.finite import ENDS
from hmrfit.fitting.fit import REASONS, Acceptance, Fit
from hmrfit.fitting.focal import FocalSensitivity
from hmrfit.fitting.parameters import Observation, State
from hmrfit.fitting.uncertainty import GAUSSIAN, Answers, Posterior
from hmrfit.io.atomic import write_npz
from hmrfit.io.bounded import advising, parse_json, read_npz, read_numpy
from hmrfit.io.budget import brief
from hmrfit.ops.check import check_finite, check_shape
from hmrfit.ops.how_many import how_many
from hmrfit.ops.level import unit_up
from hmrfit.result_data import Origin, ResultData
from hmrfit.types import BodyParams, Keypoints

FORMAT = "hmrfit result 1"

SHAPES = {
    "poses": "N P",
    "trans": "N 3",
    "betas": "N S",
    "focal": "N 2",
    "center": "N 2",
    "keypoints": "N K 3",
    "keypoint_names": "K",
    "cost": "N",
    "term_names": "T",
    "term_cost": "N T",
    "status": "N",
    "steps": "N",
    "hypothesis_poses": "H N P",
    "hypothesis_trans": "H N 3",
    "hypothesis_betas": "H N S",
    "hypothesis_cost": "N H",
    "person_ids": "N",
    "image_size": "2",
}
MAY_LACK = {
    "probability": "N H",
    "covariance": "N H C C",
    "limb_towards": "N L",
    "keypoint_source": "N",
    "keypoint_std": "N K",
    "start_poses": "N P",
    "start_trans": "N 3",
    "start_betas": "N S",
    "reason": "N",
    "start_term_names": "Q",
    "start_term_cost": "N Q",
    "focal_depth": "N",
    "focal_moved": "N J 3",
    "focal_known": "N",
    "extrinsics": "N 3 4",
    "world_up": "3",
    "keypoint_offsets": "K 3",
}
"""What a result of an earlier version, or of a fit without one start, does not have."""

EARLIER_SEQUENCE = "the other frames"
"""What `conditioned_on` says in sequences of earlier versions, by which they are known."""

EARLIER = {"conditioned_on": "apart", "fingerprint": "stamp"}
"""Keys that had other names in version 0.1."""

WORDS = ("gender", "rows", "focal_source", "body", "body_kind", "conditioned_on", "fingerprint")
TABLES = ("warnings", "left_out", "measurements", "versions")
"""Fields of `Origin` that are a text, and those that are written as JSON."""

WHOLE = ("status", "steps", "reason", "image_size")
CODES = {"status": ENDS, "reason": REASONS}

LARGEST = 1e12
"""Of any number; squares of larger ones are none that can be calculated with."""

TEXTS = ("keypoint_names", "keypoint_source", "term_names", "start_term_names", "person_ids")

LISTS, MOST_ROWS = ("hypothesis_poses", "term_names", "start_term_names", "keypoint_names"), 10_000
"""Rows that are read one by one; a file can have any number of them that take no bytes, where it has no people."""

MAY_BE_INFINITE = ("cost", "term_cost", "hypothesis_cost", "start_term_cost")
"""A fit that could not begin has no finite cost."""


def write_result(path: str | PathLike[str], result: ResultData, more: Mapping[str, NDArray[Any]] | None = None) -> None:
    """Writes a result, whole or not at all. more: arrays beside it, of other names.

    Raises:
        ValueError: the name does not end in .npz. OSError: see `atomic.atomic_write`.
    """
    if Path(path).suffix != ".npz":
        raise ValueError(f"A result is saved as .npz; '{path}' ends otherwise. Choose a name such as result.npz.")
    write_npz(path, {**_arrays(result), **(more or {})}, stored=("covariance",))


def _arrays(result: ResultData) -> dict[str, NDArray[Any]]:
    """The table above."""
    fit, origin, camera, path = result.fit, result.origin, result.camera, result.origin.image_path
    every = BodyParams.cat([result.params, *result.hypotheses])
    poses, betas, trans = (values.reshape(-1, len(result), values.shape[1]) for values in _amass(every))
    names, keypoints = list(fit.term_cost), origin.keypoints
    return {
        "format": np.array(FORMAT),
        "poses": poses[0],
        "betas": betas[0],
        "trans": trans[0],
        "frame": np.array("camera: +x right, +y down, +z forward, metres"),
        "focal": camera.focal.numpy(),
        "center": camera.center.numpy(),
        "image_size": camera.size[0].numpy().astype(np.int64),
        "focal_known": camera.focal_known.numpy(),
        "keypoints": torch.cat([keypoints.xy, keypoints.confidence[..., None]], -1).numpy(),
        "keypoint_names": np.array(keypoints.names),
        "cost": fit.cost.numpy(),
        "term_names": np.array(names),
        "term_cost": np.stack([fit.term_cost[name].numpy() for name in names], 1),
        "status": fit.status.numpy(),
        "steps": fit.steps.numpy(),
        "hypothesis_poses": poses[1:],
        "hypothesis_betas": betas[1:],
        "hypothesis_trans": trans[1:],
        "hypothesis_cost": result.hypothesis_cost,
        "person_ids": np.array(list(origin.person_ids)),
        **{name: np.array(getattr(origin, name)) for name in WORDS},
        **{name: np.array(json.dumps(_plain(getattr(origin, name)))) for name in TABLES},
        "image": np.array("" if path is None else path.name),
        "image_path": np.array("" if path is None else str(path)),
        **_known_arrays(result),
        **_posterior_arrays(result.posterior, origin.keypoint_source),
        **_start_arrays(fit),
        **_focal_arrays(result.focal_moves),
    }


def _plain(value: Any) -> Any:
    """What JSON can hold."""
    return dict(value) if isinstance(value, Mapping) else list(value)


def _known_arrays(result: ResultData) -> dict[str, NDArray[Any]]:
    """The frame rate and the direction that points up, where they are known."""
    fps, up = result.fps, result.up
    rate = {} if fps is None else dict.fromkeys(("fps", "mocap_framerate"), np.array(float(fps)))
    origin = result.origin
    poses = {"extrinsics": origin.extrinsics, "world_up": origin.world_up, "up": up, "up_std": result.up_std}
    poses["keypoint_offsets"] = origin.keypoint_offsets
    return rate | {name: np.asarray(value, np.float64) for name, value in poses.items() if value is not None}


def _focal_arrays(effect: FocalSensitivity | None) -> dict[str, NDArray[Any]]:
    if effect is None:
        return {}
    known = {"focal_depth": effect.depth.numpy(), "focal_moved": effect.moved.numpy()}
    return {"focal_factor": np.array(effect.factor), **known}


def _posterior_arrays(posterior: Posterior | None, keypoint_source: Sequence[str]) -> dict[str, NDArray[Any]]:
    if posterior is None:
        return {}
    covariance = posterior.covariance.numpy().astype(np.float32)
    arrays = {"probability": posterior.probability.numpy(), "covariance": covariance, "nu": np.array(posterior.nu)}
    if posterior.noise is not None:
        arrays["keypoint_std"] = posterior.noise.numpy()
    if posterior.towards is not None:
        arrays["limb_towards"] = posterior.towards.numpy()
    return arrays | ({"keypoint_source": np.array(list(keypoint_source))} if keypoint_source else {})


def _start_arrays(fit: Fit) -> dict[str, NDArray[Any]]:
    if fit.start is None or fit.acceptance is None:
        return {}
    poses, betas, trans = _amass(fit.start.params)
    costs = fit.start_term_cost
    return {
        "start_poses": poses,
        "start_betas": betas,
        "start_trans": trans,
        "reason": fit.acceptance.reason.numpy(),
        "start_term_names": np.array(list(costs)),
        "start_term_cost": np.stack([cost.numpy() for cost in costs.values()], 1),
    }


def _amass(params: BodyParams) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """(poses (N, 3J), betas, trans)."""
    return torch.cat(params.to_rotvecs(), 1).numpy(), params.betas.numpy(), params.transl.numpy()


def read_result(path: str | PathLike[str]) -> ResultData:
    """What a result holds.

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
        return _result(data)
    except (KeyError, ValueError, TypeError, IndexError, RuntimeError, OverflowError) as error:
        missing = f"it lacks {error}" if isinstance(error, KeyError) else brief(str(error), 300)
        raise ValueError(f"'{path}' is a damaged result: {missing} Fit again, or copy it again.") from None


def read_fingerprint(path: Path) -> str | None:
    """The fingerprint of a result file; None where there is no readable one."""
    try:
        return str(read_npz(path, names=("fingerprint",))["fingerprint"])
    except (OSError, ValueError, KeyError):  # whatever is wrong with it, it is made anew
        return None


def _read(path: Path) -> dict[str, NDArray[Any]]:
    with advising("Fit again, or copy it again."):
        found = read_numpy(path)
    return found if isinstance(found, dict) else {"array": found}


def _listed(data: Mapping[str, Any]) -> str:
    return brief(", ".join(list(data)[:8])) or "nothing"


def _result(data: dict[str, NDArray[Any]]) -> ResultData:
    """What the arrays say. Which energy was minimised is not among them."""
    _check(data)
    points, camera = torch.tensor(data["keypoints"]), _camera(data)
    keypoints = Keypoints(points[..., :2], points[..., 2], tuple(map(str, data["keypoint_names"])))
    fit = _fit(data, camera, keypoints)
    fps, up = data.get("fps"), data.get("up")
    if fps is not None and not (np.isfinite(fps).all() and np.size(fps) == 1 and fps > 0):
        raise ValueError("fps is no number above 0.")
    return ResultData(
        fit=fit,
        origin=_origin(data, keypoints, None if fps is None else float(fps)),
        known_answers=Answers(fit.hypotheses, fit.hypothesis_cost, _posterior(data)),
        up=None if up is None else unit_up(up).numpy(),
        up_std=None if up is None or "up_std" not in data else float(data["up_std"]),
        focal_moves=_focal_moves(data),
    )


def _fit(data: Mapping[str, NDArray[Any]], camera: Camera, keypoints: Keypoints) -> Fit:
    poses, betas, trans = (data[f"hypothesis_{name}"] for name in ("poses", "betas", "trans"))
    start, acceptance, start_costs = None, None, {}
    if "start_poses" in data:
        start = State(_params(data["start_poses"], data["start_betas"], data["start_trans"]), camera)
        start_costs = _costs(data, "start_term_names", "start_term_cost")
        unknown = torch.full((len(data["poses"]),), torch.nan, dtype=torch.float64)
        before = sum(start_costs.values(), start=torch.zeros_like(unknown))
        acceptance = Acceptance(torch.tensor(data["reason"]), before, unknown, unknown)
    return Fit(
        state=State(_params(data["poses"], data["betas"], data["trans"]), camera),
        cost=torch.tensor(data["cost"]),
        term_cost=_costs(data, "term_names", "term_cost"),
        status=torch.tensor(data["status"]),
        steps=torch.tensor(data["steps"]),
        hypotheses=[State(_params(*one), camera) for one in zip(poses, betas, trans, strict=True)],
        hypothesis_cost=torch.tensor(data["hypothesis_cost"]),
        observation=Observation.of(keypoints),
        stage=Stage({}),
        start=start,
        acceptance=acceptance,
        start_term_cost=start_costs,
    )


def _costs(data: Mapping[str, NDArray[Any]], names: str, costs: str) -> dict[str, Tensor]:
    """Name -> (N,)."""
    return {str(name): torch.tensor(data[costs][:, i]) for i, name in enumerate(data[names])}


def _origin(data: Mapping[str, NDArray[Any]], keypoints: Keypoints, fps: float | None) -> Origin:
    """What the result is of. Results of earlier versions lack rows and gender, and have other names for two words."""
    words = {name: str(data[name]) for name in ("focal_source", "body", "body_kind")}
    words |= {name: str(data.get(name, data.get(old, ""))) for name, old in EARLIER.items()}
    rows = str(data["rows"]) if "rows" in data else "frames"
    if "rows" not in data and words["conditioned_on"] != EARLIER_SEQUENCE:
        rows = "people"
    gender = str(data["gender"]) if "rows" in data else gender_of(str(data["body"]))
    if rows not in ("people", "frames") or gender not in GENDERS:
        raise ValueError(f"its rows are '{rows}' and its gender is '{gender}', which are no known words.")
    return Origin(
        keypoints=keypoints,
        warnings=_warnings(data),
        person_ids=[str(name) for name in data["person_ids"]],
        keypoint_source=[str(source) for source in data.get("keypoint_source", ())],
        left_out=_words(data, "left_out"),
        measurements=_words(data, "measurements"),
        versions=_words(data, "versions"),
        image_path=Path(str(data["image_path"])) if str(data["image_path"]) else None,
        gender=gender,
        rows="frames" if rows == "frames" else "people",
        fps=fps,
        extrinsics=data.get("extrinsics"),
        world_up=data.get("world_up"),
        keypoint_offsets=data.get("keypoint_offsets"),
        **words,
    )


def _camera(data: Mapping[str, NDArray[Any]]) -> Camera:
    focal, center = torch.tensor(data["focal"]), torch.tensor(data["center"])
    size = torch.tensor(data["image_size"]).double().expand(len(focal), 2).clone()
    return Camera(focal, center, size, torch.tensor(_focal_known(data)))


def _focal_known(data: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
    """(N,) `Camera.focal_known`. Files of earlier versions have it in the sentence `focal_source` alone."""
    if "focal_known" in data:
        return data["focal_known"].astype(bool)
    known = str(data["focal_source"]).startswith(("given", "the keypoints' file", "the photograph's EXIF"))
    return np.full(len(data["focal"]), known)


def _warnings(data: Mapping[str, NDArray[Any]]) -> list[list[str]]:
    """N lists of texts."""
    found = parse_json(str(data["warnings"]), "its warnings")
    lists = isinstance(found, list) and all(isinstance(of_row, list) for of_row in found)
    texts = lists and all(isinstance(text, str) for of_row in found for text in of_row)
    if not texts or len(found) != len(data["poses"]):
        raise ValueError("its warnings should be a list of texts for each row.")
    return found


def _words(data: Mapping[str, NDArray[Any]], name: str) -> dict[str, str]:
    """A dictionary of texts; empty in results of earlier versions."""
    found = parse_json(str(data.get(name, "{}")), f"its {name}")
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise ValueError(f"its {name} should be texts by name.")
    return found


def _posterior(data: Mapping[str, NDArray[Any]]) -> Posterior | None:
    if "covariance" not in data:
        return None
    covariance = torch.tensor(data["covariance"]).double()
    noise = torch.tensor(data["keypoint_std"]) if "keypoint_std" in data else None
    towards = torch.tensor(data["limb_towards"]) if "limb_towards" in data else None
    nu = min(float(data["nu"]), GAUSSIAN)  # infinity is a Gaussian as well
    return Posterior(torch.tensor(data["probability"]), covariance, nu, noise, towards)


def _focal_moves(data: Mapping[str, NDArray[Any]]) -> FocalSensitivity | None:
    if "focal_moved" not in data:
        return None
    depth, moved = torch.tensor(data["focal_depth"]), torch.tensor(data["focal_moved"])
    return FocalSensitivity(float(data["focal_factor"]), depth, moved.norm(dim=-1), moved)


def _check(data: dict[str, NDArray[Any]]) -> None:
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
        raise ValueError(f"`{many[0]}` has {how_many(data[many[0]].shape[0], 'rows')}; at most {MOST_ROWS} are read.")


def _check_numbers(array: NDArray[Any], name: str) -> None:
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


def _check_whole(array: NDArray[Any], name: str) -> None:
    check_finite(array, name)
    unknown = [value for value in np.unique(array) if value not in CODES.get(name, [value]) or value < 0]
    if unknown:
        raise ValueError(f"`{name}` holds {unknown[0]:.3g}, which no fit gives.")


def _params(poses: NDArray[Any], betas: NDArray[Any], trans: NDArray[Any]) -> BodyParams:
    rotvecs = torch.tensor(poses)
    return BodyParams.from_rotvecs(rotvecs[:, :3], rotvecs[:, 3:], torch.tensor(betas), torch.tensor(trans))
