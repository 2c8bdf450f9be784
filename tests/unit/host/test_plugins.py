"""Libraries of plugins: what is read, compared, loaded; and that nothing is loaded unasked."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import trtqat
from tests.support.commands import in_process
from tests.support.plans import make_manifest, make_plan
from tests.support.plugin_libraries import Registry, make_library, needs_compiler, was_loaded
from trtqat.errors import MissingError, PlanError, UsageError
from trtqat.host.check import Check
from trtqat.host.plugins import load_plugins, read_plugins
from trtqat.host.preflight import Preflight, preflight
from trtqat.host.tensorrt_library import advice_on_loading
from trtqat.host.tensorrt_log import Messages
from trtqat.plan.manifest import Manifest, manifest_path, read_manifest
from trtqat.plan.plugins import PluginLibrary, RecordedPlugins

LIBRARY = b"\x7fELF and so on"
NEEDED = PluginLibrary("libnms.so", hashlib.sha256(LIBRARY).hexdigest())


def write_plan(folder: Path, recorded: RecordedPlugins | None, *, manifest: bool = True) -> Path:
    plan = folder / "m.engine"
    content = make_plan()
    plan.write_bytes(content)
    if manifest:
        described = dataclasses.replace(make_manifest(content), plugins=recorded)
        manifest_path(plan).write_text(described.to_json())
    return plan


def of_plugins(found: Preflight) -> list[Check]:
    return [check for check in found.checks if check.name == "plugins"]


@pytest.fixture
def library(tmp_path: Path) -> Path:
    path = tmp_path / "build" / "libnms.so"
    path.parent.mkdir()
    path.write_bytes(LIBRARY)
    return path


def test_a_plan_says_which_library_it_needs(tmp_path: Path, library: Path) -> None:
    plan = write_plan(tmp_path, RecordedPlugins((NEEDED,), ("EfficientNMS_TRT",)))
    (check,) = of_plugins(preflight(plan))
    assert check.status == "missing"
    assert f"'libnms.so' (SHA-256 {NEEDED.sha256[:12]}…) for EfficientNMS_TRT" in check.finding
    assert "--plugins libnms.so" in check.remedy
    (check,) = of_plugins(preflight(plan, plugins=[library]))
    assert check.status == "passed"


@pytest.mark.parametrize(
    ("plugins", "message"),
    [
        ("lib.so", r"libraries is 'lib.so', a str. Give a value as \['libplugins.so'\]"),
        (Path("lib.so"), "The plugin libraries is "),
        (3, "The plugin libraries is 3, a int"),
        ([3], "A plugin library is 3, a int"),
    ],
)
def test_what_is_no_list_of_libraries(tmp_path: Path, plugins: Any, message: str) -> None:
    plan = write_plan(tmp_path, None)
    for call in (preflight, trtqat.open, trtqat.inspect):
        with pytest.raises(UsageError, match=message):
            call(plan, plugins=plugins)


def test_another_library_is_refused(tmp_path: Path, library: Path) -> None:
    plan = write_plan(tmp_path, RecordedPlugins((NEEDED,)))
    library.write_bytes(LIBRARY + b"!")
    found = preflight(plan, plugins=[library])
    (check,) = of_plugins(found)
    assert check.status == "failed"
    assert found.exit_code == 1
    with pytest.raises(PlanError, match="is not the plugin library that it was built with"):
        dataclasses.replace(found, checks=(check,)).require(plan)


def test_a_library_that_is_not_asked_for(tmp_path: Path, library: Path) -> None:
    plan = write_plan(tmp_path, None)
    assert of_plugins(preflight(plan)) == []
    found = preflight(plan, plugins=[library])
    # It is loaded all the same.
    assert found.needs_plugins
    (check,) = of_plugins(found)
    assert (check.status, "names no such library" in check.finding) == ("warning", True)
    manifest_path(plan).unlink()
    (check,) = of_plugins(preflight(plan, plugins=[library]))
    assert (check.status, "without a manifest" in check.finding) == ("unknown", True)


def test_plugins_of_tensorrt_itself_need_no_library(tmp_path: Path) -> None:
    found = preflight(write_plan(tmp_path, RecordedPlugins((), ("EfficientNMS_TRT",))))
    assert of_plugins(found) == []
    assert found.needs_plugins
    assert not preflight(write_plan(tmp_path, None)).needs_plugins


def test_what_cannot_be_read(tmp_path: Path, library: Path) -> None:
    with pytest.raises(UsageError, match=r"'none\.so' cannot be read: No such file"):
        read_plugins(["none.so"])
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        read_plugins([tmp_path])
    other = tmp_path / "libnms.so"
    other.write_bytes(b"another")
    with pytest.raises(UsageError, match=r"Two plugin libraries have the name 'libnms\.so'"):
        read_plugins([library, other])
    other.write_bytes(LIBRARY)
    assert len(read_plugins([library, other])) == 1


def test_the_manifest_keeps_them(tmp_path: Path) -> None:
    recorded = RecordedPlugins((NEEDED,), ("Twice",))
    found = read_manifest(write_plan(tmp_path, recorded))
    assert found is not None
    assert found.plugins == recorded
    bare = read_manifest(write_plan(tmp_path, None))
    assert bare is not None
    assert bare.plugins is None
    assert "plugins" not in json.loads(bare.to_json())


@pytest.mark.parametrize(
    ("library", "words"),
    [
        (PluginLibrary("", NEEDED.sha256), "name' is not the name of a file"),
        (PluginLibrary("../libnms.so", NEEDED.sha256), "name' is not the name of a file"),
        (PluginLibrary("libnms.so", "none"), "sha256' is not a SHA-256"),
    ],
)
def test_a_manifest_that_names_what_no_file_is(
    library: PluginLibrary, words: str, tmp_path: Path
) -> None:
    plan = write_plan(tmp_path, RecordedPlugins((library,)))
    with pytest.raises(PlanError, match=words):
        read_manifest(plan)


def test_doctor_tells(tmp_path: Path, library: Path) -> None:
    plan = write_plan(tmp_path, RecordedPlugins((NEEDED,)))
    done = in_process(tmp_path, "doctor", plan)
    assert "missing  plugins      It needs the plugin library 'libnms.so'" in done.stdout
    done = in_process(tmp_path, "doctor", plan, "--plugins", library)
    assert "passed   plugins" in done.stdout
    done = in_process(tmp_path, "doctor", "--plugins", library)
    assert done.returncode == 2
    assert "--plugins are of an engine" in done.stderr


def test_a_refused_plan_loads_no_library(tmp_path: Path, library: Path) -> None:
    """What is no shared library at all would fail to load: it is not tried."""
    plan = write_plan(tmp_path, RecordedPlugins((NEEDED,)))
    done = in_process(tmp_path, "eval", plan, "--data", "random:4", "--plugins", library)
    assert done.returncode in (1, 2, 4)
    assert "cannot be loaded" not in done.stderr
    done = in_process(tmp_path, "eval", plan, "--data", "random:4")
    assert done.returncode in (1, 2, 4)


TRT = ModuleType("tensorrt")
TRT.__version__ = "8.6.0"  # type: ignore[attr-defined]


@needs_compiler
def test_a_library_is_loaded_once_and_by_the_systems_loader(tmp_path: Path) -> None:
    path = make_library(tmp_path / "libstatic.so")
    files, registry = read_plugins([path]), Registry()
    assert not was_loaded(path)
    load_plugins(TRT, registry, None, files)
    assert was_loaded(path)
    assert registry.given == []
    path.with_suffix(".loaded").unlink()
    load_plugins(TRT, registry, None, files)
    assert not was_loaded(path)


@needs_compiler
def test_one_with_creators_goes_to_the_registry(tmp_path: Path) -> None:
    path = make_library(tmp_path / "libdynamic.so", dynamic=True)
    registry = Registry()
    load_plugins(TRT, registry, None, read_plugins([path]))
    load_plugins(TRT, registry, None, read_plugins([path]))
    assert registry.given == [str(path)]
    other = make_library(tmp_path / "libother.so", dynamic=True)
    with pytest.raises(UsageError, match=r"8\.6\.0 refuses the plugin library '.*libother.so'"):
        load_plugins(TRT, Registry(refuses=True), None, read_plugins([other]))


def test_what_is_no_library(library: Path) -> None:
    with pytest.raises(UsageError, match=r"The plugin library '.*libnms\.so' cannot be loaded"):
        load_plugins(TRT, Registry(), None, read_plugins([library]))


def test_tensorrts_own_are_registered(tmp_path: Path) -> None:
    registered: list[tuple[object, str]] = []
    trt = ModuleType("tensorrt")
    trt.init_libnvinfer_plugins = lambda *given: registered.append(given)  # type: ignore[attr-defined]
    load_plugins(trt, Registry(), "logger", ())
    assert registered == [("logger", "")]


def test_a_plan_without_a_manifest_that_needs_a_plugin() -> None:
    said = "IPluginRegistry::getCreator: Error Code 4: API Usage Error (Cannot find plugin: Twice)"
    assert "--plugins lib.so" in advice_on_loading(Messages(errors=[said]))


def test_a_missing_library_is_missing_here(tmp_path: Path) -> None:
    plan = write_plan(tmp_path, RecordedPlugins((NEEDED,)))
    (check,) = of_plugins(preflight(plan))
    with pytest.raises(MissingError, match="It needs the plugin library"):
        Preflight((check,)).require(plan)


def test_the_default_of_older_manifests() -> None:
    assert Manifest.__dataclass_fields__["plugins"].default is None
