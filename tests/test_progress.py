"""progress.py: what a log and a terminal get to read."""

import io

import pytest

from aevb import progress
from aevb.progress import Progress
from aevb.trace import Trace


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def trace(samples: int, seconds: float, bound: float | None, reported: bool) -> Trace:
    rows = [] if bound is None else [{"bound": bound}]
    return Trace(samples=samples, seconds=seconds, rows=rows, bound_steps=0 if reported else 100)


def test_a_log_gets_one_plain_line_at_each_report_point(clock):
    log = io.StringIO()
    tell = Progress("mnist/aevb/h500-z20-n50000", 1_000_000, log, io.StringIO())
    tell([trace(10_000, 2.0, None, False)])
    assert log.getvalue() == ""
    clock[0] += 4
    tell([trace(30_000, 6.0, -150.123, True)])
    (line,) = log.getvalue().splitlines()
    # 20 000 samples in 4 s since the first call; 970 000 to go
    assert " ".join(line.split()) == "30,000 of 1,000,000 samples 5,000 samples/s bound -150.12 3:14 left"


def test_the_speed_of_a_stack_is_that_of_all_its_runs_and_the_time_left_that_of_each(clock):
    log = io.StringIO()
    tell = Progress("cell", 100_000, log, io.StringIO())
    tell([trace(10_000, 2.0, -1.0, False)] * 3)
    clock[0] += 10
    tell([trace(20_000, 4.0, bound, True) for bound in (-1.0, -2.0, -3.0)])
    (line,) = log.getvalue().splitlines()
    assert "3,000 samples/s" in line
    assert "bound -1.00 -2.00 -3.00" in line
    assert line.endswith("1:20 left")


def test_seeds_that_stood_elsewhere_have_a_speed_of_their_own(clock):
    log = io.StringIO()
    tell = Progress("cell", 100_000, log, io.StringIO())
    for start in (60_000, 0):  # one after another, each to the end
        tell([trace(start + 10_000, 2.0, -1.0, False)])
        clock[0] += 10
        tell([trace(start + 20_000, 4.0, -1.0, True)])
        clock[0] += 20
        tell([trace(100_000, 4.0, -1.0, True)])
    assert [line.split()[4] for line in log.getvalue().splitlines()] == ["1,000", "1,000", "1,000", "3,000"]


def test_the_first_line_of_a_resumed_run_goes_by_what_it_took_before(clock):
    log = io.StringIO()
    Progress("cell", 200_000_000, log, io.StringIO())([trace(100_000, 10.0, None, True)])
    assert "10,000 samples/s  bound none  5:33:10 left" in log.getvalue()


def test_a_terminal_gets_a_line_with_the_cells_name_every_ten_seconds(clock):
    log, screen = io.StringIO(), Screen()
    tell = Progress("mnist/mcem/h100-z3-n1000", 100_000, log, screen)
    for n in range(1, 31):
        clock[0] += 1
        tell([trace(1000 * n, float(n), None, False)])
    lines = screen.getvalue().splitlines()
    assert len(lines) == 2
    assert all(line.startswith("mnist/mcem/h100-z3-n1000: ") for line in lines)
    assert log.getvalue() == ""


def test_a_file_in_the_terminals_place_gets_nothing(clock):
    screen = io.StringIO()
    tell = Progress("cell", 100_000, io.StringIO(), screen)
    for n in range(1, 31):
        clock[0] += 1
        tell([trace(1000 * n, float(n), -1.0, True)])
    assert screen.getvalue() == ""
