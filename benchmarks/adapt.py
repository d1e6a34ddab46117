"""What `hmrfit adapt` is worth: a detector whose truth is known, and a real detector's keypoints of photographs.

    python benchmarks/adapt.py [--motion FOLDER] [--people 1000] [--steps 500] [--detectors 2] [--folder FOLDER]
    python benchmarks/adapt.py --real [--photos FOLDER] [--detector movenet] [--steps 200]

Detectors, `--detectors` of them: every keypoint lies 17 to 51 mm (1 to 3 % of a grown person) off the body's own point
in a direction of the bones' frame, left and right mirrored; all are drawn towards the middle of the person by 1 %; 0.4
to 1.6 % noise, each keypoint its own, Student's t with four degrees of freedom; each missed its own 2 to 27 % of times,
a limb of every seventh person. Nothing of that is what the networks were trained with. People are posed by the test
split, or by the shipped pose set; those who are scored are not those adapted to. Synthetic people in the adaptation
have the shipped pose set. PA-MPJPE, mm, of estimate and fit over 14 joints:

    unmoved           the detector without the offsets and the pull: what its noise alone costs
    shipped           before
    offsets           where its keypoints lie, learned; the shipped network
    true_offsets      the same with the detector's own offsets, which nobody knows
    loop              the network trained by the loop on keypoints as they are
    adapted           both

and of the people adapted to, before any training: the estimate, its fits, and the fits of the loop that trains a
network from scratch (`hmrfit.train.fit_loop`), which is why that loop is not what adapts.

Photographs (--real; --photos or HMRFIT_PHOTOS, a JSON file for each labelled person, `_people.py`): the detector finds
everybody in all photographs; an eighth of these is left out at a time, the rest adapted to, and the people left out
are scored: distance to the keypoints and to hidden limbs (% of the box), energy, and PA-MPJPE over 12 limb points
where a 3D truth belongs to the labels.
"""

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from _common import PHOTOS, finish, motion_argument, needed, photos_argument, pose_pool, skip, threads
from _people import labelled_people, limb_index
from torch import Tensor

import hmrfit
from hmrfit.adapt_detector import poses_of
from hmrfit.assets import locate
from hmrfit.body.point_offsets import PointOffsets
from hmrfit.build import build_fitter
from hmrfit.camera import Camera
from hmrfit.config import load_config
from hmrfit.detectors.detect import load_detector
from hmrfit.detectors.detector import Detector, NoDetector
from hmrfit.evaluate.metrics import pa_mpjpe
from hmrfit.fitting.fitter import Fitter
from hmrfit.fitting.parameters import Observation, State
from hmrfit.fitting.route import Begun
from hmrfit.fitting.schedule import FINAL
from hmrfit.io.photo import read_photo
from hmrfit.keypoints import COCO17, flip_permutation
from hmrfit.network.checkpoints import load_error_model, load_hmr
from hmrfit.network.initial_estimate import KeypointHmr
from hmrfit.synthetic.people import People, make_people, normal, uniform
from hmrfit.train.adaptation import FEWEST_SEEN, AdaptationPlan, Adapter, chosen
from hmrfit.train.adaptation_scores import AsideScores, joint_errors, score_aside
from hmrfit.train.anchored_loop import with_model
from hmrfit.train.fit_store import FitKey
from hmrfit.train.keypoint_people import KnownPeople
from hmrfit.types import Keypoints

NEAREST, FARTHEST = 0.017, 0.051
"""Metres of an offset."""

PULL = 0.01
SIDES = ("left", "right")
LIMBS = (("elbow", "wrist"), ("knee_coco", "ankle"))
FOLDS = 8

VARIANTS = ("unmoved", "shipped", "offsets", "true_offsets", "loop", "adapted")


def parser() -> argparse.ArgumentParser:
    """The options."""
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    motion_argument(found)
    photos_argument(found)
    found.add_argument("--people", type=int, default=1000, help="adapted to")
    found.add_argument("--scored", type=int, default=500, help="others of the same detector")
    found.add_argument("--detectors", type=int, default=2)
    found.add_argument("--steps", type=int, default=500, help="of the loop; 0 with --photos: offsets alone")
    found.add_argument("--detector", help="with --photos, its name; default the first that is installed")
    found.add_argument("--real", action="store_true", help="photographs in place of synthetic detectors")
    found.add_argument("--folder", type=Path, help="of the runs: what was stopped goes on")
    found.add_argument("--threads", type=int)
    return found


# ---- detectors that do not exist


@dataclass(frozen=True)
class MadeUpDetector:
    """offsets: (K, 3) metres. noise, missed: (K,)."""

    offsets: Tensor
    noise: Tensor
    missed: Tensor
    pull: float = PULL

    @classmethod
    def drawn(cls, seed: int) -> "MadeUpDetector":
        """One with these random numbers."""
        generator = torch.Generator().manual_seed(seed)
        K, mirror = len(COCO17), torch.tensor(flip_permutation(COCO17))
        way = torch.nn.functional.normalize(normal((K, 3), generator), dim=1)
        offsets = way * uniform(NEAREST, FARTHEST, K, generator)[:, None]
        flipped = offsets[mirror] * torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
        right = torch.tensor([name.startswith("right_") for name in COCO17])[:, None]
        offsets = torch.where(right, flipped, offsets)
        offsets[COCO17.index("nose"), 0] = 0.0
        noise, missed = uniform(0.004, 0.016, K, generator), uniform(0.02, 0.27, K, generator)
        return cls(offsets, (noise + noise[mirror]) / 2, (missed + missed[mirror]) / 2)

    @property
    def unmoved(self) -> "MadeUpDetector":
        """The same without offsets."""
        return replace(self, offsets=torch.zeros_like(self.offsets), pull=0.0)

    def see(self, fitter: Fitter, people: People, seed: int) -> Keypoints:
        """Its keypoints of people; the same noise and misses for the same seed."""
        generator = torch.Generator().manual_seed(seed)
        points = fitter.body.points(COCO17).with_offsets(self.offsets)
        xy = people.camera.project(points.pose(people.params).points)
        box = Keypoints(xy, torch.ones_like(xy[..., 0]), COCO17).box_size()
        xy = xy + self.pull * (xy.mean(1, keepdim=True) - xy)
        B, K = xy.shape[:2]
        heavy = normal((B, K, 4), generator).square().mean(-1, keepdim=True).clamp_min(0.15).sqrt()
        size = (self.noise * box[:, None])[..., None]
        xy = xy + 0.8 * size * normal((B, K, 2), generator) / heavy
        confidence = 1 - 0.7 * uniform(0, 1, (B, K), generator).square()
        hidden = uniform(0, 1, (B, K), generator) < self.missed
        unlucky = uniform(0, 1, B, generator) < 1 / 7
        limbs = torch.tensor([[n in (f"{s}_{a}" for a in limb) for n in COCO17] for limb in LIMBS for s in SIDES])
        hidden |= unlucky[:, None] & limbs[torch.randint(len(limbs), (B,), generator=generator)]
        hidden &= ((~hidden).sum(1) >= 6)[:, None]
        confidence = confidence * ~hidden
        return Keypoints(torch.where(hidden[..., None], 0.0, xy), confidence, COCO17)


def known(keypoints: Keypoints, camera: Camera) -> KnownPeople:
    """Nothing but the keypoints."""
    return KnownPeople.without_truth(keypoints, camera, [FitKey("made", str(i), "0") for i in range(len(keypoints))])


def errors(fitter: Fitter, people: People, keypoints: Keypoints, camera: Camera) -> dict[str, float]:
    """PA-MPJPE and MPJPE of estimate and fit."""
    assert fitter.network is not None
    found = {"estimate": fitter.network.predict(keypoints, camera).params}
    found["fit"] = fitter.fit(keypoints, camera).state.params
    points, figures = fitter.point_body(COCO17), {}
    for name, params in found.items():
        aligned, absolute = joint_errors(points.pose(params).joints, people.joints)
        figures |= {f"{name}_pa_mpjpe_mm": aligned, f"{name}_mpjpe_mm": absolute}
    return figures


def teachers(base: Fitter, people: People, keypoints: Keypoints, camera: Camera) -> dict[str, float]:
    """PA-MPJPE of what could supervise: the estimate, its fit, and the fit of the loop from scratch at the estimate."""
    assert base.network is not None
    estimate, fit = base.network.predict(keypoints, camera).params, base.fit(keypoints, camera).state.params
    begun = Begun(State(estimate, camera), Observation.of(keypoints), torch.arange(len(keypoints)))
    other = base.route(COCO17).run(begun, (FINAL,)).state.params
    points = base.point_body(COCO17)
    each = {"estimate": estimate, "anchored_fit": fit, "fit_from_scratchs_loop": other}
    return {name: joint_errors(points.pose(params).joints, people.joints)[0] for name, params in each.items()}


def of_detector(options: argparse.Namespace, seed: int, folder: Path) -> dict[str, dict[str, float]]:
    """Every variant's figures."""
    settings = load_config(None, ["PRIORS.MIXTURE="])
    base, hmr = build_fitter(settings), load_hmr(locate(settings.PRIORS.INITIAL_ESTIMATE))
    error_model = load_error_model(locate(settings.PRIORS.ERROR_MODEL))
    poses, weight, _ = pose_pool(options.motion, options.cache)
    count = options.people + options.scored
    drawn = torch.multinomial(weight, count, True, generator=torch.Generator().manual_seed(seed))
    people = make_people(base.body, poses[drawn], COCO17, torch.Generator().manual_seed(seed))
    camera = Camera.from_size(*(int(n) for n in people.camera.size[0]), count=count)
    detector, own = MadeUpDetector.drawn(seed), slice(0, options.people)
    rest = slice(options.people, count)
    seen = detector.see(base, people, seed)
    truth = PointOffsets(COCO17, detector.offsets)
    score = lambda fitter, keypoints: errors(fitter, people[rest], keypoints[rest], camera[rest])  # noqa: E731
    found = {
        "unmoved": score(base, detector.unmoved.see(base, people, seed)),
        "shipped": score(base, seen),
        "true_offsets": score(with_model(base, KeypointHmr(hmr), offsets=truth), seen),
    }
    synthetic = poses_of(settings, None)
    for name, offsets in (("adapted", True), ("loop", False)):
        plan = AdaptationPlan(steps=options.steps, offsets=offsets, scored=300, seed=seed)
        run = folder / f"detector{seed}" / name
        adapter = Adapter(base, hmr, error_model, known(seen[own], camera[own]), synthetic, run, plan, print)
        outcome = adapter.run()
        print(name, outcome.report)
        learned = with_model(base, KeypointHmr(outcome.hmr), outcome.errors, outcome.offsets)
        found[name] = score(learned, seen)
        if offsets:
            only = with_model(base, KeypointHmr(hmr), offsets=outcome.offsets)
            found["offsets"] = score(only, seen)
            found["teachers"] = teachers(base, people[own], seen[own], camera[own])
            found["hold_out"] = {"before": outcome.before.fit_pa_mpjpe_mm, "after": outcome.after.fit_pa_mpjpe_mm}
    return found


def synthetic(options: argparse.Namespace, folder: Path) -> None:
    """All detectors."""
    every = [of_detector(options, seed + 1, folder) for seed in range(options.detectors)]
    mean = lambda variant, name: float(np.mean([one[variant][name] for one in every]))  # noqa: E731
    columns = list(every[0]["shipped"])
    print("\n" + " " * 14 + "".join(f"{column.removesuffix('_mm'):>20s}" for column in columns))
    for variant in VARIANTS:
        print(f"{variant:14s}" + "".join(f"{mean(variant, column):20.1f}" for column in columns))
    print({name: [round(one["teachers"][name], 1) for one in every] for name in every[0]["teachers"]})
    figures = {
        f"{v}_{part}_pa_mpjpe_mm": mean(v, f"{part}_pa_mpjpe_mm") for v in VARIANTS for part in ("estimate", "fit")
    }
    taught = {f"teacher_{name}_mm": mean("teachers", name) for name in every[0]["teachers"]}
    held = {f"hold_out_fit_{name}_mm": mean("hold_out", name) for name in ("before", "after")}
    settings = {"people": options.people, "steps": options.steps, "detectors": options.detectors}
    finish(benchmark="adapt", **figures, **taught, **held, **settings)


# ---- a detector that does


@dataclass(frozen=True)
class Photographed:
    """Everybody whom a detector found. truth: (12, 3) by row, of those who are labelled in 3D."""

    people: KnownPeople
    fold: Tensor  # (N,) in which of FOLDS each one's photograph is left out
    truth: dict[int, Tensor]


def photographed(folder: Path, detector: Detector) -> Photographed:
    """Those in the photographs of a folder; of each 3D truth, the person who was found nearest to its labels."""
    parts: list[tuple[FitKey, Keypoints, Camera]] = []
    truth: dict[int, Tensor] = {}
    pictures: dict[bytes, str] = {}  # several labelled people may be in copies of one photograph
    for person in (p for p in labelled_people(folder, deep=False) if p.image is not None):
        assert person.image is not None
        content = person.image.read_bytes()
        if content in pictures:
            continue
        pictures[content] = person.name
        image, (label,) = hmrfit.read_image(person.image), hmrfit.read_keypoints(person.file)
        found, labelled = hmrfit.detect(image, detector), person.truth()
        lens = {"intrinsics": label.intrinsics, "distortion": label.distortion}
        middle = [float(np.linalg.norm(one.xy.mean(0) - label.xy[label.confidence > 0].mean(0))) for one in found]
        for i, one in enumerate(found):
            size = (image.shape[1], image.shape[0])
            photo = read_photo(None, [replace(one, **lens) if labelled is not None else one], image_size=size)
            if labelled is not None and middle[i] == min(middle):
                truth[len(parts)] = labelled
            parts.append((FitKey("photos", person.name, str(i)), photo.keypoints, photo.camera))
    keys, names = [part[0] for part in parts], list(pictures.values())
    keypoints, camera = Keypoints.cat([part[1] for part in parts]), Camera.cat([part[2] for part in parts])
    people = KnownPeople.without_truth(keypoints, camera, keys)
    enough = people.keypoints.presence.sum(1) >= FEWEST_SEEN
    fold = torch.tensor([names.index(key.image) % FOLDS for key in keys])
    return Photographed(people, torch.where(enough, fold, -1), truth)


def limb_error(fitter: Fitter, people: KnownPeople, truths: dict[int, Tensor]) -> list[float]:
    """PA-MPJPE of fits over the 12 limb points, mm, of those whose truth is known; by the body's own points."""
    fit, points = fitter.fit(people.keypoints, people.camera), fitter.body.points(people.keypoints.names)
    found = points.pose(fit.state.params).points[:, limb_index(people.keypoints.names)]
    return [1e3 * pa_mpjpe(found[[row]], truth[None]).item() for row, truth in truths.items()]


def real(options: argparse.Namespace, folder: Path) -> None:
    """Photographs, an eighth of them left out at a time."""
    try:
        detector = load_detector(options.detector)
    except NoDetector as error:
        skip(str(error))
    everyone = photographed(needed(options.photos, "--photos", PHOTOS), detector)
    settings = load_config(None, ["PRIORS.MIXTURE="])
    base, hmr = build_fitter(settings), load_hmr(locate(settings.PRIORS.INITIAL_ESTIMATE))
    error_model = load_error_model(locate(settings.PRIORS.ERROR_MODEL))
    poses, learned = poses_of(settings, None), []
    scores: dict[str, list[AsideScores]] = {"shipped": [], "offsets": [], "adapted": []}
    limbs: dict[str, list[float]] = {name: [] for name in scores}
    counts = []
    for part in range(FOLDS):
        rows = ((everyone.fold != part) & (everyone.fold >= 0)).nonzero()[:, 0]
        rest = (everyone.fold == part).nonzero()[:, 0]
        out = chosen(everyone.people, rest)
        truths = {i: everyone.truth[row] for i, row in enumerate(rest.tolist()) if row in everyone.truth}
        plan = AdaptationPlan(steps=options.steps, scored=300)
        run = folder / f"fold{part}"
        adapter = Adapter(base, hmr, error_model, chosen(everyone.people, rows), poses, run, plan, print)
        outcome = adapter.run()
        learned.append(outcome.offsets.of(out.keypoints.names))
        counts.append(len(out))
        models = {
            "shipped": base,
            "offsets": with_model(base, KeypointHmr(hmr), offsets=outcome.offsets),
            "adapted": with_model(base, KeypointHmr(outcome.hmr), outcome.errors, outcome.offsets),
        }
        for name, model in models.items():
            scores[name].append(score_aside(model, out))
            limbs[name] += limb_error(model, out, truths)
            print(part, name, scores[name][-1], [round(mm, 1) for mm in limbs[name]], "worse" * bool(outcome.worse))
    spread = torch.stack(learned).std(0).norm(dim=1).mean().item()
    size = torch.stack(learned).mean(0).norm(dim=1)
    print({name: round(1e3 * mm) for name, mm in zip(out.keypoints.names, size.tolist(), strict=True)})
    figures: dict[str, float] = {}
    for name in scores:
        for column in fields(AsideScores):
            values = [getattr(one, column.name) for one in scores[name]]
            figures[f"{name}_{column.name}"] = float(np.average(values, weights=counts))
        figures[f"{name}_pa_mpjpe_mm"] = float(np.mean(limbs[name]))
    finish(
        benchmark="adapt",
        detector=detector.fingerprint,
        people=sum(counts),
        people_3d=len(everyone.truth),
        **figures,
        offsets_mm=1e3 * size.mean().item(),
        offsets_differ_mm=1e3 * spread,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Adapt, measure, print."""
    options = parser().parse_args(arguments)
    threads(options.threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        real(options, folder) if options.real else synthetic(options, folder)


if __name__ == "__main__":
    main()
