"""The posterior of all frames together: that of the dense matrix, whatever the windows; coherent draws; less sure of
what is not seen."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from helpers.bodies import free_body
from helpers.groups import sequence, walk

import hmrfit
from hmrfit.fitting.parameters import Layout
from hmrfit.fitting.sequence_posterior import FramesPosterior, _Carried, repeated
from hmrfit.keypoints import SMPL24


@cache
def walked() -> hmrfit.FitResult:
    """The middle four frames show nothing."""
    keypoints = walk()[1].copy()
    keypoints[5:9] = 0
    return sequence(keypoints, keypoint_source="exact")


def known() -> FramesPosterior:
    found = walked().together
    assert found is not None
    return replace(found, _known={}, _carried=[])


def dense(posterior: FramesPosterior) -> torch.Tensor:
    """H (T n + S, T n + S), column by column of what a step changes: the frames' blocks, the smoothness by autodiff."""
    T, (n, S) = len(posterior), posterior._sizes()
    layout, motion = Layout.driven(posterior.body), posterior.motion
    assert motion is not None

    def smoothness(delta: torch.Tensor) -> torch.Tensor:
        columns = torch.cat([delta[: T * n].view(T, n), delta[T * n :].expand(T, -1)], 1)
        params = posterior.state.retract(columns, posterior.body.parents, layout).params
        return motion.scaled(*motion._posed(params)).diff(n=2, dim=0).flatten()

    J = torch.func.jacfwd(smoothness)(torch.zeros(T * n + S, dtype=torch.float64))
    H = J.T @ J
    alone = replace(posterior, motion=None)
    for t in range(T):
        noise = None if alone.noise is None else alone.noise[[t]]
        one = replace(alone, state=alone.state[[t]], observation=alone.observation[[t]], noise=noise)
        nothing = torch.zeros(2 * n, 2 * n, dtype=torch.float64), torch.zeros(2 * n, 2 * n + S, dtype=torch.float64)
        diagonal, right, corner = one._equations(_Carried(0, 1, nothing, 0.0))
        own, shared = slice(t * n, (t + 1) * n), slice(T * n, None)
        H[own, own] += diagonal[0, :n, :n]
        H[own, shared] += right[0, :n, 2 * n :]
        H[shared, own] += right[0, :n, 2 * n :].T
        H[shared, shared] += corner
    return H


@pytest.mark.parametrize("window", [256, 3])
def test_the_covariance_is_that_of_the_whole_matrix(window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hmrfit.fitting.sequence_posterior.WINDOW", window)
    posterior = known()
    T, (n, S) = len(posterior), posterior._sizes()
    C = torch.linalg.inv(dense(posterior))
    own = Layout.driven(posterior.body).all_columns
    found = posterior.posterior().covariance[:, 0][:, own[:, None], own]
    for t in range(T):
        index = torch.cat([torch.arange(t * n, (t + 1) * n), torch.arange(T * n, T * n + S)])
        expected = C[index[:, None], index]
        torch.testing.assert_close(found[t], expected, rtol=0, atol=1e-7 * expected.abs().max().item())


def test_a_draw_is_a_motion_of_one_body() -> None:
    """Its shape is one, it moves about as smoothly as the answer, and many draws vary as the covariance says."""
    result = walked()
    drawn = result.sample(200, seed=1)
    assert len(drawn) == 200 and all((params.betas == params.betas[:1]).all() for params in drawn[:5])
    joints = np.stack([free_body().points(SMPL24).pose(params).joints.numpy() for params in drawn])
    about = joints - joints[:, :, :1]
    spread = np.sqrt(about.var(0).sum(-1))[:, 1:]
    assert 0.8 < np.median(spread / result.joint_std[:, 1:]) < 1.2
    step = np.linalg.norm(np.diff(about - about.mean(0), axis=1), axis=-1).mean()
    assert step < 0.3 * spread.mean()  # of draws that were made frame by frame, 1.4


def test_frames_that_show_nothing_are_less_sure() -> None:
    """Than the same frames, where they are seen."""
    seen = sequence(walk()[1], keypoint_source="exact").joint_std.mean(1)
    assert (walked().joint_std.mean(1)[5:9] > seen[5:9]).all()


def test_a_part_of_a_sequence_knows_of_all_frames() -> None:
    result = walked()
    np.testing.assert_allclose(result[4].joint_std[0], result.joint_std[4], rtol=1e-12)
    np.testing.assert_allclose(result[2:6].joint_std, result.joint_std[2:6], rtol=1e-12)
    assert result.calibrated and not result.origin.conditioned_on


def test_a_saved_sequence_is_as_sure(tmp_path) -> None:
    result = walked()
    result.save(tmp_path / "walk.npz")
    loaded = hmrfit.FitResult.load(tmp_path / "walk.npz")
    np.testing.assert_allclose(loaded.joint_std, result.joint_std, rtol=1e-4, atol=1e-6)
    for params in loaded.sample(2):
        assert params.betas.diff(dim=0).abs().max() < 1e-5


def test_what_stays_for_longer_says_less() -> None:
    assert repeated(1, 30, 2.0) == pytest.approx(1.0) and repeated(100, 30, 0.0) == pytest.approx(1.0)
    assert repeated(10_000, 30, 1.0) == pytest.approx(60, rel=0.02)
    assert repeated(100, 30, 1e6) == pytest.approx(100, rel=0.01)
