"""hmrfit evaluate: a protocol, its data and a predictor -> a predictions file, scored; with --fit a second one.

    DIR/<predictor>.npz   DIR/<predictor>.json, .md         (mean_pose, initial_estimate, or the name of the file given)
    DIR/<predictor>+fit.npz ...                             with --fit
    DIR/table.md                                            a line for each

The same command goes on where it was stopped, and scores again what is already predicted.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hmrfit.assets import locate
from hmrfit.body.parts import read_part_labels
from hmrfit.body.regressors import REGRESSORS
from hmrfit.body.smpl import SmplBody
from hmrfit.build import load_body
from hmrfit.cli.report_page import Report, scored
from hmrfit.config import load_config
from hmrfit.evaluate.predictions import Stamp, dataset_stamp, read_predictions
from hmrfit.evaluate.predictors import (
    Fit,
    Given,
    ImageNetwork,
    InitialEstimate,
    MeanPose,
    Predictor,
    export,
    keypoint_source,
)
from hmrfit.evaluate.protocol import EvaluationData, Protocol, Setting, Summary, protocol_named
from hmrfit.evaluate.run import compared
from hmrfit.io.atomic import sweep
from hmrfit.io.own_files import holds_our_format, is_cut_off, own_file, refuse_others
from hmrfit.network.initial_estimate import KeypointHmr
from hmrfit.ops.check import did_you_mean
from hmrfit.ops.threads import use_threads
from hmrfit.pipeline import Pipeline
from hmrfit.priors.gmm import PoseGmm
from hmrfit.render.rasteriser import make_renderer
from hmrfit.version import __version__

GENDERED = {"m": "smpl_male", "f": "smpl_female"}
PREDICTORS = ("initial_estimate", "mean_pose", "image_estimate")


def evaluate_command(
    protocol: str,
    data: str | None = None,
    out: str | None = None,
    predictions: str | None = None,
    predictor: str = "initial_estimate",
    fit: bool = False,
    limit: int | None = None,
    page: str | None = None,
    config: str | None = None,
    overrides: Sequence[str] = (),
    **setting: Any,
) -> int:
    """Predicts, scores, writes; prints the table. `setting`: the flags that say what is scored with."""
    kind = protocol_named(protocol)
    if made := [f"--{name}" for name in ("people", "seed", "motion") if name in setting]:
        raise ValueError(
            f"{', '.join(made)}: only --protocol synthetic makes people; {protocol} scores those of --data."
        )
    if data is None:
        raise ValueError(
            f"{protocol} needs --data ROOT, its data set's folder. Without any data: --protocol synthetic."
        )
    pipeline = Pipeline.of(load_config(config, overrides))
    use_threads(pipeline.threads)
    backend = pipeline.config.RENDER.BACKEND
    chosen = make_setting(kind, load_body(pipeline.body_name), **{"renderer": backend, **setting})
    people = kind(chosen).load(Path(data))[slice(limit)]
    folder = Path(out or f"out/evaluate/{protocol}")
    made = predictor if predictions is None else Path(predictions).stem
    runs_of = [made, f"{made}+fit"] if fit else [made]
    refuse_in_the_way(folder, runs_of if predictions is None else runs_of[1:], runs_of, page)
    files = exported(people, kind.name, pipeline, folder, predictions, predictor, fit)
    read = {name: read_predictions(file, dataset_stamp(kind.name, people.people)) for name, file in files.items()}
    runs = [scored(name, kind(chosen), people, found, stamp) for name, (found, stamp) in read.items()]
    for run in runs:
        run.summary.save(folder, run.predictor)
    said = report({run.predictor: run.summary for run in runs})
    if page is not None:
        drawn = Report(chosen.body, people, {name: found for name, (found, _) in read.items()})
        print(f"Look at {drawn.write(page, runs, f'hmrfit evaluate: {protocol}', kind.title)}")
    with own_file(folder / "table.md", "numbers") as temporary:
        temporary.write_text(said + "\n", encoding="utf-8")
    print(f"{said}\n\nIn {folder}: {', '.join(sorted(p.name for p in folder.iterdir()))}")
    return 0


def refuse_in_the_way(folder: Path, predicted: Sequence[str], scored_as: Sequence[str], page: str | None) -> None:
    """Before any work: no file of the user's is called like one of the predictions, numbers and pages to be written.

    Raises:
        FileExistsError: names what is in the way.
    """
    npz = [folder / f"{name}.npz" for name in predicted]
    refuse_others(file for file in npz if not (file.is_file() and (holds_our_format(file) or is_cut_off(file))))
    refuse_others(folder / f"{name}{suffix}" for name in scored_as for suffix in (".json", ".md"))
    refuse_others([folder / "table.md", *([Path(page) / "index.html"] if page is not None else [])])
    sweep(folder)


def make_setting(
    kind: type[Protocol],
    body: SmplBody,
    renderer: str,
    masks: str | None = None,
    part_labels: str | None = None,
    regressor: Sequence[str] = (),
    truth_body: str | None = None,
) -> Setting:
    """What the flags say to score with.

    Raises:
        ValueError, FileNotFoundError, ImportError: letters, before any work.
    """
    labels = None if part_labels is None else read_part_labels(part_labels, len(body.v_template))
    gendered = gendered_bodies(truth_body) if kind.gendered else {}
    masks_root = None if masks is None else Path(masks)
    return Setting(body, gendered, regressor_files(regressor), make_renderer(renderer), labels, masks_root)


def gendered_bodies(truth_body: str | None) -> Mapping[str, SmplBody]:
    """Gender -> body. One body for all, neutral ones ("n") too, where it is named."""
    if truth_body is not None:
        return dict.fromkeys("mfn", load_body(truth_body))
    try:
        return {gender: load_body(name) for gender, name in GENDERED.items()}
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{error} 3DPW's truth is posed by SMPL's male and female bodies. For data that was made with another "
            "body, name it: --truth-body free_body."
        ) from None


def regressor_files(pairs: Sequence[str]) -> dict[str, str]:
    """KIND=FILE each."""
    found = {}
    for pair in pairs:
        kind, equals, file = pair.partition("=")
        if not equals or kind not in REGRESSORS:
            raise ValueError(
                f"A regressor is written KIND=FILE.npy, KIND one of {', '.join(REGRESSORS)}, not '{pair}'."
                f"{did_you_mean(kind, REGRESSORS)}"
            )
        found[kind] = file
    return found


def exported(
    people: EvaluationData,
    protocol: str,
    pipeline: Pipeline,
    folder: Path,
    predictions: str | None,
    predictor: str,
    fit: bool,
) -> dict[str, Path]:
    """Name of the run -> its predictions file; made now, or there already."""
    dataset = dataset_stamp(protocol, people.people)
    run = {"keypoints": keypoint_source(people), "settings": pipeline.settings, "version": __version__}
    if predictions is not None:
        given, stamp = read_predictions(predictions, dataset)
        name, start, first = Path(predictions).stem, Given(given), Path(predictions)
        run = {**run, "predictor": f"{name}, given", "given": dict(stamp.run)}
    else:
        name, start = predictor, make_predictor(predictor, pipeline, people)
        run = {**run, "predictor": predictor}
        first = export(start, people, Stamp({**run, "fit": False}, dataset), folder / f"{name}.npz")
    files = {name: first}
    if fit:
        # the fitter makes its own initial estimate and more starts beside it; anything else is where it starts alone
        fitting = Fit(pipeline.fitter, None if predictions is None and predictor == "initial_estimate" else start)
        fitted = folder / f"{name}+fit.npz"
        files[f"{name}+fit"] = export(fitting, people, Stamp({**run, "fit": True}, dataset), fitted)
    return files


def make_predictor(name: str, pipeline: Pipeline, people: EvaluationData | None = None) -> Predictor:
    """By name. `people` are those whose images an image network is shown.

    Raises:
        ValueError: an unknown name, or an image network is asked for and none is named in the settings.
    """
    if name not in PREDICTORS:
        raise ValueError(f"There is no predictor '{name}'.{did_you_mean(name, PREDICTORS)} Known: {', '.join(PREDICTORS)}.")  # fmt: skip  # noqa: E501
    if name == "mean_pose":
        gmm = PoseGmm.from_file(locate("pose_gmm"))
        return MeanPose(gmm.weights @ gmm.means, load_body(pipeline.body_name).shape_count)
    if name == "image_estimate":
        if pipeline.image_estimate is None or people is None:
            raise ValueError("--predictor image_estimate needs a network: --set PRIORS.IMAGE_ESTIMATE=FILE, trained or published.")  # fmt: skip  # noqa: E501
        return ImageNetwork(pipeline.image_estimate.without_flip_test(), people)
    return InitialEstimate(pipeline.fitter.network or KeypointHmr.from_file(locate("keypoint_hmr")))


def report(summaries: Mapping[str, Summary]) -> str:
    """The runs side by side, and what the numbers are of."""
    said = [compared(summaries)]
    for name, summary in summaries.items():
        table, note = summary.to_table().rsplit("\n\n", 1)
        said.append(f"{name}: {note}" if not summary.groups else f"{name}: {note}\n\n{table}")
        lost = list(summary.problems.items())
        if lost:
            said.append(f"{len(lost)} without a number, such as row {lost[0][0]}: {lost[0][1]}")
    return "\n\n".join(said)
