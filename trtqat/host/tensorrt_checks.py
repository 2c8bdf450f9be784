"""A plan of TensorRT against a host: platform, GPU, driver, memory, weights.

What is said here of other GPUs stands in NVIDIA's documentation: TensorRT itself warns of a plan of
another model of GPU, and hardware compatibility is for Ampere and newer, and not for Jetson.
"""

from __future__ import annotations

from collections.abc import Iterator
from shlex import quote

from trtqat.host.check import Check
from trtqat.host.description import Host
from trtqat.host.gpu import UNKNOWN
from trtqat.host.host_checks import DRIVER_NOT_ASKED, how_to_reach_gpu
from trtqat.host.version_rules import version_tuple
from trtqat.plan.manifest import Manifest

_AMPERE = (8, 0, 0)


def check_tensorrt(manifest: Manifest | None, host: Host, plan_bytes: int) -> Iterator[Check]:
    """Checks a host, of which nothing but its description is needed.

    Args:
        manifest: Of the plan; None if there is none.
        host: The host.
        plan_bytes: Size of the plan.
    """
    yield from _host_against(manifest, host)
    yield _memory(plan_bytes, manifest, host)
    if manifest is not None and manifest.options.strip_weights:
        yield Check(
            "weights",
            "unknown",
            "It was built without its weights, and needs those of its graph to run.",
            "Copy that from the build host, and name it to eval or inspect: "
            f"--weights {quote(manifest.graph)}",
        )


def _host_against(manifest: Manifest | None, host: Host) -> Iterator[Check]:
    """This host against what a manifest says of the build host: platform, GPU, driver."""
    unknown = "The manifest does not tell."
    if manifest is None:
        unknown = "The plan does not tell without its manifest."
    built_for = manifest.platform if manifest else ""
    if not built_for:
        yield Check("platform", "unknown", unknown)
    elif built_for == host.platform:
        yield Check("platform", "passed", f"{built_for}.")
    else:
        yield Check(
            "platform",
            "failed",
            f"It was built on {built_for}; this is {host.platform}.",
            "Build it on a host of this platform: plans do not move between them.",
        )
    yield _gpu(manifest, host)
    driver = manifest.driver if manifest else ""
    driver = "" if driver == UNKNOWN else driver
    if not host.gpus or not driver or not host.driver:
        is_there = bool(host.gpus) or host.kind == "jetson"
        here = "NVIDIA's driver does not tell its version." if is_there else DRIVER_NOT_ASKED
        yield Check("driver", "unknown", here if driver else unknown)
    elif version_tuple(host.driver) >= version_tuple(driver):
        yield Check("driver", "passed", f"{host.driver}; built with {driver}.")
    else:
        yield Check(
            "driver",
            "warning",
            f"{host.driver} is older than {driver}, with which the plan was built.",
            "Upgrade the driver if loading fails with a CUDA error.",
        )


def _gpu(manifest: Manifest | None, host: Host) -> Check:
    if not host.gpus:
        return Check(
            "GPU",
            "missing",
            f"There is no GPU here: {host.gpu_problem}.",
            how_to_reach_gpu(host)
            or "Run it on a host with an NVIDIA GPU; nvidia-smi must list it.",
        )
    gpu = host.gpus[0]
    if manifest is None or not manifest.compute_capability:
        return Check("GPU", "unknown", f"{gpu.name}; for which GPU the plan is, it does not tell.")
    capability = manifest.compute_capability
    level = manifest.options.hardware_compatibility
    built = f"{manifest.gpu} ({capability})"
    here = f"{gpu.name} ({gpu.compute_capability})"
    if not gpu.compute_capability:
        what = f"It was built for {built}; {gpu.name} does not tell its compute capability."
        return Check("GPU", "unknown", what)
    fits = gpu.compute_capability == capability
    is_ampere = version_tuple(gpu.compute_capability) >= _AMPERE
    if level == "ampere+":
        fits = is_ampere
    if not fits:
        helps = is_ampere and host.kind != "jetson"
        return Check(
            "GPU",
            "failed",
            f"It was built for {built}"
            + (f" with hardware compatibility {level}" if level != "none" else "")
            + f"; this is {here}.",
            "Build it on a GPU of this kind"
            + (
                ", or on an Ampere or newer one with --hardware-compatibility ampere+."
                if helps
                else "."
            ),
        )
    if gpu.name == manifest.gpu:
        return Check("GPU", "passed", f"{here}, as at the build.")
    if level != "none":
        return Check("GPU", "passed", f"{here}; built for {built} and compatible ones ({level}).")
    return Check(
        "GPU",
        "warning",
        f"{here} has the compute capability of {built}, but is another model.",
        "TensorRT warns that such a plan may be slower or fail; build it on this model to be sure.",
    )


def _memory(plan_bytes: int, manifest: Manifest | None, host: Host) -> Check:
    free = host.gpus[0].free_bytes if host.gpus else None
    if free is None:
        what = "This GPU does not tell its free memory." if host.gpus else "There is no GPU to ask."
        return Check("memory", "unknown", what)
    scratch = (manifest.device_memory_bytes if manifest else None) or 0
    needed = plan_bytes + scratch
    if manifest is not None and manifest.options.strip_weights:
        what = "without its weights it needs"
    else:
        what = f"{'weights and one execution context' if scratch else 'the weights alone'} need"
    finding = f"{free / 2**20:,.0f} MiB free; {what} about {needed / 2**20:,.0f} MiB."
    if free < needed:
        return Check(
            "memory", "failed", finding, "Free device memory: nvidia-smi lists who has it."
        )
    return Check("memory", "passed", finding)
