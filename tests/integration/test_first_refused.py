"""scripts.bench.first_refused, with the builder of TensorRT for RTX."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir
import pytest

from scripts.bench import first_refused as module
from scripts.bench.first_refused import first_refused, main, write_part
from tests.support.lint_cases import CASES
from tests.support.pixel_graphs import float_graph
from trtqat.building.options import BuildOptions
from trtqat.errors import BuildError
from trtqat.graph_file.reading import read_model

CASE = next(each for each in CASES if each.rule == "operands-of-two-types")
OPTIONS = BuildOptions(for_="rtx")


@pytest.fixture
def refused(tmp_path: Path) -> Path:
    """Its fourth node of five is what RTX refuses."""
    model = CASE.faulty()
    (output,) = model.graph.outputs
    relu = ir.node("Relu", [output], name="behind")
    relu.outputs[0].name = "z"
    relu.outputs[0].type, relu.outputs[0].shape = output.type, output.shape
    model.graph.append(relu)
    model.graph.outputs[0] = relu.outputs[0]
    path = tmp_path / "refused.onnx"
    ir.save(model, path)
    return path


def test_the_node_that_is_refused_is_found(refused: Path) -> None:
    found = first_refused(refused, OPTIONS)
    assert (found.node, found.number, found.nodes) == ("'/y' (Gemm)", 4, 5)
    assert "same type" in found.reason
    assert found.others == ()


def test_a_part_that_is_refused_for_another_reason_says_nothing_of_the_whole(
    refused: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if a builder refused what ends with the third node for itself."""
    said = {
        3: "No kernel for '/w.dq'.",
        4: "Stops at '/y' + (Unnamed Layer* 4) [Shuffle].",
        5: "Stops at 'behind' + (Unnamed Layer* 6) [Shuffle].",
    }

    def build(part: Path, *_: object) -> None:
        reason = said.get(len(list(read_model(part).graph)))
        if reason:
            raise BuildError(reason, "Change it.")

    monkeypatch.setattr(module, "build_plan_apart", build)
    found = first_refused(refused, OPTIONS)
    assert (found.number, found.reason, found.others) == (4, said[4], (3,))
    assert "for other reasons, which say nothing of it: parts of 3." in str(found)


def test_a_graph_that_is_built_has_none(
    tmp_path: Path, refused: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sound = tmp_path / "sound.onnx"
    ir.save(CASE.sound(), sound)
    main([str(sound), "--for", "rtx"])
    assert "is built" in capsys.readouterr().out
    main([str(refused), "--for", "rtx"])
    assert "'/y' (Gemm): " in capsys.readouterr().out


def test_a_wrong_file_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "absent.onnx"), "--for", "rtx"]) == 2
    assert "absent.onnx" in capsys.readouterr().err
    ir.save(float_graph(), tmp_path / "plain.onnx")
    assert main([str(tmp_path / "plain.onnx"), "--for", "rtx"]) == 2
    said = capsys.readouterr().err
    assert str(tmp_path / "plain.onnx") in said
    assert "has no QuantizeLinear" in said


def test_a_part_has_what_the_rest_reads_as_outputs(refused: Path, tmp_path: Path) -> None:
    nodes = list(read_model(refused).graph)
    for count in range(1, len(nodes) + 1):
        write_part(refused, count, tmp_path / "part.onnx")
        part = read_model(tmp_path / "part.onnx").graph
        assert len(list(part)) == count
        made = {value.name for node in nodes[:count] for value in node.outputs}
        read = {value.name for node in nodes[count:] for value in node.inputs if value is not None}
        outputs = {value.name for value in part.outputs}
        assert outputs >= made & read
        assert outputs <= made
        assert all(value.dtype is not None for value in part.outputs)
