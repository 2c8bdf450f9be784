"""An engine as a model of NVIDIA's Triton Inference Server.

``config.py`` writes what stands in ``config.pbtxt``; ``repository.py`` puts it, the plan and its
manifest where Triton looks for them, as the model's next version.
"""
