"""What this host is, and whether it may run a plan, without anything that must be installed.

gpu.py, nvml.py       the GPUs, as CUDA uses them and the driver describes them
driver_api.py         CUDA's library, where NVML and packages are missing
surroundings.py       board, container, WSL2, Windows: which kind of host it is
recipes/book.py       what to type on each kind of host
system.py             operating system, processor, versions of packages
description.py        all of that and TensorRT: a host, for ``trtqat doctor``
environment.py        the part of it that a report records
telemetry.py          clocks, temperature and power while something is measured
ceilings.py           the speed that a GPU reaches at most, measured once
flavours.py           TensorRT's runtimes that can be imported: full, lean, dispatch
version_rules.py      which TensorRT may run which plan
tensorrt_library.py   TensorRT's module, log and device
device_memory.py      one sentence for the want of device memory
plugins.py            libraries of plugins: compared, and loaded where a user names them
preflight.py          where a plan is refused: every check before TensorRT sees a byte of it
host_checks.py        what a host lacks for each of trtqat's commands
"""
