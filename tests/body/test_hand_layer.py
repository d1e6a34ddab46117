"""Hands by the numbers of others, against the smplx package and by hand."""

import importlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.synthetic_body import mano_like_hand, synthetic_smplh

import hmrfit
from hmrfit.body.files import read_body_file, write_body_npz
from hmrfit.body.hand_layer import CONVENTIONS, smplx_hand_poses, with_tips
from hmrfit.body.left_shapes import has_right_hands_shapes, with_left_shapes
from hmrfit.body.smpl import SmplBody
from hmrfit.hand_keypoints import hand_set
from hmrfit.types import BodyParams

FLIP = np.array([-1.0, 1.0, 1.0])


def rounded(data: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """In float32, as the package holds it."""
    return {name: a.astype(np.float32) if a.dtype.kind == "f" else a for name, a in data.items()}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mano")
    for side in ("left", "right"):
        write_body_npz(folder / f"MANO_{side.upper()}.npz", rounded(mano_like_hand(side)))
    return folder


def numbers(columns: int, count: int = 8) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(pose, betas, transl)."""
    rng = np.random.default_rng(columns)
    return (
        0.5 * rng.standard_normal((count, 3 + columns)),
        rng.standard_normal((count, 10)),
        rng.normal(size=(count, 3)),
    )


@torch.no_grad()
@pytest.mark.parametrize(("side", "flat"), [("left", False), ("right", True), ("right", False)])
@pytest.mark.parametrize("pca", [6, 12, 45, "none"])
def test_it_is_smplx_mano(files: Path, side: str, flat: bool, pca: int | str) -> None:
    smplx = pytest.importorskip("smplx")
    ours = hmrfit.load_hand(str(files / f"MANO_{side.upper()}.npz"), like="smplx", flat_hand_mean=flat, pca=pca)
    nothing = dict.fromkeys((f"create_{part}" for part in ("betas", "hand_pose", "global_orient", "transl")), False)
    comps = {"use_pca": pca != "none", "num_pca_comps": 6 if pca == "none" else pca, "flat_hand_mean": flat}
    data = SimpleNamespace(**rounded(mano_like_hand(side)))
    known = importlib.import_module("smplx.vertex_ids").vertex_ids
    ids = dict.fromkeys(known["smplh"], 0) | known["mano"]
    theirs = smplx.MANO("", data_struct=data, vertex_ids=ids, batch_size=8, dtype=torch.float64, **nothing, **comps)
    pose, betas, transl = map(torch.as_tensor, numbers(ours.pose_size - 3))
    expected = theirs(global_orient=pose[:, :3], hand_pose=pose[:, 3:], betas=betas, transl=transl)
    found = ours(pose, betas, transl)
    torch.testing.assert_close(found.vertices, expected.vertices, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.joints, expected.joints[:, :16], rtol=0, atol=1e-5)
    tips = [ids[finger] for finger in ("thumb", "index", "middle", "ring", "pinky")]
    torch.testing.assert_close(found.keypoints[:, 16:], expected.vertices[:, tips], rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("pca", [6, 12, 45])
def test_it_is_smplx_smplh(pca: int) -> None:
    smplx = pytest.importorskip("smplx")
    data = rounded(synthetic_smplh())
    body, ids = SmplBody(data), dict.fromkeys(importlib.import_module("smplx.vertex_ids").vertex_ids["smplh"], 0)
    parts = ("betas", "body_pose", "left_hand_pose", "right_hand_pose", "global_orient", "transl")
    nothing = dict.fromkeys((f"create_{part}" for part in parts), False)
    theirs = smplx.SMPLH(
        "", data_struct=SimpleNamespace(**data), vertex_ids=ids, dtype=torch.float64, num_pca_comps=pca, **nothing
    )
    orient, betas, transl = map(torch.as_tensor, numbers(0))
    left, right, pose = (0.4 * torch.randn(8, n, dtype=torch.float64) for n in (pca, pca, 63))
    hands = {"left_hand_pose": left, "right_hand_pose": right}
    expected = theirs(betas=betas, global_orient=orient, body_pose=pose, transl=transl, **hands)
    theta = torch.cat([pose, smplx_hand_poses(body, [left, right], num_pca_comps=pca)], 1)
    found = body(BodyParams.from_rotvecs(orient, theta, betas, transl))
    torch.testing.assert_close(found.vertices, expected.vertices, rtol=0, atol=1e-5)


def test_manopth_has_millimetres_hand21_and_a_joint_in_the_middle(files: Path) -> None:
    path = str(files / "MANO_RIGHT.npz")
    manopth, smplx = hmrfit.load_hand(path, like="manopth"), hmrfit.load_hand(path, like="smplx", flat_hand_mean=True)
    pose, betas, _ = numbers(6)
    a, b = manopth(pose, betas, center="hand_root"), smplx(pose, betas)
    to_hand21 = [0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20]
    joints = torch.arange(21) % 4 != 0  # no tips, whose definitions differ
    expected = (b.keypoints - b.joints[:, :1])[:, to_hand21]
    torch.testing.assert_close(a.keypoints[:, joints], expected[:, joints], rtol=0, atol=1e-12)
    assert a.keypoints[:, 0].abs().max() == 0 and manopth.convention.unit == 1e-3


@pytest.mark.parametrize(("definition", "middle"), [("smplx", 443), ("manopth", 445), ("ho3d", 444)])
def test_tips_are_by_definition(files: Path, definition: str, middle: int) -> None:
    hand = hmrfit.load_hand(str(files / "MANO_LEFT.npz"), tips=definition, order="hand21")
    found = hand(np.zeros(48))
    torch.testing.assert_close(found.keypoints[0, 12], found.vertices[0, middle])
    assert hand.keypoint_names == hand_set("hand21", "left").names


def test_the_left_file_is_cured_once(files: Path, tmp_path: Path) -> None:
    stored = read_body_file(files / "MANO_LEFT.npz", as_stored=True)
    assert has_right_hands_shapes(stored) and not has_right_hands_shapes(read_body_file(files / "MANO_RIGHT.npz"))
    cured = read_body_file(files / "MANO_LEFT.npz")
    np.testing.assert_array_equal(cured["shapedirs"], stored["shapedirs"] * FLIP[:, None].astype(np.float32))
    write_body_npz(tmp_path / "again.npz", cured)
    np.testing.assert_array_equal(read_body_file(tmp_path / "again.npz")["shapedirs"], cured["shapedirs"])
    assert with_left_shapes(synthetic_smplh()).keys() == synthetic_smplh().keys()


def test_a_left_hand_is_the_mirror_image_unless_its_files_betas_are_asked_for(files: Path) -> None:
    pose, betas, _ = numbers(45)
    turns = np.tile([1.0, -1.0, -1.0], 16)
    right = hmrfit.load_hand(str(files / "MANO_RIGHT.npz"))(pose, betas).vertices
    mirrored = hmrfit.load_hand(str(files / "MANO_RIGHT.npz"), side="left")(pose * turns, betas).vertices
    left, stored = (
        hmrfit.load_hand(str(files / "MANO_LEFT.npz"), left_shapes=how)(pose * turns, betas).vertices
        for how in ("mirrored", "file")
    )
    for one in (mirrored, left):
        torch.testing.assert_close(one * torch.as_tensor(FLIP), right, rtol=0, atol=1e-9)
    assert (stored - left).abs().max() > 1e-3


def test_gradients_pass(files: Path) -> None:
    hand, pose = hmrfit.load_hand(str(files / "MANO_RIGHT.npz"), pca=6), torch.zeros(1, 9, requires_grad=True)
    hand(pose).keypoints.sum().backward()
    assert pose.grad is not None and pose.grad.isfinite().all() and (pose.grad != 0).any()


def test_the_free_hand_takes_them_too() -> None:
    hand = hmrfit.load_hand(like="smplx", pca=9)
    assert hand.side == "right" and hand(np.zeros(12)).keypoints.shape == (1, 21, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"like": "manoph"}, "no convention of hands 'manoph'. Did you mean 'manopth'"),
        ({"tips": "manopht"}, "no definition of finger tips 'manopht'. Did you mean 'manopth'"),
        ({"tips": "ho3d", "path": "free_hand"}, "vertices of MANO's template of 778"),
        ({"pca": 46}, "from 1 to 45"),
        ({"path": "free_body"}, "is no hand"),
        ({"side": "rihgt"}, "'left' or 'right'"),
        ({"left_shapes": "no"}, "'file' or 'mirrored'"),
    ],
)
def test_what_is_refused(files: Path, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hmrfit.load_hand(**{"path": str(files / "MANO_RIGHT.npz"), **options})


def test_wrong_numbers_are_refused(files: Path) -> None:
    hand = hmrfit.load_hand(str(files / "MANO_RIGHT.npz"), pca=6)
    with pytest.raises(ValueError, match=r"pose should have the shape \(B, 9\)"):
        hand(np.zeros(48))
    with pytest.raises(ValueError, match="one row, or 2"):
        hand(np.zeros((2, 9)), np.zeros((3, 10)))
    with pytest.raises(ValueError, match="no point 'thumb_tipp'"):
        hand(np.zeros(9), center="thumb_tipp")
    bare = SmplBody({k: v for k, v in mano_like_hand().items() if not k.startswith("hands")})
    with pytest.raises(ValueError, match="no hands_mean"):
        smplx_hand_poses(bare, [torch.zeros(1, 6).double()])


def test_tips_move_with_their_vertices() -> None:
    body = SmplBody(mano_like_hand())
    assert with_tips(body, "freihand").landmark_names == body.landmark_names
    assert set(CONVENTIONS) == {"hmrfit", "smplx", "manopth", "freihand", "ho3d", "interhand", "dexycb"}
