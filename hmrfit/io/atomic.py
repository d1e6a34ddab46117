"""Writing files so that a reader finds the old file or the whole new one, never a half: write beside, then rename.

A process that is killed on the way leaves its temporary file. The name says which process it belongs to,

    .hmrfit-MACHINE-PROCESS-RANDOM.suffix

so that `sweep` removes those of processes that are gone, and no other file.
"""

import errno
import hashlib
import os
import platform
import re
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import ArrayLike, NDArray

ADVICE = {
    errno.ENOSPC: "The disk is full. Free some space, or write to another disk; what stood there before is untouched.",
    errno.EDQUOT: "Your quota on this disk is used up. Free some space, or write to another disk.",
    errno.EACCES: "You may not write there. Choose another folder, or change its permissions.",
    errno.EPERM: "You may not write there. Choose another folder, or change its permissions.",
    errno.EROFS: "That disk is read-only. Choose another folder.",
    errno.ENOTDIR: "A part of that path is a file, not a folder. Choose another path.",
    errno.EEXIST: "A part of that path is a file, not a folder. Choose another path.",
    errno.EISDIR: "That is a folder. Give the name of a file in it.",
    errno.ENAMETOOLONG: "The name is too long for this disk. Choose a shorter one.",
}
"""What to do next, by the system's error number."""


_OPEN: set[Path] = set()
"""Temporary files of blocks that are being run."""


@contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a temporary path beside `path`, with its suffix; on leaving, it becomes `path`; on any error it is gone.

        with atomic_write("out/result.npz") as temporary:
            np.savez(temporary, ...)

    Missing folders are made. The temporary file is on the disk before it takes the name. A path that is itself the
    temporary one of a block around this one is written as it is: that block does the rest.

    Raises:
        OSError: (of the system's own subclass) the folder cannot be written, or the disk is full; `path` is as it was.
    """
    path = Path(path)
    if path in _OPEN:
        yield path
        return
    temporary = None
    try:
        temporary = _temporary_beside(path)
        _OPEN.add(temporary)
        yield temporary
        _flush(temporary)
        os.replace(temporary, path)
    except OSError as error:
        raise _described(error, path) from error
    finally:
        if temporary is not None:
            _OPEN.discard(temporary)
            with suppress(OSError):
                temporary.unlink()


SMALL = 1024
"""Bytes below which compressing an array takes longer than writing it."""

WHOLE = 1 << 24
"""Bytes up to which an array, and a file of several, is put together in memory before it is written: twice as quick and
more, many of a result are so small."""


def write_npz(
    path: str | os.PathLike[str], arrays: Mapping[str, ArrayLike], compress: bool = True, stored: Sequence[str] = ()
) -> None:
    """Arrays by name as an npz, whole or not at all, in their order. The same arrays give the same bytes.

    Args:
        stored: names of arrays that are left as they are, since their digits are as good as random.
    Raises:
        ValueError: one of them is made of Python objects. OSError: see `atomic_write`.
    """
    given = {f"{name}.npy": np.asanyarray(values) for name, values in arrays.items()}
    smaller = {name: compress and a.nbytes > SMALL and name[:-4] not in stored for name, a in given.items()}
    with atomic_write(path) as temporary:
        if sum(array.nbytes for array in given.values()) <= WHOLE:
            _write_members(whole := BytesIO(), given, smaller)
            temporary.write_bytes(whole.getbuffer())
        else:
            _write_members(temporary, given, smaller)


def _write_members(target: Path | BytesIO, given: Mapping[str, NDArray[Any]], smaller: Mapping[str, bool]) -> None:
    """The archive, the arrays in order. smaller: which are compressed."""
    with zipfile.ZipFile(target, "w") as archive:
        for name, array in given.items():
            entry = zipfile.ZipInfo(name)
            entry.compress_type = zipfile.ZIP_DEFLATED if smaller[name] else zipfile.ZIP_STORED
            if array.nbytes <= WHOLE:
                archive.writestr(entry, _npy(array))
            else:
                with archive.open(entry, "w", force_zip64=True) as file:
                    npy.write_array(file, array, allow_pickle=False)


def _npy(array: NDArray[Any]) -> memoryview:
    """The array as an npy file has it."""
    npy.write_array(content := BytesIO(), array, allow_pickle=False)
    return content.getbuffer()


def _temporary_beside(path: Path) -> Path:
    """An empty file in the same folder, with the permissions a newly made file would have."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    prefix = f".hmrfit-{_machine()}-{os.getpid()}-"
    handle, name = tempfile.mkstemp(prefix=prefix, suffix=path.suffix, dir=path.parent)
    os.close(handle)
    os.umask(mask := os.umask(0))
    os.chmod(name, 0o666 & ~mask)
    return Path(name)


TEMPORARY = re.compile(r"\.hmrfit-([0-9a-f]{8})-([0-9]+)-[a-z0-9_]{8}(\.[^.]*)?")
STALE = 24 * 3600.0
"""Seconds after which a temporary file counts as left over where its process may run on another machine."""


def sweep(folder: str | os.PathLike[str]) -> int:
    """Removes the temporary files that killed processes left in a folder; those of running ones stay.

    Returns: how many.
    """
    removed = 0
    with suppress(OSError), os.scandir(os.fspath(folder)) as entries:
        for entry in entries:
            name = TEMPORARY.fullmatch(entry.name)
            with suppress(OSError):
                if name and entry.is_file(follow_symlinks=False) and _is_stale(entry, name[1], int(name[2])):
                    os.unlink(entry.path)
                    removed += 1
    return removed


def _is_stale(entry: os.DirEntry[str], machine: str, process: int) -> bool:
    if machine == _machine() and os.name == "posix":
        try:
            os.kill(process, 0)  # asks, and does nothing
        except (ProcessLookupError, OverflowError):
            return True
        except OSError:
            pass  # it runs, under another user
    return time.time() - entry.stat(follow_symlinks=False).st_mtime > STALE


@cache
def _machine() -> str:
    """Eight digits that two processes share if each can ask whether the other runs: same machine, start, container."""
    parts = [platform.node()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text())
    with suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]


def check_writable(folder: str | os.PathLike) -> None:
    """Makes a temporary file in the folder and removes it. Errors: as `atomic_write`."""
    path = Path(folder) / "a file"
    try:
        _temporary_beside(path).unlink()
    except OSError as error:
        raise _described(error, path) from error


def _flush(path: Path) -> None:
    """Onto the disk: some file systems say only now that they are full."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def _described(error: OSError, path: Path) -> OSError:
    """The same class and number, saying which file was meant and what to do. Errors about other files stay."""
    advice = ADVICE.get(error.errno or 0)
    about = None if error.filename is None else Path(error.filename)
    ours = about is None or about == path or about in path.parents or about.parent == path.parent
    if error.errno is None or advice is None or not ours:
        return error
    return type(error)(error.errno, f"Could not write '{path}': {os.strerror(error.errno)}. {advice}")
