"""Tiny downloads of hands' data sets, made up, in their own layouts; and what was written."""

import json
import pickle
from pathlib import Path

import numpy as np
from helpers.hands import right_hand

from hmrfit.hand_keypoints import hand_set

K = np.array([[600.0, 0, 319.5], [0, 610.0, 239.5], [0, 0, 1]])
OPENGL = np.array([1.0, -1.0, -1.0])


def hands(count: int, seed: int = 0) -> np.ndarray:
    """(N, 21, 3) metres in hand21's order, in front of a camera."""
    rng = np.random.default_rng(seed)
    each = [right_hand(float(rng.uniform(0, 50))).numpy() for _ in range(count)]
    return np.stack(each) + rng.normal(0, 0.002, (count, 21, 3)) + rng.uniform(-0.1, 0.1, (count, 1, 3)) + [0, 0, 0.7]


def in_order(points: np.ndarray, order: str) -> np.ndarray:
    """Points of hand21 in another order."""
    own = hand_set("hand21", "right").names
    places = [own.index(n.replace("wrist_mano", "hand_root")) for n in hand_set(order, "right").names]
    return points[..., places, :]


def write_json(path: Path, values: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))


def freihand_folder(root: Path, count: int = 3, vertices: int = 12) -> np.ndarray:
    """Returns the joints."""
    joints, rng = hands(count), np.random.default_rng(1)
    write_json(root / "evaluation_xyz.json", joints.tolist())
    write_json(root / "evaluation_K.json", [K.tolist()] * count)
    mesh = joints.mean(1, keepdims=True) + rng.normal(0, 0.03, (count, vertices, 3))
    write_json(root / "evaluation_verts.json", mesh.tolist())
    return joints


def ho3d_folder(root: Path, count: int = 3, vertices: int = 12) -> np.ndarray:
    """Returns the joints in MANO's order, OpenCV's axes."""
    joints, rng = in_order(hands(count), "mano_native21"), np.random.default_rng(1)
    names = [f"SM1/{i:04d}" for i in range(count)]
    for split, wrist_only in (("evaluation", True), ("train", False)):
        (root / f"{split}.txt").parent.mkdir(parents=True, exist_ok=True)
        (root / f"{split}.txt").write_text("\n".join(names) + "\n")
        for i in range(count):
            path = root / split / "SM1" / "meta" / f"{i:04d}.pkl"
            path.parent.mkdir(parents=True, exist_ok=True)
            own = (joints[i] * OPENGL).astype(np.float32)
            meta = {"camMat": K, "handJoints3D": own[0] if wrist_only else own, "objName": "003_cracker_box"}
            if split == "train" and i == 1:
                meta["handJoints3D"] = None
            path.write_bytes(pickle.dumps(meta, 2))
    write_json(root / "evaluation_xyz.json", (joints * OPENGL).tolist())
    mesh = joints.mean(1, keepdims=True) + rng.normal(0, 0.03, (count, vertices, 3))
    write_json(root / "evaluation_verts.json", (mesh * OPENGL).tolist())
    return joints


def interhand_folder(root: Path) -> tuple[np.ndarray, np.ndarray]:
    """One right hand and a picture of two. Returns the camera's (2, 42, 3) metres and the valid points (2, 42)."""
    right, left = (in_order(hands(2, seed), "interhand21") for seed in (0, 1))
    camera = np.concatenate([right, left * [-1, 1, 1] + [0.1, 0, 0]], 1)
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0]
    center = np.array([100.0, -200.0, 300.0])
    world = 1000 * camera @ turn + center
    valid = np.ones((2, 42))
    valid[0, 21:], valid[1, 3] = 0, 0
    folder = root / "annotations" / "test"
    images = [
        {
            "id": i,
            "file_name": f"Capture0/a/cam1/image{i}.jpg",
            "width": 512,
            "height": 334,
            "capture": 0,
            "camera": "1",
            "frame_idx": i,
            "seq_name": "a",
        }
        for i in range(2)
    ]
    annotations = [
        {
            "id": 10 + i,
            "image_id": i,
            "bbox": [0, 0, 1, 1],
            "joint_valid": valid[i].reshape(42, 1).tolist(),
            "hand_type": kind,
            "hand_type_valid": 1,
        }
        for i, kind in enumerate(("right", "interacting"))
    ]
    write_json(folder / "InterHand2.6M_test_data.json", {"images": images, "annotations": annotations})
    own = {"campos": center.tolist(), "camrot": turn.tolist(), "focal": [600.0, 610.0], "princpt": [255.5, 166.5]}
    cameras = {"0": {name: {"1": value} for name, value in own.items()}}
    write_json(folder / "InterHand2.6M_test_camera.json", cameras)
    joints = {"0": {str(i): {"world_coord": world[i].tolist()} for i in range(2)}}
    write_json(folder / "InterHand2.6M_test_joint_3d.json", joints)
    return camera, valid


def rhd_folder(root: Path) -> np.ndarray:
    """Two people, the second with her right hand only. Returns (2, 42, 3): left hands, then right ones."""
    right, left = (in_order(hands(2, seed), "rhd21") for seed in (0, 1))
    points = np.concatenate([left * [-1, 1, 1], right], 1)
    annotations = {}
    for i in range(2):
        seen = points[i] @ K.T
        visible = np.ones((42, 1))
        visible[:21] = i == 0
        uv = np.concatenate([seen[:, :2] / seen[:, 2:], visible], 1)
        annotations[i] = {
            "K": K.astype(np.float32),
            "uv_vis": uv.astype(np.float32),
            "xyz": points[i].astype(np.float32),
        }
    path = root / "evaluation" / "anno_evaluation.pickle"
    path.parent.mkdir(parents=True)
    path.write_bytes(pickle.dumps(annotations, 2))
    return points


def dexycb_folder(root: Path, sequences: int = 2, frames: int = 2) -> np.ndarray:
    """Setup s1's validation: one subject, eight cameras. Returns (sequences, cameras, frames, 21, 3) metres; −1 where
    no hand is seen: in the first camera's first frame of each sequence."""
    from hmrfit.datasets.dexycb import CAMERAS, SUBJECTS

    joints = hands(sequences * len(CAMERAS) * frames).reshape(sequences, len(CAMERAS), frames, 21, 3).astype(np.float32)
    joints[:, 0, 0] = -1
    for s in range(sequences):
        folder = root / SUBJECTS[6] / f"20200928_{s:06d}"
        folder.mkdir(parents=True)
        side = "left" if s else "right"
        (folder / "meta.yml").write_text(f"num_frames: {frames}\nmano_sides:\n- {side}\nmano_calib:\n- 2020_{side}\n")
        for c, camera in enumerate(CAMERAS):
            (folder / camera).mkdir()
            for f in range(frames):
                np.savez(folder / camera / f"labels_{f:06d}.npz", joint_3d=joints[s, c, f][None], seg=np.zeros((4, 4)))
    for camera in CAMERAS:
        path = root / "calibration" / "intrinsics" / f"{camera}_640x480.yml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("color:\n  fx: 600.0\n  fy: 610.0\n  ppx: 319.5\n  ppy: 239.5\ndepth:\n  fx: 1.0\n")
    return joints
