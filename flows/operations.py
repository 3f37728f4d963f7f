"""The commands of whoever runs the pipeline for others: `deploy`, `nights`."""

from pathlib import Path
from typing import Annotated

import typer

from cc_tuning.errors import ConfigError
from flows.terminal import say

# As in `flows.cli`, a command imports its work when it is called.

_NIGHTLY = Path("recipes/nightly.yaml")


def add_operations_commands(app: typer.Typer) -> None:
    """Give `app` the commands of this module."""
    app.command()(deploy)
    app.command()(nights)


def deploy(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Deployments of prefect.yaml.", show_default=False)
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    webhook: Annotated[
        str, typer.Option(envvar="CC_TUNING_WEBHOOK", help="Address that gets messages as JSON.", show_default=False)
    ] = "",
    notify: Annotated[
        list[str] | None,
        typer.Option(metavar="TYPE/NAME", help="A stored notification block of Prefect, as in slack-webhook/ops."),
    ] = None,
    gpu_limit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=STAGES", help="Stages that may compute on GPUs at once. [gpu=1]", show_default=False
        ),
    ] = None,
    crashed_after: Annotated[
        int, typer.Option(min=60, help="Seconds without a heartbeat until a run is marked as crashed.")
    ] = 150,
) -> None:
    """Deploy to Prefect's server: deployments, work pool, GPU limits, recovery of dead runs, notifications."""
    if bool(names) == everything:
        raise ConfigError("name the deployments, or give --all")
    from flows.prefect_settings import set_prefect

    set_prefect()
    from flows.deploying import deploy as deploy_all

    limits = dict(_limit(text) for text in gpu_limit or ["gpu=1"])
    say(deploy_all(names or (), webhook, notify or (), limits, crashed_after))


def nights(
    recipe: Annotated[Path, typer.Argument(help="The nightly's recipe.", show_default=False)] = Path(
        "recipes/nightly.yaml"
    ),
    accept: Annotated[
        str, typer.Option(metavar="DATE", help="Call this night good: what dropped is meant to.", show_default=False)
    ] = "",
) -> None:
    """List the nights of a recipe with their verdicts; with --accept, hold later ones against one that dropped."""
    from flows.nights import accept_night, show_nights

    if accept:
        accept_night(recipe, accept)
    show_nights(recipe)


def _limit(text: str) -> tuple[str, int]:
    name, _, stages = text.partition("=")
    if not name or not stages.isdecimal() or not int(stages):
        raise ConfigError(f"--gpu-limit {text!r} is not NAME=STAGES with at least one stage, as in gpu=1")
    return name, int(stages)
