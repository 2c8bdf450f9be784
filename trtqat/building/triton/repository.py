"""An engine in a model repository of NVIDIA's Triton Inference Server.

    REPOSITORY/NAME/config.pbtxt      what the model is and how to serve it
                   /labels.txt        names of the classes, if given
                   /1/model.plan      the plan; the next build writes 2, and so on
                   /1/model.plan.json its manifest, for ``trtqat doctor``
                   /2/config.pbtxt    what version 2 would be served by, where it is another one

A version appears by one rename, as a whole and after the files that it needs, so a server that
polls the repository never loads half of one. The ``config.pbtxt`` beside the versions belongs to
its user from the first version on: it is neither changed nor judged. Triton reads none but that.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trtqat.building.triton.config import (
    LABELS_FILE,
    PLAN_FILE,
    TritonOptions,
    batch_range,
    config_text,
)
from trtqat.errors import UsageError
from trtqat.files import check_writable, locked, read_input, why_unreadable, write_atomically
from trtqat.plan.manifest import Manifest, ProfileShapes, manifest_path
from trtqat.plan.signature import signature_path
from trtqat.tensors import TensorSpec

CONFIG_FILE = "config.pbtxt"


@dataclass(frozen=True)
class TritonTarget:
    """Where a build goes besides its own file.

    Attributes:
        repository: The model repository; it is made if it is missing.
        options: How Triton is to serve the engine.
    """

    repository: Path
    options: TritonOptions


@dataclass(frozen=True)
class TritonModel:
    """What was written.

    Attributes:
        path: Directory of the model.
        version: Number of its new version.
        config_text: Content of its ``config.pbtxt``.
        is_new: Whether that was written now, and not kept as it was.
        proposed: Where what this build would be served by was written, because another
            ``config.pbtxt`` was kept; None if there was none, or the same one.
    """

    path: Path
    version: int
    config_text: str
    is_new: bool
    proposed: Path | None = None

    def __str__(self) -> str:
        if self.proposed is not None:
            return (
                f"{self.plan}; the model's config.pbtxt was kept: compare it with "
                f"'{self.proposed}', which was written for this version."
            )
        return f"{self.plan}{'' if self.is_new else '; its config.pbtxt was kept'}"

    @property
    def plan(self) -> Path:
        """The plan in the repository."""
        return self.path / str(self.version) / PLAN_FILE


def check_repository(
    repository: Path,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    profiles: Mapping[str, ProfileShapes],
    options: TritonOptions,
    more_profiles: Sequence[Mapping[str, ProfileShapes]] = (),
) -> None:
    """Finds out before a build whether its engine can go into the repository; writes nothing.

    Args:
        repository: The repository; it may still be missing, unlike the directory that it is in.
        inputs: Inputs of the engine, dynamic dimensions as -1.
        outputs: Outputs of the engine, dynamic dimensions as -1.
        profiles: Shapes by input name, of the first profile.
        options: How to serve it.
        more_profiles: The others.

    Raises:
        UsageError: Triton cannot serve such an engine, the labels do not fit or are not those of
            the model that is there, or the repository cannot be written.
    """
    files = _model_files(inputs, outputs, profiles, options, more_profiles)
    model = repository / options.name
    places = [place for place in (model, repository) if place.is_dir()] or [repository.parent]
    check_writable(places[0] / CONFIG_FILE)
    _existing(model, files)


def write_repository(
    repository: Path,
    plan: bytes,
    manifest: Manifest,
    options: TritonOptions,
    *,
    signature: bytes | None = None,
) -> TritonModel:
    """Writes an engine as the next version of a model.

    Args:
        repository: The repository; it is made if it is missing.
        plan: The engine.
        manifest: What it is.
        options: How to serve it; of these, an existing model keeps what its own
            ``config.pbtxt`` says.
        signature: Of the manifest, for ``trtqat doctor --trust``.

    Raises:
        UsageError: As ``check_repository``, or the disk is full. Nothing is left then but what
            was there before.
    """
    shapes = manifest.inputs, manifest.outputs, manifest.profiles
    check_repository(repository, *shapes, options, manifest.more_profiles)
    model = repository / options.name
    files = _model_files(*shapes, options, manifest.more_profiles)
    with _directories(repository, model), _incoming(model) as incoming:
        write_atomically(incoming / PLAN_FILE, plan)
        write_atomically(manifest_path(incoming / PLAN_FILE), manifest.to_json().encode())
        if signature is not None:
            write_atomically(signature_path(incoming / PLAN_FILE), signature)
        with locked(model), contextlib.ExitStack() as undo:
            existing = _existing(model, files)
            for name in [name for name in files if name not in existing]:
                write_atomically(model / name, files[name])
                undo.callback((model / name).unlink)
            config = {**files, **existing}[CONFIG_FILE]
            is_kept = config != files[CONFIG_FILE]
            if is_kept:
                write_atomically(incoming / CONFIG_FILE, files[CONFIG_FILE])
            version = _publish(incoming, model)
            undo.pop_all()
        return TritonModel(
            model,
            version,
            config.decode(errors="replace"),
            is_new=CONFIG_FILE not in existing,
            proposed=model / str(version) / CONFIG_FILE if is_kept else None,
        )


def _model_files(
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    profiles: Mapping[str, ProfileShapes],
    options: TritonOptions,
    more_profiles: Sequence[Mapping[str, ProfileShapes]],
) -> dict[str, bytes]:
    """The files beside the versions; the labels first, because the other one names them."""
    config = config_text(inputs, outputs, profiles, options, more_profiles).encode()
    if options.labels is None:
        return {CONFIG_FILE: config}
    is_batched = batch_range(inputs, outputs, profiles, more_profiles) is not None
    labels = _labels(options.labels, outputs[0], is_batched=is_batched)
    return {LABELS_FILE: labels, CONFIG_FILE: config}


def _labels(path: Path, output: TensorSpec, *, is_batched: bool) -> bytes:
    try:
        # Triton ends a line at a line feed and nowhere else.
        content = read_input(path).replace(b"\r\n", b"\n")
    except OSError as error:
        raise UsageError(
            f"The labels '{path}' cannot be read: {why_unreadable(error)}.",
            "Give a text file with one class on each line.",
        ) from error
    dims = output.shape[1:] if is_batched else output.shape
    if not dims or dims[-1] < 1:
        raise UsageError(
            f"The output '{output.name}' has no fixed number of classes to label: {output}.",
            "Leave out the labels.",
        )
    count = len(content.removesuffix(b"\n").split(b"\n")) if content else 0
    if count != dims[-1]:
        raise UsageError(
            f"'{path}' has {count} labels, but the output '{output.name}' has {dims[-1]} classes.",
            "Give a text file with one class on each line.",
        )
    return content


def _existing(model: Path, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Content of those files that the model has already; its labels must be the same."""
    remedy = (
        "Give another --triton-name or another directory; or mend the file, or move the model away."
    )
    existing = {}
    for name in files:
        path = model / name
        try:
            existing[name] = read_input(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise UsageError(
                f"'{path}' cannot be read: {why_unreadable(error)}.", remedy
            ) from error
    if LABELS_FILE in existing and existing[LABELS_FILE] != files[LABELS_FILE]:
        raise UsageError(f"'{model / LABELS_FILE}' has other labels than this build.", remedy)
    return existing


@contextlib.contextmanager
def _directories(*paths: Path) -> Iterator[None]:
    """Makes directories, outermost first; takes back the new ones that stay empty."""
    made = []
    try:
        for path in paths:
            with contextlib.suppress(FileExistsError):
                path.mkdir()
                made.append(path)
        yield
    except OSError as error:
        raise UsageError(
            f"'{paths[-1]}' cannot be written: {error.strerror or error}.",
            "Free some space, or choose another place.",
        ) from error
    finally:
        for path in reversed(made):
            with contextlib.suppress(OSError):
                path.rmdir()


@contextlib.contextmanager
def _incoming(model: Path) -> Iterator[Path]:
    """A directory for a version to be; Triton passes over what does not begin with a digit."""
    path = model / f".{os.getpid()}-{secrets.token_hex(4)}"
    try:
        path.mkdir()
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _publish(incoming: Path, model: Path) -> int:
    """Renames it to the number after the newest version."""
    # Triton reads names as far as they are digits.
    numbers = [int(m[0]) for path in model.iterdir() if (m := re.match("[0-9]+", path.name))]
    version = max(numbers, default=0) + 1
    while True:
        target = model / str(version)
        try:
            # The claim, too: it fails where someone else's version is there by now.
            incoming.rename(target)
        except OSError:
            if not target.exists():
                raise
            version += 1
        else:
            return version
