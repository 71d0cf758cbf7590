"""From a cell to its trained runs: where each lies, where it stands, and which go on side by side.

Several runs of one cell (seeds, or candidate step sizes) train as one stack (`stack.py` has the loop). Everything
random comes from streams keyed by (seed, purpose, block of steps), never by a position in the stack, so a resumed or
extended run sees the same noise. Bitwise equality holds on the same build, device, threads and stack; otherwise
results agree up to rounding.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from aevb import UserError, estimators, interrupts, models, provenance, trees
from aevb.data import Split
from aevb.experiments import Cell
from aevb.interrupts import Interrupted
from aevb.models import Model, Params
from aevb.optimisers import adagrad
from aevb.provenance import numerics_digest
from aevb.schedule import report_points
from aevb.stack import Member, Run, Stack
from aevb.store import Record, RunStore, run_digest
from aevb.streams import stream
from aevb.trace import Trace


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
        where `samples` is no report point, and UserError where no weight has moved, as in the warm-up.
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
                stack = Stack(self, together, samples, snapshots)
                trained |= {run.member: run for run in stack.advance(progress, stopped)}
            if number := stopped():  # also where nothing was left to train
                raise Interrupted(number)
        for run in trained.values():
            if run.trace.diverged_at is None:
                self._require_motion(run)
        return [trained[member] for member in members]

    def _require_motion(self, run: Run) -> None:
        """A run that ends within the warm-up is at its start, which would pass for a result."""
        start = initial_weights(self.model, run.member.seed, self.device)
        if trees.equal(start.theta, run.state.params.theta):
            cell, trace = self.cell, run.trace
            raise UserError(
                f"{cell.path}: in {trace.samples} samples, {trace.step} steps, no weight has moved: Adagrad's "
                f"warm-up lasts {cell.warm_up} updates. Train longer, or give estimators.{cell.estimator} a smaller "
                "warm_up."
            )

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
    """The weights (M = 1) that a run of this seed starts from.

    Drawn on the CPU wherever they go: a GPU's draws are others, and depend on how many multiprocessors it has.
    """
    drawn = model.init(stream(torch.device("cpu"), seed, "weights"))
    return trees.to_device(trees.stack([drawn]), device)


def _by_step(runs: list[Run]) -> list[list[Run]]:
    """Runs that stand at the same step together, those furthest behind first."""
    steps = sorted({run.trace.step for run in runs})
    return [[run for run in runs if run.trace.step == step] for step in steps]
