"""Cells and jobs as values: equal experiments have equal text, and the text comes back as the same experiment."""

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import helpers
from aevb.experiments import (
    Cell,
    CertificationJob,
    EvidenceJob,
    EvidenceTask,
    ExactJob,
    GradientJob,
    Job,
    Search,
    canonical,
    identity_of,
    path_of,
)

SIZES = st.integers(1, 10**6)
CELLS = st.builds(
    Cell,
    dataset=st.sampled_from(["mnist", "frey", "digits"]),
    estimator=st.sampled_from(["aevb", "mcem", "wake_sleep"]),
    n_hidden=SIZES,
    n_latent=SIZES,
    n_train=SIZES,
    decoder=st.sampled_from(["bernoulli", "gaussian"]),
    log_var_floor=st.none() | st.floats(-20, 0),
    batch_size=SIZES,
    warm_up=st.integers(0, 1000),
    train_points=SIZES,
    settings=st.dictionaries(st.sampled_from("abc"), SIZES | st.floats(0, 1)),
)
CELL = helpers.CELL.model_copy(
    update={"n_hidden": 100, "n_train": 1500, "warm_up": 100, "train_points": 1500}
)
TASK = EvidenceTask(name="elbo", settings={"draws": 100}, samples=(10_000, 100_000))


@given(CELLS)
def test_text_and_cell_are_the_same_experiment(cell):
    text = canonical(cell)
    assert Cell.model_validate_json(text) == cell
    assert canonical(Cell.model_validate_json(text)) == text
    assert "\n" not in text


@given(CELLS)
def test_path_and_identity_are_of_the_same_cell(cell):
    assert identity_of(cell.path) == cell.identity
    assert path_of(cell.identity | {"seed": 0}) == cell.path


@pytest.mark.parametrize(
    "job",
    [
        Job(cell=CELL, seeds=(0, 1), samples=20_000, snapshots=(10_000, 20_000)),
        Search(cell=CELL, candidates=(0.01, 0.1), seeds=(1000,), samples=100_000),
        EvidenceJob(cell=CELL, seeds=(0,), points=100, tasks=(TASK,)),
        CertificationJob(cell=CELL, seed=0, samples=100_000, points=100, settings={"elbo": TASK.settings}),
        GradientJob(
            cell=CELL,
            seed=0,
            moments=(0, 10_000),
            estimators=("aevb", "sgvb_a"),
            n_samples=(1, 5),
            draws=10,
        ),
        ExactJob(n_latent=2, n_features=50, points=100, settings={"elbo": TASK.settings}),
    ],
)
def test_text_and_job_are_the_same_job(job):
    assert type(job).model_validate_json(canonical(job)) == job


def test_the_text_does_not_depend_on_the_order_of_settings():
    one, other = ({"a": 1, "b": 0.5}, {"b": 0.5, "a": 1})
    texts = {canonical(CELL.model_copy(update={"settings": settings})) for settings in (one, other)}
    assert len(texts) == 1
    assert list(json.loads(texts.pop())) == sorted(Cell.model_fields)


@given(CELLS, CELLS)
def test_cells_of_different_identity_have_different_folders(one, other):
    assert (one.path == other.path) == (one.identity == other.identity)


def test_a_folder_says_what_is_in_it():
    assert CELL.path == "digits/aevb/h100-z2-n1500"
    assert list(CELL.identity) == ["dataset", "estimator", "n_hidden", "n_latent", "n_train"]


def test_a_task_of_no_known_estimator_is_refused_by_name():
    with pytest.raises(
        ValidationError, match=r"no estimator of log p\(x\) 'appendix_e'; known: appendix_d_robust, "
    ):
        EvidenceTask(name="appendix_e", settings={}, samples=(0,))


def test_an_experiment_cannot_be_changed():
    with pytest.raises(ValidationError):
        CELL.n_hidden = 3


@pytest.mark.parametrize(
    "wrong",
    [
        {"surprise": 1},
        {"dataset": "cifar"},
        {"decoder": "poisson"},
        {"warm_up": -1},
        *({size: 0} for size in ("n_hidden", "n_latent", "n_train", "batch_size", "train_points")),
    ],
)
def test_a_wrong_cell_is_refused(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Cell.model_validate(CELL.model_dump() | wrong)


def test_the_workflow_reads_experiments_without_importing_torch():
    # every snakemake call pays for what these modules import
    code = "import aevb.config, aevb.provenance, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
