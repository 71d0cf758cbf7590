"""The workflow as its users meet it: what it plans, what it makes, what runs again after which change."""

import os
import re
import shlex
import shutil
import tomllib
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aevb import data, kept, store
from aevb.files import write_text
from workflows import (
    CELL,
    FIGURES,
    IDENTITY,
    PROTOCOL,
    ROOT,
    SMOKE_DIGITS,
    TRAIN_SIZES,
    copy_of_the_source,
    edited,
    folder_of,
    grid,
    planned,
    rules,
    searches,
    snakemake,
    stored,
    succeeded,
    value_of,
    with_comment,
    with_value,
)

ONCE = [
    "step_sizes",
    "run_tables",
    "sound",
    "marginal_likelihood",
    "bound_and_likelihood",
    "paper_comparison",
    "html",
    "all",
]


def test_the_workflow_asks_for_the_snakemake_that_the_package_requires():
    required = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    [oldest] = re.findall(r"^min_version\(\"(.*)\"\)", (ROOT / "Snakefile").read_text(), re.MULTILINE)
    assert f"snakemake>={oldest},<10" in required


# -------------------------------------------------------------------------------------- what would be done


@pytest.mark.parametrize("datasets", [("mnist", "frey"), ("digits",)])
@pytest.mark.parametrize("scale", ["smoke", "laptop", "overnight", "paper"])
def test_every_scale_plans_one_job_per_search_cell_and_figure(source, tmp_path, scale, datasets):
    jobs = planned(source, tmp_path, config=[f"scale={scale}", f"datasets={','.join(datasets)}"])
    cells = grid(datasets)
    expected = Counter([*ONCE, *FIGURES])
    expected |= {"data": len(datasets), "step_size": len(searches(cells)), "train": len(cells)}
    expected |= {"evidence": len(grid(datasets, ["figure2", "figure3"]))}
    if {"mnist", "frey"} & {*datasets}:
        expected |= {"distances": 1}  # from the paper's curves
    assert rules(jobs) == expected


def test_the_default_is_the_laptop_scale_of_the_papers_data(source, tmp_path):
    text = succeeded(snakemake(source, tmp_path, "--dry-run", "--printshellcmds"))
    budget = PROTOCOL["scales"]["laptop"]["samples"]["figure2"]
    [command] = re.findall(r"aevb train .*--output results/runs/mnist/aevb/h500-z3-n50000 .*", text)
    assert f'"samples":{budget:.0f},' in command
    assert set(re.findall(r"prepare-data --dataset (\w+)", text)) == {"mnist", "frey"}


def test_gradients_train_the_run_that_they_follow_and_nothing_else(source, tmp_path):
    jobs = rules(planned(source, tmp_path, "gradients"))
    own = ["gradients", "gradients_of_cell", "gradient_variance"]
    own += ["gradient_variance_page", "gradient_variance_figure"]
    assert jobs == Counter([*own, "data", "step_size", "train"])


def test_a_comparison_trains_the_baseline_and_its_rivals_apart_from_the_figures(source, tmp_path):
    jobs = rules(planned(source, tmp_path, "compare"))
    rivals = 1 + len(PROTOCOL["comparison"]["estimators"])
    own = dict.fromkeys(["compare", "comparison", "comparison_page", "comparison_figures", "data"], 1)
    expected = own | dict.fromkeys(["step_size_compared", "train_compared", "evidence_compared"], rivals)
    assert jobs == Counter(expected)


def test_the_comparisons_searches_are_kept_apart_from_the_figures(source, tmp_path):
    """Of MCEM a run has one objective, its end's: a longer search of a cell would stand in for a shorter one."""
    config = [*SMOKE_DIGITS, "comparison={estimators: [mcem]}"]
    text = succeeded(
        snakemake(source, tmp_path, "--dry-run", "--printshellcmds", "compare", "figure3", config=config)
    )
    stores = {"results/comparison": set(), "results/step_sizes": set()}
    for root, output in re.findall(r"aevb step-size .*--store-root (\S+) --output (\S+)", text):
        stores["/".join(output.split("/")[:2])].add(root)
    apart, shared = stores.values()
    assert apart
    assert shared
    assert not apart & shared


def test_an_added_estimator_is_held_to_the_rules_before_its_training(source, tmp_path):
    mine = tmp_path / "a folder" / "mine.py"
    mine.parent.mkdir()
    mine.write_text("def build(model, optimiser, n_train):\n    return None\n")
    before = rules(planned(source, tmp_path, "compare"))
    jobs = rules(planned(source, tmp_path, "compare", config=[*SMOKE_DIGITS, f"add={mine}"]))
    added = ["conform", "step_size_compared", "train_compared", "evidence_compared"]
    assert jobs - before == Counter(added)
    assert rules(planned(source, tmp_path, config=[*SMOKE_DIGITS, f"add={mine}"])) == rules(
        planned(source, tmp_path)
    )


def test_full_vb_is_trained_beside_map(source, tmp_path):
    jobs = rules(planned(source, tmp_path, "full_vb"))
    grid_of = PROTOCOL["full_vb"]["digits"]
    cells = len(grid_of["estimators"]) * len(grid_of["n_train"])
    assert jobs["train"] == jobs["evidence"] == cells
    assert jobs["full_vb_results"] == jobs["full_vb_page"] == jobs["full_vb"] == 1


@pytest.mark.parametrize("target", [*FIGURES, "tables"])
def test_a_target_needs_no_more_than_its_own_cells(source, tmp_path, target):
    jobs = planned(source, tmp_path, target)
    wanted = grid(["digits"], FIGURES if target == "tables" else [target])
    wanted = grid(["digits"]) if target == "figure2" else wanted  # it reads the table of all runs
    assert rules(jobs)["train"] == len(wanted)
    assert rules(jobs)[target] == 1


@pytest.mark.parametrize(
    ("datasets", "labelled"), [(("mnist", "frey"), ["mnist"]), (("digits",), ["digits"])]
)
def test_representations_are_those_of_figure2_with_labels_where_there_are_any(
    source, tmp_path, datasets, labelled
):
    jobs = planned(source, tmp_path, "representation", config=[f"datasets={','.join(datasets)}"])
    cells = grid(datasets, ["figure2"])
    expected = {"represent": len(cells), "train": len(cells), "yardstick": len(datasets)}
    assert {rule: rules(jobs)[rule] for rule in expected} == expected
    assert [job["dataset"] for rule, job in jobs if rule == "labels"] == labelled
    assert "evidence" not in rules(jobs)


def test_a_wrong_estimator_of_log_p_ends_certify_and_everything_with_status_1(source, tmp_path):
    assert rules(planned(source, tmp_path, "certify"))["certified"] == 1
    assert rules(planned(source, tmp_path, "everything"))["certified"] == 1
    alone = ["--allowed-rules", "certified"]
    right = (source / "results/reference/certification_laptop.csv").read_text()
    for table, status in ((right, 0), (right.replace("accurate", "wrong"), 1)):
        work = tmp_path / str(status)
        figures = [f"figures/certification.{end}" for end in ("pdf", "png", "svg")]
        for made in ["tables/html/certification.html", *figures]:
            write_text(work / "results" / made, "")
        write_text(work / "results/tables/certification.csv", table)
        said = snakemake(source, work, "results/tables/certified.txt", *alone, config=SMOKE_DIGITS)
        assert said.returncode == status
        assert (work / "results/tables/certified.txt").exists() == (status == 0)
    assert "appendix_d_robust, probabilistic PCA, exact, 2.0: +0.001 nats" in said.stdout


def test_a_cell_trains_in_one_job_whatever_the_number_of_its_seeds(source, tmp_path):
    target = f"results/runs/{CELL}/seed0/curve.csv"
    for scale in ["smoke", "paper"]:
        jobs = planned(source, tmp_path, target, config=[f"scale={scale}", "datasets=digits"])
        assert rules(jobs) == {"data": 1, "step_size": 1, "train": 1}


# ------------------------------------------------------------------------------------ what a finished run has


def check_contract(work, datasets):
    """The public contract: every file with its columns, and values in nats that can be."""
    seeds = range(PROTOCOL["scales"]["smoke"]["seeds"])
    cells = grid(datasets)
    runs = {f"{folder_of(cell)}/seed{seed}" for cell in cells for seed in seeds}
    for run in runs:
        curve = pd.read_csv(work / "results/runs" / run / "curve.csv")
        assert curve.columns.tolist() == ["samples", "split", "bound", "seconds"]
        assert store.read_weights(work / "results/runs" / run / "weights.safetensors").tensors
        assert (work / "results/runs" / run / "cell.json").stat().st_size > 0
    for figure in FIGURES:
        for suffix, magic in {"pdf": b"%PDF", "png": b"\x89PNG", "svg": b"<?xml"}.items():
            assert (work / f"results/figures/{figure}.{suffix}").read_bytes().startswith(magic)
    for dataset in datasets:
        split = data.load(work / f"results/data/{dataset}.npz")
        assert split.train.dtype == split.test.dtype == np.uint8
        assert len(split.train) == TRAIN_SIZES[dataset]
    check_bounds(pd.read_csv(work / "results/tables/bounds.csv"), cells, len(seeds))
    check_marginal(pd.read_csv(work / "results/tables/marginal_likelihood.csv"), datasets, len(seeds))
    for table in [
        "paper_comparison",
        "final_bounds",
        "marginal_likelihood",
        "bound_and_likelihood",
        "step_sizes",
        "costs",
        "provenance",
    ]:
        assert (work / f"results/tables/html/{table}.html").read_text().lstrip().startswith("<!DOCTYPE html>")


def check_bounds(bounds, cells, seeds):
    assert bounds.columns.tolist() == [*IDENTITY, "seed", "split", "samples", "bound", "seconds"]
    # Monte Carlo EM has no recognition model and therefore no bound
    assert set(bounds[IDENTITY].itertuples(index=False, name=None)) == {
        cell for cell in cells if cell[1] != "mcem"
    }
    assert set(bounds["split"]) == {"train_running", "train", "test"}
    assert not bounds.duplicated([*IDENTITY, "seed", "split", "samples"]).any()
    assert bounds["seed"].nunique() == seeds
    assert bounds["samples"].dtype == np.int64
    assert np.isfinite(bounds["bound"]).all()
    assert (bounds.loc[bounds["dataset"].ne("frey"), "bound"] < 0).all()  # log-probabilities of binary pixels
    assert (bounds["bound"].abs() < 10_000).all()  # of a data point, not of a data set
    assert (bounds["seconds"] > 0).all()


def check_marginal(marginal, datasets, seeds):
    columns = [
        *IDENTITY,
        "seed",
        "split",
        "samples",
        "seconds",
        "evidence_estimator",
        "log_likelihood",
        "std_error",
    ]
    assert set(columns) <= set(marginal.columns)
    cells = grid(datasets, ["figure2", "figure3"])
    assert set(marginal[IDENTITY].itertuples(index=False, name=None)) == cells
    followed = marginal[marginal["evidence_estimator"] == "appendix_d_paper"]
    assert set(followed[IDENTITY].itertuples(index=False, name=None)) == grid(datasets, ["figure3"])
    assert marginal["seed"].nunique() == seeds
    assert set(marginal["split"]) == {"train", "test"}
    assert not marginal.duplicated([*IDENTITY, "seed", "split", "samples", "evidence_estimator"]).any()
    trusted = marginal[marginal["n_refused"] == 0]
    assert np.isfinite(trusted["log_likelihood"]).all()
    assert (trusted["std_error"] >= 0).all()
    # a value that is not there has a reason that is
    assert marginal.loc[marginal["log_likelihood"].isna(), "refusal"].str.contains("points: ").all()


def check_step_sizes(work, datasets):
    """One row per candidate, one choice per search, and the choice is the best that did not diverge."""
    table = pd.read_csv(work / "results/tables/step_sizes.csv")
    groups = table.groupby(IDENTITY)
    assert len(groups) == len(searches(grid(datasets)))
    for _, candidates in groups:
        assert candidates["step_size"].tolist() == PROTOCOL["step_size"]["candidates"]
        chosen = candidates[candidates["chosen"]]
        assert len(chosen) == 1
        assert not chosen["diverged"].item()
        assert chosen["value"].item() == candidates.loc[~candidates["diverged"], "value"].max()
    assert table["seed"].eq(PROTOCOL["step_size"]["seed"]).all()


def check_paper_comparison(work):
    table = pd.read_csv(work / "results/tables/paper_comparison.csv")
    curve = ["figure", "dataset", "method", "n_latent", "n_train", "split", "samples"]
    assert table.columns.tolist() == [*curve, "paper", "ours", "ci_low", "ci_high", "difference"]
    return table


def test_the_digits_run_keeps_the_contract(digits):
    check_contract(digits, ["digits"])


def test_the_digits_run_chooses_one_step_size_per_search(digits):
    check_step_sizes(digits, ["digits"])


def test_digits_are_compared_with_nothing_of_the_paper(digits):
    assert check_paper_comparison(digits).empty


def test_the_digits_run_has_learned(digits):
    # at this length AEVB uses its latents, and wake-sleep knows each pixel's mean; untrained, both are at -44.4
    split = data.load(digits / "results/data/digits.npz")
    mean, x = (split.train / split.scale).mean(0).clip(1e-6, 1 - 1e-6), split.test / split.scale
    pixels_alone = (x * np.log(mean) + (1 - x) * np.log(1 - mean)).sum(1).mean()  # -27.24 nats
    bounds = pd.read_csv(digits / "results/tables/final_bounds.csv").query("split == 'test'")
    assert (bounds["bound"] > pixels_alone - 0.2).all()
    assert (bounds.query("estimator == 'aevb'")["bound"] > pixels_alone + 0.5).all()


def test_the_evidence_is_above_the_bound_of_the_same_weights(digits):
    # on average: it is evaluated on the first few points and the bound on all, a spread of about 1.5 nats
    tables = digits / "results/tables"
    key = [*IDENTITY, "seed", "split", "samples"]
    marginal = pd.read_csv(tables / "marginal_likelihood.csv").query(
        "evidence_estimator == 'appendix_d_robust'"
    )
    both = marginal.merge(pd.read_csv(tables / "bounds.csv"), on=key)
    assert len(both) > 10
    assert (both["log_likelihood"] - both["bound"]).mean() > 0


def test_the_curve_ends_at_the_budget_and_the_weights_are_its_last(digits):
    folder = digits / f"results/runs/{CELL}/seed0"
    budget = PROTOCOL["scales"]["smoke"]["samples"]["figure2"]["digits"]
    assert pd.read_csv(folder / "curve.csv")["samples"].max() == budget
    assert store.read_weights(folder / "weights.safetensors").meta["samples"] == budget


def test_the_real_run_keeps_the_contract(real):
    check_contract(real, ["mnist", "frey"])


def test_the_real_run_records_every_candidate_step_size_and_chooses_one(real):
    check_step_sizes(real, ["mnist", "frey"])


def test_the_real_run_is_comparable_with_the_paper(real):
    # smoke runs end before the paper's first points, so the table may be empty, which the figure says
    table = check_paper_comparison(real)
    assert (real / "results/figures/distances.png").read_bytes().startswith(b"\x89PNG")
    assert np.isfinite(table[["paper", "samples"]].astype(float)).all(axis=None)


def test_frey_face_alone_is_compared_with_the_paper(real, source, tmp_path):
    work = shutil.copytree(real, tmp_path / "work")
    table = "results/tables/paper_comparison.csv"
    succeeded(snakemake(source, work, table, config=["scale=smoke", "datasets=frey"]))
    assert set(pd.read_csv(work / table)["dataset"]) <= {"frey"}


def test_the_real_run_is_done_once(real, source):
    assert "Nothing to be done" in succeeded(snakemake(source, real, config=["scale=smoke"]))


# ------------------------------------------------------------------------------------- what a change does again


def test_a_second_run_does_nothing(digits, source):
    assert "Nothing to be done" in succeeded(snakemake(source, digits, config=SMOKE_DIGITS))


def test_touching_all_sources_does_nothing(digits, source):
    files = [path for path in source.rglob("*") if path.is_file()]
    times = {path: path.stat() for path in files}
    try:
        for path in files:
            os.utime(path)
        assert planned(source, digits) == []
    finally:
        for path, before in times.items():
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("figures", ["figure2", "figure3"]),
        ("galleries", ["figure4", "figure5"]),
        ("drawing", FIGURES),
        # run_tables writes bounds.csv too
        ("records", ["run_tables", "paper_comparison", "html", "figure2"]),
        ("paper_comparison", ["paper_comparison", "html"]),
        ("bound_and_likelihood", ["bound_and_likelihood", "html"]),
        ("pages", ["html"]),
        (
            "evidence/annealed",
            [
                "evidence",
                "marginal_likelihood",
                "bound_and_likelihood",
                "figure3",
                "paper_comparison",
                "html",
            ],
        ),
        ("config", []),  # what it says reaches the jobs by their parameters
        ("training", [*ONCE[:-1], *FIGURES, "step_size", "train", "evidence"]),
    ],
)
def test_an_edited_module_runs_its_own_stage_again_and_what_follows(digits, source, module, expected):
    with edited(source / f"src/aevb/{module}.py", with_comment):
        jobs = planned(source, digits)
    assert set(rules(jobs)) == {*expected, *(["sound", "all"] if expected else [])}


def test_an_edited_estimator_leaves_the_other_estimators_alone(digits, source):
    with edited(source / "src/aevb/estimators/wake_sleep.py", with_comment):
        jobs = planned(source, digits)
    assert set(rules(jobs)) == {*ONCE, "step_size", "train", "evidence", "figure2", "figure3"}
    heavy = [job["estimator"] for rule, job in jobs if rule in ("step_size", "train", "evidence")]
    assert set(heavy) == {"wake_sleep"}
    cells = {cell for cell in grid(["digits"]) if cell[1] == "wake_sleep"}
    assert rules(jobs)["train"] == len(cells)
    assert rules(jobs)["step_size"] == len(searches(cells))


@pytest.mark.parametrize(
    ("key", "value", "heavy"),
    [
        ("evidence.settings.importance", {"draws": 60}, {"evidence"}),
        ("step_size.candidates", [0.01, 0.02], {"step_size", "train", "evidence"}),
        ("training.batch_size", 50, {"step_size", "train", "evidence"}),
        ("scales.smoke.seeds", 3, {"train", "evidence"}),
        ("scales.paper.seeds", 6, set()),
    ],
)
def test_an_edited_value_runs_only_what_depends_on_it(digits, source, key, value, heavy):
    with edited(source / "config.yaml", with_value(key, value)):
        jobs = planned(source, digits)
    assert set(rules(jobs)) & {"data", "step_size", "train", "evidence"} == heavy
    assert bool(jobs) == bool(heavy)


def test_another_length_of_a_search_trains_that_estimator_only(digits, source):
    with edited(source / "config.yaml", with_value("estimators.mcem.search_samples", 250_000.0)):
        jobs = planned(source, digits)
    assert {job["estimator"] for rule, job in jobs if rule in ("step_size", "train")} == {"mcem"}


def test_a_comment_in_the_training_code_trains_nothing_again(copied, source):
    # the rules run again, by the file's checksum; the store's address ignores comments
    curve = copied / f"results/runs/{CELL}/seed0/curve.csv"
    before, text = stored(copied), curve.read_text()
    with edited(source / "src/aevb/training.py", with_comment):
        assert rules(planned(source, copied, str(curve.relative_to(copied)))) == {"step_size": 1, "train": 1}
        succeeded(snakemake(source, copied, str(curve.relative_to(copied)), config=SMOKE_DIGITS))
    assert stored(copied) == before
    assert curve.read_text() == text


def test_another_seed_trains_only_itself(copied, source):
    before = stored(copied)
    curve = (copied / f"results/runs/{CELL}/seed0/curve.csv").read_text()
    with edited(source / "config.yaml", with_value("scales.smoke.seeds", 3)):
        target = f"results/runs/{CELL}/seed2/curve.csv"
        succeeded(snakemake(source, copied, target, config=SMOKE_DIGITS))
    after = stored(copied)
    assert {path: after[path] for path in before} == before
    assert {Path(path).parent.name for path in set(after) - set(before)} == {"seed2"}
    assert (copied / f"results/runs/{CELL}/seed0/curve.csv").read_text() == curve


def test_a_larger_budget_continues_and_a_smaller_one_comes_back(copied, source):
    path = copied / f"results/runs/{CELL}/seed0/curve.csv"
    target, short = str(path.relative_to(copied)), path.read_text()
    weights = store.read_weights(path.with_name("weights.safetensors"))
    with edited(source / "config.yaml", with_value("scales.smoke.samples.figure4.digits", 250_000.0)):
        succeeded(snakemake(source, copied, target, config=SMOKE_DIGITS))
    assert path.read_text().startswith(short)
    assert pd.read_csv(path)["samples"].max() == 250_000
    before = stored(copied)
    succeeded(snakemake(source, copied, target, config=SMOKE_DIGITS))
    assert stored(copied) == before
    assert path.read_text() == short
    again = store.read_weights(path.with_name("weights.safetensors"))
    assert again.meta == weights.meta
    assert all(again.tensors[name].equal(weights.tensors[name]) for name in weights.tensors)


def test_what_was_trained_is_kept_in_the_clone(copied, source):
    clones = source / "results/reference/kept"
    before = kept.read(clones)
    try:
        said = succeeded(snakemake(source, copied, "keep", config=SMOKE_DIGITS))
        after = kept.read(clones)
    finally:
        kept.write(clones, before)
    n = len(grid(["digits"])) * PROTOCOL["scales"]["smoke"]["seeds"]
    assert len(after.runs) == len(before.runs) + n, said
    assert set(after.likelihoods["dataset"]) == {"mnist", "digits"}
    for old, new in zip(before, after, strict=True):
        pd.testing.assert_frame_equal(
            new[new["dataset"] != "digits"].reset_index(drop=True), old, check_dtype=False
        )
    # the page shows the paper's data sets: pictures of the digits do not take their place
    assert not (source / "docs/figures").exists()


# ------------------------------------------------------------------------------------------- what is refused


@pytest.fixture
def protocol(tmp_path):
    """The workflow without the package, which is then the installed one, and with a config.yaml to spoil."""
    return copy_of_the_source(tmp_path / "protocol", "aevb", "paper.csv")


def refused(protocol, tmp_path, config=()):
    """What snakemake says when it refuses, having done nothing."""
    work = tmp_path / "work"
    work.mkdir()
    process = snakemake(protocol, work, config=config)
    assert process.returncode != 0
    assert "Traceback" not in process.stdout
    assert not (work / "results").exists()
    return process.stdout


def test_wrong_values_are_refused_by_name_and_all_at_once(protocol, tmp_path):
    path = protocol / "config.yaml"
    wrong = {
        "scael": "smoke",
        "training.batchsize": 100,
        "training.batch_size": "many",
        "training.train_points": 0,
        "figures.figure2.mnist.n_hidden": -500,
        "scales.smoke.samples.figure2.mnist": 3.0e5,
    }
    for key, value in wrong.items():
        path.write_text(with_value(key, value)(path.read_text()))
    message = refused(protocol, tmp_path)
    assert all(key.removesuffix(".mnist") in message for key in wrong), message
    assert "not a report point" in message


@pytest.mark.parametrize(
    ("key", "value", "names"),
    [
        ("figures.figure3.mnist.n_train", [1000, 60_000], ["figures.figure3.mnist", "n_train 60000"]),
        ("figures.figure2.mnist.estimators", ["aevb", "nice"], ["figures.figure2.mnist", "'nice'"]),
    ],
)
def test_what_does_not_exist_is_refused_by_name(protocol, tmp_path, key, value, names):
    path = protocol / "config.yaml"
    path.write_text(with_value(key, value)(path.read_text()))
    message = refused(protocol, tmp_path)
    assert all(name in message for name in names), message


def test_a_key_given_twice_is_refused_by_name(protocol, tmp_path):
    with open(protocol / "config.yaml", "a") as file:
        file.write("\ndevice: cpu\n")
    assert re.search("device is given twice", refused(protocol, tmp_path))


def test_a_python_object_is_refused_and_not_run(protocol, tmp_path):
    path = protocol / "config.yaml"
    call = f"device: !!python/object/apply:os.mkdir ['{tmp_path / 'owned'}'] #"
    path.write_text(path.read_text().replace("device:", call))
    assert "python/object" in refused(protocol, tmp_path)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        (["scale=huge"], ["scale", "'huge'", "smoke, laptop, overnight, paper"]),
        (["datasets=cifar", "device=tpu", "seeds=3"], ["datasets", "device", "seeds"]),
    ],
)
def test_wrong_settings_on_the_command_line_are_refused_by_name(protocol, tmp_path, settings, names):
    message = refused(protocol, tmp_path, settings)
    assert all(name in message for name in names), message


def test_an_estimator_without_a_file_is_refused_by_name(protocol, tmp_path):
    path = protocol / "config.yaml"
    entry = with_value("estimators.nice", PROTOCOL["estimators"]["aevb"])
    grid = with_value("figures.figure2.digits.estimators", ["nice"])
    path.write_text(grid(entry(path.read_text())))
    message = refused(protocol, tmp_path, ["datasets=digits"])
    assert "'nice'" in message
    assert "FileNotFoundError" not in message


def test_a_dataset_without_figure3_and_figure5_plans_no_job_without_input(source, tmp_path):
    # the paper has no Frey Face in these figures: a job would have nothing to read, and fail hours later
    text = succeeded(snakemake(source, tmp_path, "--dry-run", "--printshellcmds", config=["datasets=frey"]))
    assert not re.findall(r"python -m aevb .* --(?:inputs|weights|points) +--.*", text)


@pytest.mark.parametrize(
    ("target", "section"),
    [
        *[("compare", "comparison.sizes"), ("full_vb", "full_vb"), ("gradients", "gradients.runs")],
        ("representation", "figures.figure2"),
        *[(figure, f"figures.{figure}") for figure in ("figure3", "figure4", "figure5")],
    ],
)
def test_what_no_chosen_dataset_has_is_refused_by_the_name_of_its_section(source, tmp_path, target, section):
    others = {name: entry for name, entry in value_of(section).items() if name != "digits"}
    with edited(source / "config.yaml", with_value(section, others)):
        process = snakemake(source, tmp_path, target, config=SMOKE_DIGITS)
        assert process.returncode == 1
        assert f"{section} has no entry for digits: give it one in config.yaml" in process.stdout
        assert "Finished jobid" not in process.stdout
        assert planned(source, tmp_path, "all")


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (
            "results/runs/digits/iwae/h50-z3-n1500/seed0/cell.json",
            "No figure trains digits/iwae/h50-z3-n1500",
        ),
        ("results/runs/digits/aevb/h50-z999-n1500/seed0/cell.json", "has no cell digits/aevb/h50-z999-n1500"),
        ("results/runs/digits/nothing/h50-z3-n1500/seed0/cell.json", "no estimator nothing"),
        ("results/release/paper.tar", "No rule to produce results/release/paper.tar"),
    ],
)
def test_a_file_that_no_configured_run_has_is_refused_by_name(source, tmp_path, target, said):
    process = snakemake(source, tmp_path, target, "--dry-run", config=SMOKE_DIGITS)
    assert process.returncode == 1
    assert said in process.stdout


def test_a_comparison_of_the_baseline_with_nothing_is_refused_and_its_setting_is_not(source, tmp_path):
    with edited(source / "config.yaml", with_value("comparison.estimators", [])):
        process = snakemake(source, tmp_path, "compare", config=SMOKE_DIGITS)
        assert process.returncode == 1
        assert "There is nothing to compare with aevb" in process.stdout
        assert "Finished jobid" not in process.stdout
        assert planned(source, tmp_path, "all")


@pytest.mark.parametrize(
    ("target", "n_latent", "n_train"),
    [
        *[("all", 200, 1), ("figure2", 200, 1)],
        *[("results/tables/certification.csv", 600, 1), ("results/tables/step_sizes.csv", 2, 450)],
        ("results/tables/representation.csv", 600, 1),
        ("check", 135, 85),  # each of its lists would be short enough if there were two
    ],
)
def test_more_cells_than_a_command_can_name_are_refused_before_anything_runs(
    source, tmp_path, target, n_latent, n_train
):
    more = with_value("figures.figure2.digits.n_latent", list(range(1, 1 + n_latent)))
    sizes = with_value("figures.figure3.digits.n_train", list(range(500, 500 + n_train)))
    with edited(source / "config.yaml", lambda text: sizes(more(text))):
        process = snakemake(source, tmp_path, target, config=SMOKE_DIGITS)
        assert process.returncode == 1
        assert "run several smaller configurations" in process.stdout
        assert "Finished jobid" not in process.stdout


def test_any_number_of_cells_can_be_trained(source, tmp_path):
    with edited(source / "config.yaml", with_value("figures.figure2.digits.n_latent", list(range(1, 200)))):
        assert rules(planned(source, tmp_path, "trained"))["train"] > 300


# ---------------------------------------------------------------------------------------- where it runs


ODD = unicodedata.normalize("NFC", "a folder für größe 隐")


def test_a_work_folder_may_have_spaces_and_unicode(source, tmp_path):
    work = tmp_path / ODD
    work.mkdir()
    assert rules(planned(source, work))["train"] == len(grid(["digits"]))
    succeeded(snakemake(source, work, "results/data/digits.npz", config=SMOKE_DIGITS))
    assert len(data.load(work / "results/data/digits.npz").train) == TRAIN_SIZES["digits"]


def test_the_clone_may_lie_below_a_folder_with_spaces(tmp_path):
    # a dry-run prints each command; as a shell would split it, every path into the clone is one word
    odd = copy_of_the_source(tmp_path / ODD / "clone")
    text = succeeded(snakemake(odd, tmp_path, "--dry-run", "--printshellcmds", config=SMOKE_DIGITS))
    commands = [shlex.split(line) for line in re.findall(r"python -m aevb .* --paper .*", text)]
    papers = [words[words.index("--paper") + 1] for words in commands]
    assert papers == 3 * [str(odd / "results/reference/paper.csv")]


def test_a_failing_job_says_one_sentence_and_leaves_nothing_half_written(source, tmp_path):
    (tmp_path / "results/data").mkdir(parents=True)
    (tmp_path / "results/data/digits.npz").write_bytes(b"not an archive")
    process = snakemake(source, tmp_path, f"results/runs/{CELL}/seed0/curve.csv", config=SMOKE_DIGITS)
    assert process.returncode == 1
    [log] = (tmp_path / "results/logs/step_size").iterdir()
    [sentence] = log.read_text().splitlines()
    assert sentence.startswith("error: Cannot read results/data/digits.npz")
    assert sentence in process.stdout  # the log of a failed job is shown
    assert not (tmp_path / "results/runs").exists() or not any((tmp_path / "results/runs").rglob("*.*"))
    assert not any((tmp_path / "results/step_sizes").rglob("*.*"))
