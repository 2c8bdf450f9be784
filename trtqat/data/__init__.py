"""Labelled batches to evaluate on, and samples to verify and calibrate with; NumPy and Pillow.

``dataset.open_dataset`` turns what ``--data`` says into a ``Dataset``, whose batches are arrays by
input name with the labels beside them (``batches.py``). A kind of data is one file: ``cifar10.py``
(the binary files), ``idx.py`` (MNIST and its family), ``npz.py`` with ``npz_file.py`` (arrays by
input name), ``factory.py`` (a function of the user's), ``synthetic.py`` (random numbers); images in
files are a room of their own (``images``).
"""
