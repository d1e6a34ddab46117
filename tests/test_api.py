"""fit(): every form of input means the same, cameras come from where they should, people in a batch are independent."""

import ast
import inspect
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.bodies import demo_points

import hmrfit
from hmrfit.config import Config, load_config
from hmrfit.io.image import write_image
from hmrfit.io.photo import read_photo
from hmrfit.pipeline import Pipeline
from hmrfit.types import Keypoints

SIZE = (480, 360)
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    """(17, 3) exact COCO keypoints of the demo's person in a picture of SIZE."""
    return demo_points(SIZE[1])


@pytest.fixture(scope="module")
def result(points: np.ndarray) -> hmrfit.FitResult:
    return hmrfit.fit(None, points, keypoint_set="coco17", image_size=SIZE)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    write_image(tmp_path / "photo.png", np.full((SIZE[1], SIZE[0], 3), 128, np.uint8))
    return tmp_path / "photo.png"


def same(a: hmrfit.FitResult, b: hmrfit.FitResult) -> bool:
    """The same numbers, to the last digit."""
    return np.array_equal(a.poses, b.poses) and np.array_equal(a.trans, b.trans) and np.array_equal(a.betas, b.betas)


def test_the_body_lies_on_its_keypoints(result: hmrfit.FitResult) -> None:
    # Exact keypoints, another focal length and a prior that pulls: 2 % of the box is what photographs leave too.
    assert result.reprojection_error[0] < 0.02
    assert result.status[0].endswith(".") and result.warnings == [[]]


def test_the_outside_is_numpy(result: hmrfit.FitResult) -> None:
    for name, shape in (
        ("vertices", (1, 6900, 3)),
        ("joints", (1, 24, 3)),
        ("poses", (1, 72)),
        ("betas", (1, 10)),
        ("trans", (1, 3)),
        ("cost", (1,)),
        ("joint_std", (1, 24)),
        ("probability", (1, len(result.hypotheses))),
    ):
        value = getattr(result, name)
        assert isinstance(value, np.ndarray) and value.shape == shape and value.dtype == np.float64, name
    assert sum(result.term_cost.values()) == pytest.approx(result.cost, rel=1e-9)  # sums in another order


def test_every_form_of_keypoints_gives_the_same_fit(points: np.ndarray, result: hmrfit.FitResult, photo: Path) -> None:
    image = hmrfit.read_image(photo)
    np.save(photo.with_suffix(".npy"), points)
    ours = {"image": "photo.png", "format": "coco17", "keypoints": (points - [0.5, 0.5, 0]).tolist()}
    (photo.parent / "own.json").write_text(json.dumps(ours))
    record = Keypoints(torch.tensor(points[None, :, :2]), torch.ones(1, 17).double(), hmrfit.keypoint_sets()["coco17"])
    named = {"keypoint_set": "coco17"}
    forms = [
        hmrfit.fit(image, points, **named),
        hmrfit.fit(str(photo), points[None].astype(np.float64), **named),
        hmrfit.fit(photo, points[:, :2].tolist(), keypoint_set=hmrfit.keypoint_sets()["coco17"]),
        hmrfit.fit(photo, photo.with_suffix(".npy"), **named),
        hmrfit.fit(photo, photo.parent, **named),
        hmrfit.fit(photo, hmrfit.read_keypoints(photo.with_suffix(".npy"), "coco17")),
        hmrfit.fit(image, record),
    ]
    assert all(same(form, result) for form in forms)
    # written with half a pixel less and read with half a pixel more: rounding of the last digit, grown by the solver
    np.testing.assert_allclose(hmrfit.fit(photo, photo.parent / "own.json").vertices, result.vertices, atol=1e-6)


def test_inputs_are_not_changed(points: np.ndarray, photo: Path) -> None:
    image, before = hmrfit.read_image(photo), points.copy()
    kept = image.copy()
    hmrfit.fit(image, points, keypoint_set="coco17").overlay(sides=False)
    assert np.array_equal(points, before) and np.array_equal(image, kept)


def test_other_people_in_a_batch_change_nothing(points: np.ndarray, result: hmrfit.FitResult) -> None:
    others = np.stack([points + np.array([40, 0, 0]), points, points * [0.5, 0.5, 1]])
    together = hmrfit.fit(None, others, keypoint_set="coco17", image_size=SIZE)
    # float64 sums in another order, over some thirty steps: 1e-6 m is a thousandth of a millimetre
    np.testing.assert_allclose(together.vertices[1], result.vertices[0], atol=1e-6)
    assert len(together) == 3 and together.person_ids == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("asked", "focal", "source"),
    [
        ({}, (600.0, 600.0), "assumed"),
        ({"focal": 600}, (600.0, 600.0), "in pixels"),
        ({"focal": 500}, (500.0, 500.0), "in pixels"),
        ({"focal": (500, 510)}, (500.0, 510.0), "in pixels"),
        ({"focal_35mm": 43.2666}, (600.0, 600.0), "43.2666 mm"),
        ({"camera": hmrfit.Camera.from_size(*SIZE, focal=444.0)}, (444.0, 444.0), "camera"),
    ],
)
def test_where_the_focal_length_comes_from(points: np.ndarray, asked: dict, focal: tuple, source: str) -> None:
    photo = read_photo(None, points, "coco17", image_size=SIZE, **asked)
    assert photo.camera.focal[0].tolist() == pytest.approx(focal, rel=1e-5)  # a film's diagonal is given to 1e-6
    assert source in photo.focal_source and photo.focal_known == bool(asked)


def test_a_given_focal_length_of_the_assumed_value_is_known() -> None:
    """To the error model of the initial estimate, although the number of pixels is the same."""
    points, size = demo_points(480), (640, 480)
    given, assumed = (
        hmrfit.fit(None, points, keypoint_set="coco17", image_size=size, **focal) for focal in ({"focal": 800}, {})
    )
    assert np.array_equal(given.camera.focal, assumed.camera.focal)
    assert given.focal_known and not assumed.focal_known
    moved = np.abs(given.joints - assumed.joints).max()
    assert 1e-4 < moved < 0.02, moved  # metres: the covariance of the Gaussian prior is another one


def test_the_keypoint_files_lens_is_taken_out(points: np.ndarray, tmp_path: Path) -> None:
    K = [[500.0, 0, 239.5], [0, 505.0, 179.5], [0, 0, 1]]
    written = {"format": "coco17", "keypoints": points.tolist(), "K": K, "dist": [-0.1, 0.02, 0, 0], "size": SIZE}
    (tmp_path / "a.json").write_text(json.dumps(written))
    photo = read_photo(None, tmp_path / "a.json")
    assert photo.camera.focal[0].tolist() == [500.0, 505.0] and photo.camera.center[0].tolist() == [240.0, 180.0]
    assert "K" in photo.focal_source and photo.focal_known
    # a barrel lens draws everything towards the middle; without it, points lie further out
    far = np.abs(points[:, :2] - [240, 180]).max(1) > 50
    moved = np.linalg.norm(photo.keypoints.xy[0].numpy() - [240, 180], axis=1)
    assert (moved > np.linalg.norm(points[:, :2] + 0.5 - [240, 180], axis=1))[far].all()


def test_exif_says_the_focal_length(points: np.ndarray, tmp_path: Path) -> None:
    write_image(tmp_path / "a.jpg", np.zeros((SIZE[1], SIZE[0], 3), np.uint8))
    tags = b"II*\0\x08\0\0\0" + b"\x01\0" + b"\x69\x87\x04\0\x01\0\0\0\x1a\0\0\0" + b"\0" * 4
    tags += b"\x01\0" + b"\x05\xa4\x03\0\x01\0\0\0\x1c\0\0\0" + b"\0" * 4  # FocalLengthIn35mmFilm = 28
    block = b"Exif\0\0" + tags
    jpeg = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(jpeg[:2] + b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block + jpeg[2:])
    photo = read_photo(tmp_path / "a.jpg", points, "coco17")
    assert "EXIF: 28 mm" in photo.focal_source and photo.focal_known
    assert photo.camera.focal[0, 0].item() == pytest.approx(28 * 600 / 43.2666, rel=1e-5)


def test_a_former_result_is_a_start(points: np.ndarray, result: hmrfit.FitResult) -> None:
    again = hmrfit.fit(None, points, keypoint_set="coco17", image_size=SIZE, init=result)
    # anchored at the start, which fits the keypoints already
    assert np.abs(again.joints - result.joints).max() < 0.03  # metres
    with pytest.raises(ValueError, match="init holds 1 person, but there are 2"):
        hmrfit.fit(None, np.stack([points] * 2), keypoint_set="coco17", image_size=SIZE, init=result)
    with pytest.raises(TypeError, match="FitResult or BodyParams, not dict"):
        hmrfit.fit(None, points, keypoint_set="coco17", image_size=SIZE, init={"betas": 0})


def test_any_function_is_a_term(points: np.ndarray) -> None:
    def tall(state, output, observation):
        return 30 * (state.params.betas[:, :1] - 1.5)

    asked = {"keypoint_set": "coco17", "image_size": SIZE}
    with_term = hmrfit.fit(None, points, **asked, terms=[tall])
    assert with_term.betas[0, 0] == pytest.approx(1.5, abs=0.05)  # a weight of 900 against a prior of about 1
    assert "tall" in with_term.term_cost
    without = hmrfit.fit(None, points, **asked, terms=[tall], weights={"tall": 0, "joint_limits": 0})
    assert without.betas[0, 0] != pytest.approx(1.5, abs=0.05)


def test_a_built_in_term_that_no_stage_has_is_added_by_its_name(points: np.ndarray) -> None:
    more = {"terms": ["interpenetration"], "weights": {"interpenetration": 1e3}}
    result = hmrfit.fit(None, points, keypoint_set="coco17", image_size=SIZE, **more)
    assert result.term_cost["interpenetration"].shape == (1,) and np.isfinite(result.cost).all()


def test_the_shipped_discriminators_by_their_name(points: np.ndarray, result: hmrfit.FitResult) -> None:
    """By default the term is there, unread; added by its name it is in every stage, and its cost is lower for it."""
    more = {"terms": ["discriminators"], "weights": {"discriminators": 4.0}}
    found = hmrfit.fit(None, points, keypoint_set="coco17", image_size=SIZE, **more)
    prior = Pipeline.of().fitter.terms["discriminators"].prior
    cost = lambda fit: prior.residuals(fit.params.body_pose.double(), fit.params.betas.double()).square().sum()  # noqa: E731
    assert "discriminators" not in result.term_cost and "discriminators" in found.term_cost
    assert cost(found) < cost(result)


def test_settings_without_discriminators_have_no_such_term(points: np.ndarray) -> None:
    asked = {"keypoint_set": "coco17", "image_size": SIZE, "config": load_config(None, ["PRIORS.DISCRIMINATORS="])}
    with pytest.raises(ValueError, match="no built-in term 'discriminators'"):
        hmrfit.fit(None, points, **asked, terms=["discriminators"])


def test_stages_from_the_settings(tmp_path: Path, points: np.ndarray) -> None:
    stage = "{weights: {reprojection: 24, gmm: 1, shape: 1}, free: [transl, global_orient], max_steps: 3}"
    # without an initial estimate the shape starts, and here stays, at the mean
    settings = f"PRIORS:\n  INITIAL_ESTIMATE: ''\nFIT:\n  HYPOTHESES: 1\n  STAGES: [{stage}]\n"
    (tmp_path / "mine.yaml").write_text(settings)
    quick = hmrfit.fit(None, points, keypoint_set="coco17", image_size=SIZE, config=tmp_path / "mine.yaml")
    assert quick.steps[0] <= 3 and not quick.betas.any()


@pytest.mark.parametrize("name", ["fit_smplify", "fit_spin"])
def test_the_published_schedules_by_name(name: str, points: np.ndarray) -> None:
    result = hmrfit.fit(None, points, keypoint_set="coco17", image_size=SIZE, config=name)
    assert result.reprojection_error[0] < 0.05
    assert sum(cost[0] for cost in result.term_cost.values()) == pytest.approx(result.cost[0])
    assert "smplify_pose" in result.term_cost and "gmm" not in result.term_cost


def test_importing_costs_nothing() -> None:
    heavy = "{'torch', 'numpy', 'cv2', 'trimesh', 'scipy', 'smplx', 'yacs'}"
    code = f"import sys, hmrfit; hmrfit.__version__; dir(hmrfit); sys.exit(' '.join({heavy} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_public_names() -> None:
    for name in hmrfit.__all__:
        assert getattr(hmrfit, name) is not None
    assert dir(hmrfit) == sorted(hmrfit.__all__)
    assert not hasattr(hmrfit, "Fitter")  # it cannot be built from public names
    with pytest.raises(AttributeError, match="hmrfit has no 'fitt'"):
        hmrfit.fitt  # noqa: B018


@pytest.mark.parametrize("up", [(0, -1), (0, 0, 0), (0, float("inf"), 0), "up", np.eye(3)])
def test_a_direction_that_is_none_is_refused(points: np.ndarray, up: object) -> None:
    with pytest.raises((ValueError, TypeError), match="up should"):
        hmrfit.fit(None, points, keypoint_set="coco17", image_size=SIZE, up=up)


def test_up_is_kept_and_does_not_act_on_the_fit(points: np.ndarray, result: hmrfit.FitResult) -> None:
    given = hmrfit.fit(None, points, keypoint_set="coco17", image_size=SIZE, up=[0, -3, -4])
    assert result.up is None and np.allclose(given.up, [0, -0.6, -0.8]) and same(given, result)


def test_a_floor_says_what_is_up(points: np.ndarray) -> None:
    given = {"keypoint_set": "coco17", "image_size": SIZE, "measurements": [hmrfit.Floor((0, -2, 0), -3)]}
    assert np.allclose(hmrfit.fit(None, points, **given).up, [0, -1, 0])
    assert np.allclose(hmrfit.fit(None, points, **given, up=(0.01, -1, 0)).up, [0.01, -1, 0], atol=1e-4)
    with pytest.raises(ValueError, match="Give one of them"):
        hmrfit.fit(None, points, **given, up=(0, 1, 0))


def test_every_public_name_is_typed() -> None:
    """Names that are loaded on first use are Any to a type checker, unless it can see where they come from."""
    source = ast.parse(Path(hmrfit.__file__).read_text())
    (block,) = (n for n in source.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING")
    found = {name.asname: (part.module, name.name) for part in block.body for name in part.names}
    assert found == {name: (home, name) for name, home in hmrfit._HOMES.items()}
    assert set(hmrfit.__all__) == {*found, "__version__"}
    assert (Path(hmrfit.__file__).parent / "py.typed").is_file()


@pytest.mark.parametrize("function", [hmrfit.fit, hmrfit.fit_views, hmrfit.fit_views_sequence, hmrfit.fit_sequence])
def test_functions_and_methods_of_one_name_take_the_same(function: Callable) -> None:
    """By name, kind, default and type; the function takes the settings besides, which the pipeline holds."""
    taken = dict(inspect.signature(function, eval_str=True).parameters)
    config = taken.pop("config")
    assert config.default is None and config.annotation is Config
    of_method = dict(inspect.signature(getattr(Pipeline, function.__name__)).parameters)
    assert of_method.pop("self") and list(taken.items()) == list(of_method.items())
    assert all(p.annotation not in (p.empty, Any) for p in taken.values())


def test_what_can_be_known_can_be_given_to_all_three() -> None:
    shared = {"measurements", "terms", "weights", "init", "focal", "up", "config", "keypoint_set", "image_size"}
    for function in (hmrfit.fit, hmrfit.fit_views, hmrfit.fit_sequence):
        assert shared <= set(inspect.signature(function).parameters), function.__name__


def test_warnings_go_to_the_logger_once_a_photograph(points: np.ndarray, caplog: pytest.LogCaptureFixture) -> None:
    few = points.copy()
    few[5:] = 0
    with caplog.at_level("WARNING", "hmrfit"):
        hmrfit.fit(None, points, keypoint_set="coco17", image_size=SIZE)
        assert not caplog.records
        warned = hmrfit.fit(None, np.stack([points, few, few]), keypoint_set="coco17", image_size=SIZE)
    assert len(caplog.records) == 1 and caplog.records[0].name == "hmrfit"
    for warning in warned.warnings[1]:
        assert "people 1-2: " + warning in " ".join(caplog.text.split())
        assert warning in " ".join(str(warned).split())
