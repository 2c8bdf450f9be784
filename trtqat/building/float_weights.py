"""The graph with float weights, where TensorRT 8.6.0 stops at INT8 initializers.

It does so in compiled subgraphs, which have convolutions beside what only they can run (a
GroupNorm, one dimension instead of two), and where it would merge equal layers. The log names no
layer, and which it compiles is not known before. Float weights quantize to the same codes.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from trtqat.building.network import Network, parse_network
from trtqat.errors import ExportError
from trtqat.host.plugins import PluginFile
from trtqat.host.tensorrt_log import Messages

_LOG = logging.getLogger(__name__)

# Where it stops: at one in a compiled subgraph, and at two of equal layers.
_STOPS = ("convertMyelinWeightsToFp32", "chooseHigherPrecision")


def stops_at_codes(messages: Messages) -> bool:
    """Whether a build may have failed because of INT8 initializers.

    Args:
        messages: What TensorRT logged.
    """
    log = " ".join(messages.errors)
    return any(each in log for each in _STOPS)


def parse_with_float_weights(network: Network, plugins: Sequence[PluginFile]) -> Network | None:
    """Lets TensorRT read the graph once more, with float weights that it quantizes itself.

    Args:
        network: Of the graph as it is.
        plugins: Libraries to load before.

    Returns:
        Of the same source; None where no weight is an INT8 initializer that can be float.

    Raises:
        BuildError: TensorRT cannot read it.
    """
    from trtqat.graph.passes.make_weights_float import make_weights_float
    from trtqat.graph_file.reading import read_model
    from trtqat.graph_file.serialized import save

    source = network.source
    model = read_model(source.path)
    try:
        if not make_weights_float(model).count:
            return None
    except ExportError:
        return None
    _LOG.warning(
        "%s stops at INT8 initializers of '%s': building with float weights, which become the "
        "same codes.",
        network.builder_name,
        source.path.name,
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / source.path.name
        save(model, path)
        again = parse_network(network.trt, replace(source, path=path), plugins)
    return replace(again, source=source)
