"""hmrfit adapt: the shipped estimate adapted to one's own detector, of 2D keypoints alone; before and after as a table.

0: the adapted model is handed over; 1: it got worse on synthetic people, and is not, and the run's folder says more.
"""

from pathlib import Path

from hmrfit.adapt_detector import REPORT, RUN, SETTINGS, adapt
from hmrfit.cli.messages import print_json
from hmrfit.config import load_config
from hmrfit.io.printable import printable
from hmrfit.ops.how_many import how_many
from hmrfit.ops.threads import use_threads
from hmrfit.train.adaptation import Adaptation, AdaptationPlan

ROWS = (
    ("synthetic people, seen as the body is", "", ""),
    ("  PA-MPJPE of the estimate, mm", "before", "estimate_pa_mpjpe_mm"),
    ("  PA-MPJPE of the fit, mm", "before", "fit_pa_mpjpe_mm"),
    ("  MPJPE of the fit, mm", "before", "fit_mpjpe_mm"),
    ("  regions hold what they say to, points", "before", "coverage_gap"),
    ("people who were set aside", "", ""),
    ("  estimate to keypoints, % of the box", "aside_before", "estimate_reprojection_percent"),
    ("  fit to keypoints, % of the box", "aside_before", "fit_reprojection_percent"),
    ("  energy of the fit, nats", "aside_before", "energy"),
    ("  limbs that were hidden from the fit, % of the box", "aside_before", "left_out_percent"),
)
"""(what, which scores, which of them)."""

WIDTH = 52


def adapt_command(
    keypoints: list[str],
    out: str,
    keypoint_set: str | None = None,
    images: str | None = None,
    image_size: list[int] | None = None,
    motion: str | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    seed: int | None = None,
    config: str | None = None,
    overrides: tuple[str, ...] = (),
    as_json: bool = False,
) -> int:
    """Runs, or goes on; prints the table, or the report as a line of JSON."""
    settings = load_config(config, overrides)
    use_threads(settings.THREADS)
    plan = _plan(minutes, steps, seed)
    size = None if image_size is None else (image_size[0], image_size[1])
    outcome = adapt(
        keypoints,
        out,
        keypoint_set=keypoint_set,
        images=images,
        image_size=size,
        motion=motion,
        plan=plan,
        config=settings,
        say=(lambda _: None) if as_json else (lambda text: print(f"{text} ...", flush=True)),
        quiet=False,
    )
    folder = Path(out)
    if as_json:
        print_json({**outcome.report, "settings": None if outcome.worse else str(folder / SETTINGS)})
    else:
        print("\n".join([*_table(outcome), "", *_verdict(outcome, folder)]))
    return 1 if outcome.worse else 0


def _plan(minutes: float | None, steps: int | None, seed: int | None) -> AdaptationPlan:
    given = {"minutes": minutes, "steps": steps, "seed": seed}
    if minutes is not None and not 0 < minutes <= 1e5:
        raise ValueError(f"--minutes should be above 0, but is {minutes:g}.")
    if steps is not None and steps < 1:
        raise ValueError(f"--steps should be at least 1, but is {steps}.")
    return AdaptationPlan(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]


def _table(outcome: Adaptation) -> list[str]:
    lines = [f"{'':{WIDTH}}{'before':>9}{'after':>9}"]
    for what, which, name in ROWS:
        if not which:
            lines.append(what)
            continue
        factor = 100 if name == "coverage_gap" else 1
        pair = (getattr(getattr(outcome, one), name) for one in (which, which.replace("before", "after")))
        lines.append(f"{what:{WIDTH}}" + "".join(f"{factor * value:9.2f}" for value in pair))
    return lines


def _verdict(outcome: Adaptation, folder: Path) -> list[str]:
    """What was learned, and where it is."""
    away = 1e3 * outcome.offsets.offsets.norm(dim=1)
    far = sorted(zip(away.tolist(), outcome.offsets.names, strict=True), reverse=True)[:3]
    farthest = ", ".join(f"{name} {mm:.0f} mm" for mm, name in far)
    who = (
        f"{how_many(outcome.people, 'people')}, {outcome.aside} set aside, {how_many(outcome.steps, 'steps')}. "
        f"Farthest off ours: {farthest}."
    )
    if outcome.worse:
        reasons = "; ".join(outcome.worse)
        return [
            who,
            f"NOT handed over: {reasons}. The model is in {printable(folder / RUN)}, the figures in "
            f"{printable(folder / REPORT)}; give more people, or fewer minutes.",
        ]
    return [who, f"Use it: hmrfit fit PHOTOS -o OUT --config {printable(folder / SETTINGS)}"]
