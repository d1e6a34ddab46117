"""Whatever hypothesis hands to fit(), fit_views() and fit_sequence(), the answer is finite numbers or an error message.

`pytest tests/test_any_argument.py --inputs 5000` tries as many calls; by default it is a tenth of 500.
"""

import copy
import logging
from dataclasses import fields, replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from helpers.bodies import demo_points
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import hmrfit
from hmrfit.types import BodyParams

SIZE = (320, 240)
NAN = float("nan")
MESSAGES = (ValueError, TypeError, FileNotFoundError)
SHARE = 10
"""So many examples of `--inputs` make one here: a call costs more than a person."""


@cache
def points() -> np.ndarray:
    return demo_points(SIZE[1])


@cache
def good() -> hmrfit.FitResult:
    return hmrfit.fit(None, points(), keypoint_set="coco17", image_size=SIZE)


NUMBERS = st.one_of(
    st.floats(),
    st.integers(),
    st.sampled_from([0, -1, NAN, np.inf, -np.inf, 1e300, 1e-300, 10**400, 2**63, 0.5, 1.0, 2.0, 30.0, 500.0]),
    st.floats(0.01, 1000.0),
)
JUNK = st.sampled_from(
    [
        None,
        True,
        False,
        "",
        "5",
        "nan",
        "free",
        b"5",
        1j,
        object(),
        print,
        {},
        {1: 2},
        set(),
        (),
        range(3),
        slice(3),
        [],
        [[]],
        [None],
        ["a"],
        [[1.0], [1.0, 2.0]],
        np.array(5.0),
        np.array(NAN),
        np.array([]),
        np.array([1, 2], object),
        np.array([1j]),
        np.array(["1"]),
        np.array(["2020"], "datetime64[Y]"),
        np.ones((17, 3)),
        np.ones((2, 17, 4)),
        np.ones((240, 320), bool),
        np.zeros((240, 320)),
        torch.tensor(5.0),
        torch.tensor([NAN, 1.0]),
        lambda *a: a,
        torch.ones(3, requires_grad=True),
        hmrfit.Camera.from_size(*SIZE),
    ]
)
LISTS = st.one_of(st.lists(NUMBERS, max_size=4), st.tuples(NUMBERS, NUMBERS), NUMBERS.map(lambda v: [v] * 10))
ANYTHING = st.one_of(NUMBERS, LISTS, JUNK)


@st.composite
def arrays(draw: st.DrawFn, whole: np.ndarray) -> np.ndarray:
    """The array with some of its numbers changed."""
    array = whole.copy()
    for _ in range(draw(st.integers(1, 4))):
        where = tuple(draw(st.one_of(st.integers(0, size - 1), st.just(slice(None)))) for size in array.shape)
        value = draw(st.one_of(st.floats(), st.floats(-1, 2), st.sampled_from([NAN, np.inf, 1e60, 1e300, -1.0, 0.0])))
        array[where] = array[where] * value if draw(st.booleans()) else value
    return array


@st.composite
def records(draw: st.DrawFn, whole: Any) -> Any:
    """A camera or parameters, one of the tensors changed."""
    real = [field.name for field in fields(whole) if getattr(whole, field.name).is_floating_point()]
    part = draw(st.sampled_from(real))
    value = getattr(whole, part)
    changes = [
        lambda v: torch.from_numpy(draw(arrays(v.numpy()))),
        lambda v: v * draw(st.floats()),
        lambda v: v[:, :1],
        lambda v: v[:0],
        lambda v: v[0],
        lambda v: torch.cat([v, v]),
        lambda v: v.numpy(),
        lambda v: v > 0,
        lambda v: v * 1j,
        lambda v: None,
        lambda v: -v,
        lambda v: v.int(),
        lambda v: v.float(),
        lambda v: v.clone().requires_grad_(),
    ]
    return replace(whole, **{part: draw(st.sampled_from(changes))(value)})


def term_of(value: Any) -> Any:
    def mine(state, output, observation):
        return output.joints[:, :2, 0] * value if isinstance(value, float) else value

    return mine


def masks() -> st.SearchStrategy:
    rows = st.tuples(st.integers(0, 240), st.integers(0, 240), st.integers(0, 320), st.integers(0, 320))

    def made(where: tuple) -> np.ndarray:
        mask = np.zeros(SIZE[::-1], bool)
        mask[where[0] : where[1], where[2] : where[3]] = True
        return mask

    return rows.map(made)


def measured() -> np.ndarray:
    """(17, 4) points in 3D, three metres away."""
    return np.c_[np.random.default_rng(0).normal(0, 0.3, (17, 3)) + np.array([0, 0, 3]), np.ones(17)]


def measurements() -> dict[str, st.SearchStrategy]:
    """Each kind as those give it who know it."""
    betas = st.lists(st.floats(-5, 5), min_size=1, max_size=10)
    floors = st.floats(-3, 3).map(lambda y: hmrfit.Floor((0, -1, 0), y, ("left_heel",)))
    return {
        "mask": st.builds(hmrfit.Mask, masks()),
        "silhouette": st.builds(hmrfit.Silhouette, masks(), st.floats(1, 1000)),
        "keypoints_3d": st.builds(
            hmrfit.Keypoints3D,
            st.floats(0, 1).map(lambda c: measured() * [1, 1, 1, c]),
            st.sampled_from([None, "coco17"]),
            st.booleans(),
        ),
        "height": st.builds(hmrfit.Height, st.floats(0.5, 2.6), st.one_of(st.none(), st.floats(0.001, 1))),
        "shape": st.builds(hmrfit.Shape, betas, st.floats(0.01, 10)),
        "floor": floors,
    }


def wrong_measurements() -> st.SearchStrategy:
    """Each kind with what is none in it, twice or in no list."""
    ups = st.one_of(st.tuples(NUMBERS, NUMBERS, NUMBERS), JUNK)
    xyz = st.one_of(arrays(measured()), arrays(measured()[:, :3]), ANYTHING)
    one = st.one_of(
        st.builds(hmrfit.Mask, st.one_of(st.lists(masks(), max_size=3), ANYTHING)),
        st.builds(hmrfit.Silhouette, masks(), ANYTHING),
        st.builds(hmrfit.Keypoints3D, xyz, st.one_of(st.just("coco17"), ANYTHING), st.one_of(st.booleans(), JUNK)),
        st.builds(hmrfit.Height, ANYTHING, ANYTHING),
        st.builds(hmrfit.Shape, st.one_of(LISTS, ANYTHING), ANYTHING),
        st.builds(hmrfit.Floor, ups, ANYTHING, st.one_of(JUNK, st.just(("left_heel",)))),
        *measurements().values(),
    )
    return st.one_of(st.lists(one, min_size=1, max_size=2), st.lists(st.one_of(one, JUNK), max_size=2), one, ANYTHING)


def sensible() -> dict[str, st.SearchStrategy]:
    """What fit() is given by those who know it."""
    camera = hmrfit.Camera.from_size(*SIZE)
    return {
        "keypoint_set": st.just("coco17"),
        "focal": st.one_of(st.floats(50, 5000), st.just("free")),
        "focal_35mm": st.floats(5, 500),
        "camera": st.floats(100, 1000).map(lambda f: replace(camera, focal=torch.full_like(camera.focal, f))),
        "image_size": st.tuples(st.integers(230, 5000), st.integers(230, 5000)),
        "init": st.just(good()),
        "init_std": st.floats(0.01, 90),
        **{f"measurements {kind}": values.map(lambda one: [one]) for kind, values in measurements().items()},
        "up": st.tuples(st.floats(-1, 1), st.just(-1.0), st.floats(-1, 1)),
        "terms": st.one_of(
            st.floats(-10, 10).map(lambda v: [term_of(v)]), st.sampled_from([["gmm"], ["shape", "interpenetration"]])
        ),
        "weights": st.dictionaries(st.sampled_from(["anchor", "keypoints", "joint_limits"]), st.floats(0, 1e6)),
    }


def arguments() -> dict[str, st.SearchStrategy]:
    """What fit() may be given, right or wrong."""
    names = st.sampled_from(
        ["anchor", "keypoints", "gmm", "shape", "upright", "interpenetration", "smplify_pose", "x", 3]
    )
    special = {
        "camera": records(hmrfit.Camera.from_size(*SIZE)),
        "init": records(good().params),
        **{f"measurements {kind}": wrong_measurements() for kind in measurements()},
        "up": st.tuples(NUMBERS, NUMBERS, NUMBERS),
        "terms": st.lists(st.one_of(ANYTHING.map(term_of), JUNK), max_size=2),
        "weights": st.dictionaries(names, ANYTHING, max_size=2),
    }
    wrong = {name: st.one_of(special[name], ANYTHING) if name in special else ANYTHING for name in sensible()}
    which = st.sampled_from(["sensible", "sensible", "any"])
    return {name: which.flatmap({"sensible": right, "any": wrong[name]}.get) for name, right in sensible().items()}


def drawn(draw: Any, every: dict[str, st.SearchStrategy], chosen: list[str]) -> dict[str, Any]:
    """The chosen arguments by name; of measurements of two kinds, both."""
    found: dict[str, Any] = {}
    for name in chosen:
        value, argument = draw(every[name]), name.split()[0]
        both = isinstance(value, list) and isinstance(found.get(argument), list)
        found[argument] = found[argument] + value if both else value
    return found


@st.composite
def calls(draw: st.DrawFn) -> tuple[np.ndarray, dict]:
    """(keypoints, what else)."""
    every = arguments()
    chosen = draw(st.lists(st.sampled_from(sorted(every)), min_size=1, max_size=2, unique=True))
    more = {"keypoint_set": "coco17", "image_size": SIZE} | drawn(draw, every, chosen)
    people = draw(st.sampled_from([0, 0, 0, 1, 2]))
    keypoints = points() if not people else draw(arrays(np.stack([points()] * people)))
    return keypoints, more


def numbers_of(result: hmrfit.FitResult) -> list[np.ndarray]:
    every = [result.params, result.start, *result.hypotheses]
    parts = [part.numpy() for p in every if isinstance(p, BodyParams) for part in (p.rotations, p.betas, p.transl)]
    return [*parts, result.joints, result.joint_std, result.projected.xy.numpy(), result.probability]


def check(call: Any, *given: Any, **more: Any) -> bool:
    """Whether there is a result, whose numbers are then finite."""
    before = copy.deepcopy([g for g in (*given, *more.values()) if isinstance(g, np.ndarray)])
    try:
        results = call(*given, **more)
    except MESSAGES as error:
        assert len(str(error)) > 15, f"no message: {error!r}"
        return False
    finally:
        after = [g for g in (*given, *more.values()) if isinstance(g, np.ndarray)]
        for old, new in zip(before, after, strict=True):
            np.testing.assert_array_equal(old, new)
    for result in results if isinstance(results, list) else [results]:
        assert all(np.isfinite(n).all() for n in numbers_of(result))
        costs = [result.cost, *result.term_cost.values(), result.hypothesis_cost]
        assert not any(np.isnan(cost).any() for cost in costs)
        assert len(result) == len(result.person_ids) == len(result.warnings) > 0
    return True


def examples(pytestconfig: pytest.Config, share: int) -> settings:
    return settings(
        max_examples=max(pytestconfig.getoption("--inputs") // (SHARE * share), 1),
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "hmrfit")


def test_any_call_of_fit(pytestconfig: pytest.Config) -> None:
    fitted = []

    @examples(pytestconfig, 1)
    @given(calls())
    def each(call: tuple[np.ndarray, dict]) -> None:
        fitted.append(check(hmrfit.fit, None, call[0], **call[1]))

    each()
    assert 0.1 < np.mean(fitted) < 0.9  # both kinds of answer are tried


def test_any_call_of_fit_sequence(pytestconfig: pytest.Config) -> None:
    frames = np.stack([points() + np.array([2.0 * t, 0, 0]) for t in range(3)])
    every = arguments() | {"fps": ANYTHING, "smooth": ANYTHING}
    every["init"] = st.just(hmrfit.BodyParams.cat([good().params] * 3))

    @examples(pytestconfig, 5)
    @given(st.one_of(arrays(frames), st.just(frames), JUNK), st.data())
    def each(keypoints: Any, data: st.DataObject) -> None:
        chosen = data.draw(st.lists(st.sampled_from(sorted(every)), max_size=2, unique=True))
        given = {"keypoint_set": "coco17", "image_size": SIZE, "fps": 30.0}
        given |= drawn(data.draw, every, chosen)
        check(hmrfit.fit_sequence, keypoints, **given)

    each()


def test_any_call_of_fit_views(pytestconfig: pytest.Config) -> None:
    camera = hmrfit.Camera.from_size(*SIZE, focal=400)
    extrinsics = np.stack([np.eye(3, 4)] * 2)
    extrinsics[1, 0, 3] = -0.3
    seen = np.stack([points(), points() - np.array([30, 0, 0])])
    every = {
        "keypoint_set": arguments()["keypoint_set"],
        "cameras": st.one_of(records(camera).map(lambda c: [camera, c]), JUNK, st.lists(JUNK, min_size=2, max_size=2)),
        "image_size": st.one_of(arguments()["image_size"], st.lists(arguments()["image_size"], min_size=2, max_size=2)),
        "images": st.one_of(JUNK, st.lists(JUNK, max_size=3)),
        "keypoints": st.one_of(arrays(seen), JUNK),
        "extrinsics": st.one_of(arrays(extrinsics), JUNK),
        "focal": st.one_of(st.just("free"), ANYTHING),
        "init": st.one_of(st.just(good()), records(good().params), JUNK),
        **{n: v for n, v in arguments().items() if n.split()[0] in ("measurements", "up", "terms", "weights")},
        "measurements mask": st.lists(masks(), max_size=3).map(lambda two: [hmrfit.Mask(two)]),
    }

    @examples(pytestconfig, 5)
    @given(st.data())
    def each(data: st.DataObject) -> None:
        chosen = data.draw(st.lists(st.sampled_from(sorted(every)), max_size=2, unique=True))
        right = {
            "images": [None] * 2,
            "keypoints": seen,
            "extrinsics": extrinsics,
            "keypoint_set": "coco17",
            "cameras": [camera] * 2,
            "image_size": SIZE,
        }
        check(hmrfit.fit_views, **(right | drawn(data.draw, every, chosen)))

    each()
