"""Kept runs: sittings add up, a run is there once and whole, and what is committed is whole."""

import re
from pathlib import Path

import pandas as pd
import pytest

from aevb import UserError, kept
from aevb.experiments import AS_PUBLISHED, CERTIFIED, Cell
from aevb.kept import BOUNDS, CERTIFICATE, LIKELIHOODS, NOTHING, RUN, Kept

ROOT = Path(__file__).parents[1]
CELL = {"dataset": "mnist", "estimator": "aevb", "n_hidden": 100, "n_latent": 3, "n_train": 1000}


MODEL = {"decoder": "gaussian", "log_var_floor": -13.6, "train_points": 1000}
PROTOCOL = MODEL | {"step_size": 0.1, "batch_size": 100, "warm_up": 100, "settings": "{}", "data": "d"}


def run(seed=0, samples=200, bound=-150.0, likelihood=None, n_points=1000, diverged=False, **changes):
    """What one sitting brings: a run with a value every 100 samples."""
    named = CELL | {"seed": seed} | {name: changes.pop(name) for name in list(changes) if name in CELL}
    line = named | PROTOCOL | {"samples": samples, "seconds": 1.0, "diverged": diverged} | changes
    estimate = {"evidence_estimator": CERTIFIED, "log_likelihood": likelihood, "n_points": n_points}
    points = [named | {"split": "test", "samples": point} for point in range(100, samples + 1, 100)]
    return Kept(
        pd.DataFrame([point | {"bound": bound} for point in points], columns=BOUNDS),
        pd.DataFrame(
            [point | estimate for point in points if likelihood is not None],
            columns=LIKELIHOODS,
        ),
        pd.DataFrame([line], columns=CERTIFICATE),
    )


def add(old, new):
    return kept.merged(old, kept.taken(old, new))


def same(a, b):
    for one, other in zip(a, b, strict=True):
        pd.testing.assert_frame_equal(one, other, check_dtype=False)


def test_sittings_add_up_in_any_order():
    ours, seeds, cells = run(), run(seed=1), run(n_latent=5)
    added = add(add(ours, seeds), cells)
    assert added.runs[["n_latent", "seed"]].to_numpy().tolist() == [[3, 0], [3, 1], [5, 0]]
    assert len(added.bounds) == 6
    same(added, add(add(cells, seeds), ours))
    same(add(NOTHING, added), added)
    same(add(added, NOTHING), added)


def test_of_one_run_the_longer_is_kept_whole():
    short, long = run(samples=200, bound=-150.0), run(samples=400, bound=-149.0)
    for added in (add(short, long), add(long, short)):
        assert added.runs["samples"].tolist() == [400]
        # not a point of the other is left between: another machine rounds another run
        assert added.bounds["bound"].tolist() == [-149.0] * 4


def test_of_two_runs_as_long_the_old_one_stays_unless_the_new_one_has_more_of_log_p():
    assert add(run(bound=-150.0), run(bound=-149.0)).bounds["bound"].tolist() == [-150.0] * 2
    more = run(bound=-149.0, likelihood=-140.0)
    same(add(run(bound=-150.0), more), more)
    same(add(more, run(bound=-150.0)), more)


def test_of_two_runs_as_long_the_one_with_more_points_of_its_curve_is_kept():
    whole, late = run(bound=-149.0), run(bound=-150.0)
    late = late._replace(bounds=late.bounds[late.bounds["samples"] > 100])
    for added in (add(late, whole), add(whole, late)):
        same(added, whole)
    # but not at the price of its log p(x)
    for added in (add(more := run(bound=-150.0, likelihood=-140.0), whole), add(whole, more)):
        same(added, more)
    few = run(bound=-149.0, likelihood=-139.0, n_points=10)
    for added in (add(more, few), add(few, more)):
        same(added, more)


def test_log_likelihoods_follow_their_run():
    short, long = run(likelihood=-140.0), run(samples=400, likelihood=-139.0)
    for added in (add(short, long), add(long, short)):
        assert added.likelihoods["log_likelihood"].tolist() == [-139.0] * 4
    assert len(add(short, run(seed=1)).likelihoods) == 2


@pytest.mark.parametrize("evidence", [{}, {"likelihood": -139.0, "n_points": 10}])
def test_a_run_whose_log_likelihood_would_be_lost_or_of_fewer_points_is_refused(evidence):
    with pytest.raises(
        UserError, match=r"mnist/aevb/100/3/1000/0 has log p\(x\) at 100 .*1000 points.*evidence"
    ):
        add(run(likelihood=-140.0), run(samples=400, **evidence))
    long = run(samples=400, likelihood=-140.0)
    same(add(long, run()), long)


def test_log_likelihoods_at_other_samples_are_named_where_the_kept_ones_would_be_lost():
    given = run(samples=400, likelihood=-139.0)
    found = given.likelihoods.query("samples > 200")
    published = given.likelihoods.assign(
        evidence_estimator=AS_PUBLISHED
    )  # another estimator's, of all samples
    others = given._replace(likelihoods=pd.concat([found, published]))
    with pytest.raises(UserError, match=r"at 100 samples .* has it at 300, 400 \(of 1000 points\)"):
        add(run(likelihood=-140.0), others)


@pytest.mark.parametrize("length", [100, 200, 400])
def test_a_diverged_run_takes_no_sound_ones_place_and_hides_behind_none(length):
    for pair in ((run(), run(samples=length, diverged=True)), (run(samples=length, diverged=True), run())):
        with pytest.raises(UserError, match=r"mnist/aevb/100/3/1000/0.*one has diverged and one has not"):
            add(*pair)


@pytest.mark.parametrize(
    "other",
    [
        *({"decoder": "bernoulli"}, {"log_var_floor": -4.0}, {"log_var_floor": None}, {"train_points": 500}),
        *({"step_size": 0.02}, {"batch_size": 500}, {"warm_up": 0}, {"settings": "x"}, {"data": "e"}),
    ],
)
def test_seeds_of_other_protocols_make_no_mean(other):
    with pytest.raises(UserError, match=f"differ in {next(iter(other))}"):
        add(run(), run(seed=1, **other))
    assert len(add(run(), run(n_latent=5, **other)).runs) == 2
    for samples in (100, 200, 400):  # whichever is the longer
        with pytest.raises(UserError, match=f"0, the kept one has {next(iter(other))} .*two methods"):
            add(run(), run(samples=samples, **other))


def test_the_runs_of_a_decoder_without_a_floor_are_of_one_protocol():
    plain = {"decoder": "bernoulli", "log_var_floor": None}
    both = add(run(**plain), run(seed=1, **plain))
    assert len(both.runs) == 2
    assert add(both, run(samples=400, **plain)).runs["samples"].tolist() == [400, 200]


def test_all_that_makes_a_cell_is_kept_of_a_run():
    assert {*Cell.model_fields} - {"source"} <= {*RUN, *kept.PROTOCOL}


def test_a_run_given_twice_and_an_estimate_told_twice():
    cell = CELL | {
        "step_size": 0.1,
        "data": "d",
        "seed": 0,
        "samples": 200,
        "diverged": False,
        "versions": {},
    }
    cell |= {"cell": MODEL | {"settings": {"b": 1, "a": 2}, "batch_size": 100, "warm_up": 100}}
    point = CELL | {"seed": 0, "split": "test", "samples": 200}
    curve = pd.DataFrame([point | {"bound": "-1.23456"}])  # as text, beside a curve without rows
    marginal = pd.DataFrame(2 * [point | {"evidence_estimator": CERTIFIED, "log_likelihood": -1.0}])
    with pytest.raises(UserError, match="mnist/aevb/100/3/1000/0 is given twice"):
        kept.collect([cell, cell], curve, marginal)
    found = kept.collect([cell], curve, marginal)
    assert [len(table) for table in found] == [1, 1, 1]
    assert found.bounds["bound"].tolist() == [-1.23456]
    assert found.runs["settings"].tolist() == ['{"a": 2, "b": 1}']
    assert found.runs[list(MODEL)].to_dict("records") == [MODEL]


def test_what_is_written_is_read_and_a_missing_table_is_named(tmp_path):
    assert kept.read(tmp_path / "none") is NOTHING
    kept.write(tmp_path, run(bound=-150.12345, likelihood=-140.0))
    assert kept.read(tmp_path).bounds["bound"].tolist() == [-150.123] * 2
    (tmp_path / "bounds.csv").unlink()
    with pytest.raises(UserError, match=r"bounds\.csv"):
        kept.read(tmp_path)


def test_a_table_of_other_columns_is_refused(tmp_path):
    kept.write(tmp_path, run())
    (tmp_path / "runs.csv").write_text("dataset,seed\nmnist,0\n")
    with pytest.raises(UserError, match=r"runs\.csv.*Take the committed one"):
        kept.read(tmp_path)


def test_a_table_that_has_a_run_twice_is_refused(tmp_path):
    kept.write(tmp_path, add(run(), run(seed=1)))
    lines = (tmp_path / "runs.csv").read_text().splitlines()
    (tmp_path / "runs.csv").write_text("\n".join([*lines, lines[-1]]) + "\n")
    with pytest.raises(UserError, match=r"runs\.csv has the run mnist/aevb/100/3/1000/1 twice"):
        kept.read(tmp_path)


def test_every_committed_run_is_whole_and_certified():
    bounds, likelihoods, runs = kept.read(ROOT / "results/reference/kept")
    assert not runs.duplicated(RUN).any()
    assert runs[CERTIFICATE].drop(columns=["joules", "log_var_floor"]).notna().all(axis=None)
    assert (runs["decoder"].eq("gaussian") == runs["log_var_floor"].notna()).all()
    assert not (runs["joules"] < 0).any()
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in [*runs["data"], *runs["numerics"]])
    named = pd.MultiIndex.from_frame(runs[RUN])
    assert set(named) == {*pd.MultiIndex.from_frame(pd.concat([bounds, likelihoods])[RUN])}
    lengths = runs.set_index(RUN)["samples"]
    reached = bounds.groupby(RUN)["samples"].max()
    assert reached.eq(lengths.reindex(reached.index)).all()
    for table, key in ((bounds, ["split"]), (likelihoods, ["split", "evidence_estimator"])):
        assert not table.duplicated([*RUN, "samples", *key]).any()
        assert table["samples"].le(lengths.reindex(pd.MultiIndex.from_frame(table[RUN])).to_numpy()).all()


def test_seeds_whose_log_p_is_of_other_points_make_no_mean():
    old = run(likelihood=-140.0)
    with pytest.raises(UserError, match="of 100 and 1000 points"):
        add(old, run(seed=1, likelihood=-135.0, n_points=100))
    assert len(add(old, run(seed=1, likelihood=-135.0)).likelihoods) == 4


def test_a_split_may_have_fewer_points_than_the_other():
    test = run(likelihood=-140.0, n_points=297)
    train = test.likelihoods.assign(split="train", n_points=500)
    both = test._replace(likelihoods=pd.concat([test.likelihoods, train], ignore_index=True))
    assert add(NOTHING, both).likelihoods["n_points"].tolist() == [297, 297, 500, 500]


def test_points_that_a_new_seed_lacks_are_named():
    old = add(run(likelihood=-140.0), run(samples=400, n_latent=5))
    assert kept.no_longer_shown(NOTHING, old).empty
    whole = add(old, run(seed=1, likelihood=-139.0))
    assert kept.no_longer_shown(old, whole).empty
    sparse = run(seed=1, likelihood=-139.0)
    sparse = sparse._replace(likelihoods=sparse.likelihoods[sparse.likelihoods["samples"] > 100])
    lost = kept.no_longer_shown(old, add(old, sparse))
    assert lost[["shown", "n_latent", "samples"]].to_numpy().tolist() == [[CERTIFIED, 3, 100]]
    short = run(
        samples=100, likelihood=-139.0, seed=1
    )  # it has not got to 200, and is missed there by nobody
    assert kept.no_longer_shown(old, add(old, short)).empty


def test_of_a_run_without_its_line_nothing_counts(tmp_path):
    both = add(run(likelihood=-140.0), run(seed=1, likelihood=-139.0))
    kept.write(tmp_path, both)
    lines = (tmp_path / "runs.csv").read_text().splitlines(keepends=True)
    (tmp_path / "runs.csv").write_text("".join(lines[:-1]))
    found = kept.read(tmp_path)
    assert [set(table["seed"]) for table in found] == [{0}] * 3


@pytest.mark.parametrize("name", ["bounds", "likelihoods"])
def test_a_run_that_goes_on_beyond_its_line_is_refused(tmp_path, name):
    """As after a kill while a longer run was taking its place: the tables are written one after the other."""
    kept.write(tmp_path, run(likelihood=-140.0))
    longer = run(samples=400, likelihood=-139.0)._asdict()[name]
    longer.to_csv(tmp_path / f"{name}.csv", index=False)
    with pytest.raises(
        UserError, match=r"mnist/aevb.* has values at 400 samples, and its line .* ends at 200"
    ):
        kept.read(tmp_path)
