"""SMPLify's and SPIN's energies: ours against their formulas, written out person by person and joint by joint."""

import math

import pytest
import torch
from helpers.bodies import free_body
from helpers.fits import gmm
from torch import Tensor

from hmrfit.camera import Camera
from hmrfit.fitting.check_term import check_term, normal_equations, sample_evaluation, stick_body
from hmrfit.fitting.parameters import Layout, Linearization, Observation, State
from hmrfit.fitting.terms.base import terms_by_name
from hmrfit.fitting.terms.smplify_spin import (
    DepthPrior,
    Frame,
    TorsoReprojection,
    smplify_spin_terms,
    torso_seen,
    torso_sets,
)
from hmrfit.keypoints import resolve_set
from hmrfit.ops.rotation import matrix_to_rotvec
from hmrfit.types import BodyParams, Keypoints

TERMS = terms_by_name(smplify_spin_terms(free_body(), gmm()))
SPIN49 = resolve_set("spin49")
FOCAL, CENTER, SIGMA = 5000.0, 112.0, 100.0


def crops(person: float, count: int = 3, seed: int = 0, size: float = 224.0, focal: float = FOCAL) -> Linearization:
    """People in SPIN's 49 keypoints on pictures like theirs: 50 m before a focal length of 5,000 px."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    at = sample_evaluation(free_body().points(SPIN49), count=count, seed=seed)
    p = at.state.params
    transl = torch.cat([0.3 * draw(count, 2), 50 + draw(count, 1)], 1)
    params = BodyParams(p.global_orient, p.body_pose, p.betas, transl)
    camera = Camera.from_size(size, size, focal, count=count)
    xy = camera.project(at.body.pose(params).points) + 30 * draw(count, 49, 2)
    confidence = torch.rand(count, 49, generator=generator, dtype=torch.float64)
    confidence[:, ::7] = 0
    observation = Observation(
        Keypoints(xy, confidence, SPIN49),
        torch.full((count,), person, dtype=torch.float64),
        start_depth=transl[:, 2] + draw(count),
    )
    return Linearization(at.body, State(params, camera), observation)


def cost(name: str, e: Linearization, factor: float) -> Tensor:
    """(B,) of a term with the weight that a factor stands for."""
    return 0.5 * factor**2 * TERMS[name].residuals(e).square().sum(1)


def pixels(e: Linearization, person: int, joint: int) -> list[float]:
    """x and y of a joint less its keypoint, by hand."""
    X = e.posed.points[person, joint].tolist()
    focal, center = e.state.camera.focal[person, 0].item(), e.state.camera.center[person, 0].item()
    where = e.observation.keypoints.xy[person, joint].tolist()
    return [focal * X[i] / X[2] + center - where[i] for i in (0, 1)]


@pytest.mark.parametrize(
    ("system", "person", "ignored"),
    [("spin", 224 / 1.2, {1, 9, 12, 27, 28}), ("smplify", 300.0, {1, 9, 12, 27, 28, 37})],
)
def test_keypoints(system: str, person: float, ignored: set[int]):
    """sum_j c² [gm(x) + gm(y)] with gm(x) = sigma² x² / (sigma² + x²), hips and necks left out, by SPIN's numbers."""
    e = crops(person)
    for b in range(3):
        total = 0.0
        for j in range(49):
            if j not in ignored:
                gm = sum(SIGMA**2 * x**2 / (SIGMA**2 + x**2) for x in pixels(e, b, j))
                total += e.observation.keypoints.confidence[b, j].item() ** 2 * gm
        assert cost(f"{system}_keypoints", e, 1.0)[b].item() == pytest.approx(total, rel=1e-9)


def test_torso_and_depth():
    """SPIN's camera: squared pixels of both hips and shoulders, OpenPose's 12, 9, 5, 2 where all are seen, else the
    others, 28, 27, 34, 33; and 100² (t_z - t_z0)²."""
    e = crops(224 / 1.2, count=2)
    e.observation.keypoints.confidence[0, [12, 9, 5, 2]] = 0.4
    e.observation.keypoints.confidence[1, 9] = 0
    e.observation.keypoints.confidence[1, [28, 27, 34, 33]] = 0.3
    for b, joints in enumerate(([12, 9, 5, 2], [28, 27, 34, 33])):
        total = sum(x**2 for j in joints for x in pixels(e, b, j))
        assert cost("spin_torso", e, 1.0)[b].item() == pytest.approx(total, rel=1e-9)
        away = (e.state.params.transl[b, 2] - e.observation.start_depth[b]).item()
        assert cost("spin_depth", e, 100.0)[b].item() == pytest.approx(100**2 * away**2, rel=1e-9)


def test_pose_shape_and_bending():
    """min_k [1/2 d^T P d - log v_k] with SMPLify's "nll weights"; 5² |beta|²; 15.2² sum exp(2 s theta)."""
    e, mixture = crops(224 / 1.2), gmm()
    sqrt_dets = [math.exp(0.5 * torch.linalg.slogdet(S)[1].item()) for S in mixture.covariances]
    density = [(2 * math.pi) ** 34.5 * d / min(sqrt_dets) for d in sqrt_dets]
    nll = [w.item() / d for w, d in zip(mixture.weights, density, strict=True)]
    theta = matrix_to_rotvec(e.state.params.body_pose).flatten(1)
    for b in range(3):
        energies = []
        for mean, covariance, v in zip(mixture.means, mixture.covariances, nll, strict=True):
            d = theta[b] - mean
            energies.append(0.5 * (d @ torch.linalg.solve(covariance, d)).item() - math.log(v))
        assert cost("smplify_pose", e, 4.78)[b].item() == pytest.approx(4.78**2 * min(energies), rel=1e-6)
        betas = e.state.params.betas[b].tolist()
        assert cost("smplify_shape", e, 5.0)[b].item() == pytest.approx(25 * sum(x * x for x in betas), rel=1e-9)
        whole = [0.0] * 3 + theta[b].tolist()
        angles = sum(math.exp(2 * s * whole[i]) for i, s in zip((55, 58, 12, 15), (1, -1, -1, -1), strict=True))
        assert cost("bending", e, 1.52)[b].item() == pytest.approx(15.2**2 * angles, rel=1e-9)


def test_the_density_stays_as_it_is():
    theta = gmm().sample(5, torch.Generator().manual_seed(0))
    torch.testing.assert_close(gmm().with_nll_weights().log_density(theta), gmm().log_density(theta))


@pytest.mark.parametrize("name", [n for n in TERMS if n != "interpenetration"])
def test_derivatives_and_sums(name: str):
    e = crops(224 / 1.2)
    check_term(TERMS[name], e)
    few = Linearization(e.body, e.state, e.observation, Layout(("transl", "global_orient"), 24, 10))
    cost_, gradient, hessian = normal_equations(TERMS[name], few, 2.0)
    full = normal_equations(TERMS[name], e, 2.0)
    torch.testing.assert_close(cost_, full[0])
    torch.testing.assert_close(gradient, full[1][:, :6])
    torch.testing.assert_close(hessian, full[2][:, :6, :6])


@pytest.mark.parametrize("name", ["spin_keypoints", "smplify_keypoints", "spin_torso", "spin_depth"])
def test_the_size_of_the_picture_does_not_enter(name: str):
    """The same view on three times as many pixels costs the same: sigma is a fraction of the person."""
    small, large = crops(224 / 1.2), crops(3 * 224 / 1.2, size=3 * 224.0, focal=3 * FOCAL)
    keypoints = small.observation.keypoints
    tripled = Keypoints(3 * keypoints.xy, keypoints.confidence, keypoints.names)
    seen = Observation(tripled, large.observation.box_size, start_depth=large.observation.start_depth)
    torch.testing.assert_close(cost(name, Linearization(large.body, large.state, seen), 1.0), cost(name, small, 1.0))


def test_a_nearer_camera_has_a_shorter_depth_prior():
    """A tenth of the focal length at a tenth of the distance: the same picture, the same cost of the same fraction."""
    e, prior = crops(200.0), DepthPrior(Frame(200.0))
    p = e.state.params
    tenth = torch.tensor([1.0, 1.0, 0.1], dtype=torch.float64)
    state = State(
        BodyParams(p.global_orient, p.body_pose, p.betas, p.transl * tenth),
        Camera(0.1 * e.state.camera.focal, e.state.camera.center, e.state.camera.size),
    )
    o = e.observation
    seen = Observation(o.keypoints, o.box_size, start_depth=0.1 * o.start_depth)
    torch.testing.assert_close(
        prior.residuals(Linearization(e.body, state, seen)), prior.residuals(e), rtol=1e-9, atol=1e-9
    )


def test_which_torso_points_a_set_has():
    assert torso_sets(SPIN49) == [[12, 9, 5, 2], [28, 27, 34, 33]]
    assert torso_sets(resolve_set("coco17")) == [[11, 12, 5, 6]]
    assert torso_sets(resolve_set("lsp14")) == [[3, 2, 9, 8]]
    assert torso_sets(resolve_set("smpl24")) == [[1, 2, 16, 17]]
    assert torso_sets(("nose", "left_shoulder", "right_shoulder")) == []


def test_people_without_a_torso_are_placed_by_what_is_seen():
    names = ("left_hip_coco", "right_hip_coco", "left_shoulder", "right_shoulder", "nose", "left_knee")
    confidence = torch.tensor([[1, 1, 1, 1, 1, 1], [0, 1, 0, 0, 1, 1], [0, 1, 1, 0, 1, 1]]).double()
    observation = Observation.of(Keypoints(torch.rand(3, 6, 2).double(), confidence, names))
    expected = torch.tensor([[1, 1, 1, 1, 0, 0], [0, 1, 0, 0, 1, 1], [0, 1, 1, 0, 0, 0]]).double()
    assert torch.equal(torso_seen(observation), expected)


def test_depth_needs_a_start():
    e = sample_evaluation(stick_body(("left_hip", "right_hip", "left_shoulder", "right_shoulder")))
    assert TorsoReprojection(Frame(200.0)).residuals(e).isfinite().all()
    with pytest.raises(ValueError, match=r"'depth' needs the depth that the fit began at: set FIT\.START"):
        DepthPrior(Frame(200.0)).residuals(e)
