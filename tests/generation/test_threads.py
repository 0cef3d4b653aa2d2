"""Workers calculate in one thread each, whatever libraries set as they start."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("numba")

# In a process of its own: numba starts once, and what it sets then is what this is about.
_SCRIPT = """
import re, torch
from covary.generation._maker import single_thread
from numba import get_num_threads

torch.set_num_threads(3)
with single_thread():
    info = torch.__config__.parallel_info()
    print(torch.get_num_threads(), re.search(r"omp_get_max_threads\\(\\) : (\\d+)", info)[1],
          get_num_threads())
print(torch.get_num_threads(), get_num_threads())
"""


def test_one_thread_inside_and_as_many_as_before_after() -> None:
    environment = {**os.environ, "NUMBA_NUM_THREADS": "4"} | {"OMP_NUM_THREADS": "4"}
    ran = subprocess.run(
        [sys.executable, "-c", _SCRIPT], env=environment, capture_output=True, text=True, check=True
    )
    assert ran.stdout.split("\n")[:2] == ["1 1 1", "3 4"]
