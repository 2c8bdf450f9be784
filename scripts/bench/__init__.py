"""Benchmarks, one subject a file: ``python -m scripts.bench.SUBJECT`` from the repository.

What SUBJECT.py found last lies in ``scripts/results/SUBJECT*.json``. ``scripts/bench/run`` measures
the engines themselves (``eval-*.json``, ``roofline-*.json``) and what ``throughput.py`` finds.
``lanes.py`` runs all that needs a GPU, and tests/gpu, on all GPUs of one host.
"""
