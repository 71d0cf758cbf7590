"""Other readings of the paper: each can still be put into the source, and is compared as it should be."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import alternatives
import changes
import figure2_long
import figure3
import figure3_long
import figure3_points
import figure3_prior
import frey_five_hundred
import frey_pace
import frey_readings
import frey_start
import frey_wake_sleep
import seed_noise
import wake_sleep_scaled
from aevb import config

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    "alternative", alternatives.ALTERNATIVES, ids=lambda one: f"{one.question}: {one.answer}"
)
def test_an_alternative_can_still_be_put_into_the_source(alternative, tmp_path):
    source = changes.changed_copy(tmp_path, alternative.change)
    package = ROOT / "src/aevb"
    changed = [
        path.name
        for path in package.rglob("*.py")
        if path.read_text() != (source / "aevb" / path.relative_to(package)).read_text()
    ]
    unchanged = alternative.change is alternatives.NOTHING
    assert changed == ([] if unchanged else [Path(alternative.change.file).name])


@pytest.mark.parametrize(
    ("narrow", "full"),
    [
        (alternatives.NARROW_PRIOR, alternatives.FULL_PRIOR),
        (alternatives.NARROW_PRIOR_ASLEEP, alternatives.FULL_PRIOR_ASLEEP),
    ],
)
def test_on_frey_face_a_prior_of_standard_deviation_a_quarter_is_the_prior_in_full(narrow, full):
    assert narrow.new == "grads, 16.0 * batch_size / n_train)"  # the precision, and M/N of it
    assert 16.0**-0.5 == 1 / 4
    [n_train] = {
        cell.n_train for cell in config.read(ROOT / "config.yaml").cells("figure2") if cell.dataset == "frey"
    }
    assert full.new == f"grads, {16.0 * alternatives.FREY.batch_size / n_train})"
    assert narrow[:2] == full[:2]


def test_an_alternative_is_paired_with_ours_seed_by_seed():
    ours = {"test": [1.0, 2.0, 3.0]}
    one = alternatives.ALTERNATIVES[1]
    [row] = alternatives.rows_of(one, one.cells[0], {"test": [2.0, 2.5, 4.5]}, ours)
    assert row["difference"] == pytest.approx(1.0)
    assert row["std_error"] == pytest.approx(0.5 / 3**0.5)
    assert set(row) == set(alternatives.COLUMNS)


def test_a_seed_that_diverged_leaves_no_difference():
    one = alternatives.ALTERNATIVES[1]
    found = {split: [2.0, np.nan, 4.5] for split in ("train", "test")}
    ours = {split: [1.0, 2.0, 3.0] for split in ("train", "test")}
    table = pd.DataFrame(alternatives.rows_of(one, one.cells[0], found, ours))
    assert table["difference"].isna().all()
    assert alternatives.page(table).endswith("| 2.0 | a seed diverged | – | – |")


def test_every_alternative_has_a_line_of_its_own():
    ours = {"train": [1.0, 2.0, 3.0], "test": [1.0, 2.0, 3.0]}
    tried = [(one, cell) for one in alternatives.ALTERNATIVES if one.answer for cell in one.cells]
    rows = [row for one, cell in tried for row in alternatives.rows_of(one, cell, ours, ours)]
    lines = alternatives.page(pd.DataFrame(rows)).splitlines()[2:]
    assert len(set(lines)) == len(tried)
    tried_on, bounds = "MNIST, AEVB, N_z = 10, 1 M", "2.0 | 2.0 | +0.0 (0.0) | +0.0 (0.0)"
    assert lines[0] == f"| grey levels of MNIST | binarised at 1/2 | {tried_on} | {bounds} |"


def test_every_alternative_has_what_it_is_paired_with():
    def identity(cell):
        return (*cell[:3], cell.samples)

    ours = {identity(cell) for one in alternatives.ALTERNATIVES if not one.answer for cell in one.cells}
    assert {identity(cell) for one in alternatives.ALTERNATIVES for cell in one.cells} == ours


@pytest.mark.parametrize("share", sorted(set(figure3_prior.SHARES) - {figure3_prior.OURS}))
def test_a_share_of_the_prior_can_still_be_put_into_the_source(share, tmp_path):
    source = changes.changed_copy(tmp_path, figure3_prior.SHARES[share])
    written = (source / "aevb/estimators/__init__.py").read_text()
    assert ("* state.params.phi[n]" if "encoder" in share else f"grads, {float(share)})") in written


def test_a_share_of_the_prior_is_paired_with_ours_and_stands_beside_the_paper():
    run = figure3_prior.Run(1000, 4_000_000)
    found, ours = {"train": [-3.0, -2.5, -0.5]}, {"train": [-4.0, -3.0, -2.0]}
    [row] = figure3_prior.rows_of(run, "1", found, ours, figure3.kept())
    assert row["difference"] == pytest.approx(1.0)
    assert row["std_error"] == pytest.approx(0.5 / 3**0.5)
    assert row["paper"] == pytest.approx(-119.0, abs=0.1)  # read off the paper's figure at the same point
    table = pd.DataFrame([row, row | {"split": "test"}])
    assert figure3_prior.page(table).endswith(
        "| 1000 | 4 M | 1 | -119.0 | -2.0 | +1.0 (0.3) | -119.0 | -2.0 | +1.0 (0.3) |"
    )


def test_where_a_curve_reaches_a_bound_and_what_its_test_bound_is_there():
    curve = pd.DataFrame({"samples": [0, 100, 1000, 10_000], "nats": [-500.0, 600.0, 800.0, 900.0]})
    test = curve.assign(nats=curve["nats"] - 10)
    met = frey_pace.meets(curve, test, 700.0)
    assert met.samples == pytest.approx(100 * 10**0.5)  # halfway in log samples
    assert met.test == pytest.approx(690.0)
    # a curve as if five times as slow is met at five times the samples, with the same test bound
    slow = [rows.assign(samples=5 * rows["samples"]) for rows in (curve, test)]
    assert frey_pace.meets(*slow, 850.0).samples == pytest.approx(
        5 * frey_pace.meets(curve, test, 850.0).samples
    )
    assert frey_pace.meets(*slow, 850.0).test == pytest.approx(840.0)
    assert np.isnan(frey_pace.meets(curve, test, 901.0)).all()
    assert np.isnan(frey_pace.meets(curve, test, 599.0)).all()
    # after a dip the level counts as met where it was met first
    dip = pd.DataFrame({"samples": [1, 2, 3, 4], "nats": [1.0, 3.0, 2.0, 4.0]})
    assert frey_pace.meets(dip, dip, 3.0).samples == pytest.approx(2.0)


def test_the_long_runs_stand_beside_the_paper_and_ours():
    comparison = pd.read_csv(ROOT / "results/reference/paper_comparison.csv")
    n = len(figure3_long.SAMPLES)
    seeds = [{"train": [-130.0] * n, "test": [-140.0] * n}, {"train": [-134.0] * n, "test": [-142.0] * n}]
    rows = figure3_long.table(seeds, comparison)
    last = rows[(rows["split"] == "train") & (rows["samples"] == 63_000_000)].iloc[0]
    assert last["paper"] == pytest.approx(-131.0, abs=0.1)  # read off the paper's figure
    assert last[["other", "low", "high"]].tolist() == [-132.0, -134.0, -130.0]
    assert figure3_long.page(rows).splitlines()[-1].startswith("| 63 M | -131.0 | ")
    assert "| -132.0 (-134.0 to -130.0) | -1.0 |" in figure3_long.page(rows)


def test_the_first_thousand_stands_beside_the_others():
    test = pd.DataFrame({"split": "test", "first": [1000, 0, 2000], "log_likelihood": [-4.0, -1.0, -2.0]})
    page = figure3_points.page(pd.concat([test.assign(split="train"), test]))
    assert page.endswith("| test | -1.0 | -3.0 | -4.0 | -2.0 | 1.4 | +2.0 |")


def test_means_since_the_start_are_weighted_by_their_samples():
    curve = pd.DataFrame({"samples": [10_000, 30_000, 40_000], "nats": [-5.0, 1.0, 3.0]})
    assert frey_pace.since_start(curve, 30_000) == pytest.approx((10 * -5.0 + 20 * 1.0) / 30)
    assert frey_pace.since_start(curve, 20_000) == pytest.approx((10 * -5.0 + 10 * 1.0) / 20)
    assert np.isnan(
        frey_pace.since_start(curve[1:], 30_000)
    )  # its first point is a mean since an unknown one


def test_a_run_like_the_papers_is_not_behind_it_and_one_that_starts_later_is():
    """A curve that leaves its start at once, read as the paper's curves are: first train point a mean since then."""
    samples = [10_000, 20_000, 40_000]
    run = pd.DataFrame(
        {"split": ["train"] * 3 + ["test"] * 3, "samples": samples * 2, "nats": [-500.0, 500.0, 600.0] * 2}
    )
    papers = {"train": (40_000, (-500 + 500 + 2 * 600) / 4), "test": (20_000, 500.0)}
    paper = pd.DataFrame(
        [{"split": split, "samples": at, "nats": nats} for split, (at, nats) in papers.items()]
        + [{"split": "test", "samples": 80_000, "nats": 700.0}]
    )
    first, tested, beyond = frey_start.behind(run, paper)
    assert (first, tested) == pytest.approx((0.0, 0.0))
    assert np.isnan(beyond), "the run has no point there"
    slow = run.assign(samples=2 * run["samples"])
    slow = pd.concat([slow, pd.DataFrame({"split": ["train"], "samples": [10_000], "nats": [-500.0]})])
    assert frey_start.behind(slow, paper)[0] == pytest.approx((-500 + 500) / 2 - 300)
    assert frey_start.behind(slow, paper)[1] == pytest.approx(-1000.0)


def panels_of(random, shift=0.0, seeds=(2, 3, 3, 5)):
    """One run of the paper and some of ours in each panel; the paper's is `shift` standard deviations off."""
    runs = [random.normal(scale=2.0, size=n) for n in seeds]
    difference = [ours.mean() - random.normal(2.0 * shift, 2.0) for ours in runs]
    return pd.DataFrame(
        {"n": seeds, "variance": [ours.var(ddof=1) for ours in runs], "difference": difference}
    )


def test_a_run_like_ours_differs_as_much_as_our_seeds_say_and_another_by_more():
    random = np.random.default_rng(0)

    def ratio(shift):
        """Of the mean squares, over many papers, with its standard error."""
        found = [seed_noise.pooled(panels_of(random, shift)) for _ in range(4000)]
        squares, by_seeds = ([one[name] ** 2 for one in found] for name in ("rms", "by_seeds"))
        return np.mean(squares) / np.mean(by_seeds), np.std(squares) / np.mean(by_seeds) / len(found) ** 0.5

    value, error = ratio(0.0)
    assert abs(value - 1) < 4 * error
    value, error = ratio(0.5)
    assert value - 1 > 4 * error


def test_the_interval_of_one_run_holds_95_of_100_runs_like_ours_and_fewer_of_others():
    random = np.random.default_rng(1)

    def held(shift):
        """The share of the paper's runs that lie within, with its standard error."""
        found = pd.concat([panels_of(random, shift, seeds=(3, 3, 8, 8)) for _ in range(1000)])
        within = found["difference"].abs() <= seed_noise.of_one_run(found)
        return within.mean(), within.std() / len(within) ** 0.5

    value, error = held(0.0)
    assert abs(value - 0.95) < 4 * error
    value, error = held(1.0)
    assert 0.95 - value > 4 * error


def test_differences_are_of_the_curves_that_have_several_seeds():
    kind = {"dataset": "mnist", "method": "aevb", "split": "test", "n_train": 50_000, "error": np.nan}
    seeds = [(3, 0, -150.0), (3, 1, -148.0), (3, 2, -146.0), (5, 0, -140.0), (10, 0, np.nan), (10, 1, -130.0)]
    ours = pd.DataFrame(
        [
            kind | {"n_latent": n_latent, "seed": seed, "samples": 1_000_000, "nats": nats}
            for n_latent, seed, nats in seeds
        ]
    )
    paper = pd.DataFrame(
        [
            kind | {"figure": 2, "n_latent": 3, "samples": samples, "nats": nats}
            for samples, nats in ((100_000, -160.0), (10_000_000, -140.0))
        ]
    )
    ours = pd.concat([ours, ours.assign(split="train", nats=0.0)])
    # N_z = 10, of which a seed diverged, is not there
    [row] = seed_noise.panels(ours, paper, 1_000_000).to_dict("records")
    assert (row["n_latent"], row["n"], row["variance"]) == (3, 3, 4.0)
    assert row["difference"] == pytest.approx(-148 + 150)  # the paper's is halfway in log samples


def test_a_reading_of_the_long_runs_stands_beside_the_paper_and_ours_at_the_same_points():
    panel = {"dataset": "mnist", "method": "aevb", "n_latent": 3}
    splits = {"train": 0.0, "test": -5.0}
    ours = pd.DataFrame(
        [
            panel | {"split": split, "seed": seed, "samples": 10_000_000, "nats": off - 140 - seed}
            for split, off in splits.items()
            for seed in (0, 1, 2)
        ]
    )
    paper = pd.DataFrame(
        [
            panel | {"figure": figure, "split": split, "samples": at, "nats": off + nats - 10 * (figure == 3)}
            for split, off in splits.items()
            for figure in (2, 3)
            for at, nats in ((1_000_000, -150.0), (100_000_000, -130.0))
        ]
    )
    rows = [
        [3, "otherwise", split, at, -139.0] for split in splits for at in (10_000_000, 11_000_000, 20_000_000)
    ]
    table = pd.DataFrame(rows, columns=figure2_long.COLUMNS)
    papers, mine, others = list(figure2_long.lines(table, ours, paper))[2:]
    assert papers.startswith("| 3 | the paper | -150.0 / -155.0 | -140.0 / -145.0 | -137.0 / -142.0 | ")
    # of ours the seed that the readings share
    assert mine == "| 3 | as we read it, less the paper | – | -1.0 / -1.0 | – | – | – |"
    assert others == "| 3 | otherwise, less the paper | – | +1.0 / +6.0 | -2.0 / +3.0 | – | – |"


def test_wake_sleep_with_the_librarys_factor_stands_beside_ours_and_the_paper():
    panel = {"dataset": "mnist", "method": "wake_sleep", "n_latent": 20}
    ours = pd.DataFrame(
        [
            panel | {"seed": seed, "split": split, "samples": at, "nats": -150.0 - seed}
            for seed in (0, 1)
            for split in ("train", "test")
            for at in (1_000_000, 1_500_000)
        ]
    )
    paper = pd.DataFrame(
        [
            panel | {"figure": figure, "split": split, "samples": at, "nats": nats}
            for figure, nats in ((2, -149.0), (3, -100.0))
            for split in ("train", "test")
            for at in (100_000, 100_000_000)
        ]
    )
    rows = [
        [wake_sleep_scaled.TIMES, 20, 1, "train", 2_000_000, -148.0],
        [wake_sleep_scaled.TIMES, 20, 1, "test", 2_000_000, -152.0],
        # a mean over the first 10 000 samples, then one over the next 190 000
        [wake_sleep_scaled.PUBLISHED, 20, 1, "train", 10_000, -349.0],
        [wake_sleep_scaled.PUBLISHED, 20, 1, "train", 200_000, -139.0],
        [wake_sleep_scaled.PUBLISHED, 20, 1, "test", 10_000, -140.0],
        [wake_sleep_scaled.PUBLISHED, 20, 1, "test", 200_000, -150.0],
    ]
    table = pd.DataFrame(rows, columns=wake_sleep_scaled.COLUMNS)
    papers, mine, scaled, published = list(wake_sleep_scaled.lines(table, ours, paper))[2:]
    assert papers.startswith("| 20 | the paper | -149.0 / -149.0 | -149.0 / -149.0 |")
    assert mine == "| 20 | as we read it, less the paper | – | – | -2.0 / -2.0 | – | – | – |"  # of seed 1
    assert scaled == "| 20 | log-variance times 0.1, less the paper | – | – | – | +1.0 / -3.0 | – | – |"
    # at the paper's 100 000: (10 x -349 + 90 x -139) / 100 = -160 on train; on test between -140 and -150
    first = re.search(r"as published, less the paper \| (\S+) / (\S+) \|", published)
    assert float(first[1]) == -11.0
    assert 0.0 < float(first[2]) < 9.0


def test_every_seed_stands_beside_ours_at_the_start_and_at_10_6():
    papers = {"figure": 2, "dataset": "mnist", "method": "wake_sleep"}
    paper = pd.DataFrame(
        [
            papers | {"n_latent": n, "split": split, "samples": at, "nats": -150.0}
            for n in wake_sleep_scaled.LATENTS
            for split in ("train", "test")
            for at in (100_000, 1_000_000)
        ]
    )
    rows = [
        [wake_sleep_scaled.PUBLISHED, n, seed, split, at, -150.0 + seed]
        for n in wake_sleep_scaled.LATENTS
        for seed in (0, 1, 2)
        for split in ("train", "test")
        for at in (10_000, 100_000, 1_000_000)
    ]
    table = pd.DataFrame(rows, columns=wake_sleep_scaled.COLUMNS)
    # ours is of one seed whose reports begin too late to know its start
    late = table.query("seed == 0 and samples > 10_000").assign(
        nats=-153.0, dataset="mnist", method="wake_sleep"
    )
    mine, published = list(wake_sleep_scaled.seed_lines(table, late, paper))[2:4]
    assert mine == "| 3 | as we read it | – | -3.0 |"
    assert published == f"| 3 | {wake_sleep_scaled.PUBLISHED} | +0.0, +1.0, +2.0 | +0.0, +1.0, +2.0 |"
    panels = wake_sleep_scaled.figure(table, late, paper).axes
    assert [len(axes.lines) for axes in panels] == [1 + 3 + 1] * 5  # ours, so read, the paper


def test_seeds_with_minibatches_of_500_stand_beside_ours_and_the_paper():
    panel = {"figure": 2, "dataset": "frey", "method": "aevb"}
    paper = pd.DataFrame(
        [
            panel | {"n_latent": n, "split": split, "samples": at, "nats": 700.0}
            for n in frey_five_hundred.LATENTS
            for split in ("train", "test")
            for at in (100_000, 20_000_000)
        ]
    )
    rows = [
        [step_size, seed, n, split, at, 700.0 + 100 * step_size + seed]
        for step_size in (0.01, 0.02)
        for n in frey_five_hundred.LATENTS
        for seed in (0, 1, 2)
        for split in ("train", "test")
        for at in (10_000, 100_000, 10_000_000)
    ]
    table = pd.DataFrame(rows, columns=frey_five_hundred.COLUMNS)
    late = table.query("step_size == 0.01 and seed == 0 and samples > 10_000")
    ours = late.assign(nats=800.0, dataset="frey", method="aevb")
    first, *_, last = list(frey_five_hundred.lines(table, ours, paper))[2:]
    assert first == "| 2 | 100, step size 0.01 | – | +100 | +100 | +100 |"
    assert last == f"| 20 | 500, step size 0.02 |{4 * ' +2, +3, +4 |'}"
    assert [len(axes.lines) for axes in frey_five_hundred.figure(table, ours, paper).axes] == [8] * 4


AS_IS = {
    "sees": "x",
    "encoder": "tanh",
    "decoder": "tanh",
    "log_var": [1, 1],  # encoder's, decoder's, beside what their networks give; 0.1: but for the bias
    "zero": [],
    "eps": 1e-8,
    "bound": "B",
}
SO_READ = {
    frey_readings.CENTRED: {"sees": "x - 0.5"},
    "the encoder sees 2x - 1": {"sees": "2 * x - 1"},
    "the encoder sees 2x": {"sees": "2 * x"},
    "the encoder sees 0.5x": {"sees": "0.5 * x"},
    "the encoder sees 0.2x": {"sees": "0.2 * x"},
    "biases begin at zero": {"zero": ["phi.b_h", "phi.b_out", "theta.b_h", "theta.b_out"]},
    "softplus units in the encoder": {"encoder": "softplus"},
    "softplus units in the decoder": {"decoder": "softplus"},
    "softplus units in both": {"encoder": "softplus", "decoder": "softplus"},
    "the encoder as wake-sleep's is published": {"log_var": [0.1, 1], "zero": ["phi log_var"]},
    "networks give log sigma, not log sigma^2": {"log_var": [2, 2]},
    "the decoder's log-variance begins at zero": {"zero": ["theta log_var"]},
    "gradient of a minibatch's mean, not sum": {"eps": 1e-8 * 500**2},
    "SGVB-A (eq. 6)": {"bound": "A"},
}


@pytest.mark.parametrize("name", frey_readings.READINGS)
def test_aevb_on_frey_face_can_be_read_so(name, tmp_path):
    """A reading's changes leave a package that encodes, decodes, begins and learns as its name says, and no other."""
    source = changes.changed_copy(tmp_path, *frey_readings.READINGS[name])
    asked = tmp_path / "asked.py"
    asked.write_text(
        "import inspect, json, torch\n"
        "from aevb import models, optimisers, trees\n"
        "from aevb.estimators.aevb import elbo\n"
        "units = {'tanh': torch.tanh, 'softplus': torch.nn.functional.softplus}\n"
        "inputs = ['x', 'x - 0.5', '2 * x - 1', '2 * x', '0.5 * x', '0.2 * x']\n"
        "close = lambda a, b: torch.allclose(a, b, atol=1e-5)\n"
        "model = models.build(6, 5, 2, -10.0)\n"
        "start = trees.stack([model.init(torch.Generator().manual_seed(0))])\n"
        # Weights of 1 would bring doubled log-variances below the model's bound of -10, which then holds them.
        "theta, phi = ({n: 0.3 * torch.randn(w.shape) for n, w in part.items()} for part in start)\n"
        "x, z = torch.rand(1, 4, 6), torch.randn(1, 1, 4, 2)\n"
        "q, p = model.encode(phi, x), model.decode(theta, z)\n"
        "def heads(weights, unit, x):\n"
        "    return models.affine(weights, 'out', unit(models.affine(weights, 'h', x))).chunk(2, -1)\n"
        "def times(found, given, bias):\n"
        "    scaled = {1: given, 2: 2 * given, 0.1: bias + 0.1 * (given - bias)}\n"
        "    return [scale for scale, log_var in scaled.items() if close(found, log_var)]\n"
        "bias = phi['b_out'].chunk(2, -1)[1]\n"
        "encoded = [(sees, name, times(q[1], log_var, bias)) for sees in inputs for name, unit in units.items()\n"
        "           for mu, log_var in [heads(phi, unit, eval(sees))] if close(q[0], mu)]\n"
        "decoded = [(name, times(p[1].squeeze(1), log_var, 0)) for name, unit in units.items()\n"
        "           for mu, log_var in [heads(theta, unit, z.squeeze(1))]\n"
        "           if close(p[0].squeeze(1), torch.sigmoid(mu))]\n"
        "[(sees, encoder, [a])], [(decoder, [b])] = encoded, decoded\n"
        "zero = [name for name, w in trees.leaves(start).items() if not w.any()]\n"
        "zero += [f'{name} log_var' for name, part in zip(start._fields, start)\n"
        "         if not part['w_out'].chunk(2, -1)[1].any()]\n"
        "eps = torch.randn(1, 1, 4, 2)\n"
        "drawn = (q[0] + (0.5 * q[1]).exp() * eps.squeeze(1)).unsqueeze(1)\n"
        "ratio = model.log_joint(theta, x, drawn) - q.__class__(*(one.unsqueeze(1) for one in q)).log_prob(drawn)\n"
        "bound = elbo(model, models.Params(theta, phi), x, eps)\n"
        "print(json.dumps({\n"
        "    'sees': sees, 'encoder': encoder, 'decoder': decoder, 'log_var': [a, b], 'zero': sorted(zero),\n"
        "    'eps': inspect.signature(optimisers.adagrad).parameters['eps'].default,\n"
        "    'bound': 'A' if torch.allclose(bound, ratio.squeeze(1), rtol=1e-4) else 'B',\n"
        "}))\n"
    )
    found = changes.printed_with(source, str(asked))
    assert found == AS_IS | SO_READ.get(name, {})


def test_a_reading_of_aevb_on_frey_face_stands_beside_the_paper():
    panel = {"figure": 2, "dataset": "frey", "method": "aevb", "n_latent": 5}
    points = [(split, at) for split in ("train", "test") for at in (100_000, 10_000_000)]
    paper = pd.DataFrame([panel | {"split": split, "samples": at, "nats": 700.0} for split, at in points])
    rows = [
        [name, 0.01, 5, split, at, 710.0 + place]
        for place, name in enumerate(frey_readings.READINGS)
        for split in ("train", "test")
        for at in (10_000, 100_000, 4_000_000)
    ]
    table = pd.DataFrame(rows, columns=frey_readings.COLUMNS)
    shown = list(frey_readings.lines(table, paper))[2:]
    assert shown[0] == "| as we read it | 0.01 | 5 | +10 | +10 | +10 |"
    assert len(shown) == len(frey_readings.READINGS)


@pytest.mark.parametrize("name", frey_wake_sleep.READINGS)
def test_wake_sleep_on_frey_face_can_be_read_so(name, tmp_path):
    """Alone or together, the changes leave a package that dreams, decodes and begins as the reading's name says."""
    source = changes.changed_copy(tmp_path, *frey_wake_sleep.READINGS[name])
    asked = tmp_path / "asked.py"
    asked.write_text(
        "import json, torch\n"
        "from aevb import models, trees\n"
        "from aevb.estimators.wake_sleep import Noise, dream\n"
        "softplus = torch.nn.functional.softplus\n"
        "model = models.build(6, 5, 2, -10.0)\n"
        "start = trees.stack([model.init(torch.Generator().manual_seed(0))])\n"
        "q = model.encode(start.phi, torch.rand(1, 4, 6))\n"
        "theta = {name: 20 * w for name, w in start.theta.items()}\n"
        "noise = Noise(torch.randn(1, 1, 50, 2), torch.randn(1, 1, 50, 2), torch.randn(1, 1, 50, 6))\n"
        "def decoded(*units):\n"
        "    h, names = noise.z.squeeze(1), ['first', 'h'] if 'w_first' in theta else ['h']\n"
        "    for unit, name in zip(units[-len(names):], names):\n"
        "        h = unit(models.affine(theta, name, h))\n"
        "    mu, log_var = models.affine(theta, 'out', h).chunk(2, -1)\n"
        "    return torch.sigmoid(mu), log_var.clamp(min=-10)\n"
        "def dreamt(*units):\n"
        "    mu, log_var = decoded(*units)\n"
        "    return mu + (0.5 * log_var).exp() * noise.x.squeeze(1)\n"
        "x, p = dream(model, theta, noise), model.decode(theta, noise.z)\n"
        "def as_are(*units):\n"
        "    return all(torch.allclose(a.squeeze(1), b, atol=1e-5) for a, b in zip(p, decoded(*units)))\n"
        "both, late, tanh = (softplus, softplus), (softplus, torch.tanh), (torch.tanh, torch.tanh)\n"
        "print(json.dumps({\n"
        "    'zero': not q.log_var.any().item(), 'deep': 'w_first' in theta,\n"
        "    'density': 'tanh' if as_are(*tanh) else 'late' if as_are(*late) else 'other',\n"
        "    'dreams': [name for name, units in (('softplus', both), ('tanh', tanh))\n"
        "               if torch.allclose(x, dreamt(*units), atol=1e-5)],\n"
        "    'clipped': torch.allclose(x, dreamt(*tanh).clamp(0, 1), atol=1e-5),\n"
        "}))\n"
    )
    found = changes.printed_with(source, str(asked))
    later = name.startswith("the later")
    soft = name.startswith(frey_wake_sleep.SOFT) or later
    unclipped = "not clipped" in name or name.startswith("both")
    assert found == {
        "zero": "as published" in name or name.startswith("both") or later,
        "deep": "two hidden" in name,
        "density": "late" if later else "tanh",
        "dreams": ["softplus"] if soft else ["tanh"] if unclipped else [],
        "clipped": not (soft or unclipped),
    }


@pytest.mark.parametrize("name", ["prior in full", "prior in full on the encoder"])
def test_the_prior_of_wake_sleep_can_weigh_in_full(name, tmp_path):
    """Beside ours, one step adds (1 - M/N) of the prior's gradient, -w, to that of the weights it is said of."""
    [change] = frey_wake_sleep.READINGS[name]
    asked = tmp_path / "asked.py"
    asked.write_text(
        "import json, torch\n"
        "from aevb import models, trees\n"
        "from aevb.estimators import wake_sleep\n"
        "from aevb.optimisers import Optimiser\n"
        "def ascend(state, params, grads, prior):\n"
        "    moved = {n: g - prior * models.is_weight(n) * trees.leaves(params)[n]\n"
        "             for n, g in trees.leaves(grads).items()}\n"
        "    return trees.rebuild(params, moved), state\n"
        "model = models.build(6, 5, 2, -10.0)\n"
        "generator = torch.Generator().manual_seed(0)\n"
        "start = trees.stack([model.init(generator)])\n"
        "estimator = wake_sleep.build(model, Optimiser(lambda params: (), ascend), 16)\n"
        "noise = trees.stack([estimator.draw(generator, 4)])\n"
        "state, _ = estimator.step(estimator.init(start), torch.rand(1, 4, 6, generator=generator), noise)\n"
        "print(json.dumps({n: [g.flatten().tolist(), trees.leaves(start)[n].flatten().tolist()]\n"
        "                  for n, g in trees.leaves(state.params).items()}))\n"
    )
    ours, so_read = (
        changes.printed_with(source, str(asked))
        for source in (changes.PACKAGE.parent, changes.changed_copy(tmp_path, change))
    )
    for weight, (gradient, value) in ours.items():
        heavier = ".w" in weight and ("phi" in weight or name == "prior in full")
        added = np.subtract(so_read[weight][0], gradient)
        np.testing.assert_allclose(added, -0.75 * heavier * np.array(value), atol=2e-4)
        assert heavier == bool(np.abs(added).max() > 4e-3)


def test_a_reading_of_wake_sleep_on_frey_face_stands_beside_the_paper():
    panel = {"figure": 2, "dataset": "frey", "method": "wake_sleep"}
    paper = pd.DataFrame(
        [
            panel
            | {"n_latent": n, "split": split, "samples": at, "nats": 300.0 if split == "train" else 569.0}
            for n in frey_wake_sleep.LATENTS
            for split in ("train", "test")
            for at in (100_000, 2_000_000)
        ]
    )
    rows = [
        [name, seed, n, split, at, seed + (310.0 if split == "train" else 600.0) + n]
        for name in frey_wake_sleep.READINGS
        for seed in ((0, 1) if name == frey_wake_sleep.OURS else (0,))
        for n in frey_wake_sleep.LATENTS
        for split in ("train", "test")
        for at in (10_000, 200_000, 1_000_000)
    ]
    table = pd.DataFrame(rows, columns=frey_wake_sleep.COLUMNS)
    shown = list(frey_wake_sleep.lines(table, paper))[2:]
    assert shown[0].startswith("| as we read it | +12, +13 | +33, +34 |")
    assert shown[1] == "| dreams not clipped | +12 | +33 | +15 | +36 | +20 | +41 | +30 | +51 |"


def test_the_published_recognition_model_is_that_of_the_library(tmp_path):
    """z's log-variance is 0.1 W h + b there, and W and b are zero at the start, all else as ours."""
    source = changes.changed_copy(tmp_path, *wake_sleep_scaled.READINGS[wake_sleep_scaled.PUBLISHED])
    asked = tmp_path / "asked.py"
    asked.write_text(
        "import json, torch\n"
        "from aevb import models, trees\n"
        "model = models.build(6, 5, 2, None)\n"
        "start = trees.stack([model.init(torch.Generator().manual_seed(0))])\n"
        "x = torch.rand(1, 4, 6)\n"
        "zero = model.encode(start.phi, x)\n"
        "w, b = torch.randn(1, 5, 4), torch.randn(1, 1, 4)\n"
        "phi = start.phi | {'w_out': w, 'b_out': b}\n"
        "h = torch.tanh(models.affine(phi, 'h', x))\n"
        "q = model.encode(phi, x)\n"
        "error = (q.log_var - (0.1 * h @ w[..., 2:] + b[..., 2:])).abs().max().item()\n"
        "means = (q.mu - (h @ w[..., :2] + b[..., :2])).abs().max().item()\n"
        "print(json.dumps([zero.log_var.abs().max().item(), zero.mu.abs().max().item() > 0, error, means]))\n"
    )
    start, moves, error, means = changes.printed_with(source, str(asked))
    assert start == 0.0
    assert moves
    assert max(error, means) < 1e-5


def test_the_readings_of_the_long_runs_can_still_be_put_into_the_source(tmp_path):
    for name in {run.reading for run in figure2_long.RUNS}:
        changes.changed_copy(tmp_path, figure2_long.READINGS[name].change)


def test_the_deeper_decoder_has_two_hidden_layers_and_the_encoder_one(tmp_path):
    """What z has to pass: with either layer's weights at zero nothing of it arrives."""
    source = changes.changed_copy(tmp_path, alternatives.DEEP_DECODER)
    asked = tmp_path / "asked.py"
    asked.write_text(
        "import json, torch\n"
        "from aevb import models, trees\n"
        "model = models.build(6, 5, 2, -13.6)\n"
        "params = trees.stack([model.init(torch.Generator().manual_seed(0))])\n"
        "z = torch.randn(1, 1, 4, 2)\n"
        "def spread(theta): return model.decode(theta, z).mu.std(2).max().item()\n"
        "def without(name): return params.theta | {name: torch.zeros_like(params.theta[name])}\n"
        "spreads = [spread(params.theta), *(spread(without(name)) for name in ('w_first', 'w_h'))]\n"
        "print(json.dumps([sorted(params.theta), sorted(params.phi), *spreads]))\n"
    )
    theta, phi, spread, *without = changes.printed_with(source, str(asked))
    assert theta == ["b_first", "b_h", "b_out", "w_first", "w_h", "w_out"]
    assert phi == ["b_h", "b_out", "w_h", "w_out"]
    assert spread > 0
    assert without == [0, 0]
