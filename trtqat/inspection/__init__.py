"""Inspection: what a graph or an engine consists of, which layers are INT8, and what they cost.

    inspecting.py        trtqat.inspect: tells by the file which of the next three it is
    inspected_graph.py   trtqat.lint: a graph's findings, and its share of arithmetic in INT8
    export_again.py      how a graph is exported again for one TensorRT
    inspected_engine.py  a plan as TensorRT describes it on this GPU
    inspected_layers.py  the files that describe an engine, on a host without a GPU
    options.py           what to ask

Behind them:

    inspector.py         TensorRT's inspector, whose JSON differs by version, in one form
    engine_layers.py     asks the inspector and the profiler of a loaded engine
    layer_times.py       time of each layer, by TensorRT's profiler or from trtexec's file
    coverage.py          joins the layers of graph and engine: which run in INT8, and if not why
    roofline.py          the floor of each layer by its arithmetic and its memory traffic
    words.py, roofline_words.py
                         all of it in words

Nothing is asserted that was not seen: what no engine layer names counts as not INT8, with the
reason; each reason that TensorRT did not give itself says that it is inferred.
"""
