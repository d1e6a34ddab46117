"""What every test may rely on: fixed seeds, one thread, hypothesis without chance or clock, the shared material."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.process_state import left_behind, process_state
from hypothesis import HealthCheck, settings

settings.register_profile("ci", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ci")
# the tests are small: one thread does them faster than two that wait for each other on a busy machine
torch.set_num_threads(1)
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # scipy's, which nothing has loaded yet

SHARED = Path(__file__).resolve().parents[2] / "shared"


SLOW_TO_GET = ("npm", "browser", "ray", "blender", "packages")
"""Marks of tests whose tools a plain machine lacks: `make test-all` runs them, and says what is missing."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """--inputs N: how many people test_any_input makes up. --all: what SLOW_TO_GET names runs too."""
    parser.addoption("--inputs", type=int, default=500, help="people that test_any_input makes up (500)")
    parser.addoption("--all", action="store_true", help=f"also run what is marked {', '.join(SLOW_TO_GET)}")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """The same numbers for a test, whichever tests ran before it."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _leaves_the_process_as_it_was() -> Iterator[None]:
    """No test depends on those before it."""
    before = process_state()
    yield
    changed = [left_behind(what, before[what], now) for what, now in process_state().items() if now != before[what]]
    assert not changed, f"left behind: {'; '.join(changed)}"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference pages, real motion and photographs beside the repository."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not here: it holds the real motion and photographs, which are not part of hmrfit")
    return SHARED


@pytest.fixture
def rng() -> np.random.Generator:
    """numpy's generator, freshly seeded."""
    return np.random.default_rng(0)


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails the test when the solver or a network is asked."""

    def begun(*_: object, **__: object) -> None:
        pytest.fail("the fit began")

    monkeypatch.setattr("hmrfit.fitting.fitter.Fitter.fit", begun)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests marked `gpu` are skipped without one, those of SLOW_TO_GET without --all."""
    for item in items:
        if not config.getoption("all"):
            for mark in filter(item.get_closest_marker, SLOW_TO_GET):
                item.add_marker(pytest.mark.skip(reason=f"marked {mark}: run by make test-all"))
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
