"""Any motion file -> Motion, by what is in it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict, Unpack

from hmrfit.io.bounded import decode, read_bytes
from hmrfit.io.budget import TooLarge
from hmrfit.motion.amass import motion_from_amass
from hmrfit.motion.bvh import motion_from_bvh
from hmrfit.motion.cmu import motion_from_expmap
from hmrfit.motion.deepmimic import motion_from_deepmimic
from hmrfit.motion.glb import motions_from_glb
from hmrfit.motion.motion import Motion
from hmrfit.ops.how_many import how_many

SUFFIXES = (".npz", ".bvh", ".glb", ".txt", ".json")


class ReadOptions(TypedDict, total=False):
    """What a format's reader can be asked for. None stands for its default."""

    skip: int | None
    """Of BVH and exponential-map text: the leading frames that are no motion."""
    fps: float | None
    """Of the same and of AMASS npz: frames a second where the file does not say it, or says it wrong."""
    clips: Sequence[str] | None
    """Of a GLB: the names of the clips to read, instead of all."""


def motions_from_bytes(
    data: bytes, name: str = "", dialect: str | None = None, **options: Unpack[ReadOptions]
) -> list[Motion]:
    """The motions in a file's bytes (a GLB holds many, all others one). See `read_motions`."""
    skip, fps, clips = options.get("skip"), options.get("fps"), options.get("clips")
    given = {name for name, value in options.items() if value is not None}
    if data[:4] == b"glTF":
        _check_options("GLB", given, "clips")
        return motions_from_glb(data, clips)
    if data[:2] == b"PK":
        _check_options("AMASS npz", given, "fps")
        return [motion_from_amass(data, name, fps)]
    text = _text(data)
    start = text[:1000].lstrip()
    if start.startswith("HIERARCHY"):
        _check_options("BVH", given, "skip", "fps")
        return [motion_from_bvh(text, name, skip, fps)]
    if start.startswith("{"):
        _check_options("DeepMimic text", given)
        return [motion_from_deepmimic(text, name, cmu_jump=dialect == "cmu_jump")]
    if start[:1] in tuple("-+.0123456789") and "," in start:
        _check_options("Exponential-map text", given, "skip", "fps")
        return [motion_from_expmap(text, name, skip, fps)]
    raise ValueError(
        f"{how_many(len(data), 'bytes that are', 'byte that is')} no known motion: expected AMASS npz, BVH, "
        "exponential-map text, "
        "DeepMimic JSON"
        " or GLB. An empty or truncated file?"
    )


def _text(data: bytes) -> str:
    """Empty where it is no text in UTF-8 or Latin-1."""
    try:
        return decode(data, "its text", latin=True)
    except TooLarge:
        raise
    except ValueError:
        return ""


def _check_options(format_name: str, given: set[str], *known: str) -> None:
    """That a format's reader takes all options that are given."""
    if unknown := sorted(given - set(known)):
        taken = f"takes {' and '.join(known)}" if known else "takes no options"
        raise ValueError(f"{format_name} {taken}, not {unknown[0]}=.")


def read_motions(path: str | Path, dialect: str | None = None, **options: Unpack[ReadOptions]) -> list[Motion]:
    """All motions of a file, recognised by its contents.

    Args:
        dialect: "cmu_jump" for CMU trials in DeepMimic's form, which need repairs and look the same.
        options: `skip`, `fps` or `clips`, see `ReadOptions`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: unknown format, damaged, truncated, hostile, or an option that its format does not take; says which
            file and what is wrong.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no motion file {path}.")
    try:
        return motions_from_bytes(read_bytes(path), path.stem, dialect, **options)
    except TooLarge as error:
        raise TooLarge(f"{path}: {error}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def read_motion(path: str | Path, dialect: str | None = None, **options: Unpack[ReadOptions]) -> Motion:
    """The one motion of a file; of a GLB with several clips, name one: `clips=["Walk_Loop"]`. See `read_motions`."""
    motions = read_motions(path, dialect, **options)
    if len(motions) != 1:
        raise ValueError(
            f"{path} holds {how_many(len(motions), 'clips')}; choose with clips=[name] or call read_motions. Clips: "
            + ", ".join(m.name for m in motions)
        )
    return motions[0]
