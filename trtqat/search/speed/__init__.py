"""The fastest engine of a graph: which regions of it are INT8.

``strategy.py`` is the search, on the costs that ``region_costs.py`` has seen. ``logged_trials.py``
does nothing twice; ``engines.py`` builds and measures, and ``region_times.py`` joins what TensorRT
tells of an engine with the regions of its graph. ``within_target.py`` chooses by accuracy as well.
"""
