"""From a batch's outcome to the results that users get, one a photograph, with the warnings that only it can give."""

import logging
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hmrfit.body.mirrored import side_of
from hmrfit.build import load_points
from hmrfit.fitting.exchanged_sides import exchanged_sides
from hmrfit.fitting.finite import ENDS, NO_NUMBERS, only_numbers
from hmrfit.fitting.fit import Fit, Mended
from hmrfit.fitting.fitter import Fitter
from hmrfit.fitting.mend_labels import as_fitted
from hmrfit.fitting.other_hand import other_hands, warning_of_side
from hmrfit.fitting.parameters import State
from hmrfit.fitting.terms.gender_age import Age
from hmrfit.fitting.terms.mask import NEAR, Mask, MaskMap, look_up
from hmrfit.fitting.uncertainty import UNKNOWN_SOURCE, KeypointNoise, mixed_joint_covariance
from hmrfit.io.keypoint_checks.residuals import unmet_keypoints
from hmrfit.io.keypoint_checks.sides import SWAPPED, swapped
from hmrfit.io.photo import Photo
from hmrfit.io.printable import printable
from hmrfit.keypoints import LIMBS
from hmrfit.network.label_model import EXCHANGES, places_as_fitted
from hmrfit.ops.how_many import how_many
from hmrfit.result import FitResult
from hmrfit.result_data import Origin
from hmrfit.result_text import shortened, warning_lines
from hmrfit.types import RecordTable
from hmrfit.version import __version__

LOGGER = logging.getLogger("hmrfit")

FEW_KEYPOINTS = 6
"""Fewer say too little: five points are ten numbers, a pose alone has 69."""

FEW_SEEN = "Only"
"""How the warning of few keypoints begins."""

POOR = 0.06
"""Mean distance of body and keypoints, a fraction of the box, from which the fit is called into question. Good fits of
labelled people have 0.01 to 0.03."""

UNLIKELY_BETA = 4.0
"""Standard deviations. Of 10,000 adults, fewer than ten have such a component among ten."""

_EXCHANGES = list(EXCHANGES)

UNDONE = "it was fitted with them exchanged back, which is likelier (PRIORS.LABELS='' takes them as they are)"
OTHERS_LIMB = (
    "The keypoints of the {} look like another person's and were left out (PRIORS.LABELS='' takes them as they are)."
)
"""What is said of names that were mended."""

Exchanged = Callable[[Fit, Tensor], Sequence[str | None]]
"""From a fit and (B, K) how far off each keypoint is, fractions of the box, the warning of each row whose left and
right seem to be exchanged."""

MASK_MEETS, INVERTED = 0.5, 0.25
"""How much of the keypoints' confidence a mask holds that is this person's, even of one who is half hidden; and how
much more of it lies outside where the mask is inverted. Keypoints near its edge lie on both sides: limbs are thin."""


def result_of(
    fit: Fit,
    photo: Photo,
    rows: Tensor,
    fitter: Fitter,
    body: tuple[str, str],
    measurements: Mapping[str, str],
    exchanged: Exchanged | None = None,
) -> FitResult:
    """The part of a batch's outcome that is one photograph's.

    Args:
        body: name or path, and kind, of the one for meshes. measurements: what was believed, in words. exchanged: what
            looks for left and right that are exchanged, in frames of one person; by default, the rows are of several
            people, and each is fitted with them exchanged back.
    """
    fit = only_numbers(fit.of(rows), fitter.body)
    said = mended_names(fit.mended, len(fit))
    origin = Origin(
        keypoints=as_fitted(photo.keypoints, fit.mended),
        focal_source=photo.focal_source,
        warnings=[[*warnings, *more] for warnings, more in zip(photo.warnings, said, strict=True)],
        person_ids=[person.person_id for person in photo.people],
        left_out=dict(photo.left_out),
        measurements=dict(measurements),
        image_path=None if photo.path is None else photo.path.resolve(),
        body=body[0],
        body_kind=body[1],
        gender=fitter.body.gender,
        keypoint_offsets=None if (offsets := fitter.offsets_of(photo.keypoints.names)) is None else offsets.numpy(),
        versions=_versions(),
    )
    fit = replace(fit, state=State(fit.state.params, photo.camera))
    people = photo.people
    noise = KeypointNoise.of([p.made_by for p in people], _stds_as_fitted(photo, fit.mended), len(people[0]))
    fit = replace(fit, keypoint_noise=noise)
    if fitter.weighs_noise(fit):
        known = ["given" if p.std is not None else p.made_by or UNKNOWN_SOURCE for p in people]
        origin = replace(origin, keypoint_source=known)
    result = FitResult(fit, origin, seek=fitter.answers, terms=fitter.terms, image=photo.image)
    _check(result, fitter, exchanged)
    _check_mask(result, fit.observation.measurements)
    for who, reason in result.left_out.items():
        LOGGER.warning("%s: person %s is left out: %s", result.name, who, reason)
    return result


def _stds_as_fitted(photo: Photo, mended: Mended | None) -> list[NDArray[np.float64] | None]:
    """Everybody's known noise, which goes with a keypoint where it is given another name."""
    stds = [person.std for person in photo.people]
    if mended is None or all(std is None for std in stds):
        return stds
    places = places_as_fitted(photo.people[0].names, mended.exchanged.cpu()).numpy()
    return [None if std is None else std[own] for std, own in zip(stds, places, strict=True)]


def mended_names(mended: Mended | None, people: int) -> list[list[str]]:
    """What was changed of the names of everybody's keypoints, in words."""
    if mended is None:
        return [[] for _ in range(people)]
    return [
        [
            *([swapped(_EXCHANGES[exchanged - 1], UNDONE)] if exchanged else []),
            *([OTHERS_LIMB.format(LIMBS[limb - 1].replace("_", " "))] if limb else []),
        ]
        for exchanged, limb in zip(mended.exchanged.tolist(), mended.left_out.tolist(), strict=True)
    ]


def log_warnings(results: Sequence[FitResult], what: str = "") -> None:
    """One record of the logger "hmrfit" for what one call fitted, if there is anything to warn of.

    Args:
        results: of one photograph, of one sequence, or of the views of one person.
    """
    warned = [result for result in results if any(result.warnings)]
    if not warned:
        return
    count = sum(len(w) for r in warned for w in r.warnings)
    title = printable(f"{what or warned[0].name}: {how_many(count, 'warnings')}")
    lines = list(dict.fromkeys(line for r in warned for line in warning_lines(r.warnings, r.rows, r.names)))
    logging.getLogger("hmrfit").warning("%s\n%s", title, "\n".join(map(printable, shortened(lines, 2))))


def compute_together(results: Sequence[FitResult]) -> None:
    """What results compute when it is first asked for, other answers, how sure the joints are, and the effect of an
    unknown focal length, for all of a batch at once: several times quicker than one result after the other, and the
    same numbers.

    Args:
        results: of one call of `Pipeline.fit_photos`; those that have it, or lack what is needed, stay as they are.
    """
    for group in _alike([r for r in results if r.known_answers is None and r.seek is not None and len(r)]):
        seek = group[0].seek
        assert seek is not None
        answers = seek(Fit.cat([result.fit for result in group]))
        points = load_points(group[0].origin.body, group[0].joint_names)
        assert answers.posterior is not None
        bodies = [state.params for state in answers.hypotheses]
        covariance = mixed_joint_covariance(points, bodies, answers.posterior).numpy()
        for result, rows in zip(group, _rows_of(group), strict=True):
            result.known_answers = answers[rows].as_many_as_there_are()
            result.joint_covariance = covariance[rows.numpy()]
    unknown = [r for r in results if r.focal_moves is None and r.terms is not None and not r.focal_known and len(r)]
    for group in _alike(unknown):
        effect = replace(group[0], fit=Fit.cat([result.fit for result in group])).focal_effect()
        for result, rows in zip(group, _rows_of(group), strict=True):
            result.focal_moves = effect[rows]


def _alike(results: Sequence[FitResult]) -> list[list[FitResult]]:
    """Groups of results that were fitted by one energy to one keypoint set."""
    groups: dict[tuple[object, ...], list[FitResult]] = {}
    for result in results:
        fit = result.fit
        key = (
            result.origin.body,
            result.keypoints.names,
            fit.stage,
            id(fit.seeker),
            fit.acceptance is None,
            fit.start is None,
        )
        groups.setdefault((repr(key), id(result.terms), fit.keypoint_noise is None), []).append(result)
    return list(groups.values())


def _rows_of(results: Sequence[FitResult]) -> Sequence[Tensor]:
    """Of each result, in the batch of all."""
    lengths = [len(result) for result in results]
    return torch.arange(sum(lengths)).split(lengths)


def _versions() -> dict[str, str]:
    """What the numbers were made with."""
    return {
        "hmrfit": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


_NAMES = (("body", "people", "person"), ("hand", "hands", "hand"))
"""What was fitted, and many and one of those who have it: of bodies, and of hands."""


def _check(result: FitResult, fitter: Fitter, exchanged: Exchanged | None) -> None:
    """Adds warnings that only the outcome can give. exchanged: as `result_of` takes it, of frames of one person."""
    who, whose, one = _NAMES[side_of(fitter.body.skeleton) is not None]
    _check_keypoints(result, exchanged or partial(_of_single_people, fitter))
    frames = exchanged is not None
    for warnings, other in zip(result.warnings, other_hands(fitter, result.fit, of_one=frames), strict=True):
        if other:
            warnings.append(warning_of_side(fitter))
    there = result.keypoints.presence > 0.5
    for i, error in enumerate(result.reprojection_error):
        if error > POOR:
            result.warnings[i].append(
                f"The {who} is on average {100 * error:.0f} % of the box away from its keypoints: look at the overlay."
            )
        beta = float(np.abs(result.betas[i]).max(initial=0.0))
        if beta > UNLIKELY_BETA and Age.name not in result.measurements:  # children are outside of the adults' shapes
            result.warnings[i].append(
                f"Few {whose} have such a shape: |beta| reaches {beta:.1f}, and above 3 is rare. Look "
                f"whether height, focal length and mask are right, and whether the keypoints are of one {one}."
            )
        if (code := int(result.fit.status[i])) in (4, NO_NUMBERS):
            result.warnings[i].append(ENDS[code])
        elif not result.accepted[i]:
            result.warnings[i].append(result.rejection_reason[i])
        seen = int(there[i].sum())
        if seen < FEW_KEYPOINTS:
            result.warnings[i].append(
                f"{FEW_SEEN} {how_many(seen, 'keypoints are', 'keypoint is')} seen: the body is mostly what is likely, "
                "not what was seen (see joint_std)."
            )


def _of_single_people(fitter: Fitter, fit: Fit, distance: Tensor) -> list[str | None]:
    """Of people who have nothing to do with each other."""
    why = "with them exchanged, a body meets the keypoints far better"
    return [None if found is None else swapped(found, why) for found in exchanged_sides(fitter, fit, distance)]


def _check_keypoints(result: FitResult, exchanged: Exchanged) -> None:
    """Warns of keypoints that are not this body's, or on its other side."""
    given = result.keypoints
    away = (result.projected.xy - given.xy).norm(dim=-1) / given.box_size().clamp_min(1.0)[:, None]
    away = torch.where(given.presence > 0.5, away, 0.0)
    for i, sides in enumerate(exchanged(result.fit, away)):
        known = any(SWAPPED in warning for warning in result.warnings[i])
        if sides is not None and not known:
            result.warnings[i].append(sides)
        elif sides is None and (unmet := unmet_keypoints(given.names, away[i].numpy())):
            result.warnings[i].append(unmet)


def _check_mask(result: FitResult, known: RecordTable) -> None:
    """Warns of masks that hardly meet the keypoints of their person."""
    record = known.get(Mask.name)
    if not isinstance(record, MaskMap):
        return
    mask, seen = record.to("cpu"), result.keypoints.confidence.double()
    share = lambda side: ((seen * side).sum(1) / seen.sum(1).clamp_min(1e-12)).tolist()  # noqa: E731
    inside, outside = share(mask.trusted), share(look_up(mask, result.keypoints.xy.double())[0] > -NEAR)
    for i, (within, without) in enumerate(zip(inside, outside, strict=True)):
        if not mask.distance[i].any():  # none was given for this person
            continue
        if without - within > INVERTED and _goes_on(mask.distance[i]):
            result.warnings[i].append(
                f"The mask looks inverted: {without:.0%} of the seen keypoints lie outside of it or at its edge, "
                f"{within:.0%} inside or at it. A mask is set where the person is: give `mask == 0`."
            )
        elif within < MASK_MEETS:
            result.warnings[i].append(
                f"Only {within:.0%} of the seen keypoints lie in the mask: is it another person's, or of another crop? "
                "Give this person's mask, or leave it out."
            )


def _goes_on(distance: Tensor) -> bool:
    """Whether most of the border around person and mask is inside of the mask: a person's own ends before."""
    border = torch.cat([distance[0], distance[-1], distance[:, 0], distance[:, -1]])
    return bool((border < 0).double().mean() > 0.5)
