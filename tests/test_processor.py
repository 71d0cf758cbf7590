"""processor.py: what a job asks of the processor, seen from outside, in a process of its own since it stays asked."""

import subprocess
import sys

import pytest

CODE = """
import torch
from aevb import processor
torch.set_float32_matmul_precision("high")  # as an environment may
if {prepared}:
    processor.prepare(threads=1)
tiny = torch.full((64,), 1e-38)
assert torch.get_num_threads() == 1
assert torch.get_float32_matmul_precision() == "highest"
assert (tiny * 0.1 == 0).all(), "numbers below 1e-38 are zero"
"""


def run(prepared: bool) -> int:
    return subprocess.run(
        [sys.executable, "-c", CODE.format(prepared=prepared)], capture_output=True
    ).returncode


@pytest.mark.parametrize(("prepared", "code"), [(True, 0), (False, 1)])
def test_a_prepared_process_has_its_threads_whole_products_and_no_subnormal_numbers(prepared, code):
    assert run(prepared) == code
