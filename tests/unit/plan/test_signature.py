"""Signed plans, with keys as openssl writes them; no TensorRT sees these plans."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as rsa_key

from tests.support.commands import in_process
from tests.support.plans import make_manifest, make_plan
from trtqat.building.plan_files import write_plan
from trtqat.errors import PlanError, UsageError
from trtqat.plan.manifest import check_plan, manifest_path
from trtqat.plan.signature import (
    make_signature,
    read_private_key,
    read_public_key,
    signature_path,
)
from trtqat.runtime.engine import Engine


def private_pem(key: Ed25519PrivateKey, password: bytes = b"") -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption(),
    )


def public_pem(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """The private key; the public one lies beside it."""
    made = Ed25519PrivateKey.generate()
    (tmp_path / "key.pem").write_bytes(private_pem(made))
    (tmp_path / "public.pem").write_bytes(public_pem(made))
    return tmp_path / "key.pem"


@pytest.fixture
def plan(tmp_path: Path, key: Path) -> Path:
    path = tmp_path / "m.engine"
    content = make_plan(kind=2)
    manifest = make_manifest(content)
    signature = make_signature(manifest.to_json().encode(), read_private_key(key))
    write_plan(path, content, manifest, signature)
    return path


def check(plan: Path, key: Path) -> None:
    trusted = read_public_key(key.with_name("public.pem"))
    manifest = check_plan(plan.read_bytes(), plan, trust=trusted)
    assert manifest is not None
    assert manifest.gpu == "A GPU"


def test_signed_plan(plan: Path, key: Path) -> None:
    check(plan, key)


def test_another_key(plan: Path, key: Path) -> None:
    key.with_name("public.pem").write_bytes(public_pem(Ed25519PrivateKey.generate()))
    with pytest.raises(PlanError, match="not the trusted key's"):
        check(plan, key)


def test_a_plan_and_manifest_that_were_changed_together(plan: Path, key: Path) -> None:
    """What a hash beside the file cannot find: somebody who changes both."""
    other = make_plan(kind=2, body=b"another library")
    plan.write_bytes(other)
    manifest_path(plan).write_text(make_manifest(other).to_json())
    assert check_plan(other, plan) is not None
    with pytest.raises(PlanError, match="not the trusted key's"):
        check(plan, key)


def test_a_changed_manifest(plan: Path, key: Path) -> None:
    beside = manifest_path(plan)
    fields = json.loads(beside.read_text())
    beside.write_text(json.dumps({**fields, "gpu": "Another GPU"}))
    with pytest.raises(PlanError, match="not the trusted key's"):
        check(plan, key)


def test_a_changed_plan(plan: Path, key: Path) -> None:
    content = bytearray(plan.read_bytes())
    content[40] ^= 1
    plan.write_bytes(content)
    with pytest.raises(PlanError, match="SHA-256"):
        check(plan, key)


@pytest.mark.parametrize("signature", [b"", b"text", b"AAAA", b"\xff" * 64])
def test_no_signature(plan: Path, key: Path, signature: bytes) -> None:
    signature_path(plan).write_bytes(signature)
    with pytest.raises(PlanError, match="not the trusted key's"):
        check(plan, key)
    signature_path(plan).unlink()
    with pytest.raises(PlanError, match="is not signed"):
        check(plan, key)
    manifest_path(plan).unlink()
    with pytest.raises(PlanError, match="no manifest"):
        check(plan, key)


def test_keys_that_are_none(tmp_path: Path, key: Path) -> None:
    encrypted = tmp_path / "encrypted.pem"
    encrypted.write_bytes(private_pem(Ed25519PrivateKey.generate(), b"password"))
    other = tmp_path / "other.pem"
    other.write_bytes(
        generate_private_key(SECP256R1()).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    for path in (encrypted, other, tmp_path / "none.pem", tmp_path / "public.pem"):
        with pytest.raises(UsageError, match=path.name):
            read_private_key(path)
    for path in (key, other, tmp_path / "none.pem"):
        with pytest.raises(UsageError, match=path.name):
            read_public_key(path)


def pem(der: bytes, kind: str = "PUBLIC") -> bytes:
    body = base64.encodebytes(der)
    return b"-----BEGIN %s KEY-----\n%s-----END %s KEY-----\n" % (
        kind.encode(),
        body,
        kind.encode(),
    )


def sequence(content: bytes) -> bytes:
    return b"\x30" + bytes([len(content)]) + content


# An identifier that nothing has, and a curve that the library does not know.
UNKNOWN_ALGORITHM = bytes.fromhex("302a300506032b6577032100") + bytes(32)
UNKNOWN_CURVE = sequence(
    sequence(bytes.fromhex("06072a8648ce3d020106092b2403030208010101"))
    + b"\x03\x2a\x00\x04"
    + bytes(40)
)


@pytest.mark.parametrize("reader", [read_public_key, read_private_key])
@pytest.mark.parametrize(
    "content",
    [
        pem(UNKNOWN_ALGORITHM),
        pem(UNKNOWN_ALGORITHM, "PRIVATE"),
        pem(UNKNOWN_CURVE),
        pem(b""),
        pem(b"\x30\x80"),
        UNKNOWN_ALGORITHM,
        b"",
        b"\xff\xfe" * 40,
        b"-----BEGIN PUBLIC KEY-----\n",
        bytes(2**20 + 1),
    ],
    ids=range(10),
)
def test_bytes_that_are_no_key(
    tmp_path: Path, reader: Callable[[Path], object], content: bytes
) -> None:
    path = tmp_path / "bytes.pem"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"bytes\.pem") as caught:
        reader(path)
    assert "openssl" in caught.value.remedy
    assert "\n" not in caught.value.problem


def test_keys_of_another_kind(tmp_path: Path) -> None:
    rsa = rsa_key(65537, 2048)
    (tmp_path / "rsa.pem").write_bytes(
        rsa.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    with pytest.raises(UsageError, match="another kind of key than Ed25519"):
        read_public_key(tmp_path / "rsa.pem")
    der = Ed25519PrivateKey.generate().public_key()
    (tmp_path / "der.pem").write_bytes(
        der.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    with pytest.raises(UsageError, match="is no public key"):
        read_public_key(tmp_path / "der.pem")
    os.mkfifo(tmp_path / "pipe.pem")
    with pytest.raises(UsageError, match="It is a pipe, not a file"):
        read_public_key(tmp_path / "pipe.pem")


def test_a_signature_is_checked_before_code_of_a_plan_runs(plan: Path, key: Path) -> None:
    signature_path(plan).unlink()
    with pytest.raises(PlanError, match="is not signed"):
        Engine(plan, trust=key.with_name("public.pem"))
    with pytest.raises(PlanError, match="is not signed"):
        Engine(plan, allow_engine_code=True, trust=key.with_name("public.pem"))


@pytest.mark.parametrize(
    "arguments", [("doctor",), ("inspect", "m.onnx"), ("eval", "m.onnx", "--data", "random")]
)
def test_a_signature_is_not_asked_of_what_has_none(arguments: tuple[str, ...], key: Path) -> None:
    done = in_process(key.parent, *arguments, "--trust", key.with_name("public.pem"))
    assert done.returncode == 2
    assert "--trust" in done.stderr
    assert "Traceback" not in done.stderr


def test_doctor(plan: Path, key: Path) -> None:
    def doctor() -> dict[str, str]:
        public = key.with_name("public.pem")
        done = in_process(plan.parent, "doctor", plan, "--json", "-", "--trust", public)
        return {check["name"]: check["status"] for check in json.loads(done.stdout)["checks"]}

    found = doctor()
    assert found["signature"] == "passed"
    assert found["trust"] == "passed"
    signature_path(plan).write_bytes(b"AAAA")
    assert doctor() == {"plan": "passed", "manifest": "failed"}
