"""Archives are those of `zipfile`, byte for byte."""

import io
import zipfile

import numpy as np
import pytest

from hmrfit.io.zip_bytes import Member, zip_bytes


def by_zipfile(members: list[Member]) -> bytes:
    with zipfile.ZipFile(whole := io.BytesIO(), "w") as archive:
        for name, content, smaller in members:
            entry = zipfile.ZipInfo(name)
            entry.compress_type = zipfile.ZIP_DEFLATED if smaller else zipfile.ZIP_STORED
            archive.writestr(entry, content)
    return whole.getvalue()


@pytest.mark.parametrize("count", [0, 1, 50])
def test_the_bytes_are_zipfiles(count: int, rng: np.random.Generator) -> None:
    sizes = rng.integers(0, 5_000, count)
    every = [rng.integers(0, 9, size, np.uint8).tobytes() for size in [*sizes, 0, 300_000][: count + 2 * (count > 1)]]
    members = [Member(f"member {i}.npy", memoryview(content), bool(i % 2)) for i, content in enumerate(every)]
    assert b"".join(zip_bytes(members)) == by_zipfile(members)


def test_they_are_read_again() -> None:
    found = b"".join(zip_bytes([Member("a.txt", b"one" * 99, True), Member("b.txt", b"", False)]))
    with zipfile.ZipFile(io.BytesIO(found)) as archive:
        assert archive.testzip() is None and archive.read("a.txt") == b"one" * 99 and archive.read("b.txt") == b""
