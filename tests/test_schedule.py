"""schedule.py: report points that every budget shares."""

from pathlib import Path

import pytest

from aevb import config
from aevb.schedule import BLOCK, report_points, snapshot_points

BUDGETS = [10_000, 20_000, 200_000, 1_000_000, 2_000_000, 63_000_000, 250_000_000]


@pytest.mark.parametrize("small", BUDGETS)
@pytest.mark.parametrize("large", BUDGETS)
def test_the_report_points_of_a_smaller_budget_are_a_prefix(small, large):
    points, more = report_points(min(small, large)), report_points(max(small, large))
    assert more[: len(points)] == points
    assert all(point > min(small, large) for point in more[len(points) :])


@pytest.mark.parametrize("budget", BUDGETS)
def test_report_points_are_ascending_blocks_that_end_at_the_budget(budget):
    points = report_points(budget)
    assert points[-1] == budget
    assert list(points) == sorted(set(points))
    assert all(point % BLOCK == 0 and point > 0 for point in points)


def test_a_decade_has_ten_preferred_numbers():
    decade = [point for point in report_points(10**7) if 10**6 <= point < 10**7]
    assert [point / 10**6 for point in decade] == [1.0, 1.3, 1.6, 2.0, 2.5, 3.2, 4.0, 5.0, 6.3, 8.0]


def test_snapshots_are_the_report_points_from_100_000_on_and_always_the_last():
    assert snapshot_points(20_000) == (20_000,)
    assert snapshot_points(200_000) == (100_000, 130_000, 160_000, 200_000)
    assert set(snapshot_points(10**8)) < set(report_points(10**8))


def test_every_budget_of_the_shipped_config_is_a_report_point():
    shipped = config.read(Path(__file__).parents[1] / "config.yaml")
    budgets = [shipped.estimators[name].search_samples for name in shipped.estimators]
    for scale in shipped.scales.values():
        for samples in scale.samples.values():
            budgets += samples.values() if isinstance(samples, dict) else [samples]
    assert len(budgets) > 10
    assert all(int(budget) in report_points(int(budget)) for budget in budgets)
