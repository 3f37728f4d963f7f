"""`cc-tuning`: the pipeline from a terminal. Stage commands need no Prefect server; `run` goes through Prefect."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cc_tuning.errors import ConfigError
from cc_tuning.runtime.stage_table import ITEMS, PIPELINE
from cc_tuning.runtime.step import Stage
from flows.model_commands import add_model_commands
from flows.operations import add_operations_commands
from flows.store import app as store_commands
from flows.terminal import (
    console,
    exit_code_of,
    in_own_session,
    leave_when_interrupted_twice,
    log_to_terminal,
    replace_unknown_characters,
    say,
)

if TYPE_CHECKING:
    from cc_tuning.pipeline.plan import Plan
    from cc_tuning.runtime.step import Step
    from data_contracts.store import ArtifactRef, ArtifactStore

# A command imports its work when it is called, here and nowhere else: help and completion answer at once, and `plan`
# and `status` load none of torch, transformers and Prefect.

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False,
    help="Teach a language model more languages: data, training, transform, evaluation and report as cached stages.",
)  # fmt: skip

RecipeArgument = Annotated[Path, typer.Argument(help="The recipe, a YAML file.", show_default=False)]
SetOption = Annotated[
    list[str], typer.Option("--set", metavar="KEY=VALUE", help="Override a key, as in training.epochs=1.")
]
RunOption = Annotated[str | None, typer.Option("--run", help="Only this run of the recipe, as in cc-tuning+en.")]
MirrorOption = Annotated[
    bool, typer.Option("--mirror", help="Ask `execution.mirror` for what the store lacks; a small request each.")
]
AgainOption = Annotated[bool, typer.Option("--again", help="Make the stage again even when the store has it.")]


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and debug lines.")] = False,
) -> None:
    """Options of every command."""
    log_to_terminal(debug)


def _plan(recipe: Path, overrides: list[str], *, sources_may_be_missing: bool = False) -> "tuple[Plan, ArtifactStore]":
    from cc_tuning.pipeline.loading import load_recipe
    from cc_tuning.pipeline.plan import plan_recipe
    from data_contracts.store import ArtifactStore

    plan = plan_recipe(load_recipe(recipe, overrides), sources_may_be_missing=sources_may_be_missing)
    return plan, ArtifactStore(plan.recipe.execution.store)


@app.command()
def run(recipe: RecipeArgument, overrides: SetOption = []) -> None:
    """Run the whole recipe through Prefect, and print the results."""

    def reproduce_and_show() -> None:
        planned, store = _plan(recipe, overrides)  # a mistake in the recipe shows before anything starts
        from flows.checking import check_before

        check_before(planned, store, planned.recipe.execution)
        from flows.prefect_settings import set_prefect

        set_prefect()
        from flows.prefect_server import check_prefect_server, named_when_no_server_starts, reach_loopback_directly

        reach_loopback_directly()
        check_prefect_server()
        from prefect import tags

        from flows.automations import TAG
        from flows.reproduce import reproduce
        from flows.tables import show_scores
        from flows.terminal import shorten_prefect_errors

        shorten_prefect_errors()
        # Through the server of PREFECT_API_URL, or through one that Prefect starts for this run.
        # The tag lets a server that stays mark the run as crashed when this process is killed.
        with named_when_no_server_starts(), tags(TAG):
            reproduce(str(recipe), tuple(overrides))
        show_scores(planned, store)
        folder = planned.recipe.execution.output / planned.recipe.name
        say(f"\nReport:      {folder / 'report' / 'index.html'}\nCheckpoints: {folder / 'checkpoints'}")

    raise typer.Exit(in_own_session(lambda: exit_code_of(reproduce_and_show)))


@app.command()
def plan(
    recipe: RecipeArgument,
    overrides: SetOption = [],
    device: Annotated[
        str | None, typer.Option("--device", metavar="KIND", help="Reckon with this device, such as h100 or cpu.")
    ] = None,
    mirror: MirrorOption = False,
) -> None:
    """Show each stage with its fingerprint, hit or miss, and what it will take; downloads and computes nothing."""
    from cc_tuning.runtime.device_table import find_device
    from flows.plan_table import show_plan

    planned, store = _plan(recipe, overrides, sources_may_be_missing=True)
    execution = planned.recipe.execution
    kind = find_device(device or execution.device_kind, execution.device, execution.threads)
    show_plan(planned, store, kind, _in_mirror(planned, store) if mirror else frozenset())


@app.command()
def check(recipe: RecipeArgument, overrides: SetOption = []) -> None:
    """Say all at once what would stop a recipe or spoil its results; translates and trains nothing."""
    from flows.checking import show_findings

    raise typer.Exit(show_findings(recipe, overrides))


@app.command()
def status(recipe: RecipeArgument, overrides: SetOption = [], mirror: MirrorOption = False) -> None:
    """Show what the store holds for the recipe: whole, damaged, started or missing."""
    from flows.tables import show_status

    planned, store = _plan(recipe, overrides, sources_may_be_missing=True)
    show_status(planned, store, _in_mirror(planned, store) if mirror else frozenset())


def _in_mirror(plan: "Plan", store: "ArtifactStore") -> "frozenset[ArtifactRef]":
    """What of the plan the store lacks and the mirror has.

    Raises:
        ConfigError: the recipe has no mirror.
    """
    from cc_tuning.runtime.mirroring import in_mirror

    if not plan.recipe.execution.mirror:
        raise ConfigError("the recipe has no mirror to ask; set `execution.mirror`, or leave --mirror out")
    return in_mirror([step.ref for step in plan if not store.is_there(step.ref)], plan.recipe.execution)


def _run_steps(steps: "tuple[Step, ...]", plan: "Plan", store: "ArtifactStore", again: str = "") -> None:
    """Run steps in their order and say of each where it is; those of the stage `again` even when the store has them."""
    from cc_tuning.runtime.progress import logged_progress
    from cc_tuning.runtime.step import run_step
    from flows.checking import check_before

    check_before(steps, store, plan.recipe.execution, again)
    for step in steps:
        execution = plan.recipe.execution
        if step.stage.name == again:
            store.discard(step.ref)
            execution = execution.model_copy(update={"mirror": ""})  # which has the one that is not wanted
        outcome = run_step(step, store, execution, logged_progress(step.label))
        how = "cached" if outcome.was_cached else f"{outcome.manifest.seconds:,.1f} s"
        say(f"{step.label}: {how}; {outcome.manifest.rows}\n  {store.folder(step.ref)}")


@app.command(name=ITEMS.name, help=f"{ITEMS.sentence} With --show, print the items of any recipe as prompts.")
def items(
    recipe: RecipeArgument,
    overrides: SetOption = [],
    show: Annotated[int, typer.Option(min=0, help="Print this many items of each benchmark and language.")] = 0,
    again: AgainOption = False,
) -> None:
    from flows.items import show_items, steps_of_items

    planned, store = _plan(recipe, overrides)
    steps, folder = steps_of_items(planned, store)
    _run_steps(steps, planned, store, again=ITEMS.name if again else "")
    if show:
        show_items(folder, planned.recipe.evaluation, show)


def _add_stage_command(stage: Stage) -> None:
    def command(
        recipe: RecipeArgument, overrides: SetOption = [], run: RunOption = None, again: AgainOption = False
    ) -> None:
        from cc_tuning.pipeline.publishing import publish

        planned, store = _plan(recipe, overrides)
        _run_steps(planned.up_to(stage.name, run), planned, store, again=stage.name if again else "")
        if stage.name == "report":
            say(f"Report: {publish(planned, planned.recipe.execution)}")

    app.command(name=stage.name, help=f"{stage.sentence} Runs what it needs first, without a Prefect server.")(command)


for _stage in PIPELINE:
    if _stage != ITEMS:  # which has a command of its own, above
        _add_stage_command(_stage)


@app.command(name="train-job")
def train_job(
    recipe: RecipeArgument,
    run: Annotated[str, typer.Option("--run", help="The run to train, with its seed where it has several.")],
    overrides: SetOption = [],
) -> None:
    """Write the job file of a run's training, for ranks that torchrun, accelerate or Slurm starts.

    Runs what training needs first. Prints the file's path on standard output, nothing when training is done; see
    docs/distributed.md.
    """
    from cc_tuning.runtime.progress import logged_progress
    from cc_tuning.runtime.step import run_step
    from cc_tuning.stages.train import write_training_job
    from flows.checking import check_before

    planned, store = _plan(recipe, overrides)
    steps = planned.up_to("train", run)
    if len(seeds := planned.of_run(run)) > 1:
        names = ", ".join(one.name for one in seeds)
        raise ConfigError(f"run {run!r} is trained once for each of its seeds, and a job is one training: {names}")
    check_before(steps, store, planned.recipe.execution)
    *before, train = steps
    for step in before:
        run_step(step, store, planned.recipe.execution, logged_progress(step.label))
    job_file = write_training_job(train, store, planned.recipe.execution)
    if job_file is not None:
        sys.stdout.write(f"{job_file}\n")


@app.command(name="data-card")
def data_card(
    recipe: RecipeArgument,
    overrides: SetOption = [],
    references: Annotated[
        Path | None,
        typer.Option(help="Parquet or JSON Lines: reference_en, with pair_id or language_code and inputs."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="The HTML file; Markdown is written beside it. [OUTPUT/RECIPE/data-card.html]")
    ] = None,
) -> None:
    """Describe the data of a recipe from its finished stages: counts, lengths, translations, examples."""
    from cc_tuning.pipeline.data_card import write_data_card

    planned, store = _plan(recipe, overrides)
    default = planned.recipe.execution.output / planned.recipe.name / "data-card.html"
    page, markdown = write_data_card(planned, store, references, output or default)
    say(f"Data card: {page}\nMarkdown:  {markdown}")


@app.command(name="export-dataset")
def export_dataset(
    recipe: RecipeArgument,
    directory: Annotated[Path, typer.Argument(help="A folder that is not there yet, or empty.", show_default=False)],
    overrides: SetOption = [],
    run: RunOption = None,
    licence: Annotated[str, typer.Option(help="Of the source's rows, as the hub writes it: cc-by-4.0.")] = "",
    shard_rows: Annotated[int, typer.Option(help="Rows of a parquet file.", min=1)] = 100_000,
) -> None:
    """Write the parallel pairs as a Hugging Face data set with its card; also as messages. Runs what it needs first."""
    from cc_tuning.pipeline import export_dataset as exporting
    from cc_tuning.runtime.progress import logged_progress
    from cc_tuning.runtime.step import run_step
    from flows.checking import check_before

    planned, store = _plan(recipe, overrides)
    export = exporting.DatasetExport.of(planned, directory, run, licence, shard_rows)
    check_before(export.needed, store, planned.recipe.execution)
    for step in export.needed:
        run_step(step, store, planned.recipe.execution, logged_progress(step.label))
    pairs = exporting.export_dataset(export, store)
    say(f"{pairs:,} pairs: {directory}")


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(metavar="REPORT_A", help="A report's folder.", show_default=False)],
    second: Annotated[Path, typer.Argument(metavar="REPORT_B", help="The later one.", show_default=False)],
    fail_on: Annotated[
        Literal["regression", "missing", "either"] | None,
        typer.Option(help="Exit with 1 on a drop that is no chance, on scores that only REPORT_A has, or on either."),
    ] = None,
    metric: Annotated[
        list[str], typer.Option(help="Compare this metric; by default each headline metric and gold_nll.")
    ] = [],
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the comparison to this file.")] = None,
) -> None:
    """Say what changed between two reports, run by run on the items of both, and what of it is no chance."""
    from flows.comparing import show_comparison

    found = show_comparison(first, second, metric, json_file)
    fails = {"regression": bool(found.regressions), "missing": found.is_something_missing}
    if fail_on is not None and (any(fails.values()) if fail_on == "either" else fails[fail_on]):
        raise typer.Exit(1)


add_model_commands(app)
add_operations_commands(app)
app.add_typer(store_commands, name="store")


@app.command(name="lm-eval", context_settings={"ignore_unknown_options": True}, add_help_option=False)
def lm_eval(
    arguments: Annotated[list[str], typer.Argument(help="Those of lm-eval.", show_default=False)],
) -> None:
    """Run lm-eval with the model `cc_tuning`: --model cc_tuning --model_args checkpoint=DIR,connection=transform.

    All arguments are lm-eval's own, --help among them; docs/interoperability.md says what the model takes.
    """
    from cc_tuning.inference.harness.command import run_lm_eval

    run_lm_eval(arguments)


@app.command()
def doctor() -> None:
    """Say in plain words what this machine can and cannot run."""
    from flows.doctor import examine

    for line in examine(Path.cwd()):
        console.print(line, soft_wrap=True)


def main() -> None:
    """The entry point: a user's mistake is one red line and exit code 2, a traceback only with --debug."""
    os.environ.setdefault("DO_NOT_TRACK", "1")
    replace_unknown_characters()
    leave_when_interrupted_twice()
    sys.exit(exit_code_of(app))


if __name__ == "__main__":
    main()
