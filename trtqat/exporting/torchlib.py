"""Spares PyTorch's exporter what onnxscript parses of its functions, and nobody reads.

The exporter asks onnxscript for its translations of PyTorch's operators, some 500 functions.
For each of them onnxscript reads the source text, parses it and translates the signature, to
note in which ONNX domain the function is. That takes 0.6 s of CPU in each process. The domain is
that of the function's opset, which is known without.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def unparsed_functions() -> Iterator[None]:
    """Has onnxscript parse a traced function when more than its domain is asked for.

    It is on ``onnxscript.values.TracedOnnxFunction`` that this rests, and on its properties
    ``function_ir`` and ``opset``. Where another version has them no more, nothing changes.
    """
    from onnxscript import values

    kind: Any = getattr(values, "TracedOnnxFunction", None)
    own = vars(kind).get("function_ir") if isinstance(kind, type) else None
    if not isinstance(own, property) or own.fget is None or not hasattr(kind, "opset"):
        yield
        return
    parse = own.fget
    kind.function_ir = property(lambda function: _Unparsed(function, parse))
    try:
        yield
    finally:
        kind.function_ir = own


class _Unparsed:
    """What onnxscript says of a function; its domain is known, all else is parsed when asked for.

    Attributes:
        domain: ONNX domain of the function.
    """

    def __init__(self, function: Any, parse: Callable[[Any], Any]) -> None:  # noqa: ANN401
        self.domain: str = function.opset.domain
        self._function = function
        self._parse = parse

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._parse(self._function), name)
