"""Engines: made once for equal settings and files, and told apart by what those files hold."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from hmrfit.assets import shipped
from hmrfit.build import Engine, build, load_body, parameter_files
from hmrfit.config import load_config

FILES = {
    "BODY.PATH": "free_body", "PRIORS.GMM": "pose_gmm", "PRIORS.LIMITS": "joint_limits",
    "PRIORS.ERROR_MODEL": "error_model", "PRIORS.DISCRIMINATORS": "discriminators",
    "PRIORS.INITIAL_ESTIMATE": "keypoint_hmr", "PRIORS.IMAGE_ESTIMATE": "keypoint_hmr",
}  # fmt: skip
"""Every setting that names a file of parameters for a fit."""


def test_every_setting_that_names_a_file_is_here() -> None:
    assert set(FILES) == {"BODY.PATH", *(f"PRIORS.{name}" for name in load_config().PRIORS)}


@pytest.mark.parametrize("key", FILES)
def test_the_file_of_every_setting_counts(tmp_path: Path, key: str) -> None:
    own = tmp_path / "own.npz"
    shutil.copy(shipped("priors") / f"{FILES[key]}.npz", own)
    assert own in parameter_files(load_config(None, [f"{key}={own}"]))


def test_the_fingerprint_is_of_settings_and_contents(tmp_path: Path) -> None:
    files = []
    for name in "abc":
        (tmp_path / name).write_text(name)
        files.append(tmp_path / name)
    engine = Engine(None, "body", "smpl", "settings", files=tuple(files))
    known = {engine.fingerprint, replace(engine, settings="others").fingerprint}
    for file in files:
        file.write_text("changed")
        known.add(replace(engine).fingerprint)
    assert len(known) == 5


def test_equal_settings_give_the_same_engine() -> None:
    assert build() is build()
    assert build(load_config(None, ["SEED=0"])) is build()


def test_a_file_that_was_written_again_is_read_again(tmp_path: Path) -> None:
    own = tmp_path / "body.npz"
    shutil.copy(shipped("priors") / "free_body.npz", own)
    config = load_config(None, [f"BODY.PATH={own}"])
    engine, body = build(config), load_body(str(own))
    assert build(config) is engine and load_body(str(own)) is body
    shutil.copy(shipped("priors") / "free_body.npz", own)
    assert build(config) is not engine
    assert load_body(str(own)) is not body
    assert build() is build()
