"""studies/sample_counts.py: it finds what an update takes, and nothing where there is nothing to find."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import sample_counts
from aevb import markdown

ROOT = Path(__file__).parents[1]
PAPER = pd.read_csv(sample_counts.PAPER)


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
        assert (2 * found < chance) == (unit % candidate == 0)


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
    """In every panel of Figure 2: as close as the counts are read; by chance twice as far in all draws."""
    panels = [panel for panel in sample_counts.panels(PAPER) if panel[1] == 2]
    assert len(panels) == 9
    for name, figure, counts in panels:
        takes = 500 if "Frey" in name else 100
        for unit in sample_counts.CANDIDATES:
            found = sample_counts.distance(counts, unit, sample_counts.OFFSETS[figure])
            assert (found < 5) == (takes % unit == 0), (name, unit)
            chance = sample_counts.by_chance(counts, unit, sample_counts.OFFSETS[figure])
            assert (2 * found < chance) == (takes % unit == 0), (name, unit)


@pytest.mark.parametrize("method", ["aevb", "wake_sleep"])
def test_each_method_by_itself_shows_500_on_frey_face(method):
    rows = PAPER[(PAPER["dataset"] == "frey") & (PAPER["method"] == method)]
    for n_latent in (2, 5, 10, 20):
        counts = np.unique(rows["samples"][rows["n_latent"].eq(n_latent) & rows["samples"].between(1, 4e6)])
        found, chance = (ask(counts, 500, 1) for ask in (sample_counts.distance, sample_counts.by_chance))
        assert 3 * found < chance, n_latent


def test_the_page_shows_it():
    text = (ROOT / "docs/deviations.md").read_text(encoding="utf-8")
    assert markdown.insert_between_markers(text, "counts", sample_counts.page()) == text
