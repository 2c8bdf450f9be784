"""Accuracy, latency and agreement; knows runtimes only through ``protocol``."""
