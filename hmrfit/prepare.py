"""A call made ready, before any work: its measurements read, and the schedule with their terms and the caller's own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from numpy.typing import ArrayLike
from torch import Tensor
from yacs.config import CfgNode

from hmrfit.body.smpl import SmplBody
from hmrfit.build import unused_settings
from hmrfit.camera import Camera
from hmrfit.fitting.check_term import try_terms
from hmrfit.fitting.fitter import Fitter
from hmrfit.fitting.schedule import Schedule
from hmrfit.fitting.starts import GivenStart, InitialEstimate
from hmrfit.fitting.terms.base import MOST_WEIGHT, Known, Measurement, ResidualFunction, Term, terms_by_name
from hmrfit.fitting.terms.reprojection import StudentReprojection
from hmrfit.io.photo import Photo
from hmrfit.keypoints import KeypointsFrom
from hmrfit.likely_up import LIKELY, UpLike, checked_up, refuse_in_world
from hmrfit.ops.check import brief_repr, did_you_mean, numbers
from hmrfit.ops.how_many import how_many
from hmrfit.ops.level import unit_up
from hmrfit.several import Extrinsics
from hmrfit.types import RecordTable

INIT_STDS = (1e-3, 360.0)
"""Degrees, what `init_std` may be."""

SAME_UP = 0.9986
"""Cosine of three degrees: directions nearer to each other are the same."""

TermLike = Term | ResidualFunction | str
"""A term of the energy, a plain function (state, output, observation) -> (B, M), or the name of a built-in term."""


@dataclass(frozen=True)
class Asked:
    """What a caller asks of the energy itself."""

    terms: Sequence[TermLike] = ()
    weights: Mapping[str, float] | None = None
    noise: str = ""  # the argument about the keypoints' noise that is given, if one is


def noise_argument(source: KeypointsFrom | None, std: ArrayLike | None) -> str:
    """The one of the two arguments that is given; empty where none is."""
    return "keypoint_source" if source is not None else "keypoint_std" if std is not None else ""


@dataclass(frozen=True)
class Prepared:
    """A call made ready: the fitter with the call's own terms, the records they look at, and what is known in words."""

    fitter: Fitter
    records: RecordTable
    summaries: dict[str, str]  # by the measurement's name
    warnings: tuple[tuple[str, ...], ...]  # of each person

    def photo(self, photo: Photo) -> Photo:
        """The photograph with the warnings that the measurements give rise to."""
        if not any(self.warnings):
            return photo
        return replace(photo, warnings=tuple(a + b for a, b in zip(photo.warnings, self.warnings, strict=True)))


def prepare(
    fitter: Fitter, config: CfgNode, schedule: Schedule, photo: Photo, found: Mapping[str, Known], asked: Asked
) -> Prepared:
    """The fitter of one call: its schedule with the terms of what is known and of the caller's own.

    Args:
        photo: on whose people the caller's own terms are tried. found: what is known of them, one row each.

    Raises:
        ValueError, TypeError: a term, weight or setting that cannot be used, before any work.
    """
    staged = [one for of_kind in found.values() for one in of_kind.terms]
    terms = fitter.terms | terms_by_name([one.term for one in staged])
    weights = {} if asked.weights is None else asked.weights
    schedule, terms = extended(schedule.with_terms(staged), terms, asked.terms, weights)
    _check_anchor(schedule)
    check_noise(schedule, terms, asked.noise)
    if unused := unused_settings(config, schedule):
        raise ValueError(unused)
    records = RecordTable({name: of_kind.record for name, of_kind in found.items()})
    own = [term for term in asked.terms if not isinstance(term, str)]
    if own:
        try_terms(own, fitter.point_body(photo.people[0].names), photo.keypoints, photo.camera, records)
    summaries = {name: of_kind.summary for name, of_kind in found.items() if of_kind.summary}
    return Prepared(fitter.with_schedule(schedule, schedule, terms), records, summaries, _warnings(found, len(photo)))


def read_measurements(
    measurements: Sequence[Measurement], photo: Photo, body: SmplBody, world: Extrinsics | None = None
) -> dict[str, Known]:
    """Name -> what each measurement says of the people of a photograph, in its camera's frame.

    Args:
        world: of this one camera, where the measurements are in the world of the extrinsics.

    Raises:
        ValueError, TypeError: those of `check_measurements`, or what a measurement holds.
    """
    check_measurements(measurements)
    found = {one.name: one.read(photo, body) for one in measurements}
    for one in measurements:
        known = found[one.name]
        if world is not None:
            record = one.seen_from(known.record, world.rotation, world.translation)
            found[one.name] = known = replace(known, record=record)
        one.check_in_camera(known.record)
    return found


def check_measurements(measurements: Sequence[Measurement]) -> None:
    """That these are measurements, at most one of a kind. Errors: ValueError, TypeError."""
    if isinstance(measurements, Measurement) or not isinstance(measurements, Sequence):
        raise TypeError(
            f"measurements should be a list, such as [hmrfit.Height(1.82)], not {brief_repr(measurements)}."
        )
    kinds = set()
    for one in measurements:
        if not isinstance(one, Measurement):
            known = "Mask, Silhouette, Height, Shape, Gender, Age, Keypoints3D, Floor and Up"
            raise TypeError(f"measurements should hold hmrfit's {known}, not {brief_repr(one)}.")
        if one.name in kinds:
            raise ValueError(
                f"measurements holds two of the kind {type(one).__name__}. Give one, with all people in it."
            )
        kinds.add(one.name)


def _warnings(found: Mapping[str, Known], people: int) -> tuple[tuple[str, ...], ...]:
    """Of each person, from all measurements."""
    lists = [known.warnings for known in found.values() if known.warnings]
    return tuple(tuple(w for of_kind in lists for w in of_kind[i]) for i in range(people))


def known_up(up: UpLike, measurements: Sequence[Measurement], camera: Camera | None) -> UpLike:
    """What points up: what is given, else what a measurement says, the floor's own direction. They must agree. "likely"
    where that is asked for and nothing says it.

    Args:
        camera: in whose frame it is; None: in the world of the extrinsics.
    """
    likely = isinstance(checked_up(up), str)
    found = {} if up is None or likely else {"up": unit_up(up)}
    for one in measurements:
        direction = one.upright(camera)
        if direction is not None:
            found[f"{type(one).__name__}'s"] = direction
    first = next(iter(found), None)
    for name, direction in found.items():
        if float(direction @ found[first or name]) < SAME_UP:
            raise ValueError(
                f"{first} is {found[first or name].tolist()}, but {name} is {direction.tolist()}. Give one of them, or "
                "the same."
            )
    if first is None and likely and camera is None:
        refuse_in_world(LIKELY)
    return (LIKELY if likely else None) if first is None else found[first]


def extended(
    schedule: Schedule, known: Mapping[str, Term], terms: Sequence[TermLike], weights: Mapping[str, float]
) -> tuple[Schedule, dict[str, Term]]:
    """The schedule with more terms and other weights, and the terms by name.

    Args:
        terms: in every stage, with weight 1 where `weights` names none.
        weights: by term, in the stages that use it; 0 leaves a term out.

    Raises:
        ValueError: a weight for a term that the stages do not use, with the nearest that they do, or one that is no
            weight; a term of the name of another. TypeError: terms or weights of another kind.
    """
    if not isinstance(weights, Mapping):
        raise TypeError(f"weights should be a dictionary of numbers by the name of a term, not {brief_repr(weights)}.")
    if not isinstance(terms, Sequence) or isinstance(terms, str):
        raise TypeError(
            f"terms should be a list of functions or Terms, not {brief_repr(terms)}. For one: terms=[term]."
        )
    if not len(terms) and not weights:
        return schedule, dict(known)
    added = _added(terms, known)
    if added:
        more = dict.fromkeys(added, 1.0)
        schedule = schedule.with_stages(lambda stage: replace(stage, weights={**stage.weights, **more}))
    used = schedule.term_names
    for name, weight in weights.items():
        if name not in used:
            near = did_you_mean(str(name), used)
            unused = f" There is a term of this name; terms=['{name}'] adds it." if name in known else ""
            raise ValueError(
                f"weights: this fit has no term {brief_repr(name)}.{near} It has: {', '.join(used)}.{unused}"
            )
        numbers(weight, f"The weight of '{name}'", f"one number from 0 to {MOST_WEIGHT:g}", (), 0.0, MOST_WEIGHT)
    asked = {name: float(weight) for name, weight in weights.items()}
    changed = schedule.with_stages(
        lambda stage: replace(stage, weights={name: asked.get(name, w) for name, w in stage.weights.items()})
    )
    if not all(any(stage.weights.values()) for stage in changed.stages):
        raise ValueError("weights: with these, a stage of the fit has no term with a weight above 0. Leave one in.")
    return changed, {**known, **added}


def _added(terms: Sequence[TermLike], known: Mapping[str, Term]) -> dict[str, Term]:
    """The caller's terms by name."""
    own: list[Term | ResidualFunction] = []
    for term in terms:
        if isinstance(term, str):
            if term not in known:
                raise ValueError(f"terms: there is no built-in term '{term}'.{did_you_mean(term, known)}")
            own.append(known[term])
        elif (not callable(term) and not isinstance(term, Term)) or isinstance(term, type):
            raise TypeError(
                f"terms should hold functions (state, output, observation) or Terms, not {brief_repr(term)}."
            )
        else:
            own.append(term)
    added = terms_by_name(own)
    for name, term in added.items():
        if known.get(name, term) is not term:
            another = "Give yours another name: FunctionTerm(function, name)."
            raise ValueError(f"terms: the fit has a term '{name}' already. {another}")
    return added


def check_noise(schedule: Schedule, terms: Mapping[str, Term], given: str) -> None:
    """That a fit whose keypoints' noise is spoken of says how sure it is by that noise. given: the argument's name, or
    empty. Errors: ValueError."""
    weights = schedule.stages[-1].weights
    knows = any(isinstance(terms[name], StudentReprojection) and weight for name, weight in weights.items())
    if given and not knows:
        raise ValueError(
            f"{given} changes nothing here: it is about the noise in the term 'keypoints', and this fit ends without "
            f"it ({', '.join(weights)}). Leave it out, or choose a fit that has it, as the default of hmrfit.fit."
        )


def checked_init_std(std: float | Sequence[float], init: object, schedule: Schedule, joints: int) -> Tensor:
    """Degrees, () or (joints,), how wrong a given start is. schedule: that of fits with one. Errors: ValueError."""
    if init is None:
        raise ValueError("init_std says how wrong init= is, which is not given. Give it, or leave both out.")
    if not any(stage.weights.get("anchor") for stage in schedule.stages):
        raise ValueError(
            "init_std changes nothing with these settings: it is the width of the term 'anchor', which no stage of "
            "FIT.STAGES has. Leave it out, or give the term a weight there."
        )
    what = f"degrees, positive, one number or one for each of the {how_many(joints, 'joints')}"
    checked = numbers(std, "init_std", what, None, *INIT_STDS)
    if checked.shape not in ((), (joints,)):
        raise ValueError(f"init_std should be {what}, but has the shape {checked.shape}.")
    return torch.tensor(checked)


def _check_anchor(schedule: Schedule) -> None:
    """That a stage which weighs the anchor begins at a start that has one."""
    anchored = any(stage.weights.get("anchor") for stage in schedule.stages)
    start = schedule.start
    has = isinstance(start, GivenStart) or (isinstance(start, InitialEstimate) and start.error_model is not None)
    if anchored and not has:
        raise ValueError(
            "The term 'anchor' is the Gaussian prior centred at the start, and this fit begins at several starts or at "
            "one whose error is not known. Leave it out, or set FIT.START: initial_estimate."
        )
