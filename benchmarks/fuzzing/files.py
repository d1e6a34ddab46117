"""Hostile files of every kind that is read: valid ones, made here and damaged, and bombs made for their reader."""

import io
import json
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from helpers.motion_files import animated_glb, cmu_bvh, cmu_expmap, deepmimic, random_angles
from helpers.python2_pickles import smpl_pickle
from helpers.synthetic_body import synthetic_body

import hmrfit
from fuzzing import bombs
from hmrfit.body.files import read_body_file
from hmrfit.body.parts import read_part_labels
from hmrfit.body.regressors import read_regressor
from hmrfit.datasets.download import h5_numbers, open_h5, read_cdf, read_mat
from hmrfit.datasets.spin_npz import read_spin_npz, read_static_fits
from hmrfit.evaluate.masks import read_mask
from hmrfit.evaluate.predictions import read_predictions
from hmrfit.io.image import exif_focal_35mm, image_size, read_image
from hmrfit.io.opencv import cv2
from hmrfit.motion.glb import RIGS
from hmrfit.motion.read import read_motions
from hmrfit.network.checkpoints import load_network, save_network
from hmrfit.network.discriminator import FactorizedDiscriminator
from hmrfit.network.encoders import KeypointEncoder
from hmrfit.network.hmr import HMR
from hmrfit.network.regressor import IterativeRegressor
from hmrfit.network.strict import read_arrays
from hmrfit.priors.gmm import PoseGmm
from hmrfit.priors.limits import JointLimits

BOMBS = 0.5
"""How often a bomb is made where there are any; else a valid file is damaged."""

PROBLEM = 200
"""Bytes of a damaged file's beginning that are damaged more often: its header."""


def _read_image(path: Path) -> list[np.ndarray]:
    exif_focal_35mm(path)
    return [read_image(path), np.array(image_size(path))]


def _read_motions(path: Path) -> list[np.ndarray]:
    return [part for motion in read_motions(path) for part in (motion.poses, motion.transl)]


def _read_h5(path: Path) -> np.ndarray:
    with open_h5(path) as file:
        return h5_numbers(file, "annot2")


def _read_network(path: Path) -> None:
    load_network(path)


def _read_torch(path: Path) -> list[np.ndarray]:
    arrays = read_arrays(path)
    if any(name.startswith(("decpose", "layer1", "fc")) for name in arrays):
        load_network(path)
    return [tensor.numpy() for tensor in arrays.values() if tensor.numel() < 10**6 and not tensor.is_sparse]


def _read_regressor(path: Path) -> np.ndarray:
    return read_regressor("extra", path, 50).numpy()


def _array(value: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, value)
    return file.getvalue()


def _npz(packed: bool = True, **arrays: Any) -> bytes:
    file = io.BytesIO()
    (np.savez_compressed if packed else np.savez)(file, **arrays)
    return file.getvalue()


def _picture(suffix: str) -> Callable[[], bytes]:
    def make() -> bytes:
        image = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
        return cv2.imencode(suffix, np.float32(image / 255.0) if suffix == ".hdr" else image)[1].tobytes()

    return make


def _saved(write: Callable[[Path], Any], suffix: str) -> bytes:
    """What a writer of the library writes."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"file{suffix}"
        write(path)
        return path.read_bytes()


def _coco() -> bytes:
    points = [float(n) for k in range(17) for n in (20 * k, 300, 2)]
    people = [{"id": i, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "keypoints": points} for i in range(3)]
    images = [{"id": 1, "file_name": "a.jpg", "width": 640, "height": 480}]
    return json.dumps({"images": images, "annotations": people, "categories": [{"id": 1, "keypoints": []}]}).encode()


def _openpose() -> bytes:
    person = {"person_id": [-1], "pose_keypoints_2d": [30, 40, 0.5] * 25}
    return json.dumps({"version": 1.3, "people": [person]}).encode()


def _mmpose() -> bytes:
    instance = {"keypoints": np.ones((17, 2)).tolist(), "keypoint_scores": [0.9] * 17, "bbox": [[1, 2, 30, 40]]}
    return json.dumps(
        {"meta_info": {"dataset_name": "coco"}, "instance_info": [{"frame_id": 1, "instances": [instance]}]}
    ).encode()


def _glb() -> bytes:
    nodes = [{"name": name, "translation": [0.1, 0.2, 0.3]} for name in RIGS[0].nodes().values()]
    nodes = [node | ({"children": [i + 1]} if i + 1 < len(nodes) else {}) for i, node in enumerate(nodes)]
    keys = [(0.0, [0.0, 0.0, 0.0, 1.0]), (1.0, [0.0, 0.1, 0.0, 1.0])]
    return animated_glb(nodes, {RIGS[0].rest_clip: {0: keys}, "Walk": {0: keys, 3: keys}})


def _network() -> HMR:
    return HMR(KeypointEncoder(16, 1), IterativeRegressor(16, hidden=8))


def _torch_file() -> bytes:
    import torch

    file = io.BytesIO()
    torch.save({"model": _network().state_dict()}, file)
    return file.getvalue()


def _old_torch_file() -> bytes:
    import torch

    file = io.BytesIO()
    torch.save({"model": _network().state_dict()}, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def _spin() -> bytes:
    return _npz(
        imgname=np.array(["a.jpg", "b.jpg"]),
        center=np.ones((2, 2)),
        scale=np.ones(2),
        part=np.ones((2, 24, 3)),
        S=np.ones((2, 24, 4)),
        pose=np.zeros((2, 72)),
        shape=np.zeros((2, 10)),
        gender=np.array(["m", "f"]),
    )


def _predictions() -> bytes:
    texts = dict.fromkeys(("run", "dataset", "problems"), "{}")
    pairs = {name: np.ones((2, 2)) for name in ("focal", "center", "image_size")}
    return _npz(
        format="hmrfit predictions 1",
        rotations=np.ones((2, 24, 3, 3)),
        betas=np.zeros((2, 10)),
        transl=np.zeros((2, 3)),
        weak_camera=np.zeros((2, 3)),
        done=np.ones(2, bool),
        joint_names=np.array(["a"]),
        **pairs,
        **texts,
    )


def _amass() -> bytes:
    return _npz(
        poses=np.zeros((5, 156)), trans=np.zeros((5, 3)), betas=np.zeros(16), gender="male", mocap_framerate=120.0
    )


def _mat() -> bytes:
    import scipy.io

    file = io.BytesIO()
    scipy.io.savemat(file, {"joints": np.ones((3, 14, 4)), "s": {"a": [1, 2], "b": {"c": "x"}}}, do_compression=True)
    return file.getvalue()


def _h5() -> bytes:
    import h5py

    file = io.BytesIO()
    with h5py.File(file, "w") as h5:
        h5.create_dataset("annot2", data=np.ones((50, 17, 2)), compression="gzip")
    return file.getvalue()


def _cdf() -> bytes:
    import cdflib.cdfwrite

    def write(path: Path) -> None:
        with cdflib.cdfwrite.CDF(path, {"Compressed": 0}) as cdf:
            pose = np.ones((1, 40, 96), np.float32)
            cdf.write_var(
                {
                    "Variable": "Pose",
                    "Data_Type": 44,
                    "Num_Elements": 1,
                    "Rec_Vary": True,
                    "Dim_Sizes": [40, 96],
                    "Compress": 6,
                },
                var_data=pose,
            )

    return _saved(write, ".cdf")


def _angles() -> list:
    return random_angles(np.random.default_rng(0), 4)


KINDS: dict[str, tuple[str, Callable[[], bytes], Callable[[Path], Any]]] = {
    "body.pkl": (".pkl", lambda: smpl_pickle(synthetic_body()), read_body_file),
    "body.npz": (".npz", lambda: _npz(**synthetic_body()), read_body_file),
    "parts.npy": (".npy", lambda: _array(np.ones(50, np.int64)), lambda path: read_part_labels(path, 50)),
    "regressor.npy": (".npy", lambda: _array(np.full((9, 50), 0.02)), _read_regressor),
    "gmm.npz": (
        ".npz",
        lambda: _npz(means=np.zeros((2, 6)), covariances=np.tile(np.eye(6), (2, 1, 1)), weights=np.ones(2)),
        PoseGmm.from_file,
    ),
    "limits.npz": (".npz", lambda: _npz(lower=-np.ones((23, 3)), upper=np.ones((23, 3))), JointLimits.from_file),
    "network.npz": (".npz", lambda: _saved(lambda path: save_network(path, _network()), ".npz"), _read_network),
    "discriminator.npz": (
        ".npz",
        lambda: _saved(lambda path: save_network(path, FactorizedDiscriminator(hidden=8)), ".npz"),
        _read_network,
    ),
    "network.pt": (".pt", _torch_file, _read_torch),
    "old network.pt": (".pt", _old_torch_file, _read_torch),
    "result.npz": (".npz", lambda: RESULT[0], hmrfit.FitResult.load),
    "predictions.npz": (".npz", _predictions, lambda path: read_predictions(path)[0].params.betas),
    "spin.npz": (".npz", _spin, lambda path: read_spin_npz(path).center),
    "fits.npy": (".npy", lambda: _array(np.zeros((2, 82))), lambda path: read_static_fits(path, _spin_dataset()).pose),
    "keypoints.npz": (".npz", lambda: _npz(keypoints=np.ones((2, 17, 3))), lambda path: _people(path)),
    "keypoints.npy": (".npy", lambda: _array(np.ones((17, 3))), lambda path: _people(path)),
    "keypoints.csv": (".csv", lambda: b"\n".join([b"1.5,2.5,0.9"] * 17), lambda path: _people(path)),
    "coco.json": (".json", _coco, lambda path: _people(path)),
    "openpose.json": (".json", _openpose, lambda path: _people(path)),
    "mmpose.json": (".json", _mmpose, lambda path: _people(path)),
    "settings.yaml": (
        ".yaml",
        lambda: b"FIT:\n  HYPOTHESES: 4\nSEED: 3\n",
        lambda path: hmrfit.load_config(path) and None,
    ),
    "motion.bvh": (".bvh", lambda: cmu_bvh(_angles()).encode(), _read_motions),
    "motion.txt": (".txt", lambda: cmu_expmap(_angles()).encode(), _read_motions),
    "motion.json": (".json", lambda: deepmimic([{}, {}, {}]).encode(), _read_motions),
    "motion.glb": (".glb", _glb, _read_motions),
    "motion.npz": (".npz", _amass, _read_motions),
    "joints.mat": (".mat", _mat, lambda path: read_mat(path) and None),
    "joints.h5": (".h5", _h5, _read_h5),
    "poses.cdf": (".cdf", _cdf, read_cdf),
    **{
        f"image{s}": (s, _picture(s), _read_image)
        for s in (".png", ".jpg", ".bmp", ".webp", ".tif", ".gif", ".ppm", ".hdr", ".jp2", ".avif")
    },
    "mask.png": (".png", _picture(".png"), read_mask),
}
"""(suffix, a valid file, what reads it)."""

RESULT: list[bytes] = []
"""A saved result; made once by the process, as it takes a fit."""


def prepare(folder: Path) -> None:
    """Reads the result that the process has saved."""
    RESULT[:] = [(folder / "first.npz").read_bytes()]


def _people(path: Path) -> list[np.ndarray]:
    people = hmrfit.read_keypoints(path, "openpose25" if b"people" in path.read_bytes()[:100] else "coco17")
    return [part for p in people for part in (p.xy, p.confidence)]


@cache
def _spin_dataset():
    path = Path(__file__)
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s.npz"
        path.write_bytes(_spin())
        return read_spin_npz(path)


@cache
def valid(kind: str) -> bytes:
    """A file that its reader reads."""
    return KINDS[kind][1]()


def draw(rng: np.random.Generator) -> str:
    """The name of a kind."""
    return list(KINDS)[int(rng.integers(len(KINDS)))]


def make(kind: str, rng: np.random.Generator, folder: Path) -> Path:
    """A hostile file of that kind."""
    path = folder / f"hostile{KINDS[kind][0]}"
    made = bombs.of(kind, KINDS[kind][0])
    whole = valid(kind)
    if made and rng.random() < BOMBS:
        path.write_bytes(made[int(rng.integers(len(made)))](rng))
    elif KINDS[kind][0] == ".npz" and rng.random() < 0.5:
        path.write_bytes(bombs.edited_npz(whole, rng))
    else:
        path.write_bytes(damaged(whole, rng))
    return path


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Cut off, some bytes changed, a part doubled or left out, or a number made huge."""
    raw = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        if not raw:
            break
        how, at = int(rng.integers(7)), int(rng.integers(min(len(raw), PROBLEM if rng.random() < 0.5 else len(raw))))
        if how == 0:
            del raw[at:]
        elif how == 1:
            raw[at] ^= 1 << int(rng.integers(8))
        elif how == 2:
            raw[at : at + 4] = [b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\0", b"\0\0\0\x40"][
                int(rng.integers(4))
            ]
        elif how == 3:
            raw[at:at] = raw[at : at + int(rng.integers(1, 2000))]
        elif how == 4:
            del raw[at : at + int(rng.integers(1, 200))]
        elif how == 5:
            raw[at:at] = [b"9" * 400, b"1e999", b"NaN", b"-", b"[" * 2000, b"\0", b"\xff\xfe", b"," * 50, b"\n" * 50][
                int(rng.integers(9))
            ]
        else:
            for _ in range(20):
                raw[int(rng.integers(len(raw)))] = int(rng.integers(256))
    return bytes(raw)


def read(kind: str, path: Path) -> Any:
    """What the library makes of it."""
    return KINDS[kind][2](path)
