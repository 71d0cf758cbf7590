"""docs/add-an-estimator.md, done: its file is written, its commands are typed, and what it promises is there."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from workflows import ROOT, copy_of_the_source

TUTORIAL = (ROOT / "docs/add-an-estimator.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", TUTORIAL, re.DOTALL)


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A copy of the sources, and beside it the tutorial's file."""
    folder = copy_of_the_source(tmp_path_factory.mktemp("tutorial") / "clone")
    for name in ("tests", "pyproject.toml"):
        (folder / name).symlink_to(ROOT / name)
    (folder.parent / "scratch").mkdir()
    for block in blocks("python"):
        path = re.match(r"# (\S+)\n", block)[1]
        (folder / path).write_text(block)
    return folder


def typed(clone, command):
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(clone / "src"),
    }
    words = shlex.split(command)
    return subprocess.run(words, cwd=clone, env=environment, capture_output=True, text=True, check=False)


def commands():
    return [line for block in blocks("sh") for line in block.splitlines() if not line.startswith("make ")]


def test_the_commands_are_those_of_the_test():
    assert [shlex.split(command)[0] for command in commands()] == ["pytest", "snakemake"]


def test_its_file_keeps_the_rules(clone):
    run = typed(clone, commands()[0])
    assert run.returncode == 0, run.stdout
    assert re.search(r"\d+ passed", run.stdout)


def test_one_command_gives_it_a_row_and_a_curve(clone):
    run = typed(clone, commands()[1])
    assert run.returncode == 0, run.stderr[-3000:]
    results = clone / "results"
    table = pd.read_csv(results / "tables/comparison.csv")
    mine = table[table["estimator"] == "antithetic"].set_index("metric")
    assert set(table["estimator"]) == {"antithetic"}
    assert (
        mine.loc[["bound", "log_likelihood"], ["difference", "ci_low", "ci_high", "p_value"]]
        .notna()
        .all(axis=None)
    )
    assert set(mine.loc[["bound", "log_likelihood"], "verdict"]) <= {"better", "worse", "no difference shown"}
    assert "digits, bound: antithetic - aevb = " in run.stdout + run.stderr
    curves = pd.read_csv(results / "tables/comparison_curves.csv")
    assert set(curves["estimator"]) == {"aevb", "antithetic"}
    for name in ("curves", "forest"):
        assert "antithetic" in (results / f"figures/comparison_{name}.svg").read_text()
    kept = (results / "conformance/antithetic.txt").read_text().splitlines()
    assert "reports a bound" in kept
    again = typed(clone, commands()[1])
    assert "Nothing to be done" in again.stdout + again.stderr


def test_a_file_that_breaks_a_rule_is_stopped_before_anything_is_trained(clone):
    broken = clone.parent / "scratch/broken.py"
    text = (clone.parent / "scratch/antithetic.py").read_text()
    broken.write_text(text.replace("torch.cat([eps, -eps], 1)", "torch.randn_like(eps)"))
    told = typed(clone, f"pytest --estimator={broken}")
    assert told.returncode == 1
    assert "step must be a function of state, x and noise" in told.stdout
    run = typed(clone, commands()[1].replace("antithetic", "broken"))
    assert run.returncode == 1
    assert "error: step must be a function of state, x and noise" in run.stderr + run.stdout
    assert not (clone / "results/comparison/digits/broken").exists()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("def build(model, optimiser, n_train:", "is not Python"),
        ("def make(model, optimiser, n_train):\n    return None\n", "must define build("),
        ("import no_such_module\n\n\ndef build(model, optimiser, n_train):\n    pass\n", "No module named"),
        (
            "def build(model, optimiser, n_train):\n    raise RuntimeError('its own words')\n",
            "build(model, optimiser, n_train) must return an Estimator; it raised RuntimeError: its own words",
        ),
        ("def build(model, optimiser, n_train):\n    pass\n", "must return an Estimator(init, draw, step)"),
        (
            "def build(model, optimiser, n_samples=5):\n    pass\n",
            "must define build(model, optimiser, n_train",
        ),
        (
            "def build(model, optimiser, n_train, beta):\n    pass\n",
            "these three are settings and need defaults",
        ),
        (
            (
                "from aevb.estimators import Objective, aevb, ascend\n\n\ndef build(model, optimiser, n_train):\n"
                "    def objective(model, params, x, eps):\n        bound = aevb.elbo(model, params, x, eps)\n"
                "        return Objective(bound, bound.mean())\n\n"
                "    return ascend(objective, model, optimiser, n_train, 1)\n"
            ),
            "Objective.bound needs one value per model and data point, shape (M, B)",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_a_sentence(clone, text, sentence):
    broken = clone.parent / "scratch/useless.py"
    broken.write_text(text)
    for command in commands():
        run = typed(clone, command.replace("antithetic", "useless"))
        assert run.returncode != 0
        assert sentence in run.stderr + run.stdout


def test_a_file_that_does_not_exist_or_has_a_name_of_the_suite_is_refused(clone):
    missing = typed(clone, commands()[1].replace("antithetic", "nowhere"))
    assert "There is no estimator at" in missing.stderr + missing.stdout
    (clone.parent / "scratch/iwae.py").write_text("def build(model, optimiser, n_train):\n    pass\n")
    taken = typed(clone, commands()[1].replace("antithetic", "iwae"))
    assert "has the name of the suite's own 'iwae'" in taken.stderr + taken.stdout
