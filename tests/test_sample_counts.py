"""studies/sample_counts.py: it finds what an update takes, and nothing where there is nothing to find."""

from pathlib import Path

import numpy as np
import pytest

import figure2
import sample_counts
from aevb import markdown

ROOT = Path(__file__).parents[1]


def reports(unit, seed, n=14, digits=6):
    """Counts of early reports: multiples of the unit on an axis that is a little off, as they are printed."""
    generator = np.random.default_rng(seed)
    counts = unit * np.unique(generator.integers(2e5 // unit, 3.5e6 // unit, n)) * (1 + 3e-4)
    return np.array([float(f"{count:.{digits}g}") for count in counts])


@pytest.mark.parametrize("unit", [100, 500])
def test_multiples_are_found_and_no_larger_unit_is(unit):
    counts = reports(unit, 1)
    for candidate in sample_counts.CANDIDATES:
        found = sample_counts.distance(counts, candidate, 1)
        chance = sample_counts.by_chance(counts, candidate, 1)
        if unit % candidate == 0:
            assert found < 5 < chance
        else:
            assert found > 0.5 * chance


def test_any_numbers_show_no_unit():
    counts = reports(1, 2)
    for candidate in sample_counts.CANDIDATES:
        assert sample_counts.distance(counts, candidate, 1) > 0.5 * sample_counts.by_chance(
            counts, candidate, 1
        )


def test_a_linear_axis_may_begin_elsewhere():
    counts = reports(500, 3) + 180
    assert sample_counts.distance(counts, 500, 50) < 10
    assert sample_counts.distance(counts, 500, 1) > 50


def test_an_update_takes_500_samples_on_frey_face_and_100_on_mnist():
    """In every panel of Figure 2: as close as the counts are read, and further by chance in each of 100 draws."""
    _, paper = figure2.ours_and_papers()
    panels = [panel for panel in sample_counts.panels(paper) if panel[1] == 2]
    assert len(panels) == 9
    for name, figure, counts in panels:
        takes = 500 if "Frey" in name else 100
        for unit in sample_counts.CANDIDATES:
            found = sample_counts.distance(counts, unit, sample_counts.OFFSETS[figure])
            assert (found < 5) == (takes % unit == 0), (name, unit)
        assert sample_counts.by_chance(counts, takes, sample_counts.OFFSETS[figure]) > 8


def test_the_page_shows_it():
    text = (ROOT / "docs/deviations.md").read_text(encoding="utf-8")
    assert markdown.insert_between_markers(text, "counts", sample_counts.page()) == text
