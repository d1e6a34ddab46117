"""hmrfit evaluate: a protocol, its data and a predictor -> a predictions file, scored; with --fit a second one.

    DIR/<predictor>.npz   DIR/<predictor>.json, .md         (mean_pose, initial_estimate, or the name of the given file)
    DIR/<predictor>+fit.npz ...                             with --fit
    DIR/table.md                                            a line for each

The same command goes on where it was stopped, and scores again what is already predicted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hmrfit.assets import locate
from hmrfit.body.parts import read_part_labels
from hmrfit.body.regressors import REGRESSORS
from hmrfit.body.smpl import SmplBody
from hmrfit.build import load_body
from hmrfit.config import load_config
from hmrfit.evaluate.predict import export, keypoint_source
from hmrfit.evaluate.predictions import Fingerprint, Json, dataset_fingerprint, read_predictions
from hmrfit.evaluate.predictors import PREDICTORS, FitPredictor, GivenPredictions, Predictor, PredictorParts
from hmrfit.evaluate.protocol import PROTOCOLS, EvaluationData, Protocol, Setting, Summary
from hmrfit.evaluate.scoring import compared, score
from hmrfit.io.atomic import sweep
from hmrfit.io.own_files import holds_our_format, is_cut_off, own_file, refuse_others
from hmrfit.network.initial_estimate import KeypointHmr
from hmrfit.ops.check import did_you_mean
from hmrfit.ops.threads import use_threads
from hmrfit.pipeline import Pipeline
from hmrfit.priors.gmm import PoseGmm
from hmrfit.render.rasteriser import make_renderer
from hmrfit.report.evaluation import CasePictures, write_report
from hmrfit.version import __version__

GENDERED = {"m": "smpl_male", "f": "smpl_female"}
DEFAULT = "initial_estimate"
"""The predictor where none is named."""


@dataclass(frozen=True)
class EvaluateFlags:
    """What the command line gives."""

    protocol: str
    data: str | None = None
    out: str | None = None
    predictions: str | None = None
    predictor: str = DEFAULT
    fit: bool = False
    limit: int | None = None
    page: str | None = None
    config: str | None = None
    overrides: Sequence[str] = ()
    renderer: str | None = None
    masks: str | None = None
    part_labels: str | None = None
    regressor: Sequence[str] = ()
    truth_body: str | None = None
    people: int | None = None
    seed: int | None = None
    motion: str | None = None


def evaluate_command(flags: EvaluateFlags) -> int:
    """Predicts, scores, writes; prints the table."""
    kind, root = PROTOCOLS.find(flags.protocol), _data_root(flags)
    pipeline = Pipeline.of(load_config(flags.config, flags.overrides))
    use_threads(pipeline.threads)
    setting = make_setting(kind, pipeline, flags)
    data = kind(setting).load(root)[slice(flags.limit)]
    folder = Path(flags.out or f"out/evaluate/{flags.protocol}")
    first = flags.predictor if flags.predictions is None else Path(flags.predictions).stem
    names = [first, f"{first}+fit"] if flags.fit else [first]
    refuse_in_the_way(folder, names if flags.predictions is None else names[1:], names, flags.page)
    read = {
        name: read_predictions(file, dataset_fingerprint(kind.name, data.people))
        for name, file in exported(data, pipeline, folder, flags).items()
    }
    runs = [score(name, kind(setting), data, found, fingerprint) for name, (found, fingerprint) in read.items()]
    for run in runs:
        run.summary.save(folder, run.predictor)
    text = report({run.predictor: run.summary for run in runs})
    if flags.page is not None:
        pictures = CasePictures(setting.body, data, {name: found for name, (found, _) in read.items()})
        page = write_report(flags.page, runs, pictures, f"hmrfit evaluate: {flags.protocol}", kind.title)
        print(f"Look at {page}")
    with own_file(folder / "table.md", "numbers") as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    print(f"{text}\n\nIn {folder}: {', '.join(sorted(p.name for p in folder.iterdir()))}")
    return 0


def _data_root(flags: EvaluateFlags) -> Path:
    """The folder of the data.

    Raises:
        ValueError: none is given, or a flag that makes people.
    """
    made = {"people": flags.people, "seed": flags.seed, "motion": flags.motion}
    if given := [f"--{name}" for name, value in made.items() if value is not None]:
        raise ValueError(
            f"{', '.join(given)}: only --protocol synthetic makes people; {flags.protocol} scores those of --data."
        )
    if flags.data is None:
        raise ValueError(
            f"{flags.protocol} needs --data ROOT, its data set's folder. Without any data: --protocol synthetic."
        )
    return Path(flags.data)


def refuse_in_the_way(folder: Path, predicted: Sequence[str], scored: Sequence[str], page: str | None) -> None:
    """Checks before any work that no file of the user's has the name of a file to be written.

    Args:
        predicted, scored: names of predictions and of numbers, without suffix. page: the folder of the page.
    Raises:
        FileExistsError: names the file in the way.
    """
    npz = [folder / f"{name}.npz" for name in predicted]
    refuse_others(file for file in npz if not (file.is_file() and (holds_our_format(file) or is_cut_off(file))))
    refuse_others(folder / f"{name}{suffix}" for name in scored for suffix in (".json", ".md"))
    refuse_others([folder / "table.md", *([Path(page) / "index.html"] if page is not None else [])])
    sweep(folder)


def make_setting(kind: type[Protocol[Any]], pipeline: Pipeline, flags: EvaluateFlags) -> Setting:
    """What a protocol scores with, from the flags and the settings.

    Raises:
        ValueError, FileNotFoundError, ImportError: before any work.
    """
    body = load_body(pipeline.body_name)
    return Setting(
        body,
        gendered_bodies(flags.truth_body) if kind.gendered else {},
        regressor_files(flags.regressor),
        make_renderer(flags.renderer or pipeline.config.RENDER.BACKEND),
        None if flags.part_labels is None else read_part_labels(flags.part_labels, len(body.v_template)),
        None if flags.masks is None else Path(flags.masks),
    )


def gendered_bodies(truth_body: str | None) -> Mapping[str, SmplBody]:
    """Gender -> body; the named body for all genders and neutral people ("n"), where one is named."""
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
    """KIND=FILE each -> kind: file."""
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


def exported(data: EvaluationData, pipeline: Pipeline, folder: Path, flags: EvaluateFlags) -> dict[str, Path]:
    """Name of the run -> its predictions file; made now, or there already."""
    dataset = dataset_fingerprint(flags.protocol, data.people)
    run: dict[str, Json] = {"keypoints": keypoint_source(data), "settings": pipeline.settings, "version": __version__}
    start: Predictor
    if flags.predictions is not None:
        file = Path(flags.predictions)
        given, fingerprint = read_predictions(file, dataset)
        name, start = file.stem, GivenPredictions(given)
        run |= {"predictor": f"{name}, given", "given": dict(fingerprint.run)}
    else:
        name, start = flags.predictor, PREDICTORS.find(flags.predictor)(predictor_parts(pipeline, data))
        run |= {"predictor": name}
        file = export(start, data, Fingerprint({**run, "fit": False}, dataset), folder / f"{name}.npz")
    files = {name: file}
    if flags.fit:
        # the fitter makes its own initial estimate and more starts beside it; from anything else it starts alone
        own_start = flags.predictions is None and flags.predictor == DEFAULT
        fitting = FitPredictor(pipeline.fitter, None if own_start else start)
        fitted = folder / f"{name}+fit.npz"
        files[f"{name}+fit"] = export(fitting, data, Fingerprint({**run, "fit": True}, dataset), fitted)
    return files


def predictor_parts(pipeline: Pipeline, data: EvaluationData) -> PredictorParts:
    """What predictors of these settings are made from."""
    gmm = PoseGmm.from_file(locate("pose_gmm"))
    network = pipeline.fitter.network or KeypointHmr.from_file(locate("keypoint_hmr"))
    shape_count = load_body(pipeline.body_name).shape_count
    return PredictorParts(gmm.weights @ gmm.means, shape_count, network, pipeline.image_estimate, data)


def report(summaries: Mapping[str, Summary]) -> str:
    """The runs side by side, and what the numbers are of."""
    parts = [compared(summaries)]
    for name, summary in summaries.items():
        table, conditions = summary.to_table().rsplit("\n\n", 1)
        parts.append(f"{name}: {conditions}" + (f"\n\n{table}" if summary.groups else ""))
        missing = list(summary.problems.items())
        if missing:
            parts.append(f"{len(missing)} without a number, such as row {missing[0][0]}: {missing[0][1]}")
    return "\n\n".join(parts)
