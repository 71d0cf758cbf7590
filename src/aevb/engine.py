"""Blocks of training steps (Algorithm 1), as fast as the device allows, without a change of what a step computes.

On a CPU the step is recorded once and replayed as a flat program. On a GPU, where launching an operation costs more
than most operations, a whole block of steps with its draws is captured as one CUDA graph: data, state and random
streams lie on the device, and nothing waits for the host inside a block. A full-batch step on a CPU spends its time
in large operations and runs as it is written.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from aevb import UserError, trees
from aevb.estimators import Estimator, Info
from aevb.recording import record
from aevb.streams import restart


class Minibatches(NamedTuple):
    """Where a stack's data and noise come from; what is drawn depends on the generators alone."""

    estimator: Estimator
    points: Tensor  # (N, D) as models see them, on the device
    rows: int  # B

    def x(self, generators: list[torch.Generator]) -> Tensor:
        """x (M, B, D): minibatches drawn with replacement, or all points in their order."""
        if self.estimator.full_batch:
            return self.points.expand(len(generators), -1, -1)
        chosen = [
            torch.randint(len(self.points), (self.rows,), generator=generator, device=generator.device)
            for generator in generators
        ]
        return self.points.index_select(0, torch.cat(chosen)).unflatten(0, (len(generators), self.rows))

    def noise(self, generators: list[torch.Generator]) -> Any:
        """The noise of one step of every model, stacked."""
        return trees.stack([self.estimator.draw(generator, self.rows) for generator in generators])


class _Inputs(NamedTuple):
    state: Any
    x: Tensor
    noise: Any


def _not_fixed(done: str, error: BaseException) -> UserError:
    return UserError(
        f"The estimator's step cannot be {done}: {error}. It must be a fixed sequence of tensor "
        "operations that neither draws nor looks at a tensor's value (see estimators/__init__.py)."
    )


class Engine:
    """Advances the state of M models by blocks of steps, each step run as it is written.

    state: of the models, (M, ...); an engine consumes what it is given, and holds the state it has reached.
    seeds: of the M models; they key the random streams.
    """

    def __init__(self, batches: Minibatches, state: Any, seeds: list[int], block_steps: int) -> None:
        self.batches, self.state, self.seeds, self.block_steps = batches, state, seeds, block_steps
        self._noise = [torch.Generator(batches.points.device) for _ in seeds]
        self._points = [torch.Generator(batches.points.device) for _ in seeds]

    def train_block(self, block: int) -> Info:
        """Train block number `block`; the sum of its minibatch bounds and the last surrogate, each (M,)."""
        self.restart(block)
        return self._steps()

    def restart(self, block: int) -> None:
        """Let what is drawn next be what the block's first step sees."""
        for seed, noise, points in zip(self.seeds, self._noise, self._points, strict=True):
            restart(noise, seed, "noise", block)
            restart(points, seed, "batches", block)

    def step(self) -> tuple[Tensor, Any, Info]:
        """One step, as it is written: the minibatch and the noise it saw, and what it says."""
        x, noise = self._draw()
        self.state, info = self.batches.estimator.step(self.state, x, noise)
        return x, noise, info

    def _steps(self) -> Info:
        bounds = []
        for _ in range(self.block_steps):
            _, _, info = self.step()
            bounds.append(info.bound)
        return Info(torch.stack(bounds).double().sum(0), info.surrogate)

    def _draw(self) -> tuple[Tensor, Any]:
        return self.batches.x(self._points), self.batches.noise(self._noise)


class Recorded(Engine):
    """Replays the recorded step: the same bits in less time."""

    def __init__(self, batches: Minibatches, state: Any, seeds: list[int], block_steps: int) -> None:
        super().__init__(batches, state, seeds, block_steps)
        example = _Inputs(state, *self._draw())
        named = trees.leaves(example)

        def step(*inputs: Tensor) -> list[Tensor]:
            new_state, info = batches.estimator.step(
                *trees.rebuild(example, dict(zip(named, inputs, strict=True)))
            )
            return [*trees.leaves(new_state).values(), *info]

        try:
            self._program = record(step, list(named.values()))
        except (ValueError, RuntimeError) as error:
            raise _not_fixed("recorded", error) from error

    def _steps(self) -> Info:
        named = trees.leaves(self.state)
        state = list(named.values())
        bounds = []
        with torch.inference_mode():
            for _ in range(self.block_steps):
                x, noise = self._draw()
                *state, bound, surrogate = self._program(*state, x, *trees.leaves(noise).values())
                bounds.append(bound)
        # who reads the state between blocks need not know that it was made in inference mode
        ordinary = [value.clone() if value.is_inference() else value for value in state]
        self.state = trees.rebuild(self.state, dict(zip(named, ordinary, strict=True)))
        return Info(torch.stack(bounds).double().sum(0), surrogate)


class Captured(Engine):
    """Replays a CUDA graph of a whole block: draws, steps, and the new state written over the old one.

    What `train_block` returns is overwritten by the next block.
    """

    def __init__(self, batches: Minibatches, state: Any, seeds: list[int], block_steps: int) -> None:
        super().__init__(batches, state, seeds, block_steps)
        # of its own: graphs that were captured on one stream share a workspace, and the first to go takes it from the
        # others (pytorch#193402); and what libraries set up on it during the warm-up, the capture need not
        self._stream = torch.cuda.Stream()
        self._warm_up()
        self._graph = torch.cuda.CUDAGraph()
        for generator in self._noise + self._points:
            self._graph.register_generator_state(generator)
        kept = trees.leaves(state)
        try:
            # a capture that fails does not leave its stream by itself
            with (
                torch.cuda.stream(torch.cuda.current_stream()),
                torch.cuda.graph(self._graph, stream=self._stream),
            ):
                self._info = super()._steps()
                for name, new in trees.leaves(self.state).items():
                    kept[name].copy_(new)
        except RuntimeError as error:  # the capture's own, raised as it is left, hides the one that broke it
            cause = error.__context__ or error
            if _no_memory(cause):
                raise cause from None
            raise _not_fixed("captured", cause) from cause
        self.state = state

    def _warm_up(self) -> None:
        """One block on a copy of the state, on the stream of the capture: libraries allocate and choose at first use,
        which a capture must not contain."""
        state, self.state = self.state, trees.copy(self.state)
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            super()._steps()
        torch.cuda.current_stream().wait_stream(self._stream)
        self.state = state

    def _steps(self) -> Info:
        self._graph.replay()
        return self._info


def _no_memory(error: BaseException) -> bool:
    """torch's allocator, the driver and cuBLAS say it each in a way of its own."""
    said = str(error)
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in said or "ALLOC_FAILED" in said


def build(batches: Minibatches, state: Any, seeds: list[int], block_steps: int) -> Engine:
    """The engine for the device that the points lie on.

    Raises UserError where its memory is too small, and where the estimator's step is no fixed sequence of operations.
    """
    if batches.points.device.type == "cpu":
        kind = Engine if batches.estimator.full_batch else Recorded
        return kind(batches, state, seeds, block_steps)
    try:
        return Captured(batches, state, seeds, block_steps)
    except RuntimeError as error:
        if not _no_memory(error):
            raise
        raise UserError(
            f"A block of steps of {len(seeds)} models at once does not fit into the GPU's memory: {error}. See "
            "whether another program uses the GPU, ask for fewer seeds, or take device: cpu."
        ) from error
