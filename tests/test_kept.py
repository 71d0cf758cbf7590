"""Kept runs: sittings add up, a run is there once and whole, and what is committed is whole."""

import re
from pathlib import Path

import pandas as pd
import pytest

from aevb import UserError, kept
from aevb.kept import BOUNDS, CERTIFICATE, LIKELIHOODS, NOTHING, RUN, Kept

ROOT = Path(__file__).parents[1]
CELL = {"dataset": "mnist", "estimator": "aevb", "n_hidden": 100, "n_latent": 3, "n_train": 1000}


def run(seed=0, samples=200, bound=-150.0, likelihood=None, **changes):
    """What one sitting brings: a run with a value every 100 samples."""
    named = CELL | {"seed": seed} | changes
    points = [named | {"split": "test", "samples": point} for point in range(100, samples + 1, 100)]
    return Kept(
        pd.DataFrame([named | {"samples": samples, "seconds": 1.0}], columns=CERTIFICATE),
        pd.DataFrame([point | {"bound": bound} for point in points], columns=BOUNDS),
        pd.DataFrame(
            [point | {"log_likelihood": likelihood} for point in points if likelihood is not None],
            columns=LIKELIHOODS,
        ),
    )


def same(a, b):
    for one, other in zip(a, b, strict=True):
        pd.testing.assert_frame_equal(one, other, check_dtype=False)


def test_sittings_add_up_in_any_order():
    ours, seeds, cells = run(), run(seed=1), run(n_latent=5)
    added = kept.merged(kept.merged(ours, seeds), cells)
    assert added.runs[["n_latent", "seed"]].to_numpy().tolist() == [[3, 0], [3, 1], [5, 0]]
    assert len(added.bounds) == 6
    same(added, kept.merged(kept.merged(cells, seeds), ours))
    same(kept.merged(NOTHING, added), added)
    same(kept.merged(added, NOTHING), added)


def test_of_one_run_the_longer_is_kept_whole():
    short, long = run(samples=200, bound=-150.0), run(samples=400, bound=-149.0)
    for added in (kept.merged(short, long), kept.merged(long, short)):
        assert added.runs["samples"].tolist() == [400]
        # not a point of the other is left between: another machine rounds another run
        assert added.bounds["bound"].tolist() == [-149.0] * 4


def test_of_two_runs_as_long_the_new_one_is_kept():
    assert kept.merged(run(bound=-150.0), run(bound=-149.0)).bounds["bound"].tolist() == [-149.0] * 2


def test_log_likelihoods_follow_their_run():
    short, long = run(likelihood=-140.0), run(samples=400, likelihood=-139.0)
    for added in (kept.merged(short, long), kept.merged(long, short)):
        assert added.likelihoods["log_likelihood"].tolist() == [-139.0] * 4
    assert len(kept.merged(short, run(seed=1)).likelihoods) == 2


def test_a_run_whose_log_likelihood_would_be_lost_is_refused():
    with pytest.raises(UserError, match=r"mnist/aevb/100/3/1000/0 has log p\(x\).*marginal_likelihood.csv"):
        kept.merged(run(likelihood=-140.0), run(samples=400))
    same(kept.merged(run(samples=400, likelihood=-140.0), run()), run(samples=400, likelihood=-140.0))


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


def test_every_committed_run_is_whole_and_certified():
    runs, bounds, likelihoods = kept.read(ROOT / "results/reference/kept")
    assert not runs.duplicated(RUN).any()
    assert runs[CERTIFICATE].notna().all(axis=None)
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in [*runs["data"], *runs["numerics"]])
    named = pd.MultiIndex.from_frame(runs[RUN])
    assert set(named) == {*pd.MultiIndex.from_frame(pd.concat([bounds, likelihoods])[RUN])}
    lengths = runs.set_index(RUN)["samples"]
    reached = bounds.groupby(RUN)["samples"].max()
    assert reached.eq(lengths.reindex(reached.index)).all()
    for table, key in ((bounds, ["split"]), (likelihoods, ["split", "evidence_estimator"])):
        assert not table.duplicated([*RUN, "samples", *key]).any()
        assert table["samples"].le(lengths.reindex(pd.MultiIndex.from_frame(table[RUN])).to_numpy()).all()
