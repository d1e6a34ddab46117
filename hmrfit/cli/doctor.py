"""hmrfit doctor: what this installation has, what it lacks, and the one command that brings each.

    hmrfit doctor                  a line for each: found, or missing and how to get it
    hmrfit doctor --json           the same as JSON

Nothing is downloaded, changed, or trained; bodies and weights are only looked for. What a plain installation needs ends
in exit code 1 where it is missing; extras never do.
"""

import json
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from hmrfit.assets import EXTERNAL, home, locate
from hmrfit.detectors import plugins
from hmrfit.ops.how_many import how_many
from hmrfit.ops.threads import cores
from hmrfit.version import __version__

BASE = ("torch", "numpy", "scipy", "opencv-python", "tqdm", "yacs", "trimesh")
"""Packages that hmrfit does not run without."""

SHIPPED = (
    "free_body",
    "keypoint_hmr",
    "error_model",
    "mixture_hmr",
    "label_model",
    "pose_gmm",
    "joint_limits",
    "discriminators",
)
"""Parameter files that a fit uses."""

EXTRAS = {
    "av": ("video", "exact times of a video's frames, overlays that browsers play"),
    "pyarrow": ("parquet", "results and keypoints as Parquet"),
    "ray": ("ray", "many machines: --engine ray"),
    "pillow_heif": ("heic", "photographs as iPhones write them"),
    "shtab": ("completion", "completion of the command line in a shell"),
    "viser": ("viewer", "hmrfit.view: a body live in the browser"),
    "tensorboard": ("train", "curves of a training run in TensorBoard"),
    "cdflib": ("datasets", "Human3.6M's poses"),
    "h5py": ("datasets", "MPI-INF-3DHP's annotations"),
    "smplx": ("smplx", "posing through the smplx package (non-commercial)"),
    "anny": ("body", "building the free body again"),
}
"""Module -> (extra, what it is for)."""


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    section: str
    name: str
    found: str = ""  # its version or place; empty where it is missing
    needed: bool = False  # by a plain installation
    get: str = ""  # the one command, or sentence, that brings it
    use: str = ""  # what it is for


def doctor_command(as_json: bool = False) -> int:
    """Prints the report. Returns 1 where something is missing that a plain installation needs, else 0."""
    findings = list(examined())
    if as_json:
        print(json.dumps({"hmrfit": __version__, "findings": [asdict(finding) for finding in findings]}, indent=1))
    else:
        print("\n".join(report(findings)))
    return int(any(finding.needed and not finding.found for finding in findings))


def examined() -> Iterator[Finding]:
    """Everything that is looked at, in the order of the report."""
    yield Finding("versions", "hmrfit", __version__, needed=True)
    yield Finding("versions", "Python", f"{platform.python_version()} ({sys.executable})", needed=True)
    for name in BASE:
        broken = _opencv_error() if name == "opencv-python" and _version(name) else ""
        found = "" if broken else _version(name)
        yield Finding("versions", name, found, True, broken or "pip install --force-reinstall hmrfit")
    yield from _devices()
    yield from _files()
    yield from _detectors()
    yield from _extras()


def report(findings: list[Finding]) -> Iterator[str]:
    """The findings as lines."""
    width, section = max(len(finding.name) for finding in findings), ""
    for finding in findings:
        if finding.section != section:
            section = finding.section
            yield f"{'' if section == findings[0].section else chr(10)}{section}"
        what = finding.found or f"missing. {finding.get}"
        use = f"   {finding.use}" if finding.use else ""
        yield f"  {'+' if finding.found else '-'} {finding.name:{width}}  {what}{use}"


def _opencv_error() -> str:
    """Why OpenCV cannot be loaded though it is installed, and what to do; empty where it can be."""
    try:
        import hmrfit.io.opencv  # noqa: F401
    except ImportError as error:
        return str(error)
    return ""


def _version(package: str) -> str:
    """Of an installed package, empty where there is none. Builds of OpenCV without windows are the same package."""
    for name in (package, "opencv-python-headless") if package == "opencv-python" else (package,):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return ""


def _devices() -> Iterator[Finding]:
    import torch

    yield Finding(
        "devices",
        "processor",
        f"{how_many(cores(), 'cores')}, torch uses {how_many(torch.get_num_threads(), 'threads')}",
    )
    gpus = (
        [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    )
    get = "None is needed; with one: --set FIT.DEVICE=cuda, and a CUDA build of torch."
    yield Finding("devices", "CUDA", ", ".join(gpus), get=get)


def _files() -> Iterator[Finding]:
    """Bodies, priors and weights: those that ship, and those of others."""
    for name in SHIPPED:
        yield Finding("bodies and priors", name, _place(name), True, "Install hmrfit again: it is part of the package.")
    for name, other in EXTERNAL.items():
        get = f"Register at {other.page}, put {other.files[0]}.pkl into {home()}."
        yield Finding(
            "bodies of others (not needed)", name, _place(name), get=get, use="" if _place(name) else other.what
        )


def _place(name: str) -> str:
    try:
        return str(locate(name))
    except (OSError, ValueError) as error:
        return "" if isinstance(error, FileNotFoundError) else f"damaged: {error}"


def _detectors() -> Iterator[Finding]:
    for name in plugins.names():
        lacks = plugins.missing(name)
        yield Finding("detectors of keypoints", name, "" if lacks else "ready", get=str(lacks or ""))
    npm = shutil.which("npm") or ""
    yield Finding("detectors of keypoints", "npm", npm, get="Install Node.js.", use="brings MoveNet's weights")


def _extras() -> Iterator[Finding]:
    for module, (extra, use) in EXTRAS.items():
        there = find_spec(module) is not None
        found = (_version(module.replace("_", "-")) or "there") if there else ""
        yield Finding("extras", module, found, get=f"pip install 'hmrfit[{extra}]'", use=use)
