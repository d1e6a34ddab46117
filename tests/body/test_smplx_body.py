"""Our skinning and the smplx package's agree, on the body that ships and on made-up ones of other kinds."""

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from helpers.synthetic_body import synthetic_body, synthetic_hand, synthetic_smplh, synthetic_smplx

from hmrfit.body.files import read_body_file, write_body_npz
from hmrfit.body.smpl import SmplBody
from hmrfit.body.smplx_body import SmplxBody
from hmrfit.types import BodyParams

FREE_BODY = Path(__file__).resolve().parents[2] / "priors" / "free_body.npz"


def rounded(body: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """In float32, as the package holds it: so that both compute with the same numbers."""
    return {name: a.astype(np.float32) if a.dtype.kind == "f" else a for name, a in body.items()}


BODIES = {
    "free body": lambda: read_body_file(FREE_BODY),
    "smpl": lambda: rounded(synthetic_body()),
    "smplh": lambda: rounded(synthetic_smplh()),
    "smplx": lambda: rounded(synthetic_smplx()),
    "mano": lambda: rounded(synthetic_hand()),
    "16 betas": lambda: rounded(synthetic_body(shapes=16)),
}


def rotvecs(joints: int, count: int = 256) -> tuple[torch.Tensor, ...]:
    """Any orientation, strong poses, shapes to 3 σ, metres away: (global_orient, body_pose, betas, transl)."""
    draw = lambda *shape: torch.randn(*shape, dtype=torch.float64)  # noqa: E731
    return draw(count, 3) * 2, draw(count, 3 * (joints - 1)) * 0.6, draw(count, 10) * 1.5, draw(count, 3)


@torch.no_grad()
@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize(
    "dtype, tolerance",
    [
        (torch.float32, 1e-5),  # metres; ten times what rounding of coordinates up to ten metres leaves
        (torch.float64, 1e-10),  # the same formula in the same order up to sums
    ],
)
def test_vertices_joints_and_landmarks_agree(name: str, dtype: torch.dtype, tolerance: float) -> None:
    body = BODIES[name]()
    shapes = min(16, body["shapedirs"].shape[-1]) if name != "smplx" else 10
    ours, theirs = SmplBody(body, dtype, shapes), SmplxBody(body, dtype, shapes)
    params = BodyParams.from_rotvecs(*rotvecs(len(ours.parents))).to(dtype)
    for start in range(0, 256, 64):
        a, b = ours(params[start : start + 64]), theirs(params[start : start + 64])
        for field in ("vertices", "joints", "landmarks"):
            assert torch.allclose(getattr(a, field), getattr(b, field), rtol=0, atol=tolerance), field


@torch.no_grad()
@pytest.mark.skipif(not FREE_BODY.exists(), reason="priors/free_body.npz is not built")
def test_rotation_vectors_agree_up_to_the_packages_own_epsilon() -> None:
    """It adds 1e-8 to a rotation vector before taking its length: about 1e-8 rad, through a metre of body."""
    body = read_body_file(FREE_BODY)
    ours, theirs = SmplBody(body, torch.float64), SmplxBody(body, torch.float64)
    everyone = torch.utils.data.TensorDataset(*rotvecs(24))
    for start in range(0, 256, 64):
        orient, pose, betas, transl = everyone[start : start + 64]
        a = ours(BodyParams.from_rotvecs(orient, pose, betas, transl))
        b = theirs.module(global_orient=orient, body_pose=pose, betas=betas, transl=transl, pose2rot=True)
        assert torch.allclose(a.vertices, b.vertices, rtol=0, atol=1e-7)
        assert torch.allclose(a.joints, b.joints[:, :24], rtol=0, atol=1e-7)


def smplx_module(name: str, folder: Path, data: Mapping[str, np.ndarray], **options: Any) -> torch.nn.Module:
    """The package's own class of this kind of body, on made-up arrays."""
    smplx = importlib.import_module("smplx")
    nothing = dict.fromkeys(("betas", "body_pose", "global_orient", "transl"), False)
    options |= {f"create_{part}": value for part, value in nothing.items()} | {"dtype": torch.float64}
    if name == "SMPLX":  # reads a file by itself
        np.savez(folder / "SMPLX_NEUTRAL.npz", **data)
        parts = ("expression", "jaw_pose", "leye_pose", "reye_pose", "left_hand_pose", "right_hand_pose")
        made = {f"create_{part}": True for part in parts}
        return smplx.SMPLX(str(folder / "SMPLX_NEUTRAL.npz"), ext="npz", batch_size=COUNT, **(options | made))
    vertex_ids = dict.fromkeys(importlib.import_module("smplx.vertex_ids").vertex_ids["smplh"], 0)
    options |= {"data_struct": SimpleNamespace(**data), "vertex_ids": vertex_ids, "batch_size": COUNT}
    return getattr(smplx, name)("", **options)


COUNT = 16
CLASSES = {
    "SMPLH": synthetic_smplh,
    "SMPLX": synthetic_smplx,
    "MANO": lambda: synthetic_hand("right"),
    "left MANO": lambda: synthetic_hand("left"),
}


@torch.no_grad()
@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("hand_pose", ["flat mean", "file's mean", "6 components"])
def test_the_packages_classes_pose_the_same_bodies(
    name: str, hand_pose: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SMPL-H, SMPL-X and MANO by the package's own classes, joint by joint, under each of its conventions for hands."""
    ids = pytest.importorskip("smplx.body_models").VERTEX_IDS  # of the template, which is not made up
    monkeypatch.setitem(ids, "smplx", dict.fromkeys(ids["smplx"], 0))
    data = rounded(CLASSES[name]())
    pca = hand_pose == "6 components"
    settings = {"flat_hand_mean": hand_pose == "flat mean", "use_pca": pca, "num_pca_comps": 6}
    module = smplx_module(name.split()[-1], tmp_path, data, **settings)
    body = SmplBody(data)
    orient, theta, betas, transl = rotvecs(len(body.skeleton), COUNT)
    theta = theta.unflatten(1, (-1, 3))
    given = {"global_orient": orient, "betas": betas, "transl": transl}
    for side, joints in body.skeleton.fingers.items():
        columns, own = [j - 1 for j in joints], body.hands[side]
        key = "hand_pose" if len(body.skeleton.fingers) == 1 else f"{side}_hand_pose"
        given[key] = theta[:, columns].flatten(1)
        if pca:
            given[key] = given[key][:, :6]
            theta[:, columns] = own.rotvecs(given[key])
        elif hand_pose == "file's mean":
            theta[:, columns] += own.rotvecs()
    if len(body.skeleton) > 16:
        given["body_pose"] = theta[:, :21].flatten(1)
    if name == "SMPLX":
        given |= {f"{part}_pose": theta[:, 21 + i] for i, part in enumerate(("jaw", "leye", "reye"))}
    ours, theirs = body(BodyParams.from_rotvecs(orient, theta, betas, transl)), module(**given)
    # it adds 1e-8 to a rotation vector before taking its length, and holds the body in float32
    torch.testing.assert_close(ours.vertices, theirs.vertices, rtol=0, atol=1e-5)
    torch.testing.assert_close(ours.joints, theirs.joints[:, : len(body.skeleton)], rtol=0, atol=1e-5)


def test_it_is_the_same_protocol(tmp_path: Path) -> None:
    write_body_npz(tmp_path / "body.npz", synthetic_body())
    ours, theirs = SmplBody.from_file(tmp_path / "body.npz"), SmplxBody.from_file(tmp_path / "body.npz")
    for name in ("skeleton", "parents", "joint_names", "landmark_names", "shape_count"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert torch.equal(ours.faces, theirs.faces)
    assert theirs(ours.neutral(2).to(torch.float32), vertices=False).vertices is None


def test_fewer_betas_are_filled_with_zeros() -> None:
    body = SmplxBody(synthetic_body())
    params = SmplBody(synthetic_body()).neutral().to(torch.float32)
    short = BodyParams(params.global_orient, params.body_pose, params.betas[:, :4], params.transl)
    assert torch.equal(body(params).vertices, body(short).vertices)


def test_inputs_stay_and_the_console_too(capsys: pytest.CaptureFixture[str]) -> None:
    """The package adds in place and prints; neither reaches the caller."""
    body = SmplxBody(synthetic_body())
    params = BodyParams.from_rotvecs(*rotvecs(24, 3)).to(torch.float32)
    before = params.map(torch.clone)
    body(params)
    assert all(
        torch.equal(getattr(before, f), getattr(params, f)) for f in ("global_orient", "body_pose", "betas", "transl")
    )
    assert capsys.readouterr() == ("", "")


def test_without_the_package_the_message_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "smplx", None)
    with pytest.raises(ImportError, match=r"pip install 'hmrfit\[smplx\]'.*non-commercial"):
        SmplxBody(synthetic_body())
