"""Quantizes a float ONNX file after training, without the PyTorch model that it was made of.

quantizing.py  the door: from the file and its data to a file with explicit Q/DQ
reading.py     what is refused, and the form that quantizers are put into
placement.py   where they stand
groups.py      which of them share a range
samples.py     on which samples ranges are chosen, and on which others the result is measured
observing.py   what tensors are on the data, and the ranges for that
agreement.py   both graphs run, to compare the outputs
"""
