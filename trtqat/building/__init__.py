"""From an ONNX file with Q/DQ to a plan: TensorRT's builder, and what goes beside the plan.

    builder.py        build(): the order of the steps
    made_plan.py      from TensorRT's network to a plan and its manifest
    library.py        which library builds: TensorRT, or TensorRT for RTX
    rtx.py            what is special about TensorRT for RTX: targets, no GPU
    proof.py          which layers became INT8, by the builder's list or by the inspector
    parsing.py        what a user writes of options, as text or Python values
    options.py        what was asked for; profiles.py: shapes that an engine takes
    source_graph.py   what the ONNX file says before TensorRT reads it
    network.py        TensorRT's network of it, and the configuration of the builder
    versions.py       everything that differs between TensorRT 8.6, 10 and 11
    progress.py       a build that can be watched and interrupted
    failed_build.py   the way out, by what TensorRT logged
    timing_cache.py   kernels that were timed before
    plan_files.py     plan, manifest and signature, all three or none
    apart.py          a build in a process of its own, where this one is to measure
    float_engine.py   the same graph without its quantization, to compare with
    tapped_engine.py  the same engine with its INT8 tensors as outputs, to look into
    triton/           a model repository of Triton

Whoever builds calls ``build``; nothing of TensorRT is imported before that.
"""
