"""Protocols of hands against slow twins, their files of predictions, and their commands."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.hand_folders import OPENGL, dexycb_folder, freihand_folder, ho3d_folder, interhand_folder

from hmrfit.cli import main
from hmrfit.datasets import read_hands
from hmrfit.datasets.hand_dataset import HandDataset
from hmrfit.evaluate.hand_predictions import (
    HandPredictions,
    read_hand_predictions,
    write_hand_predictions,
    write_public,
)
from hmrfit.evaluate.hand_protocol import HAND_PROTOCOLS, make_hand_protocol
from hmrfit.evaluate.hand_scores import HandScores, Similarity
from hmrfit.evaluate.protocols.dexycb import DexYcb

FOLDERS = {"freihand": freihand_folder, "ho3d": ho3d_folder}


def guessed(data: HandDataset, rng: np.random.Generator, by: float = 0.01) -> HandPredictions:
    vertices = None if data.vertices is None else data.vertices + by * rng.standard_normal(data.vertices.shape)
    return HandPredictions(data.joints + by * rng.standard_normal(data.joints.shape), vertices)


@pytest.mark.parametrize("name", FOLDERS)
def test_public_files_come_back_and_the_numbers_are_the_scores(name: str, tmp_path: Path, rng) -> None:
    FOLDERS[name](tmp_path)
    protocol = make_hand_protocol(name)
    data = protocol.load(tmp_path)
    predictions = guessed(data, rng)
    write_public(tmp_path / "pred.json", predictions, data, name)
    joints, vertices = json.loads((tmp_path / "pred.json").read_text())
    sign = OPENGL if name == "ho3d" else 1.0
    np.testing.assert_array_equal(np.array(joints) * sign, predictions.joints)
    found, _ = read_hand_predictions(tmp_path / "pred.json", data, name)
    np.testing.assert_array_equal(found.vertices, np.array(vertices) * sign)
    protocol.update(found, data)
    summary, scores = protocol.summary(), HandScores(name == "ho3d")
    for i in range(len(data)):
        scores.update(predictions.joints[i], predictions.vertices[i], data.joints[i], data.vertices[i])
    numbers = scores.numbers()
    assert summary["PA-MPJPE"] == pytest.approx(numbers["aligned joints"], abs=1e-9)
    assert summary["PA-F@15"] == pytest.approx(numbers["aligned F@15"], abs=1e-9)
    assert summary["MPVPE"] == pytest.approx(numbers["vertices"], abs=1e-9)
    assert ("ST-MPJPE" in [m.name for m in summary.measures]) == (name == "ho3d")
    assert "not the whole published evaluation" in summary.joint_set


def test_joints_alone_have_no_scores_of_a_mesh(tmp_path: Path, rng) -> None:
    freihand_folder(tmp_path)
    protocol = make_hand_protocol("freihand")
    data = protocol.load(tmp_path)
    alone = HandPredictions(guessed(data, rng).joints)
    write_public(tmp_path / "pred.json", alone, data, "freihand")
    found, _ = read_hand_predictions(tmp_path / "pred.json", data, "freihand")
    assert found.vertices is None
    protocol.update(found, data)
    assert [m.name for m in protocol.summary().measures] == ["MPJPE", "MPJPE AUC", "PA-MPJPE", "PA-MPJPE AUC"]


def test_interhand_is_the_authors_loop(tmp_path: Path, rng) -> None:
    """Point by point, as their evaluate() does it."""
    interhand_folder(tmp_path)
    protocol = make_hand_protocol("interhand")
    data = protocol.load(tmp_path)
    found = guessed(data, rng)
    protocol.update(found, data)
    single, both = [[] for _ in range(42)], [[] for _ in range(42)]
    for row in range(len(data)):
        x, y = found.joints[row] - found.joints[row, 20], data.joints[row] - data.joints[row, 20]
        for k in range(21):
            if data.valid[row, k]:
                j = k + (21 if data.side[row] == "left" else 0)
                (single if data.group[row] == "single" else both)[j].append(1000 * np.sqrt(((x[k] - y[k]) ** 2).sum()))
    summary = protocol.summary()
    assert summary["MPJPE single"] == pytest.approx(np.mean([np.mean(e) for e in single if e]), abs=1e-9)
    assert summary["MPJPE interacting"] == pytest.approx(np.mean([np.mean(e) for e in both if e]), abs=1e-9)
    whole = [np.mean(a + b) for a, b in zip(single, both, strict=True) if a + b]
    assert summary["MPJPE"] == pytest.approx(np.mean(whole), abs=1e-9)
    roots = (found.joints[2, 20] - found.joints[1, 20]) - (data.joints[2, 20] - data.joints[1, 20])
    assert summary["MRRPE"] == pytest.approx(1000 * np.linalg.norm(roots), abs=1e-9)


def test_dexycb_has_three_alignments_and_lines_of_numbers(tmp_path: Path, rng) -> None:
    dexycb_folder(tmp_path)
    data, protocol = read_hands("dexycb", tmp_path, "s1_val"), DexYcb()
    found = guessed(data, rng)
    write_public(tmp_path / "results.txt", found, data, "dexycb")
    with (tmp_path / "results.txt").open("a") as file:
        file.write("0," + ",".join(["0"] * 63) + "\n")  # the sample without a hand
    again, _ = read_hand_predictions(tmp_path / "results.txt", data, "dexycb")
    np.testing.assert_allclose(again.joints, found.joints, rtol=1e-15)
    protocol.update(again, data)
    summary = protocol.summary()
    x, y = 1000 * found.joints, 1000 * data.joints
    aligned = np.stack([Similarity.of(a, b).own(a) for a, b in zip(x, y, strict=True)])
    expected = {"MPJPE": x - y, "RR-MPJPE": (x - x[:, :1]) - (y - y[:, :1]), "PA-MPJPE": aligned - y}
    for name, difference in expected.items():
        assert summary[name] == pytest.approx(np.linalg.norm(difference, axis=-1).mean(), abs=1e-9)


@pytest.mark.parametrize("name", ["freihand", "interhand", "dexycb"])
def test_a_hand_without_a_prediction_is_left_out_alone(name: str, tmp_path: Path, rng) -> None:
    freihand_folder(tmp_path)
    data = replace(read_hands("freihand", tmp_path), group=np.full(3, "single"))
    found = guessed(data, rng)
    found.joints[1, 4, 0] = np.nan
    protocol, others = make_hand_protocol(name), make_hand_protocol(name)
    protocol.update(found, data)
    rows = np.array([0, 2])
    others.update(HandPredictions(found.joints[rows], found.vertices[rows]), data[rows])
    assert protocol.summary().missing == 1 and protocol.summary().samples == 2
    assert [m.value for m in protocol.summary().measures[:1]] == [m.value for m in others.summary().measures[:1]]
    with pytest.raises(ValueError, match="1 of 3 hands have no prediction"):
        write_public(tmp_path / "p.json", found, data, "freihand")
    with pytest.raises(ValueError, match="No hand was scored"):
        make_hand_protocol(name).summary()


def test_our_own_file_knows_its_hands(tmp_path: Path, rng) -> None:
    freihand_folder(tmp_path)
    data = read_hands("freihand", tmp_path)
    found = guessed(data, rng)
    write_hand_predictions(tmp_path / "a.npz", found, data, {"predictor": "guess"})
    again, run = read_hand_predictions(tmp_path / "a.npz", data)
    np.testing.assert_array_equal(again.joints, found.joints)
    assert run == {"predictor": "guess"}
    with pytest.raises(ValueError, match="another run, split or --limit"):
        read_hand_predictions(tmp_path / "a.npz", data[:2])


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("p.json", "[[[[1, 2, 3]]]]", "1 list of matrices"),
        ("p.json", json.dumps([np.zeros((2, 21, 3)).tolist(), []]), "joints of 2 samples, but 3"),
        ("p.json", json.dumps([np.zeros((3, 20, 3)).tolist(), [[], [], []]]), r"should be \(21, 3\)"),
        ("p.txt", "1,2,3\n", "line 1 has 3 numbers, not 64"),
    ],
)
def test_other_files_of_predictions_are_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    freihand_folder(tmp_path)
    (tmp_path / name).write_text(text)
    form = "dexycb" if name.endswith("txt") else "freihand"
    with pytest.raises(ValueError, match=message):
        read_hand_predictions(tmp_path / name, read_hands("freihand", tmp_path), form)


# ---- the command


def test_the_command_runs_without_any_data_and_scores_its_own_file(tmp_path: Path, capsys) -> None:
    args = ["evaluate", "--protocol", "ho3d", "--people", "6", "-o", str(tmp_path / "a")]
    assert main(args) == 0
    first = (tmp_path / "a" / "table.md").read_text()
    assert "ST-MPJPE" in first and "poses of the prior itself" in first
    before = (tmp_path / "a" / "fit.npz").stat().st_mtime_ns
    assert main(args) == 0 and (tmp_path / "a" / "fit.npz").stat().st_mtime_ns == before
    pred = str(tmp_path / "a" / "fit.pred.json")
    assert main([*args[:-1], str(tmp_path / "b"), "--predictions", pred]) == 0
    numbers = [json.loads((tmp_path / n).read_text())["measures"] for n in ("a/fit.json", "b/fit.pred.json")]
    for one, other in zip(*numbers, strict=True):
        assert one["value"] == pytest.approx(other["value"], abs=1e-9)
    assert numbers[0][2]["name"] == "PA-MPJPE" and numbers[0][2]["value"] < 12


def test_the_command_fits_a_download_with_two_hands(tmp_path: Path, capsys) -> None:
    interhand_folder(tmp_path / "data")
    assert (
        main(["evaluate", "--protocol", "interhand", "--data", str(tmp_path / "data"), "-o", str(tmp_path / "o")]) == 0
    )
    said = json.loads((tmp_path / "o" / "fit.json").read_text())
    assert said["samples"] == 3 and said["measures"][3]["name"] == "MRRPE" and said["measures"][0]["value"] < 40


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--fit"], "is about hands, and takes no --fit"),
        (["--predictor", "zeroes"], "no predictor of hands 'zeroes'. Did you mean 'zeros'"),
        (["--noise", "2"], "--noise should be a fraction"),
        (["--data", "x", "--people", "3"], "Leave one of them out"),
        (["--data", "x"], "The download in 'x' is not whole"),
    ],
)
def test_what_the_command_refuses(flags: list[str], message: str, tmp_path: Path, capsys) -> None:
    assert main(["evaluate", "--protocol", "freihand", *flags, "-o", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


def test_zeros_are_the_templates_of_the_public_code(tmp_path: Path, capsys) -> None:
    args = ["evaluate", "--protocol", "freihand", "--people", "4", "--predictor", "zeros", "-o", str(tmp_path)]
    assert main(args) == 0
    said = {m["name"]: m["value"] for m in json.loads((tmp_path / "zeros.json").read_text())["measures"]}
    assert said["F@5"] == 0 and said["MPJPE"] > 300 and 20 < said["PA-MPJPE"] < 80


def test_all_protocols_of_hands_are_known() -> None:
    assert HAND_PROTOCOLS.names() == ("dexycb", "freihand", "ho3d", "interhand")
