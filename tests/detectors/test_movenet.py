"""MoveNet with its real weights, fetched by npm: its people are those of the labels, left and right too."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import hmrfit
from hmrfit.cli import main
from hmrfit.keypoints import find_part, flip_permutation

pytestmark = [pytest.mark.npm, pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")]

JOINTS = [f"{side}_{part}" for side in ("left", "right") for part in ("shoulder", "hip", "knee", "wrist")]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    before = os.environ.get("HMRFIT_HOME")
    os.environ["HMRFIT_HOME"] = str(tmp_path_factory.mktemp("home"))
    assert main(["detector", "install", "movenet"]) == 0
    yield
    os.environ.pop("HMRFIT_HOME")
    if before is not None:
        os.environ["HMRFIT_HOME"] = before


def test_it_finds_who_was_labelled(installed: None, shared: Path) -> None:
    name = "p2s_balance_f000_cam4"  # seen from behind
    (labelled,) = hmrfit.read_keypoints(shared / f"photos/{name}.json")
    image = hmrfit.read_image(shared / f"photos/images/{name}.jpg")
    person = hmrfit.detect(image, "movenet")[0]
    ours, theirs = ([find_part(p.names, joint) for joint in JOINTS] for p in (person, labelled))
    box = np.ptp(labelled.xy[labelled.confidence > 0], axis=0).max()
    assert (np.linalg.norm(person.xy[ours] - labelled.xy[theirs], axis=1) < 0.05 * box).all()
    (mirrored,) = hmrfit.detect(image[:, ::-1], "movenet", max_people=1)
    back = mirrored.xy[flip_permutation(person.names)] * (-1, 1) + (image.shape[1], 0)
    assert np.median(np.linalg.norm(person.xy - back, axis=1)) < 0.03 * box


def test_nobody_is_found_in_noise(installed: None, rng: np.random.Generator) -> None:
    assert hmrfit.detect(rng.integers(0, 256, (300, 400, 3), np.uint8), "movenet") == []
    assert hmrfit.detect(np.zeros((3, 5, 3), np.uint8), "movenet") == []
