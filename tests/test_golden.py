"""The golden trace: no number has moved. `make golden` runs this file alone, in seconds."""

import math
from pathlib import Path

import pytest
import torch

from aevb import UserError, algorithms, config, data, distributions, golden, training, trees
from aevb.toy import double

ROOT = Path(__file__).parents[1]
CELLS = golden.cells(config.read(ROOT / "config.yaml", datasets="digits"))
ACCEPTED = golden.read(ROOT / "results/reference/golden.json").traces


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return data.prepare("digits", tmp_path_factory.mktemp("cache"))


def test_every_estimator_has_one():
    assert set(CELLS) == set(ACCEPTED) == {*algorithms.estimators(), "aevb, Gaussian"}


@pytest.mark.parametrize("name", CELLS)
def test_no_number_has_moved(digits, name):
    moved = golden.moved(golden.trace(CELLS[name], digits), ACCEPTED[name])
    meant = 'If that was meant: commit it, then snakemake bless_golden --config reason="..."'
    assert not moved, "\n".join([f"{name}:", *moved, meant])


def test_a_doubled_kl_and_another_warm_up_are_noticed(digits, monkeypatch):
    assert golden.moved(
        golden.trace(CELLS["aevb"].model_copy(update={"warm_up": 99}), digits), ACCEPTED["aevb"]
    )
    kl = distributions.Gaussian.kl
    monkeypatch.setattr(distributions.Gaussian, "kl", lambda q: 2 * kl(q))
    assert golden.moved(golden.trace(CELLS["aevb"], digits), ACCEPTED["aevb"])


@pytest.mark.parametrize("name", ["aevb", "reweighted_wake_sleep", "mcem"])
def test_another_machines_rounding_is_far_below_the_tolerance(digits, monkeypatch, name):
    """Weights that start in the last digit apart: the two most sensitive estimators, and the least."""
    start = training.initial_weights
    monkeypatch.setattr(training, "initial_weights", lambda *given: _nudged(start(*given)))
    found, accepted = golden.trace(CELLS[name], digits), ACCEPTED[name]
    assert found != accepted
    assert all(math.isclose(found[key], accepted[key], rel_tol=golden.TOLERANCE / 5) for key in accepted)


def _nudged(params):
    return trees.rebuild(params, {name: value * (1 + 4e-16) for name, value in trees.leaves(params).items()})


def test_what_moved_appeared_or_went_is_said():
    assert golden.moved({"a": 1.0, "b": 2.0}, {"a": 1.0 + 1e-5, "c": 0.0}) == [
        "b: new",
        "c: gone",
        "a: 1.00001 -> 1.0",
    ]
    assert golden.moved({"a": 1.0 + 1e-12}, {"a": 1.0}) == []


def test_the_trace_is_in_double_precision_and_leaves_single_behind(digits):
    golden.trace(CELLS["aevb"], digits)
    assert torch.get_default_dtype() == torch.float32
    with double():
        assert torch.get_default_dtype() == torch.float64


def test_a_missing_or_broken_file_is_named(tmp_path):
    for content in (None, "{}", "no json"):
        path = tmp_path / "golden.json"
        if content is not None:
            path.write_text(content)
        with pytest.raises(UserError, match=r"golden\.json"):
            golden.read(path)
