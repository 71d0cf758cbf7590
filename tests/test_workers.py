"""`make test` shares the tests out among workers by group: see conftest.py."""

import pytest


def test_a_group_of_tests_goes_to_one_worker(request):
    """Without groups every worker runs the whole graph for itself, minutes each: pytest 9.2 makes pytest-xdist lose
    them without a word (pytest-xdist#1386). A worker knows a test's group by the end of its name."""
    worker = getattr(request.config, "workerinput", {})
    if "loadgroup" not in worker.get("mainargv", ()):
        pytest.skip("these tests are not shared out: `make test` does")
    assert request.node.nodeid.endswith("@test_workers.py")
