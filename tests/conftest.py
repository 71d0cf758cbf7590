"""What every test shares: one thread, and double precision where a test asks for it."""

import pytest
import torch

torch.set_num_threads(1)  # tests run beside other jobs, and their tensors are tiny


@pytest.fixture
def double():
    """Double precision as the default: what checks mathematics, not rounding, runs in it."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.fixture(autouse=True)
def processor_as_before():
    """What a job asks of the processor stays asked; hypothesis, for one, refuses to draw numbers then."""
    yield
    torch.set_flush_denormal(False)
    torch.set_num_threads(1)
