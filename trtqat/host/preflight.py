"""Whether a host may and can run a plan, told before a byte of it reaches TensorRT.

plan → manifest → TensorRT → platform → GPU → driver → memory → plugins → code in the plan

For TensorRT the checks of the host stand in ``tensorrt_checks``; for TensorRT for RTX they are
others (``rtx_checks``), and at the end the library itself is asked about the header, if all before
passed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from trtqat.checks import check_choice, check_kind
from trtqat.errors import MissingError, PlanError
from trtqat.host.check import Check
from trtqat.host.description import Host, describe_host
from trtqat.host.flavours import Flavour, TensorRTFlavour, choose_flavour
from trtqat.host.plugins import PluginFile, check_plugins, read_plugins
from trtqat.host.rtx_checks import check_rtx
from trtqat.host.rtx_validity import check_validity
from trtqat.host.tensorrt_checks import check_tensorrt
from trtqat.host.version_rules import version_tuple
from trtqat.plan.header import LIBRARY_NAMES, PlanHeader, read_plan
from trtqat.plan.manifest import Manifest, check_plan
from trtqat.plan.signature import read_public_key
from trtqat.plan.targets import targets_in_words

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Preflight:
    """What was found before a plan reaches TensorRT; as text, a line for each check.

    Attributes:
        checks: In order. After a plan that is none, or is not the manifest's, nothing more was
            asked of it.
        plan: Content of the plan file; empty if it is none.
        header: Its header; None if it is no plan.
        manifest: The manifest beside it; None if there is none.
        flavour: The TensorRT that runs it; None if none does.
        code_allowed: Whether it may bring a library of its own.
        plugins: The libraries of plugins that the user named; nothing of them is loaded.
    """

    checks: tuple[Check, ...]
    plan: bytes = field(default=b"", repr=False)
    header: PlanHeader | None = None
    manifest: Manifest | None = None
    flavour: TensorRTFlavour | None = None
    code_allowed: bool = False
    plugins: tuple[PluginFile, ...] = ()

    @property
    def needs_plugins(self) -> bool:
        """Whether plugins are to be registered before the plan is loaded."""
        recorded = None if self.manifest is None else self.manifest.plugins
        return bool(self.plugins) or recorded is not None

    def __str__(self) -> str:
        return "\n".join(map(str, self.checks))

    @property
    def exit_code(self) -> int:
        """0 if all is well as far as one can tell, 4 if the host lacks something, 1 if it fails."""
        statuses = {check.status for check in self.checks}
        return 1 if "failed" in statuses else 4 if "missing" in statuses else 0

    def require(self, path: Path) -> None:
        """Raises for the first check that did not pass, and logs the warnings.

        Args:
            path: Of the plan, for messages.

        Raises:
            PlanError: A check failed.
            MissingError: The host lacks something.
        """
        for check in self.checks:
            if check.status == "failed":
                raise PlanError(_of(path, check), check.remedy)
        for check in self.checks:
            if check.status == "missing":
                raise MissingError(_of(path, check), check.remedy)
            if check.status == "warning":
                _LOG.warning("'%s': %s %s", path, check.finding, check.remedy)


def preflight(
    plan: str | Path,
    host: Host | None = None,
    *,
    trust: str | Path | None = None,
    allow_engine_code: bool | None = None,
    flavour: Flavour | None = None,
    is_here: bool | None = None,
    plugins: Sequence[str | Path] = (),
) -> Preflight:
    """Checks a plan against a host, without a GPU, TensorRT or a risk: nothing is loaded.

    Of a plan of TensorRT for RTX that passed all checks on this host, where there is a GPU, that
    library is given the header, of 64 bytes, and says whether it takes such a plan.

    Args:
        plan: The plan file; its manifest is looked for beside it.
        host: The host, as ``describe_host`` returns it; None looks at this one.
        trust: File of the public key that the manifest must be signed with.
        allow_engine_code: Whether a version-compatible plan may bring a library of its own; None
            if that is not decided yet, which is worth a warning only.
        flavour: Which TensorRT is to run it; None takes the first that may.
        is_here: Whether ``host`` is this one, so that its library can be asked; None if it is,
            when no host is given.
        plugins: Libraries of plugins to load before it. They are compared with what the manifest
            says of those that it was built with.

    Raises:
        UsageError: An argument has another type, ``trust`` is no public Ed25519 key, or a library
            cannot be read.
        MissingError: The package cryptography is not installed, and ``trust`` is given.
    """
    check_kind("The plan", plan, (str, os.PathLike), "'model.engine'")
    if host is not None:
        check_kind("The host", host, Host, "trtqat.host.description.describe_host()")
    if trust is not None:
        check_kind("The key to trust", trust, (str, os.PathLike), "'public.pem'")
    if flavour is not None:
        check_choice("The flavour", flavour, get_args(Flavour))
    given = read_plugins(plugins)
    plan = Path(plan)
    key = None if trust is None else read_public_key(Path(trust))
    try:
        content, header = read_plan(plan)
    except PlanError as error:
        return Preflight((_refused("plan", error),))
    checks = [_described(content, header)]
    try:
        manifest = check_plan(content, plan, trust=key)
        _check_header(header, len(content), manifest, plan)
    except PlanError as error:
        return Preflight((*checks, _refused("manifest", error)))
    checks.append(_without_manifest(header) if manifest is None else _WITH_MANIFEST)
    if key is not None:
        checks.append(
            Check(
                "signature",
                "passed",
                f"The manifest is signed by the key that '{trust}' belongs to.",
            )
        )
    is_here = host is None if is_here is None else is_here
    host = describe_host() if host is None else host
    chosen, check = _tensorrt(header, manifest, host, flavour)
    checks.append(check)
    if header.library == "rtx":
        checks += check_rtx(header, manifest, host, chosen, len(content))
    else:
        checks += check_tensorrt(manifest, host, len(content))
    recorded = None if manifest is None else manifest.plugins
    checks += check_plugins(recorded, given, has_manifest=manifest is not None)
    # Our own refusal comes first: nothing of a plan that failed reaches the library.
    if header.library == "rtx" and is_here and chosen is not None and _all_well(checks):
        checks.append(check_validity(content, chosen))
    if header.is_version_compatible:
        allowed = True if key is not None else allow_engine_code
        checks.append(_code(manifest, allowed))
    return Preflight(
        tuple(checks), content, header, manifest, chosen, bool(allow_engine_code or key), given
    )


_WITH_MANIFEST = Check("manifest", "passed", "The plan's SHA-256 is the recorded one.")


def _without_manifest(header: PlanHeader) -> Check:
    # Seen of TensorRT alone.
    seen = ": TensorRT loads one with a changed byte" if header.library == "tensorrt" else ""
    return Check(
        "manifest",
        "warning",
        f"There is no manifest beside the plan, so a damaged plan may go unnoticed{seen}.",
        "Copy the .json that trtqat build wrote beside it; no other builder writes one.",
    )


def _of(path: Path, check: Check) -> str:
    if check.names_file:
        return check.finding
    return f"'{path}' does not run here. {check.finding}"


def _all_well(checks: list[Check]) -> bool:
    return not {"failed", "missing"} & {check.status for check in checks}


def _check_header(
    header: PlanHeader, plan_bytes: int, manifest: Manifest | None, path: Path
) -> None:
    """Compares what the plan file and its manifest both tell.

    Raises:
        PlanError: They contradict each other.
    """
    if manifest is None:
        return
    told = ""
    if manifest.library != header.library:
        told = f"built by {LIBRARY_NAMES[manifest.library]}; its header"
    elif version_tuple(manifest.tensorrt) != header.version:
        told = f"built by {manifest.built_by}; its header"
    # A header of a later release may leave its targets to the manifest.
    elif header.targets and set(manifest.targets) != set(header.targets):
        told = f"for compute capability {targets_in_words(manifest.targets) or 'none'}; its header"
    elif manifest.plan_bytes != plan_bytes:
        told = f"of {manifest.plan_bytes:,} bytes; its size"
    if told:
        raise PlanError(
            f"The manifest of '{path}' says that the plan is {told} says otherwise.",
            "Copy plan and manifest again from the build host, together.",
        )


def _refused(name: str, error: PlanError) -> Check:
    return Check(name, "failed", error.problem, error.remedy, names_file=True)


def _described(content: bytes, header: PlanHeader) -> Check:
    kind = "version-compatible" if header.is_version_compatible else "plain"
    if header.targets:
        kind = f"for {targets_in_words(header.targets)}"
    return Check("plan", "passed", f"{len(content) / 1e6:.1f} MB, {kind}, {header.built_by}.")


def _tensorrt(
    header: PlanHeader, manifest: Manifest | None, host: Host, wanted: Flavour | None
) -> tuple[TensorRTFlavour | None, Check]:
    try:
        chosen = choose_flavour(
            header,
            host.tensorrt,
            host.tensorrt_problems,
            wanted=wanted,
            lean_excluded=_lean_excluded(manifest),
        )
    except MissingError as error:
        return None, Check("TensorRT", "missing", error.problem, error.remedy)
    except PlanError as error:
        return None, Check("TensorRT", "failed", error.problem, error.remedy)
    return chosen, Check("TensorRT", "passed", f"{chosen.version} ({chosen.flavour}) runs it.")


def _lean_excluded(manifest: Manifest | None) -> bool:
    return manifest is not None and manifest.options.exclude_lean_runtime


def _code(manifest: Manifest | None, allowed: bool | None) -> Check:
    if _lean_excluded(manifest):
        # The word of a manifest that nobody signed: TensorRT is not given the permission either.
        return Check("trust", "passed", "It was built without a library of its own.")
    if allowed:
        return Check("trust", "passed", "The library that it may carry is allowed to run.")
    # Whoever has not been asked has no such option.
    to_whom = "to eval or inspect " if allowed is None else ""
    return Check(
        "trust",
        "warning" if allowed is None else "failed",
        "A version-compatible plan may carry a library that TensorRT loads and runs.",
        f"If you built it or trust its origin, say so {to_whom}with --allow-engine-code or, if it "
        "is signed, with --trust.",
    )
