"""Record a step once, replay it as a flat program.

A step is a fixed sequence of tensor operations, gradients included, but running it means passing through Python, a
tree of weights and autograd's bookkeeping anew each time. A `Recorder` sees each operation below autograd and writes
it down; replaying the same operations in the same order on the same numbers gives the same bits.
"""

import operator
from collections.abc import Callable
from types import BuiltinFunctionType, MethodDescriptorType
from typing import Any

import torch
import torch.fx
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

Program = Callable[..., list[Tensor]]

REFUSED = {
    torch.Tag.nondeterministic_seeded: "it draws random numbers",
    torch.Tag.data_dependent_output: "it reads a tensor's value",
}


def record(step: Callable[..., list[Tensor]], inputs: list[Tensor]) -> Program:
    """`step` as a flat program from tensors to tensors; it may overwrite its inputs, as `step` may.

    inputs: an example, left as it is; the program is for tensors of these shapes and strides on this device.

    Raises ValueError when the step draws something, reads a tensor's value, or keeps something between calls.
    """
    recorder = Recorder()
    copies = _copies(inputs)
    for n, tensor in enumerate(copies):
        recorder.know(tensor, recorder.graph.placeholder(f"input_{n}"))
    with recorder:
        outputs = step(*copies)
    program = recorder.program(outputs)
    if not _same(program(*_copies(inputs)), step(*_copies(inputs))):
        raise ValueError("replaying its operations gives another result than running it")
    return program


class Recorder(TorchDispatchMode):
    """Writes each operation into `graph`. A tensor is known by the memory it lies in, since autograd hands out
    several objects for one tensor; nothing is freed while recording, so no memory is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.graph = torch.fx.Graph()
        self._nodes: dict[Any, torch.fx.Node] = {}
        self._alive: list[Tensor] = []
        self._constants = torch.nn.Module()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Say no: preparing for the compiler imports it, which takes a second of every job."""
        return False

    def know(self, tensor: Tensor, node: torch.fx.Node) -> None:
        self._nodes[_place(tensor)] = node
        self._alive.append(tensor)

    def program(self, outputs: list[Tensor]) -> Program:
        self.graph.output([self._node(tensor) for tensor in outputs])
        self.graph.eliminate_dead_code()  # it knows of an operation, and not of a function, what writes in place
        for node in self.graph.nodes:
            node.target = _public(node.target)
        return torch.fx.GraphModule(self._constants, self.graph).forward

    def _node(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if _place(value) not in self._nodes:  # made before the step, such as the optimiser's step sizes
            name = f"constant_{len(self._alive)}"
            self._constants.register_buffer(name, value)
            self.know(value, self.graph.get_attr(name))
        return self._nodes[_place(value)]

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for tag in operation.tags:
            if tag in REFUSED:
                raise ValueError(f"{REFUSED[tag]} ({operation})")
        nodes, named_nodes = tree_map(self._node, (args, kwargs or {}))
        result = operation(*args, **kwargs or {})
        fresh = not isinstance(result, Tensor) or _place(result) not in self._nodes
        if fresh or operation._schema.is_mutable:  # the rest, such as detach, returns what is there already
            call = self.graph.call_function(operation, nodes, named_nodes)
            if isinstance(result, Tensor):
                self.know(result, call)
            for n, part in enumerate(result if isinstance(result, tuple | list) else ()):
                if isinstance(part, Tensor):
                    self.know(part, self.graph.call_function(operator.getitem, (call, n)))
        return result


def _public(operation: Any) -> Any:
    """The function users call for an operation, where there is one: it takes half the time to get there."""
    if not isinstance(operation, torch._ops.OpOverload):
        return operation
    name = operation._schema.name.removeprefix("aten::")
    if name.startswith("_"):
        return operation
    function = getattr(torch, name, None) or getattr(Tensor, name, None)
    return function if isinstance(function, BuiltinFunctionType | MethodDescriptorType) else operation


def _place(tensor: Tensor) -> Any:
    storage = tensor.untyped_storage().data_ptr()
    return storage, tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype


def _copies(tensors: list[Tensor]) -> list[Tensor]:
    return [tensor.clone() for tensor in tensors]


def _same(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.allclose(x, y, rtol=0, atol=0, equal_nan=True) for x, y in zip(a, b, strict=True))
