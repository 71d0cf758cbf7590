"""Runs side by side: the only training loop (Algorithm 1), with its report points and checkpoints."""

import math
import time
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from aevb import builds, divergence, energy, engine, estimators, trees
from aevb.bounds import mean_elbo, to_unit
from aevb.divergence import Fault
from aevb.engine import Engine, Minibatches
from aevb.interrupts import Interrupted
from aevb.schedule import BLOCK, report_points
from aevb.store import Record, RunStore
from aevb.streams import stream
from aevb.trace import Trace

if TYPE_CHECKING:
    from aevb.training import Trainer

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


class Stack:
    """Runs that stand at the same step, trained side by side."""

    def __init__(self, trainer: "Trainer", runs: list[Run], samples: int, snapshots: tuple[int, ...]) -> None:
        cell = trainer.cell
        self.runs, self.trainer, self.snapshots = runs, trainer, snapshots
        self.model = trainer.model
        self.estimator = trainer.estimator([run.member.step_size for run in runs])
        self.train_points = torch.from_numpy(trainer.data.train[: cell.n_train]).to(trainer.device)
        self.test_points = torch.from_numpy(trainer.data.test).to(trainer.device)
        self.rows = cell.n_train if self.estimator.full_batch else cell.batch_size
        self.step_samples = self.rows * self.estimator.evaluations
        self.block_steps = max(1, BLOCK // self.step_samples)
        self.samples = samples
        self.state = trees.concatenate([run.state for run in runs])
        self.has_bound = bool(self.state.params.phi)
        self.meter = energy.meter(trainer.device)

    @cached_property
    def engine(self) -> Engine:
        """Made when there is a block to train: runs that have arrived wait for none."""
        for run in self.runs:
            run.trace.trains_on(self.trainer.device.type, builds.build())
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
