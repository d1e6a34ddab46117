"""hmrfit evaluate --protocol freihand | ho3d | interhand | dexycb: predicted hands, scored as their data sets score.

    DIR/<predictor>.npz                           predictions in our own format; of a run that is the same they are kept
    DIR/<predictor>.pred.json, .results.txt       the same as the data set's own scorer reads them
    DIR/<predictor>.json, .md, DIR/table.md       the numbers

Without --data synthetic hands with their truth take the data set's place, so that every protocol runs without a
download; --predictions scores a file that others wrote. The predictor `fit` is that of `hmrfit.fit_hand`, given the 2D
keypoints of the data set (its true joints as the camera sees them, where it has no others), with --noise on them.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from hmrfit.body.landmarks import MANO_VERTEX_COUNT, mano_tips
from hmrfit.camera import PIXEL_CENTER, Camera, default_focal
from hmrfit.config import load_config
from hmrfit.datasets.hand_dataset import HandDataset
from hmrfit.evaluate.hand_predictions import (
    SUFFIXES,
    HandPredictions,
    read_hand_predictions,
    write_hand_predictions,
    write_public,
)
from hmrfit.evaluate.hand_protocol import HAND_PROTOCOLS, HandProtocol, make_hand_protocol
from hmrfit.evaluate.predictions import Json
from hmrfit.evaluate.protocol import Summary
from hmrfit.evaluate.scoring import compared
from hmrfit.hand import HAND_CONFIG, hand_pipeline
from hmrfit.hand_keypoints import HAND_SIDES, hand_set
from hmrfit.io.own_files import own_file, refuse_others
from hmrfit.ops.check import did_you_mean
from hmrfit.ops.threads import use_threads
from hmrfit.priors.gmm import PoseGmm
from hmrfit.synthetic.hand_samples import NOISE, HandSource, synthetic_hands
from hmrfit.types import Keypoints
from hmrfit.version import __version__

DEFAULT, HANDS = "fit", 200
"""The predictor, and how many synthetic pictures, where none are named."""

CHUNK = 128
"""Hands fitted together."""


@dataclass(frozen=True)
class HandFlags:
    """What the command line gives."""

    protocol: str
    data: str | None = None
    out: str | None = None
    predictions: str | None = None
    predictor: str = DEFAULT
    limit: int | None = None
    people: int | None = None
    seed: int = 0
    noise: float | None = None
    config: str | None = None
    overrides: Sequence[str] = ()

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "HandFlags":
        """From the flags that were given.

        Raises:
            ValueError: a flag that belongs to protocols of bodies, or two that exclude each other.
        """
        others = [f"--{name.replace('_', '-')}" for name in given if name not in cls.__dataclass_fields__]
        if others:
            raise ValueError(f"--protocol {given['protocol']} is about hands, and takes no {', '.join(others)}.")
        made = cls(**given)
        if made.data is not None and made.people is not None:
            raise ValueError("--people makes synthetic hands, and --data names others. Leave one of them out.")
        if made.noise is not None and not 0 <= made.noise <= 1:
            raise ValueError(f"--noise should be a fraction of the hand's box, such as 0.02, not {made.noise:g}.")
        return made


def is_of_hands(protocol: str) -> bool:
    """Whether a protocol of this name scores hands."""
    return protocol in HAND_PROTOCOLS.names()


def evaluate_hands_command(flags: HandFlags) -> int:
    """Predicts, scores, writes; prints the table."""
    protocol = make_hand_protocol(flags.protocol)
    if flags.predictor not in PREDICTORS:
        near = did_you_mean(flags.predictor, PREDICTORS)
        raise ValueError(f"There is no predictor of hands '{flags.predictor}'.{near} Known: {', '.join(PREDICTORS)}.")
    name = flags.predictor if flags.predictions is None else Path(flags.predictions).stem
    folder = Path(flags.out or f"out/evaluate/{flags.protocol}")
    refuse_others([folder / f"{name}.json", folder / f"{name}.md", folder / "table.md"])
    use_threads(load_config(flags.config, flags.overrides, base=HAND_CONFIG).THREADS)
    data = load_hands(protocol, flags)[slice(flags.limit)]
    folder.mkdir(parents=True, exist_ok=True)
    if flags.predictions is not None:
        predictions, run = read_hand_predictions(flags.predictions, data, protocol.public_format)
    else:
        predictions, run = predicted(protocol, data, folder / f"{name}.npz", flags)
        write_for_others(protocol, predictions, data, folder, name)
    summary = scored(protocol, predictions, data, {"predictor": name, **run, "data": described(flags)})
    summary.save(folder, name)
    text = f"{compared({name: summary})}\n\n{name}: {summary.conditions} Data: {described(flags)}."
    with own_file(folder / "table.md", "numbers") as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    print(f"{text}\n\nIn {folder}: {', '.join(sorted(p.name for p in folder.iterdir()))}")
    return 0


def scored(protocol: HandProtocol, predictions: HandPredictions, data: HandDataset, run: Mapping[str, Json]) -> Summary:
    """The numbers of all hands."""
    protocol.update(predictions, data)
    return replace(protocol.summary(), run=dict(run))


# ---- the data


def load_hands(protocol: HandProtocol, flags: HandFlags) -> HandDataset:
    """Those of --data, or synthetic ones."""
    if flags.data is not None:
        data = protocol.load(Path(flags.data))
        return with_noise(data, flags.noise, flags.seed) if flags.noise else data
    sides = HAND_SIDES[::-1] if protocol.two_hands else ("right",)
    sources = {side: _source(side, flags) for side in sides}
    noise = NOISE if flags.noise is None else flags.noise
    count = HANDS if flags.people is None else flags.people
    return synthetic_hands(sources, protocol.order, count, flags.seed, noise, protocol.two_hands, protocol.meshes)


def _source(side: str, flags: HandFlags) -> HandSource:
    pipeline = hand_pipeline(side, load_config(flags.config, flags.overrides, base=HAND_CONFIG))
    prior = getattr(pipeline.fitter.terms["gmm"], "gmm", None)
    assert isinstance(prior, PoseGmm), "the term 'gmm' is the pose prior"
    return HandSource(pipeline.body, prior)


def with_noise(data: HandDataset, noise: float, seed: int) -> HandDataset:
    """The same hands, their keypoints moved by a fraction of their boxes."""
    points, rng = data.keypoints_2d.copy(), np.random.default_rng(seed)
    seen = points[..., 2:] > 0
    xy = np.where(seen, points[..., :2], np.nan)
    with np.errstate(invalid="ignore"):
        box = np.nan_to_num(np.nanmax(xy, 1, initial=-np.inf) - np.nanmin(xy, 1, initial=np.inf)).max(1).clip(0)
    points[..., :2] += np.where(seen, noise * box[:, None, None] * rng.standard_normal(xy.shape), 0.0)
    return replace(data, keypoints=points)


def described(flags: HandFlags) -> str:
    """What the data are, in words."""
    if flags.data is not None:
        return flags.data if not flags.noise else f"{flags.data}, keypoints with noise of {100 * flags.noise:g} %"
    noise = NOISE if flags.noise is None else flags.noise
    return (
        f"synthetic hands (seed {flags.seed}) in poses of the prior itself; keypoints with noise of {100 * noise:g} % "
        "of the box, a tenth missing"
    )


# ---- the predictions


def predicted(
    protocol: HandProtocol, data: HandDataset, path: Path, flags: HandFlags
) -> tuple[HandPredictions, Mapping[str, Json]]:
    """Made now, or there already with the same settings and keypoints; and what made them."""
    settings = load_config(flags.config, flags.overrides, base=HAND_CONFIG)
    digest = hashlib.sha256()
    for array in (data.keypoints_2d, data.K, data.size):
        digest.update(np.ascontiguousarray(array).tobytes())
    run: dict[str, Json] = {
        "predictor": flags.predictor,
        "protocol": flags.protocol,
        "keypoints": digest.hexdigest(),
        "settings": settings.dump(),
        "version": __version__,
    }
    if path.exists():
        try:
            found, before = read_hand_predictions(path, data)
        except ValueError:
            before = {}
        if before == run:
            return found, run
        if not before:
            raise FileExistsError(f"'{path}' is no file of predictions of these hands. Choose another folder: --out.")
    predictions = PREDICTORS[flags.predictor](protocol, data, flags)
    write_hand_predictions(path, predictions, data, run)
    return predictions, run


def write_for_others(
    protocol: HandProtocol, predictions: HandPredictions, data: HandDataset, folder: Path, name: str
) -> None:
    """The public format, where there is one and every hand has a prediction."""
    if protocol.public_format is not None and predictions.done.all():
        path = folder / f"{name}{SUFFIXES[protocol.public_format]}"
        write_public(path, predictions, data, protocol.public_format)


def fitted(protocol: HandProtocol, data: HandDataset, flags: HandFlags) -> HandPredictions:
    """The fit of `hmrfit.fit_hand`, side by side."""
    settings = load_config(flags.config, flags.overrides, base=HAND_CONFIG)
    keypoints = torch.as_tensor(data.keypoints_2d)
    joints = np.full((len(data), 21, 3), np.nan)
    vertices: NDArray[np.float64] | None = None
    usable = (data.keypoints_2d[..., 2] > 0).sum(1) > 1
    for side in HAND_SIDES:
        rows = np.flatnonzero((data.side == side) & usable)
        if not len(rows):
            continue
        pipeline, names = hand_pipeline(side, settings), hand_set(data.order, side).names
        body = pipeline.body
        points = body.points(names)
        if vertices is None and protocol.meshes:
            vertices = np.full((len(data), len(body.v_template), 3), np.nan)
        parts = np.split(rows, range(CHUNK, len(rows), CHUNK))
        for part in tqdm(parts, desc=f"fitting {side} hands", unit="chunk", disable=None):
            own = keypoints[part]
            seen = Keypoints(own[..., :2], own[..., 2], names)
            params = pipeline.fitter.fit(seen, cameras_of(data[part])).state.params
            joints[part] = points.pose(params).points.numpy()
            if vertices is not None:
                vertices[part] = body(params).mesh.numpy()
    return with_own_tips(HandPredictions(joints, vertices), protocol, data)


def cameras_of(data: HandDataset) -> Camera:
    """Each hand's; the default focal length where K is unknown."""
    size = torch.as_tensor(data.size.astype(np.float64))
    K = torch.as_tensor(data.K)
    known = K.isfinite().all(-1).all(-1)
    usual = torch.as_tensor(default_focal(size[:, :1], size[:, 1:])).expand(-1, 2)
    focal = torch.where(known[:, None], torch.stack([K[:, 0, 0], K[:, 1, 1]], 1), usual)
    center = torch.where(known[:, None], K[:, :2, 2] + PIXEL_CENTER, size / 2)
    return Camera(focal, center, size, known)


def with_own_tips(found: HandPredictions, protocol: HandProtocol, data: HandDataset) -> HandPredictions:
    """Of MANO's mesh the tips that the protocol's truth has."""
    if protocol.tips is None or found.vertices is None or found.vertices.shape[1] != MANO_VERTEX_COUNT:
        return found
    joints = found.joints.copy()
    for side in HAND_SIDES:
        rows, pipeline = data.side == side, hand_pipeline(side)
        names = hand_set(data.order, side).names
        for name, vertex in mano_tips(pipeline.body.skeleton, protocol.tips).items():
            joints[rows, names.index(name)] = found.vertices[rows, vertex]
    return HandPredictions(joints, found.vertices)


def zeros(protocol: HandProtocol, data: HandDataset, flags: HandFlags) -> HandPredictions:
    """The zero prediction that the public code is handed out with: a test of the scores."""
    vertices = None if data.vertices is None else np.zeros_like(data.vertices)
    return HandPredictions(np.zeros((len(data), 21, 3)), vertices)


PREDICTORS: dict[str, Callable[[HandProtocol, HandDataset, HandFlags], HandPredictions]] = {
    "fit": fitted,
    "zeros": zeros,
}
