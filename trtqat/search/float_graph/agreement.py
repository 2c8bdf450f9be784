"""Two graphs run to compare their outputs: as read with the file, and INT8 with float."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from trtqat.errors import GraphError
from trtqat.graph_file.serialized import Serialized
from trtqat.numerics import difference
from trtqat.runtime.onnx_model import OnnxModel
from trtqat.search.agreement import Agreements, OutputAgreement
from trtqat.tensors import Arrays

# Rounding in another order leaves 100 dB and more.
_LEAST_DB = 60.0


def check_read(source: Path, graph: Serialized, batch: Arrays) -> None:
    """Refuses a float graph that computes something else than the file that it was read from.

    Args:
        source: The file.
        graph: After the passes that bring it into the form that quantizers are put into.
        batch: Inputs by name.

    Raises:
        GraphError: An output is another one, or ONNX Runtime does not accept one of them.
        InferenceError: It fails on the batch.
    """
    with OnnxModel(source, as_written=True) as given, OnnxModel(graph, as_written=True) as read:
        expected, found = given.session(1).run(batch), read.session(1).run(batch)
    for name, array in expected.items():
        if array.dtype.kind not in "biuf":
            continue
        is_same = array.shape == found[name].shape
        # NaN is said where ranges are chosen.
        if is_same and not difference(array, found[name]).sqnr_db < _LEAST_DB:
            continue
        raise GraphError(
            f"Output '{name}' of '{source}' changes when its opset is raised and its constants are "
            "folded, as quantizing needs it.",
            "Have the model's own framework write it in opset 17, and report the graph.",
        )


def compare_outputs(
    source: Path | Serialized, graph: Serialized, batches: Iterable[Arrays], samples: int
) -> tuple[OutputAgreement, ...]:
    """Runs both graphs on ONNX Runtime, and compares every output.

    Args:
        source: The float graph, or its file.
        graph: The INT8 graph, which runs as it is written.
        batches: Inputs by name.
        samples: In all batches together.

    Raises:
        GraphError: ONNX Runtime does not accept one of them.
        InferenceError: It fails on a batch.
    """
    found = Agreements()
    with OnnxModel(source) as exact, OnnxModel(graph, as_written=True) as rounded:
        float_session, int8_session = exact.session(1), rounded.session(1)
        for batch in batches:
            found.add(float_session.run(batch), int8_session.run(batch))
    return found.result(samples)
