"""A run that diverges, from its training to the exit status: one seed of an estimator that a rare draw breaks."""

import json

import pandas as pd
import pytest
import torch
import yaml

from aevb import floor, soundness
from aevb.models import BernoulliModel, GaussianModel, Params
from aevb.trees import stack
from helpers import generator
from workflows import PROTOCOL, SMOKE_DIGITS, copy_of_the_source, snakemake, succeeded

FRAGILE = '''
import torch
from aevb.estimators import ascend_bound
from aevb.estimators.aevb import elbo

def build(model, optimiser, n_train, n_samples=1, far=5.2):
    """Beyond `far` a draw has no logarithm: of two runs on the digits, it breaks the first."""
    def fragile(model, params, x, eps):
        worst = eps.abs().amax((1, 2, 3))[:, None]
        nothing = params.theta["b_out"].mul(0).sum((1, 2))[:, None]
        return elbo(model, params, x, eps) + nothing * torch.log(far - worst)
    return ascend_bound(fragile, model, optimiser, n_train, n_samples)
'''
CELL = "digits/fragile/h100-z2-n1500"


@pytest.fixture(scope="module")
def lost(tmp_path_factory):
    """A folder in which one of two runs has diverged, and what snakemake said."""
    folder = tmp_path_factory.mktemp("diverged")
    source, work = copy_of_the_source(folder / "clone"), folder / "work"
    (folder / "fragile.py").write_text(FRAGILE)
    protocol = yaml.safe_load((source / "config.yaml").read_text())
    entry = {"warm_up": 100, "search_samples": 5e4, "settings": {}, "source": str(folder / "fragile.py")}
    protocol["estimators"]["fragile"] = entry
    grid = {"estimators": ["fragile"], "n_hidden": 100, "n_latent": [2]}
    protocol["figures"] = {name: {"digits": grid} for name in ("figure2", "figure4", "figure5")}
    protocol["gradients"]["runs"] = {}
    (source / "config.yaml").write_text(yaml.safe_dump(protocol))
    return work, source, snakemake(source, work, config=SMOKE_DIGITS)


def test_the_status_and_the_last_word_tell_and_everything_else_is_made(lost):
    work, _, said = lost
    assert said.returncode == 1
    assert "error: 1 of 2 runs diverged:\n" in said.stdout
    assert f"  {CELL} seed 0: at step " in said.stdout
    assert "take their step size (it is in their cell.json) and all larger ones out of" in said.stdout
    assert [line for line in said.stdout.splitlines() if line.startswith("Error in rule")] == [
        "Error in rule sound:"
    ]
    figures = {path.name for path in (work / "results/figures").iterdir()}
    assert {"figure2.svg", "figure4.svg", "figure5.svg"} <= figures
    assert not (work / "results/tables/sound.txt").exists()


def test_its_stack_mate_goes_on_and_tables_show_what_was_lost(lost):
    work, _, _ = lost
    ill, well = (json.loads((work / f"results/runs/{CELL}/seed{n}/cell.json").read_text()) for n in (0, 1))
    budget = PROTOCOL["scales"]["smoke"]["samples"]["figure2"]["digits"]
    assert (ill["diverged"], well["diverged"]) == (True, False)
    assert 100 < ill["diverged_step"] <= ill["diverged_at"] / 100 <= ill["diverged_step"] + 100
    assert ill["diverged_tensor"] == "bound"
    bounds = pd.read_csv(work / "results/tables/bounds.csv")
    assert bounds.query("seed == 1")["bound"].notna().all()
    after = bounds["samples"] >= ill["diverged_at"]
    assert bounds[(bounds["seed"] == 0)]["bound"].isna().equals(after[bounds["seed"] == 0])
    assert bounds.groupby("seed")["samples"].max().tolist() == [budget, budget]
    table = pd.read_csv(work / "results/tables/soundness.csv")
    assert table["diverged"].tolist() == [True, False]
    marginal = pd.read_csv(work / "results/tables/marginal_likelihood.csv")
    assert marginal.query("seed == 0")[["log_likelihood", "lower_bound"]].isna().all(axis=None)
    assert marginal.query("seed == 1 and evidence_estimator == 'annealed'")["log_likelihood"].notna().all()


def test_figures_say_what_is_missing(lost):
    work, _, _ = lost
    words = {n: (work / f"results/figures/figure{n}.svg").read_text() for n in (2, 4, 5)}
    assert "fragile: 1 of 2 seeds diverged" in words[2]
    assert "diverged" in words[4]
    assert "diverged" in words[5]
    assert "diverged" in (work / "results/tables/html/soundness.html").read_text()


def test_a_report_can_be_made_and_says_it(lost):
    work, source, _ = lost
    succeeded(snakemake(source, work, "--report", "results/report.html", config=SMOKE_DIGITS))
    assert "soundness" in (work / "results/report.html").read_text()


# ------------------------------------------------------------------------------------------------ the table


def record(**changes):
    identity = {"dataset": "mnist", "estimator": "aevb", "n_hidden": 5, "n_latent": 2, "n_train": 10}
    sound = dict.fromkeys(("diverged_at", "diverged_step", "diverged_tensor", "on_floor"))
    return identity | {"seed": 0, "samples": 100, "diverged": False} | sound | changes


def test_runs_that_are_sound_need_no_word_and_all_that_are_not_are_named():
    soundness.require(soundness.table([record(), record(seed=1)]))
    bad = record(seed=1, diverged=True, diverged_at=100, diverged_step=7, diverged_tensor="noise.eps")
    frame = soundness.table([record(), bad, bad | {"n_latent": 3, "diverged_step": 12}])
    with pytest.raises(soundness.UserError) as error:
        soundness.require(frame)
    assert str(error.value).splitlines()[:3] == [
        "2 of 3 runs diverged:",
        "  mnist/aevb/h5-z2-n10 seed 1: at step 7, noise.eps",
        "  mnist/aevb/h5-z3-n10 seed 1: at step 12, noise.eps",
    ]


# -------------------------------------------------------------------------------------------- the variance's floor


def test_the_share_on_the_floor_is_that_of_the_pixels_pushed_below_it():
    model = GaussianModel(8, 5, 2, -3.0)
    params: Params = stack([model.init(generator(0))])
    x = torch.rand(30, 8, generator=generator(1))
    assert floor.share_on_floor(model, params, x) == 0.0
    params.theta["b_out"][..., 8:11] = -100  # the last eight outputs are log-variances
    assert floor.share_on_floor(model, params, x) == 3 / 8


def test_where_there_is_no_variance_or_no_encoder_there_is_no_share():
    bernoulli = BernoulliModel(8, 5, 2)
    x = torch.rand(3, 8, generator=generator(1))
    assert floor.share_on_floor(bernoulli, stack([bernoulli.init(generator(0))]), x) is None
    gaussian = GaussianModel(8, 5, 2, -3.0)
    theta = stack([gaussian.init(generator(0))]).theta
    assert floor.share_on_floor(gaussian, Params(theta, {}), x) is None
