"""Capturing what a session enqueues."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from typing import Any

from trtqat.runtime.streams import Streams

_LOG = logging.getLogger(__name__)


def capture(
    device: Any,  # noqa: ANN401
    streams: Streams,
    enqueue: Callable[[int], None],
    name: str,
) -> Any:  # noqa: ANN401
    """A CUDA graph of one query.

    It is captured on a stream for that alone, which runs nothing: other threads may be waiting for
    what they submitted to the compute stream, which CUDA forbids while that captures.

    Args:
        device: The ``cuda.core.Device``.
        streams: On whose compute stream the graph will be launched.
        enqueue: Enqueues the query on the stream of a handle; it has run before.
        name: Of the engine, for the note.

    Returns:
        A ``cuda.core`` graph; None, with a note, where TensorRT or CUDA refuses.
    """
    stream = device.create_stream()
    builder = stream.create_graph_builder()
    try:
        with streams.lock:
            builder.begin_building(mode="thread_local")
            try:
                enqueue(int(stream.handle))
            finally:
                builder.end_building()
        graph = builder.complete()
    # Whatever a capture fails with, plain enqueue still works.
    except Exception as error:
        _LOG.warning("No CUDA graph for '%s' (%s): plain enqueue.", name, error)
        return None
    finally:
        # A capture that something made invalid is ended here, which says so a second time.
        with contextlib.suppress(Exception):
            builder.close()
        stream.close()
    with streams.lock:
        graph.upload(streams.compute)
    streams.settle()
    return graph
