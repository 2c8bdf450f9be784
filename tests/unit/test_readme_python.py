"""The Python of the first page and of the package's docstring runs, as far as a CPU goes."""

from __future__ import annotations

import ast
import functools
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import trtqat
from trtqat.building.parsing import BuildKeywords, parse_options
from trtqat.evaluation.options import EvaluateOptions
from trtqat.inspection.options import InspectOptions
from trtqat.quant.tuning.options import FineTuneKeywords

ROOT = Path(trtqat.__file__).parents[1]
# The files that both examples name.
MODEL = """
import torch


def fp32():
    torch.manual_seed(0)
    layers = torch.nn.Conv2d(3, 4, 16, stride=16), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1)
    return Model(torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(4, 10)))


class Model(torch.nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.layers = layers

    def forward(self, images):
        return self.layers(images)


def write():
    torch.save(fp32().state_dict(), "fp32.pt")
"""


def example_of_the_first_page() -> str:
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    return str(block)


def example_of_the_package() -> str:
    assert trtqat.__doc__ is not None
    (block,) = re.findall(r"::\n\n((?: {4}.*\n|\n)+)", trtqat.__doc__)
    return textwrap.dedent(block)


EXAMPLES = {"README.md": example_of_the_first_page, "trtqat": example_of_the_package}


@pytest.fixture(params=[*EXAMPLES.values()], ids=[*EXAMPLES])
def example(request: pytest.FixtureRequest) -> str:
    found: str = request.param()
    return found


def calls_in(example: str) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(ast.parse(example)):
        called = node.func if isinstance(node, ast.Call) else None
        if isinstance(called, ast.Attribute) and ast.unparse(called.value) == "trtqat":
            assert isinstance(node, ast.Call)
            yield called.attr, node


# What the functions take by **: fields of these.
MORE: dict[str, type] = {
    "build": BuildKeywords,
    "evaluate": EvaluateOptions,
    "fine_tune": FineTuneKeywords,
    "inspect": InspectOptions,
}


def check_calls(example: str) -> list[str]:
    """Binds every call of a public name as the function takes it; returns the names."""
    names = []
    for name, call in calls_in(example):
        assert name in trtqat.__all__
        given: dict[str, Any] = {each.arg or "": None for each in call.keywords}
        bound = inspect.signature(getattr(trtqat, name)).bind(*call.args, **given)
        parameters = bound.signature.parameters
        for key in given:
            assert key in parameters or key in MORE[name].__annotations__, f"{name}({key}=…)"
        names.append(name)
    return names


def test_every_call_is_one_that_the_function_takes(example: str) -> None:
    assert {"quantize_source", "export", "build", "open", "Torch", "evaluate"} <= set(
        check_calls(example)
    )


def test_so_are_those_of_other_doors() -> None:
    pages = [page.read_text(encoding="utf-8") for page in (ROOT / "trtqat").rglob("README.md")]
    blocks = re.findall(r"```python\n(.*?)```", "\n".join(pages), flags=re.DOTALL)
    assert [name for block in blocks for name in check_calls(block)]


def test_it_runs(
    example: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With the graph in the engine's place, as no engine is built or run without a GPU."""
    monkeypatch.chdir(tmp_path)
    Path("model.py").write_text(MODEL)
    made: dict[str, Any] = {}
    exec(compile(MODEL, "model.py", "exec"), made)
    made["write"]()
    drawn = np.random.default_rng(0)
    images = drawn.standard_normal((6, 3, 224, 224), np.float32)
    np.savez("train.npz", images=images)
    np.savez("test.npz", images=images, labels=drawn.integers(0, 10, 6))
    _put_the_graph_for_the_engine(monkeypatch)
    # Nor is anything timed: a figure takes seconds.
    monkeypatch.setattr(
        trtqat, "evaluate", functools.partial(trtqat.evaluate, latency=None, batch_size=3)
    )
    exec(compile(example, "example", "exec"), {})
    printed = capsys.readouterr().out
    assert "| 6 images, batch 3 |" in re.sub(" +", " ", printed)
    assert "same prediction as the baseline" in printed
    assert Path("report.html").is_file() == ('report.html("report.html")' in example)


def _put_the_graph_for_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    open_graph, inspect_graph = trtqat.open, trtqat.inspect

    def build(graph: str, plan: str, **keywords: Any) -> None:
        assert (graph, plan) == ("model.onnx", "model.engine")
        assert Path(graph).is_file()
        parse_options(plan, **keywords)
        Path(plan).touch()

    def opened(plan: str) -> trtqat.OnnxModel:
        assert Path(plan).is_file()
        model = open_graph("model.onnx")
        assert isinstance(model, trtqat.OnnxModel)
        return model

    def inspected(plan: str) -> object:
        assert Path(plan).is_file()
        return inspect_graph("model.onnx")

    monkeypatch.setattr(trtqat, "build", build)
    monkeypatch.setattr(trtqat, "open", opened)
    monkeypatch.setattr(trtqat, "inspect", inspected)
