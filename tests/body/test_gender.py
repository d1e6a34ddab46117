"""The gender of a body file, from its own field, its name, or its folder."""

from pathlib import Path

import numpy as np
import pytest
from helpers.python2_pickles import smpl_pickle
from helpers.synthetic_body import synthetic_body

import hmrfit
from hmrfit.body.files import write_body_npz
from hmrfit.body.gender import gender_of
from hmrfit.cli import main


@pytest.mark.parametrize(
    ("body", "gender"),
    [
        ("smpl_female", "female"),
        ("smpl_male", "male"),
        ("smpl_neutral", "neutral"),
        ("free_body", "neutral"),
        ("bodies/SMPL_FEMALE.pkl", "female"),
        ("basicModel_f_lbs_10_207_0_v1.0.0.pkl", "female"),
        ("basicmodel_m_lbs_10_207_0_v1.1.0.pkl", "male"),
        ("SMPLXMale.npz", "male"),
        ("SmplFemale.npz", "female"),
        ("smplh/female/model.npz", "female"),
        ("smplh/male/model.npz", "male"),
        ("tamale.npz", "neutral"),
        ("body_f32.npz", "neutral"),
        ("/home/man/body.npz", "neutral"),
        ("", "neutral"),
    ],
)
def test_names(body: str, gender: str) -> None:
    assert gender_of(body) == gender == gender_of(Path(body))


@pytest.mark.parametrize(
    ("field", "gender"),
    [("female", "female"), (b"male", "male"), (" Female", "female"), ("m", "male"), ("neutral", "neutral")],
)
def test_what_the_file_says_counts_more_than_its_name(field: str | bytes, gender: str) -> None:
    assert gender_of("SMPL_MALE.npz" if gender != "male" else "SMPL_FEMALE.npz", {"gender": np.array(field)}) == gender


@pytest.mark.parametrize("field", ["unknown", "", 3, ["male", "female"]])
def test_what_is_no_gender_is_passed_over(field: object) -> None:
    assert gender_of("SMPL_FEMALE.npz", {"gender": np.array(field)}) == "female"


def test_bodies_know_theirs(tmp_path: Path) -> None:
    write_body_npz(tmp_path / "SMPL_FEMALE.npz", synthetic_body())
    write_body_npz(tmp_path / "mine.npz", {**synthetic_body(), "gender": np.array("male")})
    (tmp_path / "old.pkl").write_bytes(smpl_pickle({**synthetic_body(), "gender": "female"}))
    found = [hmrfit.SmplBody.from_file(tmp_path / name).gender for name in ("SMPL_FEMALE.npz", "mine.npz", "old.pkl")]
    assert found == ["female", "male", "female"]


def test_a_converted_body_keeps_it_under_another_name(tmp_path: Path) -> None:
    (tmp_path / "SMPL_FEMALE.pkl").write_bytes(smpl_pickle(synthetic_body()))
    assert main(["convert", str(tmp_path / "SMPL_FEMALE.pkl"), str(tmp_path / "hers.npz")]) == 0
    assert hmrfit.SmplBody.from_file(tmp_path / "hers.npz").gender == "female"
