"""A cluster on this machine, which is asked for again where Ray gave up waiting for its own processes."""

from types import SimpleNamespace

import pytest

from hmrfit.engines.ray_data import begin_cluster


def package_failing(times: int, words: str) -> tuple[SimpleNamespace, list[str]]:
    """What `begin_cluster` asks of Ray, whose `init` raises so many times."""
    calls: list[str] = []

    def init(**how: object) -> None:
        calls.append("init")
        if calls.count("init") <= times:
            raise Exception(words)

    return SimpleNamespace(init=init, shutdown=lambda: calls.append("shutdown")), calls


def test_a_machine_that_is_busy_is_asked_again() -> None:
    package, calls = package_failing(2, "The current node timed out during startup. This could happen because ...")
    begin_cluster(package)
    assert calls == ["init", "shutdown", "init", "shutdown", "init"]


@pytest.mark.parametrize(("times", "words"), [(1, "no such port"), (9, "timed out during startup")])
def test_other_errors_and_the_last_one_are_raised(times: int, words: str) -> None:
    package, calls = package_failing(times, words)
    with pytest.raises(Exception, match=words):
        begin_cluster(package, tries=3)
    assert calls.count("init") == min(times, 3)
