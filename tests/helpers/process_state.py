"""What a test may change of the process, and has to leave as it was: another test in the same process relies on it."""

import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from hmrfit.io import budget
from hmrfit.ops.registry import Registry

REGISTRIES = {
    "hmrfit.evaluate.protocol": "PROTOCOLS",
    "hmrfit.evaluate.hand_protocol": "HAND_PROTOCOLS",
    "hmrfit.evaluate.predictors": "PREDICTORS",
    "hmrfit.render.rasteriser": "RENDERERS",
}
"""The module of each, which may not be loaded yet."""


def only_here(monkeypatch: pytest.MonkeyPatch, registry: Registry[Any], *names: str) -> None:
    """The registry with these entries alone (with all where none is named), to which a test may add its own. All are
    loaded before: files that are first imported while it is another one would never register again."""
    every = registry.names()
    monkeypatch.setattr(registry, "_entries", {name: registry.find(name) for name in names or every})


OURS = ("HMRFIT", "HOME", "PATH", "COLUMNS", "NO_COLOR", "OMP_")
"""How the names of the environment's variables begin that tests set; libraries set others when they are imported."""


def process_state() -> dict[str, object]:
    """By what it is."""
    asked: dict[str, Callable[[], object]] = {
        "environment": lambda: sorted((k, hash(v)) for k, v in os.environ.items() if k.startswith(OURS)),
        "working folder": os.getcwd,
        "torch's threads": torch.get_num_threads,
        "torch's default type": torch.get_default_dtype,
        "gradients": torch.is_grad_enabled,
        "numpy's warnings": np.geterr,
        "handlers of the logger hmrfit": lambda: list(map(id, logging.getLogger("hmrfit").handlers)),
        "level of the logger hmrfit": lambda: logging.getLogger("hmrfit").level,
        "signals": lambda: [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)],
        "limits of files": lambda: (id(budget._environment), budget.limits()),
        "keypoint sets": lambda: list(_of("hmrfit.keypoints", "_SETS") or ()),
        "detectors": lambda: {name: id(one) for name, one in (_of("hmrfit.detectors.detect", "_LOADED") or {}).items()},
        **{f"{name}, a user's own": _own(module, name) for module, name in REGISTRIES.items()},
    }
    return {what: ask() for what, ask in asked.items()}


def left_behind(what: str, before: object, now: object) -> str:
    """What differs, in words; of lists what is in one of them alone."""
    if isinstance(before, list) and isinstance(now, list):
        gone, new = ([one for one in a if one not in b] for a, b in ((before, now), (now, before)))
        return f"{what}: gone {gone}, new {new}"
    return f"{what}: was {before}, is {now}"


def _of(module: str, name: str) -> Any:
    return getattr(sys.modules.get(module), name, None)


def _own(module: str, name: str) -> Callable[[], object]:
    """The names of entries that the package does not register itself."""
    return lambda: sorted(
        key
        for key, entry in getattr(_of(module, name), "_entries", {}).items()
        if not str(getattr(entry, "__module__", "")).startswith("hmrfit.")
    )
