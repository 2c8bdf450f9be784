"""ONNX files of others with plugins of TensorRT, wherever these stand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

import trtqat as package
from tests.support.commands import in_process
from trtqat.errors import GraphError
from trtqat.tensors import Precision

HEAD = '<ir_version: 8, opset_import: ["": 17, "local": 1]> agraph (float[N, 4] x)'
WEIGHT = ", ".join(map(str, range(1, 17)))
SCALES = f"<float s = {{0.05}}, int8 z = {{0}}, float[4, 4] w = {{{WEIGHT}}}>"
PRODUCT = """
    q = QuantizeLinear(x, s, z)
    d = DequantizeLinear(q, s, z)
    wq = QuantizeLinear(w, s, z)
    wd = DequantizeLinear(wq, s, z)
    p = MatMul(d, wd)
"""
READ_BY_A_BRANCH = f"""{HEAD} => (float[N, 4] y) {SCALES} {{ {PRODUCT}
    n = Boxes_TRT(p)
    m = ReduceMax<keepdims = 0>(p)
    c = Greater(m, s)
    y = If(c) <
        then_branch = yes () => (float[N, 4] t) {{ t = Relu(n) }},
        else_branch = no () => (float[N, 4] e) {{ e = Neg(n) }}
    >
}}"""
IN_A_BRANCH = f"""{HEAD} => (float[N, 4] y) {SCALES} {{ {PRODUCT}
    m = ReduceMax<keepdims = 0>(p)
    c = Greater(m, s)
    y = If(c) <
        then_branch = yes () => (float[N, 4] t) {{ t = Boxes_TRT(p) }},
        else_branch = no () => (float[N, 4] e) {{ e = Neg(p) }}
    >
}}"""
IN_A_FUNCTION = f"""{HEAD} => (float[N, 4] y) {SCALES} {{ {PRODUCT}
    y = local.Post(p)
}}
<domain: "local", opset_import: ["": 17]> Post (a) => (b) {{ r = Relu(a)  b = Boxes_TRT(r) }}
"""
ONE_NAME_TWICE = f"""{HEAD} => (float[N, 4] y) {SCALES} {{ {PRODUCT}
    "/Boxes_TRT.input_0" = Relu(p)
    y = Boxes_TRT("/Boxes_TRT.input_0")
}}"""
FUNCTION_ALONE = f"""{HEAD} => (float[N, 4] y) {SCALES} {{ {PRODUCT}
    y = local.Square(p)
}}
<domain: "local", opset_import: ["": 17]> Square (a) => (b) {{ r = Relu(a)  b = Mul(r, r) }}
"""
FIRST = f"""{HEAD} => (float[N, 4] y) {SCALES} {{
    n = Boxes_TRT(x)
    {PRODUCT.replace("(x,", "(n,")}
    y = Relu(p)
}}"""


NORMALIZED_BEHIND = """<ir_version: 8, opset_import: ["": 17]>
agraph (float[N, 2, 4, 4] x) => (float[N, 2, 4, 4] y)
<float s = {0.05}, int8 z = {0}, float[2, 2, 1, 1] w = {1, 2, 3, 4}, float[2] g = {2, 3},
 float[2] b = {0, 1}>
{
    r = Relu(x)
    n = Boxes_TRT(r)
    q = QuantizeLinear(n, s, z)
    d = DequantizeLinear(q, s, z)
    wq = QuantizeLinear(w, s, z)
    wd = DequantizeLinear(wq, s, z)
    p = Conv(d, wd)
    y = BatchNormalization(p, g, b, b, g)
}"""


def write(text: str, path: Path) -> Path:
    """A graph as text, in which a name may be quoted, as a file."""
    ir.save(ir.from_onnx_text(text.replace('"/Boxes_TRT.input_0"', "boxes")), path)
    if '"/Boxes_TRT.input_0"' in text:
        model = ir.load(path)
        (value,) = (v for node in model.graph for v in node.outputs if v.name == "boxes")
        value.name = "/Boxes_TRT.input_0"
        ir.save(model, path)
    return path


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize(
    ("text", "compared"),
    [
        pytest.param(READ_BY_A_BRANCH, {"/Boxes_TRT.input_0", "/If.input_0"}, id="before a branch"),
        pytest.param(IN_A_BRANCH, {"/If.input_0", "/If.input_1"}, id="in a branch"),
        pytest.param(IN_A_FUNCTION, {"node_2.input_0"}, id="in a function"),
        pytest.param(NORMALIZED_BEHIND, {"/Boxes_TRT.input_0"}, id="before a BatchNorm"),
        pytest.param(ONE_NAME_TWICE, {"/Boxes_TRT.input_0_"}, id="one name twice"),
    ],
)
def test_what_a_plugin_reads_is_compared(
    text: str, compared: set[str], precision: Precision, tmp_path: Path
) -> None:
    source = write(text, tmp_path / "m.onnx")
    opset = 19 if precision == "fp16" else 17
    done = package.export(source, tmp_path / "o.onnx", precision=precision, opset=opset)
    assert {each.name for each in done.verification.outputs} == compared
    assert any("does not run" in note and "(Boxes_TRT)" in note for note in done.notes)
    written = ir.load(tmp_path / "o.onnx")
    (plugin,) = (each for each in written.graph.all_nodes() if each.op_type == "Boxes_TRT")
    assert plugin.domain == ""
    assert plugin.inputs[0] is not None
    assert plugin.inputs[0].dtype == ir.DataType.FLOAT


def test_a_function_is_no_plugin(tmp_path: Path) -> None:
    """ONNX Runtime runs it, and the file is compared as it was given."""
    done = package.export(write(FUNCTION_ALONE, tmp_path / "m.onnx"), tmp_path / "o.onnx")
    assert [each.name for each in done.verification.outputs] == ["y"]
    assert done.notes == ()


def test_pairs_inside_functions_are_pairs(tmp_path: Path) -> None:
    text = f"""{HEAD} => (float[N, 4] y) {SCALES} {{ y = local.Layer(x, w, s, z) }}
    <domain: "local", opset_import: ["": 17]> Layer (x, w, s, z) => (p) {{ {PRODUCT} }}"""
    done = package.export(write(text, tmp_path / "m.onnx"), tmp_path / "o.onnx")
    assert done.pairs == 2


def test_a_plugin_that_reads_the_input_leaves_nothing(tmp_path: Path) -> None:
    """Weights behind it are all that ONNX Runtime could compute."""
    source = write(FIRST, tmp_path / "m.onnx")
    with pytest.raises(GraphError, match=r"'/Boxes_TRT' \(Boxes_TRT\) reads the graph's inputs"):
        package.export(source, tmp_path / "o.onnx")
    assert not (tmp_path / "o.onnx").exists()


def test_the_commands_beside_it_say_what_runs_it(tmp_path: Path) -> None:
    """ONNX Runtime runs neither file, so no baseline is named; an engine is."""
    text = f"""{HEAD} => (float[N, 4] y) <float[4, 4] w = {{{WEIGHT}}}> {{
        p = MatMul(x, w)
        y = Boxes_TRT(p)
    }}"""
    write(text, tmp_path / "m.onnx")
    np.savez(tmp_path / "d.npz", x=np.random.default_rng(0).normal(size=(40, 4)).astype("f4"))
    done = in_process(tmp_path, "quantize", "m.onnx", "--data", "npz:d.npz", "-o", "q.onnx")
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith("trtqat eval q.engine --data SPEC")
    done = in_process(tmp_path, "eval", "q.onnx", "--data", "npz:d.npz", "--duration", "0")
    assert done.returncode == 2
    assert "Where TensorRT has it, as a plugin, measure an engine: trtqat build" in done.stderr
