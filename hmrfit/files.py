"""Writing files so that a reader finds the old file or the whole new one, never a half: write beside, then rename."""

import errno
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LETTERS = {
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


@contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a temporary path beside `path`, with its suffix; on leaving, it becomes `path`; on any error it is gone.

        with atomic_write("out/result.npz") as temporary:
            np.savez(temporary, ...)

    Missing folders are made. The temporary file is on the disk before it takes the name.

    Raises:
        OSError: (of the system's own subclass) the folder cannot be written, or the disk is full; `path` is as it was.
    """
    path = Path(path)
    temporary = None
    try:
        temporary = _temporary_beside(path)
        yield temporary
        _flush(temporary)
        os.replace(temporary, path)
    except OSError as error:
        raise _letter(error, path) from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink()


def _temporary_beside(path: Path) -> Path:
    """An empty file in the same folder, with the permissions a newly made file would have."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    handle, name = tempfile.mkstemp(prefix=f".{path.stem[:100]}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    os.umask(mask := os.umask(0))
    os.chmod(name, 0o666 & ~mask)
    return Path(name)


def _flush(path: Path) -> None:
    """Onto the disk: some file systems say only now that they are full."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def _letter(error: OSError, path: Path) -> OSError:
    """The same class and number, saying which file was meant and what to do. Errors about other files stay."""
    advice = LETTERS.get(error.errno)
    about = None if error.filename is None else Path(error.filename)
    ours = about is None or about == path or about in path.parents or about.parent == path.parent
    if advice is None or not ours:
        return error
    return type(error)(error.errno, f"Could not write '{path}': {os.strerror(error.errno)}. {advice}")


def refuse_url(path: str | os.PathLike, expected: str) -> None:
    """That a path is none of the web. `Path` has made one slash of two.

    Raises:
        ValueError: says what to do.
    """
    if found := re.match(r"([A-Za-z][A-Za-z0-9+.-]+):/", str(path)):
        address = str(path) if "://" in str(path) else str(path).replace(":/", "://", 1)
        raise ValueError(
            f"'{address}' is a URL ({found[1]}), and hmrfit reads files of this computer only. Download it first, and "
            f"give the path of {expected}."
        )
