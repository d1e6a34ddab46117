"""Sequences of any length: what comes of many frames is what comes of few, and what frames know can be made again."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.groups import sequence, walk

from hmrfit import groups, long_sequence
from hmrfit.fitting.key_frames import on_a_cubic
from hmrfit.long_sequence import windows
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.types import BodyParams


def test_windows_begin_at_key_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_sequence, "WINDOW", 10)
    usable = torch.ones(47, dtype=torch.bool)
    usable[[12, 24, 36, 40, 44]] = False
    found = windows(usable, 4)
    assert [(part.start, part.stop) for part in found] == [(0, 16), (16, 28), (28, 47)]
    assert windows(usable[:9], 4) == [slice(0, 9)]


@pytest.mark.parametrize("kept", [0, 60_000, 2**29], ids=["made again", "the first window kept", "kept"])
def test_many_frames_give_what_few_give(kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where both are solved to the last digits, to a millimetre about the pelvis; and as sure."""
    monkeypatch.setattr(groups, "SEQUENCE", replace(groups.SEQUENCE, ftol=1e-9, extrapolate=False))
    keypoints = walk()[1].copy()
    keypoints[8] = 0
    whole = sequence(keypoints, keypoint_source="exact")
    for name, value in (("MANY", 1), ("KEPT", kept), ("WINDOW", 6)):
        monkeypatch.setattr(long_sequence, name, value)
    monkeypatch.setattr(groups, "WINDOW", 6)
    monkeypatch.setattr(groups, "FORGOTTEN", 0.0)
    found = sequence(keypoints, keypoint_source="exact")
    assert (found.betas == found.betas[:1]).all() and found.fit.observation.anchor is None
    about = [joints - joints[:, :1] for joints in (found.joints, whole.joints)]
    assert np.linalg.norm(about[0] - about[1], axis=-1).max() < 0.001
    np.testing.assert_allclose(found.joint_std[:, 1:], whole.joint_std[:, 1:], rtol=1e-3)
    assert found.calibrated and found.together is not None
    seen, known = found.together.observation, whole.fit.observation
    torch.testing.assert_close(seen[3:7].anchor.scale, known[3:7].anchor.scale)
    torch.testing.assert_close(seen[8:9].keypoints.confidence, known[8:9].keypoints.confidence)


def test_a_cubic_goes_through_the_coarse_frames() -> None:
    """And an even turn between them stays even."""
    at = torch.tensor([0, 4, 8, 11])
    turns = torch.randn(1, 24, 3, dtype=torch.float64) * 0.02
    of = lambda t: rotvec_to_matrix(t.double()[:, None, None] * turns)  # noqa: E731
    zeros = torch.zeros(12, 10).double()

    def body(t: torch.Tensor) -> BodyParams:
        return BodyParams(of(t)[:, 0], of(t)[:, 1:], zeros[: len(t)], t.double()[:, None].expand(-1, 3))

    found = on_a_cubic(body(at), at, 12)
    torch.testing.assert_close(found.rotations, of(torch.arange(12)))
    torch.testing.assert_close(found.transl, torch.arange(12.0).double()[:, None].expand(-1, 3))
