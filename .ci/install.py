"""python .ci/install.py ARGUMENTS...: `pip install`, of which one changing line is shown, and all of it if it fails.

    47 s  Downloading torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl (180.0 MB)

Without a terminal it is a line every half minute, so that a log shows what is going on. The exit code is pip's.
"""

import shutil
import subprocess
import sys
import threading
import time
from typing import TextIO

TICK, TICK_IN_LOGS = 0.5, 30.0
"""Seconds between two lines, on a terminal and in a log."""


class Progress:
    """The latest line of pip, and how long it has been running."""

    def __init__(self, stream: TextIO) -> None:
        self.stream, self.latest, self.began = stream, "starting", time.monotonic()
        self.over, self.on_terminal = threading.Event(), stream.isatty()

    def show(self) -> None:
        """One line; on a terminal over the one before."""
        text = f"{time.monotonic() - self.began:4.0f} s  {self.latest}"
        if self.on_terminal:
            width = shutil.get_terminal_size().columns - 1
            self.stream.write(f"\r\033[K{text[:width]}")
        else:
            self.stream.write(f"{text}\n")
        self.stream.flush()

    def keep_showing(self) -> None:
        """Until it is over."""
        while not self.over.wait(TICK if self.on_terminal else TICK_IN_LOGS):
            self.show()

    def end(self) -> None:
        """Leaves no half line behind."""
        self.over.set()
        if self.on_terminal:
            self.stream.write("\r\033[K")
            self.stream.flush()


def install(arguments: list[str], stream: TextIO = sys.stderr) -> int:
    """Runs pip; its exit code."""
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", *arguments]
    progress, said = Progress(stream), []
    ticker = threading.Thread(target=progress.keep_showing, daemon=True)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pip:
        ticker.start()
        try:
            for line in pip.stdout or ():
                said.append(line)
                progress.latest = line.strip() or progress.latest
        finally:
            progress.end()
            ticker.join()
    if pip.returncode:
        stream.write("".join(said))
    return pip.returncode


if __name__ == "__main__":
    sys.exit(install(sys.argv[1:]))
