"""The pose mixture against scipy's Gaussians, its residual form, its derivatives and its samples."""

import math

import numpy as np
import pytest
import torch
from helpers.bodies import PRIORS
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from hmrfit.body.skeleton import MANO_LEFT, SMPL, SMPLH, SMPLX, Skeleton
from hmrfit.priors.gmm import PoseGmm

K, D = 3, 6


def covariances(count: int, dims: int) -> torch.Tensor:
    roots = torch.randn(count, dims, dims, dtype=torch.float64)
    return roots @ roots.mT / dims + 0.2 * torch.eye(dims, dtype=torch.float64)


@pytest.fixture
def parts() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    means = 1.5 * torch.randn(K, D, dtype=torch.float64)
    return means, covariances(K, D), torch.tensor([0.6, 0.3, 0.1]).double()


@pytest.fixture
def gmm(parts) -> PoseGmm:
    return PoseGmm(*parts)


@pytest.fixture
def theta() -> torch.Tensor:
    return 2 * torch.randn(50, D, dtype=torch.float64)


def log_parts(parts, theta: torch.Tensor) -> np.ndarray:
    """log w_k N(theta; mu_k, Sigma_k) by scipy: (B, K)."""
    columns = [
        np.log(w) + multivariate_normal(m, c).logpdf(theta) for m, c, w in zip(*map(np.asarray, parts), strict=True)
    ]
    return np.stack(columns, 1)


def test_energies_are_scipys_up_to_one_constant(gmm, parts, theta):
    difference = gmm.energies(theta).numpy() + log_parts(parts, theta)
    np.testing.assert_allclose(difference, difference[0, 0], atol=1e-11)
    np.testing.assert_allclose(gmm.energy(theta), gmm.energies(theta).min(1).values)


def test_log_density_is_scipys(gmm, parts, theta):
    np.testing.assert_allclose(gmm.log_density(theta), logsumexp(log_parts(parts, theta), axis=1), atol=1e-11)


def test_weights_need_not_sum_to_one(gmm, parts, theta):
    means, covariance, weights = parts
    np.testing.assert_allclose(PoseGmm(means, covariance, 7 * weights).log_density(theta), gmm.log_density(theta))


def test_half_the_squared_residuals_are_the_energy(gmm, theta):
    r = gmm.residuals(theta)
    assert r.shape == (50, D + 1)
    np.testing.assert_allclose(0.5 * r.square().sum(1), gmm.energy(theta), atol=1e-11)


def test_the_likeliest_component_has_the_highest_density(gmm, parts, theta):
    """With the constants kept, the choice is by density and not by distance alone."""
    likeliest = log_parts(parts, theta).argmax(1)
    assert (gmm.energies(theta).argmin(1).numpy() == likeliest).all()
    assert len(set(likeliest)) == K
    assert (gmm.whitened(theta).square().sum(-1).argmin(1).numpy() != likeliest).any()


def test_the_least_energy_is_not_below_zero(gmm):
    """Residuals need roots of what is not negative; the best component at its mean has 0."""
    assert gmm.constants.min() == 0 and (gmm.energy(gmm.means) >= 0).all()
    assert gmm.energies(gmm.means).min().item() == pytest.approx(0, abs=1e-20)  # squares of roundings


def test_quadratic_is_autodiffs(gmm, theta):
    energy, gradient, hessian = gmm.quadratic(theta)
    one = lambda t: gmm.energy(t[None])[0]  # noqa: E731
    np.testing.assert_allclose(energy, gmm.energy(theta))
    np.testing.assert_allclose(gradient, torch.func.vmap(torch.func.grad(one))(theta), atol=1e-11)
    np.testing.assert_allclose(hessian, torch.func.vmap(torch.func.hessian(one))(theta), atol=1e-11)


def test_samples_have_the_mixtures_moments(gmm, parts):
    means, covariance, weights = parts
    samples = gmm.sample(100_000, torch.Generator().manual_seed(0))
    mean = weights @ means
    spread = torch.einsum("k,kij->ij", weights, covariance + (means - mean)[:, :, None] * (means - mean)[:, None])
    scale = spread.diagonal().sqrt().max().item()
    bound = 5 * scale / math.sqrt(100_000)  # five standard errors
    np.testing.assert_allclose(samples.mean(0), mean, atol=bound)
    np.testing.assert_allclose(samples.T.cov(), spread, atol=3 * scale * bound)  # fourth moments of heavy mixtures


def test_samples_follow_their_generator(gmm):
    draw = lambda seed: gmm.sample(5, torch.Generator().manual_seed(seed))  # noqa: E731
    assert torch.equal(draw(1), draw(1)) and not torch.equal(draw(1), draw(2))


def test_mean_poses_come_most_frequent_first(parts):
    means, covariance, _ = parts
    gmm = PoseGmm(means, covariance, torch.tensor([0.2, 0.7, 0.1]).double())
    assert torch.equal(gmm.mean_poses(), means[[1, 0, 2]])


def test_a_marginal_is_the_least_energy_over_the_other_coordinates(gmm, theta):
    """And `fill` puts them there."""
    columns, rest = torch.tensor([0, 2, 3]), torch.tensor([1, 4, 5])
    filled = gmm.fill(theta, columns)
    assert torch.equal(filled[:, columns], theta[:, columns])
    least = gmm.energy(filled)
    np.testing.assert_allclose(gmm.marginal(columns).energy(theta[:, columns]), least, atol=1e-11)
    for _ in range(100):
        other = filled.clone()
        other[:, rest] += torch.randn(len(theta), 3, dtype=torch.float64)
        assert (gmm.energy(other) >= least).all()
    assert torch.equal(gmm.fill(theta, torch.arange(D)), theta)


@pytest.fixture
def saved(parts, tmp_path):
    def save(**changed):
        arrays = dict(zip(("means", "covariances", "weights"), map(np.asarray, parts), strict=True)) | changed
        np.savez(tmp_path / "gmm.npz", **arrays)
        return tmp_path / "gmm.npz"

    return save


def test_file_round_trip(gmm, theta, saved):
    np.testing.assert_array_equal(PoseGmm.from_file(saved()).energies(theta), gmm.energies(theta))


def test_files_that_are_no_mixture_are_refused(parts, saved):
    with pytest.raises(ValueError, match=r"means should have the shape \(K, D\)"):
        PoseGmm.from_file(saved(means=np.zeros(3)))
    with pytest.raises(ValueError, match="weights holds 1 NaN"):
        PoseGmm.from_file(saved(weights=np.array([0.5, np.nan, 0.5])))
    with pytest.raises(ValueError, match="covariances should have the shape"):
        PoseGmm.from_file(saved(covariances=np.zeros((K, D, D + 1))))


def test_the_shipped_mixture():
    """8 components of 23 joints; every component's mean is likelier under the mixture than a random stretch of it."""
    gmm = PoseGmm.from_file(PRIORS / "pose_gmm.npz")
    assert gmm.means.shape == (8, 69)
    assert torch.linalg.eigvalsh(gmm.precisions).min() > 0
    assert gmm.weights.sum().item() == pytest.approx(1, abs=1e-12) and (gmm.weights > 0.01).all()
    far = torch.linspace(-3, 3, 69, dtype=torch.float64).expand(1, -1)
    assert gmm.log_density(gmm.means).min() > gmm.log_density(gmm.sample(200)).mean() > gmm.log_density(far)


FINGERS = {"SMPL-H": SMPLH, "SMPL-X": SMPLX}


@pytest.mark.parametrize("name", FINGERS)
def test_for_a_body_with_fingers_it_is_the_marginal_of_the_shared_joints(name):
    """SMPL's hands are integrated out, by scipy's Gaussians; fingers, jaw and eyes have no say."""
    full = PoseGmm.from_file(PRIORS / "pose_gmm.npz")
    gmm = full.for_skeleton(FINGERS[name])
    assert full.joint_names == SMPL.names[1:] and gmm.joint_names == SMPL.names[1:22]
    theta = 0.3 * torch.randn(20, FINGERS[name].pose_size - 3, dtype=torch.float64)
    marginal = full.means[:, :63], full.covariances[:, :63, :63], full.weights
    log_density = logsumexp(log_parts(marginal, theta[:, :63]), axis=1)
    np.testing.assert_allclose(gmm.log_density(theta), log_density, atol=1e-9)
    other = theta.clone()
    other[:, 63:] += 1.0
    for measure in (gmm.energies, gmm.residuals, lambda t: gmm.quadratic(t)[1]):
        assert torch.equal(measure(theta), measure(other))
    torch.testing.assert_close(0.5 * gmm.residuals(theta).square().sum(1), gmm.energy(theta))
    torch.testing.assert_close(gmm.with_nll_weights().energies(theta).diff(), gmm.energies(theta).diff())


def test_joints_in_another_order_and_between_others():
    """A body whose joints the mixture knows under the same names."""
    body = Skeleton("", ("pelvis", "left_knee", "tail", "left_hip"), (-1, 0, 0, 0))
    full = PoseGmm.from_file(PRIORS / "pose_gmm.npz")
    gmm, theta = full.for_skeleton(body), torch.randn(7, 9, dtype=torch.float64)
    assert gmm.joint_names == ("left_knee", "left_hip") and gmm.columns.tolist() == [0, 1, 2, 6, 7, 8]
    own = torch.tensor(SMPL.columns(["left_knee", "left_hip"]))
    alone = PoseGmm(full.means[:, own], full.covariances[:, own][:, :, own], full.weights)
    both, hip, hip_alone = theta[:, gmm.columns], torch.arange(6, 9), torch.arange(3, 6)
    torch.testing.assert_close(gmm.energies(theta), alone.energies(both))
    filled = gmm.fill(theta, hip)
    assert torch.equal(filled[:, 3:], theta[:, 3:])  # the tail stays as it is
    torch.testing.assert_close(filled[:, :3], alone.fill(both, hip_alone)[:, :3])
    energies = gmm.marginal(hip).energies(theta[:, hip])
    torch.testing.assert_close(energies, alone.marginal(hip_alone).energies(theta[:, hip]))
    with pytest.raises(ValueError, match="not about all of these columns"):
        gmm.marginal(torch.arange(3, 6))


def test_for_smpl_itself_nothing_changes():
    full = PoseGmm.from_file(PRIORS / "pose_gmm.npz")
    assert full.for_skeleton(SMPL) is full


def test_a_hand_has_a_prior_of_its_own(tmp_path):
    """Without names it is about all joints of a body that has as many; with names that the body has not, about none."""
    parts = {"means": np.zeros((1, 45)), "covariances": np.eye(45)[None], "weights": np.ones(1)}
    np.savez(tmp_path / "hand.npz", **parts)
    unnamed = PoseGmm.from_file(tmp_path / "hand.npz")
    assert unnamed.joint_names == () and unnamed.for_skeleton(MANO_LEFT) is unnamed
    with pytest.raises(ValueError, match="15 joints that it does not name; this body has 23 without its root"):
        unnamed.for_skeleton(SMPL)
    np.savez(tmp_path / "hand.npz", **parts, joint_names=np.array(MANO_LEFT.names[1:]))
    fingers = PoseGmm.from_file(tmp_path / "hand.npz").for_skeleton(SMPLX)
    assert fingers.columns.tolist() == list(range(72, 117))
    with pytest.raises(ValueError, match=r"left_hip, right_hip, spine1 \.\.\.; this body has none of these"):
        PoseGmm.from_file(PRIORS / "pose_gmm.npz").for_skeleton(MANO_LEFT)
    np.savez(tmp_path / "hand.npz", **parts, joint_names=np.array(["a"]))
    with pytest.raises(ValueError, match="joint_names should hold 15 texts"):
        PoseGmm.from_file(tmp_path / "hand.npz")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("weights", lambda w: w * [0, *[1] * (len(w) - 1)], "positive weights"),
        ("covariances", lambda c: c - 2 * c[2] * (np.arange(len(c)) == 2)[:, None, None], r"components \[2\]"),
        ("means", lambda m: m * np.nan, "means"),
        ("covariances", lambda c: c[:, :5], "covariances"),
    ],
)
def test_a_bad_file_is_refused(tmp_path, name, change, message):
    with np.load(PRIORS / "pose_gmm.npz") as data:
        arrays = {key: data[key] for key in ("means", "covariances", "weights")}
    np.savez(tmp_path / "bad.npz", **arrays | {name: change(arrays[name])})
    with pytest.raises(ValueError, match=message):
        PoseGmm.from_file(tmp_path / "bad.npz")
