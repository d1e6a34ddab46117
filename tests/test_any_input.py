"""Whatever hypothesis thinks of, a fit ends in finite numbers or in an error message.

Each example is a picture of some size and lens with PEOPLE in it, each as their kind has them: upside down, on one
spot, behind the border, of a hair's breadth, with keypoints that contradict each other.
`pytest tests/test_any_input.py --inputs 10000` tries as many people; by default it is 500.
"""

import re
from functools import cache

import numpy as np
import pytest
import torch
from helpers.bodies import demo_points
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import hmrfit
from hmrfit.camera import Camera
from hmrfit.keypoints import SMPL24, flip_permutation, resolve_set
from hmrfit.pipeline import Pipeline
from hmrfit.types import Keypoints

PEOPLE = 50
NAMES = resolve_set("coco17")
MESSAGES = (ValueError, TypeError)
FACE_AND_ARMS = np.arange(17) < 9


@cache
def someone() -> np.ndarray:
    """(17, 2) an ordinary person, in units of their box, about (0, 0)."""
    xy = demo_points(480)[:, :2]
    return (xy - xy.mean(0)) / np.ptp(xy, axis=0).max()


KINDS = {
    "ordinary": lambda xy, c, rng: (xy, c),
    "noisy": lambda xy, c, rng: (xy + 0.1 * rng.normal(size=xy.shape), c),
    "chaos": lambda xy, c, rng: (rng.uniform(-0.5, 0.5, xy.shape), rng.uniform(size=17)),
    "one spot": lambda xy, c, rng: (0 * xy, c),
    "a line": lambda xy, c, rng: (xy * [0, 1], c),
    "a slanting line": lambda xy, c, rng: (xy[:, 1:] * [0.7, 0.7], c),
    "two spots": lambda xy, c, rng: (np.sign(xy) * 0.5, c),
    "upside down": lambda xy, c, rng: (-xy, c),
    "lying": lambda xy, c, rng: (xy[:, ::-1], c),
    "sides swapped": lambda xy, c, rng: (xy[flip_permutation(NAMES)], c),
    "order reversed": lambda xy, c, rng: (xy[::-1], c),
    "pulled apart": lambda xy, c, rng: (xy * [40, 0.05], c),
    "one stray": lambda xy, c, rng: (xy + np.eye(17)[rng.integers(17)][:, None] * 1e4 * rng.normal(size=2), c),
    "hardly sure": lambda xy, c, rng: (xy, 1e-12 * c),
    "three points": lambda xy, c, rng: (xy, c * (rng.permutation(17) < 3)),
    "two points": lambda xy, c, rng: (xy, c * (rng.permutation(17) < 2)),
    "one point": lambda xy, c, rng: (xy, c * (rng.permutation(17) < 1)),
    "nothing seen": lambda xy, c, rng: (xy, 0 * c),
    "a face": lambda xy, c, rng: (xy, c * (np.arange(17) < 5)),
    "no number where unseen": lambda xy, c, rng: (xy + np.where(FACE_AND_ARMS, 0, np.nan)[:, None], c * FACE_AND_ARMS),
}  # fmt: skip


@st.composite
def pictures(draw: st.DrawFn) -> tuple[np.ndarray, dict]:
    """((N, 17, 3) keypoints, how to read them)."""
    width, height = draw(st.integers(10, 20_000)), draw(st.integers(10, 20_000))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    size = min(width, height) * draw(st.sampled_from([0.8, 0.3, 3.0, 0.01, 100.0, 1e-5]))
    people = []
    for kind in draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=PEOPLE, max_size=PEOPLE)):
        xy, confidence = KINDS[kind](someone(), np.ones(17), rng)
        at = (rng.uniform(size=2) if rng.uniform() < 0.9 else 3 * rng.normal(size=2)) * [width, height]
        people.append(np.concatenate([size * xy + at, confidence[:, None]], 1))
    more = {"image_size": (width, height), "keypoint_set": "coco17"}
    if draw(st.booleans()):
        more["focal"] = draw(st.sampled_from([1e-3, 1.0, 50.0, 5e3, 1e9]))
    return np.stack(people), more


def numbers(result: hmrfit.FitResult) -> dict[str, np.ndarray]:
    """Everything a result says in numbers."""
    every = [result.params, *result.hypotheses]
    found = {
        f"params {i}": np.concatenate([t.flatten(1) for t in (p.global_orient, p.body_pose, p.betas, p.transl)], 1)
        for i, p in enumerate(every)
    }
    found |= {f"cost of {name}": cost for name, cost in result.term_cost.items()}
    return found | {
        "cost": result.cost,
        "joints": result.joints,
        "projected": result.projected.xy.numpy(),
        "joint_std": result.joint_std,
    }


def check(points: np.ndarray, more: dict) -> int:
    """How many people were fitted. The person in an error message is left out of the next try."""
    before = points.copy()
    try:
        result = hmrfit.fit(None, points, **more)
    except MESSAGES as error:
        assert len(str(error)) > 20 and str(error).rstrip()[-1] in ".?)", f"no message: {error!r}"
        about = re.search(r"[Pp]erson (\d+)", str(error))
        assert about, f"a message about no person: {error}"
        others = np.delete(points, int(about[1]), axis=0)
        return check(others, more) if len(others) else 0
    finally:
        assert np.array_equal(points, before, equal_nan=True)
    for name, value in numbers(result).items():
        wrong = np.flatnonzero(~np.isfinite(value.reshape(len(result), -1)).all(1))
        assert not len(wrong), f"{name} of people {wrong[:5].tolist()} is not finite"
    return len(result)


def test_no_input_breaks_a_fit(pytestconfig: pytest.Config) -> None:
    count = -(-pytestconfig.getoption("--inputs") // PEOPLE)
    fitted = []

    @settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(pictures())
    def each(picture: tuple[np.ndarray, dict]) -> None:
        fitted.append(check(*picture))

    each()
    assert sum(fitted) > 0.5 * PEOPLE * count


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_other_people_in_the_batch_change_nothing() -> None:
    """One person is solved in NumPy, many in torch; what the numbers are does not matter to that."""
    rng, fitter, camera = np.random.default_rng(1), Pipeline.of().fitter, Camera.from_size(1024, 768, count=len(KINDS))
    seen = [make(someone(), np.ones(17), rng) for make in KINDS.values()]
    xy, confidence = (torch.from_numpy(np.nan_to_num(np.stack(part))) for part in zip(*seen, strict=True))
    keypoints = Keypoints(300 * xy + torch.tensor([512.0, 384.0]), confidence, NAMES)
    together, body = fitter.fit(keypoints, camera), fitter.body.points(SMPL24)
    for i in range(len(KINDS)):
        alone = fitter.fit(keypoints[i], camera[i])
        found, expected = (body.pose(state.params).joints[0] for state in (alone.state, together.state[i]))
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_alone(kind: str) -> None:
    """On a picture of ordinary size."""
    xy, confidence = KINDS[kind](someone(), np.ones(17), np.random.default_rng(0))
    points = np.concatenate([300 * xy + [512.0, 384.0], confidence[:, None]], 1)
    assert check(points[None], {"image_size": (1024, 768), "keypoint_set": "coco17"}) == (kind != "nothing seen")
