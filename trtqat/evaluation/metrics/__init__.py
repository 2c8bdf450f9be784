"""Figures of a model on labelled samples: what ``--metric`` names.

    outputs, labels ──per_sample──▶ a row or more for each sample ──values──▶ value of any resample

Where is what:

    metric.py             what every metric is; SumMetric, whose value is a function of sums
    named.py              what a name means
    classification.py     top1, top5
    segmentation.py       miou
    regression.py         mse, psnr
    text.py               cer
    detection.py          map: detections.py reads outputs, matching.py says which detections are
                          right, average_precision.py makes the value of many resamples
    user_metric.py        file.py:function; decoding.py: decode=file.py:function
    bootstrap.py          a value with its interval, and the difference of two models with its
    packing.py            what is kept of samples, as text in a report
"""
