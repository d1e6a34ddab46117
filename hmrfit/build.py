"""From settings to objects: the body, the energy's terms, the schedule, the fitter. Made once per process and settings.

engine = build()        the second call returns the same object
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache, cached_property, partial
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from yacs.config import CfgNode

from hmrfit.assets import checksum, locate
from hmrfit.body.points import PointBody
from hmrfit.body.skeleton import SMPL
from hmrfit.body.smpl import SmplBody
from hmrfit.body.smplx_body import SmplxBody
from hmrfit.config import ConfigError, load_config
from hmrfit.fitting.energy import Stage
from hmrfit.fitting.fitter import Fitter, default_terms
from hmrfit.fitting.schedule import Schedule, restaged
from hmrfit.fitting.solver import Options
from hmrfit.fitting.staged import StagedFitter
from hmrfit.fitting.terms.base import ResidualFunction, Term, terms_by_name
from hmrfit.fitting.terms.discriminators import DiscriminatorTerm
from hmrfit.fitting.terms.smplify_spin import PixelReprojection, published_terms
from hmrfit.fitting.uncertainty import Calibration, Weight
from hmrfit.motion.rest import mirror_poses
from hmrfit.network.checkpoints import load_error_model
from hmrfit.network.inference import packed
from hmrfit.network.initial_estimate import ImageHmr, KeypointHmr
from hmrfit.ops.check import brief_repr, did_you_mean, numbers
from hmrfit.ops.threads import own_threads
from hmrfit.priors.discriminator import DiscriminatorPrior
from hmrfit.priors.gmm import PoseGmm
from hmrfit.priors.limits import JointLimits

OPTION_KEYS = tuple(field.name for field in fields(Options))
STAGE_KEYS = ("weights", "factors", "free", "keep", *OPTION_KEYS)


@dataclass(frozen=True)
class Engine:
    """What a fit runs on: the fitter, and which body makes the meshes (a name or path, "smpl" or "smplx")."""

    fitter: Fitter
    body: str
    body_kind: str
    settings: str  # as YAML, every key
    image_estimate: ImageHmr | None = None  # what photographs are shown to, for the fit to start from
    renderer: str = "builtin"  # of soft silhouettes
    silhouette: float = 0.0  # the weight of that term where there are masks
    threads: int = 0  # of torch for many people, 0: as many as it has
    files: tuple[Path, ...] = ()  # body, priors and networks that the settings name
    written: tuple[tuple[int, ...], ...] = ()  # when they were, see `_written`

    @cached_property
    def fingerprint(self) -> str:
        """What a fit depends on beside its input: the settings, and the content of the files that they name."""
        return "\n".join([self.settings, *map(checksum, self.files)])


MOST_WEIGHT = 1e12
"""Of a term. Beyond it, rounding decides what the other terms say."""

NETWORKS_BODY = "free_body"
"""The body whose betas the shipped networks speak of."""

_ENGINES: dict[str, Engine] = {}


def build(config: CfgNode | str | PathLike | Mapping[str, Any] | None = None) -> Engine:
    """The engine of these settings, the same object for equal ones as long as the files they name do not change.

    Args:
        config: from `load_config`, or what it takes: a YAML file, a shipped name or a mapping; None for
            the defaults.
    """
    config, settings = _defaults() if config is None else _read(config)
    engine = _ENGINES.get(settings)
    if engine is None or engine.written != _written(engine.files):
        _forget_files()
        engine = _ENGINES[settings] = _build(config, settings)
    return engine


def _build(config: CfgNode, settings: str) -> Engine:
    files = parameter_files(config)
    written = _written(files)  # before they are read
    guess = ImageHmr.from_file(locate(config.PRIORS.IMAGE_ESTIMATE)) if config.PRIORS.IMAGE_ESTIMATE else None
    body, drawn = (config.BODY.PATH, config.BODY.KIND), (config.RENDER.BACKEND, config.FIT.SILHOUETTE)
    threads = max(config.THREADS, 0)
    with own_threads(threads):
        return Engine(build_fitter(config), *body, settings, guess, *drawn, threads, files, written)


def parameter_files(config: CfgNode) -> tuple[Path, ...]:
    """The files of parameters that a fit with these settings reads. Errors: those of `locate`."""
    priors = config.PRIORS
    names = [
        config.BODY.PATH,
        priors.GMM,
        priors.LIMITS,
        priors.INITIAL_ESTIMATE,
        priors.DISCRIMINATORS,
        priors.IMAGE_ESTIMATE,
    ]
    if priors.INITIAL_ESTIMATE and config.FIT.START == "hypotheses":
        names.append(priors.ERROR_MODEL)
    return tuple(locate(name) for name in names if name)


def _written(files: Sequence[Path]) -> tuple[tuple[int, ...], ...]:
    """Which files these are, and when they were last written: equal as long as nothing has to be read again."""
    return tuple((s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns) if (s := _stat(file)) else () for file in files)


def _stat(file: Path) -> os.stat_result | None:
    try:
        return file.stat()
    except OSError:  # gone: reading it says so
        return None


def _forget_files() -> None:
    """Bodies by name are kept as long as no file of an engine has changed."""
    stale = [settings for settings, engine in _ENGINES.items() if engine.written != _written(engine.files)]
    for settings in stale:
        del _ENGINES[settings]
    if stale:
        for read in (load_body, load_posed_body, load_points):
            read.cache_clear()


def _read(config: CfgNode | str | PathLike | Mapping[str, Any] | None) -> tuple[CfgNode, str]:
    """(the settings, as YAML)."""
    config = config if isinstance(config, CfgNode) else load_config(config)
    return config, config.dump()


@cache
def _defaults() -> tuple[CfgNode, str]:
    """Read once: for one person, that takes as long as the initial estimate."""
    return _read(None)


def device_of(name: str, key: str) -> str:
    """ "cuda" or "cpu" of a setting; where it says "auto", the GPU if there is one. key: what the setting is called."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"{key} is cuda, but torch finds no GPU here. Use auto or cpu.")
    return "cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu"


def build_fitter(config: CfgNode) -> Fitter:
    """Body, terms, starting poses, schedule and initial estimate, put together, on the device of the settings."""
    fitter, device = _fitter(config), device_of(config.FIT.DEVICE, "FIT.DEVICE")
    return fitter if device == "cpu" else fitter.on(device)


def _fitter(config: CfgNode) -> Fitter:
    gmm = PoseGmm.from_file(locate(config.PRIORS.GMM))
    body = load_body(config.BODY.PATH)
    _check_prior(gmm, body, config)
    poses = library_poses(gmm, config.FIT.LIBRARY, config.SEED)
    guess = KeypointHmr.from_file(locate(config.PRIORS.INITIAL_ESTIMATE)) if config.PRIORS.INITIAL_ESTIMATE else None
    terms, schedule = build_terms(config, gmm, body), build_schedule(config)
    parts = (body, terms, poses, schedule)
    if config.FIT.START != "hypotheses":
        mean_pose = gmm.weights @ gmm.means if config.FIT.START == "mean_pose" else None
        sure = _calibration(config, terms, schedule)
        return StagedFitter(*parts, initial_estimate=guess, start_pose=mean_pose, calibration=sure)
    errors = config.PRIORS.ERROR_MODEL if guess else None
    errors = packed(load_error_model(locate(errors))) if errors else None
    return Fitter(*parts, initial_estimate=guess, error_model=errors, own_shapes=config.BODY.PATH == NETWORKS_BODY)


def _calibration(config: CfgNode, terms: Sequence[Term], schedule: Schedule) -> Calibration | None:
    """What FIT.CALIBRATION says of the last stage's energy."""
    how = config.FIT.CALIBRATION
    if not how.NU > 0:
        return None
    if any(len(numbers) != 3 for numbers in (how.KEYPOINTS, how.OTHERS)):
        raise ConfigError("FIT.CALIBRATION: KEYPOINTS and OTHERS hold three numbers each: [factor, hidden, noise].")
    about = {term.name for term in terms if isinstance(term, PixelReprojection)}
    weights = schedule.rounds[-1][0].weights
    parts = {name: how.KEYPOINTS if name in about else how.OTHERS for name in weights}
    return Calibration({name: Weight(w * parts[name][0], *parts[name][1:]) for name, w in weights.items()}, how.NU)


@cache
def load_body(path: str) -> SmplBody:
    """A body by name or path, float64, read once per process. Errors: those of `locate` and `read_body_file`."""
    return SmplBody.from_file(locate(path))


@cache
def load_posed_body(path: str, kind: str) -> SmplBody | SmplxBody:
    """The body that makes the meshes: our own skinning, or the smplx package's on the same file."""
    return load_body(path) if kind == "smpl" else SmplxBody.from_file(locate(path), dtype=torch.float64)


@cache
def load_points(path: str, names: tuple[str, ...]) -> PointBody:
    """A body reduced to the keypoints of these names."""
    return load_body(path).points(names)


def build_terms(config: CfgNode, gmm: PoseGmm, body: SmplBody) -> list[Term]:
    """The terms that stages can name: ours, then SMPLify's and SPIN's; the discriminators are read when one does."""
    limits = JointLimits.from_file(locate(config.PRIORS.LIMITS))
    sigma = {"sigma": config.FIT.SIGMA} if config.FIT.SIGMA > 0 else {}
    terms = [*default_terms(gmm, limits, **sigma), *published_terms(body, gmm)]
    if config.PRIORS.DISCRIMINATORS:
        terms.append(DiscriminatorTerm(partial(DiscriminatorPrior.from_file, locate(config.PRIORS.DISCRIMINATORS))))
    return terms


def library_poses(gmm: PoseGmm, count: int, seed: int) -> Tensor:
    """(N, D) poses to start from: the mixture's means and `count` draws.

    Of a body of SMPL's joints, the mirror images of the draws too: the flipped photograph starts at the mirrored poses.
    """
    drawn = gmm.sample(count, torch.Generator().manual_seed(seed))
    parts = [gmm.mean_poses(), drawn]
    if gmm.means.shape[1] == 3 * (len(SMPL) - 1):
        parts.append(torch.as_tensor(mirror_poses(drawn.unflatten(1, (-1, 3)).numpy())).flatten(1))
    return torch.cat(parts)


def build_schedule(config: CfgNode) -> Schedule:
    """The fitting package's own schedule, with what the settings change."""
    schedule = Schedule()
    if config.FIT.HYPOTHESES > 0:
        schedule = replace(schedule, hypotheses=config.FIT.HYPOTHESES, with_estimate=config.FIT.HYPOTHESES)
    if config.FIT.STAGES:
        schedule = replace(schedule, rounds=tuple(_round(stage) for stage in config.FIT.STAGES), anchored=())
    return schedule


def _round(stage: Mapping[str, Any]) -> tuple[Stage, int]:
    """One entry of FIT.STAGES -> (stage, how many hypotheses a person keeps after it)."""
    if not isinstance(stage, Mapping) or not {"weights", "factors"} & set(stage):
        raise ConfigError(f"Each entry of FIT.STAGES is written {{weights: {{reprojection: 16, gmm: 1}}}}, not {stage!r}.")  # fmt: skip  # noqa: E501
    for key in stage:
        if key not in STAGE_KEYS:
            raise ConfigError(f"FIT.STAGES: there is no setting {key}.{did_you_mean(key, STAGE_KEYS)}")
    options = Options(**{k: v for k, v in stage.items() if k in OPTION_KEYS})
    free = {"free": tuple(stage["free"])} if "free" in stage else {}
    for kind in ("weights", "factors"):
        for name, weight in stage.get(kind, {}).items():
            numbers(
                weight, f"FIT.STAGES: {kind}: {name}", f"one number from 0 to {MOST_WEIGHT:g}", (), 0.0, MOST_WEIGHT
            )
    weights = {**stage.get("weights", {}), **{name: w * w for name, w in stage.get("factors", {}).items()}}
    return Stage(weights, options=options, **free), int(stage.get("keep", 1))


def extended(engine: Engine, terms: Sequence[Term | ResidualFunction], weights: Mapping[str, float]) -> Engine:
    """The engine with more terms and other weights; body and starts are shared.

    Args:
        terms: as `Fitter` takes them; in every stage, with weight 1 where `weights` names none.
        weights: by term. Built-in terms get theirs in the stages that use them, in every stage if none does; 0 leaves a
            term out.
    Raises:
        ValueError: a weight for a term that is not there, with the nearest name, or one that is no weight; a term of
            the name of another. TypeError: terms or weights of another kind.
    """
    if not isinstance(weights, Mapping):
        raise TypeError(f"weights should be a dictionary of numbers by the name of a term, not {brief_repr(weights)}.")
    if not isinstance(terms, Sequence) or isinstance(terms, str):
        raise TypeError(
            f"terms should be a list of functions or Terms, not {brief_repr(terms)}. For one: terms=[term]."
        )
    if not len(terms) and not weights:
        return engine
    for term in terms:
        if (not callable(term) and not isinstance(term, Term)) or isinstance(term, type):
            raise TypeError(
                f"terms should hold functions (state, output, observation) or Terms, not {brief_repr(term)}."
            )
    added = terms_by_name(terms)
    known = {**engine.fitter.terms, **added}
    if taken := set(added) & set(engine.fitter.terms):
        name = min(taken)
        raise ValueError(f"terms: the fit has a term '{name}' already. Give yours another name: FunctionTerm(function, name).")  # fmt: skip  # noqa: E501
    for name, weight in weights.items():
        if name not in known:
            near = did_you_mean(str(name), known)
            raise ValueError(f"weights: there is no term {brief_repr(name)}.{near} Known: {', '.join(known)}.")
        numbers(weight, f"The weight of '{name}'", f"one number from 0 to {MOST_WEIGHT:g}", (), 0.0, MOST_WEIGHT)
    schedule = engine.fitter.schedule
    stages = [*(stage for stage, _ in schedule.rounds), *schedule.anchored]
    idle = {name for name in weights if not any(name in stage.weights for stage in stages)}
    added |= {name: known[name] for name in idle}
    changed = restaged(schedule, lambda stage: replace(stage, weights=_mixed(stage.weights, added, weights)))
    if not all(any(stage.weights.values()) for stage in [*(s for s, _ in changed.rounds), *changed.anchored]):
        raise ValueError("weights: with these, a stage of the fit has no term with a weight above 0. Leave one in.")
    other = engine.fitter.with_schedule(changed)
    other.terms = known
    return replace(engine, fitter=other)


def _mixed(stage: Mapping[str, float], added: Mapping[str, Term], asked: Mapping[str, float]) -> dict[str, float]:
    """A stage's weights with those of added terms and those that were asked for."""
    return {name: float(asked.get(name, weight)) for name, weight in {**stage, **dict.fromkeys(added, 1.0)}.items()}


def _check_prior(gmm: PoseGmm, body: SmplBody, config: CfgNode) -> None:
    """That the pose prior is about this body's joints."""
    joints = len(body.parents) - 1
    if gmm.means.shape[1] != 3 * joints:
        raise ConfigError(
            f"The pose prior {config.PRIORS.GMM} is about {gmm.means.shape[1] // 3} body joints, but the body "
            f"{config.BODY.PATH} has {joints}. The shipped prior is for bodies of SMPL's 24 joints."
        )
