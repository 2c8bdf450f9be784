"""``scripts/consumer/compile`` finds libraries, and says which it does not find."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.consumer import COMPILER, CONSUMER, NAMED, STAND_IN, run, write_plan

# A compiler that compiles a source once with the same flags, and links as it is told. It spares
# itself to optimize.
ONCE = """#!/usr/bin/env bash
set -euo pipefail
flags=() words=()
while [ "$1" != -o ]; do [ "$1" = -O2 ] || flags+=("$1"); shift; done
for word in "$@"; do
  if [[ $word == *.cpp ]]; then
    name=$(sha256sum <<< "${flags[*]//"$PLACE"/} $word")
    object=$(dirname "$0")/${name:0:16}.o
    [ -e "$object" ] || g++ "${flags[@]}" -c -o "$object" "$word"
    word=$object
  fi
  words+=("$word")
done
g++ "${flags[@]}" "${words[@]}"
"""

pytestmark = pytest.mark.skipif(COMPILER is None, reason="there is no C++ compiler")


@pytest.fixture(scope="module")
def compiler(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("compiler") / "g++"
    program.write_text(ONCE)
    program.chmod(0o755)
    return program


def variables(compiler: Path, place: Path) -> dict[str, str]:
    return {**os.environ, "CXX": str(compiler), "PLACE": str(place)}


@pytest.mark.parametrize("libraries", ["lib", "lib64"])
def test_the_script_finds_the_libraries(libraries: str, compiler: Path, tmp_path: Path) -> None:
    """A toolkit has ``lib64`` alone, and a wheel ``lib``, where TensorRT's has no headers."""
    assert COMPILER is not None
    tensorrt, cuda, consumer = (tmp_path / name for name in ("tensorrt", "cuda", "consumer"))
    for root, folder in ((tensorrt, "lib"), (cuda, libraries)):
        (root / folder).mkdir(parents=True)
        (root / "include").symlink_to(STAND_IN / "include")
    environment = {**variables(compiler, tmp_path), "TENSORRT": str(tensorrt), "CUDA": str(cuda)}
    command = [CONSUMER / "compile", consumer]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1
    assert f"there is none of: {cuda}/lib64/libcudart.so*" in done.stderr
    assert not (consumer / "check_plan").exists()
    shared = [COMPILER, "-shared", "-fPIC", "-o"]
    subprocess.run(
        [*shared, cuda / libraries / "libcudart.so.12", "-xc++", "/dev/null"], check=True
    )
    library = tensorrt / "lib" / "libnvinfer.so.8"
    if libraries == "lib":
        library = tmp_path / library.name
        environment["TENSORRT_LIBRARY"] = str(library)
    sources: list[str | Path] = [STAND_IN / "stand_in.cpp", "-I", STAND_IN / "include"]
    subprocess.run([*shared, library, *sources], check=True)
    subprocess.run(command, check=True, env=environment)
    plan = write_plan(tmp_path, **NAMED)
    assert "no file for input 'a'" in run(consumer / "run_plan", plan, 1, tmp_path).stderr


def test_the_script_compiles_what_needs_no_tensorrt(compiler: Path, tmp_path: Path) -> None:
    environment = variables(compiler, tmp_path)
    environment.pop("TENSORRT", None)
    subprocess.run([CONSUMER / "compile", tmp_path], check=True, env=environment)
    assert run(tmp_path / "check_plan", write_plan(tmp_path)).returncode == 0
