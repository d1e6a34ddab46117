"""The limits: what holds by default, how they are raised, and that an error message says so."""

import math
import threading

import pytest

import hmrfit
from hmrfit.io import budget
from hmrfit.io.budget import FileLimits, Meter, TooLarge, brief, check_bytes, check_pixels, file_limits, limits


def test_two_gigabytes_and_64_megapixels_by_default() -> None:
    assert limits() == FileLimits(2.0, 64.0) and limits().bytes < 2e9
    check_bytes(limits().bytes, "a file")
    with pytest.raises(TooLarge, match="a file would take"):
        check_bytes(limits().bytes + 1, "a file")
    check_pixels(8000, 8000, "an image")
    with pytest.raises(TooLarge, match="an image says that it has 8001 × 8000 pixels"):
        check_pixels(8001, 8000, "an image")


def test_what_the_message_advises_is_enough() -> None:
    with pytest.raises(TooLarge) as error:
        check_bytes(10**10, "It")
    number = int(str(error.value).partition("gigabytes=")[2].partition(")")[0])
    assert f"HMRFIT_GIGABYTES={number}" in str(error.value)
    with file_limits(gigabytes=number):
        check_bytes(10**10, "It")
    with pytest.raises(TooLarge) as error:
        check_pixels(20_000, 10_000, "It")
    with file_limits(megapixels=int(str(error.value).partition("megapixels=")[2].partition(")")[0])):
        check_pixels(20_000, 10_000, "It")


def test_limits_hold_in_their_block_and_their_thread() -> None:
    seen = []
    with hmrfit.file_limits(gigabytes=8) as outer:
        with file_limits(megapixels=200) as inner:
            assert inner == limits() == FileLimits(8, 200)
        assert outer == limits() == FileLimits(8, 64)
        other = threading.Thread(target=lambda: seen.append(limits()))
        other.start()
        other.join()
    assert seen == [FileLimits()] and limits() == FileLimits()


def test_the_environment_sets_them_for_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HMRFIT_GIGABYTES", "0.5")
    monkeypatch.setenv("HMRFIT_MEGAPIXELS", "7")
    assert limits() == FileLimits(0.5, 7)
    with file_limits(gigabytes=1):
        assert limits() == FileLimits(1, 7)
    monkeypatch.setenv("HMRFIT_MEGAPIXELS", "many")
    with pytest.raises(ValueError, match="HMRFIT_MEGAPIXELS should be a number above 0, but is 'many'"):
        limits()


@pytest.mark.parametrize("value", [0, -1, math.nan, "much"])
def test_limits_are_numbers_above_zero(value: object) -> None:
    with pytest.raises(ValueError, match="gigabytes should be a number above 0"), file_limits(gigabytes=value):
        pass
    with pytest.raises(TypeError, match="megapixels"), file_limits(megapixels=[1]):
        pass


def test_no_limit_and_no_number_is_too_large_to_refuse() -> None:
    with file_limits(gigabytes=math.inf, megapixels=math.inf):
        check_bytes(10**15, "It")
        check_pixels(10**6, 10**6, "It")
    for count in (10**400, 2**64):
        with pytest.raises(TooLarge):
            check_bytes(count, "It")
        with pytest.raises(TooLarge):
            check_pixels(count, count, "It")


def test_a_meter_adds_up() -> None:
    with file_limits(gigabytes=1e-6):
        meter = Meter("It")
        meter.add(300)
        meter.add(150)
        with pytest.raises(TooLarge):
            meter.add(150)
        meter.free(250)
        meter.add(150)


def test_texts_of_hostile_files_are_cut() -> None:
    assert brief("x" * 10**6) == "x" * 80 + "…"
    assert brief("a\nb") == "a b"
    assert budget.brief("short") == "short"
