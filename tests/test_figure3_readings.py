"""studies/figure3_readings.py: each reading can be put into the source and does what its name says."""

import importlib.util
import sys

import pandas as pd
import pytest
import torch

import changes
import figure3_readings
from aevb import hmc
from figure3_readings import COMMON_STEP, LATE, LOG_VARIANCE, READINGS

COMPARISON = pd.DataFrame(
    [
        {"figure": 3, "method": "mcem", "n_train": 1000, "split": split, "samples": samples}
        | {"paper": -150.0, "ours": -152.0}
        for split in ("train", "test")
        for samples in (630_000, 1_605_000, 4_005_000)
    ]
)


@pytest.mark.parametrize("reading", READINGS, ids=lambda one: f"{one.method}, {one.name}")
def test_a_reading_can_still_be_put_into_the_source(reading, tmp_path):
    changes.changed_copy(tmp_path, *reading.changes)


def changed(name, change, folder):
    """The module of the changed copy, beside the package's own."""
    source = changes.changed_copy(folder, change)
    spec = importlib.util.spec_from_file_location(f"changed_{name}", source / "aevb" / change.file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


def test_a_tenth_of_the_log_variance_but_for_its_bias(tmp_path):
    from aevb import models

    read_so = changed("models", LOG_VARIANCE, tmp_path)
    sizes = {"n_features": 6, "n_hidden": 4, "n_latent": 2}
    phi = models.BernoulliModel(**sizes).init(torch.Generator().manual_seed(0)).phi
    phi = {name: 30.0 * tensor.unsqueeze(0) for name, tensor in phi.items()}
    x = torch.rand(1, 5, 6, generator=torch.Generator().manual_seed(1))
    ours, theirs = (one.BernoulliModel(**sizes).encode(phi, x) for one in (models, read_so))
    bias = phi["b_out"][..., 2:]
    assert torch.equal(ours.mu, theirs.mu)
    torch.testing.assert_close(theirs.log_var - bias, 0.1 * (ours.log_var - bias))


def test_one_step_size_for_all_chains_goes_up_or_down_by_a_quarter(tmp_path):
    from aevb import models, optimisers

    mcem = changed("mcem", COMMON_STEP, tmp_path)
    model = models.BernoulliModel(n_features=6, n_hidden=4, n_latent=2)
    generator = torch.Generator().manual_seed(0)
    params = models.Params(*({k: v.unsqueeze(0) for k, v in one.items()} for one in model.init(generator)))
    estimator = mcem.build(model, optimisers.adagrad(torch.tensor([0.01]), 0), n_train=8)
    state = estimator.init(params)
    moved, _ = estimator.step(state, torch.rand(1, 8, 6), hmc.draw_noise(generator, (1, 8, 2)))
    change = (moved.log_step - state.log_step).exp()
    assert change.unique().numel() == 1
    assert change.flatten()[0].item() == pytest.approx(1.25, abs=0.01)  # a prior's posterior accepts all


def test_a_whole_iteration_of_monte_carlo_em_stands_beside_the_report_point_it_belongs_to():
    reading = next(one for one in READINGS if one.method == "mcem")
    found = {split: [[-151.0, -153.0]] * len(reading.samples) for split in ("train", "test")}
    rows = figure3_readings.rows_of(reading, found, COMPARISON)
    assert {row["paper"] for row in rows} == {-150.0}
    assert {row["log_likelihood"] for row in rows} == {-152.0}
    page = figure3_readings.page(pd.DataFrame(rows))
    assert page.endswith(2 * "| -150.0 | -2.0 | -2.0 (-3.0 to -1.0) " + "|")


def test_a_single_seed_has_no_range():
    reading = READINGS[0]._replace(method="mcem", seeds=(0,), samples=LATE[:1])
    rows = figure3_readings.rows_of(reading, {"train": [[-151.0]], "test": [[-151.0]]}, COMPARISON)
    assert figure3_readings.page(pd.DataFrame(rows)).endswith("| -150.0 | -2.0 | -1.0 |")
