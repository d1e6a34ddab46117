"""Readers of datasets, on tiny downloads made here in each original layout: joints by name, boxes, error messages."""

import json
import pickle
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io
from helpers.bodies import free_body
from helpers.python2_pickles import dumps

from hmrfit.datasets import READERS, convert_dataset, human36m, mpi_inf_3dhp, read_dataset
from hmrfit.datasets.download import SPIN_SLOTS, spin_slots
from hmrfit.datasets.lsp import read_lsp_extended
from hmrfit.datasets.spin_npz import SpinDataset, read_spin_npz
from hmrfit.evaluate.predict import observed_keypoints
from hmrfit.evaluate.protocol import Setting, make_protocol
from hmrfit.io.image import read_image
from hmrfit.io.pickles import RefusedFile
from hmrfit.keypoints import COCO17, LSP14, MPII16, SPIN24


def slot(dataset_field: np.ndarray, name: str) -> np.ndarray:
    return dataset_field[:, SPIN24.index(SPIN_SLOTS.get(name, name))]


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def points(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(20, 180, shape)


# ---- one download each; every maker returns what its truth is


def make_lsp(root: Path) -> np.ndarray:
    joints = points(3, 14, 2000)
    touch(root, *(f"images/im{i:04d}.jpg" for i in range(1, 2001)))
    scipy.io.savemat(root / "joints.mat", {"joints": joints})
    return joints


def make_lsp_extended(root: Path) -> np.ndarray:
    joints = points(14, 3, 12)
    joints[:, 2] = np.random.default_rng(3).random((14, 12)) < 0.7
    touch(root, *(f"im{i:05d}.png" for i in range(1, 13) if i != 5))
    scipy.io.savemat(root / "joints.mat", {"joints": joints})
    return joints


def make_mpii(root: Path) -> np.ndarray:
    """Four images: two people of whom one lacks a joint; one person; one of the test set; one without annorect."""
    xy = points(3, 16, 2)
    order = np.random.default_rng(2).permutation(16)

    def person(p: np.ndarray, ids: np.ndarray) -> dict:
        dtype = [("x", object), ("y", object), ("id", object), ("is_visible", object)]
        rows = [(p[i, 0], p[i, 1], int(i), np.zeros((0, 0)) if i % 3 else "1") for i in ids]
        return {"scale": 2.5, "objpos": {"x": 300, "y": 200}, "annopoints": {"point": np.array([rows], dtype)}}

    def several(people: list[dict]) -> np.ndarray:
        dtype = [(key, object) for key in people[0]]
        return np.array([[tuple(p.values()) for p in people]], dtype)

    rects = [
        several([person(xy[0], order), person(xy[1], order[:-1])]),
        several([person(xy[2], order)]),
        several([{"scale": 1.0, "objpos": {"x": 3, "y": 4}}]),
        np.zeros((0, 0)),
    ]
    dtype = [("image", object), ("annorect", object)]
    images = np.array([[({"name": f"{i:09d}.jpg"}, rect) for i, rect in enumerate(rects)]], dtype)
    release = {"annolist": images, "img_train": np.array([[1, 1, 0, 1]])}
    touch(root, "images/000000000.jpg")
    scipy.io.savemat(root / "mpii_human_pose_v1_u12_1.mat", {"RELEASE": release})
    return xy


def make_coco(root: Path) -> np.ndarray:
    keypoints = np.concatenate([points(4, 17, 2).round(), np.full((4, 17, 1), 2)], -1)
    keypoints[0, :3, 2], keypoints[0, 5, 2] = 0, 1  # no face; a hidden shoulder still counts
    keypoints[1, 16] = 0  # an ankle lost
    annotations = [
        {"image_id": 7 + i % 2, "keypoints": k.ravel().tolist(), "bbox": [10.0, 20.0, 60.0, 100.0]}
        for i, k in enumerate(keypoints)
    ]
    images = [{"id": 7, "file_name": "COCO_train2014_7.jpg"}, {"id": 8, "file_name": "COCO_train2014_8.jpg"}]
    touch(root, "annotations/x", "train2014/COCO_train2014_7.jpg", "train2014/COCO_train2014_8.jpg")
    file = root / "annotations/person_keypoints_train2014.json"
    file.write_text(json.dumps({"images": images, "annotations": [*annotations, {"image_id": 7, "bbox": [0] * 4}]}))
    return keypoints


FRAMES, CAMERAS = 12, ("54138969", human36m.FRONTAL)


def write_cdf(path: Path, values: np.ndarray) -> None:
    """As Human3.6M's: one variable `Pose` with one record of all frames."""
    cdfwrite = pytest.importorskip("cdflib.cdfwrite", reason="cdflib is not installed")
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = path.with_name("plain.cdf")  # the writer takes what follows a dot for a suffix
    file = cdfwrite.CDF(str(plain), cdf_spec={"Majority": "row_major"}, delete=True)
    spec = {
        "Variable": "Pose",
        "Data_Type": 44,
        "Num_Elements": 1,
        "Rec_Vary": True,
        "Dim_Sizes": list(values.shape),
        "Var_Type": "zVariable",
    }
    file.write_var(spec, var_data=values[None].astype(np.float32))
    file.close()
    plain.replace(path)


def write_masks(path: Path, boxes: np.ndarray) -> None:
    """Cells of masks (height, width) as MATLAB 7.3 stores them: references to transposed arrays."""
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        cells = file.create_dataset("Masks", (len(boxes), 1), dtype=h5py.ref_dtype)
        for i, (left, top, right, bottom) in enumerate(boxes):
            mask = np.zeros((150, 200), np.uint8)
            mask[top:bottom, left:right] = 1
            cells[i, 0] = file.create_dataset(f"#refs#/{i}", data=mask.T).ref


def write_video(path: Path, frames: int, size: tuple[int, int] = (64, 48)) -> None:
    """Frame i is grey of brightness 10 i."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, size)
    for i in range(frames):
        writer.write(np.full((size[1], size[0], 3), 10 * i, np.uint8))
    writer.release()


def make_human36m(root: Path, subjects: tuple[int, ...] = (9, 11)) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    S, xy = points(FRAMES, 32, 3) * 10, points(FRAMES, 32, 2, seed=1)
    boxes = np.array([[10 + i, 20, 60 + i, 140] for i in range(FRAMES)])
    for subject in subjects:
        for action in ("Directions 1", "_ALL"):
            for camera in CAMERAS:
                name, folder = f"{action}.{camera}", root / f"S{subject}"
                write_cdf(folder / "MyPoseFeatures/D3_Positions_mono" / f"{name}.cdf", S.reshape(FRAMES, 96))
                write_cdf(folder / "MyPoseFeatures/D2_Positions" / f"{name}.cdf", xy.reshape(FRAMES, 64))
                write_masks(folder / "MySegmentsMat/ground_truth_bb" / f"{name}.mat", boxes)
    return S, xy, boxes


def make_3dhp_train(root: Path) -> tuple[np.ndarray, np.ndarray]:
    """Three frames a video; in the second, one joint is outside."""
    xy, S = points(9, 3, 28, 2) * 10, points(9, 3, 28, 3, seed=1) * 10
    xy[:, 1, 20, 0] = 2048
    cells = np.empty((2, 9, 1), object)
    for video in range(9):
        cells[0, video, 0], cells[1, video, 0] = xy[video].reshape(3, -1), S[video].reshape(3, -1)
    for sequence in mpi_inf_3dhp.SEQUENCES:
        names = [f"{sequence}/imageFrames/video_{v}/frame_{i:06d}.jpg" for v in range(9) for i in (1, 2, 3)]
        touch(root, *names)
        scipy.io.savemat(root / sequence / "annot.mat", {"annot2": cells[0], "annot3": cells[1]})
    return xy, S


def make_3dhp_test(root: Path) -> tuple[np.ndarray, np.ndarray]:
    """Four frames: good, not valid, a joint outside, good."""
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    xy, S = points(4, 1, 17, 2), points(4, 1, 17, 3, seed=1) * 10
    xy[2, 0, 3, 1] = 190.0
    image = cv2.imencode(".jpg", np.zeros((190, 200, 3), np.uint8))[1].tobytes()
    for sequence in mpi_inf_3dhp.TEST_SEQUENCES:
        touch(root, *(f"{sequence}/imageSequence/img_{i:06d}.jpg" for i in range(1, 5)))
        for path in (root / sequence / "imageSequence").iterdir():
            path.write_bytes(image)
        with h5py.File(root / sequence / "annot_data.mat", "w") as file:
            file["annot2"], file["univ_annot3"], file["annot3"] = xy, S, 1.1 * S
            file["valid_frame"] = np.array([[1.0], [0.0], [1.0], [1.0]])
    return xy, S


def make_3dpw(root: Path) -> dict:
    """Two people, four frames; person 0 without camera in frame 1, person 1 unseen in frame 2."""
    rng = np.random.default_rng(0)
    poses2d = rng.uniform(20, 180, (2, 4, 3, 18))
    poses2d[:, :, 2] = rng.random((2, 4, 18)) < 0.7
    poses2d[1, 2, 2] = 0
    camera = np.tile(np.eye(4), (4, 1, 1))
    camera[:, :3, :3] = [cv2.Rodrigues(v)[0] for v in rng.normal(size=(4, 3))]
    data = {
        "sequence": "town_00",
        "poses": list(rng.normal(0, 0.4, (2, 4, 72))),
        "betas": list(rng.normal(size=(2, 300))),
        "poses2d": list(poses2d),
        "cam_poses": camera,
        "genders": ["m", "f"],
        "campose_valid": [np.array([1, 0, 1, 1]), np.ones(4, int)],
    }
    touch(root, "sequenceFiles/test/x", *(f"imageFiles/town_00/image_{i:05d}.jpg" for i in range(4)))
    (root / "sequenceFiles/test/town_00.pkl").write_bytes(dumps(data))
    return data


MAKERS: dict[str, Callable[[Path], object]] = {
    "lsp-train": make_lsp,
    "lsp-test": make_lsp,
    "lsp-extended": make_lsp_extended,
    "mpii": make_mpii,
    "coco": make_coco,
    "h36m-train": lambda root: make_human36m(root, human36m.SPLITS["train"]),
    "h36m-p1": make_human36m,
    "h36m-p2": make_human36m,
    "3dhp-train": make_3dhp_train,
    "3dhp-test": make_3dhp_test,
    "3dpw-test": make_3dpw,
}

# ---- what holds for all


@pytest.mark.parametrize("name", MAKERS)
def test_each_becomes_a_file_of_spins_format(tmp_path, name):
    MAKERS[name](tmp_path / "in")
    path = convert_dataset(name, tmp_path / "in", tmp_path / "out")
    assert path.name == READERS[name].file
    read, again = read_spin_npz(path), read_dataset(name, tmp_path / "in")
    for field, value in again.known().items():
        np.testing.assert_array_equal(getattr(read, field), value)


@pytest.mark.parametrize("name", READERS)
def test_an_empty_folder_is_an_error_that_shows_what_was_expected(tmp_path, name):
    with pytest.raises(FileNotFoundError, match=r"not whole.*the first is .*\n *ROOT/"):
        read_dataset(name, tmp_path)


def test_unknown_names_are_answered():
    with pytest.raises(ValueError, match="Did you mean 'mpii'"):
        read_dataset("mpi", ".")


MAIN_FILES = {
    "lsp-test": "joints.mat",
    "lsp-extended": "joints.mat",
    "mpii": "mpii_human_pose_v1_u12_1.mat",
    "coco": "annotations/person_keypoints_train2014.json",
    "h36m-p2": f"S9/MyPoseFeatures/D3_Positions_mono/Directions 1.{human36m.FRONTAL}.cdf",
    "3dhp-train": "S1/Seq1/annot.mat",
    "3dhp-test": "mpi_inf_3dhp_test_set/TS1/annot_data.mat",
    "3dpw-test": "sequenceFiles/test/town_00.pkl",
}


@pytest.mark.parametrize("name", MAIN_FILES)
def test_a_file_cut_off_is_named(tmp_path, name):
    MAKERS[name](tmp_path)
    path = tmp_path / MAIN_FILES[name]
    whole = path.read_bytes()
    for end in (0, len(whole) // 2):
        path.write_bytes(whole[:end])
        with pytest.raises(ValueError, match=f"{path.name}.*(damaged|refused)"):
            read_dataset(name, tmp_path)


# ---- each by itself


def box_of(p: np.ndarray) -> tuple[np.ndarray, float]:
    low, high = p.min(0), p.max(0)
    return (low + high) / 2, 1.2 * max(high - low) / 200


def test_slots_are_spins_tables():
    """The index tables of SPIN's preprocessing, from the reference page, against our names."""
    tables = {
        LSP14: range(14),
        MPII16: [0, 1, 2, 3, 4, 5, 14, 15, 12, 13, 6, 7, 8, 9, 10, 11],
        COCO17: [19, 20, 21, 22, 23, 9, 8, 10, 7, 11, 6, 3, 2, 4, 1, 5, 0],
        tuple(human36m.JOINTS): [14, 3, 4, 5, 2, 1, 0, 16, 12, 17, 18, 9, 10, 11, 8, 7, 6],
    }
    for names, table in tables.items():
        filled = spin_slots(np.arange(1.0, len(names) + 1)[None, :, None], names)[0]
        assert [int(filled[i, 0]) - 1 for i in table] == list(range(len(names)))
        assert filled[:, 1].sum() == len(names)


def test_joints_are_picked_by_spins_tables():
    """From the reference page, sections 3.3 and 3.4; the root comes first."""
    assert list(human36m.JOINTS.values()) == [11, 6, 7, 8, 1, 2, 3, 12, 24, 14, 15, 17, 18, 19, 25, 26, 27]
    assert list(mpi_inf_3dhp.TEST_JOINTS) == [14, 11, 12, 13, 8, 9, 10, 15, 1, 16, 0, 5, 6, 7, 2, 3, 4]
    assert list(mpi_inf_3dhp.TRAIN_JOINTS) == [4, 18, 19, 20, 23, 24, 25, 3, 5, 6, 7, 9, 10, 11, 14, 15, 16]
    assert mpi_inf_3dhp.VIDEOS == (0, 1, 2, 4, 5, 6, 7, 8)


def test_lsp(tmp_path):
    joints = make_lsp(tmp_path)
    test, train = read_dataset("lsp-test", tmp_path), read_dataset("lsp-train", tmp_path)
    assert len(test) == len(train) == 1000 and train.maskname is None
    assert test.imgname[0] == "images/im1001.jpg" and test.imgname[-1] == "images/im2000.jpg"
    assert test.maskname[4] == "data/lsp/im1005_segmentation.png"
    assert test.partname[4] == "data/lsp/im1005_part_segmentation.png"
    own = joints[:2, :, 1004].T
    np.testing.assert_array_equal(test.part[4, :14, :2], own)
    assert (test.part[..., :14, 2] == 1).all() and not test.part[:, 14:].any()
    np.testing.assert_allclose(test.center[4], box_of(own)[0])
    np.testing.assert_allclose(test.scale[4], box_of(own)[1])
    (tmp_path / "images/im1500.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 1001 parts.*im1500"):
        read_dataset("lsp-test", tmp_path)


def test_lsp_and_its_extension_are_not_taken_for_each_other(tmp_path):
    make_lsp(tmp_path)
    scipy.io.savemat(tmp_path / "joints.mat", {"joints": points(14, 3, 2000)})
    with pytest.raises(ValueError, match="lsp-extended"):
        read_dataset("lsp-test", tmp_path)


def test_a_lost_image_of_lsp_extended_shifts_no_other(tmp_path):
    joints = make_lsp_extended(tmp_path)
    read = read_dataset("lsp-extended", tmp_path)
    assert len(read) == 11 and "im00005.png" not in read.imgname
    np.testing.assert_array_equal(read.part[4, :14, :2], joints[:, :2, 5])  # im00006.png
    assert read.part[:, :14, 2].all()
    visible = read_lsp_extended(tmp_path, visible_only=True)
    np.testing.assert_array_equal(visible.part[4, :14, 2], joints[:, 2, 5])
    np.testing.assert_allclose(visible.center[4], box_of(joints[joints[:, 2, 5] > 0, :2, 5])[0])
    touch(tmp_path, "im00013.png")
    with pytest.raises(ValueError, match=r"12 people.*im00013"):
        read_dataset("lsp-extended", tmp_path)


def test_mpii_keeps_whole_people_of_the_training_images(tmp_path):
    xy = make_mpii(tmp_path)
    read = read_dataset("mpii", tmp_path)
    assert read.imgname.tolist() == ["images/000000000.jpg", "images/000000001.jpg"]
    for i, name in enumerate(MPII16):
        np.testing.assert_allclose(slot(read.part, name), np.c_[xy[[0, 2], i], [1, 1]])
    np.testing.assert_allclose(read.center, [[300, 200 + 15 * 2.5]] * 2)
    np.testing.assert_allclose(read.scale, 1.25 * 2.5)


def test_coco_keeps_people_with_all_limbs(tmp_path):
    keypoints = make_coco(tmp_path)
    read = read_dataset("coco", tmp_path)
    assert read.imgname.tolist() == [f"train2014/COCO_train2014_{i}.jpg" for i in (7, 7, 8)]
    for i, name in enumerate(COCO17):
        np.testing.assert_allclose(slot(read.part, name)[:, :2], keypoints[[0, 2, 3], i, :2])
    assert slot(read.part, "nose")[:, 2].tolist() == [0, 1, 1] and slot(read.part, "left_shoulder_coco")[0, 2] == 1
    np.testing.assert_allclose(read.center, [[40, 70]] * 3)
    np.testing.assert_allclose(read.scale, 1.2 * 100 / 200)
    (tmp_path / "train2014/COCO_train2014_8.jpg").unlink()
    with pytest.raises(FileNotFoundError, match="COCO_train2014_8"):
        read_dataset("coco", tmp_path)


def test_human36m(tmp_path):
    S, _, boxes = make_human36m(tmp_path)
    one, two = read_dataset("h36m-p1", tmp_path), read_dataset("h36m-p2", tmp_path)
    assert len(one) == 2 * 2 * 3 and len(two) == 2 * 3 and one.part is None  # subjects, cameras, frames 0, 5, 10
    assert two.imgname[1] == f"images/S9_Directions_1.{human36m.FRONTAL}_000006.jpg"
    assert not any("_ALL" in name for name in one.imgname)
    for name, joint in human36m.JOINTS.items():
        expected = (S[5, joint] - S[5, 11]) / 1000
        np.testing.assert_allclose(slot(two.S, name)[1], [*expected, 1], atol=1e-6)  # the file is float32
    left, top, right, bottom = boxes[5]
    np.testing.assert_allclose(two.center[1], [(left + right) / 2, (top + bottom) / 2])
    np.testing.assert_allclose(two.scale[1], 0.9 * 120 / 200)


def test_human36m_in_training_has_2d_joints(tmp_path):
    _, xy, _ = make_human36m(tmp_path, human36m.SPLITS["train"])
    read = read_dataset("h36m-train", tmp_path)
    assert len(read) == 5 * 2 * 3
    for name, joint in human36m.JOINTS.items():
        np.testing.assert_allclose(slot(read.part, name)[2], [*xy[10, joint], 1], rtol=1e-6)
    (tmp_path / f"S7/MySegmentsMat/ground_truth_bb/Directions 1.{CAMERAS[0]}.mat").unlink()
    with pytest.raises(FileNotFoundError, match="S7/MySegmentsMat"):
        read_dataset("h36m-train", tmp_path)


def test_an_empty_mask_of_human36m_is_named(tmp_path):
    make_human36m(tmp_path)
    path = tmp_path / f"S9/MySegmentsMat/ground_truth_bb/Directions 1.{human36m.FRONTAL}.mat"
    write_masks(path, np.array([[10, 10, 60, 60]] * 5 + [[10, 10, 10, 10]] * 7))
    with pytest.raises(ValueError, match="mask of frame 5 is empty"):
        read_dataset("h36m-p2", tmp_path)


def test_images_of_human36m_lag_by_one_frame_in_the_evaluation(tmp_path):
    make_human36m(tmp_path)
    for subject in ("S9", "S11"):
        write_video(tmp_path / subject / f"Videos/Directions 1.{human36m.FRONTAL}.mp4", FRAMES)
    assert human36m.extract_images(tmp_path, "protocol2") == 6
    read = read_dataset("h36m-p2", tmp_path)
    brightness = [read_image(tmp_path / name).mean() / 10 for name in read.imgname[:3]]
    np.testing.assert_allclose(brightness, [1, 6, 11], atol=0.3)  # JPEG twice: 3 of 255
    assert human36m.extract_images(tmp_path, "protocol2") == 0
    write_video(tmp_path / f"S9/Videos/Directions 1.{human36m.FRONTAL}.mp4", 8)
    for name in read.imgname:
        (tmp_path / name).unlink()
    with pytest.raises(ValueError, match="ends after 8 frames, before frame 11"):
        human36m.extract_images(tmp_path, "protocol2")


def test_3dhp_training(tmp_path):
    xy, S = make_3dhp_train(tmp_path)
    read = read_dataset("3dhp-train", tmp_path)
    # 16 sequences, 8 videos, 2 frames with everything inside; every 10th
    assert len(read) == -(-16 * 8 * 2 // 10)
    assert read.imgname[:3].tolist() == [
        "S1/Seq1/imageFrames/video_0/frame_000001.jpg",
        "S1/Seq1/imageFrames/video_6/frame_000001.jpg",
        "S1/Seq2/imageFrames/video_2/frame_000001.jpg",
    ]
    for name, joint in zip(mpi_inf_3dhp.NAMES, mpi_inf_3dhp.TRAIN_JOINTS, strict=True):
        np.testing.assert_allclose(slot(read.part, name)[1], [*xy[6, 0, joint], 1])
        np.testing.assert_allclose(slot(read.S, name)[1], [*(S[6, 0, joint] - S[6, 0, 4]) / 1000, 1])
    np.testing.assert_allclose(read.scale[1], box_of(xy[6, 0, list(mpi_inf_3dhp.TRAIN_JOINTS)])[1])


def test_3dhp_frames_are_known_by_their_number(tmp_path):
    """A frame that is not there shifts no other; one beyond the annotation is an error."""
    xy, _ = make_3dhp_train(tmp_path)
    (tmp_path / "S1/Seq1/imageFrames/video_0/frame_000001.jpg").unlink()
    read = read_dataset("3dhp-train", tmp_path)
    assert read.imgname[0].endswith("video_0/frame_000003.jpg")
    np.testing.assert_allclose(slot(read.part, "left_wrist")[0, :2], xy[0, 2, 11])
    touch(tmp_path, "S1/Seq1/imageFrames/video_0/frame_000004.jpg")
    with pytest.raises(ValueError, match=r"ends before.*frame_000004"):
        read_dataset("3dhp-train", tmp_path)


def test_3dhp_images_are_all_frames_of_the_videos(tmp_path):
    make_3dhp_train(tmp_path)
    for sequence in mpi_inf_3dhp.SEQUENCES:
        for path in (tmp_path / sequence / "imageFrames").rglob("*.jpg"):
            path.unlink()
        for video in mpi_inf_3dhp.VIDEOS:
            write_video(tmp_path / sequence / f"imageSequence/video_{video}.avi", 3, (16, 16))
    assert mpi_inf_3dhp.extract_images(tmp_path) == 16 * 8 * 3
    third = read_image(tmp_path / "S8/Seq2/imageFrames/video_8/frame_000003.jpg")
    np.testing.assert_allclose(third.mean(), 20, atol=3)


def test_3dhp_test_is_of_the_universal_skeleton(tmp_path):
    xy, S = make_3dhp_test(tmp_path)
    read = read_dataset("3dhp-test", tmp_path)
    assert len(read) == 6 * 2 and read.imgname[1] == "mpi_inf_3dhp_test_set/TS1/imageSequence/img_000004.jpg"
    for name, joint in zip(mpi_inf_3dhp.NAMES, mpi_inf_3dhp.TEST_JOINTS, strict=True):
        np.testing.assert_allclose(slot(read.part, name)[1], [*xy[3, 0, joint], 1])
        np.testing.assert_allclose(slot(read.S, name)[1], [*(S[3, 0, joint] - S[3, 0, 14]) / 1000, 1])


def test_3dhp_of_the_official_script_keeps_all_valid_frames_and_knows_activities(tmp_path):
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    make_3dhp_test(tmp_path)
    whole = mpi_inf_3dhp.read_3dhp_test(tmp_path, inside_only=False)
    assert len(whole) == 6 * 3
    assert mpi_inf_3dhp.read_3dhp_activities(tmp_path, whole).tolist() == [""] * 18
    for number, sequence in enumerate(mpi_inf_3dhp.TEST_SEQUENCES, 1):
        with h5py.File(tmp_path / sequence / "annot_data.mat", "a") as file:
            file["activity_annotation"] = np.array([[1.0], [2.0], [number], [7.0]])
    found = mpi_inf_3dhp.read_3dhp_activities(tmp_path, whole[3:])  # sequence 2 and on: its frames 1, 3, 4
    assert found[:3].tolist() == ["Stand/Walk", "Exercise", "Misc."] and found[4] == mpi_inf_3dhp.ACTIVITIES[2]


@pytest.mark.parametrize(
    "protocol, maker, count",
    [
        ("h36m-p1-spin", "h36m-p1", 12),
        ("h36m-p2-hmr", "h36m-p1", 6),
        ("3dhp-spin", "3dhp-test", 12),
        ("3dhp-official", "3dhp-test", 18),
        ("3dpw", "3dpw-test", 6),
        ("2d-lsp", "lsp-test", 1000),
    ],
)
def test_protocols_read_the_downloads(tmp_path, protocol, maker, count):
    """And what a predictor sees of them has the names of its own definition."""
    MAKERS[maker](tmp_path)
    body = free_body()
    made = make_protocol(protocol, Setting(body, gendered={"m": body, "f": body}))
    data = made.load(tmp_path)
    target = made.target(data[:2])
    points = target.xy if protocol == "2d-lsp" else target.xyz
    assert len(data) == count and points.isfinite().all() and points.shape[1] == len(made.joints)
    names = observed_keypoints(data).names
    own = {"h36m": "left_hip_h36m", "3dhp": "left_hip_h36m", "3dpw": "left_hip_coco"}.get(protocol[:4], "left_hip_lsp")
    assert own in names


def test_3dpw_is_turned_into_the_camera_frame(tmp_path):
    data = make_3dpw(tmp_path)
    read: SpinDataset = read_dataset("3dpw-test", tmp_path)
    frames = [int(name[-9:-4]) for name in read.imgname]
    assert frames == [0, 2, 3, 0, 1, 3] and read.gender.tolist() == list("mmmfff")
    for row, (frame, person) in enumerate(zip(frames, [0, 0, 0, 1, 1, 1], strict=True)):
        pose = data["poses"][person][frame]
        world, camera = cv2.Rodrigues(pose[:3])[0], data["cam_poses"][frame, :3, :3]
        np.testing.assert_allclose(cv2.Rodrigues(read.pose[row, :3])[0], camera @ world, atol=1e-12)
        np.testing.assert_array_equal(read.pose[row, 3:], pose[3:])
        np.testing.assert_array_equal(read.shape[row], data["betas"][person][:10])
        x, y, sure = data["poses2d"][person][frame]
        np.testing.assert_allclose(read.center[row], box_of(np.c_[x, y][sure > 0])[0])
        np.testing.assert_allclose(read.scale[row], box_of(np.c_[x, y][sure > 0])[1])


def test_3dpw_pickles_are_not_run(tmp_path):
    make_3dpw(tmp_path)
    (tmp_path / "sequenceFiles/test/town_00.pkl").write_bytes(pickle.dumps(Path("x")))
    with pytest.raises(RefusedFile, match="Nothing in it has been run"):
        read_dataset("3dpw-test", tmp_path)


@pytest.mark.parametrize("name, package", [("h36m-p2", "cdflib"), ("3dhp-test", "h5py")])
def test_the_error_names_what_to_install(tmp_path, monkeypatch, name, package):
    monkeypatch.setitem(sys.modules, package, None)
    touch(tmp_path, *(f"{sequence}/annot_data.mat" for sequence in mpi_inf_3dhp.TEST_SEQUENCES))
    for folder, suffix in (("MyPoseFeatures/D3_Positions_mono", "cdf"), ("MySegmentsMat/ground_truth_bb", "mat")):
        touch(tmp_path, *(f"S{s}/{folder}/Directions 1.{human36m.FRONTAL}.{suffix}" for s in (9, 11)))
    with pytest.raises(ImportError, match=f"pip install 'hmrfit\\[datasets\\]'.*{package}"):
        read_dataset(name, tmp_path)
