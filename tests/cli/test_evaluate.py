"""hmrfit evaluate, from data in each layout to a table: its files, its error messages, with and without the fit."""

import json
import shutil

import numpy as np
import pytest
import torch
from helpers.bodies import free_body
from helpers.process_state import only_here

from hmrfit.cli import main
from hmrfit.datasets.spin_npz import read_spin_npz, write_spin_npz
from hmrfit.evaluate.predictions import Fingerprint, dataset_fingerprint, read_predictions, write_predictions
from hmrfit.evaluate.protocol import Setting, make_protocol
from hmrfit.io.atomic import atomic_write
from hmrfit.io.image import write_image
from hmrfit.io.opencv import cv2
from hmrfit.render.backends.builtin import BuiltinRenderer
from hmrfit.render.rasteriser import RENDERERS, label_faces
from hmrfit.synthetic.benchmark import Benchmark, LabelledPoses, datasets_of
from hmrfit.synthetic.people import People

N = 3


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Three people in the layout of every data set; images are black, masks are of the true bodies."""
    folder, body = tmp_path_factory.mktemp("data"), free_body()
    poses = torch.zeros(1, 24, 3).double()
    poses[0, 16:18, 2] = torch.tensor([-1.1, 1.1])  # arms down
    benchmark = Benchmark(body, LabelledPoses(poses, torch.ones(1), ("stand",), "one pose"), count=N)
    people = People.cat([benchmark.person(i).people for i in range(N)])
    files, sizes = datasets_of(people, ["stand"] * N, benchmark), people.camera.size.int().tolist()
    for name, dataset in files.items():
        write_spin_npz(folder / "dataset_extras" / name, dataset)
        rows = range(0, N, 4) if "protocol2" in name else range(N)  # every fourth before the frontal camera
        for image, row in zip(dataset.imgname, rows, strict=True):
            write_image(folder / str(image), np.zeros((*sizes[row][::-1], 3), np.uint8))
    lsp, labels = files["lsp_dataset_test.npz"], label_faces(body.part_labels, body.faces)
    for i in range(N):
        parts = (
            BuiltinRenderer().parts(body(people.params[i]).vertices, body.faces, people.camera[i], labels)[0].numpy()
        )
        for name, picture in ((lsp.maskname[i], 255 * (parts > 0)), (lsp.partname[i], parts)):
            with atomic_write(folder / str(name)) as temporary:
                temporary.write_bytes(cv2.imencode(".png", picture.astype(np.uint8))[1].tobytes())
    return folder


def evaluate(root, out, *more: str, protocol: str = "h36m-p1-spin") -> int:
    return main(["evaluate", "--protocol", protocol, "--data", str(root), "-o", str(out), *more])


@pytest.mark.parametrize(
    "protocol, more",
    [
        ("h36m-p1-spin", ()),
        ("h36m-p2-spin", ()),
        ("3dhp-spin", ()),
        ("3dhp-official", ()),
        ("3dpw", ("--truth-body", "free_body")),
        ("lsp-spin", ()),
        ("lsp-full", ()),
        ("2d-lsp", ()),
    ],
)
def test_every_protocol_runs_from_data_to_table(root, tmp_path, capsys, protocol, more):
    assert evaluate(root, tmp_path, *more, protocol=protocol) == 0
    said = json.loads((tmp_path / "initial_estimate.json").read_text())
    expected = 1 if protocol == "h36m-p2-spin" else N
    assert said["samples"] == expected and said["missing"] == 0 and said["run"]["predictor"] == "initial_estimate"
    assert all(np.isfinite(m["value"]) for m in said["measures"])
    assert f"{said['measures'][0]['name']} (" in capsys.readouterr().out
    assert (tmp_path / "table.md").read_text().startswith("|    ")


def test_the_report_shows_both_runs_and_the_people(root, tmp_path, capsys):
    assert evaluate(root, tmp_path, "--fit", "--report", str(tmp_path / "page"), protocol="lsp-full") == 0
    assert "page/index.html" in capsys.readouterr().out
    page = (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    for said in (
        "hmrfit: initial_estimate",
        "hmrfit: initial_estimate+fit",
        "true \\ found",
        "people, best first by FG F1",
    ):
        assert said in page
    assert page.count("<img") == N


def test_the_same_command_with_the_fit_says_what_it_is_worth(root, tmp_path, capsys):
    assert evaluate(root, tmp_path, "--fit", "--limit", "2") == 0
    table = capsys.readouterr().out
    rows = [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("|")]
    assert {"initial_estimate", "initial_estimate+fit", "last − first"} < set(rows)
    runs = [json.loads((tmp_path / f"{run}.json").read_text()) for run in ("initial_estimate", "initial_estimate+fit")]
    values = [run["measures"][1]["value"] for run in runs]
    assert values[0] != values[1] and all(value < 200 for value in values)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.npz")}
    assert evaluate(root, tmp_path, "--fit", "--limit", "2") == 0  # scored again, not predicted again
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.npz")} and len(before) == 2


def test_the_truth_as_a_predictions_file(root, tmp_path, capsys):
    """Through the whole command: exactly 0 mm. And --fit starts from the file."""
    body, truth = free_body(), tmp_path / "truth.npz"
    protocol = make_protocol("3dpw", Setting(body, gendered={"n": body}))
    data = protocol.load(root)
    _initial_estimate(root, tmp_path / "guess")
    like, _ = read_predictions(tmp_path / "guess" / "initial_estimate.npz")
    predictions = type(like)(data.people.params(), like.camera, like.done)
    write_predictions(truth, predictions, Fingerprint({"predictor": "truth"}, dataset_fingerprint("3dpw", data.people)))
    more = ("--truth-body", "free_body", "--predictions", str(truth))
    assert evaluate(root, tmp_path / "out", *more, protocol="3dpw") == 0
    said = json.loads((tmp_path / "out" / "truth.json").read_text())
    assert [m["value"] for m in said["measures"]] == [0, 0, 0]
    with pytest.raises(ValueError, match="is to be scored"):
        read_predictions(truth, dataset_fingerprint("3dpw", data.people[:2]))
    assert evaluate(root, tmp_path / "out", *more, "--limit", "2", protocol="3dpw") == 2
    assert "predictions for 3 people of '3dpw'" in capsys.readouterr().err


def _initial_estimate(root, out) -> None:
    assert evaluate(root, out, "--truth-body", "free_body", protocol="3dpw") == 0


def test_the_mean_pose_needs_no_keypoints(root, tmp_path):
    assert evaluate(root, tmp_path, "--predictor", "mean_pose") == 0
    assert (tmp_path / "mean_pose.npz").is_file()


@pytest.mark.parametrize(
    "more, message",
    [
        (("--protocol", "h36m-p1-spni"), "Did you mean 'h36m-p1-spin'"),
        (("--predictor", "meanpose"), "Did you mean 'mean_pose'"),
        (("--predictor", "image_estimate"), "PRIORS.IMAGE_ESTIMATE=FILE"),
        (("--renderer", "pytorch"), "Did you mean 'pytorch3d'"),
        (("--regressor", "h36=x.npy"), "Did you mean 'h36m'"),
        (("--regressor", "h36m=nowhere.npy"), "no joint regressor 'nowhere.npy'"),
        (("--predictions", "nowhere.npz"), "no predictions file 'nowhere.npz'"),
        (("--part-labels", "nowhere.npy"), "no file of part labels"),
        (("--config", "nowhere"), "no settings file"),
        (("--data", "nowhere"), "S9/MyPoseFeatures/D3_Positions_mono"),
        (("--data", "nowhere"), "Or put h36m_valid_protocol1.npz"),
        (("--protocol", "3dpw"), "--truth-body free_body"),
        (("--protocol", "lsp-spin", "--masks", "nowhere"), "MASKS/data/lsp/im1001_segmentation.png"),
    ],
)
def test_error_messages(root, tmp_path, capsys, monkeypatch, more, message):
    monkeypatch.setenv("HMRFIT_HOME", str(tmp_path / "home"))
    assert evaluate(root, tmp_path, *more) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("how", [("--set", "RENDER.BACKEND=empty"), ("--renderer", "empty")])
def test_a_registered_renderer_is_a_setting_and_a_flag(root, tmp_path, monkeypatch, how):
    """One that draws no person: then the parts have no F1."""
    only_here(monkeypatch, RENDERERS)

    @RENDERERS.register("empty")
    class EmptyRenderer(BuiltinRenderer):
        def parts(self, *scene):
            return torch.zeros_like(super().parts(*scene))

    assert evaluate(root, tmp_path, *how, protocol="lsp-full") == 0
    said = {m["name"]: m["value"] for m in json.loads((tmp_path / "initial_estimate.json").read_text())["measures"]}
    assert said["parts F1"] < 0.2


def test_pytorch3d_is_asked_for_by_name(root, tmp_path, capsys):
    try:
        import pytorch3d  # noqa: F401
    except ImportError:
        assert evaluate(root, tmp_path, "--renderer", "pytorch3d", protocol="lsp-full") == 2
        assert "INSTALL" in capsys.readouterr().err
    else:
        assert evaluate(root, tmp_path, "--renderer", "pytorch3d", protocol="lsp-full") == 0


@pytest.mark.parametrize(
    "damage, message",
    [("nan", "`S` of 1, first row 1"), ("cut", "damaged or cut off"), ("empty", "the split is empty")],
)
def test_damaged_data(root, tmp_path, capsys, damage, message):
    """NaN among the true joints, a truncated npz, no people in it: an error message before any work."""
    path = tmp_path / "data" / "h36m_valid_protocol1.npz"
    path.parent.mkdir()
    with np.load(root / "dataset_extras" / path.name) as file:
        fields = dict(file)
    fields["S"][1, 3, 0] = np.nan if damage == "nan" else 0
    np.savez(path, **{name: value[:0] if damage == "empty" else value for name, value in fields.items()})
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-400])
    assert evaluate(path.parent, tmp_path / "out") == 2
    assert message in capsys.readouterr().err and not list(tmp_path.glob("out/*.npz"))


def test_lost_images_lose_their_people_alone(root, tmp_path, capsys):
    """And the table says so, with the reason."""
    folder = tmp_path / "data"
    shutil.copytree(root, folder)
    lost = read_spin_npz(folder / "dataset_extras" / "h36m_valid_protocol1.npz").imgname[1]
    (folder / str(lost)).unlink()
    assert evaluate(folder, tmp_path / "out") == 0
    said = json.loads((tmp_path / "out" / "initial_estimate.json").read_text())
    assert said["samples"] == N - 1 and said["missing"] == 1 and "no image" in said["problems"]["1"]
    assert "1 without a number, such as row 1: There is no image" in capsys.readouterr().out
