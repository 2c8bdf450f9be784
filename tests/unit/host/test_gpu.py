"""Which GPU is the GPU, and what is said of it: over the recorded answers of a host with two."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from tests.support.recorded_gpus import RECORDED, RecordedNvml, cuda_devices
from trtqat.host import gpu as module
from trtqat.host.driver_api import DriverDevice
from trtqat.host.gpu import Gpu, describe_gpu, describe_gpus
from trtqat.host.nvml import NvmlMissing, handle_of, opened_nvml, visible_handles

H200 = Gpu("NVIDIA H200", "9.0", "580.159.04", "13.0", 345, 1980, 150754820096, 150109880320)
FIRST, SECOND = RECORDED["gpus"]


class Library:
    """A host whose CUDA and NVML answer as they were recorded, or not at all."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.nvml: RecordedNvml | None = RecordedNvml()
        self.of_driver: tuple[DriverDevice, ...] = ()
        self._patch = monkeypatch
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.setattr(module, "opened_nvml", self._opened)
        monkeypatch.setattr(module, "devices_of_driver", lambda: self.of_driver)
        self.set_cuda([0, 1])

    def set_cuda(self, order: list[int], **changes: Any) -> None:
        devices = cuda_devices(order)
        for device in devices:
            vars(device).update(changes)

        class Device:
            def __new__(cls) -> Any:
                return devices[0]

            @classmethod
            def get_all_devices(cls) -> tuple[Any, ...]:
                if not devices:
                    raise RuntimeError("CUDA_ERROR_NO_DEVICE")
                return devices

        system = SimpleNamespace(get_user_mode_driver_version=lambda: (13, 0))
        core = SimpleNamespace(Device=Device, system=system)
        self._patch.setitem(sys.modules, "cuda", SimpleNamespace(core=core))
        self._patch.setitem(sys.modules, "cuda.core", core)

    def remove_cuda(self) -> None:
        self._patch.setitem(sys.modules, "cuda.core", None)

    @contextmanager
    def _opened(self) -> Any:
        if self.nvml is None:
            raise NvmlMissing("there is no NVIDIA driver")
        yield self.nvml


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    return Library(monkeypatch)


@pytest.mark.parametrize(("visible", "order"), RECORDED["cuda"])
def test_without_cuda_the_variable_is_read_as_cuda_reads_it(
    visible: str | None, order: list[int]
) -> None:
    nvml = RecordedNvml()
    # Where CUDA would list nothing, what is there is listed: the numbers can be the outer host's.
    expected = [nvml.gpus[index] for index in order] or nvml.gpus
    assert visible_handles(nvml, visible) == expected


def test_a_device_is_found_by_its_uuid_or_else_by_its_place(library: Library) -> None:
    nvml = RecordedNvml()
    (device,) = cuda_devices([1])
    assert handle_of(nvml, device)["uuid"] == SECOND["uuid"]
    device.uuid = SECOND["uuid"]
    assert handle_of(nvml, device)["uuid"] == SECOND["uuid"]
    device.uuid = "of-an-instance"
    assert handle_of(nvml, device)["uuid"] == SECOND["uuid"]
    device.pci_bus_id = "0000:00:09.0"
    with pytest.raises(pynvml.NVMLError):
        handle_of(nvml, device)


def test_the_gpu_is_the_one_that_cuda_uses(library: Library) -> None:
    assert library.nvml is not None
    library.nvml.gpus[0]["memory"] = [2**30, 2**29]
    library.set_cuda([1, 0])
    (first, second), problem = describe_gpus()
    assert (first, problem) == (H200, "")
    assert (second.memory_bytes, second.free_bytes) == (2**30, 2**29)
    assert describe_gpu() == H200
    library.set_cuda([0])
    assert describe_gpu().memory_bytes == 2**30


def test_without_cuda_nvml_tells_all(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    library.remove_cuda()
    assert describe_gpus() == ((H200, H200), "")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert describe_gpus() == ((H200,), "")
    with pytest.raises(ImportError):
        describe_gpu()


def test_a_cuda_that_does_not_start_hides_no_gpu(library: Library) -> None:
    library.set_cuda([])
    assert describe_gpus() == ((H200, H200), "")


def test_without_nvml_cuda_tells_what_it_knows(library: Library) -> None:
    library.nvml = None
    bare = Gpu("NVIDIA H200", "9.0", "unknown", "13.0")
    assert describe_gpus() == ((bare, bare), "")
    assert describe_gpu() == bare
    library.remove_cuda()
    assert describe_gpus() == ((), "there is no NVIDIA driver")


def test_a_jetson_needs_neither_nvml_nor_packages(library: Library) -> None:
    library.nvml = None
    library.remove_cuda()
    gpus, problem = describe_gpus(on_jetson=True)
    assert gpus == ()
    assert "no NVIDIA driver" not in problem
    assert "libcuda.so.1" in problem
    library.of_driver = (DriverDevice("Orin", "8.7", "12.6"),)
    assert describe_gpus(on_jetson=True) == ((Gpu("Orin", "8.7", "unknown", "12.6"),), "")


def test_an_nvml_that_lists_nothing_hides_no_gpu_of_the_driver(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.remove_cuda()
    monkeypatch.setattr(module, "visible_handles", lambda nvml, visible: [])
    assert describe_gpus() == ((), "NVIDIA's driver lists no GPU")
    library.of_driver = (DriverDevice("Orin", "8.7", "12.6"),)
    assert describe_gpus() == ((Gpu("Orin", "8.7", "unknown", "12.6"),), "")


def test_a_gpu_that_is_cut_into_instances(library: Library) -> None:
    """CUDA names the instance; the memory of the whole is not its own."""
    library.nvml = RecordedNvml(mig_mode=[1, 1])
    library.set_cuda([0], name="NVIDIA H200 MIG 1g.18gb", uuid="of-an-instance")
    gpu = describe_gpu()
    assert gpu.name == "NVIDIA H200 MIG 1g.18gb"
    assert (gpu.driver, gpu.sm_clock_mhz) == ("580.159.04", 345)
    assert (gpu.memory_bytes, gpu.free_bytes) == (None, None)


def test_what_nvml_keeps_back_is_not_known(library: Library) -> None:
    nothing = dict.fromkeys(("name", "compute_capability", "memory", "clock", "max_clock"))
    library.nvml = RecordedNvml(mig_mode=None, **nothing)
    assert describe_gpu() == Gpu("NVIDIA H200", "9.0", "580.159.04", "13.0")
    library.remove_cuda()
    assert describe_gpus()[0][0] == Gpu("unknown", "", "580.159.04", "13.0")
    library.nvml.gpus.clear()
    assert describe_gpus() == ((), "NVIDIA's driver lists no GPU")


def test_nvml_says_why_it_tells_nothing() -> None:
    """The real library, where there is none."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        with pytest.raises(NvmlMissing, match=r"NVIDIA('s)? driver"), opened_nvml():
            pass
    else:
        with opened_nvml() as nvml:
            assert nvml.nvmlSystemGetDriverVersion()
        # Still open for those who opened it before.
        assert pynvml.nvmlSystemGetDriverVersion()
        pynvml.nvmlShutdown()


def test_without_the_package_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(NvmlMissing, match="nvidia-ml-py"), opened_nvml():
        pass
