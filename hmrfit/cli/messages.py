"""How much a command says, and machine-readable lines.

    --verbose    what the library logs, from INFO on, on stderr
    --quiet      nothing but errors: no text on stdout, no progress; the exit code says how it went
    --json       one JSON object a line on stdout, in place of the text

Text for people goes to stdout by print, here and in no module below; the library says what it has to say by exceptions,
results, and the logger "hmrfit".
"""

import io
import json
import logging
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TextIO, cast

LOGGER = "hmrfit"
FORM = "%(levelname)s: %(message)s"


class NoTerminal:
    """A stream that says it is no terminal: progress bars then stay away. Everything else is the stream's."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def isatty(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def saying(verbose: bool = False, quiet: bool = False, only_json: bool = False) -> Iterator[None]:
    """What is printed and logged while a command runs."""
    logger = logging.getLogger(LOGGER)
    level, others, handler = logger.level, [*logger.handlers], logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(FORM))
    with ExitStack() as stack:
        if quiet:
            stack.enter_context(redirect_stderr(cast(TextIO, NoTerminal(sys.stderr))))
            if not only_json:
                stack.enter_context(redirect_stdout(io.StringIO()))
        if quiet or verbose:
            handler.setLevel(logging.INFO if verbose else logging.ERROR)
            logger.setLevel(handler.level)
            logger.addHandler(handler)
        try:
            yield
        finally:
            logger.handlers[:] = others  # also without those that the command added
            logger.setLevel(level)


def print_json(line: Mapping[str, Any]) -> None:
    """One object as one line of strict JSON: what is no number is null. At once, for who reads along."""
    print(json.dumps({name: _plain(value) for name, value in line.items()}, ensure_ascii=False), flush=True)


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value
