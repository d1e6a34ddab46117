"""hmrfit evaluate --protocol synthetic: a benchmark that is made, not downloaded, through every protocol's whole path.

    DATA/...                       1,000 rendered people with truth (`hmrfit.synthetic.benchmark`), made where absent
    DIR/<predictor>.npz            predictions of every predictor, of other systems' fits (PRESETS) and of the fit
    DIR/<protocol>-<predictor>.json, .md        every protocol's numbers
    DIR/table.md                   for each protocol the measures that papers print

Every registered protocol and predictor takes part, or the output says why it is left out. A protocol's `dataset` names
the data set whose place the benchmark takes. The predictors are given the benchmark's noisy detections and the size of
the image, nothing else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hmrfit.assets import locate, shipped
from hmrfit.build import load_body
from hmrfit.cli.evaluate import predictor_parts, refuse_in_the_way
from hmrfit.config import load_config
from hmrfit.datasets import find_npz, open_dataset
from hmrfit.evaluate.predict import export, keypoint_source
from hmrfit.evaluate.predictions import Fingerprint, dataset_fingerprint, read_predictions
from hmrfit.evaluate.predictors import PREDICTORS, FitPredictor, Predictor
from hmrfit.evaluate.protocol import PROTOCOLS, EvaluationData, Protocol, Setting
from hmrfit.evaluate.scoring import ScoredRun, headline_table, score
from hmrfit.io.bounded import read_fields, read_json
from hmrfit.io.own_files import own_file
from hmrfit.motion import check_cache, load_frames, read_pool
from hmrfit.ops.how_many import how_many
from hmrfit.ops.threads import use_threads
from hmrfit.pipeline import Pipeline
from hmrfit.render.rasteriser import make_renderer
from hmrfit.report.evaluation import CasePictures, write_report
from hmrfit.synthetic.benchmark import Benchmark, LabelledPoses, is_whole, make_benchmark
from hmrfit.version import __version__

NAME = "synthetic"
EVERYBODY = "lsp-test"
"""The data set in whose layout the benchmark holds all of its people."""

PRESETS = ("fit_smplify", "fit_spin")
"""Settings that imitate other systems' fits; those that are shipped take part."""

BOX = "around the 14 true 2D joints, times 1.2, whatever the protocol's own data has"
KEYPOINTS = (
    "The predictors are given its detections: noise of 1 % of the person's box, a tenth missing, none outside of the "
    "image. They do not know the focal length."
)


@dataclass(frozen=True)
class SyntheticFlags:
    """What the command line gives."""

    data: str | None = None
    out: str | None = None
    people: int = 1000
    seed: int = 0
    motion: str | None = None
    limit: int | None = None
    page: str | None = None
    config: str | None = None
    overrides: Sequence[str] = ()
    renderer: str | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "SyntheticFlags":
        """From the flags that were given.

        Raises:
            ValueError: a flag that this command does not have.
        """
        others = [f"--{name.replace('_', '-')}" for name in given if name not in cls.__dataclass_fields__]
        if others:
            raise ValueError(
                f"--protocol {NAME} runs every protocol with every predictor and takes no {', '.join(others)}."
            )
        return cls(**given)


@dataclass
class Outcome:
    """Every protocol's runs, and what is left out."""

    runs: dict[str, list[ScoredRun]] = field(default_factory=dict)  # by protocol
    left_out: dict[str, str] = field(default_factory=dict)  # "protocol 2d-coco" -> why

    @property
    def remarks(self) -> str:
        """What is left out, in sentences."""
        return "\n".join(f"Left out: {name}: {reason}" for name, reason in self.left_out.items())


def synthetic_command(flags: SyntheticFlags) -> int:
    """Makes the data, predicts, scores, writes; prints the table.

    Raises:
        ValueError: there is another benchmark in the folder.
    """
    pipeline = Pipeline.of(load_config(flags.config, flags.overrides))
    use_threads(pipeline.threads)
    folder = Path(flags.out or f"out/evaluate/{NAME}")
    root = Path(flags.data or folder / "data")
    names = [*PREDICTORS.names(), *PRESETS, "fit"]
    refuse_in_the_way(folder, names, [f"{p}-{name}" for p in PROTOCOLS.names() for name in names], flags.page)
    make_data(root, flags.people, flags.seed, flags.motion)
    bodies = dict.fromkeys("mfn", load_body("free_body"))
    renderer = make_renderer(flags.renderer or pipeline.config.RENDER.BACKEND)
    setting = Setting(load_body(pipeline.body_name), bodies, renderer=renderer)
    everybody = EvaluationData(root, open_dataset(EVERYBODY, root))[slice(flags.limit)]
    outcome = Outcome()
    predictors = make_predictors(pipeline, everybody, outcome)
    files = {name: _export(name, one, everybody, pipeline, folder) for name, one in predictors.items()}
    for name in PROTOCOLS.names():
        score_protocol(PROTOCOLS.find(name), setting, everybody, files, outcome)
    if not outcome.runs:
        raise ValueError(f"No protocol could be scored.\n{outcome.remarks}")
    for protocol, runs in outcome.runs.items():
        for run in runs:
            run.summary.save(folder, f"{protocol}-{run.predictor}")
    table = "\n\n".join(headline_table(runs, PROTOCOLS.find(name).headline) for name, runs in outcome.runs.items())
    text = "\n\n".join(filter(None, [table, outcome.remarks]))
    with own_file(folder / "table.md", "numbers") as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    if flags.page is not None:
        pictures = CasePictures(setting.body, everybody, {name: read_predictions(f)[0] for name, f in files.items()})
        every_run = [run for runs in outcome.runs.values() for run in runs]
        about = f"{card_of(root)}. {KEYPOINTS} {outcome.remarks}"
        page = write_report(flags.page, every_run, pictures, "hmrfit evaluate: the synthetic benchmark", about)
        print(f"Look at {page}")
    print(f"{text}\n\nIn {folder}: predictions, and every protocol's numbers as .json and .md. Data: {root}")
    return 0


# ---- the data


def make_data(root: Path, people: int, seed: int, motion: str | None) -> None:
    """The benchmark, where it is not there yet."""
    if is_whole(root):
        return
    pool = pose_pool(motion, root / "motion.npz")
    print(f"Making {how_many(people, 'people')} in {root}, posed by {pool.origin}.")
    make_benchmark(root, Benchmark(load_body("free_body"), pool, people, seed))


def pose_pool(motion: str | None, cache: Path) -> LabelledPoses:
    """The test split of the motion, weighted by class; without motion the shipped pose set.

    Raises:
        FileNotFoundError: there is no folder of that name.
    """
    if motion is None:
        (found,) = read_fields(locate("poses"), ("poses",))
        body_pose = torch.as_tensor(found.astype(np.float64)).reshape(len(found), -1, 3)
        poses = torch.cat([torch.zeros_like(body_pose[:, :1]), body_pose], 1)
        origin = "the shipped pose set (without --motion: samples of the prior itself, an easier test)"
        return LabelledPoses(poses, torch.ones(len(poses)), ("pose_set",) * len(poses), origin)
    check_cache(cache)
    frames = load_frames(read_pool(motion, cache=cache), "test")
    origin = f"{Path(motion).name}, split 'test', {how_many(len(frames['weight']), 'frames')}"
    poses, weight = (torch.as_tensor(frames[name]) for name in ("poses", "weight"))
    return LabelledPoses(poses, weight, tuple(frames["label"].tolist()), origin)


def card_of(root: Path) -> str:
    """What the benchmark was made of, in words."""
    card = read_json(root / "card.json")
    return f"{card['people']} synthetic people, seed {card['seed']}, posed by {card['poses']}"


# ---- the predictors


def make_predictors(pipeline: Pipeline, data: EvaluationData, outcome: Outcome) -> dict[str, Predictor]:
    """Every registered predictor for which the settings have the parts, the presets' fits, and last the fit, whose best
    and worst people the page shows."""
    parts, predictors = predictor_parts(pipeline, data), {}
    for name in PREDICTORS.names():
        try:
            predictors[name] = PREDICTORS.find(name)(parts)
        except ValueError as error:
            outcome.left_out[f"predictor {name}"] = str(error)
    return predictors | presets() | {"fit": FitPredictor(pipeline.fitter)}


def presets() -> dict[str, Predictor]:
    """The fits of other systems' settings, those that are shipped."""
    names = [name for name in PRESETS if (shipped("configs") / f"{name}.yaml").is_file()]
    return {name: FitPredictor(Pipeline.of(load_config(name)).fitter) for name in names}


def _export(name: str, predictor: Predictor, people: EvaluationData, pipeline: Pipeline, folder: Path) -> Path:
    settings = load_config(name).dump() if name in PRESETS else pipeline.settings
    run = {"predictor": name, "keypoints": keypoint_source(people), "version": __version__, "settings": settings}
    fingerprint = Fingerprint(run, dataset_fingerprint(NAME, people.people))
    return export(predictor, people, fingerprint, folder / f"{name}.npz")


# ---- the protocols


def score_protocol(
    kind: type[Protocol[Any]],
    setting: Setting,
    everybody: EvaluationData,
    files: Mapping[str, Path],
    outcome: Outcome,
) -> None:
    """Every predictor under one protocol, or why the protocol is left out; into `outcome`."""
    try:
        data = benchmark_data(kind, setting, everybody.root)
        rows, own = same_people(everybody, data)
        if not len(own):
            raise ValueError(f"none of the {how_many(len(everybody), 'people')} is in its data")
        runs = [scored_predictor(name, kind(setting), data[own], file, rows) for name, file in files.items()]
    except (ValueError, OSError) as error:
        outcome.left_out[f"protocol {kind.name}"] = str(error)
    else:
        outcome.runs[kind.name] = runs


def benchmark_data(kind: type[Protocol[Any]], setting: Setting, root: Path) -> EvaluationData:
    """The benchmark in the place of a protocol's data set.

    Raises:
        ValueError: the benchmark has nothing for this protocol. FileNotFoundError: see `Protocol.load`.
    """
    if not kind.dataset:
        raise ValueError("its class names no `dataset` whose place the benchmark could take")
    if find_npz(kind.dataset, root) is None:
        raise ValueError(f"the benchmark has no people in the layout of its data set, {kind.dataset}")
    return kind(setting).load(root)


def scored_predictor(
    name: str, protocol: Protocol[Any], data: EvaluationData, file: Path, rows: NDArray[np.int64]
) -> ScoredRun:
    """One predictor under one protocol. rows: (N,) of the data's people in the predictions file."""
    predictions, fingerprint = read_predictions(file)
    fingerprint = replace(fingerprint, run={**fingerprint.run, "dataset": card_of(data.root)})
    run = score(name, protocol, data, predictions[torch.as_tensor(rows)], fingerprint, rows)
    return replace(run, summary=replace(run.summary, box_source=BOX))


def same_people(everybody: EvaluationData, data: EvaluationData) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(row in `everybody`, row in `data`) of the people that are in both: no two people have the same box."""
    known = {box: row for row, box in enumerate(_boxes(everybody))}
    pairs = [(known[box], row) for row, box in enumerate(_boxes(data)) if box in known]
    rows = np.array(pairs, np.int64).reshape(-1, 2)
    return rows[:, 0], rows[:, 1]


def _boxes(data: EvaluationData) -> list[tuple[float, ...]]:
    """Center and scale of each person's box."""
    people = data.people
    return [(*center, scale) for center, scale in zip(people.center.tolist(), people.scale.tolist(), strict=True)]
