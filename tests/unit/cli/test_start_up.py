"""What ``trtqat --help`` imports: a command line that starts at once has little to import."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import trtqat

IMPORTED = """
import sys
before = set(sys.modules)
sys.argv = ["trtqat", *{arguments!r}]
from trtqat.cli.main import main
try:
    main()
except SystemExit:
    pass
print(sorted(set(sys.modules) - before), file=sys.stderr)
"""


def imported(*arguments: str) -> set[str]:
    code = IMPORTED.format(arguments=arguments)
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "Usage:" in done.stdout
    return set(ast.literal_eval(done.stderr.splitlines()[-1]))


def test_help_imports_typer_and_little_else() -> None:
    code = "import sys; before = set(sys.modules); import typer.main, typer.testing; " + (
        "print(sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    typers = {name.partition(".")[0] for name in ast.literal_eval(done.stdout)}
    tops = {name.partition(".")[0] for name in imported("--help")}
    foreign = tops - typers - set(sys.stdlib_module_names) - {"trtqat"}
    # Python's own finders for what is installed as editable.
    assert {name for name in foreign if not name.startswith("_")} == set()


def test_help_imports_no_work() -> None:
    """Words and options are there; what measures, builds or reads files comes with a command."""
    own = {name for name in imported("--help") if name.startswith("trtqat.")}
    rooms = {name.split(".")[1] for name in own}
    packages = {path.parent.name for path in Path(trtqat.__file__).parent.glob("*/__init__.py")}
    assert rooms & packages == {"cli", "report", "inspection"}
    assert all("words" in name for name in own if name.startswith("trtqat.inspection."))


def test_help_of_one_command_imports_no_more() -> None:
    assert {name for name in imported("inspect", "--help") if name.startswith("trtqat.")} == {
        name for name in imported("--help") if name.startswith("trtqat.")
    }
