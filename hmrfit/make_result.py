"""From a batch's outcome to the results that users get, one a photograph, with the warnings that only it can give."""

import logging
import platform
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from hmrfit.build import Engine
from hmrfit.data.photo import Photo
from hmrfit.fitting.focal import FittedEnergy, last_stage
from hmrfit.fitting.outcome import Fit
from hmrfit.fitting.solver import STATUS
from hmrfit.printable import printable
from hmrfit.result import FitResult
from hmrfit.result_text import shortened, warning_lines
from hmrfit.version import __version__

FEW_KEYPOINTS = 6
"""Fewer say too little: five points are ten numbers, a pose alone has 69."""

POOR = 0.06
"""Mean distance of body and keypoints, a share of the box, from which the fit is called into question. Good fits of
labelled people have 0.01 to 0.03."""


def result_of(outcome: Fit, photo: Photo, rows: Tensor, engine: Engine) -> FitResult:
    """The part of a batch's outcome that is one photograph's."""
    outcome, fitter = outcome.of(rows), engine.fitter
    result = FitResult(
        params=outcome.state.params,
        camera=photo.camera,
        keypoints=photo.keypoints,
        cost=outcome.cost.numpy(),
        term_cost={name: cost.numpy() for name, cost in outcome.term_cost.items()},
        status_code=outcome.status.numpy(),
        steps=outcome.steps.numpy(),
        hypotheses=[state.params for state in outcome.hypotheses],
        hypothesis_cost=outcome.hypothesis_cost.numpy(),
        start=None if outcome.start is None else outcome.start.params,
        reason=None if outcome.verdict is None else outcome.verdict.reason.numpy(),
        start_term_cost={name: cost.numpy() for name, cost in outcome.start_term_cost.items()},
        spread=fitter.posterior(outcome),
        energy=FittedEnergy(fitter.terms, last_stage(fitter.schedule, outcome), outcome.observation),
        focal_source=photo.focal_source,
        warnings=[list(warnings) for warnings in photo.warnings],
        person_ids=[person.person_id for person in photo.people],
        body=engine.body,
        body_kind=engine.body_kind,
        gender=fitter.body.gender,
        image_path=None if photo.path is None else photo.path.resolve(),
        versions=_versions(),
        image=photo.image,
    )
    _judge(result)
    return result


def log_warnings(results: Sequence[FitResult], what: str = "") -> None:
    """One record of the logger "hmrfit" for what one call fitted, if there is anything to warn of.

    Args:
        results: of one photograph, of one sequence, or of the views of one person.
    """
    warned = [result for result in results if any(result.warnings)]
    if not warned:
        return
    title = printable(f"{what or warned[0].name}: {sum(len(w) for r in warned for w in r.warnings)} warnings")
    lines = list(dict.fromkeys(line for r in warned for line in warning_lines(r.warnings, r.rows, r.names)))
    logging.getLogger("hmrfit").warning("%s\n%s", title, "\n".join(map(printable, shortened(lines, 2))))


def _versions() -> dict[str, str]:
    """What the numbers were made with."""
    return {
        "hmrfit": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def _judge(result: FitResult) -> None:
    """Adds warnings that only the outcome can give."""
    for i, error in enumerate(result.reprojection_error):
        if error > POOR:
            result.warnings[i].append(
                f"The body is on average {100 * error:.0f} % of the box away from its keypoints: look at the overlay."
            )
        if result.status_code[i] == 4:
            result.warnings[i].append(STATUS[4])
        elif not result.accepted[i]:
            result.warnings[i].append(result.verdict[i])
        seen = int((result.keypoints.confidence[i] > 0).sum())
        if seen < FEW_KEYPOINTS:
            result.warnings[i].append(
                f"Only {seen} keypoints are seen: the body is mostly what is likely, not what was seen (see joint_std)."
            )
