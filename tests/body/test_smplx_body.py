"""Our skinning and the smplx package's agree, on the body that ships and on made-up ones of other sizes."""

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.synthetic_body import HAND_PARENTS, LONG_PARENTS, synthetic_body

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
    "mano": lambda: rounded(synthetic_body(HAND_PARENTS)),
    "smplx": lambda: rounded(synthetic_body(LONG_PARENTS)),
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
    shapes = min(16, body["shapedirs"].shape[-1])
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


def test_it_is_the_same_protocol(tmp_path: Path) -> None:
    write_body_npz(tmp_path / "body.npz", synthetic_body())
    ours, theirs = SmplBody.from_file(tmp_path / "body.npz"), SmplxBody.from_file(tmp_path / "body.npz")
    for name in ("parents", "joint_names", "landmark_names", "shape_count"):
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


def test_without_the_package_a_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "smplx", None)
    with pytest.raises(ImportError, match=r"pip install 'hmrfit\[smplx\]'.*non-commercial"):
        SmplxBody(synthetic_body())
