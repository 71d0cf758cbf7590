"""Snakemake as its users meet it, for tests: a process of its own, in folders of its own.

Everything runs from one copy of the source tree, because rules declare the package's modules as inputs by their
absolute paths: only then can a test edit a module and see which rules run again. One finished run of the smallest
scale is shared by all tests; those that execute something work on a copy of it.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from functools import reduce
from operator import getitem
from pathlib import Path

import numpy as np
import pytest
import yaml

from aevb import store, trees

ROOT = Path(__file__).parents[1]
PROTOCOL = yaml.safe_load((ROOT / "config.yaml").read_text())
SMOKE_DIGITS = ("scale=smoke", "datasets=digits")
TRAIN_SIZES = {"mnist": 50_000, "frey": 1_600, "digits": 1_500}  # of the paper; of digits, ours
CELL = "digits/aevb/h100-z2-n1500"  # the cell that executing tests train
RUN = f"results/runs/{CELL}/seed0/weights.safetensors"
FIGURES = ["figure2", "figure3", "figure4", "figure5"]
IDENTITY = ["dataset", "estimator", "n_hidden", "n_latent", "n_train"]


# ------------------------------------------------------------------------------------------------- helpers


def rule_names():
    """The names of the workflow's rules."""
    files = [ROOT / "Snakefile", *(ROOT / "workflow/rules").glob("*.smk")]
    return {name for path in files for name in re.findall(r"^rule (\w+):", path.read_text(), re.MULTILINE)}


def copy_of_the_source(folder, *without):
    """What a clone holds, below `folder`: no runs, no environment."""
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", *without)
    for name in ["Snakefile", "config.yaml"]:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    for name in ["workflow", "profiles", "src", "results/reference"]:
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    return folder


def snakemake_command(source, work, *arguments, config=()):
    """The command that runs snakemake with the package of `source` in the folder `work`, and its environment."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [sys.executable, "-m", "snakemake", "--snakefile", source / "Snakefile", "--directory", work]
    cores = [] if "--workflow-profile" in arguments else ["--cores", "all"]
    settings = ["--config", *config] if config else []  # last: it swallows every word that follows
    environment = os.environ | {"PYTHONPATH": _first(source / "src"), "PATH": path}
    return [*command, *cores, *arguments, *settings], environment


def _first(folder):
    return os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])


def snakemake(source, work, *arguments, config=()):
    """Run it to its end; its output is one text."""
    command, environment = snakemake_command(source, work, *arguments, config=config)
    return subprocess.run(
        command, cwd=source, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def succeeded(process):
    assert process.returncode == 0, process.stdout
    return process.stdout


def planned(source, work, *arguments, config=SMOKE_DIGITS):
    """The jobs that a dry-run lists: (rule, wildcards) of each."""
    text = succeeded(snakemake(source, work, "--dry-run", *arguments, config=config))
    jobs = []
    for block in re.split(r"^(?=(?:local)?rule \w+:$)", text, flags=re.MULTILINE)[1:]:
        wildcards = re.search(r"^    wildcards: (.*)$", block, flags=re.MULTILINE)
        pairs = wildcards[1].split(", ") if wildcards else []
        jobs.append((re.match(r"(?:local)?rule (\w+):", block)[1], dict(pair.split("=") for pair in pairs)))
    return jobs


def rules(jobs):
    return Counter(rule for rule, _ in jobs)


@contextmanager
def edited(path, change):
    """The file with a changed text inside the `with`; its text and its time are restored afterwards."""
    text, times = path.read_text(), path.stat()
    path.write_text(change(text))
    try:
        yield
    finally:
        path.write_text(text)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def value_of(key):
    """What config.yaml has at a dotted key."""
    return reduce(getitem, key.split("."), PROTOCOL)


def with_comment(text):
    return f"{text}\n# a comment\n"


def with_value(key, value):
    """A change of config.yaml: `key` is dotted, and made where it is not there."""

    def change(text):
        config = yaml.safe_load(text)
        *sections, name = key.split(".")
        section = config
        for part in sections:
            section = section[part]
        section[name] = value
        return yaml.safe_dump(config)

    return change


def stored(work):
    """Every file of the store with its content and time; the lock is opened anew by each process."""
    files = sorted(path for path in (work / "results/.cells").rglob("*") if path.name != "lock")
    return {
        path.relative_to(work).as_posix(): (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.stat().st_mtime_ns,
        )
        for path in files
        if path.is_file()
    }


def assert_same_weights(work, other):
    """Bit for bit, those that the run of CELL ended with in two folders."""
    found, expected = (store.read_weights(folder / RUN).tensors for folder in (work, other))
    assert trees.equal(found, expected)


def until(found, seconds=180):
    """What `found` returns, as soon as it is something."""
    end = time.monotonic() + seconds
    while not (something := found()):
        assert time.monotonic() < end, f"nothing within {seconds} seconds"
        time.sleep(0.02)
    return something


def grid(datasets, figures=FIGURES):
    """(dataset, estimator, n_hidden, n_latent, n_train) of every cell, straight from config.yaml."""
    return {
        (dataset, estimator, cells["n_hidden"], n_latent, n_train)
        for figure in figures
        for dataset, cells in PROTOCOL["figures"][figure].items()
        if dataset in datasets
        for estimator in cells["estimators"]
        for n_latent in cells["n_latent"]
        for n_train in cells.get("n_train") or [TRAIN_SIZES[dataset]]
    }


def searches(cells):
    """What tells two step-size searches apart: not N_z, nor data beyond the search's own."""
    limit = {name: entry.get("search_points", np.inf) for name, entry in PROTOCOL["estimators"].items()}
    return {(dataset, name, h, min(n, limit[name])) for dataset, name, h, _, n in cells}


def folder_of(cell):
    dataset, estimator, n_hidden, n_latent, n_train = cell
    return f"{dataset}/{estimator}/h{n_hidden}-z{n_latent}-n{n_train}"


# ------------------------------------------------------------------------------------------------ fixtures


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    return copy_of_the_source(tmp_path_factory.mktemp("source") / "clone")


@pytest.fixture(scope="session")
def digits(source, tmp_path_factory):
    """The finished run of the smallest scale on the bundled digits. Never changed by a test."""
    work = tmp_path_factory.mktemp("digits")
    succeeded(snakemake(source, work, config=SMOKE_DIGITS))
    return work


@pytest.fixture
def copied(digits, tmp_path):
    """A copy of the finished run, times included, to execute something in."""
    return shutil.copytree(digits, tmp_path / "work")


@pytest.fixture(scope="session")
def real(source, tmp_path_factory):
    """The finished run of the smallest scale on the paper's data."""
    if not os.environ.get("AEVB_DATA_MIRROR"):
        pytest.skip("needs MNIST and Frey Face: set AEVB_DATA_MIRROR to a folder or URL that has them")
    work = tmp_path_factory.mktemp("real")
    succeeded(snakemake(source, work, config=["scale=smoke"]))
    return work
