"""What a plan file is, told without TensorRT and without a GPU.

    model.engine        the plan, as TensorRT wrote it        header.py: is it one, is it whole
    model.engine.json   its manifest                          manifest.py: what it was built from,
                                                              with what, for what; its SHA-256
                                                              (schema.py: its JSON schema)
    model.engine.sig    a signature of the manifest           signature.py: who built it

Whether a host may and can run it is the question of ``trtqat.host.preflight``.
"""
