"""What every test shares: one thread, and double precision where a test asks for it."""

import pytest
import torch

from aevb import UserError, algorithms, estimators
from aevb.toy import double
from workflows import copied, digits, real, source  # noqa: F401  fixtures of several test files

torch.set_num_threads(1)  # tests run beside other jobs, and their tensors are tiny
torch.set_float32_matmul_precision("highest")  # as jobs do: an environment may ask torch for less


@pytest.fixture(name="double")
def in_double_precision():
    """What checks mathematics, not rounding, runs in it."""
    with double():
        yield


@pytest.fixture(autouse=True)
def processor_as_before():
    """What a job asks of the processor stays asked; hypothesis, for one, refuses to draw numbers then."""
    yield
    torch.set_flush_denormal(False)
    torch.set_num_threads(1)


def pytest_addoption(parser):
    parser.addoption(
        "--estimator",
        metavar="FILE_OR_MODULE",
        help="hold this learning algorithm, mine.py or my_package.my_module, to the rules; runs nothing else",
    )


def pytest_ignore_collect(collection_path, config):
    """With --estimator, only the rules are collected."""
    if config.getoption("--estimator") and collection_path.is_file():
        return collection_path.name != "test_contract.py"
    return None


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups
def pytest_collection_modifyitems(config, items):
    if config.getoption("--estimator"):
        about_it = [item for item in items if "build" in item.fixturenames]
        config.hook.pytest_deselected(items=[item for item in items if item not in about_it])
        items[:] = about_it
    for item in items:
        # of several workers one has all that runs and edits the shared copy of the source, and each file goes to one
        shared = "source" in item.fixturenames
        item.add_marker(pytest.mark.xdist_group("source" if shared else item.path.name))


def pytest_generate_tests(metafunc):
    """`build` is that of every file in estimators/, or of the one that --estimator names."""
    if "build" in metafunc.fixturenames:
        mine = metafunc.config.getoption("--estimator")
        try:
            sources = {algorithms.name_of(mine): mine} if mine else dict.fromkeys(algorithms.estimators(), "")
            builds = [estimators.load(name, source) for name, source in sources.items()]
        except UserError as error:
            raise pytest.UsageError(str(error)) from None
        metafunc.parametrize("build", builds, ids=sources)
