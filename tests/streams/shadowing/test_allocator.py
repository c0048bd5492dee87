"""What was freed is used again without a page fault."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
import numpy as np
from penstock.streams.shadowing.allocator import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
def round():
    blocks = [np.ones(1 << 17) for _ in range(16)]  # a MiB each, freed together
for _ in range(4):
    round()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    round()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_what_was_freed_is_used_again_without_a_page_fault() -> None:
    faults = {how: int(subprocess.check_output([sys.executable, "-c", SCRIPT, how])) for how in ("given back", "kept")}
    assert faults["kept"] < 100 < faults["given back"]
