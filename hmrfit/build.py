"""From settings to objects: the body, the energy's terms, the schedules, the fitter."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from yacs.config import CfgNode

from hmrfit.assets import locate
from hmrfit.body.mirrored import mirrored_hand, mirrored_skeleton, mirrored_turns, side_of
from hmrfit.body.model import BodyModel
from hmrfit.body.point_offsets import PointOffsets
from hmrfit.body.points import PointBody
from hmrfit.body.skeleton import SMPL, Skeleton
from hmrfit.body.smpl import SmplBody
from hmrfit.body.smplx_body import SmplxBody
from hmrfit.config import ConfigError, default_of
from hmrfit.fitting.acceptance import Accept
from hmrfit.fitting.answers import OtherAnswers
from hmrfit.fitting.energy import Stage
from hmrfit.fitting.fitter import Fitter
from hmrfit.fitting.hand_schedule import (
    HAND_POSES,
    HAND_STARTS,
    HAND_VIEWS,
    constraints,
    from_hand_estimate,
    from_hand_library,
)
from hmrfit.fitting.library import all_sides
from hmrfit.fitting.mean_answer import MeanAnswer
from hmrfit.fitting.mend_labels import MendLabels
from hmrfit.fitting.other_sides import HandEstimate
from hmrfit.fitting.parameters import GROUPS
from hmrfit.fitting.schedule import (
    BESIDE_ESTIMATE,
    FINAL,
    FROM_SCRATCH,
    WIDE,
    Schedule,
    from_given,
    from_initial_estimate,
    from_library,
)
from hmrfit.fitting.solver import Options
from hmrfit.fitting.starts import GivenStart, InitialEstimate, Library, MeanPose, Start, turn_ambiguous
from hmrfit.fitting.terms.anchor import AnchorPrior
from hmrfit.fitting.terms.base import MOST_WEIGHT, Measurement, Term, terms_by_name
from hmrfit.fitting.terms.discriminators import DiscriminatorTerm
from hmrfit.fitting.terms.finger_limits import FingerLimits
from hmrfit.fitting.terms.fingers_apart import fingers_apart
from hmrfit.fitting.terms.joint_limits import JointLimitPrior
from hmrfit.fitting.terms.keypoints_3d import Keypoints3D
from hmrfit.fitting.terms.pose_prior import PosePrior
from hmrfit.fitting.terms.reprojection import Reprojection, StudentReprojection
from hmrfit.fitting.terms.shape import ShapePrior
from hmrfit.fitting.terms.smplify_spin import PixelReprojection, smplify_spin_terms
from hmrfit.fitting.terms.upright import Upright
from hmrfit.fitting.uncertainty import Calibration, Weight
from hmrfit.network.checkpoints import load_error_model, load_label_model, load_mixture
from hmrfit.network.error_model import ErrorModel
from hmrfit.network.hand_estimate import HandHmr
from hmrfit.network.inference import ReadLater, packed
from hmrfit.network.initial_estimate import KeypointHmr
from hmrfit.network.label_model import LabelModel
from hmrfit.network.moved_keypoints import MovedKeypoints
from hmrfit.ops.check import did_you_mean, numbers
from hmrfit.ops.rotation import mirror
from hmrfit.priors.biomechanics import HandLimits
from hmrfit.priors.discriminator_prior import DiscriminatorPrior
from hmrfit.priors.gmm import PoseGmm
from hmrfit.priors.limits import JointLimits
from hmrfit.with_hands import AUTO, BODY, BODY_WITH_HANDS, hand_parts

OPTION_KEYS = tuple(field.name for field in fields(Options))
STAGE_KEYS = ("weights", "factors", "free", "keep", *OPTION_KEYS)

MIRROR = "mirror:"
"""Before a hand's name or path: the mirror image of that hand, which is the other one."""

NETWORKS_BODIES, NETWORKS_HAND = (BODY, BODY_WITH_HANDS), "free_hand"
"""The bodies and the hand whose betas the shipped networks speak of."""

RANGES = {"FIT.HYPOTHESES": (0, 100), "FIT.LIBRARY": (1, 100_000), "FIT.SIGMA": (0, 10)}
"""What these settings may be. A hundred hypotheses of a batch of people take a gigabyte."""

SIGMA = 0.06
"""The robust scale of `reprojection`, a fraction of the box."""

Prior = TypeVar("Prior", PoseGmm, JointLimits)


def parameter_files(config: CfgNode) -> tuple[Path, ...]:
    """The files of parameters that a fit with these settings reads. Errors: those of `locate`."""
    priors = config.PRIORS
    names = [
        config.BODY.PATH.removeprefix(MIRROR),
        priors.GMM,
        priors.LIMITS,
        priors.HAND_LIMITS,
        "" if priors.HANDS == AUTO else priors.HANDS,
        priors.INITIAL_ESTIMATE,
        priors.DISCRIMINATORS,
        priors.IMAGE_ESTIMATE,
        priors.KEYPOINT_OFFSETS,
    ]
    if priors.INITIAL_ESTIMATE and uses_error_model(config):
        names += [priors.ERROR_MODEL, priors.MIXTURE, priors.LABELS]
    return tuple(locate(name) for name in names if name)


def uses_error_model(config: CfgNode) -> bool:
    """Whether the fit of these settings is anchored at the initial estimate."""
    if config.FIT.START == "auto":
        return not config.FIT.STAGES
    stages = config.FIT.STAGES
    return config.FIT.START == "initial_estimate" and (not stages or any("anchor" in _weights(s) for s in stages))


def device_of(name: str, key: str) -> str:
    """ "cuda" or "cpu" of a setting; where it says "auto", the GPU if there is one. key: what the setting is called."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"{key} is cuda, but torch finds no GPU here. Use auto or cpu.")
    return "cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu"


@dataclass(frozen=True)
class Schedules:
    """What the settings mean for each kind of call."""

    fit: Schedule
    given: Schedule  # with init=
    views: Schedule  # of fit_views
    views_given: Schedule  # of fit_views with init=

    def each(self, change: Callable[[Schedule], Schedule]) -> "Schedules":
        """Every schedule changed."""
        return Schedules(*(change(getattr(self, field.name)) for field in fields(self)))

    def labels(self, init: object = None, measurements: Sequence[Measurement] = ()) -> LabelModel | None:
        """What knows how wrong names of keypoints look; None where names are taken at their word: by the settings, or
        since a start or points in 3D are given, of which somebody knows whose they are."""
        if init is not None or any(one.name == Keypoints3D.name for one in measurements):
            return None
        return next((step.model for step in self.fit.after if isinstance(step, MendLabels)), None)

    @property
    def of_frames(self) -> Schedule:
        """Of the frames of one camera."""
        return self.fit.with_names_as_given()


def build_fitter(config: CfgNode) -> Fitter:
    """Body, terms and schedules, put together, on the device of the settings."""
    fitter, _ = build_parts(config)
    return fitter


def build_parts(config: CfgNode) -> tuple[Fitter, Schedules]:
    """The fitter, and the schedules of all calls. Errors: those of the files, and ConfigError."""
    for key, (low, high) in RANGES.items():
        section, name = key.split(".")
        numbers(config[section][name], key, "one number", (), low, high)
    device = device_of(config.FIT.DEVICE, "FIT.DEVICE")
    gmm, body = PoseGmm.from_file(locate(config.PRIORS.GMM)), load_body(config.BODY.PATH)
    if (side := side_of(body.skeleton)) and any(not name.startswith(side) for name in gmm.joint_names):
        gmm = gmm.mirrored()
    own = _of_body(gmm, body, "PRIORS.GMM", config)
    body = body.driving(own.joint_names or body.joint_names[1:])
    terms = build_terms(config, own, body)
    schedules = with_more_terms(build_schedules(config, gmm, terms, body), config.FIT.TERMS, terms)
    hands = hand_parts(config, body) if uses_error_model(config) and config.PRIORS.INITIAL_ESTIMATE else None
    if hands is not None:
        terms |= terms_by_name(hands.terms)
        schedules = schedules.each(lambda schedule: replace(schedule, hands=hands.stage(schedule.stages[-1])))
    join = None if hands is None else hands.join
    fitter = Fitter(body, terms, schedules.fit, schedules.given, join, _offsets(config))
    return (fitter if device == "cpu" else fitter.on(device)), schedules


def build_schedules(config: CfgNode, gmm: PoseGmm, terms: Mapping[str, Term], body: SmplBody) -> Schedules:
    """The schedules that the settings mean. gmm: about whichever joints; poses of it are brought to the body's."""
    name = config.PRIORS.INITIAL_ESTIMATE
    side = side_of(body.skeleton)
    is_hand = side is not None
    if name and not is_hand and body.skeleton.root != SMPL.root:
        raise ConfigError(
            f"PRIORS.INITIAL_ESTIMATE: '{name}' estimates whole bodies, and {config.BODY.PATH} hangs on "
            f"'{body.skeleton.root}'. Set it to an empty text; the fit then starts at init= or from a library."
        )
    network = KeypointHmr.from_file(locate(name)) if name and not is_hand else None
    hand_estimate = _hand_estimate(config, side) if name and side is not None else None
    if network is not None and (offsets := _offsets(config)) is not None:
        network = network.seeing(MovedKeypoints(load_body(BODY), offsets))
    drawn = config.FIT.LIBRARY
    drawn = HAND_POSES if is_hand and drawn == default_of("FIT.LIBRARY") else drawn
    if side == "left":  # exactly the mirror image of a right hand's
        poses = library_poses(gmm.mirrored(), drawn, config.SEED, mirrored_skeleton(body.skeleton))
        poses = mirrored_turns(poses)
    else:
        poses = library_poses(gmm, drawn, config.SEED, body.skeleton)
    usual = HAND_STARTS if is_hand else FROM_SCRATCH if network is None else BESIDE_ESTIMATE
    count = config.FIT.HYPOTHESES or usual
    library, mean = Library(poses, count, network=network), _placed(gmm.weights @ gmm.means, gmm, body.skeleton)
    if is_hand:  # it is upright in no picture
        views = all_sides(HAND_VIEWS)
        library = replace(library, views=mirror(views) if side == "left" else views, roll_sigma=torch.inf)
    estimate = (
        None if network is None else InitialEstimate(network, _error_model(config), config.BODY.PATH in NETWORKS_BODIES)
    )
    if config.FIT.STAGES:
        return _own_schedules(config, _start(config, library, estimate or hand_estimate, mean), terms)
    if config.FIT.CALIBRATION.NU > 0:
        raise ConfigError("FIT.CALIBRATION is about the stages of FIT.STAGES, which are not given. Leave it out.")
    scratch = from_hand_library(library, constraints(terms)) if is_hand else from_library(library)
    from_one = replace(scratch, start=GivenStart())
    if config.FIT.START in ("auto", "initial_estimate") and estimate is not None and estimate.error_model is not None:
        seeker = _seeker(config, estimate)
        default = from_initial_estimate(estimate, library, seeker, _mend_labels(config, estimate))
        default = _with_mean_answer(default, config)
        return Schedules(default, from_given(), scratch, from_one)
    if config.FIT.START in ("auto", "initial_estimate") and hand_estimate is not None:
        given = replace(from_given(), calibration=None)  # it was measured on bodies
        default = from_hand_estimate(hand_estimate, library, constraints(terms))
        return Schedules(default, given, scratch, from_one)
    if config.FIT.START in ("auto", "library"):
        given = replace(from_given(), calibration=None) if is_hand else from_given()  # it was measured on bodies
        return Schedules(scratch, given, scratch, from_one)
    return _own_schedules(config, _start(config, library, estimate or hand_estimate, mean), terms, (WIDE, FINAL))


def _hand_estimate(config: CfgNode, side: str) -> HandEstimate:
    """The initial estimate of hands. ConfigError: the settings' network is not of hands."""
    name, hand = config.PRIORS.INITIAL_ESTIMATE, config.BODY.PATH.removeprefix(MIRROR)
    try:
        return HandEstimate(HandHmr.from_file(locate(name), side), hand == NETWORKS_HAND)
    except ValueError as error:
        raise ConfigError(f"PRIORS.INITIAL_ESTIMATE: '{name}' does not go with a hand. {error}") from None


def _error_model(config: CfgNode) -> ErrorModel | None:
    """The error model ready for inference, where these settings use it."""
    name = config.PRIORS.ERROR_MODEL
    return packed(load_error_model(locate(name))) if name and uses_error_model(config) else None


def _offsets(config: CfgNode) -> PointOffsets | None:
    """Where the detector's keypoints lie on the body, where the settings say it."""
    name = config.PRIORS.KEYPOINT_OFFSETS
    if not name:
        return None
    offsets = PointOffsets.from_file(locate(name))
    if offsets.body != config.BODY.PATH:
        raise ConfigError(
            f"PRIORS.KEYPOINT_OFFSETS: '{name}' was learned with the body {offsets.body}, whose points are others than "
            f"those of {config.BODY.PATH}. Leave it out, or take that body."
        )
    return offsets


def _seeker(config: CfgNode, estimate: InitialEstimate) -> OtherAnswers | None:
    """What finds other answers beside those from the initial estimate, where the settings name its network."""
    name = config.PRIORS.MIXTURE
    if not name:
        return None
    return OtherAnswers(estimate.network, ReadLater(partial(load_mixture, locate(name))), estimate.own_shapes)


def with_more_terms(schedules: Schedules, names: Sequence[str], known: Mapping[str, Term]) -> Schedules:
    """The schedules with more terms in every stage. ConfigError: there is no such term."""
    for name in names:
        if name not in known:
            raise ConfigError(f"FIT.TERMS: there is no built-in term '{name}'.{did_you_mean(str(name), known)}")
    if not names:
        return schedules
    added = lambda stage: replace(stage, weights={**dict.fromkeys(names, 1.0), **stage.weights})  # noqa: E731
    return schedules.each(lambda schedule: schedule.with_stages(added))


def _with_mean_answer(schedule: Schedule, config: CfgNode) -> Schedule:
    """The schedule whose answer is the mean of all answers, where the settings ask for it."""
    if config.FIT.ANSWER == "fit":
        return schedule
    if schedule.seeker is None:
        raise ConfigError(
            "FIT.ANSWER is mean, but PRIORS.MIXTURE is empty: there are no other answers. Name a mixture."
        )
    return replace(schedule, after=(*schedule.after, MeanAnswer(schedule.seeker)))


def _mend_labels(config: CfgNode, estimate: InitialEstimate) -> MendLabels | None:
    """What mends the names of keypoints, where the settings name its network."""
    name = config.PRIORS.LABELS
    return MendLabels(estimate, ReadLater(partial(load_label_model, locate(name)))) if name else None


def _start(config: CfgNode, library: Library, estimate: InitialEstimate | HandEstimate | None, mean: Tensor) -> Start:
    """The start that FIT.START names, for stages of one's own."""
    if config.FIT.START == "mean_pose":
        return MeanPose(mean)
    if config.FIT.START in ("auto", "library"):
        return library
    if estimate is None:
        raise ConfigError(
            "FIT.START: initial_estimate needs a network: set PRIORS.INITIAL_ESTIMATE, or START: mean_pose."
        )
    return estimate


def _own_schedules(
    config: CfgNode, start: Start, terms: Mapping[str, Term], stages: Sequence[Stage] | None = None
) -> Schedules:
    """The schedules of FIT.STAGES from a start. From the mean pose two hypotheses are kept until the end, where the one
    nearer to its keypoints is taken, as SMPLify does."""
    stages = stages or [_stage(entry) for entry in config.FIT.STAGES]
    calibration = _calibration(config, stages[-1], terms)
    alone = Schedule(GivenStart(), tuple(stages), (Accept(),) if isinstance(start, Library) else (), calibration)
    if isinstance(start, MeanPose):
        near = tuple(name for name in stages[-1].weights if isinstance(terms.get(name), PixelReprojection))
        stages = [replace(stage, keep=max(2, stage.keep)) for stage in stages]
        stages[0] = replace(stages[0], branch=turn_ambiguous)
        stages[-1] = replace(stages[-1], keep=1, rank_by=near)
    own = replace(alone, start=start, stages=tuple(stages))
    return Schedules(own, alone, own, alone)


def _calibration(config: CfgNode, stage: Stage, terms: Mapping[str, Term]) -> Calibration | None:
    """What FIT.CALIBRATION says of the last stage's energy."""
    how = config.FIT.CALIBRATION
    if not how.NU > 0:
        return None
    if any(len(numbers) != 3 for numbers in (how.KEYPOINTS, how.OTHERS)):
        raise ConfigError("FIT.CALIBRATION: KEYPOINTS and OTHERS hold three numbers each: [factor, hidden, noise].")
    about = {name for name, term in terms.items() if isinstance(term, PixelReprojection)}
    parts = {name: how.KEYPOINTS if name in about else how.OTHERS for name in stage.weights}
    weights = {name: Weight(w * parts[name][0], *parts[name][1:]) for name, w in stage.weights.items()}
    return Calibration(weights, how.NU, "residuals")


def _stage(stage: Mapping[str, Any]) -> Stage:
    """One entry of FIT.STAGES."""
    if not isinstance(stage, Mapping) or not {"weights", "factors"} & set(stage):
        example = "{weights: {reprojection: 16, gmm: 1}}"
        raise ConfigError(f"Each entry of FIT.STAGES is written {example}, not {stage!r}.")
    for key in stage:
        if key not in STAGE_KEYS:
            raise ConfigError(f"FIT.STAGES: there is no setting {key}.{did_you_mean(key, STAGE_KEYS)}")
    for key in (k for k in ("keep", *OPTION_KEYS) if k in stage):
        numbers(stage[key], f"FIT.STAGES: {key}", "one number", (), 1 if key == "keep" else 0)
    options = Options(**{k: v for k, v in stage.items() if k in OPTION_KEYS})
    free = tuple(stage.get("free", GROUPS))
    for kind in ("weights", "factors"):
        for name, weight in stage.get(kind, {}).items():
            what = f"one number from 0 to {MOST_WEIGHT:g}"
            numbers(weight, f"FIT.STAGES: {kind}: {name}", what, (), 0.0, MOST_WEIGHT)
    return Stage(_weights(stage), free, options, keep=int(stage.get("keep", 1)))


def _weights(stage: Mapping[str, Any]) -> dict[str, float]:
    """A stage's weights; factors are their roots."""
    squared = {name: w * w for name, w in stage.get("factors", {}).items()}
    return {**stage.get("weights", {}), **squared}


def unused_settings(config: CfgNode, schedule: Schedule) -> str:
    """A sentence about the settings that were changed and that this schedule does not use; empty where there are none.

    The nearest settings that it does use are named.
    """
    library = isinstance(schedule.start, Library)
    mean = any(isinstance(step, MeanAnswer) for step in schedule.after)
    belongs = {
        "FIT.ANSWER": (mean, "have other answers: of photographs, from the initial estimate"),
        "FIT.HYPOTHESES": (library, "start from a library, as those with FIT.START=library do"),
        "FIT.LIBRARY": (library, "start from a library, as those with FIT.START=library do"),
        "FIT.SIGMA": (
            "reprojection" in schedule.used_terms,
            "have the term 'reprojection'; FIT.START=library has it, and stages of FIT.STAGES that name it. The weight "
            "of the keypoints is changed by weights={'keypoints': ...}",
        ),
    }
    for key, (used, what) in belongs.items():
        section, name = key.split(".")
        if not used and config[section][name] != default_of(key):
            return f"{key} changes nothing here: only fits use it that {what}. Leave it out, or choose such a fit."
    return ""


@cache
def load_body(path: str) -> SmplBody:
    """A body by name or path, float64, read once per process; "mirror:NAME" is the other hand of a hand's file. Errors:
    those of `locate`, `read_body_file` and `mirrored_hand`."""
    if path.startswith(MIRROR):
        return mirrored_hand(load_body(path.removeprefix(MIRROR)))
    return SmplBody.from_file(locate(path))


@cache
def load_posed_body(path: str, kind: str) -> BodyModel:
    """The body that makes the meshes: our own skinning, or the smplx package's on the same file."""
    return (
        load_body(path)
        if kind == "smpl" or path.startswith(MIRROR)
        else SmplxBody.from_file(locate(path), dtype=torch.float64)
    )


@cache
def load_points(path: str, names: tuple[str, ...]) -> PointBody:
    """A body reduced to the keypoints of these names."""
    return load_body(path).points(names)


def default_terms(gmm: PoseGmm, limits: JointLimits, sigma: float = SIGMA) -> list[Term]:
    """The terms of the default schedules. sigma: the robust scale at the end, a fraction of the box."""
    wide, final = Reprojection(0.3, "reprojection_wide"), Reprojection(sigma)
    gaussian = StudentReprojection(nu=torch.inf, name="keypoints_gaussian")
    own: list[Term] = [AnchorPrior(), StudentReprojection(), gaussian, wide, final]
    return [*own, PosePrior(gmm), JointLimitPrior(limits), ShapePrior(), Upright()]


def build_terms(config: CfgNode, gmm: PoseGmm, body: SmplBody) -> dict[str, Term]:
    """The terms that stages can name: ours, then SMPLify's and SPIN's; the discriminators are read when one does."""
    name = config.PRIORS.LIMITS
    limits = JointLimits.from_file(locate(name)) if name else JointLimits.none(body.skeleton)
    limits = _of_body(limits, body, "PRIORS.LIMITS", config)
    terms = [*default_terms(gmm, limits, config.FIT.SIGMA or SIGMA), *smplify_spin_terms(body, gmm)]
    if side_of(body.skeleton) is not None:
        if config.PRIORS.HAND_LIMITS:
            terms.append(FingerLimits(body, HandLimits.from_file(locate(config.PRIORS.HAND_LIMITS))))
        terms += fingers_apart(body)
    if config.PRIORS.DISCRIMINATORS:
        path = locate(config.PRIORS.DISCRIMINATORS)
        terms.append(DiscriminatorTerm(partial(_discriminators, path, body.skeleton)))
    return terms_by_name(terms)


def _discriminators(path: Path, skeleton: Skeleton) -> DiscriminatorPrior:
    """The discriminators of a file, for a body's joints."""
    return DiscriminatorPrior.from_file(path).for_skeleton(skeleton)


def library_poses(gmm: PoseGmm, count: int, seed: int, skeleton: Skeleton = SMPL) -> Tensor:
    """(N, 3 (J-1)) poses to start from: the mixture's means and `count` draws, joints that it does not know at rest.

    Of a mixture of SMPL's joints, the mirror images of the draws too: the flipped photograph starts at the mirrored
    poses.
    """
    drawn = gmm.sample(count, torch.Generator().manual_seed(seed))
    parts = [gmm.mean_poses(), drawn]
    if gmm.joint_names == SMPL.names[1:]:  # a hand's mirror image is another body
        across = torch.tensor(SMPL.mirror[1:]) - 1
        parts.append(mirrored_turns(drawn.unflatten(1, (-1, 3))[:, across].flatten(1)))
    return _placed(torch.cat(parts), gmm, skeleton)


def _placed(theta: Tensor, gmm: PoseGmm, skeleton: Skeleton) -> Tensor:
    """Poses (..., D) of the mixture's joints as poses (..., 3 (J-1)) of a body; its other joints are at rest."""
    names = gmm.joint_names or skeleton.names[1:]
    if names == skeleton.names[1:]:
        return theta
    shared = skeleton.shared_with(names)
    placed = theta.new_zeros(*theta.shape[:-1], skeleton.pose_size - 3)
    own = [3 * names.index(name) + axis for name in shared for axis in range(3)]
    placed[..., list(skeleton.columns(shared))] = theta[..., own]
    return placed


def _of_body(prior: Prior, body: SmplBody, key: str, config: CfgNode) -> Prior:
    """The prior of the settings' `key` as this body's. ConfigError: they have no joint in common."""
    try:
        return prior.for_skeleton(body.skeleton)
    except ValueError as error:
        section, name = key.split(".")
        raise ConfigError(
            f"{key}: {config[section][name]} does not go with the body {config.BODY.PATH}. {error} Give the prior of "
            "this body."
        ) from None
