"""glibc keeps freed memory: the second use of a large block costs no page faults."""

import platform
import subprocess
import sys

import pytest

CODE = """
import resource
import torch
from mmbas.cli.allocator import keep_freed_memory

if {keep}:
    assert keep_freed_memory()

def use():
    blocks = [torch.ones(4 << 20) for _ in range(8)]  # 16 MiB each

for _ in range(3):
    use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(keep):
    run = [sys.executable, "-c", CODE.format(keep=keep)]
    return int(subprocess.run(run, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_memory_is_kept():
    """Of three processes: where the heap of one meets another mapping, glibc gives memory back."""
    assert min(page_faults(keep=True) for _ in range(3)) < 100
