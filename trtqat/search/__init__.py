"""Finds the best INT8 model: which layers cost accuracy, and which go back to floating point.

quantizing.py       the door: from a model's source and data to int8.pt
float_model.py      the FP32 model, and what is refused before anything takes long
model_inputs.py     the model's inputs, from --input or from the data
samples.py          evenly spread samples to calibrate on
sensitivity.py      how much of the output each layer costs when it alone is quantized
accuracy_target.py  the fewest MACs in floating point that keep the accuracy, and the ladder there
counting.py         right answers of a model, counted on all samples
metric_scores.py    a metric of a model on all samples, instead (asked_metric.py: which)
agreement.py        how close the outputs are to the float model's, on samples held out
saved_search.py     what an interrupted search goes on from
float_graph/        a float ONNX file becomes an INT8 one
result.py           what was made
options.py          what can be asked for
running.py          one batch through a model, and what is said of the cost beforehand
"""
