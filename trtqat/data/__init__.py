"""Labelled batches to evaluate on; NumPy only.

``dataset.open_dataset`` turns what ``--data`` says into a ``Dataset``. A kind of data is one file:
cifar10 (the binary files), npz, factory (a function of the user's), random.
"""
