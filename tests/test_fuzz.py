"""A slice of benchmarks/fuzz.py, in this process: every kind of file, its bombs, and random calls."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

from fuzzing import bombs, calls, files
from fuzzing.run import Outcome, attempt, is_refusal

from hmrfit.io.budget import TooLarge, file_limits

MEMORY = 0.5
"""GB beyond what is there before."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("fuzz")
    calls.saved_result(made / "first.npz")
    files.prepare(made)
    return made


def needs(kind: str) -> None:
    for suffix, package in ((".mat", "scipy"), (".h5", "h5py"), (".cdf", "cdflib")):
        if kind.endswith(suffix):
            pytest.importorskip(package)


@pytest.mark.parametrize("kind", files.KINDS)
def test_files_that_are_in_order_are_read(kind: str, folder: Path) -> None:
    needs(kind)
    path = folder / f"valid{files.KINDS[kind][0]}"
    path.write_bytes(files.valid(kind))
    found = calls.numbers(files.read(kind, path))
    assert all(np.isfinite(value).all() for value in found.values() if value.dtype.kind == "f")


@pytest.mark.parametrize("kind", files.KINDS)
def test_damaged_files_are_refused_or_read(kind: str, folder: Path) -> None:
    """Seeds of their own, and a limit that leaves no room for what a bomb needs."""
    needs(kind)
    path = folder / f"damaged{files.KINDS[kind][0]}"
    for seed in range(8):
        rng = np.random.default_rng(seed)
        whole = files.valid(kind)
        edited = kind.endswith("npz") and seed % 2
        path.write_bytes(bombs.edited_npz(whole, rng) if edited else files.damaged(whole, rng))
        try:
            with file_limits(gigabytes=0.2, megapixels=1):
                files.read(kind, path)
        except Exception as error:
            assert is_refusal(error), f"seed {seed}: {error!r}"


SMALL = {
    "body.pkl": (4, 5, 6, 8, 10, 11),
    "keypoints.npz": (2, 6, 7),
    "keypoints.npy": range(9),
    "coco.json": (0, 3, 4, 5, 6, 8, 9),
    "motion.json": (0, 7),
    "keypoints.csv": (0, 2, 3, 6, 7),
    "settings.yaml": range(10),
    "motion.glb": (0, 1, 2, 3, 4, 5, 9, 10),
    "motion.bvh": (0, 1, 2, 4, 5),
    "motion.txt": (1,),
    "network.npz": range(12),
    "network.pt": (0, 1, 2, 3, 4, 6, 7),
    "joints.mat": (0, 2, 3),
    "joints.h5": (0, 1, 2),
    "image.png": (0, 1, 3),
    "image.jpg": (0, 1, 2),
    "image.gif": (0,),
    "image.bmp": (0,),
    "image.webp": (0,),
    "image.tif": (0,),
    "image.ppm": (0, 1),
    "image.hdr": (0,),
}
"""By kind, the bombs that are made in no time."""


@pytest.mark.parametrize(("kind", "number"), [(kind, n) for kind, chosen in SMALL.items() for n in chosen])
def test_bombs_are_refused(kind: str, number: int, folder: Path) -> None:
    """By the default limits; those that are read after all are small and hold no NaN."""
    needs(kind)
    path = folder / f"bomb{files.KINDS[kind][0]}"
    path.write_bytes(bombs.of(kind, files.KINDS[kind][0])[number](np.random.default_rng(0)))
    try:
        found = calls.numbers(files.read(kind, path))
    except Exception as error:
        assert is_refusal(error), repr(error)
    else:
        assert not any(np.isnan(value).any() for value in found.values() if value.dtype.kind == "f")


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        ("body.pkl", 0),
        ("body.pkl", 1),
        ("body.pkl", 2),
        ("motion.glb", 0),
        ("network.npz", 0),
        ("network.npz", 1),
        ("network.pt", 0),
        ("joints.h5", 0),
        ("image.png", 1),
    ],
)
def test_what_would_take_gigabytes_is_refused_before_it_does(
    kind: str, number: int, folder: Path, measured: Callable[[Callable[[], object]], float]
) -> None:
    needs(kind)
    path = folder / f"large{files.KINDS[kind][0]}"
    path.write_bytes(bombs.of(kind, files.KINDS[kind][0])[number](np.random.default_rng(0)))

    def read() -> None:
        with file_limits(gigabytes=0.3), pytest.raises(ValueError) as error:
            files.read(kind, path)
        assert is_refusal(error.value)

    assert measured(read) < MEMORY


@pytest.fixture
def measured() -> Callable[[Callable[[], object]], float]:
    """How many GB more a function takes at its height than before; nothing where the system does not say."""
    from fuzzing.run import forget_peak, peak

    def measure(function: Callable[[], object]) -> float:
        forget_peak()
        before = peak()
        function()
        return peak() - before

    return measure


def failures(names: list[str], folder: Path) -> list[Outcome]:
    return [o for o in (attempt(name, 0, folder) for name in names) if o.result in ("foreign", "nan")]


@pytest.mark.parametrize("what", ["FitResult.load", "read_keypoints"])
def test_readers_with_random_numbers_in_their_files(what: str, folder: Path) -> None:
    for seed in range(25):
        rng = np.random.default_rng(seed)
        try:
            found = calls.numbers(calls.call(what, rng, folder))
        except Exception as error:
            assert is_refusal(error), f"seed {seed}: {error!r}"
        else:
            assert not [k for k, v in found.items() if v.dtype.kind in "fc" and np.isnan(v).any()], f"seed {seed}"


def test_random_calls(folder: Path) -> None:
    found = failures([f"call:{i}" for i in range(150)], folder)
    assert not found, "\n".join(map(str, found))


def test_a_refusal_is_an_error_that_is_documented() -> None:
    assert is_refusal(ValueError("x")) and is_refusal(FileNotFoundError("x")) and is_refusal(TooLarge("x"))
    for error in (np.linalg.LinAlgError("x"), UnicodeError("x"), KeyError("x"), OverflowError("x"), MemoryError()):
        assert not is_refusal(error)
