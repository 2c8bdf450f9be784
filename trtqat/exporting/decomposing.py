"""Decomposes a traced program node by node, where PyTorch would trace it twice more.

PyTorch's torch.export-based exporter traces a model and then has ``run_decompositions`` trace the
program again, once to look at it and once to write it. That is a third of the time of an export.
What it changes in a program of common layers is little: operators in place, BatchNorm, the
reshapes and dropout become others, and the rest stays. Here those few are written directly, as
``run_decompositions`` writes them. A program that has anything else is left to it.
"""

from __future__ import annotations

import contextlib
import functools
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, InputSpec
from torch.fx import Graph, Node
from torch.fx.node import map_arg

from trtqat.exporting.kept_operators import BY_ITSELF, IN_PLACE, VIEWS

_Table: TypeAlias = Mapping[Any, Callable[..., Any]]
_ATEN = torch.ops.aten


@contextlib.contextmanager
def decomposed_by_node() -> Iterator[None]:
    """Has programs decomposed node by node where that can be done, while PyTorch exports.

    It is on ``ExportedProgram.run_decompositions`` that this rests, which PyTorch documents. Where
    another version does not call it, or writes other operators, all is done as PyTorch does it.
    """
    own = ExportedProgram.run_decompositions

    @functools.wraps(own)
    def run(
        self: ExportedProgram,
        decomp_table: _Table | None = None,
        *arguments: Any,  # noqa: ANN401
        **options: Any,  # noqa: ANN401
    ) -> ExportedProgram:
        if decomp_table is not None and decompose(self, decomp_table):
            return self
        decomposed: ExportedProgram = own(self, decomp_table, *arguments, **options)
        return decomposed

    ExportedProgram.run_decompositions = run  # type: ignore[method-assign]
    try:
        yield
    finally:
        ExportedProgram.run_decompositions = own  # type: ignore[method-assign]


def decompose(program: ExportedProgram, table: _Table) -> bool:
    """Writes a program with other operators, if it has none but those that are known here.

    Args:
        program: In eval mode, as ``torch.export.export`` returns it; its graph is replaced.
        table: The operators that must not stay, as ``run_decompositions`` takes them.

    Returns:
        False where it has another operator, or one in place on what may be seen elsewhere. The
        program is as it was then.
    """
    try:
        specs = _in_order_of_modules(program)
        graph = _Rewriting(program, specs, table).graph
    except _UnknownError:
        return False
    program.graph_signature.input_specs[:] = specs
    program.graph_module.graph = graph
    return True


def _in_order_of_modules(program: ExportedProgram) -> list[InputSpec]:
    """The inputs in the order in which PyTorch writes them: as the program's modules hold them.

    Modules without parameters come last there, and so do their buffers.
    """
    module = program.module(check_guards=False)
    places: dict[InputKind, list[str]] = {
        InputKind.PARAMETER: [name for name, _ in module.named_parameters(remove_duplicate=False)],
        InputKind.BUFFER: [name for name, _ in module.named_buffers(remove_duplicate=False)],
    }
    specs = list(program.graph_signature.input_specs)
    for kind, names in places.items():
        own = {str(spec.target): spec for spec in specs if spec.kind is kind}
        if not own.keys() <= set(names):
            raise _UnknownError
        ordered = (own[name] for name in names if name in own)
        specs = [next(ordered) if spec.kind is kind else spec for spec in specs]
    return specs


class _UnknownError(Exception):
    """Something that only PyTorch knows how to decompose."""


class _Rewriting:
    """One pass over a program.

    Attributes:
        graph: What it is rewritten to. Its inputs and outputs have the names they had.
    """

    def __init__(self, program: ExportedProgram, specs: Sequence[InputSpec], table: _Table) -> None:
        self.graph = Graph()
        self._table = table
        self._new: dict[Node, Node] = {}
        # What each node may share memory with; operators in place must not be seen elsewhere.
        self._memory: dict[Node, set[Node]] = {}
        self._views: set[Node] = set()
        self._inputs = {
            spec.arg.name
            for spec in specs
            if spec.kind is InputKind.USER_INPUT and hasattr(spec.arg, "name")
        }
        self._sizes: dict[str, tuple[Node, int]] = {}
        self._size_nodes: dict[str, Node] = {}
        self._size_meta = {
            str(node.meta.get("val")): node.meta
            for node in program.graph.nodes
            if node.target is _ATEN.sym_size.int
        }
        self._first: Node | None = None
        inputs = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
        if inputs.keys() != {spec.arg.name for spec in specs}:
            raise _UnknownError
        for spec in specs:
            self._placeholder(inputs[spec.arg.name])
        for node in program.graph.nodes:
            if node.op != "placeholder":
                self._write(node)
        self.graph.lint()

    def _write(self, node: Node) -> None:
        if node.op == "output":
            self._output(node)
        elif node.op != "call_function":
            raise _UnknownError
        elif node.target is _ATEN.sym_size.int:
            self._is(node, self._size(node.meta["val"]))
        elif node.target in IN_PLACE:
            self._in_place(node)
        elif node.target in _RULES:
            _RULES[node.target](self, node)
        elif node.target in BY_ITSELF and node.target not in self._table:
            self._copy(node, shares=node.target in VIEWS)
        else:
            raise _UnknownError

    def _placeholder(self, node: Node) -> None:
        self._copy(node)
        # The program's signature has it by name; a new graph calls "input" otherwise.
        self._new[node].name = node.name
        value = node.meta.get("val")
        if node.name not in self._inputs or not isinstance(value, torch.Tensor):
            return
        for dimension, size in enumerate(value.shape):
            if not isinstance(size, int):
                self._sizes.setdefault(str(size), (self._new[node], dimension))

    def _output(self, node: Node) -> None:
        self.graph.node_copy(node, self._new.__getitem__)
        # The program's signature has its outputs by name.
        names = {each.name: each for each in self.graph.nodes}
        outputs = {old: self._new[old] for old in node.all_input_nodes}
        if len(set(outputs.values())) != len(outputs):
            raise _UnknownError
        for old, new in outputs.items():
            other = names.get(old.name)
            if other is not None and other is not new:
                other.name, names[new.name] = new.name, other
            new.name = old.name
            names[old.name] = new

    def _copy(self, node: Node, *, shares: bool = False) -> None:
        new = self.graph.node_copy(node, self._new.__getitem__)
        if self._first is None and node.op != "placeholder":
            self._first = new
        self._is(node, new, node.all_input_nodes if shares else ())
        if shares:
            self._views.add(node)

    def _is(self, node: Node, new: Any, shared: Any = ()) -> None:  # noqa: ANN401
        self._new[node] = new
        memory = {node}.union(*(self._memory[each] for each in shared))
        for each in memory:
            self._memory[each] = memory

    def _emit(self, node: Node, target: Any, *args: Any, **kwargs: Any) -> Node:  # noqa: ANN401
        """Writes an operator in the place of a node; its value is computed without data."""
        new = self.graph.call_function(target, args, kwargs)
        if self._first is None:
            self._first = new
        new.meta = {**node.meta}
        with torch.no_grad():
            new.meta["val"] = target(*_values(args), **_values(kwargs))
        return new

    def _size(self, size: Any) -> int | Node:  # noqa: ANN401
        """An open size as the node that reads it off an input."""
        if isinstance(size, int):
            return size
        name = str(size)
        if name not in self._sizes:
            raise _UnknownError
        if name not in self._size_nodes:
            source, dimension = self._sizes[name]
            before = self._first
            place = (
                contextlib.nullcontext() if before is None else self.graph.inserting_before(before)
            )
            with place:
                made = self.graph.call_function(_ATEN.sym_size.int, (source, dimension))
            made.meta = {**self._size_meta.get(name, source.meta), "val": size}
            self._size_nodes[name] = made
        return self._size_nodes[name]

    def _in_place(self, node: Node) -> None:
        changed, target = node.args[0], IN_PLACE[node.target]
        assert isinstance(changed, Node)
        memory = self._memory[changed]
        if any(each.op == "placeholder" or each in self._views for each in memory):
            raise _UnknownError
        if target in self._table:
            raise _UnknownError
        args, kwargs = map_arg((node.args, node.kwargs), self._new.__getitem__)
        new = self._emit(node, target, *args, **kwargs)
        if not _is_like(new.meta["val"], node.meta["val"]):
            raise _UnknownError
        self._is(node, new, (changed,))
        for each in memory:
            self._new[each] = new

    def _batch_norm(self, node: Node) -> None:
        x, weight, bias, mean, variance, is_training, momentum, epsilon, *_ = self._arguments(node)
        if is_training or mean is None or variance is None:
            raise _UnknownError
        normalized = self._emit(
            node,
            _ATEN._native_batch_norm_legit_no_training.default,
            *(x, weight, bias, mean, variance, momentum, epsilon),
        )
        self._is(node, self._emit(node, operator.getitem, normalized, 0))

    def _reshape(self, node: Node) -> None:
        x, (source,) = self._arguments(node)[0], node.all_input_nodes[:1]
        before, shape = x.meta["val"], node.meta["val"].shape
        sizes = [self._size(size) for size in shape]
        # Of a static shape PyTorch writes the -1 that it was given.
        is_left_open = not self._sizes and -1 in _listed(node.args[-1])
        if str(before.shape) == str(shape) or is_left_open:
            raise _UnknownError
        try:
            with torch.no_grad():
                before.view(shape)
        except (RuntimeError, ValueError):
            # Its values lie in another order.
            copied = self._emit(node, _ATEN.clone.default, x, memory_format=torch.contiguous_format)
            self._is(node, self._emit(node, _ATEN._unsafe_view.default, copied, sizes))
            return
        self._is(node, self._emit(node, _ATEN.view.default, x, sizes), (source,))
        self._views.add(node)

    def _pool(self, node: Node) -> None:
        x, size = self._arguments(node)
        if list(size) != [1, 1]:
            raise _UnknownError
        self._is(node, self._emit(node, _ATEN.mean.dim, x, [-1, -2], True))

    def _dropout(self, node: Node) -> None:
        x, _, is_training = self._arguments(node)
        if is_training:
            raise _UnknownError
        self._is(node, self._emit(node, _ATEN.clone.default, x), node.all_input_nodes)
        # In the model it is what it was given.
        self._views.add(node)

    def _arguments(self, node: Node) -> tuple[Any, ...]:
        if node.kwargs:
            raise _UnknownError
        arguments: tuple[Any, ...] = map_arg(node.args, self._new.__getitem__)
        return arguments


_RULES: dict[Any, Callable[[_Rewriting, Node], None]] = {
    _ATEN.adaptive_avg_pool2d.default: _Rewriting._pool,
    _ATEN.batch_norm.default: _Rewriting._batch_norm,
    _ATEN.dropout.default: _Rewriting._dropout,
    _ATEN.flatten.using_ints: _Rewriting._reshape,
    _ATEN.reshape.default: _Rewriting._reshape,
    _ATEN.unflatten.int: _Rewriting._reshape,
}


def _listed(argument: Any) -> list[Any]:  # noqa: ANN401
    return list(argument) if isinstance(argument, (list, tuple)) else []


def _is_like(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.dtype == other.dtype and str(one.shape) == str(other.shape)


def _values(arguments: Any) -> Any:  # noqa: ANN401
    return map_arg(arguments, lambda each: each.meta["val"])
