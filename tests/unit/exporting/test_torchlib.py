from __future__ import annotations

from collections.abc import Iterator

import pytest
from onnxscript import values
from onnxscript.function_libs.torch_lib import registration

from trtqat.exporting.torchlib import unparsed_functions


def _traced_functions() -> Iterator[values.TracedOnnxFunction]:
    from onnxscript.function_libs.torch_lib import ops  # noqa: F401

    for name in (
        "aten::relu",
        "aten::conv2d",
        "aten::layer_norm",
        "aten::matmul",
        "aten::mean.dim",
    ):
        (function,) = registration.default_registry[name].overloads
        assert isinstance(function, values.TracedOnnxFunction)
        yield function


def test_it_still_applies_to_this_version_of_onnxscript() -> None:
    """Else exports are slower, and trtqat.exporting.torchlib can go."""
    own = vars(values.TracedOnnxFunction)["function_ir"]
    with unparsed_functions():
        assert vars(values.TracedOnnxFunction)["function_ir"] is not own
    assert vars(values.TracedOnnxFunction)["function_ir"] is own


def test_the_domain_is_what_parsing_finds() -> None:
    for function in _traced_functions():
        parsed = function.function_ir
        with unparsed_functions():
            unparsed = function.function_ir
            assert unparsed is not parsed
            assert unparsed.domain == parsed.domain
            # All else is parsed when it is asked for.
            assert unparsed.name == parsed.name
            assert [each.name for each in unparsed.inputs] == [each.name for each in parsed.inputs]


def test_nothing_changes_where_onnxscript_has_no_such_property(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(values.TracedOnnxFunction, "function_ir")
    with unparsed_functions():
        assert "function_ir" not in vars(values.TracedOnnxFunction)
    monkeypatch.delattr(values, "TracedOnnxFunction")
    with unparsed_functions():
        pass
