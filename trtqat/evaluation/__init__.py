"""Measures one model, the subject, beside what it is compared with, on the same data.

``evaluate`` opens what it is given by name and ends in a ``Report``:

    Contender(model, role) ──measure──▶ Measured(name, role, accuracy, timings, …) ──▶ Report

Roles are subject, baseline, step and rival. Where is what:

    evaluate.py    opens what is given by name, and closes it; measure.py does the rest
    contenders.py  Contender, Measured, and lookups by role
    accuracy.py    every image once (running.py: several batches in flight; counts.py: exact counts)
    metrics/       any task's figures; metric_figures.py: of everyone, beside the baseline's
    speed.py       times in turns (latency.py, throughput.py, trtexec.py) of what timed_apart.py
                   opens in processes of their own
    intervals.py   the speed-up of what was timed in turns, and how sure a figure is
    baseline.py    what a baseline's name means: a report, a PyTorch model (open_pytorch.py) or an
                   ONNX file (open_graph.py)
    recorded.py    a baseline that an earlier report holds (old_reports.py: of schema 2 to 6)
    rivals.py      what might run instead, and the steps between baseline and subject
    open_sizes.py  at which height and width, where an engine leaves them open
    gates.py       what must hold before, and what is demanded of the figures
    locate.py      in which layers accuracy goes: locate_layers.py against the graph without Q/DQ,
                   locate_steps.py from step to step, tensor by tensor
    report.py      everything that was found: what is written as JSON, and read again

It measures by ``runtime/protocol.py`` alone; open_*.py, rivals.py and locate_*.py make the models.
Words, tables and pages are made of a report in the room above.
"""
