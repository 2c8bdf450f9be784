"""Folders of images by the command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from tests.support.commands import in_process
from tests.support.image_files import write_image

COLOURS = ("blue", "green", "red")


def write_colours(folder: Path, count: int = 3) -> None:
    """A folder for each colour, whose images are mostly of it; none is square."""
    for number, name in enumerate(COLOURS):
        for index in range(count):
            generator = np.random.default_rng(number * count + index)
            pixels = generator.integers(0, 100, (30, 40 + index, 3), dtype=np.uint8)
            pixels[..., 2 - number] += 100
            write_image(folder / name / f"{index}.png", pixels)


def write_graph(path: Path, *, dtype: int, last: bool = False) -> None:
    """A graph that tells which colour is strongest, as 0 for blue to 2 for red."""
    shape: list[int | str] = ["N", 16, 16, 3] if last else ["N", 3, 16, 16]
    axes = [1, 2] if last else [2, 3]
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["means"], axes=axes, keepdims=0),
        helper.make_node("Gather", ["means", "order"], ["logits"], axis=1),
    ]
    order = helper.make_tensor("order", TensorProto.INT64, [3], [2, 1, 0])
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("images", dtype, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 3])],
        [order],
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)


@pytest.mark.parametrize(
    ("dtype", "last", "options"),
    [
        (TensorProto.FLOAT, False, ",mean=0.485,0.456,0.406,std=0.229,0.224,0.225"),
        (TensorProto.UINT8, False, ""),
        (TensorProto.UINT8, True, ""),
    ],
    ids=["floats", "bytes", "bytes, channels last"],
)
def test_accuracy_of_a_folder(tmp_path: Path, dtype: int, last: bool, options: str) -> None:
    write_colours(tmp_path / "val")
    write_graph(tmp_path / "model.onnx", dtype=dtype, last=last)
    data = f"images:val,resize=20,crop=16{options}"
    arguments = ("--data", data, "--batch-size", "4", "--duration", "0", "--json", "r.json")
    done = in_process(tmp_path, "eval", "model.onnx", *arguments)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "r.json").read_text())
    assert (report["data"], report["images"]) == (data, 9)
    assert report["contenders"][0]["accuracy"]["top1"] == 9


def test_broken_images_stop_an_evaluation_or_are_counted(tmp_path: Path) -> None:
    write_colours(tmp_path / "val")
    write_graph(tmp_path / "model.onnx", dtype=TensorProto.UINT8)
    (tmp_path / "val" / "green" / "1.png").write_bytes(b"\x89PNG")
    data = "images:val,resize=16x16"
    arguments = ("eval", "model.onnx", "--duration", "0", "--json", "r.json", "--data")
    done = in_process(tmp_path, *arguments, data)
    assert done.returncode == 2
    assert "val/green/1.png' cannot be decoded" in done.stderr
    assert "skip-broken" in done.stderr

    done = in_process(tmp_path, *arguments, f"{data},skip-broken")
    assert done.returncode == 0, done.stderr
    assert "1 of 9 images are broken and left out: 'val/green/1.png'" in done.stderr
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["images"] == 8
    assert report["data"] == f"{data},skip-broken (1 broken left out)"


def test_without_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_colours(tmp_path / "val", 1)
    write_graph(tmp_path / "model.onnx", dtype=TensorProto.UINT8)
    for name in ("PIL", "PIL.Image"):
        monkeypatch.setitem(sys.modules, name, None)
    done = in_process(tmp_path, "eval", "model.onnx", "--data", "images:val,resize=16x16")
    assert done.returncode == 4
    assert "pip install -e '.[images]'" in done.stderr


def test_a_report_does_not_overwrite_an_image(tmp_path: Path) -> None:
    write_colours(tmp_path / "val", 1)
    write_graph(tmp_path / "model.onnx", dtype=TensorProto.UINT8)
    arguments = ("eval", "model.onnx", "--data", "images:val", "--json", "val/red/0.png")
    done = in_process(tmp_path, *arguments)
    assert done.returncode == 2
    assert "would overwrite an input" in done.stderr


def test_ranges_are_chosen_on_images(tmp_path: Path) -> None:
    write_colours(tmp_path / "train", 4)
    (tmp_path / "net.py").write_text(
        "import torch\n"
        "from torch import nn\n\n\n"
        "def fp32():\n"
        "    torch.manual_seed(0)\n"
        "    layers = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()\n"
        "    return nn.Sequential(*layers, nn.Linear(4, 3))\n"
    )
    made: dict[str, Any] = {}
    exec(compile((tmp_path / "net.py").read_text(), "net.py", "exec"), made)
    data = "images:train,resize=20,crop=16,mean=0.5,std=0.25"
    torch.save(made["fp32"]().state_dict(), tmp_path / "fp32.pt")
    command = ("quantize", "net.py:fp32", "--checkpoint", "fp32.pt", "--data", data)
    done = in_process(tmp_path, *command, "-o", "int8.pt")
    assert done.returncode == 0, done.stderr
    # The shape of the input is that of the images, and so are the samples of the export.
    command = ("export", "net.py:fp32", "--checkpoint", "int8.pt", "--input", "input:1x3x16x16")
    done = in_process(tmp_path, *command, "--data", data, "-o", "m.onnx")
    assert done.returncode == 0, done.stderr
    (tmp_path / "train" / "red" / "0.png").write_bytes(b"")
    done = in_process(tmp_path, "eval", "m.onnx", "--data", data, "--duration", "0")
    assert done.returncode == 2
    assert "train/red/0.png' cannot be decoded" in done.stderr
