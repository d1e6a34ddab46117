"""Sequences by windows: they cover all frames, what comes of them is what comes of all frames at once, and what frames
know can be made again."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.groups import sequence, walk

from hmrfit import groups, long_sequence
from hmrfit.fitting.key_frames import key_frames_apart, on_a_cubic
from hmrfit.long_sequence import FrameWindow, windows
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.types import BodyParams


@pytest.mark.parametrize(("T", "fps"), [(1, 30.0), (2_000, 30.0), (2_500, 25.0), (108_000, 30.0), (20_000, 240.0)])
def test_every_frame_is_one_windows_own(T: int, fps: float) -> None:
    found = windows(T, fps)
    own = [t for window in found for t in range(T)[window.own]]
    assert own == list(range(T)) and (len(found) > 1) == (T > 2_048)
    for window in found:
        before, after = window.own.start - window.seen.start, window.seen.stop - window.own.stop
        assert before >= 3 * fps or window.seen.start == 0
        assert after >= 3 * fps or window.seen.stop == T
        assert window.seen.start % key_frames_apart(fps) == 0
        assert window.own.stop - window.own.start < 2_100 or fps > 100


def test_windows_give_what_all_frames_at_once_give(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where both are solved to the last digits, to five millimetres beside an overlap of five frames; and as sure."""
    monkeypatch.setattr(groups, "SEQUENCE", replace(groups.SEQUENCE, ftol=1e-7, extrapolate=False))
    keypoints = walk()[1].copy()
    keypoints[8] = 0
    whole, T = sequence(keypoints, keypoint_source="exact"), len(keypoints)
    half = T // 2
    parts = [FrameWindow(slice(0, T - 1), slice(0, half)), FrameWindow(slice(0, T), slice(half, T))]
    monkeypatch.setattr(long_sequence, "windows", lambda T, fps: parts)
    found = sequence(keypoints, keypoint_source="exact")
    assert (found.betas == found.betas[:1]).all() and found.fit.observation.anchor is None
    np.testing.assert_allclose(found.betas, whole.betas, atol=0.02)
    about = [joints - joints[:, :1] for joints in (found.joints, whole.joints)]
    assert np.linalg.norm(about[0] - about[1], axis=-1).max() < 0.005
    np.testing.assert_allclose(found.joint_std[:, 1:], whole.joint_std[:, 1:], rtol=0.02)
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
