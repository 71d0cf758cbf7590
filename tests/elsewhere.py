"""A device that is not the CPU, for machines without a GPU: its tensors have numbers, and refuse the CPU's company.

`ELSEWHERE` is torch's device `meta`, whose tensors have shapes alone. Inside `present()` they are `Away`: each holds
a tensor of the CPU with its numbers, and all that is asked of them passes through a dispatch mode, which computes
with those and refuses what a GPU refuses: operations on tensors of both devices, and numpy. As on a GPU, a tensor of
the CPU without dimensions counts as a number.

`torch.cuda`'s graphs are played too. While one is captured, what a capture cannot contain is refused: values read by
the host, copies between the devices, draws of a generator that is not registered. Nothing that is captured has
happened: memory is put back as it was, and results are NaN until the graph is replayed.

Refused too, though a GPU takes it: host tensors as indices; in a capture, draws of the default generator and
computing on the host, of which a replay would know nothing. Not played: streams and threads, memory that is freed and
used again, and how a kernel rounds.
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
        assert Presence.capture is None, "tolist: a captured block reads values"
        return self.here.tolist()

    def new_tensor(self, data: Any, **kwargs: Any) -> "Away":
        return torch.tensor(data, **({"dtype": self.dtype, "device": ELSEWHERE} | kwargs))


class Generator(torch.Generator):
    """A generator for either device; both draw the same numbers."""

    # by address, which is what a dispatch mode is shown; kept alive, so that none is used again
    away: ClassVar[dict[int, "Generator"]] = {}

    def __new__(cls, device: Any = "cpu") -> "Generator":
        self = super().__new__(cls)
        if torch.device(device) == ELSEWHERE:
            cls.away[self._cdata] = self
        return self

    @property
    def device(self) -> torch.device:
        return ELSEWHERE if self._cdata in self.away else torch.device("cpu")


def tensor(data: Any, *args: Any, device: Any = None, **kwargs: Any) -> Tensor:
    """torch.tensor, which makes tensors of `meta` where no mode sees it."""
    if device is None or torch.device(device) != ELSEWHERE:
        return _torch_tensor(data, *args, **kwargs)
    assert Presence.capture is None, "torch.tensor: a captured block copies to or from the host"
    return Away(_torch_tensor(data, *args, **kwargs))


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
        """Carry the operation out, so that the rest of the capture has tensors, and remember it.

        A replay repeats it on the same memory: what it made anew is copied to where it lay, and what shares memory
        with what it was given (views, tensors written to) is there already."""
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
def capturing(graph: Graph, stream: "Stream | None" = None) -> Iterator[None]:
    """Stands for torch.cuda.graph, which raises an error of its own over the one that broke the capture."""
    states = [generator.get_state() for generator in graph.generators.values()]
    Presence.capture = graph
    try:
        yield
    except AssertionError:
        raise RuntimeError("the capture was invalidated") from None
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
        computes_away = _computes_away(operation, args, kwargs)
        _refuse_mixtures(operation, args, kwargs, computes_away)
        if self.capture is not None:
            _refuse_in_capture(operation, args, kwargs, computes_away, self.capture)
        if kwargs.get("device") is not None:
            kwargs["device"] = torch.device("cpu")
        given = {id(value.here): value for value in tree_leaves((args, kwargs)) if isinstance(value, Away)}
        args, kwargs = tree_map(
            lambda value: value.here if isinstance(value, Away) else value, (args, kwargs)
        )
        result = (self.capture.note if self.capture else _carry_out)(operation, args, kwargs)

        def there(value: Any) -> Any:
            """A tensor that was given comes back as the object that it was."""
            if not isinstance(value, Tensor):
                return value
            return given[id(value)] if id(value) in given else Away(value)

        return tree_map(there, result) if computes_away else result


def _carry_out(operation: Any, args: Any, kwargs: Any) -> Any:
    return operation(*args, **kwargs)


def _computes_away(operation: Any, args: Any, kwargs: Any) -> bool:
    if kwargs.get("device") is not None:
        return torch.device(kwargs["device"]) == ELSEWHERE
    if operation._schema.name == "aten::copy_":
        return isinstance(args[0], Away)
    return any(isinstance(value, Away) for value in tree_leaves((args, kwargs)))


def _refuse_mixtures(operation: Any, args: Any, kwargs: Any, computes_away: bool) -> None:
    """A number may be the host's where it stands alone; of a list, a kernel takes the addresses."""
    numbers = [value for value in args if isinstance(value, Tensor) and not value.dim()]
    tensors = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
    ours = [v for v in tensors if not isinstance(v, Away) and not any(v is number for number in numbers)]
    mixed = ours and any(isinstance(value, Away) for value in tensors)
    assert operation._schema.name in COPIES or not mixed, f"{operation}: tensors of both devices"
    if kwargs.get("generator") is not None:
        away = kwargs["generator"]._cdata in Generator.away
        assert away == computes_away, f"{operation}: tensors and generator of both devices"
    if operation._schema.name == "aten::_fused_adagrad_":
        _laid_out_alike(*args[:3])


def _refuse_in_capture(operation: Any, args: Any, kwargs: Any, computes_away: bool, graph: Graph) -> None:
    assert not _reads(operation, args), f"{operation}: a captured block reads values"
    if operation._schema.name in COPIES:
        sides = {isinstance(value, Away) for value in tree_leaves(args) if isinstance(value, Tensor)}
        assert sides == {computes_away}, f"{operation}: a captured block copies to or from the host"
    if torch.Tag.nondeterministic_seeded in operation.tags:
        generator = kwargs.get("generator")
        known = generator is not None and generator._cdata in graph.generators
        assert known, f"{operation}: a captured block draws from a generator that is not registered"
    assert computes_away, f"{operation}: a captured block computes on the host"


def _reads(operation: Any, args: Any) -> bool:
    """Whether the host waits for values. To choose by whole numbers it need not, though torch tags that alike."""
    if operation._schema.name in ("aten::index", "aten::index_put_"):
        return any(chosen is not None and chosen.dtype == torch.bool for chosen in args[1])
    if operation._schema.name == "aten::_linalg_check_errors":
        return True
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
        held.callback(Generator.away.clear)
        yield
