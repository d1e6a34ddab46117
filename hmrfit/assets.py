"""Where the parameters are: bodies, priors, weights, by name or path.

    locate("free_body")   looks in    $HMRFIT_HOME (else ~/.hmrfit), hmrfit/_priors (a wheel), ../priors (a checkout)

What hmrfit ships is found there; what others license (SMPL, SMPL-X, MANO) is found where its file lies in the first
folder, or is given by path. Nothing is ever downloaded.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hmrfit.io.atomic import atomic_write
from hmrfit.io.bounded import read_json
from hmrfit.ops.check import did_you_mean

SUFFIXES = (".npz", ".pkl", ".pt", ".json", ".yaml")
CHECKSUMS = "checksums.json"
"""In a folder of parameters: {"free_body.npz": sha256, ...}, written by the scripts that make them."""

PACKAGE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class External:
    """A file that others distribute under their own terms."""

    what: str
    page: str
    files: tuple[str, ...]  # the file names that they use


_SMPL, _SMPLIFY, _SMPLX, _MANO = (f"https://{site}.is.tue.mpg.de" for site in ("smpl", "smplify", "smpl-x", "mano"))


def _smpl_names(word: str, short: str) -> tuple[str, ...]:
    return f"SMPL_{word}", f"basicModel_{short}_lbs_10_207_0_v1.0.0", f"basicmodel_{short}_lbs_10_207_0_v1.1.0"


EXTERNAL = {
    "smpl_neutral": External("SMPL, neutral", _SMPLIFY, _smpl_names("NEUTRAL", "neutral")),
    "smpl_male": External("SMPL, male", _SMPL, _smpl_names("MALE", "m")),
    "smpl_female": External("SMPL, female", _SMPL, _smpl_names("FEMALE", "f")),
    "smplh_male": External("SMPL+H, male", _MANO, ("SMPLH_MALE", "SMPLH_male")),
    "smplh_female": External("SMPL+H, female", _MANO, ("SMPLH_FEMALE", "SMPLH_female")),
    "smplx_neutral": External("SMPL-X, neutral", _SMPLX, ("SMPLX_NEUTRAL",)),
    "smplx_male": External("SMPL-X, male", _SMPLX, ("SMPLX_MALE",)),
    "smplx_female": External("SMPL-X, female", _SMPLX, ("SMPLX_FEMALE",)),
    "mano_right": External("MANO, right hand", _MANO, ("MANO_RIGHT",)),
    "mano_left": External("MANO, left hand", _MANO, ("MANO_LEFT",)),
}
"""Known files of others, under their own terms: most allow research only."""


class DamagedAsset(ValueError):
    """A shipped file whose bytes are not the ones its checksum promises."""


def home() -> Path:
    """The user's own folder of parameters: $HMRFIT_HOME, else ~/.hmrfit. It need not exist."""
    return Path(os.environ.get("HMRFIT_HOME") or "~/.hmrfit").expanduser()


def shipped(kind: str = "priors") -> Path:
    """The folder of what hmrfit ships, "priors" or "configs": in an installed wheel, else in the checkout."""
    inside = PACKAGE / f"_{kind}"
    return inside if inside.is_dir() else PACKAGE.parent / kind


def folders() -> list[Path]:
    """Where names are looked for, in this order."""
    return [home(), shipped("priors")]


def names() -> list[str]:
    """Every name that `locate` knows: what is there, and the files of others."""
    found = {file.stem for folder in folders() if folder.is_dir() for file in folder.iterdir() if _is_asset(file)}
    return sorted(found | set(EXTERNAL))


def locate(name: str, path: str | Path | None = None) -> Path:
    """The file of a body, prior or weights.

    Args:
        name: such as "free_body", "smpl_neutral", or a file name; a path to an existing file is taken as it is.
        path: a file, or a folder that is looked in before the others.
    Raises:
        FileNotFoundError: says where it was looked for and how to get it.
        DamagedAsset: found, but its checksum is another one than recorded beside it.
    """
    if path is not None and not Path(path).expanduser().is_dir():
        return _given(name, Path(path).expanduser())
    if os.sep in name or (Path(name).suffix in SUFFIXES and Path(name).is_file()):
        return _given(name, Path(name).expanduser())
    searched = [*([] if path is None else [Path(path).expanduser()]), *folders()]
    for candidate in _candidates(name, searched):
        if candidate.is_file():
            return _verified(candidate)
    raise FileNotFoundError(_describe_missing(name, searched))


def _given(name: str, path: Path) -> Path:
    """A path the user wrote: it is there, or that is the error."""
    if path.is_file():
        return _verified(path)
    raise FileNotFoundError(f"There is no file '{path}' ({name}). hmrfit knows by name: {', '.join(names())}.")


def _is_asset(file: Path) -> bool:
    return file.suffix in SUFFIXES and file.name != CHECKSUMS


def _candidates(name: str, searched: list[Path]) -> Iterator[Path]:
    """Every file that could be meant, the first folder first."""
    stems = (name, *(EXTERNAL[name].files if name in EXTERNAL else ()))
    for folder in searched:
        for stem in stems:
            yield from (folder / f"{stem}{suffix}" for suffix in ("", *SUFFIXES))


def _verified(file: Path) -> Path:
    """The file itself, after comparing it with the checksum beside it, where there is one."""
    table = file.parent / CHECKSUMS
    if not table.is_file():
        return file
    expected = _checksums(table).get(file.name)
    if expected is not None and checksum(file) != expected:
        raise DamagedAsset(
            f"'{file}' is not the file that was shipped (its sha256 is not {table.name}'s). Reinstall hmrfit, or check "
            f"the file out again; if you built it anew, its line in {table.name} should say {checksum(file)}."
        )
    return file


def _checksums(table: Path) -> dict[str, str]:
    found = read_json(table)
    if not isinstance(found, dict):
        raise ValueError(f"'{table}' should hold file names and their checksums. Delete it, or install hmrfit again.")
    return found


def record_checksum(file: str | Path) -> None:
    """Writes the file's line in the table beside it; scripts that make parameters end with this."""
    table = Path(file).parent / CHECKSUMS
    lines = _checksums(table) if table.is_file() else {}
    lines[Path(file).name] = checksum(file)
    with atomic_write(table) as temporary:
        temporary.write_text(json.dumps(lines, indent=1, sort_keys=True) + "\n")


def checksum(file: str | Path) -> str:
    """sha256 of a file, in hexadecimal."""
    with open(file, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _describe_missing(name: str, searched: list[Path]) -> str:
    """The error message: where it was looked for, and how to get it."""
    looked = f"looked in {', '.join(map(str, searched))}"
    if name in EXTERNAL:
        other = EXTERNAL[name]
        return (
            f"There is no {name} ({other.what}); {looked}. Its owners hand it out at {other.page} after registration, "
            f"under their own terms: put {other.files[0]}.pkl or .npz into {home()}, or give its path. "
            "The free body (free_body) needs none of this."
        )
    return f"There is nothing named '{name}'; {looked}.{did_you_mean(name, names())} Known: {', '.join(names())}."
