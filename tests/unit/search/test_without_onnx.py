"""A PyTorch model is quantized where neither onnx nor ONNX Runtime is installed."""

from __future__ import annotations

import subprocess
import sys


def test_the_door_imports_no_onnx_and_an_onnx_file_says_what_it_needs() -> None:
    code = (
        "import sys\n"
        "import trtqat.search.quantizing\n"
        "import trtqat.report.quantize_words\n"
        "found = {'onnx', 'onnx_ir', 'onnxruntime', 'onnxscript'} & set(sys.modules)\n"
        "assert not found, found\n"
        "sys.modules['onnx_ir'] = None\n"
        "from trtqat.errors import MissingError\n"
        "from trtqat.search.quantizing import quantize_source\n"
        "try:\n"
        "    quantize_source('model.onnx', 'int8.onnx', data='npz:train.npz')\n"
        "except MissingError as error:\n"
        "    assert 'Quantizing an ONNX file needs onnx_ir' in error.problem, error\n"
        "else:\n"
        "    raise AssertionError\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
