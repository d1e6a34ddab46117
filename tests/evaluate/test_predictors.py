"""Predictions as a file, the export that goes on where it stopped, predictors, and data that is damaged."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.bodies import free_body, random_params
from helpers.evaluation import as_predictions, threedpw_people

from hmrfit.camera import Camera
from hmrfit.datasets.download import spin_slots
from hmrfit.datasets.spin_npz import SpinDataset
from hmrfit.evaluate.predict import export, keypoint_source, observed_keypoints
from hmrfit.evaluate.predictions import Fingerprint, dataset_fingerprint, read_predictions, write_predictions
from hmrfit.evaluate.predictors import (
    PREDICTORS,
    FitPredictor,
    GivenPredictions,
    ImagePredictor,
    MeanPosePredictor,
    Predictor,
    PredictorInput,
    PredictorParts,
)
from hmrfit.evaluate.protocol import EvaluationData
from hmrfit.evaluate.protocols.human36m import H36M_SLOTS
from hmrfit.evaluate.protocols.lsp import weak_of_box
from hmrfit.io.budget import TooLarge
from hmrfit.io.image import image_size, read_image, write_image
from hmrfit.keypoints import LSP14
from hmrfit.network.encoders import ImageEncoder
from hmrfit.network.hmr import HMR
from hmrfit.network.initial_estimate import ImageHmr
from hmrfit.network.regressor import IterativeRegressor
from hmrfit.types import BodyParams, Keypoints

N, SIZE = 7, (48, 40)


def people() -> SpinDataset:
    """People with LSP's keypoints."""
    points = np.random.default_rng(0).uniform(5, 35, (N, 14, 2))
    names = np.array([f"images/im{i}.png" for i in range(N)])
    return SpinDataset(names, np.full((N, 2), 20.0), np.full(N, 0.2), spin_slots(points, LSP14))


def data_in(root: Path, who: SpinDataset | None = None) -> EvaluationData:
    who = people() if who is None else who
    for name in who.imgname:
        write_image(root / str(name), np.zeros((*SIZE[::-1], 3), np.uint8))
    return EvaluationData(root, who)


def fingerprint_of(data: EvaluationData, **run: object) -> Fingerprint:
    return Fingerprint({"predictor": "test", **run}, dataset_fingerprint("test", data.people))


class Counting(Predictor):
    """A body for each row, whatever the batch; keeps the rows that it was asked for."""

    def __init__(self, stop_at: int | None = None, needs_keypoints: bool = False, bad: tuple[int, ...] = ()) -> None:
        self.asked: list[int] = []
        self.stop_at, self.needs_keypoints, self.bad = stop_at, needs_keypoints, bad

    def __call__(self, given: PredictorInput) -> BodyParams:
        rows = given.rows.tolist()
        if self.stop_at in rows:
            raise KeyboardInterrupt
        if "refuse" in self.bad and 2 in rows:
            raise ValueError("row 2 cannot be fitted")
        self.asked += rows
        params = random_params(free_body(), N)[given.rows]
        params.betas[torch.tensor([row in self.bad for row in rows])] = torch.nan
        return params


# ---- the file


def test_the_same_numbers_come_back(tmp_path):
    body, params = free_body(), random_params(free_body(), 4)
    predictions = as_predictions(params, joints=body(params, vertices=False).joints, joint_names=body.joint_names)
    made_by = Fingerprint({"predictor": "x"}, {"people": 4, "sha256": "s"}, {"2": "why"})
    write_predictions(tmp_path / "p.npz", predictions, made_by)
    read, found = read_predictions(tmp_path / "p.npz", {"sha256": "s"})
    assert found == made_by and found.problems == made_by.problems and read.joint_names == body.joint_names
    assert torch.equal(read.params.rotations, params.rotations) and torch.equal(read.params.betas, params.betas)
    assert torch.equal(read.joints, predictions.joints) and torch.equal(read.camera.focal, predictions.camera.focal)
    assert read.weak_camera.isnan().all() and read.done.all()


def test_a_file_of_another_run_is_refused(tmp_path):
    who = people()
    made_by = Fingerprint({}, dataset_fingerprint("lsp-spin", who))
    write_predictions(tmp_path / "p.npz", as_predictions(random_params(free_body(), N)), made_by)
    read_predictions(tmp_path / "p.npz", dataset_fingerprint("lsp-full", who))  # the same people
    for other in (who[:3], who[::-1], replace(who, scale=who.scale * 1.01), replace(who, part=who.part * 0.5)):
        with pytest.raises(ValueError, match=r"7 people of 'lsp-spin'.*is to be scored.*export"):
            read_predictions(tmp_path / "p.npz", dataset_fingerprint("lsp-spin", other))


@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(tmp_path, keep):
    path = tmp_path / "p.npz"
    write_predictions(path, as_predictions(random_params(free_body(), 3)), Fingerprint({}, {}))
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data))])
    with pytest.raises(ValueError, match="damaged"):
        read_predictions(path)


def test_flipped_bytes_are_refused_or_give_numbers(tmp_path):
    path = tmp_path / "p.npz"
    write_predictions(path, as_predictions(random_params(free_body(), 3)), Fingerprint({}, {}))
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    for at in rng.integers(0, len(data), 60):
        changed = bytearray(data)
        changed[at] ^= 0xFF
        path.write_bytes(changed)
        try:
            read_predictions(path)
        except ValueError as error:
            assert isinstance(error, TooLarge) or "predictions" in str(error)


def test_other_files_are_no_predictions(tmp_path):
    np.savez(tmp_path / "a.npz", poses=np.zeros((3, 72)))
    with pytest.raises(ValueError, match="no predictions file"):
        read_predictions(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", format="hmrfit predictions 1", rotations=np.zeros((3, 24, 3, 3)))
    with pytest.raises(ValueError, match=r"no whole predictions file.*betas"):
        read_predictions(tmp_path / "b.npz")
    with pytest.raises(FileNotFoundError, match="no predictions file"):
        read_predictions(tmp_path / "none.npz")


# ---- the export


def test_a_stopped_export_goes_on(tmp_path):
    data, out = data_in(tmp_path), tmp_path / "out"
    first, second, whole = Counting(stop_at=5), Counting(), Counting()
    with pytest.raises(KeyboardInterrupt):
        export(first, data, fingerprint_of(data), out / "a.npz", chunk=2)
    assert first.asked == [0, 1, 2, 3] and not (out / "a.npz").exists()
    export(second, data, fingerprint_of(data), out / "a.npz", chunk=2)
    assert second.asked == [4, 5, 6] and not (out / "a.parts").exists()
    export(whole, data, fingerprint_of(data), out / "b.npz", chunk=100)
    (a, _), (b, _) = (read_predictions(out / name) for name in ("a.npz", "b.npz"))
    assert torch.equal(a.params.rotations, b.params.rotations) and torch.equal(a.camera.focal, b.camera.focal)
    assert a.camera.size.tolist() == [list(SIZE)] * N


def test_what_is_there_is_made_again_only_for_another_run(tmp_path):
    data = data_in(tmp_path)
    predictor = Counting()
    for run in ({}, {}, {"settings": "new"}):
        export(predictor, data, fingerprint_of(data, **run), tmp_path / "a.npz")
    assert len(predictor.asked) == 2 * N
    export(predictor, data[:3], fingerprint_of(data[:3]), tmp_path / "a.npz")
    assert len(read_predictions(tmp_path / "a.npz")[0]) == 3


def test_bad_people_are_left_out_alone(tmp_path):
    """A lost image, a damaged one, a box beyond the image, nothing seen, an answer of NaN."""
    who = people()
    who.center[2] = (20, 4000)
    who.part[3] = 0
    data = data_in(tmp_path, who)
    data.image_path(0).unlink()
    data.image_path(1).write_bytes(b"\x89PNG")
    export(Counting(needs_keypoints=True, bad=(4,)), data, fingerprint_of(data), tmp_path / "a.npz", chunk=3)
    predictions, made_by = read_predictions(tmp_path / "a.npz")
    assert predictions.done.tolist() == [False] * 5 + [True] * 2
    reasons = ("no image", "damaged", "outside of the image of 48 × 40", "not one keypoint", "not a number")
    for row, words in enumerate(reasons):
        assert words in made_by.problems[str(row)]
    expected = random_params(free_body(), N)
    assert torch.equal(predictions.params.rotations[5:], expected.rotations[5:])
    assert predictions.params.betas[:5].isnan().all()


def test_a_refused_chunk_is_predicted_one_by_one(tmp_path):
    data = data_in(tmp_path)
    export(Counting(bad=("refuse",)), data, fingerprint_of(data), tmp_path / "a.npz")
    predictions, made_by = read_predictions(tmp_path / "a.npz")
    assert predictions.done.tolist() == [i != 2 for i in range(N)]
    assert made_by.problems == {"2": "row 2 cannot be fitted"}


def test_errors_before_any_work(tmp_path):
    data, predictor = data_in(tmp_path), Counting(needs_keypoints=True)
    with pytest.raises(ValueError, match="the split is empty"):
        export(predictor, data[:0], fingerprint_of(data), tmp_path / "a.npz")
    with pytest.raises(ValueError, match=r"no 2D keypoints.*mean_pose"):
        without = replace(data, people=replace(data.people, part=None))
        export(predictor, without, fingerprint_of(data), tmp_path / "a.npz")
    with pytest.raises(FileNotFoundError, match=r"Not one of 7 images.*elsewhere/images/im0.png"):
        export(predictor, replace(data, root=tmp_path / "elsewhere"), fingerprint_of(data), tmp_path / "a.npz")
    assert not predictor.asked
    with pytest.raises(ValueError, match=r"No person could be predicted.*not a number"):
        export(Counting(bad=tuple(range(N))), data, fingerprint_of(data), tmp_path / "a.npz")


# ---- what predictors are given, and the predictors


def test_keypoints_go_by_their_true_names():
    data = EvaluationData(Path(), people())
    seen = observed_keypoints(data)
    assert seen.names == LSP14 and keypoint_source(data).startswith("annotations")
    np.testing.assert_allclose(seen.xy, data.people.part[:, :14, :2] + 0.5)
    named = observed_keypoints(replace(data, slot_names=H36M_SLOTS))
    assert named.names[2] == "right_hip_h36m" and named.names[12] == "neck_h36m"
    openpose = np.zeros((N, 25, 3))
    openpose[1, 3] = (5, 6, 0.4)
    detected = EvaluationData(Path(), replace(data.people, openpose=openpose))
    assert observed_keypoints(detected).names == ("right_elbow",) and keypoint_source(detected).startswith("detect")
    assert observed_keypoints(EvaluationData(Path(), threedpw_people(random_params(free_body(), 2), "mf"))) is None


def given_to(camera: Camera) -> PredictorInput:
    """Two people without keypoints."""
    nothing = torch.zeros(2, 1, 2).double()
    centers, sides = torch.tensor([[100.0, 80.0], [300, 200]]).double(), torch.tensor([50.0, 200]).double()
    return PredictorInput(Keypoints(nothing, nothing[..., 0], ("nose",)), camera, centers, sides, torch.arange(2))


def parts(data: EvaluationData | None = None, image_network: ImageHmr | None = None) -> PredictorParts:
    """Of SMPL's joints; without the keypoint network."""
    return PredictorParts(torch.zeros(69).double(), 10, None, image_network, data)


def test_the_mean_pose_stands_in_its_box():
    body, camera = free_body(), Camera.from_size(640, 480, count=2)
    given = given_to(camera)
    params = MeanPosePredictor(parts())(given)
    vertices = camera.project(body(params).vertices)
    middle, height = vertices.mean(1), vertices[..., 1].amax(1) - vertices[..., 1].amin(1)
    assert ((middle - given.box_center).abs().amax(1) < 0.2 * given.box_side).all()
    assert ((height / given.box_side > 0.5) & (height / given.box_side < 1)).all()
    joints = camera.project(body(params, vertices=False).joints)
    head, foot = (joints[:, body.joint_names.index(name), 1] for name in ("head", "left_foot"))
    assert (head < foot).all()  # upright


def test_an_image_network_is_shown_the_crop_of_the_datas_box(tmp_path):
    """Its weak camera is that of the box, too."""
    torch.manual_seed(0)
    encoder = ImageEncoder("resnet10", resolution=40)
    hmr = HMR(encoder, IterativeRegressor(encoder.features, hidden=32)).eval()
    torch.nn.init.normal_(hmr.regressor.fc3.weight, std=0.05)
    who = people()
    who.center[:] = np.random.default_rng(1).uniform(15, 30, (N, 2))
    data = data_in(tmp_path, who)
    for row in range(N):
        write_image(
            data.image_path(row), np.random.default_rng(row).integers(0, 255, (*SIZE[::-1], 3)).astype(np.uint8)
        )
    network = ImageHmr(hmr)
    export(ImagePredictor(parts(data, network)), data, fingerprint_of(data), tmp_path / "a.npz", chunk=3)
    predictions, _ = read_predictions(tmp_path / "a.npz")
    crops = np.stack([who.crop(row, 40).image(read_image(data.image_path(row))) for row in range(N)])
    with torch.no_grad():
        expected = hmr(torch.as_tensor(crops.transpose(0, 3, 1, 2)) / 255)[-1]
    # batch norm is folded into the convolutions: float32
    torch.testing.assert_close(weak_of_box(predictions, who), expected.weak_camera.double(), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(predictions.params.betas, expected.params.betas.double(), atol=1e-3, rtol=1e-3)
    assert network.flip_test  # the predictor asks without it, and leaves the network as it was


def test_a_predictor_without_its_network_says_what_it_needs():
    with pytest.raises(ValueError, match=r"image_estimate needs an image network.*PRIORS\.IMAGE_ESTIMATE=FILE"):
        PREDICTORS.find("image_estimate")(parts())


def test_given_predictions_go_by_row():
    given = as_predictions(random_params(free_body(), 5))
    asked = replace(given_to(Camera.from_size(64, 48, count=2)), rows=torch.tensor([3, 1]))
    assert torch.equal(GivenPredictions(given)(asked).betas, given.params.betas[[3, 1]])


def test_people_without_a_given_prediction_are_left_out(tmp_path):
    """A fit is not started from NaN."""
    data, body = data_in(tmp_path), free_body()
    given = replace(as_predictions(random_params(body, N)), done=torch.tensor([i != 2 for i in range(N)]))
    export(GivenPredictions(given), data, fingerprint_of(data), tmp_path / "a.npz")
    assert read_predictions(tmp_path / "a.npz")[1].problems == {"2": "the given predictions have none"}
    assert FitPredictor(None, GivenPredictions(given)).knows(torch.tensor([1, 2])).tolist() == [True, False]


def test_a_fit_starts_from_the_given_predictions():
    class Recorder:
        def fit(self, keypoints, camera, init):
            self.init = init
            return type("Fit", (), {"state": type("State", (), {"params": "answer"})})

    recorder, given = Recorder(), as_predictions(random_params(free_body(), 2))
    asked = given_to(Camera.from_size(64, 48, count=2))
    assert FitPredictor(recorder)(asked) == "answer" and recorder.init is None
    FitPredictor(recorder, GivenPredictions(given))(asked)
    assert torch.equal(recorder.init.transl, given.params.transl)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp"])
def test_sizes_without_decoding(tmp_path, suffix):
    write_image(tmp_path / f"a{suffix}", np.random.default_rng(0).integers(0, 255, (33, 57, 3)).astype(np.uint8))
    assert image_size(tmp_path / f"a{suffix}") == (57, 33)
    with pytest.raises(FileNotFoundError, match="no image"):
        image_size(tmp_path / "b.png")
