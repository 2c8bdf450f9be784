"""``trtqat doctor``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from trtqat.cli.console import command
from trtqat.cli.named_files import check_outputs
from trtqat.cli.option_groups import grouped
from trtqat.cli.output import print_json, say
from trtqat.cli.shared_options import OutputGroup, PluginsOption, RuntimeOption, TrustOption
from trtqat.errors import UsageError


@grouped
def doctor(
    plan: Annotated[
        Path | None, typer.Argument(metavar="[MODEL.engine]", help="A plan to run on this host.")
    ] = None,
    trust: TrustOption = None,
    runtime: RuntimeOption = None,
    plugins: PluginsOption = None,
    *,
    printed: OutputGroup,
) -> None:
    """Show what this host has, or whether it can run an engine, and what to do if not.

    Without an engine it ends with a recipe: what to type on a host like this one, and how each
    command is known.

    Needs neither a GPU nor TensorRT. With an engine the exit code is 0 if it runs here as far as
    can be told without loading it, 4 if this host lacks something, 1 if it does not run here.

    Example: trtqat doctor model.engine
    """
    with command(quiet=printed.quiet, verbose=printed.verbose):
        check_outputs({"--json": printed.json}, [plan, trust, *(plugins or ())], plan=plan)

        from trtqat.host.description import describe_host
        from trtqat.host.host_checks import check_host
        from trtqat.host.preflight import preflight
        from trtqat.host.recipes.book import recipe_for

        host = describe_host()
        if plan is not None:
            found = preflight(
                plan,
                host,
                trust=trust,
                flavour=runtime.value if runtime else None,
                is_here=True,
                plugins=plugins or (),
            )
            checks, code = found.checks, found.exit_code
        elif trust is not None or runtime is not None or plugins:
            raise UsageError(
                "--trust, --runtime and --plugins are of an engine, and none is named.",
                "Name the engine.",
            )
        else:
            checks, code = check_host(host), 0
        recipe = recipe_for(host.kind)
        problems = [str(each) for each in host.tensorrt_problems]
        result = {
            "host": {**asdict(host), "tensorrt_problems": problems},
            "checks": [check.to_dict() for check in checks],
            "exit_code": code,
            "kind": host.kind,
            "recipe": asdict(recipe),
        }
        if not print_json(result, printed.json):
            for check in checks:
                if printed.quiet and check.status == "passed":
                    continue
                say(str(check))
            if plan is None and not printed.quiet:
                say(f"\nRecipe for this host: {recipe}")
        if code:
            raise typer.Exit(code)
