"""hmrfit evaluate --protocol synthetic: a benchmark that is made, not downloaded, through every protocol's whole path.

    DATA/...                       1,000 rendered people with truth (`hmrfit.synthetic.benchmark`), made where absent
    DIR/<predictor>.npz            predictions, exported once: mean_pose, initial_estimate, fit, and the presets' fits
    DIR/<protocol>-<predictor>.json, .md        every protocol's numbers
    DIR/table.md                   the published-style table

The predictors are given the benchmark's noisy detections and the size of the image, nothing else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hmrfit.assets import locate, shipped
from hmrfit.build import load_body
from hmrfit.cli.evaluate import make_predictor, refuse_in_the_way
from hmrfit.cli.report_page import Report, scored
from hmrfit.config import load_config
from hmrfit.evaluate.predictions import Stamp, dataset_stamp, read_predictions
from hmrfit.evaluate.predictors import Fit, Predictor, export, keypoint_source
from hmrfit.evaluate.protocol import EvaluationData, Setting, Summary, protocol_named
from hmrfit.io.bounded import read_fields, read_json
from hmrfit.io.own_files import own_file
from hmrfit.motion import check_cache, load_frames, read_pool
from hmrfit.ops.threads import use_threads
from hmrfit.pipeline import Pipeline
from hmrfit.render.rasteriser import make_renderer
from hmrfit.report.evaluation import Run
from hmrfit.synthetic.benchmark import Benchmark, PosePool, is_whole, make_benchmark
from hmrfit.version import __version__

NAME = "synthetic"
PEOPLE = 1000
MOTION = "../shared/mocap"
"""From the working directory: motion whose test split no prior and no network has seen."""
PRESETS = ("fit_smplify", "fit_spin")
"""Settings that imitate other systems' fits; those that are shipped take part."""

BOX = "around the 14 true 2D joints, times 1.2, whatever the protocol's own data has"
KEYPOINTS = (
    "The predictors are given its detections: 1 % noise of the person's box, a tenth missing, none outside of the "
    "image. They are not told the focal length."
)

COLUMNS = {
    "h36m-p1-spin": ("MPJPE", "PA-MPJPE"),
    "h36m-p2-spin": ("PA-MPJPE",),
    "h36m-p1-hmr": ("MPJPE", "PA-MPJPE"),
    "h36m-p2-hmr": ("PA-MPJPE",),
    "3dhp-spin": ("MPJPE", "PCK@150", "AUC", "PA-MPJPE"),
    "3dhp-official": ("MPJPE", "PCK@150", "AUC"),
    "3dpw": ("MPJPE", "PA-MPJPE", "PVE"),
    "2d-lsp": ("PCK@0.05", "PCK@0.1", "AUC@0.1"),
    "lsp-spin": ("FG accuracy", "FG F1", "parts accuracy", "parts F1"),
    "lsp-full": ("FG accuracy", "FG F1", "parts accuracy", "parts F1"),
}
"""Protocol -> the measures that papers print of it."""


def synthetic_command(
    data: str | None = None,
    out: str | None = None,
    people: int = PEOPLE,
    seed: int = 0,
    motion: str | None = None,
    limit: int | None = None,
    page: str | None = None,
    config: str | None = None,
    overrides: Sequence[str] = (),
    renderer: str | None = None,
    **other: object,
) -> int:
    """Makes the data, predicts, scores, writes; prints the table.

    Raises:
        ValueError: a flag that says nothing here; another benchmark in the folder.
    """
    if other:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in other)
        raise ValueError(f"--protocol {NAME} runs every protocol with every predictor and takes no {flags}.")
    pipeline = Pipeline.of(load_config(config, overrides))
    use_threads(pipeline.threads)
    folder = Path(out or f"out/evaluate/{NAME}")
    root = Path(data or folder / "data")
    every = ("mean_pose", "initial_estimate", *PRESETS, "fit")
    refuse_in_the_way(folder, every, [f"{protocol}-{name}" for protocol in COLUMNS for name in every], page)
    make_data(root, people, seed, motion)
    free = load_body("free_body")
    drawn_by = make_renderer(renderer or pipeline.config.RENDER.BACKEND)
    setting = Setting(load_body(pipeline.body_name), dict.fromkeys("mfn", free), renderer=drawn_by)
    everybody = protocol_named("lsp-spin")(setting).load(root)[slice(limit)]
    predictors = {name: make_predictor(name, pipeline) for name in ("mean_pose", "initial_estimate")}
    predictors |= presets() | {"fit": Fit(pipeline.fitter)}  # the last one's best and worst people are shown
    files = {name: _export(name, p, everybody, pipeline, folder) for name, p in predictors.items()}
    runs = [run for protocol in COLUMNS for run in score_all(protocol, setting, root, everybody, files, folder)]
    table = published_table(runs)
    with own_file(folder / "table.md", "numbers") as temporary:
        temporary.write_text(table + "\n", encoding="utf-8")
    if page is not None:
        drawn = Report(setting.body, everybody, {name: read_predictions(file)[0] for name, file in files.items()})
        title = "hmrfit evaluate: the synthetic benchmark"
        print(f"Look at {drawn.write(page, runs, title, f'{card_of(root)}. {KEYPOINTS}')}")
    print(f"{table}\n\nIn {folder}: predictions, and every protocol's numbers as .json and .md. Data: {root}")
    return 0


def make_data(root: Path, people: int, seed: int, motion: str | None) -> None:
    """The benchmark, where it is not there yet."""
    if is_whole(root):
        return
    pool = pose_pool(motion, root / "motion.npz")
    print(f"Making {people} people in {root}, posed by {pool.origin}.")
    make_benchmark(root, Benchmark(load_body("free_body"), pool, people, seed))


def pose_pool(motion: str | None, cache: Path) -> PosePool:
    """The test split of the motion, weighted by class; without motion the shipped pose set.

    Raises:
        FileNotFoundError: there is no folder of that name.
    """
    folder = Path(motion or MOTION)
    if motion is None and not folder.is_dir():
        (found,) = read_fields(locate("poses"), ("poses",))
        body_pose = torch.as_tensor(found.astype(np.float64)).reshape(len(found), -1, 3)
        poses = torch.cat([torch.zeros_like(body_pose[:, :1]), body_pose], 1)
        origin = f"the shipped pose set (no motion in {MOTION}: these are the prior's own samples, an easier test)"
        return PosePool(poses, torch.ones(len(poses)), ("pose_set",) * len(poses), origin)
    check_cache(cache)
    frames = load_frames(read_pool(folder, cache=cache), "test")
    origin = f"{folder.name}, split 'test', {len(frames['weight'])} frames"
    poses, weight = (torch.as_tensor(frames[name]) for name in ("poses", "weight"))
    return PosePool(poses, weight, tuple(frames["label"].tolist()), origin)


def presets() -> dict[str, Predictor]:
    """The fits of other systems' settings, those that are shipped."""
    names = [name for name in PRESETS if (shipped("configs") / f"{name}.yaml").is_file()]
    return {name: Fit(Pipeline.of(load_config(name)).fitter) for name in names}


def _export(name: str, predictor: Predictor, people: EvaluationData, pipeline: Pipeline, folder: Path) -> Path:
    run: dict[str, Any] = {"predictor": name, "keypoints": keypoint_source(people), "version": __version__}
    settings = load_config(name).dump() if name in PRESETS else pipeline.settings
    stamp = Stamp({**run, "settings": settings}, dataset_stamp(NAME, people.people))
    return export(predictor, people, stamp, folder / f"{name}.npz")


def score_all(
    protocol: str, setting: Setting, root: Path, everybody: EvaluationData, files: Mapping[str, Path], folder: Path
) -> list[Run]:
    """Every predictor under one protocol; none where the protocol finds nobody among few people."""
    kind = protocol_named(protocol)
    data = kind(setting).load(root)
    rows, own = same_people(everybody, data)
    if not len(own):
        return []
    data, runs = data[own], []
    for name, file in files.items():
        predictions, stamp = read_predictions(file)
        part = predictions[torch.as_tensor(rows)]
        stamp = Stamp({**stamp.run, "dataset": card_of(root)}, stamp.dataset)
        run = scored(name, kind(setting), data, part, stamp, rows)
        run = replace(run, summary=replace(run.summary, box_source=BOX))
        run.summary.save(folder, f"{protocol}-{name}")
        runs.append(run)
    return runs


def same_people(everybody: EvaluationData, data: EvaluationData) -> tuple[np.ndarray, np.ndarray]:
    """(row in `everybody`, row in `data`) of the people that are in both: boxes are each person's own."""
    boxes = [[(*map(float, c), float(s)) for c, s in zip(d.people.center, d.people.scale, strict=True)] for d in (everybody, data)]  # fmt: skip  # noqa: E501
    known = {box: row for row, box in enumerate(boxes[0])}
    own = [row for row, box in enumerate(boxes[1]) if box in known]
    return np.array([known[boxes[1][row]] for row in own], np.int64), np.array(own, np.int64)


def card_of(root: Path) -> str:
    """What the benchmark was made of, in words."""
    card = read_json(root / "card.json")
    return f"{card['people']} synthetic people, seed {card['seed']}, posed by {card['poses']}"


def published_table(runs: Sequence[Run]) -> str:
    """Markdown: for each protocol a line a predictor, with the measures that papers print."""
    said = []
    for protocol, names in COLUMNS.items():
        own = [run for run in runs if run.summary.protocol == protocol]
        if own:
            said.append(_table(protocol, own, names))
    return "\n\n".join(said)


def _table(protocol: str, runs: Sequence[Run], names: Sequence[str]) -> str:
    units = {m.name: m.unit for m in runs[0].summary.measures}
    head = [protocol, *(f"{name} ({units[name]})" for name in names), "scored"]
    rows = [[r.predictor, *(_written(r.summary, n, units[n]) for n in names), str(r.summary.samples)] for r in runs]
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = [head, ["-" * w for w in widths], *rows]
    return "\n".join("| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in lines)


def _written(summary: Summary, name: str, unit: str) -> str:
    return f"{summary[name]:.4f}" if unit == "of 1" else f"{summary[name]:.1f}"
