"""training.py and stack.py: runs that resume, extend, stack and diverge, on 16 made-up pixels."""

import itertools
import math

import numpy as np
import pytest
import torch

from aevb import UserError, energy, engine, stack, training, trees
from aevb.engine import Engine
from aevb.experiments import Cell
from aevb.schedule import report_points
from aevb.stack import Member, Run
from aevb.store import Record
from aevb.training import Trainer
from helpers import CPU, CUDA, equal, rejects, two_kinds

ONE, TWO = Member(0, 0.1), Member(1, 0.05)


def trainer(root, estimator="aevb", n_train=64, device=CPU, **changes) -> Trainer:
    identity = {"dataset": "digits", "estimator": estimator, "n_hidden": 4, "n_latent": 2, "n_train": n_train}
    rest = {
        "decoder": "bernoulli",
        "batch_size": 100,
        "warm_up": 0
        if estimator == "mcem"
        else 20,  # of which the shortest runs here have 10 updates, and 100
        "train_points": n_train,
        "settings": {},
    }
    return Trainer(Cell(**(identity | rest | changes)), two_kinds(n_train), device, root)


def rows(run: Run) -> list[dict]:
    """The curve without the wall clock."""
    return [{key: value for key, value in row.items() if key != "seconds"} for row in run.trace.rows]


def kept(run: Run) -> dict[str, Record]:
    """All weights on the disk, by file name."""
    found = {}
    for path in run.store.folder.glob("weights-*.safetensors"):
        samples = int(path.stem.split("-")[1])
        record = run.store.load_weights(samples)
        assert record is not None
        found[path.name] = record
    return found


def assert_same_run(a: Run, b: Run, state: bool = True) -> None:
    """Bit for bit: state, counters, curve and the weights on the disk; all but the wall clock."""
    if state:
        assert equal(a.state, b.state)
    assert rows(a) == rows(b)
    assert (a.trace.step, a.trace.samples, a.trace.diverged_at) == (
        b.trace.step,
        b.trace.samples,
        b.trace.diverged_at,
    )
    assert repr(a.trace.bound_sum) == repr(b.trace.bound_sum)
    assert kept(a).keys() == kept(b).keys()
    for name, record in kept(a).items():
        assert equal(record.tensors, kept(b)[name].tensors)
        assert record.meta["samples"] == kept(b)[name].meta["samples"]


class Killed(BaseException):
    pass


def interrupted(monkeypatch, trainer, members, samples, blocks, **kwargs):
    """Train, with a checkpoint after every block, and die in the block after `blocks`."""
    genuine, calls = Engine.train_block, []

    def train_block(self, block):
        calls.append(block)
        if len(calls) > blocks:
            raise Killed
        return genuine(self, block)

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "train_block", train_block)
        patch.setattr(stack, "CHECKPOINT_SECONDS", -1)
        with pytest.raises(Killed):
            trainer.train(members, samples, **kwargs)


@pytest.mark.parametrize("name", ["aevb", "wake_sleep", "mcem"])
@pytest.mark.parametrize("blocks", [1, 3])
def test_a_run_resumed_from_its_checkpoint_is_the_uninterrupted_one(tmp_path, monkeypatch, name, blocks):
    snapshots = (20_000,)
    whole = trainer(tmp_path / "whole", name).train([ONE, TWO], 40_000, snapshots)
    interrupted(
        monkeypatch, trainer(tmp_path / "parts", name), [ONE, TWO], 40_000, blocks, snapshots=snapshots
    )
    resumed = trainer(tmp_path / "parts", name).train([ONE, TWO], 40_000, snapshots)
    for a, b in zip(whole, resumed, strict=True):
        assert a.trace.samples >= 40_000
        assert_same_run(a, b)


def test_a_resumed_run_that_sees_other_noise_or_forgets_its_optimiser_is_noticed(tmp_path, monkeypatch):
    whole = trainer(tmp_path / "whole").train([ONE], 40_000)

    def check(spoil):
        root = tmp_path / spoil.__name__
        interrupted(monkeypatch, trainer(root), [ONE], 40_000, 2)
        with monkeypatch.context() as patch:
            spoil(patch)
            resumed = trainer(root).train([ONE], 40_000)
        assert_same_run(whole[0], resumed[0])

    def nothing(patch):
        pass

    def shifted_streams(patch):
        genuine = engine.restart
        patch.setattr(
            engine,
            "restart",
            lambda generator, seed, purpose, block: genuine(generator, seed, purpose, block + 1),
        )

    def forgotten_optimiser(patch):
        genuine = trees.rebuild

        def rebuild(template, named, prefix=""):
            if prefix == "" and "optimiser.sums.theta.w_h" in named:
                named = named | {name: 0 * value + 1 for name, value in named.items() if "sums" in name}
            return genuine(template, named, prefix)

        patch.setattr(training.trees, "rebuild", rebuild)

    def forgotten_curve(patch):
        genuine = training.Trace
        patch.setattr(training, "Trace", lambda **meta: genuine(**meta | {"rows": []}))

    check(nothing)
    rejects(check, shifted_streams, forgotten_optimiser, forgotten_curve)


@pytest.mark.parametrize("device", [CPU, CUDA])
@pytest.mark.parametrize("name", ["aevb", "wake_sleep", "mcem"])
def test_a_short_run_is_the_prefix_of_a_longer_one(tmp_path, name, device):
    long = trainer(tmp_path / "long", name, device=device).train([ONE, TWO], 40_000, (20_000,))
    short = trainer(tmp_path / "short", name, device=device).train([ONE, TWO], 20_000)
    for a, b in zip(short, long, strict=True):
        assert rows(a) == rows(b)[: len(rows(a))]
        assert equal(a.store.load_weights(20_000).tensors, b.store.load_weights(20_000).tensors)
    extended = trainer(tmp_path / "short", name, device=device).train([ONE, TWO], 40_000, (20_000,))
    for a, b in zip(extended, long, strict=True):
        assert_same_run(a, b)


def test_an_extended_run_keeps_the_snapshots_that_its_shorter_self_stepped_over(tmp_path):
    """One EM step over 2000 points counts 30 000 samples: a run to 20 000 ends at 30 000, itself a report point."""
    snapshots = (20_000, 30_000, 50_000)
    whole = trainer(tmp_path / "whole", "mcem", 2000).train([ONE], 80_000, snapshots)[0]
    trainer(tmp_path / "parts", "mcem", 2000).train([ONE], 20_000)
    extended = trainer(tmp_path / "parts", "mcem", 2000).train([ONE], 80_000, snapshots)[0]
    assert_same_run(whole, extended)


def test_a_budget_that_a_smaller_one_stepped_over_has_its_weights(tmp_path):
    whole = trainer(tmp_path / "whole", "mcem", 2000).train([ONE], 30_000)[0]
    trainer(tmp_path / "parts", "mcem", 2000).train([ONE], 20_000)
    extended = trainer(tmp_path / "parts", "mcem", 2000).train([ONE], 30_000)[0]
    assert "weights-30000.safetensors" in kept(whole)
    assert "weights-30000.safetensors" in kept(extended)


def test_one_large_step_that_crosses_several_report_points_serves_them_all(tmp_path):
    run = trainer(tmp_path, "mcem", 2000).train([ONE], 80_000, report_points(80_000))[0]
    found = {name: record.meta["samples"] for name, record in kept(run).items()}
    assert found == {
        "weights-10000.safetensors": 30_000,
        "weights-20000.safetensors": 30_000,
        "weights-30000.safetensors": 30_000,
        "weights-40000.safetensors": 60_000,
        "weights-50000.safetensors": 60_000,
        "weights-60000.safetensors": 60_000,
        "weights-80000.safetensors": 90_000,
    }
    assert run.trace.samples == 90_000
    assert run.trace.step == 3
    assert run.trace.rows == [], "there is no bound to report"


def test_mcem_counts_15_samples_for_each_point_and_iteration(tmp_path):
    run = trainer(tmp_path, "mcem").train([ONE], 20_000)[0]
    assert run.trace.samples == 15 * 64 * run.trace.step
    assert run.state.optimiser.seen.item() == 5 * run.trace.step


def test_a_run_reports_both_bounds_at_each_report_point(tmp_path):
    run = trainer(tmp_path).train([ONE], 50_000)[0]
    assert [row["samples"] for row in rows(run)] == [n for n in report_points(50_000) for _ in range(3)]
    assert [row["split"] for row in rows(run)[:3]] == ["train_running", "train", "test"]
    assert all(math.isfinite(row["bound"]) for row in rows(run))
    seconds = [row["seconds"] for row in run.trace.rows]
    assert seconds == sorted(seconds)
    assert seconds[0] > 0


@pytest.fixture
def used(monkeypatch):
    """A device on which a block of training uses 8 J, the capture of a step 50 J and evaluating bounds 100 J."""
    count = {"joules": 0}

    def using(owner, name, joules):
        real = getattr(owner, name)

        def wrapper(*arguments):
            count["joules"] += joules
            return real(*arguments)

        monkeypatch.setattr(owner, name, wrapper)

    using(engine, "build", 50)
    using(Engine, "train_block", 8)
    using(stack, "mean_elbo", 100)
    counter = energy.Counter(lambda: count["joules"], 1.0, 10**9)
    monkeypatch.setattr(energy, "meter", lambda device: energy.Meter([counter], energy.all_of_it))
    return count


def test_what_a_stack_costs_is_shared_by_its_runs_and_evaluating_bounds_is_not_in_it(tmp_path, used):
    runs = trainer(tmp_path).train([ONE, TWO], 50_000)  # five blocks
    for run in runs:
        assert run.trace.joules == pytest.approx(5 * 8 / 2)
        assert run.trace.device_seconds == pytest.approx(run.trace.seconds / 2)
        cost = run.store.load_weights(50_000).meta
        assert (cost["joules"], cost["device_seconds"]) == (run.trace.joules, run.trace.device_seconds)


def test_costs_of_sittings_add_up_whoever_trained_beside(tmp_path, used):
    trainer(tmp_path).train([ONE, TWO], 20_000)
    before = trainer(tmp_path).open(ONE).load_checkpoint().meta
    run = trainer(tmp_path).train([ONE], 50_000)[0]
    assert run.trace.joules == pytest.approx(2 * 8 / 2 + 3 * 8)
    alone = run.trace.seconds - before["seconds"]
    assert run.trace.device_seconds == pytest.approx(before["seconds"] / 2 + alone)


def test_a_checkpoint_between_two_reports_has_what_was_used_until_then(tmp_path, used, monkeypatch):
    monkeypatch.setattr(stack, "CHECKPOINT_SECONDS", -1)  # after every block

    def killed(traces):
        if traces[0].samples == 80_000:  # a report point; 70 000 is none
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path).train([ONE], 100_000, progress=killed)
    assert trainer(tmp_path).open(ONE).load_checkpoint().meta["joules"] == 7 * 8
    assert trainer(tmp_path).train([ONE], 100_000)[0].trace.joules == 10 * 8


def test_a_run_of_which_a_part_was_not_metered_has_no_joules(tmp_path, used, monkeypatch):
    trainer(tmp_path).train([ONE], 20_000)
    monkeypatch.setattr(energy, "meter", lambda device: energy.Meter([], energy.all_of_it))
    trainer(tmp_path).train([ONE], 50_000)
    monkeypatch.undo()
    run = trainer(tmp_path).train([ONE], 60_000)[0]
    assert math.isnan(run.trace.joules)
    assert run.store.load_weights(60_000).meta["joules"] is None, "in a file that others than Python read"


def every_step_says(monkeypatch, told):
    """From here on each step of every estimator says what `told` makes of its Info."""
    genuine = training.estimators.load

    def load(name, source):
        def build(*args, **settings):
            estimator = genuine(name, source)(*args, **settings)

            def step(state, x, noise):
                state, info = estimator.step(state, x, noise)
                return state, told(info)

            return estimator._replace(step=step)

        return build

    monkeypatch.setattr(training.estimators, "load", load)


def test_the_running_bound_is_the_mean_of_the_minibatch_bounds_since_the_last_report(tmp_path, monkeypatch):
    bounds = []

    def told(info):
        bounds.append(info.bound.item())
        return info

    every_step_says(monkeypatch, told)
    monkeypatch.setattr(engine, "build", Engine)  # which calls every step
    run = trainer(tmp_path).train([ONE], 50_000)[0]
    assert len(bounds) == 500
    running = {row["samples"]: row["bound"] for row in rows(run) if row["split"] == "train_running"}
    points = (0, *report_points(50_000))
    for before, now in itertools.pairwise(points):
        expected = np.mean(bounds[before // 100 : now // 100])
        assert running[now] == pytest.approx(expected, rel=1e-9)


def test_snapshots_are_kept_where_asked_and_are_the_weights_of_a_run_of_that_length(tmp_path):
    run = trainer(tmp_path / "long").train([ONE], 40_000, (10_000, 30_000))[0]
    assert kept(run).keys() == {f"weights-{n}.safetensors" for n in (10_000, 30_000, 40_000)}
    for samples in (10_000, 30_000):
        short = trainer(tmp_path / f"short{samples}").train([ONE], samples)[0]
        assert equal(run.store.load_weights(samples).tensors, trees.leaves(short.state.params))
    assert run.store.load_weights(30_000).meta["member"] == [0, 0.1]


@pytest.mark.parametrize(("name", "updates"), [("aevb", 500), ("mcem", 5 * 60)])  # in blocks
def test_a_run_that_ends_within_the_warm_up_is_refused(tmp_path, name, updates):
    with pytest.raises(UserError, match=rf"no weight has moved: .* {updates} updates.* estimators\.{name}"):
        trainer(tmp_path, name, warm_up=updates).train([ONE, TWO], 50_000)
    runs = trainer(tmp_path, name, warm_up=updates - 1).train([ONE, TWO], 50_000)
    assert [run.member for run in runs] == [ONE, TWO]


def test_a_run_that_diverged_in_its_warm_up_is_told_as_that(tmp_path, monkeypatch):
    every_step_says(monkeypatch, lambda info: info._replace(bound=info.bound * math.nan))
    [run] = trainer(tmp_path, warm_up=200).train([ONE], 10_000)
    assert run.trace.diverged_at == 10_000


def test_a_run_ends_at_a_report_point(tmp_path):
    with pytest.raises(ValueError, match=r"report point.* not at 35000 samples"):
        trainer(tmp_path).train([ONE], 35_000)


def test_training_what_is_trained_changes_nothing(tmp_path):
    first = trainer(tmp_path).train([ONE], 20_000)[0]
    files = {path: path.read_bytes() for path in first.store.folder.iterdir()}
    again = trainer(tmp_path).train([ONE], 20_000)[0]
    assert_same_run(first, again)
    assert {path: path.read_bytes() for path in first.store.folder.iterdir()} == files


def test_a_run_that_has_arrived_prepares_no_engine(tmp_path, monkeypatch):
    first = trainer(tmp_path).train([ONE], 20_000)[0]
    monkeypatch.delattr(engine, "build")
    assert_same_run(first, trainer(tmp_path).train([ONE], 20_000)[0])
    with pytest.raises(AttributeError):
        trainer(tmp_path).train([ONE], 30_000)


# ---------------------------------------------------------------------------------------------------- stacks


def recorded(monkeypatch, root, members, name="aevb"):
    """What each member's steps were given, in a run of 10 000 samples: batches and noise, by seed."""
    given = []
    genuine = training.estimators.load

    def load(wanted, source):
        def build(*args, **settings):
            estimator = genuine(wanted, source)(*args, **settings)

            def step(state, x, noise):
                given.append(
                    {"x": x.clone()} | {n: value.clone() for n, value in trees.leaves(noise).items()}
                )
                return estimator.step(state, x, noise)

            return estimator._replace(step=step)

        return build

    with monkeypatch.context() as patch:
        patch.setattr(training.estimators, "load", load)
        patch.setattr(engine, "build", Engine)  # which calls every step
        runs = trainer(root, name).train(members, 10_000)
    streams = {
        member.seed: {key: torch.stack([one[key][m] for one in given]) for key in given[0]}
        for m, member in enumerate(members)
    }
    return streams, {run.member.seed: run for run in runs}


@pytest.mark.parametrize("name", ["aevb", "wake_sleep", "mcem"])
def test_random_streams_belong_to_a_seed_and_not_to_a_position_in_the_stack(tmp_path, monkeypatch, name):
    forth, runs_forth = recorded(monkeypatch, tmp_path / "forth", [ONE, TWO], name)
    back, runs_back = recorded(monkeypatch, tmp_path / "back", [TWO, ONE], name)
    alone, runs_alone = recorded(monkeypatch, tmp_path / "alone", [TWO], name)
    for seed in (0, 1):
        assert equal(forth[seed], back[seed])
        for key, w in trees.leaves(runs_forth[seed].state.params).items():
            torch.testing.assert_close(
                w, trees.leaves(runs_back[seed].state.params)[key], rtol=1e-3, atol=1e-4, msg=key
            )
    assert equal(forth[1], alone[1])
    assert not any(
        torch.equal(forth[0][key], forth[1][key]) for key in forth[0] if name != "mcem" or key != "x"
    )
    assert runs_alone[1].member == TWO


def test_two_step_sizes_of_one_seed_see_the_same_noise_and_start(tmp_path):
    low, high = trainer(tmp_path).train([Member(3, 1e-9), Member(3, 0.1)], 10_000)
    assert low.store.folder != high.store.folder
    start = trainer(tmp_path).model.init(training.stream(CPU, 3, "weights"))
    for name, w in trees.leaves(low.state.params).items():
        torch.testing.assert_close(w[0], trees.leaves(start)[name], rtol=1e-5, atol=1e-7)
    assert equal(low.state.optimiser.seen, high.state.optimiser.seen)


def test_minibatches_are_drawn_with_replacement_from_the_training_points_only(tmp_path, monkeypatch):
    streams, _ = recorded(monkeypatch, tmp_path, [ONE])
    batches = streams[0]["x"].reshape(100, 100, 16)
    train = {tuple(row) for row in (torch.from_numpy(two_kinds().train) / 255.0).tolist()}
    seen = [tuple(row) for row in batches.reshape(-1, 16).tolist()]
    assert set(seen) == train
    assert any(len({tuple(row) for row in batch.tolist()}) < 60 for batch in batches)
    # 10 000 draws of 64 points: chi-square with 63 degrees of freedom, mean 63 and sd 11
    counts = np.array([seen.count(row) for row in train])
    assert ((counts - 156.25) ** 2 / 156.25).sum() < 63 + 7 * 11.2


# ------------------------------------------------------------------------------------------------ divergence

EXPLOSIVE = Member(1, 1e38)


def test_a_member_that_diverges_is_marked_and_leaves_the_others_alone(tmp_path):
    well, exploded = trainer(tmp_path / "a", warm_up=0).train([ONE, EXPLOSIVE], 40_000)
    reference, fine = trainer(tmp_path / "b", warm_up=0).train([ONE, TWO], 40_000)
    assert exploded.trace.diverged_at == 10_000
    assert (well.trace.diverged_at, reference.trace.diverged_at, fine.trace.diverged_at) == (None, None, None)
    assert_same_run(well, reference)


def test_the_mark_of_divergence_survives_a_resumption(tmp_path):
    trainer(tmp_path, warm_up=0).train([ONE, EXPLOSIVE], 20_000)
    well, exploded = trainer(tmp_path, warm_up=0).train([ONE, EXPLOSIVE], 40_000)
    assert exploded.trace.diverged_at == 10_000
    assert well.trace.diverged_at is None
    assert well.trace.samples == 40_000


@pytest.mark.parametrize("name", ["aevb", "wake_sleep", "mcem"])
def test_weights_that_are_not_numbers_mark_their_run_and_no_other(tmp_path, name):
    def poisoned(root, poison):
        runs = trainer(root, name).train([ONE, TWO], 20_000)
        record = runs[1].store.load_checkpoint()
        before.append(record.meta["step"])
        if poison:
            record.tensors["params.theta.w_h"][0, 0, 0] = math.nan
            runs[1].store.save_checkpoint(record)
        return trainer(root, name).train([ONE, TWO], 40_000)

    before = []
    well, ill = poisoned(tmp_path / "poisoned", True)
    reference, _ = poisoned(tmp_path / "reference", False)
    assert 20_000 < ill.trace.diverged_at <= 40_000
    assert ill.trace.diverged_step == before[0]
    assert ill.trace.diverged_tensor == "params.theta.w_h"
    assert well.trace.diverged_at is None
    assert_same_run(well, reference)


def test_a_stack_that_has_diverged_altogether_stops_early(tmp_path):
    run = trainer(tmp_path, warm_up=0).train([EXPLOSIVE], 1_000_000)[0]
    assert run.trace.diverged_at == run.trace.samples == 10_000
    assert run.store.load_checkpoint().meta["diverged_at"] == 10_000
    again = trainer(tmp_path, warm_up=0).train([EXPLOSIVE], 1_000_000)[0]
    assert again.trace.diverged_at == 10_000


def test_members_at_different_steps_end_where_they_would_alone(tmp_path):
    trainer(tmp_path / "a").train([ONE], 20_000)
    ahead, behind = trainer(tmp_path / "a").train([ONE, TWO], 30_000)
    assert (ahead.trace.samples, behind.trace.samples) == (30_000, 30_000)
    assert (ahead.member, behind.member) == (ONE, TWO)
    alone = trainer(tmp_path / "b").train([TWO], 30_000)[0]
    assert_same_run(behind, alone)


def test_the_address_of_a_run_depends_on_what_its_numbers_depend_on(tmp_path):
    def address(member=ONE, n_train=64, **changes):
        return trainer(tmp_path, n_train=n_train, **changes).open(member).folder

    folders = [
        *(
            address(),
            address(Member(1, 0.1)),
            address(Member(0, 0.2)),
            address(n_train=32),
            address(warm_up=7),
        ),
        *(address(batch_size=50), address(estimator="wake_sleep"), address(settings={"n_samples": 2})),
    ]
    assert len(set(folders)) == len(folders)
    assert address() == folders[0]
