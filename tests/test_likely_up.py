"""The up direction, estimated: nearer to the truth than a level camera, and as sure as it says."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.fits import shipped

import hmrfit
from hmrfit.fitting.terms.up import POINTS, standing_axis
from hmrfit.likely_up import FRAMES, SURE, likely_up, of_frames
from hmrfit.ops.level import up_in_words, up_of_angles, upright_in_words
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.report.viewer import result_scene


def degrees(a, b) -> float:
    a, b = (v.numpy() if isinstance(v, torch.Tensor) else np.asarray(v) for v in (a, b))
    return math.degrees(math.acos(min(float(a @ b), 1.0)))


def leaning(up: torch.Tensor, count: int, std: float, seed: int = 0) -> torch.Tensor:
    """(count, 3) about a direction, `std` degrees in each of two."""
    draws = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    axes = up + math.radians(std) * draws
    return axes / axes.norm(dim=1, keepdim=True)


@pytest.mark.parametrize(("pitch", "roll"), [(0.0, 0.0), (30.0, 0.0), (-20.0, 5.0), (45.0, -20.0)])
def test_one_who_stands_tells_how_the_camera_is_held(pitch, roll):
    up = up_of_angles(*torch.tensor([pitch, roll], dtype=torch.float64))
    found = likely_up(up[None])
    assert degrees(found.up, up) < 0.35 * math.hypot(pitch - 10, roll) + 1
    assert found.is_sure and np.isclose(np.linalg.norm(found.up), 1)
    many = likely_up(leaning(up, 12, 7.5))
    assert degrees(many.up, up) < 5 and many.std < 0.5 * found.std


def test_who_lies_or_hangs_upside_down_says_nothing():
    """The camera is then as cameras are held, and the estimate is not taken."""
    for axis in ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)):
        found = likely_up(torch.tensor([axis], dtype=torch.float64))
        assert found.std > SURE and not found.is_sure
        assert degrees(found.up, (0.0, -1.0, 0.0)) < 20


def test_one_who_lies_among_those_who_stand_changes_little():
    up = up_of_angles(torch.tensor(25.0), torch.tensor(0.0)).double()
    lies = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)
    assert degrees(likely_up(torch.cat([leaning(up, 4, 5.0), lies])).up, likely_up(leaning(up, 4, 5.0)).up) < 1


def test_as_far_off_as_it_says():
    """Of cameras and people as they are assumed to be."""
    generator = torch.Generator().manual_seed(1)
    pitch, roll = 10 + 25 * torch.randn(400, generator=generator), 5 * torch.randn(400, generator=generator)
    errors, said = [], []
    for i, up in enumerate(up_of_angles(pitch.double(), roll.double())):
        found = likely_up(leaning(up, 1, 7.5, seed=i))
        errors.append(degrees(found.up, up))
        said.append(found.std)
    assert 0.75 < np.sqrt(np.mean(np.square(errors)) / np.mean(np.square(said))) < 1.15


def test_more_frames_of_one_person_count_as_a_few():
    assert of_frames(2).tolist() == [1.0, 1.0]
    assert of_frames(100).sum().item() == pytest.approx(FRAMES)


@pytest.fixture(scope="module")
def results():
    """Fits of people who stand before a camera that looks down by 30 degrees, and the truth."""
    body = shipped().body
    up = up_of_angles(torch.tensor(30.0), torch.tensor(0.0)).double().numpy()
    points = [
        hmrfit.fit(None, array, keypoint_set="coco17", image_size=(640, 480), up="likely") for array in _below(body)
    ]
    return points, up


def _below(body):
    """(3, 17, 3) keypoints of somebody with arms down, turned three ways."""
    from hmrfit.camera import Camera
    from hmrfit.keypoints import COCO17
    from hmrfit.types import BodyParams

    theta = torch.zeros(3, 69, dtype=torch.float64)
    theta[:, 15 * 3 + 2], theta[:, 16 * 3 + 2] = -1.1, 1.1
    looks_down = rotvec_to_matrix(torch.tensor([math.radians(30.0), 0, 0], dtype=torch.float64))
    upright = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))
    turned = rotvec_to_matrix(torch.tensor([[0.0, a, 0.0] for a in (0.0, 0.8, -0.8)], dtype=torch.float64))
    params = BodyParams.from_rotvecs(torch.zeros(3, 3).double(), theta, torch.zeros(3, 10).double(), torch.zeros(3, 3))
    params = replace(params, global_orient=looks_down @ upright @ turned, transl=torch.tensor([[0.0, 0.2, 4.0]] * 3))
    params = params.map(lambda t: t.double())
    xy = Camera.from_size(640, 480, count=3).project(body.points(COCO17).pose(params).points)
    return torch.cat([xy, torch.ones(3, 17, 1)], -1).numpy()


def test_a_result_stands_upright_by_it(results):
    fits, up = results
    for fit in fits:
        assert fit.up is not None and fit.up_std == fit.likely_up.std
        assert degrees(fit.up, up) < 12 < degrees((0.0, -1.0, 0.0), up)
        assert "an estimate" in str(fit)
        assert np.array_equal(fit.up, fit.likely_up.up)


def test_it_is_kept_and_says_that_it_is_an_estimate(results, tmp_path):
    (fit, *_), _ = results
    fit.save(tmp_path / "a.npz")
    again = hmrfit.FitResult.load(tmp_path / "a.npz")
    assert np.allclose(again.up, fit.up, rtol=0, atol=1e-15) and again.up_std == fit.up_std
    assert "an estimate" in fit.motion().level
    known = fit.with_up((0.0, -1.0, 0.0))
    assert known.up_std is None and "the given up direction" in known.motion().level
    assert known.with_up(None).up is None


def test_all_texts_say_of_it_the_same(results, tmp_path):
    """Not known, given, an estimate: the summary, the page, the 3D view, files of motions and of meshes."""
    (fit, *_), _ = results
    for result in (fit.with_up(None), fit.with_up((0.0, -1.0, 0.0)), fit):
        known = result.up is not None, result.up_std
        assert up_in_words(*known) in str(result)
        assert upright_in_words("The views from other sides", *known) in result.entry({}).text
        if result.up is None or result.up_std is not None:  # where it was given, the view says nothing
            assert upright_in_words("The people", *known) in result_scene(result).note
        bodies = upright_in_words("bodies", *known)
        assert result.motion().level == bodies
        for name in ("a.ply", "a.obj", "a.glb"):
            result.mesh(tmp_path / name)
            written = (tmp_path / name).read_bytes()
            assert bodies.encode() in written or json.dumps(bodies)[1:-1].encode() in written, name


def test_bodies_are_the_same(results):
    (fit, *_), _ = results
    plain = hmrfit.fit(None, _below(shipped().body)[0], keypoint_set="coco17", image_size=(640, 480))
    assert plain.up is None and np.array_equal(plain.vertices, fit.vertices)
    assert np.array_equal(plain.with_up("likely").up, fit.up)


def test_what_is_known_comes_first():
    array = _below(shipped().body)[0]
    known = [hmrfit.Up(pitch=20)]
    fit = hmrfit.fit(None, array, keypoint_set="coco17", image_size=(640, 480), up="likely", measurements=known)
    assert fit.up_std is None and np.allclose(fit.up, up_of_angles(torch.tensor(20.0), torch.tensor(0.0)), atol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda a: hmrfit.fit(None, a, keypoint_set="coco17", image_size=(64, 48), up="likly"),
            "Did you mean 'likely'",
        ),
        (
            lambda a: hmrfit.fit_views(
                [None] * 2,
                [a, a],
                np.eye(3, 4)[None].repeat(2, 0),
                keypoint_set="coco17",
                image_size=(64, 48),
                up="likely",
            ),
            "about one camera whose place is not known",
        ),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call(_below(shipped().body)[0])


def test_of_a_sequence_all_frames_count():
    array = _below(shipped().body)[0]
    motion = hmrfit.fit_sequence(
        np.repeat(array[None], 6, 0), fps=10, keypoint_set="coco17", image_size=(640, 480), up="likely"
    )
    axes = standing_axis(torch.tensor(motion.points(POINTS)[0]))[0]
    assert np.allclose(motion.up, likely_up(axes, of_frames(6)).up)
    assert motion.up_std < likely_up(axes[:1]).std


def test_the_word_is_spelled_so_everywhere_or_refused_with_the_reason() -> None:
    body = hmrfit.Pipeline.of(None).body
    array = _below(body)[0]
    result = hmrfit.fit(None, array, keypoint_set="coco17", image_size=(640, 480))
    with pytest.raises(ValueError, match="Did you mean 'likely'"):
        result.with_up("likley")
    hand = np.random.default_rng(0).uniform(100, 200, (21, 2))
    with pytest.raises(ValueError, match="a hand does not show it"):
        hmrfit.fit_hand(None, hand, image_size=(640, 480), up="likely")
