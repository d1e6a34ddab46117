"""How many files does one default fit of one person enter, and how often does it pass from one to another?

    python benchmarks/crossings.py [--pairs 40]

The person is the demo's, 17 exact keypoints, no image; the fit is warm, the third of its kind. `sys.setprofile` sees
every call of Python code, and a frame belongs to the file that its code stands in: calls of generators (each time that
one is entered), comprehensions and lambdas count for the file they are written in.

    files       files of hmrfit/ whose code ran         functions    code objects of hmrfit/ that ran
    crossings   calls from a frame in one file of hmrfit/ straight to a frame in another. A call that comes back by way
                of torch, functools or a dataclass's generated code is not one; `indirect` counts those.

Both are counted for the fit of a photograph that has been read (`fit`, the figures of the last line: check, fit and
result) and for `hmrfit.fit` of an array, reading and checking the input included (`call`). A fit that takes more steps
crosses more often, so figures are only comparable for the same person.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType

import torch
from _common import finish

import hmrfit
from hmrfit.cli.demo import make_truth
from hmrfit.io.photo import read_photo
from hmrfit.pipeline import Pipeline

PACKAGE = f"{Path(hmrfit.__file__).parent}/"
SIZE = (640, 480)
"""Pixels of the photograph that is not there."""

Pair = tuple[str, str]


@dataclass
class Profile:
    """The functions that ran, and which function called which."""

    functions: set[CodeType] = field(default_factory=set)
    crossings: Counter[Pair] = field(default_factory=Counter)
    indirect: Counter[Pair] = field(default_factory=Counter)

    @property
    def files(self) -> set[str]:
        return {inside(code) for code in self.functions}

    def figures(self, prefix: str = "") -> dict[str, int]:
        counts = {
            "files": len(self.files),
            "functions": len(self.functions),
            "crossings": self.crossings.total(),
            "indirect": self.indirect.total(),
        }
        return {prefix + name: count for name, count in counts.items()}

    def enter(self, frame: FrameType, event: str, argument: object) -> None:
        """The profile function: one call."""
        if event != "call" or not (here := inside(frame.f_code)):
            return
        self.functions.add(frame.f_code)
        caller, crossings = frame.f_back, self.crossings
        while caller is not None and not inside(caller.f_code):
            caller, crossings = caller.f_back, self.indirect
        if caller is not None and (there := inside(caller.f_code)) != here:
            crossings[there, here] += 1


def inside(code: CodeType) -> str:
    """The path of its file below hmrfit/; empty for code from elsewhere."""
    return code.co_filename.removeprefix(PACKAGE) if code.co_filename.startswith(PACKAGE) else ""


def profile(run: Callable[[], object]) -> Profile:
    """Of the third run; what is read or imported once has been by then."""
    found = Profile()
    for _ in range(2):
        run()
    sys.setprofile(found.enter)
    try:
        run()
    finally:
        sys.setprofile(None)
    return found


def show(title: str, found: Profile, pairs: int) -> None:
    """The table by pairs of files."""
    counts = ", ".join(f"{count} {name}" for name, count in found.figures().items())
    print(f"{title}: {counts}\n")
    for (there, here), count in found.crossings.most_common(pairs):
        print(f"{count:6d}  {there} -> {here}")
    rest = [count for _, count in found.crossings.most_common()[pairs:]]
    if rest:
        print(f"{sum(rest):6d}  in {len(rest)} more pairs")
    print()


def main(arguments: Sequence[str] | None = None) -> None:
    """Profile both, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=40, help="pairs of files to show, those of most crossings first")
    options = parser.parse_args(arguments)
    pipeline = Pipeline.of()
    seen = make_truth(pipeline.body, SIZE[1]).clean
    keypoints = torch.cat([seen.xy[0], seen.confidence[0][:, None]], -1).numpy()
    given = {"keypoint_set": seen.names, "image_size": SIZE}
    photo = read_photo(None, keypoints, **given)
    fit = profile(lambda: pipeline.fit_photos([photo]))
    call = profile(lambda: hmrfit.fit(None, keypoints, **given))
    show("The call, reading and checking the input included", call, options.pairs)
    show("The fit of a photograph that has been read", fit, options.pairs)
    finish(benchmark="crossings", **fit.figures(), **call.figures("call_"))


if __name__ == "__main__":
    main()
