"""``trtqat eval --metric``: a small segmenter by its command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from trtqat.cli.main import main

FLOATS = onnx.TensorProto.FLOAT


def save_segmenter(path: Path, noise: float) -> None:
    """Logits of three classes ``(N, 3, 8, 8)``, and their means."""
    random = np.random.default_rng(0)
    kernel, other = random.normal(size=(2, 3, 1, 3, 3))
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "kernel"], ["mask"], pads=[1, 1, 1, 1]),
            helper.make_node("ReduceMean", ["mask"], ["means"], axes=[2, 3], keepdims=0),
        ],
        "segmenter",
        [helper.make_tensor_value_info("x", FLOATS, ["N", 1, 8, 8])],
        [
            helper.make_tensor_value_info("mask", FLOATS, ["N", 3, 8, 8]),
            helper.make_tensor_value_info("means", FLOATS, ["N", 3]),
        ],
        [numpy_helper.from_array((kernel + noise * other).astype(np.float32), "kernel")],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import onnxruntime as ort

    folder = tmp_path_factory.mktemp("segmenter")
    for name, noise in (("exact", 0.0), ("close", 0.05), ("far", 0.5)):
        save_segmenter(folder / f"{name}.onnx", noise)
    x = np.random.default_rng(1).normal(size=(40, 1, 8, 8)).astype(np.float32)
    mask = ort.InferenceSession(str(folder / "exact.onnx")).run(None, {"x": x})[0].argmax(axis=1)
    mask[:, 0] = 255
    np.savez(folder / "data.npz", x=x, labels=mask.astype(np.uint8))
    (folder / "mine.py").write_text(
        "def second(outputs, labels):\n    return (outputs['mask'].argmax(1) == 1).mean((1, 2))\n"
    )
    return folder


def run(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.chdir(folder)
    words = f"trtqat eval {text} --data npz:data.npz --duration 0 -q".split()
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_a_segmenter_from_record_to_gate(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = "--metric miou:ignore=255 --metric mine.py:second --metric top1@means"
    code = run(folder, "exact.onnx --metric miou:ignore=255 --json record.json", monkeypatch)
    table = capsys.readouterr().out
    assert code == 0
    assert "100.00 %" in table
    assert "top-1" not in table
    for name, expected in (("close", 0), ("far", 3)):
        code = run(
            folder,
            f"{name}.onnx --metric miou:ignore=255 --baseline-report record.json "
            f"--max-drop miou:10 --json {name}.json --html {name}.html",
            monkeypatch,
        )
        printed = capsys.readouterr()
        assert code == expected
        assert "miou less the baseline's" in printed.out
        assert ("The miou drops by" in printed.err) == bool(expected)
        assert "miou less the baseline" in (folder / f"{name}.html").read_text()
    report = json.loads((folder / "far.json").read_text())
    subject = report["contenders"][0]["metrics"][0]
    assert subject["spec"] == "miou:ignore=255"
    assert subject["to_baseline"]["high"] < -10
    # Labels are masks, of which no top-1 can be.
    assert run(folder, f"exact.onnx {metrics}", monkeypatch) == 2
    assert "must be one integer per sample" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("exact.onnx", "or name a metric that reads such labels"),
        ("exact.onnx --metric iou", "There is no metric 'iou'"),
        ("exact.onnx --metric miou", "The masks hold 255, but there are 3 classes"),
        ("exact.onnx --metric miou@heads", "'heads', and the model has 'mask', 'means'"),
        ("exact.onnx --metric mse --metric mse", "mse is asked for twice"),
        ("exact.onnx --max-drop miou", "'miou' is no gate on a metric"),
        ("exact.onnx --max-drop miou:much", "'miou:much' is no gate"),
        ("exact.onnx --max-drop miou:1 --max-drop miou:2", "The metric miou has two gates"),
        ("exact.onnx --max-drop miou:-1", "is -1"),
        ("exact.onnx --max-drop miou:1", "A drop of miou needs a baseline"),
    ],
)
def test_wrong_usage(
    text: str,
    message: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(folder, text, monkeypatch) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_verbose_tells_map_by_area(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    infos = [helper.make_tensor_value_info(name, FLOATS, ["N", 2, 6]) for name in ("x", "found")]
    node = helper.make_node("Identity", ["x"], ["found"])
    graph = helper.make_graph([node], "detector", infos[:1], infos[1:])
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "d.onnx")
    # The small one is found, and nothing is where the large one is.
    boxes = np.array([[0, 0, 10, 10], [100, 100, 300, 300]], float)
    away = np.array([[0], [300]])
    found = np.concatenate([boxes + away, [[0.9, 0], [0.8, 0]]], axis=1)
    np.savez(
        tmp_path / "data.npz",
        x=np.stack([found] * 4).astype(np.float32),
        labels_boxes=np.concatenate([boxes] * 4),
        labels_classes=np.zeros(8, int),
        labels_counts=np.full(4, 2),
    )
    assert run(tmp_path, "d.onnx --metric map --json r.json", monkeypatch) == 0
    assert "small" not in capsys.readouterr().out
    (figure,) = json.loads((tmp_path / "r.json").read_text())["contenders"][0]["metrics"]
    parts = {each["name"]: each["value"] for each in figure["parts"]}
    assert parts == pytest.approx({"small": 100.0, "large": 0.0})
    assert run(tmp_path, "d.onnx --metric map -v", monkeypatch) == 0
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines() if "map, " in line]
    cells = {row[1].strip(): row[2].strip() for row in rows}
    assert cells == {"map, small": "100.00 %", "map, large": "0.00 %"}
