"""From settings to objects: the files that they name, stages of one's own, and the schedules that are shipped."""

import shutil
from pathlib import Path

import pytest

from hmrfit.assets import shipped
from hmrfit.build import build_parts, parameter_files
from hmrfit.config import ConfigError, load_config
from hmrfit.fitting.starts import GivenStart

FILES = {
    "BODY.PATH": "free_body",
    "PRIORS.GMM": "pose_gmm",
    "PRIORS.LIMITS": "joint_limits",
    "PRIORS.HAND_LIMITS": "hand_limits",
    "PRIORS.HANDS": "hand_pose_gmm",
    "PRIORS.ERROR_MODEL": "error_model",
    "PRIORS.MIXTURE": "mixture_hmr",
    "PRIORS.LABELS": "label_model",
    "PRIORS.DISCRIMINATORS": "discriminators",
    "PRIORS.INITIAL_ESTIMATE": "keypoint_hmr",
    "PRIORS.IMAGE_ESTIMATE": "keypoint_hmr",
    "PRIORS.KEYPOINT_OFFSETS": "keypoint_hmr",
}
"""Every setting that names a file of parameters for a fit."""


def test_every_setting_that_names_a_file_is_here() -> None:
    assert set(FILES) == {"BODY.PATH", *(f"PRIORS.{name}" for name in load_config().PRIORS)}


@pytest.mark.parametrize("key", FILES)
def test_the_file_of_every_setting_counts(tmp_path: Path, key: str) -> None:
    own = tmp_path / "own.npz"
    shutil.copy(shipped("priors") / f"{FILES[key]}.npz", own)
    assert own in parameter_files(load_config(None, [f"{key}={own}"]))


def test_discriminators_that_are_not_there_are_an_error() -> None:
    with pytest.raises(FileNotFoundError, match="discriminator"):
        build_parts(load_config(None, ["PRIORS.DISCRIMINATORS=discriminators_of_mine"]))


def test_the_start_that_the_settings_name() -> None:
    """Each is another start; the count of the library's hypotheses is the one that was set."""
    starts = ("initial_estimate", "library", "mean_pose")
    kinds = [type(build_parts(load_config(None, [f"FIT.START={s}"]))[0].schedule.start).__name__ for s in starts]
    assert kinds == ["InitialEstimate", "Library", "MeanPose"]
    fitter, _ = build_parts(load_config(None, ["FIT.START=library", "FIT.HYPOTHESES=2"]))
    assert fitter.schedule.start.count == 2


def test_factors_are_the_roots_of_weights(tmp_path: Path) -> None:
    """As SMPLify writes them: a residual times 57.4 costs 57.4² times as much."""
    settings = "FIT:\n  STAGES: [{factors: {gmm: 57.4, interpenetration: 1000}, weights: {shape: 2}}]\n"
    (tmp_path / "mine.yaml").write_text(settings)
    (stage,) = build_parts(load_config(tmp_path / "mine.yaml"))[0].schedule.stages
    assert stage.weights == {"gmm": pytest.approx(57.4**2), "interpenetration": 1e6, "shape": 2}


@pytest.mark.parametrize(
    ("stages", "error", "said"),
    [
        ("[{weights: {gmm: 1}, max_step: 3}]", ConfigError, r"no setting max_step\. Did you mean 'max_steps'"),
        *(
            (f"[{{{kind}: {{gmm: {weight}}}}}]", error, f"FIT.STAGES: {kind}: gmm should be one number from 0")
            for kind in ("weights", "factors")
            for weight, error in (("1e3", TypeError), (".nan", ValueError), ("-1", ValueError), ("[1, 2]", ValueError))
        ),
        ("[{weights: {gmm: 1}, keep: 0}]", ValueError, "FIT.STAGES: keep should be one number, between 1 and"),
        ("[{weights: {gmm: 1}, keep: x}]", TypeError, "FIT.STAGES: keep should be one number"),
        ("[{weights: {gmm: 1}, max_steps: -3}]", ValueError, "FIT.STAGES: max_steps should be one number, between 0"),
    ],
)
def test_stages_that_are_none(tmp_path: Path, stages: str, error: type[Exception], said: str) -> None:
    (tmp_path / "mine.yaml").write_text(f"FIT:\n  STAGES: {stages}\n")
    with pytest.raises(error, match=said):
        build_parts(load_config(tmp_path / "mine.yaml"))


@pytest.mark.parametrize("setting", ["FIT.HYPOTHESES=-1", "FIT.HYPOTHESES=100000", "FIT.LIBRARY=0", "FIT.SIGMA=-0.1"])
def test_settings_out_of_range(setting: str) -> None:
    key, value = setting.split("=")
    with pytest.raises(ValueError, match=rf"{key} should be one number, between .*, but is {float(value):g}"):
        build_parts(load_config(None, [setting]))


def test_a_given_start_is_the_only_one_also_of_views() -> None:
    """From the mean pose SMPLify turns some people about and keeps two hypotheses; a given start is the only one."""
    _, schedules = build_parts(load_config("fit_smplify"))
    assert schedules.fit.stages[0].branch is not None and schedules.views.stages[0].keep == 2
    for schedule in (schedules.given, schedules.views_given):
        assert isinstance(schedule.start, GivenStart)
        assert all(stage.branch is None and stage.keep == 1 for stage in schedule.stages)
