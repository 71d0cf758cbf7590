"""A device that is not the CPU, for machines without a GPU: its tensors have numbers, and refuse the CPU's company.

`ELSEWHERE` is torch's device `meta`, whose tensors have shapes alone. Inside `present()` they are `Away`: each holds
a tensor of the CPU with its numbers, and all that is asked of them passes through a dispatch mode, which computes
with those and refuses what a GPU refuses: operations on tensors of both devices, and numpy. As on a GPU, a tensor of
the CPU without dimensions counts as a number.

`torch.cuda`'s graphs are played too. While one is captured, what a capture cannot contain is refused: values read by
the host, copies between the devices, draws of a generator that is not registered. Nothing that is captured has
happened: memory is put back as it was, and results are NaN until the graph is replayed.

Not played: streams, and how a kernel rounds.
"""

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any, ClassVar
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map

ELSEWHERE = torch.device("meta")
COPIES = ("aten::_to_copy", "aten::copy_")  # the operations that may cross from one device to the other
READS = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}

_torch_tensor = torch.tensor


class Away(Tensor):
    """A tensor of the device elsewhere; `here` has its numbers."""

    here: Tensor

    @staticmethod
    def __new__(cls, here: Tensor) -> "Away":
        self = Tensor._make_wrapper_subclass(
            cls, here.shape, here.stride(), here.storage_offset(), dtype=here.dtype, device=ELSEWHERE
        )
        self.here = here
        return self

    @classmethod
    def __torch_dispatch__(cls, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{operation} of a tensor elsewhere, while nobody is there: see present()")

    def __repr__(self) -> str:
        return f"Away({self.here})"

    def tolist(self) -> Any:
        assert Presence.capture is None, "a captured block reads values"
        return self.here.tolist()

    def new_tensor(self, data: Any, **kwargs: Any) -> "Away":
        return torch.tensor(data, **({"dtype": self.dtype, "device": ELSEWHERE} | kwargs))


class Generator(torch.Generator):
    """A generator for either device; both draw the same numbers."""

    devices: ClassVar[dict[int, torch.device]] = {}  # by address, which a dispatch mode is shown alone

    def __new__(cls, device: Any = "cpu") -> "Generator":
        self = super().__new__(cls)
        cls.devices[self._cdata] = torch.device(device)
        return self

    @property
    def device(self) -> torch.device:
        return self.devices[self._cdata]


def tensor(data: Any, *args: Any, device: Any = None, **kwargs: Any) -> Tensor:
    """torch.tensor, which makes tensors of `meta` where no mode sees it."""
    made = _torch_tensor(data, *args, **kwargs)
    if device is None or torch.device(device) != ELSEWHERE:
        return made
    assert Presence.capture is None, "a captured block copies from the host"
    return Away(made)


class Graph:
    """Stands for torch.cuda.CUDAGraph."""

    def __init__(self) -> None:
        self.generators: dict[int, torch.Generator] = {}
        self._calls: list[Any] = []
        self._before: dict[int, tuple[Tensor, Tensor]] = {}  # memory that captured operations write to
        self._made: dict[int, list[Tensor]] = {}  # what they made, by its memory

    def register_generator_state(self, generator: torch.Generator) -> None:
        self.generators[generator._cdata] = generator

    def note(self, operation: Any, args: Any, kwargs: Any) -> Any:
        """Carry the operation out, so that the rest of the capture has tensors, and remember it."""
        given = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
        if operation._schema.is_mutable:
            for value in given:
                if _memory(value) not in self._made and _memory(value) not in self._before:
                    whole = value.new_empty(0).set_(value.untyped_storage())
                    self._before[_memory(value)] = whole, whole.clone()
        result = operation(*args, **kwargs)
        places = {_memory(value) for value in given}
        made = [v for v in tree_leaves(result) if isinstance(v, Tensor) and _memory(v) not in places]
        for value in made:
            self._made.setdefault(_memory(value), []).append(value)
        self._calls.append((operation, args, kwargs, made, places))
        return result

    def undo(self) -> None:
        """A capture has computed nothing."""
        with _disable_current_modes():
            for whole, before in self._before.values():
                whole.copy_(before)
            for value in itertools.chain.from_iterable(self._made.values()):
                value.fill_(torch.nan if value.is_floating_point() else 0)

    def replay(self) -> None:
        with _disable_current_modes():
            for operation, args, kwargs, made, places in self._calls:
                result = tree_leaves(operation(*args, **kwargs))
                fresh = [v for v in result if isinstance(v, Tensor) and _memory(v) not in places]
                for place, value in zip(made, fresh, strict=True):
                    place.copy_(value)


def _memory(value: Tensor) -> int:
    return value.untyped_storage()._cdata


@contextlib.contextmanager
def capturing(graph: Graph) -> Iterator[None]:
    """Stands for torch.cuda.graph."""
    states = [generator.get_state() for generator in graph.generators.values()]
    Presence.capture = graph
    try:
        yield
    finally:
        Presence.capture = None
    graph.undo()
    for generator, state in zip(graph.generators.values(), states, strict=True):
        generator.set_state(state)


class Stream:
    def wait_stream(self, other: "Stream") -> None:
        """There is one queue."""


class Presence(TorchDispatchMode):
    """Carries operations out where they belong."""

    capture: Graph | None = None

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        given = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
        away = {id(value.here): value for value in given if isinstance(value, Away)}
        ours = [value for value in given if value.dim() and not isinstance(value, Away)]
        crosses = operation._schema.name in COPIES
        assert crosses or not (away and ours), f"{operation}: tensors of both devices"
        goes = bool(away)
        if operation._schema.name == "aten::copy_":
            goes = isinstance(args[0], Away)
        if kwargs.get("device") is not None:
            goes = torch.device(kwargs["device"]) == ELSEWHERE
            kwargs["device"] = torch.device("cpu")
        generator = kwargs.get("generator")
        if generator is not None:
            device = Generator.devices.get(generator._cdata, torch.device("cpu"))
            assert (device == ELSEWHERE) == goes, f"{operation}: a generator of {device}"
        if operation._schema.name == "aten::_fused_adagrad_":
            _laid_out_alike(*args[:3])
        args, kwargs = tree_map(_here, (args, kwargs))
        if self.capture is None:
            result = operation(*args, **kwargs)
        else:
            assert not (crosses and goes != bool(away)), (
                f"{operation}: a captured block copies to or from the host"
            )
            assert not _reads(operation, args), f"{operation}: a captured block reads values"
            if torch.Tag.nondeterministic_seeded in operation.tags:
                known = generator is not None and generator._cdata in self.capture.generators
                assert known, f"{operation}: it draws from a generator that is not registered"
            assert goes, f"{operation}: a captured block computes on the host"
            result = self.capture.note(operation, args, kwargs)

        def there(value: Any) -> Any:
            if not goes or not isinstance(value, Tensor):
                return value
            return away.get(id(value)) if id(value) in away else Away(value)

        return tree_map(there, result)


def _here(value: Any) -> Any:
    return value.here if isinstance(value, Away) else value


def _reads(operation: Any, args: Any) -> bool:
    """Whether the host waits for values. To choose by whole numbers it need not, though torch tags that alike."""
    if operation is torch.ops.aten.index.Tensor:
        return any(chosen is not None and chosen.dtype == torch.bool for chosen in args[1])
    return bool(READS.intersection(operation.tags))


def _laid_out_alike(*lists: list[Tensor]) -> None:
    """What torch's kernel demands on a GPU and not on a CPU (ForeachUtils.h): no holes, and the same layout."""
    for tensors in zip(*lists, strict=True):
        assert all(value.is_contiguous() for value in tensors), "Adagrad's kernel: a tensor is not contiguous"
        assert len({(value.shape, value.dtype) for value in tensors}) == 1, "Adagrad's kernel: not alike"


@contextlib.contextmanager
def present() -> Iterator[None]:
    """In here ELSEWHERE is a device like a GPU."""
    with contextlib.ExitStack() as held:
        for place, name, value in (
            (torch, "Generator", Generator),
            (torch, "tensor", tensor),
            (torch.cuda, "CUDAGraph", Graph),
            (torch.cuda, "graph", capturing),
            (torch.cuda, "Stream", Stream),
            (torch.cuda, "current_stream", Stream),
            (torch.cuda, "stream", lambda stream: contextlib.nullcontext()),
        ):
            held.enter_context(patch.object(place, name, value))
        held.enter_context(Presence())
        yield
