"""kill -9 at random moments: the run that goes on ends as the one that was never killed, bit for bit.

The processes that train are forked from a server that has imported torch and done nothing with it: one starts within
milliseconds, and no thread of the tests' own torch is lost in a fork.
"""

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from aevb import stack, store, training
from aevb.experiments import Cell
from aevb.schedule import BLOCK
from aevb.stack import Member
from aevb.store import Record, RunStore
from aevb.training import Trainer
from helpers import rejects, two_kinds

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["pytest", "aevb.training", "aevb.estimators.aevb"])

BATCH = 1000  # ten steps a block: it is blocks and their checkpoints that these tests are about
SNAPSHOTS = (50_000, 100_000)
MEMBERS = [Member(0, 0.1), Member(1, 0.05)]
PATIENCE = 300  # seconds; a child needs about one

Spoil = Callable[[Record], Record]  # what a wrong variant resumes from, instead of the checkpoint


# ------------------------------------------------------------------------------------------ what a child does


def cell(estimator: str) -> Cell:
    identity = {"dataset": "digits", "estimator": estimator, "n_hidden": 4, "n_latent": 2, "n_train": 64}
    rest = {"decoder": "bernoulli", "batch_size": BATCH, "train_points": 64, "settings": {}}
    return Cell(**identity, **rest, warm_up=0 if estimator == "mcem" else 20)


def train(root: Path, estimator: str, samples: int, spoil: Spoil | None = None) -> None:
    """Train two seeds as one stack, with a checkpoint after each block; sign each report beside `root`."""
    torch.set_num_threads(1)
    stack.CHECKPOINT_SECONDS = 0
    training.numerics_digest = lambda estimator: (
        estimator
    )  # reading the package would take longer than the run
    genuine = RunStore.load_checkpoint

    def load(run: RunStore) -> Record | None:
        record = genuine(run)
        return spoil(record) if record is not None and spoil is not None else record

    def report(traces: list[training.Trace]) -> None:
        with open(signatures(root), "a") as file:
            file.write(f"{os.getpid()}\n")

    RunStore.load_checkpoint = load  # type: ignore[method-assign]
    trainer = Trainer(cell(estimator), two_kinds(), torch.device("cpu"), root)
    if samples:  # none: to know how long all before takes
        trainer.train(MEMBERS, samples, SNAPSHOTS, report)


def signatures(root: Path) -> Path:
    return root.with_name(f"{root.name} was trained by")


def start(*arguments) -> multiprocessing.Process:
    child = FORKS.Process(target=train, args=arguments, daemon=True)
    child.start()
    return child


# ----------------------------------------------------------------------------------- kills, and what they leave


class Landing(NamedTuple):
    """Where a kill came: the steps in each seed's checkpoint, and the files that it left half-written."""

    steps: tuple[int, ...]
    half_written: tuple[str, ...]


def landing(root: Path) -> Landing:
    folders = sorted({path.parent for path in root.rglob("lock")}, key=lambda folder: folder.name)
    records = [RunStore(folder).load_checkpoint() for folder in folders]
    steps = tuple(record.meta["step"] if record else 0 for record in records)
    return Landing(steps, tuple(sorted(path.name for path in root.rglob("*.tmp"))))


class Whole(NamedTuple):
    """The run that nobody killed."""

    root: Path
    estimator: str
    samples: int
    start: float  # seconds that a child takes before it trains
    seconds: float  # seconds that the training takes

    @property
    def steps(self) -> int:
        return max(landing(self.root).steps)


def uninterrupted(root: Path, estimator: str, samples: int) -> Whole:
    def seconds(folder: str, samples: int) -> float:
        began = time.monotonic()
        child = start(root / folder, estimator, samples)
        child.join(PATIENCE)
        assert child.exitcode == 0
        return time.monotonic() - began

    seconds("first", 0)  # the server that forks starts with it
    idle = seconds("second", 0)
    return Whole(root / "whole", estimator, samples, idle, seconds("whole", samples) - idle)


def killed(
    root: Path, whole: Whole, wanted: int, places: int, chance: random.Random, spoil: Spoil | None = None
) -> list[Landing]:
    """Train below root/0, root/1, ..., killing each run again and again; then let the last one end.

    There are at least `wanted` kills, at `places` different places within the runs. A kill that left one seed without
    a checkpoint counts as none of these: what it left of the others is stepped back from, so nothing is resumed.
    """
    kills: list[Landing] = []
    # a run takes about `wanted` kills on any machine, and a single one comes before the end
    longest = whole.start + min(4 / wanted, 0.5) * whole.seconds

    def enough() -> bool:
        resumed = [kill.steps for kill in kills if kill.steps and min(kill.steps) > 0]
        under_way = {steps for steps in resumed if max(steps) < whole.steps}
        return len(kills) >= wanted and len(under_way) >= places

    for n in range(30):
        while True:
            child = start(root / str(n), whole.estimator, whole.samples, spoil)
            child.join(PATIENCE if enough() else chance.uniform(0, longest))
            child.kill()
            child.join()
            if child.exitcode == 0:
                break
            assert child.exitcode == -signal.SIGKILL
            kills.append(landing(root / str(n)))
        if enough():
            return kills
        longest *= 0.8  # the machine has become faster than it was
    raise AssertionError(f"too few kills under way in 30 runs: {kills}")


# -------------------------------------------------------------------------------------------------- comparison


def without_seconds(record: Record) -> dict[str, object]:
    """Everything but what it cost, in a form that compares bit for bit."""
    rows = [
        {key: value for key, value in row.items() if key != "seconds"} for row in record.meta.get("rows", [])
    ]
    meta = record.meta | {"seconds": None, "device_seconds": None, "joules": None, "rows": rows}
    tensors = {name: (value.shape, value.numpy().tobytes()) for name, value in record.tensors.items()}
    return {f"meta {key}": repr(value) for key, value in meta.items()} | tensors


def contents(root: Path) -> Iterator[tuple[str, dict[str, object]]]:
    """Every file of a store; locks hold no result, and anything else unknown does not read."""
    for path in sorted(root.rglob("*")):
        if path.is_file() and path.name != "lock":
            yield str(path.relative_to(root)), without_seconds(store.read_weights(path))


def assert_same_store(found: Path, expected: Path) -> None:
    ours, theirs = dict(contents(found)), dict(contents(expected))
    assert len(theirs) >= len(MEMBERS) * (2 + len(SNAPSHOTS))  # two checkpoints, and the weights kept
    assert ours.keys() == theirs.keys()
    for path, record in theirs.items():
        assert ours[path].keys() == record.keys(), path
        differing = [name for name in record if ours[path][name] != record[name]]
        assert not differing, f"{path} differs in {differing}"


# --------------------------------------------------------------------------------------------------- the tests


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    made: dict[tuple[str, int], Whole] = {}

    def whole(estimator: str, samples: int) -> Whole:
        if (estimator, samples) not in made:
            root = tmp_path_factory.mktemp(estimator)
            made[estimator, samples] = uninterrupted(root, estimator, samples)
        return made[estimator, samples]

    return whole


@pytest.fixture
def chance():
    """A source of delays; a failing test shows the seed."""
    seed = random.SystemRandom().randrange(2**32)
    print(f"the delays are those of random.Random({seed})")
    return random.Random(seed)


@pytest.mark.parametrize(
    ("estimator", "samples", "wanted", "places"),
    [("aevb", 320_000, 24, 6), ("mcem", 100_000, 6, 3), ("wake_sleep", 100_000, 6, 3)],
)
def test_a_run_that_is_killed_again_and_again_ends_as_the_one_that_was_not(
    tmp_path, whole_run, chance, estimator, samples, wanted, places
):
    whole = whole_run(estimator, samples)
    kills = killed(tmp_path, whole, wanted, places, chance)
    print(f"a child starts in {whole.start:.2f} s and trains {whole.steps} steps in {whole.seconds:.2f} s")
    print(f"{len(kills)} kills in {len(list(tmp_path.glob('?')))} runs:", *kills, sep="\n")
    for root in tmp_path.glob("?"):
        assert_same_store(root, whole.root)


def forgets_sums(record: Record) -> Record:
    sums = {name: 0 * value + 1e-8 for name, value in record.tensors.items() if ".sums." in name}
    return record._replace(tensors=record.tensors | sums)


def forgets_warm_up(record: Record) -> Record:
    seen = {name: 0 * value for name, value in record.tensors.items() if name.endswith(".seen")}
    return record._replace(tensors=record.tensors | seen)


def skips_a_block(record: Record) -> Record:
    return record._replace(meta=record.meta | {"step": record.meta["step"] + BLOCK // BATCH})


def repeats_a_block(record: Record) -> Record:
    return record._replace(meta=record.meta | {"step": max(0, record.meta["step"] - BLOCK // BATCH)})


def forgets_a_row(record: Record) -> Record:
    return record._replace(meta=record.meta | {"rows": record.meta["rows"][1:]})


def forgets_chains(record: Record) -> Record:
    return record._replace(tensors=record.tensors | {"z": 0 * record.tensors["z"]})


def forgets_step_sizes(record: Record) -> Record:
    return record._replace(tensors=record.tensors | {"log_step": 0 * record.tensors["log_step"] - 3})


@pytest.mark.parametrize(
    ("estimator", "variants"),
    [
        ("aevb", [forgets_sums, forgets_warm_up, skips_a_block, repeats_a_block, forgets_a_row]),
        ("mcem", [forgets_sums, forgets_chains, forgets_step_sizes]),
        ("wake_sleep", [forgets_sums, skips_a_block]),
    ],
)
def test_the_comparison_notices_what_a_resumption_forgets(tmp_path, whole_run, chance, estimator, variants):
    whole = whole_run(estimator, 100_000)

    def check(spoil):
        root = tmp_path / (spoil.__name__ if spoil else "right")
        killed(root, whole, 1, 1, chance, spoil)
        for run in root.glob("?"):
            assert_same_store(run, whole.root)

    check(None)
    rejects(check, *variants)


def wait_for_a_report(child: multiprocessing.Process, root: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not signatures(root).exists() or not signatures(root).read_text():
        assert child.exitcode is None
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.mark.parametrize("dies", [False, True])
def test_of_two_processes_that_want_one_run_the_second_waits_and_trains_nothing_anew(
    tmp_path, whole_run, dies
):
    whole = whole_run("aevb", 320_000)
    root = tmp_path / "shared"
    first = start(root, whole.estimator, whole.samples)
    wait_for_a_report(first, root)
    os.kill(first.pid, signal.SIGSTOP)  # it holds the run for as long as we please
    time.sleep(0.1)  # until it has stopped
    stopped_at = max(landing(root).steps)
    second = start(root, whole.estimator, whole.samples)
    second.join(0.3 + 2 * whole.start)
    assert second.exitcode is None
    assert max(landing(root).steps) == stopped_at
    os.kill(first.pid, signal.SIGKILL if dies else signal.SIGCONT)
    for child in (first, second):
        child.join(PATIENCE)
    assert (first.exitcode, second.exitcode) == (-signal.SIGKILL if dies else 0, 0)
    reports = signatures(root).read_text().split()
    assert set(reports) == {str(child.pid) for child in ([first, second] if dies else [first])}
    assert_same_store(root, whole.root)
