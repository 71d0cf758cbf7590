"""The workflow on a real Slurm of one node, which slurm.sh starts and stops: `make test-slurm`.

Not collected by `make test`: it takes root, Debian's Slurm and the plugin, and minutes.
"""

import importlib.util
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest

from workflows import RUN, SMOKE_DIGITS, assert_same_weights, grid, snakemake, stored, succeeded, until

SLURM = Path(__file__).with_name("slurm.sh")
PROFILE = [
    *("--workflow-profile", "profiles/slurm"),
    # of this cluster: it keeps no accounts, and ends with this test
    *("--slurm-no-account", "--slurm-status-command", "squeue"),
    *("--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "10"),
]


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """A Slurm with one node, two of whose resources matter here: cores, and a GPU that is none."""
    if importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
        pytest.skip("there is no snakemake-executor-plugin-slurm; `make test-slurm` installs it")
    reason = subprocess.run([SLURM, "why-not"], capture_output=True, text=True).stdout.strip()
    if reason:
        pytest.skip(reason)
    try:
        subprocess.run([SLURM, "start"], check=True)
        yield
    finally:
        subprocess.run([SLURM, "stop"], check=True)


@pytest.fixture(scope="module")
def alone(source, tmp_path_factory):
    """The same run without a cluster."""
    work = tmp_path_factory.mktemp("alone")
    succeeded(snakemake(source, work, RUN, config=[*SMOKE_DIGITS, "scale=laptop"]))
    return work


def on_slurm(source, work, *arguments, config=SMOKE_DIGITS):
    # a job finds the mirror, the path and the package in its environment, which sbatch hands on
    return snakemake(source, work, *PROFILE, *arguments, config=[*config, "device=cpu"])


def jobs():
    """What the controller says of each job of the last minutes."""
    text = subprocess.run(["scontrol", "show", "job"], check=True, capture_output=True, text=True).stdout
    return re.split(r"\n\n", text)


def test_the_smoke_scale_arrays_and_all(source, tmp_path):
    said = succeeded(on_slurm(source, tmp_path, "--slurm-array-jobs", "train"))
    cells = grid(["digits"])
    assert "Submitted array job" in said
    tasks = [job for job in jobs() if re.search(r"ArrayTaskId=\d", job)]
    assert len(tasks) > 1  # trainings that became ready together, as tasks of one array
    for n in (2, 3, 4, 5):
        assert (tmp_path / f"results/figures/figure{n}.svg").exists()
    costs = pd.read_csv(tmp_path / "results/tables/costs.csv")
    assert len(costs.drop_duplicates(["estimator", "n_hidden", "n_latent", "n_train"])) == len(cells)
    assert "Nothing to be done" in succeeded(on_slurm(source, tmp_path))


def test_a_gpu_is_asked_for_where_a_rule_asks_for_one(source, tmp_path):
    succeeded(on_slurm(source, tmp_path, RUN, "--set-resources", "train:gpu=1"))
    with_gpu = [job for job in jobs() if "gres:gpu:1" in job or "gres/gpu=1" in job]
    assert len(with_gpu) == 1
    assert "TimeLimit=1-00:00:00" in with_gpu[0]  # the rule's runtime, 1440 minutes
    assert re.search(r"mem=2000M|MinMemoryNode=2000M", with_gpu[0])


def test_a_job_that_is_cancelled_midway_goes_on_from_the_store(source, tmp_path, alone):
    """The weights kept on the way were written before the cancellation and not again after it; the end is that of a
    run that nobody cancelled, bit for bit."""
    shutil.copytree(alone / "results/data", tmp_path / "results/data")
    shutil.copytree(alone / "results/step_sizes", tmp_path / "results/step_sizes")
    with ThreadPoolExecutor() as pool:
        run = pool.submit(on_slurm, source, tmp_path, RUN, config=[*SMOKE_DIGITS, "scale=laptop"])
        kept = until(lambda: _on_the_way(tmp_path))
        subprocess.run(["scancel", "--state=RUNNING", "--user=root"], check=True)
        said = succeeded(run.result())
    assert "Trying to restart job" in said
    assert {name: stored(tmp_path)[name] for name in kept} == kept
    assert_same_weights(tmp_path, alone)


def _on_the_way(work):
    """The weights that the run keeps where the smaller scale would have ended."""
    found = stored(work) if (work / "results/.cells").exists() else {}
    return {name: what for name, what in found.items() if name.endswith("weights-200000.safetensors")}
