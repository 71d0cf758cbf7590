"""Which rows belong to the paper's figures, and the mean over seeds."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from aevb import UserError
from aevb.curves import (
    CURVE,
    bands,
    figure2_curves,
    figure3_curves,
    figure3_differences,
    of_the_papers,
    over_seeds,
    select,
)
from aevb.experiments import Cell

BOUND = {
    "dataset": "mnist",
    "estimator": "aevb",
    "n_hidden": 500,
    "n_latent": 3,
    "n_train": 50_000,
    "seed": 0,
    "split": "test",
    "samples": 100,
    "bound": -150.0,
    "seconds": 1.0,
}
EVIDENCE = {
    "dataset": "mnist",
    "estimator": "aevb",
    "n_hidden": 100,
    "n_latent": 3,
    "n_train": 1000,
    "seed": 0,
    "split": "test",
    "samples": 100,
    "evidence_estimator": "appendix_d_robust",
    "log_likelihood": -140.0,
    "std_error": 0.03,
    "std_error_points": 0.5,
}


def frame(base, *changes):
    return pd.DataFrame([base | change for change in changes])


def curve(seed, nats, samples=(100, 200, 300)):
    identity = {"dataset": "mnist", "method": "aevb", "n_latent": 3, "n_train": 50_000, "split": "test"}
    return pd.DataFrame({"seed": seed, "samples": samples, "nats": nats, "error": 0.7}).assign(**identity)


def cell(**changes):
    identity = {name: BOUND[name] for name in Cell.IDENTITY}
    rest = {"decoder": "bernoulli", "batch_size": 100, "warm_up": 100, "train_points": 1000, "settings": {}}
    return Cell(**(identity | rest | changes))


def test_the_papers_curve_stands_beside_its_own_cell_alone():
    paper = pd.DataFrame(
        [
            {"figure": 3, "dataset": "mnist", "method": method, "n_latent": 3, "n_train": n, "samples": 1}
            for method in ("aevb", "mcem")
            for n in (1000, 50_000)
        ]
    )
    found = of_the_papers(paper, 3, frame(EVIDENCE, {}, {"seed": 1}))
    assert found[["method", "n_train"]].to_numpy().tolist() == [["aevb", 1000], ["mcem", 1000]]
    assert found.columns.tolist() == paper.columns.tolist()
    for other in ({"n_hidden": 500}, {"n_latent": 2}, {"n_train": 2000}, {"dataset": "frey"}):
        assert of_the_papers(paper, 3, frame(EVIDENCE, other)).empty
    assert of_the_papers(paper, 2, frame(EVIDENCE, {})).empty


def test_the_rows_of_the_chosen_cells_are_selected_and_no_others():
    others = [
        {"n_hidden": 100},
        {"n_latent": 5},
        {"n_train": 1000},
        {"estimator": "mcem"},
        {"dataset": "frey"},
    ]
    rows = frame(BOUND, {"bound": -1.0}, {"seed": 1, "bound": -2.0}, *others)
    assert select(rows, [cell()])["bound"].tolist() == [-1.0, -2.0]
    assert len(select(rows, [cell(), *(cell(**other) for other in others)])) == len(rows)
    assert select(rows, [cell(n_hidden=7)]).empty


def test_selected_rows_keep_their_columns_and_values():
    rows = frame(BOUND, {}, {"n_latent": 5}, {"bound": np.nan})
    chosen = select(rows, [cell()])
    pd.testing.assert_frame_equal(chosen, rows.iloc[[0, 2]].reset_index(drop=True))


def test_without_cells_or_without_rows_nothing_is_selected():
    # a dataset without this figure, such as Frey Face in Figure 3
    assert select(frame(BOUND, {}), []).columns.tolist() == list(BOUND)
    assert select(frame(BOUND, {}), []).empty
    assert select(frame(BOUND, {}).iloc[:0], [cell()]).empty


def test_figure2_shows_the_papers_definition_of_the_training_curve():
    bounds = frame(
        BOUND,
        {"split": "train_running", "bound": -1.0},
        {"split": "train", "bound": -2.0},
        {"split": "test", "bound": -3.0},
        {"dataset": "frey", "n_hidden": 200, "n_train": 1600, "bound": -7.0},
    )
    shown = figure2_curves(bounds).set_index("nats")["split"].to_dict()
    assert shown == {-1.0: "train", -3.0: "test", -7.0: "test"}


def test_figure3_keeps_the_certified_estimator_and_its_error():
    shown = figure3_curves(frame(EVIDENCE, {}, {"evidence_estimator": "annealed"}))
    assert len(shown) == 1
    assert shown["error"].item() == pytest.approx(1.96 * 0.5)


def test_figure3_without_the_certified_estimator():
    only = frame(EVIDENCE, {"evidence_estimator": "annealed"})
    assert len(figure3_curves(only)) == 1
    with pytest.raises(UserError, match="appendix_d_robust"):
        figure3_curves(
            frame(EVIDENCE, {"evidence_estimator": "annealed"}, {"evidence_estimator": "importance"})
        )


def test_what_the_papers_estimator_would_have_reported_is_a_paired_difference():
    paper = {"evidence_estimator": "appendix_d_paper", "log_likelihood": -139.5, "std_error": 0.04}
    shown = figure3_differences(frame(EVIDENCE, {}, paper, paper | {"samples": 200}))
    assert shown["samples"].tolist() == [100]
    assert shown["nats"].item() == pytest.approx(0.5)
    assert shown["error"].item() == pytest.approx(1.96 * 0.05)


def test_interval_over_seeds_is_the_t_interval_of_scipy():
    values = np.random.default_rng(0).normal(-120, 3, size=(4, 3))
    means = over_seeds(pd.concat([curve(seed, row) for seed, row in enumerate(values)]))
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    np.testing.assert_allclose(means["nats"], values.mean(0))
    np.testing.assert_allclose(means["low"], expected.low)
    np.testing.assert_allclose(means["high"], expected.high)
    assert means["n_seeds"].eq(4).all()
    assert means["n_diverged"].eq(0).all()


def test_a_single_seed_has_its_own_error():
    means = over_seeds(curve(0, [-3.0, -2.0, -1.0]))
    np.testing.assert_allclose(means["high"] - means["nats"], 0.7)
    np.testing.assert_allclose(means["nats"] - means["low"], 0.7)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_diverged_seed_stops_the_curve_and_is_counted(bad):
    means = over_seeds(pd.concat([curve(0, [-3.0, -2.0, -1.0]), curve(1, [-5.0, bad, bad])]))
    assert means["nats"].iloc[0] == -4.0
    assert means[["nats", "low", "high"]].iloc[1:].isna().all(axis=None)
    assert means["n_diverged"].eq(1).all()


def test_a_value_missing_at_the_start_is_no_divergence():
    means = over_seeds(curve(0, [np.nan, -2.0, -1.0]))
    assert means["n_diverged"].eq(0).all()
    assert means["nats"].tolist()[1:] == [-2.0, -1.0]


def test_a_point_is_the_mean_of_the_seeds_that_got_so_far():
    means = over_seeds(pd.concat([curve(0, [-3.0, -2.0, -1.0]), curve(1, [-5.0], samples=[100])]))
    assert means["nats"].tolist() == [-4.0, -2.0, -1.0]
    assert means["n_seeds"].tolist() == [2, 1, 1]
    assert means["n_diverged"].tolist() == [0, 0, 0]
    # two seeds have their interval, one its own error
    assert (means["high"] - means["nats"]).tolist()[1:] == pytest.approx([0.7, 0.7])
    assert means["high"].iloc[0] - means["nats"].iloc[0] == pytest.approx(stats.t.ppf(0.975, 1) * 1.0)


@pytest.mark.parametrize("sound_until", [200, 400])
@pytest.mark.parametrize("lost", [[np.nan, np.nan], [np.inf]])
def test_a_diverged_seed_ends_the_mean_wherever_the_others_end(sound_until, lost):
    samples = list(range(100, sound_until + 1, 100))
    sound = curve(1, [-5.0] * len(samples), samples=samples)
    nats = [-3.0, *lost]
    means = over_seeds(pd.concat([curve(0, nats, samples=[100, 200, 300][: len(nats)]), sound]))
    assert means["nats"].iloc[0] == -4.0
    assert means[["nats", "low", "high"]].iloc[1:].isna().all(axis=None)
    assert means["n_diverged"].eq(1).all()


def test_a_seed_that_was_never_sound_leaves_no_mean():
    means = over_seeds(pd.concat([curve(0, [np.nan], samples=[100]), curve(1, [-5.0, -4.0, -3.0])]))
    assert means["nats"].isna().all()
    assert means["n_diverged"].eq(1).all()


def test_a_point_that_a_seed_has_passed_without_a_report_is_left_out():
    # seeds of two sittings, of which one reported more often: no mean jumps between one seed and two
    often = curve(0, [-6.0, -5.0, -4.0, -3.0, -2.0], samples=[100, 150, 200, 250, 300])
    means = over_seeds(pd.concat([often, curve(1, [-8.0, -6.0], samples=[100, 200])]))
    assert means[["samples", "nats", "n_seeds"]].to_numpy().tolist() == [
        [100, -7.0, 2],
        [200, -5.0, 2],
        [250, -3.0, 1],
        [300, -2.0, 1],
    ]


def test_no_rows_give_no_points():
    assert over_seeds(figure2_curves(frame(BOUND, {}).iloc[:0])).columns.tolist()[:5] == CURVE


def test_a_figure_shades_what_lies_between_two_seeds_and_the_interval_of_more():
    """An interval of two seeds is 12.7 times as wide as they lie apart."""
    one, other, third = (
        curve(seed, nats, samples=[100, 200])
        for seed, nats in enumerate(([-120.0, -90.0], [-110.0, -90.0], [-100.0, -80.0]))
    )
    both = pd.concat([one, other])
    two = over_seeds(both)
    assert (two["high"] - two["low"]).tolist() == pytest.approx([127.1, 0.0], abs=0.1)
    assert bands(two)["low"].tolist() == pytest.approx([-120.0, -90.0])
    assert bands(two)["high"].tolist() == pytest.approx([-110.0, -90.0])
    for others in (one, pd.concat([both, third])):
        pd.testing.assert_frame_equal(bands(over_seeds(others)), over_seeds(others))
