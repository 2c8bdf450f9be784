"""Whether a host may and can run a plan, told before a byte of it reaches TensorRT.

plan → manifest → TensorRT → platform → GPU → driver → memory → code in the plan
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from trtqat.errors import PlanError
from trtqat.runtime.compatibility import version_tuple, why_not
from trtqat.runtime.host import Host
from trtqat.runtime.manifest import check_plan
from trtqat.runtime.plan import PlanHeader, read_plan
from trtqat.runtime.signature import read_public_key

Status = Literal["passed", "warning", "unknown", "missing", "failed"]


# Package, what needs it, and the extra that brings it.
_NEEDED = (
    ("torch", "export of a model and the PyTorch baseline need", "export"),
    ("onnx", "export, inspect and build need", "onnx"),
    ("onnxruntime", "export, and eval of a graph, need", "onnxruntime"),
    ("cuda-core", "eval of an engine needs", "cuda12"),
)


@dataclass(frozen=True)
class Check:
    """One line of the preflight.

    Attributes:
        name: What was looked at.
        status: ``passed``; ``warning`` where it runs but deserves a word; ``unknown`` where this
            host cannot tell; ``missing`` where the host lacks something; ``failed`` where
            the plan does not run here.
        finding: What was found, as a sentence.
        remedy: The way out, as a sentence; empty if none is needed.
    """

    name: str
    status: Status
    finding: str
    remedy: str = ""


def preflight(plan: Path, host: Host, *, trust: Path | None = None) -> tuple[Check, ...]:
    """Checks a plan against a host.

    Args:
        plan: The plan file; its manifest is looked for beside it.
        host: See ``host.describe_host``.
        trust: File of the public key that the manifest must be signed with.

    Returns:
        The checks in order. After a plan that is none, or is not the manifest's, nothing more is
        asked of it.

    Raises:
        UsageError: ``trust`` is no public Ed25519 key.
        MissingError: The package cryptography is not installed, and ``trust`` is given.
    """
    key = None if trust is None else read_public_key(trust)
    checks: list[Check] = []
    try:
        content, header = read_plan(plan)
    except PlanError as error:
        return (Check("plan", "failed", error.problem, error.remedy),)
    kind = "version-compatible" if header.is_version_compatible else "plain"
    written = ".".join(map(str, header.tensorrt))
    checks.append(
        Check("plan", "passed", f"{len(content) / 1e6:.1f} MB, {kind}, TensorRT {written}.")
    )
    try:
        manifest = check_plan(content, plan, trust=key)
    except PlanError as error:
        return (*checks, Check("manifest", "failed", error.problem, error.remedy))
    if manifest is None:
        checks.append(
            Check(
                "manifest",
                "warning",
                "There is none beside the plan, so a damaged plan goes unnoticed: TensorRT loads "
                "one with a changed byte.",
                "Copy the .json that the build wrote beside it.",
            )
        )
    else:
        checks.append(Check("manifest", "passed", "The plan's SHA-256 is the recorded one."))
    if key is not None:
        checks.append(Check("signature", "passed", f"The manifest is signed with {trust}."))
    checks += [_tensorrt(header, host), *check_manifest(manifest or {}, host)]
    checks.append(_memory(len(content), host))
    if header.is_version_compatible and key is None:
        checks.append(
            Check(
                "trust",
                "warning",
                "A version-compatible plan may carry a library that TensorRT loads and runs.",
                "Run only plans whose origin you know; eval wants --allow-engine-code or --trust.",
            )
        )
    return tuple(checks)


def check_host(host: Host) -> tuple[Check, ...]:
    """What a host has for each of trtqat's commands, and how to get the rest."""
    checks = []
    if host.gpus:
        for gpu in host.gpus:
            memory = f"{gpu.free_bytes / 2**30:.0f} of {gpu.memory_bytes / 2**30:.0f} GiB free"
            checks.append(
                Check("GPU", "passed", f"{gpu.name} ({gpu.compute_capability}), {memory}.")
            )
        checks.append(Check("driver", "passed", f"{host.driver}."))
    else:
        checks.append(
            Check(
                "GPU",
                "missing",
                f"build and eval of an engine need one: {host.gpu_problem}.",
                "export, inspect and eval of a graph work without.",
            )
        )
    for each in host.tensorrt:
        checks.append(Check("TensorRT", "passed", f"{each.version} ({each.flavour}), {each.path}."))
    if not any(each.flavour == "full" for each in host.tensorrt):
        checks.append(
            Check(
                "TensorRT",
                "missing",
                "build and eval of an engine need the full TensorRT"
                + (f": {host.tensorrt_problems[0]}." if host.tensorrt_problems else "."),
                "pip install 'trtqat[tensorrt-cu12]' (or tensorrt-cu13; tensorrt8 on Python 3.10)",
            )
        )
    for package, purpose, extra in _NEEDED:
        version = host.packages.get(package)
        checks.append(
            Check(package, "passed", f"{version}.")
            if version
            else Check(package, "missing", f"{purpose} it.", f"pip install 'trtqat[{extra}]'")
        )
    return tuple(checks)


def exit_code(checks: tuple[Check, ...]) -> int:
    """0 if all is well as far as one can tell, 4 if the host lacks something, 1 if it fails."""
    statuses = {check.status for check in checks}
    return 1 if "failed" in statuses else 4 if "missing" in statuses else 0


def _tensorrt(header: PlanHeader, host: Host) -> Check:
    written = ".".join(map(str, header.tensorrt))
    remedy = f"Install TensorRT {written}, or build the plan again from its ONNX file here."
    if header.is_version_compatible:
        remedy = f"Install TensorRT {written} or a newer one that may run it, lean or full."
    if not host.tensorrt:
        problem = f": {host.tensorrt_problems[0]}" if host.tensorrt_problems else ""
        return Check("TensorRT", "missing", f"None can be imported here{problem}.", remedy)
    refused = []
    for each in host.tensorrt:
        reason = why_not(header, each.version, flavour=each.flavour)
        if not reason:
            return Check("TensorRT", "passed", f"{each.version} ({each.flavour}) runs it.")
        refused.append(f"{each.version} ({each.flavour}): {reason}")
    return Check("TensorRT", "failed", f"{'; '.join(refused)}.", remedy)


def check_manifest(manifest: Mapping[str, Any], host: Host) -> Iterator[Check]:
    """What a manifest says of the build host, against this one: platform, GPU, driver.

    Args:
        manifest: Its fields; empty if there is none.
        host: This host.
    """
    unknown = "The plan does not tell without its manifest."
    built_for = manifest.get("platform")
    if built_for is None:
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
    driver = manifest.get("driver")
    if not host.gpus or not driver or not host.driver:
        yield Check("driver", "unknown", unknown if not driver else "There is no driver here.")
    elif version_tuple(host.driver) >= version_tuple(str(driver)):
        yield Check("driver", "passed", f"{host.driver}; built with {driver}.")
    else:
        yield Check(
            "driver",
            "warning",
            f"{host.driver} is older than {driver}, with which the plan was built.",
            "Upgrade the driver if loading fails with a CUDA error.",
        )


def _gpu(manifest: Mapping[str, Any], host: Host) -> Check:
    if not host.gpus:
        return Check(
            "GPU",
            "missing",
            f"There is none here: {host.gpu_problem}.",
            "Run it on a host with an NVIDIA GPU; nvidia-smi must list it.",
        )
    gpu = host.gpus[0]
    capability = manifest.get("compute_capability")
    if not capability:
        return Check("GPU", "unknown", f"{gpu.name}; for which GPU the plan is, it does not tell.")
    level = str((manifest.get("options") or {}).get("hardware_compatibility", "none"))
    built = f"{manifest.get('gpu')} ({capability})"
    here = f"{gpu.name} ({gpu.compute_capability})"
    fits = gpu.compute_capability == capability
    if level == "ampere+":
        fits = version_tuple(gpu.compute_capability) >= (8, 0, 0)
    if not fits:
        return Check(
            "GPU",
            "failed",
            f"It was built for {built}"
            + (f" with hardware compatibility {level}" if level != "none" else "")
            + f"; this is {here}.",
            "Build it on a GPU of this kind, or with --hardware-compatibility ampere+.",
        )
    if gpu.name == manifest.get("gpu"):
        return Check("GPU", "passed", f"{here}, as at the build.")
    if level != "none":
        return Check("GPU", "passed", f"{here}; built for {built} and compatible ones ({level}).")
    return Check(
        "GPU",
        "warning",
        f"{here} has the compute capability of {built}, but is another model.",
        "It runs, maybe slower than a plan that was built on this model.",
    )


def _memory(plan_bytes: int, host: Host) -> Check:
    if not host.gpus or not host.gpus[0].memory_bytes:
        return Check("memory", "unknown", "There is no GPU to ask.")
    free = host.gpus[0].free_bytes
    finding = (
        f"{free / 2**20:,.0f} MiB free; the weights alone need about {plan_bytes / 2**20:,.0f} MiB."
    )
    if free < plan_bytes:
        return Check(
            "memory", "failed", finding, "Free device memory: nvidia-smi lists who has it."
        )
    return Check("memory", "passed", finding)
