"""A result on a page: its pictures, a line of numbers for each person or frame, and what they were computed from."""

from collections.abc import Callable, Mapping

import numpy as np

from hmrfit.fitting.focal import WRONG
from hmrfit.io.image import Image
from hmrfit.ops.level import level_rotation, upright_in_words
from hmrfit.render.overlay import side_by_side, views
from hmrfit.report.page import Entry
from hmrfit.report.uncertainty_plot import uncertainty_plot
from hmrfit.result_data import ResultData
from hmrfit.result_text import described, reprojection, warning_lines

PAGE_FRAMES, PAGE_ROWS = 8, 12
"""Of a sequence, at most: the frames that are drawn, equally far apart, and the frames, worst first, in the table."""

PAGE_WARNINGS = 12
"""Lines of warnings above a result, at most."""

GOOD, FAIR = 0.025, 0.04
"""Mean distance between body and keypoints, fractions of the box: nine in ten labelled people lie below the first, and
above the second hardly one whose keypoints are right."""

SETTLED = (0, 1, 2, 3)
"""The solver's ends with an answer of its own. At the first it stopped at its last step, which is said in the table."""

WORST_FIT, MOST_WARNINGS = "worst fit", "most warnings"
"""By what a page of many results can be sorted."""

LEGEND = (
    "Fit to the keypoints: the mean distance between the body and the keypoints it was fitted to, in per cent of the "
    f"longer side of the box around them; good is below {100 * GOOD:g} %, poor above {100 * FAIR:g} %. It says how "
    "well the picture is met, not how right the depth is. ± is how far off a joint is expected to be, relative to the "
    "pelvis. Other answers: bodies that the picture allows too, with their probabilities. People who are far apart in "
    "depth are drawn from the side one after the other."
)
"""What the words of a result mean, once a page."""

PANEL = (240, 320)
"""(width, height) of one view of a frame, pixels."""


def drawn_entry(result: ResultData, pictures: Mapping[str, Image | str] | None) -> Entry:
    """A result on a page. pictures: by caption; None for some frames of a sequence."""
    errors = result.reprojection_error
    before, sure = _before(result), _uncertainty(result)
    rows = [_row(result, i, errors[i], before(i), sure(i)) for i in _rows_shown(result, errors)]
    shown = _frames_drawn(result) if pictures is None else pictures
    warnings, worst = page_warnings(result), float(np.nanmax(errors, initial=0.0))
    ranks = {WORST_FIT: 100 * worst, MOST_WARNINGS: float(len(warnings))}
    return Entry(result.name, shown, rows, _sentences(result, errors), ranks=ranks, warnings=warnings)


def page_warnings(result: ResultData) -> list[str]:
    """Everything that a reader should know before the numbers: who is missing, whose fit failed, what is doubtful."""
    absent = [f"Person {who} is left out: {reason}" for who, reason in result.left_out.items()]
    own = [
        [*result.warnings[i], *_failed(result, i)] if result.warnings else _failed(result, i)
        for i in range(len(result))
    ]
    lines = [*absent, *warning_lines(own, result.rows, result.names)]
    if len(lines) <= PAGE_WARNINGS:
        return lines
    return [*lines[: PAGE_WARNINGS - 1], f"... and {len(lines) - PAGE_WARNINGS + 1} more, in result.warnings."]


def _failed(result: ResultData, i: int) -> list[str]:
    """Where the fit was not accepted, or found no numbers."""
    kept = [] if result.accepted[i] else [f"The initial estimate was kept: {result.rejection_reason[i]}"]
    return kept + ([] if int(result.fit.status[i]) in SETTLED else [result.status[i]])


def _frames_drawn(result: ResultData) -> dict[str, Image]:
    """Some frames of a sequence, by caption."""
    chosen = np.unique(np.linspace(0, len(result) - 1, PAGE_FRAMES).round().astype(int)).tolist()
    drawn = {}
    for i in chosen:
        frame = result[i]
        sides = views(frame.mesh_vertices, result.body_model.faces, (0, 90), PANEL, up=result.up)
        drawn[f"frame {result.names[i]}"] = side_by_side(sides)
    return drawn


def _rows_shown(result: ResultData, errors: np.ndarray) -> list[int]:
    """All people; of many frames the worst, in their order."""
    if not result.is_sequence or len(result) <= PAGE_ROWS:
        return list(range(len(result)))
    order = np.argsort(-np.nan_to_num(errors, nan=-1.0), kind="stable")
    return sorted(order[:PAGE_ROWS].tolist())


def _row(result: ResultData, i: int, error: float, *more: dict[str, str]) -> dict[str, str]:
    return {
        "frame" if result.rows == "frames" else "person": result.names[i],
        "fit to the keypoints": _quality(error),
        **{key: value for part in more for key, value in part.items()},
        **_other_focal(result, i),
        **({"remark": "stopped at the last step"} if int(result.fit.status[i]) == 0 else {}),
    }


def _quality(error: float) -> str:
    if not np.isfinite(error):
        return "without keypoints"
    return f"{'good' if error < GOOD else 'fair' if error < FAIR else 'poor'}, {100 * error:.1f} % of the box"


def _sentences(result: ResultData, errors: np.ndarray) -> str:
    """The text above the table."""
    text = [f"Focal length: {result.camera.focal[0, 0]:.0f} px ({result.origin.focal_source})."]
    if result.is_sequence:
        frames = described(result.rows, result.names, result.fps)
        text.insert(0, f"{frames}, reprojection {reprojection(errors, result.rows, result.names)}.")
        if len(result) > PAGE_ROWS:
            text.append(f"The table holds the {PAGE_ROWS} frames with the largest reprojection error.")
    text += [f"Given {name}: {value}." for name, value in result.measurements.items()]
    if others := result.origin.conditioned_on:
        text.append(f"The uncertainty and the effect of another focal length are conditioned on {others}.")
    text.append(_level(result))
    return " ".join(text)


def _level(result: ResultData) -> str:
    """How the views from other sides stand."""
    return f"{upright_in_words('The views from other sides', result.up is not None, result.up_std)}."


def uncertainty_picture(result: ResultData, person: int = 0, height: int = 480) -> Image:
    """A person's uncertainty plot: the skeleton from the front and from the side (depth to the right), with an ellipse
    about every joint that holds nine in ten of its errors relative to the pelvis. Upright where `up` is known."""
    parents, L = result.body_model.skeleton.parents, level_rotation(result.up).numpy()
    joints, covariance = result.joints[person], result.joint_covariance[person]
    return uncertainty_plot(joints @ L.T, L @ covariance @ L.T, parents, height)


def uncertainty_pictures(result: ResultData) -> dict[str, Image]:
    """`uncertainty_picture` of every person, by caption, for the page."""
    if result.posterior is None:
        return {}
    names = enumerate(result.person_ids)
    return {f"uncertainty, {name}: front, side": uncertainty_picture(result, i) for i, name in names}


def _before(result: ResultData) -> Callable[[int], dict[str, str]]:
    """The reprojection of the start and how far the fit turned its joints, for the page, of each row."""
    if result.start is None:
        return lambda i: {}
    degrees, errors, names = result.change_degrees, result.start_reprojection_error, result.joint_names

    def of(i: int) -> dict[str, str]:
        turned = degrees[i]
        most = int(turned.argmax())
        return {
            "before the fit": f"{100 * errors[i]:.1f} % of the box; joints turned by "
            f"{turned.mean():.0f}° on average, {names[most].replace('_', ' ')} by {turned[most]:.0f}°"
        }

    return of


def _uncertainty(result: ResultData) -> Callable[[int], dict[str, str]]:
    """The most and the least uncertain joints, and other modes, for the page, of each row."""
    if result.posterior is None:
        return lambda i: {}
    every, probability = 100 * result.joint_std[:, 1:], result.probability[:, 1:]
    names = [name.replace("_", " ") for name in result.joint_names[1:]]
    word = "" if result.calibrated else " (by its energy, not calibrated)"

    def of(i: int) -> dict[str, str]:
        std, order = every[i], every[i].argsort()
        shown = [f"{names[j]} ±{std[j]:.0f} cm" for j in (*order[-1:-4:-1], order[0])]
        others = [f"{100 * p:.0f} %" for p in probability[i] if p > 0.005]
        found = {"least certain": f"{', '.join(shown[:-1])}{word}", "most certain": shown[-1]}
        return found | ({"other answers": ", ".join(others)} if others else {})

    return of


def _other_focal(result: ResultData, i: int) -> dict[str, str]:
    """The effect of a longer focal length, for the page, where the focal length is not known."""
    if result.focal_known or (result.terms is None and result.focal_moves is None):
        return {}
    return {f"if the focal length is {100 * (WRONG - 1):.0f} % longer": result.focal_effect().summary(i)}
