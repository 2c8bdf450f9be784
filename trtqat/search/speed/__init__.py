"""The fastest engine of a graph: which regions are INT8.

``strategy.py`` is the search, on the costs that ``region_costs.py`` has seen.
"""
