"""CUDA's own library asked for its devices: a library that is made here in its place."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from trtqat.host.driver_api import DriverDevice, devices_of_driver

COMPILER = shutil.which("cc")
LIBRARY = r"""
#include <stdio.h>
int cuInit(unsigned flags) { return REFUSES; }
int cuDriverGetVersion(int *version) { *version = 12060; return 0; }
int cuDeviceGetCount(int *count) { *count = 2; return 0; }
int cuDeviceGet(int *device, int index) { *device = 40 + index; return 0; }
int cuDeviceGetName(char *name, int size, int device) {
  snprintf(name, size, "Orin %d", device);
  return 0;
}
int cuDeviceGetAttribute(int *value, int attribute, int device) {
  *value = attribute == 75 ? 8 : attribute == 76 ? 7 : -1;
  return 0;
}
"""


def made(folder: Path, source: str, *options: str) -> str:
    assert COMPILER is not None
    (folder / "cuda.c").write_text(source)
    library = folder / "libcuda.so.1"
    subprocess.run(
        [COMPILER, "-shared", "-fPIC", *options, "-o", str(library), str(folder / "cuda.c")],
        check=True,
    )
    return str(library)


@pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")
def test_devices(tmp_path: Path) -> None:
    assert devices_of_driver(made(tmp_path, LIBRARY, "-DREFUSES=0")) == (
        DriverDevice("Orin 40", "8.7", "12.6"),
        DriverDevice("Orin 41", "8.7", "12.6"),
    )


@pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")
def test_a_driver_that_refuses_has_none(tmp_path: Path) -> None:
    assert devices_of_driver(made(tmp_path, LIBRARY, "-DREFUSES=100")) == ()


@pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")
def test_another_library_is_no_driver(tmp_path: Path) -> None:
    assert devices_of_driver(made(tmp_path, "int other(void) { return 0; }")) == ()


def test_no_library_is_no_driver(tmp_path: Path) -> None:
    assert devices_of_driver(str(tmp_path / "libcuda.so.1")) == ()
