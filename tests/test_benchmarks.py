"""The speed benchmark: what it computes from its rounds, the floor's arithmetic, and that every contestant works."""

import math
import runpy
from contextlib import contextmanager
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from torch.utils.flop_counter import FlopCounterMode

import contestants
import measure
import report
from aevb import UserError, data
from contestants import floor
from workloads import WORKLOADS

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
TINY = [
    replace(workload, n_hidden=6, n_latent=2, batch_size=10, n_points=10, n_leapfrog=3)
    for workload in WORKLOADS
]
ENTRIES = [
    pytest.param(workload, name, id=f"{workload.dataset}-{workload.estimator}-{name}")
    for workload in TINY
    for name in workload.contestants
]


def rounds(mode="one_core", **throughputs):
    """Rows of one task: throughputs of each contestant, one per round."""
    return pd.DataFrame(
        {
            "task": "training",
            "dataset": "mnist",
            "estimator": "aevb",
            "mode": mode,
            "cores": 1,
            "contestant": name,
            "version": f"{name} 1",
            "round": n,
            "unit": "samples/s",
            "throughput": value,
            "startup_seconds": 2.5,
        }
        for name, values in throughputs.items()
        for n, value in enumerate(values)
    )


def points(n_features=12):
    """Grey images, bright on the left and dark on the right, so that there is something to learn."""
    random = np.random.default_rng(0)
    left = np.arange(n_features) < n_features / 2
    images = (200 * left + random.integers(0, 50, (60, n_features))).astype(np.uint8)
    return data.make_split("mnist", images[:50], images[50:], 255.0, (3, n_features // 3))


# ------------------------------------------------------------------------------------------------------ table


def test_ratios_are_of_neighbours_in_time():
    # the machine slows down tenfold; the ratio of medians would be 1 or 10, every neighbour's is 2
    table = report.summary(rounds(suite=[100, 10, 100], jax=[50, 5, 50], floor=[400, 40, 200]), "a CPU")
    by_name = table.set_index("contestant")
    assert by_name.loc["jax", ["suite_over_this", "ratio_low", "ratio_high"]].tolist() == [2, 2, 2]
    assert by_name.loc["floor", ["suite_over_this", "ratio_low", "ratio_high"]].tolist() == [0.25, 0.25, 0.5]
    assert by_name["share_of_floor"].tolist() == [0.25, 0.125, 1]
    assert by_name.loc["suite", ["rounds", "median", "low", "high"]].tolist() == [3, 100, 10, 100]
    assert list(table.columns) == report.COLUMNS


def test_modes_and_tasks_are_never_mixed():
    one, both = rounds(suite=[10, 10], jax=[5, 5]), rounds("all_cores", suite=[12, 12], jax=[48, 48])
    other = rounds(suite=[7], jax=[7]).assign(dataset="frey")
    table = report.summary(pd.concat([one, both, other], ignore_index=True), "a CPU")
    assert table["suite_over_this"].tolist() == [1, 2, 1, 0.25, 1, 1]
    assert table["share_of_floor"].isna().all()


def test_a_contestant_that_left_out_the_suite_has_no_ratio():
    table = report.summary(rounds(jax=[5, 5]), "a CPU")
    assert table["suite_over_this"].isna().all()


def test_the_figure_shows_every_task_and_the_ratio_on_one_core():
    one = rounds(suite=[30, 30], jax=[20, 20], floor=[60, 60])
    cells = rounds("cells", suite=[50, 50], linear=[60, 60])
    table = report.summary(pd.concat([one, cells], ignore_index=True), "a CPU")
    panel, legend = report.figure(table).axes
    assert [label.get_text() for label in panel.get_yticklabels()] == ["suite", "jax", "floor"]
    assert [text.get_text() for text in panel.texts][-3:] == ["", "1.50", "0.50"]
    assert len(legend.get_legend().get_texts()) == 2


# ------------------------------------------------------------------------------------------------------ floor


@pytest.mark.parametrize(
    "workload", WORKLOADS, ids=lambda workload: f"{workload.dataset}-{workload.estimator}"
)
def test_the_floor_has_the_flops_of_the_model(workload):
    """Each weight costs B multiply-adds forwards, B for its gradient and B to pass the gradient on."""
    features = {"mnist": 784, "frey": 560}[workload.dataset]
    hidden, latent, batch = workload.n_hidden, workload.n_latent, workload.batch_size
    outputs = 1 if workload.log_var_floor is None else 2
    phi = features * hidden + 2 * hidden * latent
    theta = latent * hidden + outputs * hidden * features
    expected = {
        "aevb": 3 * phi + 3 * theta - features * hidden,  # x is data
        # wake: q, then theta with z given; sleep: a dream, then phi with x given
        "wake_sleep": phi + 3 * theta - latent * hidden + theta + 3 * phi - features * hidden,
    }
    if workload.task == "hmc":
        needed = workload.n_points * workload.n_leapfrog * 2 * theta
    else:
        needed = batch * expected[workload.estimator]
    assert floor.flops(workload, features) == 2 * needed


@pytest.mark.parametrize("workload", TINY, ids=lambda workload: f"{workload.dataset}-{workload.estimator}")
def test_the_floor_multiplies_what_it_lists(workload):
    run = contestants.prepare("floor", workload, points())
    with FlopCounterMode(display=False) as counter:
        run(2)
    assert counter.get_total_flops() == 2 * floor.flops(workload, 12)


@pytest.mark.parametrize(
    "workload", [w for w in TINY if w.task == "training"], ids=lambda w: f"{w.dataset}-{w.estimator}"
)
def test_no_training_step_does_without_the_floor(workload):
    """Plain PyTorch's autograd multiplies exactly what the floor lists."""
    run = contestants.prepare("torch", workload, points())
    with FlopCounterMode(display=False) as counter:
        run(1)
    assert counter.get_total_flops() == floor.flops(workload, 12)


# ------------------------------------------------------------------------------------------------ contestants


@pytest.mark.parametrize(("workload", "name"), ENTRIES)
def test_a_contestant_does_its_steps_and_learns(workload, name, tmp_path, monkeypatch):
    absent = contestants.missing([name])
    if absent:
        pytest.skip(f"not installed: {', '.join(absent)} (make benchmark)")
    monkeypatch.chdir(tmp_path)  # pythae makes a folder
    run = contestants.prepare(name, workload, points())
    first, later = run(2), run(400)
    assert first.steps >= 2
    assert 400 <= later.steps <= 500  # whole blocks or epochs
    if name == "floor":
        assert math.isnan(later.value)
    elif workload.task == "hmc":
        assert 0.5 < later.value <= 1
    else:
        assert later.value > first.value + 1


@pytest.mark.parametrize("name", contestants.PACKAGES)
def test_every_contestant_is_a_file(name):
    assert (BENCHMARKS / "contestants" / f"{name}.py").is_file()
    assert any(name in workload.contestants for workload in WORKLOADS)


# --------------------------------------------------------------------------------------------------- protocol


def program():
    return runpy.run_path(str(BENCHMARKS / "__main__.py"))


def options(folder):
    names = ["points", "table", "rounds-table", "figure"]
    return [word for name in names for word in (f"--{name}", str(folder / name))]


def test_missing_peers_are_named_before_anything_is_measured(monkeypatch, capsys, tmp_path):
    absent = {"jax", "pyro-ppl"}

    def version(package):
        if package in absent:
            raise metadata.PackageNotFoundError(package)
        return "1"

    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr(measure, "side_by_side", lambda *arguments: pytest.fail("measured"))
    assert program()["main"](options(tmp_path)) == 1
    words = capsys.readouterr().err
    assert words.startswith("error: The benchmark needs ")
    assert "jax, pyro-ppl:" in words
    assert "make benchmark" in words
    assert not list(tmp_path.iterdir())


@pytest.fixture
def protocol(tmp_path):
    data.save(points(), tmp_path / "mnist.npz")
    return measure.Protocol(tmp_path, rounds=3, seconds=0.02, log=lambda message: None)


def test_contestants_take_turns_in_processes_of_their_own(protocol):
    workload = replace(TINY[0], contestants=("suite", "floor"))
    core = measure.available_cores()[:1]
    rows = pd.DataFrame(measure.side_by_side(workload, core, protocol))
    assert rows["contestant"].tolist() == ["suite", "floor", "floor", "suite", "suite", "floor"]
    assert rows["round"].tolist() == [0, 0, 1, 1, 2, 2]
    assert np.allclose(rows["throughput"], rows["steps"] / rows["seconds"] * workload.batch_size)
    assert set(rows["mode"]) == {"one_core"}
    assert (rows["startup_seconds"] > 0).all()


def test_cells_run_at_once_in_processes_of_their_own(protocol):
    cores = [measure.available_cores()[0]] * 2
    rows = pd.DataFrame(measure.cells(replace(TINY[0], contestants=("suite",)), cores, protocol))
    assert rows["contestant"].tolist() == ["suite", "linear"] * 3
    assert set(rows["mode"]) == {"cells"}
    assert (rows["throughput"] > 0).all()


def test_the_throughputs_of_cells_add_up_beside_those_of_one_alone(protocol, monkeypatch):
    """Of two copies that take twice as long together as alone, whatever the load of the machine."""
    events = []

    class Worker(SimpleNamespace):
        steps, startup = 10, 1.0

        def turn(self, steps):
            events.append(("turn", self.name))
            return measure.Turn(steps, 2.0, -1.0)

        def ask(self, steps):
            events.append(("ask", self.name))

        def answer(self):
            events.append(("answer", self.name))
            return measure.Turn(self.steps, 4.0, -1.0)

    @contextmanager
    def workers(names, *arguments, **options):
        yield [Worker(name=n) for n in range(len(names))]

    monkeypatch.setattr(measure, "_workers", workers)
    monkeypatch.setattr(measure, "PAUSE", 0.0)
    rows = pd.DataFrame(measure.cells(TINY[0], [0, 1], protocol))
    table = report.summary(rows, "a CPU").set_index("contestant")
    assert table["median"].div(TINY[0].batch_size).to_dict() == {
        "suite": 2 * 10 / 4.0,
        "linear": 2 * 10 / 2.0,
    }
    assert table.loc["linear", "suite_over_this"] == 0.5
    # both are asked before either has answered, and each is measured alone in its turn
    asked = [("ask", 0), ("ask", 1), ("answer", 0), ("answer", 1)]
    assert events == [("turn", 0), *asked, ("turn", 1), *asked, ("turn", 0), *asked]


def test_a_contestant_that_stops_says_why(protocol):
    with pytest.raises(UserError, match=r"'floor' stopped[^!]*mnist\.npz"):
        measure.side_by_side(
            replace(TINY[0], contestants=("floor",)),
            measure.available_cores()[:1],
            protocol._replace(points=protocol.points / "nowhere"),
        )
