"""hmrfit.ops.memory in a process of its own: how often it asks the system for pages."""

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource, torch
from hmrfit.ops.memory import reuse_memory
reuse_memory()
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def work():
    for _ in range(4):
        torch.ones(2 * 2**20), torch.ones(2 * 2**20)
work(), work()  # twice: the heap may grow in the second one too, once
before = faults()
work()
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators have no threshold")
def test_blocks_are_used_again():
    """Two of 8 MiB four times are 16,000 pages, where the system clears them every time: nearly always, unless torch
    has freed a large block before, as it is loaded."""
    found = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, check=True)
    assert int(found.stdout) < 4_000
