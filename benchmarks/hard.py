"""The fit on synthetic people who are as hard as real ones (`hmrfit/synthetic/hard_people.py`).

    python benchmarks/hard.py [--motion FOLDER] [--people 2000] [--seed 0] [--config fit_spin] [--opt KEY VALUE]
        [--fit NAME VALUE] [--set NAME VALUE]

Held-out motion, a tenth recombined and tumbled; seated people with legs behind tables, cuts by the image's border;
segments that no shape space holds, points that mean something else than the body's; label noise with heavy tails,
swapped sides, another's limb, confidences honest, inflated or flat; cameras of any pitch, lenses of 14 to 200 mm, which
the fit does not know. coco17; the truth of 3D is where the labels' own points are, as on real people. The figures are
those of `_scores.py`; a table by the errors made to each person comes before the JSON. Beside them, of people without a
visible knee or ankle, those who sit and those who stand: how many there are, and the shares for whom the returned
answer, the most probable one, and any of at least 10 % bends both hips to within 30 degrees of the truth.
"""

import argparse
import logging
from collections.abc import Sequence
from dataclasses import fields

import torch
import yaml
from _common import finish, motion_argument, pose_pool, threads
from _people import limb_index
from _scores import BENT_ALIKE, Scores, fit_arguments, fit_keywords, hip_flexion, pipeline_of, report, settings_of
from torch import Tensor

from hmrfit.assets import locate
from hmrfit.camera import Camera
from hmrfit.keypoints import COCO17
from hmrfit.ops.check import did_you_mean
from hmrfit.priors.limits import JointLimits
from hmrfit.synthetic.hard_people import Hardness, HardPeople, HardPeopleMaker
from hmrfit.synthetic.people import FILM_DIAGONAL_MM

CHUNK = 250
SITS, STANDS = "sits, legs unseen", "stands, legs unseen"
LEGS = [i for i, name in enumerate(COCO17) if "knee" in name or "ankle" in name]
LENSES = {"lens under 24 mm": (0.0, 24.0), "lens 24 to 70 mm": (24.0, 70.0), "lens over 70 mm": (70.0, 1e9)}


def focal_to_35mm(camera: Camera) -> Tensor:
    """(B,) millimetres in 35 mm equivalent."""
    return FILM_DIAGONAL_MM * camera.focal.mean(-1) / camera.size.norm(dim=-1)


def kinds_of(people: HardPeople) -> dict[str, Tensor]:
    """What to tell people by: the errors made to them, whether they sit or stand with unseen legs, and the lens."""
    lens = focal_to_35mm(people.people.camera)
    unseen = (people.people.keypoints.confidence[:, LEGS] == 0).all(1)
    straight = (hip_flexion(people.labelled[:, limb_index(COCO17)]) < BENT_ALIKE).all(1)
    postures = {SITS: unseen & people.kinds["seated"], STANDS: unseen & straight & ~people.kinds["recombined"]}
    return people.kinds | postures | {name: (lens >= low) & (lens < high) for name, (low, high) in LENSES.items()}


def hardness(changes: Sequence[tuple[str, str]]) -> Hardness:
    """Hardness with what --set changes, the values as YAML."""
    known = {field.name for field in fields(Hardness)}
    for name, _ in changes:
        if name not in known:
            raise SystemExit(f"--set {name}: there is no such amount.{did_you_mean(name, known)}")
    values = {name: yaml.safe_load(value) for name, value in changes}
    return Hardness(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the people, fit them, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    motion_argument(parser)
    fit_arguments(parser)
    parser.add_argument("--people", type=int, default=2000)
    parser.add_argument(
        "--part",
        default="test",
        choices=("validation", "test"),
        help="of the motion: settings are chosen on validation",
    )
    text = f"an amount of Hardness: {', '.join(field.name for field in fields(Hardness))}"
    parser.add_argument("--set", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help=text)
    parser.add_argument("--by", default="kind,joint", help="of kind, joint: what is printed before the JSON")
    options = parser.parse_args(arguments)
    threads(options.threads)
    logging.getLogger("hmrfit").setLevel(logging.ERROR)  # that keypoints look wrong is what is measured
    poses, weight, origin = pose_pool(options.motion, options.cache, options.part)
    pipeline, keywords, scores = pipeline_of(options), fit_keywords(options), Scores()
    how, limits = hardness(options.set), JointLimits.from_file(locate("joint_limits"))
    maker = HardPeopleMaker(pipeline.body.points(COCO17), poses, weight, options.seed, how, limits)
    for rows in torch.arange(options.people).split(CHUNK):
        made = maker.people(rows)
        seen = made.people.keypoints
        points = torch.cat([seen.xy, seen.confidence[..., None]], -1).numpy()
        result = pipeline.fit(None, points, keypoint_set="coco17", image_size=maker.how.size, **keywords)
        fitted = torch.tensor([int(name) for name in result.person_ids])
        own = made[fitted]
        scores.add(result, own.labelled[:, limb_index(COCO17)], kinds_of(own), options.seed, options.samples)
    print(f"{options.people} people posed by {origin}; {len(scores.column('mpjpe'))} can be fitted\n")
    report(scores, options.by.split(","))
    finish(
        benchmark="hard",
        people=len(scores.column("mpjpe")),
        motion=origin,
        keypoint_set="coco17",
        settings=settings_of(options),
        hardness=", ".join(f"{name}={value}" for name, value in options.set) or "default",
        **scores.figures(),
        **{name.partition(",")[0]: scores.bent_alike(torch.cat(scores.kinds[name])) for name in (SITS, STANDS)},
    )


if __name__ == "__main__":
    main()
