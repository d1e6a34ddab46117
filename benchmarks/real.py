"""The fit on labelled real people: gymnasts, seated, truncated and upside-down ones among them.

    python benchmarks/real.py [--photos FOLDER] [--people N] [--config fit_spin] [--opt KEY VALUE] [--fit NAME VALUE]

FOLDER (or the environment variable HMRFIT_PHOTOS) and those below it hold a JSON file for each person (`_people.py`).
Each is fitted from its keypoints alone, with the focal length that its file has, or none. The figures are those of
`_scores.py`; the line of each person comes first, then a table by data set and camera, then JSON. Of Pose2Sim, whose 3D
is triangulated from four views and right to 20-30 mm, only the second and fourth camera count in 3D.
"""

import argparse
import warnings
from collections.abc import Sequence

import torch
from _common import PHOTOS, finish, needed, photos_argument, threads
from _people import LabelledPerson, labelled_people
from _scores import Scores, fit_arguments, fit_keywords, pipeline_of, report, settings_of

from hmrfit.result import FitResult

SAMPLES = 1000
"""Of the posterior: of few people, more."""


def line_of(person: LabelledPerson, result: FitResult, scores: Scores) -> str:
    """One person's line: what stands out comes as words."""
    last = {name: chunks[-1] for name, chunks in scores.columns.items()}
    text = f"{person.name[:44]:44s} reprojection {last['reprojection'].item():5.2f} %"
    if not last["mpjpe"].isnan():
        text += f"   PA-MPJPE {last['pa_mpjpe'].item():5.1f}, MPJPE {last['mpjpe'].item():5.1f} mm"
    return text + "   REJECTED" * (not result.accepted[0]) + "   sides doubted" * bool(last["swap_warning"])


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit all people and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    photos_argument(parser)
    fit_arguments(parser)
    parser.set_defaults(samples=SAMPLES)
    parser.add_argument("--people", type=int, help="only the first so many, by name")
    parser.add_argument("--by", default="person,kind", help="of person, kind, joint: what is printed before the JSON")
    options = parser.parse_args(arguments)
    threads(options.threads)
    people = labelled_people(needed(options.photos, "--photos", PHOTOS))[: options.people]
    pipeline, keywords, by, scores = pipeline_of(options), fit_keywords(options), options.by.split(","), Scores()
    groups = sorted({f"set {p.data_set}" for p in people} | {f"camera {p.camera}" for p in people})
    for person in people:
        result = pipeline.fit(None, person.file, **keywords)
        truth, own = person.truth(), (f"set {person.data_set}", f"camera {person.camera}")
        kinds = {name: torch.tensor([name in own]) for name in groups}
        scores.add(result, None if truth is None else truth[None], kinds, options.seed, options.samples)
        if "person" in by:
            print(line_of(person, result, scores), flush=True)
    print()
    report(scores, by)
    finish(
        benchmark="real",
        people=len(people),
        people_3d=int((~scores.column("mpjpe").isnan()).sum()),
        settings=settings_of(options),
        **scores.figures(),
    )


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
