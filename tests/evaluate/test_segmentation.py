"""Pixels counted as SPIN counts them, masks brought back from the crop, and both LSP protocols on rendered people."""

import re

import numpy as np
import pytest
import torch
from helpers.bodies import free_body, random_params
from helpers.evaluation import as_predictions
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hmrfit.camera import Camera
from hmrfit.datasets.spin_npz import SpinDataset, write_spin_npz
from hmrfit.evaluate.masks import nearest_positions, read_mask, spin_window, uncrop
from hmrfit.evaluate.protocol import Setting, make_protocol
from hmrfit.evaluate.protocols.lsp import SPIN_FOCAL, weak_of_box
from hmrfit.evaluate.segmentation import PART_CLASSES, Masks, PixelCounts, SegmentationCounts
from hmrfit.io.image import write_image
from hmrfit.io.opencv import cv2
from hmrfit.types import BodyParams

PARTS = hnp.arrays(np.uint8, (6, 5), elements=st.sampled_from([0, 1, 2, 3, 4, 5, 6, 255]))


def counted(prediction: np.ndarray, target: np.ndarray, classes: int = 7) -> PixelCounts:
    counts = PixelCounts(classes)
    counts.add(prediction, target)
    return counts


def twin(prediction: np.ndarray, target: np.ndarray, classes: int = 7) -> tuple[list[float], float]:
    """Pixel by pixel: (F1 of every class, accuracy)."""
    tp, fp, fn, agree = [0] * classes, [0] * classes, [0] * classes, 0
    for p, g in zip(prediction.ravel().tolist(), target.ravel().tolist(), strict=True):
        for c in range(classes):
            said, true = p == c and g != 255, g == c
            tp[c] += said and true
            fp[c] += said and not true
            fn[c] += true and not said
        agree += (0 if p == 255 else p) == (0 if g == 255 else g)
    f1 = [2 * t / (2 * t + p + n) if t + p + n else float("nan") for t, p, n in zip(tp, fp, fn, strict=True)]
    return f1, agree / target.size


@settings(max_examples=40)
@given(PARTS, PARTS)
def test_a_slow_version_agrees(prediction, target):
    counts, (f1, accuracy) = counted(prediction, target), twin(prediction, target)
    np.testing.assert_allclose(counts.f1, f1, rtol=0, atol=1e-12)
    assert counts.accuracy == pytest.approx(accuracy, abs=1e-12)


@settings(max_examples=25)
@given(PARTS)
def test_the_truth_scores_one(target):
    counts = counted(target, target)
    assert counts.accuracy == 1 and set(counts.f1[np.isfinite(counts.f1)]) <= {1.0}


@settings(max_examples=25)
@given(PARTS, PARTS, PARTS)
def test_ignored_regions_add_nothing_but_to_the_accuracy(prediction, other, target):
    """Whatever is predicted there; but SPIN's accuracy takes them for background."""
    target[:3] = 255
    prediction[prediction == 255] = 0
    changed = np.where(target == 255, np.where(other == 255, 0, other), prediction)
    first, second = counted(prediction, target), counted(changed, target)
    np.testing.assert_array_equal(first.f1, second.f1)
    np.testing.assert_array_equal(first.matrix[:-1], second.matrix[:-1])

    def background(p: np.ndarray) -> int:
        return int(((p == 0) & (target == 255)).sum())

    gained = (background(changed) - background(prediction)) / target.size
    assert second.accuracy - first.accuracy == pytest.approx(gained, abs=1e-12)


def test_known_foreground():
    """4 of 10 pixels true, 3 of them found, 1 more predicted: F1 of the foreground 6/8, of the background 10/12."""
    target, prediction = (np.array([row]) for row in ([1, 1, 1, 1, 0, 0, 0, 0, 0, 0], [1, 1, 1, 0, 1, 0, 0, 0, 0, 0]))
    counts = counted(prediction, target, 2)
    np.testing.assert_allclose(counts.f1, [10 / 12, 6 / 8])
    assert counts.accuracy == 0.8 and counts.mean_f1 == pytest.approx((10 / 12 + 6 / 8) / 2)
    swapped = counted(1 - prediction, 1 - target, 2)
    assert swapped.mean_f1 == pytest.approx(counts.mean_f1)


def test_pixels_are_pooled_not_images():
    """A small image all wrong beside a large one all right: the mean of the two accuracies would be 1/2."""
    counts = PixelCounts(2)
    counts.add(np.zeros((1, 10), np.uint8), np.ones((1, 10), np.uint8))
    counts.add(np.ones((10, 9), np.uint8), np.ones((10, 9), np.uint8))
    assert counts.accuracy == 0.9


def test_left_and_right_mixed_up_show_in_the_confusion():
    target = np.repeat(np.arange(7, dtype=np.uint8), 10)[None]
    matrix = counted(np.array([0, 1, 2, 4, 3, 5, 6], np.uint8)[target], target).matrix
    assert matrix[3, 4] == matrix[4, 3] == 10 and matrix[3, 3] == matrix[4, 4] == 0


@pytest.mark.parametrize("wrong", ["size", "label"])
def test_a_bad_picture_is_left_out_alone(wrong):
    good = Masks(np.ones((4, 4), bool), np.ones((4, 4), np.uint8))
    wide, no_class = Masks(np.ones((4, 5), bool), np.ones((4, 5), np.uint8)), Masks(good.foreground, 9 * good.parts)
    bad = {"size": wide, "label": no_class}[wrong]
    counts = SegmentationCounts()
    counts.update([good, good, "no prediction", good], [good, bad, good, good])
    assert counts.images == 2 and set(counts.problems) == {"1", "2"}
    assert counts.foreground.matrix.sum() == counts.parts.matrix.sum() == 32
    assert ("should have the shape" if wrong == "size" else "labels 0 to 6 and 255, but has [9]") in counts.problems[
        "1"
    ]


# ---- from the crop to the image


def test_nearest_positions_are_those_of_pil():
    Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    for target in [*range(1, 40), 111, 223, 224, 225, 448, 449, 1337, 1900, 2048]:
        ramp = np.arange(224, dtype=np.uint8)[None]
        expected = np.asarray(Image.fromarray(ramp).resize((target, 1), Image.Resampling.NEAREST))[0]
        np.testing.assert_array_equal(nearest_positions(224, target), expected)


def test_uncrop_undoes_a_whole_multiple():
    crop = np.random.default_rng(0).integers(0, 7, (224, 224)).astype(np.uint8)
    window = spin_window(np.array([300.5, 260.5]), 2 * 224 / 200)
    assert window == (300 - 224, 260 - 224, 300 + 224, 260 + 224)
    image = uncrop(crop, window, (600, 500))
    assert image.shape == (500, 600)
    np.testing.assert_array_equal(image[36:484:2, 76:524:2], crop)
    assert not image[:36].any() and not image[484:].any() and not image[:, :76].any() and not image[:, 524:].any()


@pytest.mark.parametrize("center", [(0.0, 0.0), (-50.0, 40.0), (99.5, 80.25), (500.0, 40.0)])
def test_windows_may_reach_out_of_the_image(center):
    """Against pasting the whole resized crop into a larger picture."""
    crop = np.random.default_rng(1).integers(1, 7, (224, 224)).astype(np.uint8)
    left, top, right, bottom = window = spin_window(np.array(center), 0.8)
    canvas = np.zeros((2000, 2000), np.uint8)
    y, x = (nearest_positions(224, n) for n in (bottom - top, right - left))
    canvas[800 + top : 800 + bottom, 800 + left : 800 + right] = crop[y[:, None], x]
    np.testing.assert_array_equal(uncrop(crop, window, (120, 90)), canvas[800:890, 800:920])


def test_windows_cut_off_towards_zero():
    assert spin_window(np.array([10.0, 10.9]), 0.21) == (-11, -10, 31, 31)  # −11.0, −10.1, 31.0, 31.9


# ---- the protocols

SIZES = ((110, 150), (150, 113), (97, 97))


def standing(count: int) -> tuple[BodyParams, Camera]:
    """People who fill most of images of LSP's size, of several sizes."""
    body = free_body()
    params = random_params(body, count, pose=0.3, seed=4)
    sizes = torch.tensor([SIZES[i % len(SIZES)] for i in range(count)]).double()
    camera = Camera((sizes**2).sum(1, keepdim=True).sqrt().expand(-1, 2).clone(), sizes / 2, sizes)
    transl = torch.tensor([0.05, 0.3, 3.4]).double().expand(count, 3)
    return BodyParams(params.global_orient, params.body_pose, 0.5 * params.betas, transl.clone()), camera


def write_png(path, labels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", labels)[1].tobytes())


@pytest.fixture(scope="module", params=["lsp-spin", "lsp-full"])
def scene(request, tmp_path_factory):
    """Four people, and masks that are what the protocol draws of them."""
    root, body, count = tmp_path_factory.mktemp("lsp"), free_body(), 4
    params, camera = standing(count)
    predictions = as_predictions(params)
    predictions = type(predictions)(params, camera, predictions.done)
    names = [f"data/lsp/im{i + 1001}" for i in range(count)]
    images = np.array([f"images/im{i + 1001}.jpg" for i in range(count)])
    points = camera.project(body(params, vertices=False).joints).numpy()
    low, high = points.min(1), points.max(1)
    masks, parts = (np.array([f"{name}{kind}segmentation.png" for name in names]) for kind in ("_", "_part_"))
    scale = 1.2 * (high - low).max(1) / 200
    people = SpinDataset(images, (low + high) / 2, scale, maskname=masks, partname=parts)
    for image, size in zip(images, camera.size.int().tolist(), strict=True):
        write_image(root / image, np.zeros((*size[::-1], 3), np.uint8))
    write_spin_npz(root / "lsp_dataset_test.npz", people)
    for name in names:
        for kind in ("", "_part"):
            write_png(root / f"{name}{kind}_segmentation.png", np.zeros((2, 2), np.uint8))
    protocol = make_protocol(request.param, Setting(body))
    data = protocol.load(root)
    for name, masks in zip(names, protocol.prediction(predictions, data), strict=True):
        write_png(root / f"{name}_segmentation.png", masks.foreground.astype(np.uint8) * 255)
        write_png(root / f"{name}_part_segmentation.png", masks.parts)
    return root, request.param, predictions


def scored(scene, predictions=None, **setting):
    root, name, truth = scene
    protocol = make_protocol(name, Setting(free_body(), **setting))
    data = protocol.load(root)
    protocol.update(protocol.prediction(predictions or truth, data), protocol.target(data))
    return protocol


def test_the_truth_scores_one_in_every_measure(scene):
    protocol = scored(scene)
    summary = protocol.summary()
    assert [m.value for m in summary.measures] == [m.best for m in summary.measures] == [1.0] * 4
    assert summary.samples == 4
    assert [(m.value, m.best) for (m,) in summary.classes.values()] == [(1.0, 1.0)] * 7
    assert list(summary.classes) == list(PART_CLASSES)
    matrix = protocol.details().confusion
    assert (matrix.diagonal()[:7] > 0).all() and matrix.sum() == sum(w * h for w, h in (*SIZES, SIZES[0]))


def test_another_body_scores_less(scene):
    _, _, truth = scene
    params = truth.params
    moved = BodyParams(params.global_orient, params.body_pose, params.betas, params.transl + 0.1)
    values = [m.value for m in scored(scene, type(truth)(moved, truth.camera, truth.done)).summary().measures]
    assert all(0.3 < value < 0.99 for value in values)


def test_label_files_change_the_parts_alone(scene):
    swapped = np.array([0, 1, 2, 4, 3, 5, 6])[free_body().part_labels]
    protocol = scored(scene, part_labels=swapped)
    assert protocol.summary()["FG F1"] == 1 and protocol.summary()["parts F1"] < 0.9
    matrix = protocol.details().confusion
    assert matrix[3, 4] > 100 and matrix[3, 3] == 0 and matrix[1, 1] > 0
    assert protocol.summary().regressor == "a label file"


def test_people_without_a_prediction_are_missing(scene):
    _, _, truth = scene
    params = truth.params.map(torch.clone)
    params.betas[3, 0] = torch.nan
    some = type(truth)(params, truth.camera, torch.tensor([True, False, True, True]))
    protocol = scored(scene, some)
    summary = protocol.summary()
    assert protocol.details().rows.tolist() == [0, 2] and len(protocol.details().samples["FG F1"]) == 2
    assert summary.samples == 2 and summary.problems == dict.fromkeys("13", "there is no prediction")


def test_masks_that_are_damaged_or_gone(scene, tmp_path):
    import shutil

    root = tmp_path / "copy"
    shutil.copytree(scene[0], root)
    cut = root / "data/lsp/im1002_segmentation.png"
    cut.write_bytes(cut.read_bytes()[:30])
    write_png(root / "data/lsp/im1003_part_segmentation.png", np.zeros((5, 5), np.uint8))
    summary = scored((root, *scene[1:])).summary()
    assert summary.samples == 2 and [m.value for m in summary.measures] == [1.0] * 4
    assert "damaged" in summary.problems["1"] and "should have the shape" in summary.problems["2"]
    cut.unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 8 masks.*im1002_segmentation(.|\n)*MASKS/data/lsp/im1001"):
        scored((root, *scene[1:]))
    with pytest.raises(FileNotFoundError, match=f"8 of 8 masks are not in '{re.escape(str(tmp_path))}'"):
        scored(scene, masks_root=tmp_path)


def test_the_weak_camera_of_the_box(scene):
    """SPIN's far camera, of its own focal length, sees the root where the image's own does."""
    assert SPIN_FOCAL == 5000.0  # constants.FOCAL_LENGTH
    root, name, truth = scene
    people = make_protocol(name, Setting(free_body())).load(root).people
    weak = weak_of_box(truth, people)
    in_box = weak[:, :1] * weak[:, 1:]  # of the body's origin, in [-1, 1]
    pixels = in_box.numpy() * 100 * people.scale[:, None] + people.center
    np.testing.assert_allclose(pixels, truth.camera.project(truth.params.transl[:, None])[:, 0], atol=1e-9)


def test_read_mask(tmp_path):
    labels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    write_png(tmp_path / "m.png", labels)
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), labels)
    with pytest.raises(FileNotFoundError, match="no mask"):
        read_mask(tmp_path / "n.png")
    (tmp_path / "m.png").write_bytes(b"")
    with pytest.raises(ValueError, match="damaged"):
        read_mask(tmp_path / "m.png")
