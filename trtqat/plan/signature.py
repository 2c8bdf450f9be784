"""Who made a plan: an Ed25519 signature of its manifest, in ``model.engine.sig``.

The manifest holds the plan's SHA-256, so its signature covers both. Keys are PEM files, as
``openssl genpkey -algorithm ed25519`` writes them. Ed25519: RFC 8032.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, TypeGuard

from trtqat.errors import PlanError, UsageError, first_line
from trtqat.extras import require
from trtqat.files import read_input, why_unreadable

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )


def signature_path(plan: Path) -> Path:
    """``model.engine`` → ``model.engine.sig``."""
    return plan.with_name(plan.name + ".sig")


def read_private_key(path: Path) -> Ed25519PrivateKey:
    """Reads the key to sign with.

    Raises:
        UsageError: The file is missing, is encrypted, or holds no private Ed25519 key.
        MissingError: The package cryptography is not installed.
    """
    load = _cryptography("Signing a plan").load_pem_private_key
    key = _read_key(path, lambda pem: load(pem, password=None), "private", _MAKE)
    if not _is_private(key):
        raise UsageError(f"'{path}' holds another kind of key than Ed25519.", _MAKE)
    return key


def read_public_key(path: Path) -> Ed25519PublicKey:
    """Reads the key to trust.

    Raises:
        UsageError: The file is missing, or holds no public Ed25519 key.
        MissingError: The package cryptography is not installed.
    """
    load = _cryptography("Checking a signature").load_pem_public_key
    key = _read_key(path, load, "public", _EXTRACT)
    if not _is_public(key):
        raise UsageError(f"'{path}' holds another kind of key than Ed25519.", _EXTRACT)
    return key


def _read_key(path: Path, load: Callable[[bytes], object], kind: str, remedy: str) -> object:
    """Reads a file of a key; ``remedy`` is what makes a sound one."""
    try:
        return load(read_input(path, most_bytes=_MOST_BYTES))
    except OSError as error:
        raise UsageError(f"'{path}' cannot be read: {why_unreadable(error)}.", remedy) from error
    # cryptography has exceptions of its own for algorithms and curves that it does not know, and
    # TypeError for a key that wants a password.
    except Exception as error:
        raise UsageError(f"'{path}' is no {kind} key: {_reason(error)}.", remedy) from error


def _reason(error: Exception) -> str:
    """A foreign message as the end of a sentence: some are tuples, and pages long."""
    text = first_line(error)
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}…"


_MOST_BYTES = 2**20
_LONGEST_REASON = 120
_MAKE = "Make one with: openssl genpkey -algorithm ed25519 -out key.pem"
_EXTRACT = "Take it from the private key: openssl pkey -in key.pem -pubout -out public.pem"


def make_signature(manifest: bytes, key: Ed25519PrivateKey) -> bytes:
    """Content of the signature file of a manifest.

    Args:
        manifest: Content of the manifest file.
        key: To sign with, as ``read_private_key`` returns it.
    """
    return base64.b64encode(key.sign(manifest)) + b"\n"


def check_signature(plan: Path, manifest: bytes, key: Ed25519PublicKey) -> None:
    """Refuses a plan whose manifest was not signed with the key.

    Args:
        plan: The plan file, beside which the signature lies.
        manifest: Content of its manifest, as it was read.
        key: To trust, as ``read_public_key`` returns it.

    Raises:
        PlanError: There is no signature, or it is of another manifest or key.
    """
    from cryptography.exceptions import InvalidSignature

    path = signature_path(plan)
    try:
        signature = base64.b64decode(read_input(path, most_bytes=_MOST_BYTES), validate=False)
        key.verify(signature, manifest)
    except FileNotFoundError as error:
        raise PlanError(
            f"The plan '{plan}' is not signed: there is no '{path.name}' beside it.",
            "Copy it from the build host, or build with --sign.",
        ) from error
    except OSError as error:
        raise PlanError(
            f"The signature '{path}' cannot be read: {why_unreadable(error)}.",
            "Copy it again from the build host.",
        ) from error
    except (InvalidSignature, binascii.Error) as error:
        raise PlanError(
            f"The signature of the plan '{plan}' is not the trusted key's for this manifest.",
            "Do not run it; get plan, manifest and signature again from whoever built it.",
        ) from error


def _is_private(key: object) -> TypeGuard[Ed25519PrivateKey]:
    from cryptography.hazmat.primitives.asymmetric import ed25519

    return isinstance(key, ed25519.Ed25519PrivateKey)


def _is_public(key: object) -> TypeGuard[Ed25519PublicKey]:
    from cryptography.hazmat.primitives.asymmetric import ed25519

    return isinstance(key, ed25519.Ed25519PublicKey)


def _cryptography(purpose: str) -> ModuleType:
    return require("cryptography.hazmat.primitives.serialization", extra="sign", purpose=purpose)
