"""The jobs that rules call: their command line, and what each writes. The runs are tiny cells of the digits."""

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aevb import (
    UserError,
    builds,
    closeness,
    curves,
    data,
    energy,
    jobs,
    kept,
    models,
    paper_comparison,
    provenance,
    records,
    store,
)
from aevb.__main__ import main
from aevb.experiments import (
    COMPARED,
    Cell,
    CertificationJob,
    EvidenceJob,
    EvidenceTask,
    ExactJob,
    GradientJob,
    Job,
    Search,
    canonical,
)
from aevb.jobs import certify, collect, compare, compute, draw, evidence, gradients, keep, represent
from helpers import CELL, CPU, equal

MCEM = CELL.model_copy(update={"estimator": "mcem", "settings": {}, "warm_up": 0})
JOB = Job(cell=CELL, seeds=(0, 1), samples=20_000, snapshots=(10_000, 20_000))
HOPELESS = 1e30  # a step size whose first step overflows
SETTINGS = {
    "appendix_d_robust": {"draws": 40, "leapfrogs": 4, "acceptance": 0.9, "warm_up": 60},
    "appendix_d_paper": {"draws": 10, "leapfrogs": 4, "acceptance": 0.9, "warm_up": 60},
    "elbo": {"draws": 10},
    "importance": {"draws": 100},
    "annealed": {"temperatures": 20, "chains": 2, "leapfrogs": 2},
    "quadrature": {"tolerance": 1e-3},
}
WHERE = {"device": "cpu", "threads": 1}


@pytest.fixture(scope="module")
def points(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "digits.npz"
    compute.prepare_data("digits", path.parent, path)
    return path


def table_of_step_sizes(folder, step_size=0.05):
    path = folder / "step_sizes.csv"
    pd.DataFrame({"step_size": [0.01, step_size], "chosen": [False, True]}).to_csv(path, index=False)
    return path


def trained(job, points, folder, step_size=0.05):
    """The folder that holds seed{S}/ after the job `train`."""
    folder.mkdir(exist_ok=True)
    sizes = table_of_step_sizes(folder, step_size)
    compute.train(job, points, sizes, folder / "cells", folder / "runs", **WHERE)
    return folder / "runs"


@pytest.fixture(scope="module")
def runs(points, tmp_path_factory):
    return trained(JOB, points, tmp_path_factory.mktemp("train"))


# --------------------------------------------------------------------------------------------- command line


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["train"],
        ["prepare-data", "--dataset", "digits", "--cache", "raw"],
        ["prepare-data", "--dataset", "digits", "--cache", "raw", "--output", "x", "--surprise", "1"],
        ["prepare-data", "--dataset"],
        # an unquoted path with a space must not be cut in silence
        ["prepare-data", "--dataset", "digits", "--cache", "raw", "--output", "my", "file.npz"],
    ],
)
def test_wrong_usage_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert "usage: python -m aevb" in capsys.readouterr().err


def test_a_missing_option_is_named(capsys):
    with pytest.raises(SystemExit):
        main(["prepare-data", "--dataset", "digits", "--cache", "raw"])
    assert "--output" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["{}", "not json", '{"cell": 3}'])
def test_a_job_that_does_not_parse_is_wrong_usage_that_names_the_option(text, capsys):
    words = ["train", "--job", text, "--points", "p", "--step-sizes", "s", "--store-root", "r"]
    with pytest.raises(SystemExit) as exit_:
        main([*words, "--output", "o", "--device", "cpu", "--threads", "1"])
    assert exit_.value.code == 2
    assert "--job" in capsys.readouterr().err


def test_help_lists_the_jobs_and_a_jobs_options(capsys):
    for arguments, words in [(["--help"], jobs.NAMES), (["train", "--help"], ["--job", "--store-root"])]:
        with pytest.raises(SystemExit) as exit_:
            main(arguments)
        assert exit_.value.code == 0
        text = capsys.readouterr().out
        assert all(word in text for word in words)


@pytest.mark.parametrize("name", jobs.NAMES)
def test_every_job_loads_and_says_what_it_does(name):
    job = jobs.load(name)
    assert job.__name__ == name.replace("-", "_")


@pytest.mark.parametrize(
    ("words", "kind", "value"),
    [
        (["a b"], str, "a b"),
        (["3"], int, 3),
        (["a b/c"], Path, Path("a b/c")),
        (["a", "b c"], list[Path], [Path("a"), Path("b c")]),
        ([canonical(CELL)], Cell, CELL),
        ([f"[{canonical(CELL)}]"], list[Cell], [CELL]),
        (["[]"], list[Cell], []),
        ([canonical(JOB)], Job, JOB),
    ],
)
def test_an_options_words_become_the_type_of_its_annotation(words, kind, value):
    assert jobs.parse(words, kind) == value


def test_the_user_reads_one_sentence_and_no_traceback(tmp_path):
    output = tmp_path / "folder/nothing.npz"
    words = ["prepare-data", "--dataset", "cifar", "--cache", tmp_path, "--output", output]
    process = subprocess.run([sys.executable, "-m", "aevb", *words], capture_output=True, text=True)
    assert process.returncode == 1
    assert process.stderr.startswith("error: There is no dataset 'cifar'")
    assert len(process.stderr.splitlines()) == 1
    assert process.stdout == ""
    assert not output.parent.exists()


def test_asking_for_a_gpu_where_there_is_none_says_what_to_do(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UserError, match="device: auto or cpu"):
        compute.choose_device("cuda", 1)
    monkeypatch.setattr("aevb.gpu.visible", lambda: False)
    assert compute.choose_device("auto", 1).type == "cpu"
    monkeypatch.setattr("aevb.gpu.visible", lambda: True)  # jobs were planned for one
    with pytest.raises(UserError, match=r"torch .* cannot use it: .*device: cpu"):
        compute.choose_device("auto", 1)
    assert compute.choose_device("cpu", 1).type == "cpu"


# ------------------------------------------------------------------------------------------------ step sizes


def searched(points, folder, candidates, cell=CELL, samples=10_000):
    search = Search(cell=cell, candidates=candidates, seeds=(1000,), samples=samples)
    compute.step_size(search, points, folder / "cells", folder / "table.csv", **WHERE)
    return pd.read_csv(folder / "table.csv")


def test_the_candidate_that_trains_best_is_chosen(points, tmp_path):
    table = searched(points, tmp_path, (0.0001, 0.05))
    assert table["chosen"].tolist() == [False, True]
    assert table["value"].iloc[1] > table["value"].iloc[0]
    assert table["criterion"].tolist() == 2 * ["train_bound"]
    assert table["seed"].tolist() == [1000, 1000]
    assert table["samples"].tolist() == [10_000, 10_000]
    assert not table["diverged"].any()


def test_a_longer_search_of_the_same_cell_leaves_a_shorter_one_as_it_was(points, tmp_path):
    first, longer, again = (
        searched(points, tmp_path, (0.01, 0.05), samples=n) for n in (10_000, 20_000, 10_000)
    )
    pd.testing.assert_frame_equal(first, again)
    assert longer["samples"].tolist() == [20_000, 20_000]
    assert (longer["value"] != first["value"]).all()


def test_a_method_without_a_bound_is_not_chosen_by_what_a_longer_search_has_seen(points, tmp_path):
    searched(points, tmp_path, (0.01, 0.05), MCEM, samples=20_000)
    with pytest.raises(UserError, match=r"trained to .* by a longer search.*search_samples"):
        searched(points, tmp_path, (0.01, 0.05), MCEM, samples=10_000)
    again = searched(points, tmp_path, (0.01, 0.05), MCEM, samples=20_000)
    assert again["criterion"].tolist() == 2 * ["log_joint"]


def test_a_candidate_that_diverges_is_recorded_and_not_chosen(points, tmp_path):
    table = searched(points, tmp_path, (HOPELESS, 0.05, 0.0001))
    assert table["diverged"].tolist() == [True, False, False]
    assert table["chosen"].tolist() == [False, True, False]


def test_a_diverging_neighbour_changes_nothing_for_the_others(points, tmp_path):
    for name, candidates in {"alone": (0.05, 0.0001), "beside": (0.05, 0.0001, HOPELESS)}.items():
        (tmp_path / name).mkdir()
        searched(points, tmp_path / name, candidates)
    alone, beside = (pd.read_csv(tmp_path / name / "table.csv") for name in ("alone", "beside"))
    np.testing.assert_allclose(beside["value"][:2], alone["value"], rtol=1e-5)


def search_with(values, points, folder, monkeypatch):
    """The step size that is chosen where (step size, seed) ends at that value; None: it diverged."""

    def ended(search, run):
        value = values[run.member.step_size, run.member.seed]
        named = {"step_size": run.member.step_size, "seed": run.member.seed}
        return named | {"value": value or np.nan, "diverged": value is None}

    monkeypatch.setattr(compute, "_candidate", ended)
    candidates, seeds = (tuple(dict.fromkeys(of)) for of in zip(*values, strict=True))
    search = Search(cell=CELL, candidates=candidates, seeds=seeds, samples=10_000)
    compute.step_size(search, points, folder / "cells", folder / "table.csv", **WHERE)
    table = pd.read_csv(folder / "table.csv").query("chosen")
    assert table["seed"].tolist() == list(seeds)
    return table["step_size"].unique().tolist()


def test_what_leads_in_the_mean_over_the_seeds_is_chosen(points, tmp_path, monkeypatch):
    """Not what leads with the first of them, or with the best; and nothing that diverged with any."""
    first = {(0.01, 1000): -15.0, (0.01, 1001): -16.0, (0.05, 1000): -10.0, (0.05, 1001): -30.0}
    assert search_with(first, points, tmp_path, monkeypatch) == [0.01]
    assert search_with(first | {(0.05, 1001): -20.0}, points, tmp_path, monkeypatch) == [0.05]
    assert search_with(first | {(0.05, 1001): None}, points, tmp_path, monkeypatch) == [0.01]
    with pytest.raises(UserError, match="Every candidate"):
        search_with(first | {(0.05, 1001): None, (0.01, 1000): None}, points, tmp_path, monkeypatch)


def test_runs_take_the_step_size_of_a_search_with_several_seeds(points, tmp_path):
    search = Search(cell=CELL, candidates=(0.0001, 0.05), seeds=(1000, 1001), samples=10_000)
    compute.step_size(search, points, tmp_path / "cells", tmp_path / "sizes.csv", **WHERE)
    table = pd.read_csv(tmp_path / "sizes.csv")
    assert table[["step_size", "seed"]].to_numpy().tolist() == [
        *([0.0001, 1000], [0.0001, 1001], [0.05, 1000], [0.05, 1001])
    ]
    assert table["chosen"].tolist() == [False, False, True, True]
    job = Job(cell=CELL, seeds=(0,), samples=10_000)
    compute.train(job, points, tmp_path / "sizes.csv", tmp_path / "cells", tmp_path / "runs", **WHERE)
    assert json.loads((tmp_path / "runs/seed0/cell.json").read_text())["step_size"] == 0.05


def test_when_all_candidates_diverge_the_user_learns_what_to_change(points, tmp_path):
    with pytest.raises(UserError, match=r"step_size\.candidates of config\.yaml") as error:
        searched(points, tmp_path, (HOPELESS, 2 * HOPELESS))
    assert CELL.path in str(error.value)
    assert not (tmp_path / "table.csv").exists()


def test_a_method_without_a_bound_is_judged_by_the_objective_it_ascends(points, tmp_path):
    table = searched(points, tmp_path, (0.001, 0.05), MCEM)
    assert table["criterion"].tolist() == 2 * ["log_joint"]
    assert np.isfinite(table["value"]).all()
    assert table["chosen"].sum() == 1


# -------------------------------------------------------------------------------------------------- training


def test_a_run_has_its_curve_its_weights_and_all_that_it_depended_on(runs, points):
    for seed in JOB.seeds:
        folder = runs / f"seed{seed}"
        curve = pd.read_csv(folder / "curve.csv")
        assert curve.columns.tolist() == ["samples", "split", "bound", "seconds"]
        assert sorted(set(curve["samples"])) == [10_000, 20_000]
        weights = store.read_weights(folder / "weights.safetensors")
        assert weights.meta["samples"] == 20_000
        cell = json.loads((folder / "cell.json").read_text())
        assert cell["cell"] == CELL.model_dump(mode="json")
        assert {name: cell[name] for name in CELL.identity} == CELL.identity
        assert (cell["seed"], cell["step_size"], cell["samples"]) == (seed, 0.05, 20_000)
        assert (cell["diverged"], cell["diverged_at"], cell["device"]) == (False, None, "cpu")
        assert cell["data"] == data.load(points).digest
        assert cell["numerics"] == provenance.numerics_digest("estimators/aevb")
        assert {"aevb", "python", "torch", "numpy"} <= set(cell["versions"])
        clock = curve["seconds"].iloc[-1]
        assert cell["seconds"] == pytest.approx(clock / len(JOB.seeds)), "its share of the stack's time"
        assert cell["samples_per_second"] == pytest.approx(20_000 / cell["seconds"])
        assert cell["joules"] is None or cell["joules"] >= 0  # null without a meter
    assert sorted(path.name for path in runs.rglob("*") if path.is_file()) == sorted(
        2 * ["curve.csv", "weights.safetensors", "cell.json"]
    )


def test_a_run_is_said_to_be_of_the_software_that_trained_it(points, tmp_path, monkeypatch):
    """And not of that which exports it, a year later and on another machine; of all that took part."""

    def said(samples):
        job = JOB.model_copy(update={"seeds": (0,), "samples": samples})
        record = json.loads((trained(job, points, tmp_path / "run") / "seed0/cell.json").read_text())
        return record["versions"]["torch"], record["threads"]

    mine = builds.build()
    short = said(10_000)
    monkeypatch.setattr(builds, "build", lambda: mine | {"torch": "9.9.9", "threads": 7})
    assert short == said(10_000) == (mine["torch"], mine["threads"])
    assert said(20_000) == (f"{mine['torch']} + 9.9.9", 7)


@pytest.mark.parametrize("given", ["nowhere/cell.json", "seed0", "seed0/curve.csv", "seed0/alone.json"])
def test_what_is_no_run_is_refused_by_its_path(runs, given):
    alone = runs / "seed0/alone.json"
    alone.write_text("{}")
    with pytest.raises(UserError, match=f"{given} is no cell.json of a run"):
        collect.read_runs([runs / "seed1/cell.json", runs / given])
    alone.unlink()


def test_no_runs_and_tables_that_are_none_are_refused(tmp_path):
    with pytest.raises(UserError, match="has a cell in the figures"):
        collect.read_runs([])
    (tmp_path / "empty.csv").write_text("\n")
    for name in ("empty.csv", "nowhere.csv"):
        with pytest.raises(UserError, match=f"{name} is no table"):
            collect.concatenate([tmp_path / name], tmp_path / "all.csv")


def test_a_cell_without_an_estimator_of_log_p_has_a_table_without_rows(runs, points, tmp_path):
    job = EvidenceJob(cell=CELL, seeds=JOB.seeds, points=3, tasks=())
    cells = [runs / f"seed{seed}/cell.json" for seed in JOB.seeds]
    evidence.evidence(job, points, cells, tmp_path / "none.csv", **WHERE)
    collect.concatenate(2 * [tmp_path / "none.csv"], tmp_path / "marginal.csv")
    assert pd.read_csv(tmp_path / "marginal.csv").empty
    collect.bound_and_likelihood(tmp_path / "marginal.csv", tmp_path / "table.csv")
    assert pd.read_csv(tmp_path / "table.csv").empty


def test_joules_go_from_the_meter_to_cell_json_and_the_table_of_costs(points, tmp_path, monkeypatch):
    counts = itertools.count(step=10)
    counter = energy.Counter(lambda: next(counts), 1.0)
    monkeypatch.setattr(energy, "meter", lambda device: energy.Meter([counter], energy.all_of_it))
    folder = trained(JOB, points, tmp_path / "metered")
    cells = [json.loads((folder / f"seed{seed}/cell.json").read_text()) for seed in JOB.seeds]
    assert all(cell["joules"] > 0 for cell in cells)
    assert records.costs(cells)["joules"].tolist() == [cell["joules"] for cell in cells]


def bounds_of(runs):
    return [pd.read_csv(runs / f"seed{seed}/curve.csv").drop(columns="seconds") for seed in (0, 1)]


def test_a_continued_run_is_the_run_that_was_never_interrupted(points, tmp_path):
    # bitwise: same build, device, threads and stack
    long = JOB.model_copy(update={"samples": 40_000, "snapshots": (40_000,)})
    trained(JOB, points, tmp_path / "continued")
    continued = trained(long, points, tmp_path / "continued")
    whole = trained(long, points, tmp_path / "whole")
    for one, other in zip(bounds_of(continued), bounds_of(whole), strict=True):
        pd.testing.assert_frame_equal(one, other, check_exact=True)
    for seed in JOB.seeds:
        one, other = (
            store.read_weights(path / f"seed{seed}/weights.safetensors").tensors
            for path in (continued, whole)
        )
        assert all(one[name].equal(other[name]) for name in other)


def test_a_shorter_curve_is_the_prefix_of_a_longer_one(runs, points, tmp_path):
    long = trained(JOB.model_copy(update={"samples": 40_000, "snapshots": ()}), points, tmp_path)
    for short, whole in zip(bounds_of(runs), bounds_of(long), strict=True):
        pd.testing.assert_frame_equal(short, whole[: len(short)], check_exact=True)


def test_going_back_to_a_budget_whose_weights_were_not_kept_says_what_to_do(points, tmp_path):
    trained(JOB.model_copy(update={"samples": 40_000, "snapshots": (20_000,)}), points, tmp_path)
    assert (trained(JOB, points, tmp_path) / "seed0/curve.csv").exists()
    with pytest.raises(UserError, match="kept no weights at 30000 samples"):
        trained(JOB.model_copy(update={"samples": 30_000, "snapshots": ()}), points, tmp_path)


def test_a_run_whose_seeds_all_diverge_ends_as_diverged(points, tmp_path):
    # divergence is a result to be recorded, not an error about the budget
    runs = trained(JOB, points, tmp_path, HOPELESS)
    for seed in JOB.seeds:
        assert json.loads((runs / f"seed{seed}/cell.json").read_text())["diverged"] is True
        assert (runs / f"seed{seed}/weights.safetensors").exists()


# -------------------------------------------------------------------------------------------------- evidence


def evidence_job(samples, points=5):
    """The estimators that `samples` names, each at the points of the training that it gives."""
    tasks = [EvidenceTask(name=name, settings=SETTINGS[name], samples=at) for name, at in samples.items()]
    return EvidenceJob(cell=CELL, seeds=JOB.seeds, points=points, tasks=tuple(tasks))


def test_the_evidence_has_a_row_for_every_snapshot_seed_and_split(runs, points, tmp_path):
    job = evidence_job({"appendix_d_robust": JOB.snapshots, "elbo": JOB.snapshots[-1:]})
    cells = [runs / f"seed{seed}/cell.json" for seed in JOB.seeds]
    evidence.evidence(job, points, cells, tmp_path / "evidence.csv", **WHERE)
    everything = pd.read_csv(tmp_path / "evidence.csv")
    table = everything[everything["evidence_estimator"] == "appendix_d_robust"]
    key = ["samples", "seed", "split"]
    assert set(table[key].itertuples(index=False, name=None)) == {
        (samples, seed, split) for samples in JOB.snapshots for seed in (0, 1) for split in ("train", "test")
    }
    assert len(table) == 8
    bound = everything[everything["evidence_estimator"] == "elbo"].set_index(["seed", "split"])["lower_bound"]
    assert len(bound) == 4
    last = table[table["samples"] == JOB.snapshots[-1]].set_index(["seed", "split"])["log_likelihood"]
    assert (last - bound > -0.5).all()
    assert {"log_likelihood", "std_error", "std_error_points", "evidence_estimator"} <= set(table.columns)
    assert table["log_likelihood"].between(-100, 0).all()
    collect.bound_and_likelihood(tmp_path / "evidence.csv", tmp_path / "gaps.csv")
    gaps = pd.read_csv(tmp_path / "gaps.csv").set_index(["seed", "split"])
    np.testing.assert_allclose(gaps["gap"], (last - bound)[gaps.index])
    assert (gaps["gap_error"] > 0).all()


def test_the_evidence_of_one_split_is_that_which_both_would_give(runs, points, tmp_path):
    both = evidence_job({"appendix_d_robust": JOB.snapshots[-1:], "elbo": JOB.snapshots[-1:]})
    alone = both.model_copy(update={"splits": ("test",)})
    cells = [runs / f"seed{seed}/cell.json" for seed in JOB.seeds]
    tables = []
    for n, job in enumerate((both, alone)):
        evidence.evidence(job, points, cells, tmp_path / f"{n}.csv", **WHERE)
        table = pd.read_csv(tmp_path / f"{n}.csv").drop(columns="seconds_per_point")
        tables.append(table.set_index(["evidence_estimator", "split", "seed"]))
    assert set(tables[1].index.get_level_values("split")) == {"test"}
    pd.testing.assert_frame_equal(tables[0].loc[tables[1].index], tables[1], check_exact=True)


def test_the_evidence_of_diverged_runs_is_refused_point_by_point(points, tmp_path):
    # a value that cannot be had is an empty cell with its count of refused points, not an error or a mean
    runs = trained(JOB, points, tmp_path, HOPELESS)
    job = evidence_job(dict.fromkeys(SETTINGS, JOB.snapshots[1:]))
    cells = [runs / f"seed{seed}/cell.json" for seed in JOB.seeds]
    evidence.evidence(job, points, cells, tmp_path / "evidence.csv", **WHERE)
    table = pd.read_csv(tmp_path / "evidence.csv")
    assert len(table) == 4 * len(SETTINGS)
    assert table["log_likelihood"].isna().all()
    assert (table["n_refused"] == job.points).all()
    assert table["refusal"].str.startswith("5 of 5 points: ").all()


def test_evidence_where_no_weights_were_kept_says_what_to_do(points, runs, tmp_path):
    job = evidence_job({"elbo": (100_000,)})
    cells = [runs / f"seed{seed}/cell.json" for seed in JOB.seeds]
    with pytest.raises(UserError, match="kept no weights at 100000 samples"):
        evidence.evidence(job, points, cells, tmp_path / "evidence.csv", **WHERE)


def gradient_job(cell=CELL, **fields):
    given = {"moments": (0, 10_000, 20_000), "n_samples": (1, 3), "draws": 10} | fields
    return GradientJob(
        cell=cell, seed=0, estimators=("aevb", "sgvb_a", "score_function", "score_function_loo"), **given
    )


def test_gradients_have_a_row_per_moment_part_number_of_draws_and_estimator(points, runs, tmp_path, capsys):
    job = gradient_job()
    gradients.gradients(job, points, runs / "seed0/cell.json", tmp_path / "gradients.csv", **WHERE)
    assert "score_function_loo: n_samples must be 2 or more" in capsys.readouterr().err
    table = pd.read_csv(tmp_path / "gradients.csv")
    keys = ["samples", "part", "n_samples", "gradient_estimator"]
    assert not table.duplicated(keys).any()
    assert len(table) == 3 * 2 * (3 + 4)
    assert {*table["samples"]} == {*job.moments}
    assert table.drop(columns=["dataset", "estimator", *keys]).notna().all(axis=None)
    assert (table["snr"].between(table["snr_low"], table["snr_high"])).all()
    rows = table.set_index(keys)["relative_variance"].unstack()
    assert (rows["aevb"] == 1).all()
    # of the decoder they have one gradient: the same draws of z, the same numbers
    assert table.query("part == 'decoder'")["relative_variance"].to_numpy() == pytest.approx(1, rel=1e-3)
    assert (rows.xs("encoder", level="part")["score_function"] > 10).all()
    draw.gradient_figure(tmp_path / "gradients.csv", tmp_path / "figure")
    files_with(tmp_path / "figure")


def test_gradients_at_the_start_are_those_at_the_weights_that_training_began_with(points, tmp_path):
    waiting = CELL.model_copy(update={"warm_up": 100})  # as long as the first 10 000 samples last
    job = JOB.model_copy(update={"cell": waiting})
    cell = json.loads((trained(job, points, tmp_path) / "seed0/cell.json").read_text())
    folder = store.RunStore(Path(cell["store"]))
    model = models.build(64, **waiting.model_sizes)
    start, kept, later = (
        gradients.weights_at(gradient_job(waiting), model, folder, samples, CPU)
        for samples in (0, 10_000, 20_000)
    )
    assert equal(start, kept)
    assert not equal(start, later)


def test_gradients_at_a_point_without_weights_are_refused_by_name(points, runs, tmp_path):
    job = gradient_job(moments=(100_000,))
    with pytest.raises(UserError, match="kept no weights at 100000 samples"):
        gradients.gradients(job, points, runs / "seed0/cell.json", tmp_path / "gradients.csv", **WHERE)


def test_certification_holds_every_estimator_against_what_is_exact(points, runs, tmp_path):
    exact = ExactJob(n_latent=2, n_features=6, points=20, settings=SETTINGS)
    certify.certify_exact(exact, tmp_path / "exact.csv", **WHERE)
    job = CertificationJob(cell=CELL, seed=0, samples=20_000, points=10, settings=SETTINGS)
    certify.certify_cell(job, points, runs / "seed0/cell.json", tmp_path / "cell.csv", **WHERE)
    certify.certification([tmp_path / "exact.csv", tmp_path / "cell.csv"], tmp_path / "certification.csv")
    table = pd.read_csv(tmp_path / "certification.csv").set_index(["reference", "evidence_estimator"])
    known = table.loc[["exact", "quadrature"]]
    assert {*known.loc["exact"].index} == {*SETTINGS}
    assert {*SETTINGS} - {"quadrature"} <= {*known.loc["quadrature"].index}
    assert known["verdict"].notna().all()
    assert known.loc[("exact", "quadrature"), "verdict"] == "accurate"
    draw.certification_figure(tmp_path / "certification.csv", tmp_path / "forest")
    files_with(tmp_path / "forest")


# -------------------------------------------------------------------------------------------- representations


@pytest.fixture(scope="module")
def labels(points):
    path = points.with_name("digits_labels.npz")
    represent.prepare_labels("digits", points, path.parent, path)
    return path


def represented(points, labels, runs, output, job=JOB):
    weights = [runs / f"seed{seed}/weights.safetensors" for seed in job.seeds]
    represent.represent(job, points, labels, weights, output, **WHERE)
    return pd.read_csv(output)


def test_a_representation_has_a_row_for_every_seed_and_one_in_the_table(points, labels, runs, tmp_path):
    cells, yardsticks = [tmp_path / "cell.csv"], [tmp_path / "yardstick.csv"]
    rows = represented(points, [labels], runs, cells[0])
    assert rows["seed"].tolist() == [0, 1]
    assert (rows["n_points"] == 297).all()
    assert rows.notna().all(axis=None)
    represent.yardstick("digits", CELL.n_train, points, [labels], yardsticks[0], **WHERE)
    represent.representation_table(cells, yardsticks, tmp_path / "table.csv")
    [row] = pd.read_csv(tmp_path / "table.csv").to_dict("records")
    assert {name: row[name] for name in Cell.IDENTITY} == CELL.identity
    assert row["reconstruction_error"] == pytest.approx(rows["reconstruction_error"].mean())
    split = data.load(points)
    pixels = (split.test / split.scale).astype(np.float32)
    assert row["corruption_error"] == pytest.approx(np.square(pixels).mean() / 4, rel=0.05)
    assert 0.9 < row["pixel_accuracy"] < 1
    blank = np.square(pixels - (split.train[:200] / split.scale).mean(0)).mean()
    assert row["mean_image_error"] == pytest.approx(blank, rel=1e-4)
    assert 0 < row["reconstruction_error"] < 1.05 * blank
    assert row["latent_accuracy_ci_low"] < row["latent_accuracy"] < row["latent_accuracy_ci_high"]


def test_a_representation_is_that_of_its_own_seed(points, labels, runs, tmp_path):
    both = represented(points, [labels], runs, tmp_path / "both.csv")
    second = JOB.model_copy(update={"seeds": (1,)})
    alone = represented(points, [labels], runs, tmp_path / "one.csv", second)
    pd.testing.assert_frame_equal(alone, both[both["seed"] == 1].reset_index(drop=True), rtol=1e-4)


def test_without_labels_a_representation_has_no_accuracy_and_all_the_rest(points, runs, tmp_path):
    rows = represented(points, [], runs, tmp_path / "cell.csv")
    empty = rows.columns[rows.isna().all()]
    assert set(empty) == {"latent_accuracy", "latent_accuracy_std_error"}
    represent.yardstick("digits", CELL.n_train, points, [], tmp_path / "yardstick.csv", **WHERE)
    beside = pd.read_csv(tmp_path / "yardstick.csv")
    assert set(beside.columns[beside.isna().all()]) == {"pixel_accuracy", "pixel_accuracy_std_error"}


def test_a_method_without_an_encoder_has_no_row(points, labels, runs, tmp_path):
    mcem = Job(cell=MCEM, seeds=(0,), samples=10_000)
    trained_mcem = trained(mcem, points, tmp_path / "mcem")
    assert represented(points, [labels], trained_mcem, tmp_path / "none.csv", mcem).empty
    represented(points, [labels], runs, tmp_path / "some.csv")
    represent.yardstick("digits", CELL.n_train, points, [labels], tmp_path / "yardstick.csv", **WHERE)
    for cells, n_rows in [(["none.csv"], 0), (["none.csv", "some.csv"], 1)]:
        inputs = [tmp_path / name for name in cells]
        represent.representation_table(inputs, [tmp_path / "yardstick.csv"], tmp_path / "table.csv")
        table = pd.read_csv(tmp_path / "table.csv")
        assert len(table) == n_rows
        assert {"denoising_error", "corruption_error"} <= set(table.columns)
        collect.html([tmp_path / "table.csv"], [tmp_path / "table.html"])


def test_the_representation_of_diverged_runs_is_empty_and_not_a_number(points, labels, tmp_path):
    runs = trained(JOB, points, tmp_path, HOPELESS)
    rows = represented(points, [labels], runs, tmp_path / "cell.csv")
    measures = ["reconstruction_error", "denoising_error", "active_units", "latent_accuracy"]
    assert rows[measures].isna().all(axis=None)


def test_labels_of_other_images_are_refused(points, labels, runs, tmp_path):
    split = data.load(points)
    other = tmp_path / "digits.npz"
    data.save(data.make_split("digits", split.train[::-1], split.test, split.scale, split.image_shape), other)
    with pytest.raises(UserError, match="does not hold the labels of these images of 'digits'"):
        represented(other, [labels], runs, tmp_path / "cell.csv")


# ------------------------------------------------------------------------------------- collecting and drawing


def test_the_tables_of_all_runs_keep_each_runs_rows(runs, tmp_path):
    names = ["bounds", "final", "costs", "provenance", "soundness"]
    outputs = {name: tmp_path / f"{name}.csv" for name in names}
    collect.run_tables([runs / f"seed{seed}/cell.json" for seed in (0, 1)], **outputs)
    bounds, final, costs, used, sound = (pd.read_csv(outputs[name]) for name in names)
    for seed, curve in enumerate(bounds_of(runs)):
        rows = bounds[bounds["seed"] == seed].reset_index(drop=True)[curve.columns]
        pd.testing.assert_frame_equal(rows, curve)
    assert final["samples"].tolist() == 6 * [20_000]
    assert set(final["split"]) == {"train_running", "train", "test"}
    assert costs[["seed", "samples", "device"]].to_numpy().tolist() == [
        [0, 20_000, "cpu"],
        [1, 20_000, "cpu"],
    ]
    assert used.loc[used["item"] == "torch", "runs"].tolist() == [2]
    assert sound["diverged"].tolist() == [False, False]
    collect.sound(outputs["soundness"], tmp_path / "sound.txt")
    assert (tmp_path / "sound.txt").read_text() == "None of 2 runs diverged.\n"


def test_concatenating_keeps_order_and_rows(tmp_path):
    for name, values in {"a": [1, 2], "b": [3]}.items():
        pd.DataFrame({"x": values}).to_csv(tmp_path / f"{name}.csv", index=False)
    collect.concatenate([tmp_path / "b.csv", tmp_path / "a.csv"], tmp_path / "new/both.csv")
    assert pd.read_csv(tmp_path / "new/both.csv")["x"].tolist() == [3, 1, 2]


def test_pages_are_html_and_name_their_table(tmp_path):
    for name in ["step_sizes", "costs"]:
        pd.DataFrame({"samples": [1000], "note": ["a < b"]}).to_csv(tmp_path / f"{name}.csv", index=False)
    outputs = [tmp_path / "html/step_sizes.html", tmp_path / "html/costs.html"]
    collect.html([tmp_path / "step_sizes.csv", tmp_path / "costs.csv"], outputs)
    for output, title in zip(outputs, ["Step sizes", "Costs"], strict=True):
        text = output.read_text()
        assert text.lstrip().startswith("<!DOCTYPE html>")
        assert title in text
        assert f"results/tables/{output.stem}.csv" in text
        assert "1,000" in text


def page(*names):
    return "# Title\n" + "".join(f"<!-- {name}:begin -->\nold\n<!-- {name}:end -->\n" for name in names)


PAGES = {"README.md": page("in-short", "how-far", "curve-by-curve"), "curves.md": page("paper-comparison")}


@pytest.fixture
def clone(runs, tmp_path, monkeypatch):
    """A folder with a README and the kept runs of two seeds of a cell, of which one is in Figure 2."""
    monkeypatch.setitem(curves.PAPERS_HIDDEN[2], "mnist", CELL.n_hidden)
    certificates = sorted(runs.glob("seed*/cell.json"))
    (tmp_path / "figure4.png").write_bytes(b"a picture")
    where = {"references": tmp_path / "references", "shown": tmp_path / "shown"}
    keep.keep(runs=certificates, marginal=[], pictures=[tmp_path / "figure4.png"], **where)
    for name, text in PAGES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def readme(clone, reasons=(*closeness.PANEL, "why")):
    """As if the digits were MNIST and the paper had them."""
    shown = CELL.model_copy(update={"dataset": "mnist"})
    for table in (clone / "references/kept").iterdir():
        table.write_text(table.read_text().replace("digits,", "mnist,"))
    curve = {"figure": 2, "dataset": "mnist", "method": "aevb", "n_latent": CELL.n_latent}
    curve |= {"n_train": CELL.n_train, "samples": [10_000, 20_000], "nats": [-30.0, -29.0]}
    paper = pd.concat([pd.DataFrame(curve).assign(split=split) for split in ("train", "test")])
    paper.to_csv(clone / "paper.csv", index=False)
    pd.DataFrame(columns=list(reasons)).to_csv(clone / "references/reasons.csv", index=False)
    keep.readme(
        **{"paper": clone / "paper.csv", "figure2": [shown], "figure3": []},
        **{"references": clone / "references"},
        **{"readme": clone / "README.md", "curves": clone / "curves.md"},
        **{"shown": clone / "shown", "drawn": clone / "drawn"},
    )


def test_runs_are_kept_with_their_certificates_and_their_pictures_shown(runs, clone, capsys):
    bounds, likelihoods, kept_runs = kept.read(clone / "references/kept")
    assert kept_runs["seed"].tolist() == [0, 1]
    cell = json.loads((runs / "seed1/cell.json").read_text())
    named = ("samples", "step_size", "data", "numerics", "device", "threads")
    assert kept_runs.loc[1, list(named)].tolist() == [cell[name] for name in named]
    assert kept_runs["torch"].eq(cell["versions"]["torch"]).all()
    curve = pd.read_csv(runs / "seed1/curve.csv")
    assert bounds.query("seed == 1")["bound"].tolist() == pytest.approx(curve["bound"].tolist(), abs=5e-4)
    assert likelihoods.empty
    assert (clone / "shown/figure4.png").read_bytes() == b"a picture"
    before = {path: path.read_bytes() for path in (clone / "references/kept").iterdir()}
    keep.keep([runs / "seed1/cell.json"], [], [], clone / "references", clone / "shown")
    *_, fate, number = capsys.readouterr().out.splitlines()
    assert fate == f"{runs / 'seed1'}: left for the kept one of 20000 samples"
    assert number == "2 runs are kept, before 2"
    assert {path: path.read_bytes() for path in (clone / "references/kept").iterdir()} == before


def test_what_is_given_to_keep_and_is_no_run_or_evidence_is_named(runs, clone, tmp_path):
    cell, where = runs / "seed1/cell.json", (clone / "references", clone / "shown")
    with pytest.raises(
        UserError, match=r"curve\.csv lacks .*evidence_estimator, .*: it is not an evidence\.csv"
    ):
        keep.keep([cell], [cell.with_name("curve.csv")], [], *where)
    old = {name: value for name, value in json.loads(cell.read_text()).items() if name != "versions"}
    (tmp_path / "cell.json").write_text(json.dumps(old))
    shutil.copy(cell.with_name("curve.csv"), tmp_path)
    with pytest.raises(UserError, match=r"cell\.json lacks versions: it is not a cell\.json of"):
        keep.keep([tmp_path / "cell.json"], [], [], *where)


def test_log_likelihoods_are_kept_of_the_runs_that_are(runs, clone):
    row = CELL.identity | {"split": "test", "samples": 20_000, "log_likelihood": -20.0, "n_points": 9}
    rows = [
        row | {"seed": seed, "evidence_estimator": name}
        for seed in (0, 1)
        for name in ("appendix_d_robust", "annealed")
    ]
    pd.DataFrame(rows).to_csv(clone / "marginal.csv", index=False)
    keep.keep([runs / "seed1/cell.json"], [clone / "marginal.csv"], [], clone / "references", clone / "shown")
    [found] = kept.read(clone / "references/kept").likelihoods.to_dict("records")
    assert (found["seed"], found["evidence_estimator"]) == (1, "appendix_d_robust")


def test_the_pages_get_their_tables_and_the_figures_beside_them(clone):
    readme(clone)
    text, table = (clone / "README.md").read_text(), (clone / "curves.md").read_text()
    assert "| Figure 2, MNIST: AEVB | 0.02 M | 2 | 2, within 1 nat |" in text
    assert "| Figure 2, MNIST: AEVB, N_z = 2 |  | 0.02 M (2 seeds) | 0.02 M |" in text
    assert "\nold\n" not in text
    assert text.startswith("# Title\n<!-- in-short:begin -->\n")
    assert "| AEVB | 0.02 M | 2 | -29.0 |" in table
    assert pd.read_csv(clone / "references/paper_comparison.csv").columns.tolist() == [
        *paper_comparison.COMPARISON,
        "n_seeds",
    ]
    for name in ("figure2", "distances"):
        assert (clone / f"shown/{name}.png").read_bytes() == (clone / f"drawn/{name}.png").read_bytes()
    assert not (clone / "shown/figure3.png").exists()  # none of its runs is kept
    readme(clone)
    assert (clone / "README.md").read_text() == text


def test_without_a_kept_run_of_the_paper_the_readme_is_left_alone(clone):
    for table in ("runs", "bounds", "likelihoods"):
        path = clone / f"references/kept/{table}.csv"
        path.write_text(path.read_text().splitlines()[0] + "\n")
    with pytest.raises(UserError, match=r"No run in .*kept is of the paper's figures"):
        readme(clone)
    assert {name: (clone / name).read_text() for name in PAGES} == PAGES


def test_a_readme_without_markers_is_left_alone_and_so_is_the_reference(clone):
    (clone / "README.md").write_text("# Title\n")
    with pytest.raises(UserError, match="in-short:begin"):
        readme(clone)
    assert (clone / "README.md").read_text() == "# Title\n"
    assert (clone / "curves.md").read_text() == PAGES["curves.md"]
    assert not (clone / "references/paper_comparison.csv").exists()
    assert not (clone / "shown/figure2.png").exists()


def test_reasons_that_lack_a_column_are_one_sentence_and_the_readme_is_left_alone(clone):
    with pytest.raises(UserError, match=r"reasons.csv: .*Take the committed one again"):
        readme(clone, reasons=["figure", "why"])
    assert {name: (clone / name).read_text() for name in PAGES} == PAGES


def files_with(stem):
    assert {path.suffix for path in stem.parent.glob(f"{stem.name}.*")} == {".pdf", ".png", ".svg"}
    assert all(path.stat().st_size > 1000 for path in stem.parent.glob(f"{stem.name}.*"))


def test_figures_4_and_5_are_drawn_from_the_exported_weights(runs, points, tmp_path):
    weights = [runs / "seed0/weights.safetensors"]
    draw.figure4(weights, [points], [CELL], tmp_path / "figure4")
    draw.figure5(weights, [points], [CELL], tmp_path / "figure5")
    files_with(tmp_path / "figure4")
    files_with(tmp_path / "figure5")


def test_figure5_shows_every_dataset_it_is_given(runs, points, tmp_path, monkeypatch):
    # two data sets may share an N_z: neither may take the other's panel
    shown = []
    monkeypatch.setattr("aevb.galleries._image", lambda axes, image, colours, caption: shown.append(caption))
    frey = Cell.model_validate(CELL.model_dump() | {"dataset": "frey"})
    draw.figure5(2 * [runs / "seed0/weights.safetensors"], 2 * [points], [CELL, frey], tmp_path / "figure5")
    assert len(shown) == 2


def test_figure4_refuses_models_that_have_no_plane_to_show(points, tmp_path):
    three = CELL.model_copy(update={"n_latent": 3})
    job = Job(cell=three, seeds=(0,), samples=10_000)
    runs = trained(job, points, tmp_path)
    with pytest.raises(UserError, match="2 latent dimensions, not 3"):
        draw.figure4([runs / "seed0/weights.safetensors"], [points], [three], tmp_path / "figure4")


def test_damaged_weights_are_named_not_drawn(runs, points, tmp_path):
    damaged = shutil.copy(runs / "seed0/weights.safetensors", tmp_path / "weights.safetensors")
    with open(damaged, "r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(b"\xff\xff\xff\x7f")
    with pytest.raises(UserError, match=re.escape(str(damaged))):
        draw.figure5([Path(damaged)], [points], [CELL], tmp_path / "figure5")


def test_figures_2_and_3_show_only_the_cells_they_are_given(tmp_path):
    rows = [
        CELL.identity
        | {"n_latent": n_latent, "seed": 0, "split": split, "samples": samples, "bound": -30.0}
        | {"seconds": 1.0, "log_likelihood": -30.0, "std_error_points": 0.1}
        | {"std_error": 0.1, "evidence_estimator": "appendix_d_robust"}
        for n_latent in (2, 7)
        for split in ("train_running", "train", "test")
        for samples in (10_000, 20_000)
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "bounds.csv", index=False)
    marginal = pd.DataFrame(rows).query("split != 'train_running'")
    marginal.to_csv(tmp_path / "marginal.csv", index=False)
    paper = Path(__file__).parents[1] / "results/reference/paper.csv"
    draw.figure2(tmp_path / "bounds.csv", paper, [CELL], tmp_path / "figure2")
    draw.figure3([tmp_path / "marginal.csv"], paper, [CELL], tmp_path / "figure3")
    files_with(tmp_path / "figure2")
    files_with(tmp_path / "figure3")
    text = (tmp_path / "figure2.svg").read_text()
    assert text.count("N_z = 2") == 1
    assert "N_z = 7" not in text


# ------------------------------------------------------------------------------------------ comparing methods


@pytest.fixture(scope="module")
def rivals(points, tmp_path_factory):
    """Folders of AEVB's and of full VB's runs, and their evidence."""
    folder = tmp_path_factory.mktemp("rivals")
    found = {}
    for name in ("aevb", "full_vb"):
        cell = CELL.model_copy(update={"estimator": name, "settings": {}})
        runs = trained(Job(cell=cell, seeds=(0, 1), samples=20_000), points, folder / name)
        tasks = tuple(EvidenceTask(name=n, settings=SETTINGS[n], samples=(20_000,)) for n in COMPARED)
        job = EvidenceJob(cell=cell, seeds=(0, 1), points=5, tasks=tasks)
        cells = [runs / f"seed{seed}/cell.json" for seed in (0, 1)]
        evidence.evidence(job, points, cells, runs / "evidence.csv", **WHERE)
        found[name] = runs
    return found


def cells_and_evidence(rivals):
    cells = [runs / f"seed{seed}/cell.json" for runs in rivals.values() for seed in (0, 1)]
    return cells, [runs / "evidence.csv" for runs in rivals.values()]


def test_methods_are_compared_by_their_last_bound_and_their_likelihood(rivals, tmp_path):
    cells, likelihoods = cells_and_evidence(rivals)
    compare.compare(cells, likelihoods, "aevb", tmp_path / "curves.csv", tmp_path / "comparison.csv")
    table = pd.read_csv(tmp_path / "comparison.csv").set_index("metric")
    assert list(table["estimator"].unique()) == ["full_vb"]
    ends = {
        name: np.mean(
            [
                pd.read_csv(runs / f"seed{seed}/curve.csv").query("split == 'test'")["bound"].iloc[-1]
                for seed in (0, 1)
            ]
        )
        for name, runs in rivals.items()
    }
    assert table.loc["bound", "value"] == pytest.approx(ends["full_vb"])
    assert table.loc["bound", "difference"] == pytest.approx(ends["full_vb"] - ends["aevb"])
    ours, theirs = (
        pd.read_csv(path).query("split == 'test'").groupby("evidence_estimator").mean(numeric_only=True)
        for path in likelihoods
    )
    certified = [known.loc["appendix_d_robust", "log_likelihood"] for known in (ours, theirs)]
    assert np.isfinite(certified).all()
    assert table.loc["log_likelihood", "difference"] == pytest.approx(certified[1] - certified[0])
    gap = certified[1] - theirs.loc["elbo", "lower_bound"]
    assert table.loc["gap", "value"] == pytest.approx(gap)
    assert gap > 0
    assert table.loc["bound", "verdict"] == "too few seeds: 2, and a verdict needs 6"
    curves = pd.read_csv(tmp_path / "curves.csv")
    assert {*curves["estimator"]} == {"aevb", "full_vb"}
    draw.comparison_figures(tmp_path / "curves.csv", tmp_path / "comparison.csv", tmp_path)
    assert (tmp_path / "comparison_forest.svg").exists()


def test_full_vb_is_tabled_beside_map(rivals, tmp_path):
    cells, likelihoods = cells_and_evidence(rivals)
    compare.full_vb(cells, likelihoods, tmp_path / "full_vb.csv", tmp_path / "full_vb")
    table = pd.read_csv(tmp_path / "full_vb.csv").set_index("quantity")
    own, at_the_mean = (
        table.loc["the method's own bound on its minibatches"],
        table.loc["ELBO on training points"],
    )
    assert own["full_vb"] < at_the_mean["full_vb"] - 1  # it pays for knowing 700 weights with 200 points
    assert table.loc["ELBO on test points", "n_seeds"] == 2
    assert (tmp_path / "full_vb.png").exists()


def test_a_run_that_went_further_is_tabled_where_both_are(rivals, points, tmp_path):
    further = trained(
        Job(cell=CELL.model_copy(update={"settings": {}}), seeds=(0, 1), samples=30_000),
        points,
        tmp_path / "further",
    )
    cells, likelihoods = cells_and_evidence(rivals | {"aevb": further})
    likelihoods[0] = rivals["aevb"] / "evidence.csv"
    compare.full_vb(cells, likelihoods, tmp_path / "full_vb.csv", tmp_path / "full_vb")
    compare.full_vb(*cells_and_evidence(rivals), tmp_path / "expected.csv", tmp_path / "full_vb")
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "full_vb.csv"), pd.read_csv(tmp_path / "expected.csv")
    )


def test_an_estimator_is_held_to_the_rules_in_words(tmp_path):
    compare.conform(CELL, tmp_path / "kept.txt")
    assert "is deterministic" in (tmp_path / "kept.txt").read_text().splitlines()
    path = tmp_path / "mine.py"
    path.write_text("def build(model, optimiser, n_train, n_samples=1):\n    return None\n")
    mine = CELL.model_copy(update={"estimator": "mine", "source": str(path)})
    with pytest.raises(UserError, match="it returned NoneType"):
        compare.conform(mine, tmp_path / "broken.txt")
    assert not (tmp_path / "broken.txt").exists()
