"""Memory that is freed and asked for again."""

import platform
import subprocess
import sys

import pytest

PAGES = 50 * 2**20 // 4096  # of one tensor
FAULTS_OF_40_TENSORS = """
import resource, torch
from bigtrain.parallel.allocator import keep_freed_memory
{call}
for _ in range(40):
    torch.ones(50 * 2**18)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


# Not one tensor's faults but a few: glibc cuts its heap to pieces before blocks of this size fit into what was freed.
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
@pytest.mark.parametrize(("call", "tensors"), [("keep_freed_memory()", (0, 20)), ("", (35, 60))])
def test_a_tensor_takes_the_pages_of_those_that_are_gone(call: str, tensors: tuple[int, int]) -> None:
    program = FAULTS_OF_40_TENSORS.format(call=call)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert tensors[0] <= int(done.stdout) / PAGES <= tensors[1]
