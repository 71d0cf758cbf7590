"""The only training loop (Algorithm 1): draws, batches, stacks, report points, checkpoints.

Several runs of one cell (seeds, or candidate step sizes) train as one stack. Everything random comes from streams
keyed by (seed, purpose, block of steps), never by a position in the stack, so a resumed or extended run sees the
same noise. Bitwise equality holds on the same build, device, threads and stack; otherwise results agree up to
rounding.
"""

import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch

from aevb import UserError, divergence, energy, engine, estimators, interrupts, models, provenance, trees
from aevb.bounds import mean_elbo, to_unit
from aevb.data import Split
from aevb.divergence import Fault
from aevb.engine import Engine, Minibatches
from aevb.experiments import Cell
from aevb.interrupts import Interrupted
from aevb.models import Model, Params
from aevb.optimisers import adagrad
from aevb.provenance import numerics_digest
from aevb.schedule import BLOCK, report_points
from aevb.store import Record, RunStore, run_digest
from aevb.streams import stream
from aevb.trace import Trace

CHECKPOINT_SECONDS = 60


class Member(NamedTuple):
    """One run of a stack."""

    seed: int
    step_size: float


class Run(NamedTuple):
    """One member with its place on disk, its state (M = 1) and its trace."""

    member: Member
    store: RunStore
    state: Any
    trace: Trace


@dataclass(frozen=True)
class Trainer:
    """A cell on a device, ready to train stacks of members."""

    cell: Cell
    data: Split
    device: torch.device
    root: Path  # of the store
    evaluated: tuple[str, ...] = ("train", "test")  # splits on which a fresh bound is reported

    @property
    def model(self) -> Model:
        return models.build(self.data.train.shape[1], **self.cell.model_sizes)

    @cached_property
    def numerics(self) -> str:
        """The digest of the code that decides the numbers."""
        return numerics_digest(provenance.estimator(self.cell.estimator, self.cell.source))

    def estimator(self, step_sizes: list[float]) -> estimators.Estimator:
        build = estimators.load(self.cell.estimator, self.cell.source)
        rates = torch.tensor(step_sizes, device=self.device)
        optimiser = adagrad(rates, warm_up=self.cell.warm_up)
        return build(self.model, optimiser, self.cell.n_train, **self.cell.settings)

    def open(self, member: Member) -> RunStore:
        digest = run_digest(
            cell=self.cell.model_dump(mode="json", exclude={"source"}),
            step_size=member.step_size,
            data=self.data.digest,
            numerics=self.numerics,
        )
        return RunStore(self.root / digest / f"seed{member.seed}")

    def train(
        self,
        members: list[Member],
        samples: int,
        snapshots: tuple[int, ...] = (),
        progress: Callable[[list[Trace]], None] = lambda traces: None,
    ) -> list[Run]:
        """Bring every member to `samples` training samples, from wherever its checkpoint is.

        samples: a report point. snapshots: others at which the weights are kept too; those at `samples` always are.
        progress: called after every block with the traces of the runs that train side by side.

        Raises Interrupted at the end of a block after SIGINT or SIGTERM; what was trained is saved. Raises ValueError
        where `samples` is no report point, and UserError where all of them would go into the warm-up.
        """
        if samples not in report_points(samples):
            raise ValueError(f"a run ends at a report point (see aevb.schedule), not at {samples} samples")
        with ExitStack() as held:
            stores = [self.open(member) for member in members]
            for store in sorted(stores, key=lambda store: store.folder):
                held.enter_context(store.lock())
            stopped = held.enter_context(interrupts.deferred())
            runs = [
                self._resume(member, store, store.load_checkpoint())
                for member, store in zip(members, stores, strict=True)
            ]
            trained: dict[Member, Run] = {}
            for together in _by_step(self._level(runs)):
                stack = _Stack(self, together, samples, snapshots)
                trained |= {run.member: run for run in stack.advance(progress, stopped)}
            if number := stopped():  # also where nothing was left to train
                raise Interrupted(number)
        return [trained[member] for member in members]

    def _resume(self, member: Member, store: RunStore, record: Record | None) -> Run:
        params = initial_weights(self.model, member.seed, self.device)
        state = self.estimator([member.step_size]).init(params)
        if record is None:
            return Run(member, store, state, Trace())
        state = trees.to_device(trees.rebuild(state, record.tensors), self.device)
        return Run(member, store, state, Trace(**record.meta))

    def _level(self, runs: list[Run]) -> list[Run]:
        """Let runs that trained as one stack, and that a kill caught between their saves, go on as one: those that
        are ahead step back to their previous checkpoint."""
        last = min(run.trace.step for run in runs)
        behind = [list(run.member) for run in runs if run.trace.step == last]

        def step_back(run: Run) -> Run:
            if run.trace.step == last or not any(member in run.trace.stack for member in behind):
                return run
            previous = run.store.load_previous()
            if (previous.meta["step"] if previous else 0) != last:
                return run
            run.store.step_back()
            return self._resume(run.member, run.store, previous)

        return [step_back(run) for run in runs]


def initial_weights(model: Model, seed: int, device: torch.device) -> Params:
    """The weights (M = 1) that a run of this seed starts from on such a device."""
    return trees.stack([model.init(stream(device, seed, "weights"))])


def _by_step(runs: list[Run]) -> list[list[Run]]:
    """Runs that stand at the same step together, those furthest behind first."""
    steps = sorted({run.trace.step for run in runs})
    return [[run for run in runs if run.trace.step == step] for step in steps]


class _Stack:
    """Runs that stand at the same step, trained side by side."""

    def __init__(self, trainer: Trainer, runs: list[Run], samples: int, snapshots: tuple[int, ...]) -> None:
        cell = trainer.cell
        self.runs, self.trainer, self.snapshots = runs, trainer, snapshots
        self.model = trainer.model
        self.estimator = trainer.estimator([run.member.step_size for run in runs])
        self.train_points = torch.from_numpy(trainer.data.train[: cell.n_train]).to(trainer.device)
        self.test_points = torch.from_numpy(trainer.data.test).to(trainer.device)
        self.rows = cell.n_train if self.estimator.full_batch else cell.batch_size
        self.step_samples = self.rows * self.estimator.evaluations
        self._require_updates(samples)
        self.block_steps = max(1, BLOCK // self.step_samples)
        self.samples = samples
        self.state = trees.concatenate([run.state for run in runs])
        self.has_bound = bool(self.state.params.phi)
        self.meter = energy.meter(trainer.device)

    def _require_updates(self, samples: int) -> None:
        """No weight moves in the warm-up: what ends within it is the start, and would pass for a result."""
        cell = self.trainer.cell
        if cell.warm_up * self.step_samples >= samples:
            updates = f"{samples} samples are {samples // self.step_samples} updates"
            raise UserError(
                f"{cell.path}: {updates}, and no weight moves in the first {cell.warm_up}. Train longer, or give "
                f"estimators.{cell.estimator} a smaller warm_up."
            )

    @cached_property
    def engine(self) -> Engine:
        """Made when there is a block to train: runs that have arrived wait for none."""
        for run in self.runs:
            run.trace.trains_on(self.trainer.device.type)
        seeds = [run.member.seed for run in self.runs]
        built = engine.build(self.batches, self.state, seeds, self.block_steps)
        self.meter()  # from here it is training that uses energy
        return built

    @cached_property
    def batches(self) -> Minibatches:
        points = to_unit(self.train_points, self.trainer.data.scale)
        return Minibatches(self.estimator, points, self.rows)

    def advance(
        self, progress: Callable[[list[Trace]], None], stopped: Callable[[], int | None]
    ) -> list[Run]:
        saved = time.monotonic()
        step = self.runs[0].trace.step
        if step:  # points that a run to a smaller budget stepped over: their weights are the present ones
            self._keep(self._kept(self._due(step)))
        while step * self.step_samples < self.samples and not self._all_diverged():
            prepared = self.engine  # before the clock starts
            block, before = step // self.block_steps, trees.copy(self.state)
            started = time.monotonic()
            infos = prepared.train_block(block)
            self.state = prepared.state
            step += self.block_steps
            self._record_block(infos, started)
            self._mark_diverged(infos, block, before)
            due = self._due(step)
            if due or self._all_diverged():
                self._report(due)
            progress([run.trace for run in self.runs])
            stop = stopped()
            overdue = time.monotonic() - saved > CHECKPOINT_SECONDS
            if overdue or stop or self.samples in due or self._all_diverged():
                self._checkpoint()
                saved = time.monotonic()
            if stop:
                raise Interrupted(stop)
        return [run._replace(state=trees.take(self.state, m)) for m, run in enumerate(self.runs)]

    def _all_diverged(self) -> bool:
        return all(run.trace.diverged_at is not None for run in self.runs)

    def _record_block(self, infos: estimators.Info, started: float) -> None:
        said = list(zip(self.runs, infos.bound.tolist(), infos.surrogate.tolist(), strict=True))
        # after their values are here: until then a GPU may still compute
        seconds = time.monotonic() - started
        samples = self.block_steps * self.step_samples
        for run, bound, surrogate in said:
            run.trace.add_block(self.block_steps, samples, seconds, len(self.runs), bound, surrogate)

    def _add_energy(self) -> None:
        joules = self.meter()
        for run in self.runs:
            run.trace.joules += joules / len(self.runs)

    def _mark_diverged(self, infos: estimators.Info, block: int, before: Any) -> None:
        """Note the runs whose state or bound stopped being finite in that block, which began at the state
        `before`. They ride along from there: a stack of another size would round its other runs differently."""
        finite = divergence.finite(self.state, infos.bound if self.has_bound else None)
        lost = [m for m, sound in enumerate(finite) if not sound and self.runs[m].trace.diverged_at is None]
        if lost:
            seeds = [run.member.seed for run in self.runs]
            faults = divergence.locate(self.batches, before, seeds, self.block_steps, block, self.has_bound)
            for m in lost:  # replayed as it is written, on a GPU up to rounding, a fault may not come again
                trace = self.runs[m].trace
                trace.diverge(faults[m] or Fault(trace.step, "state or bound, at the end of a block"))

    def _due(self, step: int) -> list[int]:
        """The report points that the block before `step` reached or, with large steps, crossed."""
        now, before = step * self.step_samples, (step - self.block_steps) * self.step_samples
        return [point for point in report_points(self.samples) if before < point <= now]

    def _report(self, due: list[int]) -> None:
        self._add_energy()
        bounds = self._bounds() if self.has_bound else {}
        for m, run in enumerate(self.runs):
            run.trace.report({split: values[m] for split, values in bounds.items()})
        for m, run in enumerate(self.runs):
            for point in self._kept(due):
                run.store.save_weights(point, self._weights(m))
        self.meter()  # what that took is in no run's cost, as on the clock

    def _kept(self, due: list[int]) -> list[int]:
        """The report points to keep weights at: all that are left when no run goes on."""
        wanted = {*self.snapshots, self.samples}
        if self._all_diverged():
            passed = self.runs[0].trace.samples - self.block_steps * self.step_samples
            return sorted(point for point in wanted if point > passed)
        return sorted(wanted.intersection(due))

    def _keep(self, points: list[int]) -> None:
        """Write the present weights at those points that have none."""
        for m, run in enumerate(self.runs):
            for point in points:
                if run.store.load_weights(point) is None:
                    run.store.save_weights(point, self._weights(m))

    def _bounds(self) -> dict[str, list[float]]:
        """The paper's training bound (running mean since the last report), and fresh ones on both splits."""
        data, params = self.trainer.data, self.state.params
        result = {"train_running": [run.trace.bound_sum / run.trace.bound_steps for run in self.runs]}
        points = {"train": self.train_points[: self.trainer.cell.train_points], "test": self.test_points}
        for split in self.trainer.evaluated:
            generators = [
                stream(self.trainer.device, run.member.seed, f"bound-{split}", run.trace.samples)
                for run in self.runs
            ]
            result[split] = mean_elbo(self.model, params, points[split], data.scale, generators).tolist()
        return result

    def _weights(self, m: int) -> Record:
        run = self.runs[m]
        trace = run.trace
        joules = None if math.isnan(trace.joules) else trace.joules  # JSON knows no NaN
        cost = {"device_seconds": trace.device_seconds, "joules": joules}
        meta = {"samples": trace.samples, "seconds": trace.seconds, **cost, "member": list(run.member)}
        return Record(trees.leaves(trees.take(self.state.params, m)), meta)

    def _checkpoint(self) -> None:
        self._add_energy()
        stack = [list(run.member) for run in self.runs]
        for m, run in enumerate(self.runs):
            run.trace.stack = stack
            run.store.save_checkpoint(Record(trees.leaves(trees.take(self.state, m)), vars(run.trace)))
        self.meter()  # saving is no more in a run's cost than it is on the clock
