"""What the documents say is so: links, files, commands, options, rules, and how long they are."""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
from typer.core import TyperGroup

import trtqat
from scripts.bench.gains import gpu_of, table_of
from trtqat.cli.app import app
from trtqat.graph.lint import RULES
from trtqat.graph.lint.targets import VERDICTS

ROOT = Path(trtqat.__file__).parents[1]
PACKAGE = ROOT / "trtqat"
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *PACKAGE.rglob("README.md"),
        *(ROOT / "scripts").rglob("README.md"),
        *(ROOT / "tests").rglob("README.md"),
    ]
)
# Options of other programs that the pages name.
FOREIGN = {
    "--all",
    "--backend-config",
    "--dry-run",
    "--flip",
    "--gpus",
    "--install",
    "--ipc",
    "--model-repository",
    "--no-deps",
    "--rm",
    "--system-site-packages",
    "--useCudaGraph",
    "--noDataTransfers",
}
# Files of a user's, and benchmarks by the names that they had when they measured.
NOT_OURS = {"file.py", "model.py"}
NOT_OURS |= {"scripts/bench_export.py", "scripts/bench_NAME.py", "bench_eval.py"}
MOST_BYTES = 9_000
# Where the figures of the first page's table stand.
MEASURED = ("eval-resnet50.json", "eval-vgg16.json", "eval-mobilenet.json", "eval-vit.json")


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def links_of(page: Path) -> list[str]:
    """Relative links, whose text may be code."""
    text = re.sub(r"```.*?```", "", read(page), flags=re.DOTALL)
    return re.findall(r"\]\((?!https?:)([^)\s]+)\)", text)


def anchors_of(page: Path) -> set[str]:
    """Anchors of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", read(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


def options_by_command() -> dict[str, set[str]]:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    return {
        name: {
            option
            for parameter in command.params
            for option in (*parameter.opts, *parameter.secondary_opts)
        }
        for name, command in group.commands.items()
    }


def command_lines_of(page: Path) -> list[list[str]]:
    """What its blocks for a shell tell to type, word by word."""
    blocks = re.findall(r"```sh\n(.*?)```", read(page), flags=re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.startswith("trtqat ")]


def files_named_in(text: str) -> set[str]:
    """Files of code, by name or by path, that are written as code and are no links."""
    return set(re.findall(r"(?<!\[)`([\w./-]+\.(?:py|jinja|css|toml|schema\.json))`", text))


@pytest.fixture(params=PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def page(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


def test_the_first_page_is_short() -> None:
    assert len((ROOT / "README.md").read_bytes()) <= MOST_BYTES


def test_the_first_page_has_the_table_of_one_run() -> None:
    files = [ROOT / "scripts" / "results" / name for name in MEASURED]
    reports = [json.loads(read(file)) for file in files]
    assert len({(gpu_of(each), each["commit"], each["date"]) for each in reports}) == 1
    assert f"\n{table_of(reports)}\n" in read(ROOT / "README.md")


def test_every_room_has_a_door_that_the_map_shows() -> None:
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    shown = re.findall(r"\]\(trtqat/(\w+)/README\.md\)", read(ROOT / "README.md"))
    assert rooms == {path.parent.name for path in PACKAGE.glob("*/README.md")}
    assert rooms <= set(shown)


def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for link in links_of(page):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert target.resolve().is_relative_to(ROOT.resolve()), link
        if anchor:
            assert anchor in anchors_of(target), link


def test_the_first_page_has_links() -> None:
    assert len(links_of(ROOT / "README.md")) > 10


def test_every_option_that_is_named_exists(page: Path) -> None:
    known = {"--help"}.union(*options_by_command().values())
    scripts = {
        option
        for script in (ROOT / "scripts").rglob("*.py")
        for option in re.findall(r"\"(--[a-z][a-z-]*)\"", script.read_text(encoding="utf-8"))
    }
    named = set(re.findall(r"(?<![\w-])--[A-Za-z][\w-]*", read(page)))
    assert named <= known | scripts | FOREIGN, named - known - scripts - FOREIGN


def test_every_command_line_has_options_of_its_command(page: Path) -> None:
    known = options_by_command()
    for _, command, *words in command_lines_of(page):
        given = {word for word in words if word.startswith("-")}
        assert given <= known[command], (command, given - known[command])


def test_the_first_page_has_command_lines() -> None:
    commands = [words[1] for words in command_lines_of(ROOT / "README.md")]
    assert commands == ["quantize", "export", "build", "eval", "eval"]


def test_every_file_that_is_named_exists(page: Path) -> None:
    named = files_named_in(read(page)) - NOT_OURS
    missing = {
        name
        for name in named
        if not any((root / name).exists() for root in (page.parent, ROOT, PACKAGE))
    }
    assert not missing


@pytest.mark.parametrize(
    "door", sorted(PACKAGE.rglob("__init__.py")), ids=lambda door: str(door.relative_to(PACKAGE))
)
def test_every_file_that_a_door_names_exists(door: Path) -> None:
    said = ast.get_docstring(ast.parse(read(door))) or ""
    named = set(re.findall(r"(?<![\w.])[\w./]+\.(?:py|jinja|css)\b", said)) - NOT_OURS
    missing = {
        name for name in named if not any((root / name).exists() for root in (door.parent, PACKAGE))
    }
    assert not missing


def docstrings() -> Iterator[tuple[str, str]]:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(read(path))):
            said = ast.get_docstring(node) if isinstance(node, kinds) else None
            if said:
                yield f"{path.relative_to(PACKAGE)}: {getattr(node, 'name', '')}", said


def test_no_docstring_leaves_it_to_another_one() -> None:
    found = list(docstrings())
    assert len(found) > 1000
    left = re.compile(r"\blikewise\b|\bsee ``|^see\b", re.IGNORECASE)
    assert not [place for place, said in found if left.search(said)]


def test_every_lint_rule_is_listed() -> None:
    rows = re.findall(
        r"^\| `([a-z0-9-]+)` \| (refusal|accuracy|speed)( \(note\))? \|",
        read(PACKAGE / "graph" / "lint" / "README.md"),
        flags=re.MULTILINE,
    )
    assert sorted(rows) == sorted(
        (rule.identifier, rule.cost, " (note)" if rule.severity == "note" else "") for rule in RULES
    )


def test_what_each_tensorrt_does_is_what_lint_says() -> None:
    rows = re.findall(
        r"^\| `([a-z0-9-]+)` \| ((?:[^|]*(?:unknown|\(\*(?:run|read)\*\)) \| ?){3}[^|]*) \|$",
        read(PACKAGE / "graph" / "lint" / "README.md"),
        flags=re.MULTILINE,
    )
    assert {rule: tuple(cells.split(" | ")) for rule, cells in rows} == {
        rule: tuple(str(verdicts[target]) for target in ("8.6", "rtx", "10", "11"))
        for rule, verdicts in VERDICTS.items()
    }
    assert set(VERDICTS) == {rule.identifier for rule in RULES}
    assert len(rows) == len(VERDICTS)
