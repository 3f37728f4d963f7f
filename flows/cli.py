"""`cc-tuning`: the pipeline from a terminal. Stage commands need no Prefect server; `run` goes through Prefect."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from cc_tuning.errors import CcTuningError
from cc_tuning.inference.answer_one import GenerationRequest, generate_text
from cc_tuning.pipeline.data_card import write_data_card
from cc_tuning.pipeline.estimates import estimate_steps
from cc_tuning.pipeline.loading import load_recipe
from cc_tuning.pipeline.plan import Plan, plan_recipe
from cc_tuning.pipeline.publishing import publish
from cc_tuning.runtime.progress import logged_progress
from cc_tuning.runtime.step import Step, run_step
from cc_tuning.stages.train import write_training_job
from data_contracts.errors import DataContractError
from data_contracts.store import ArtifactStore
from flows.doctor import examine
from flows.session import in_own_session
from flows.terminal import console, log_to_terminal, show_error, show_plan, show_scores, show_status

MISTAKE, STOPPED = 2, 130

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False,
    help="Teach a language model more languages: data, training, transform, evaluation and report as cached stages.",
)  # fmt: skip

RecipeArgument = Annotated[Path, typer.Argument(help="The recipe, a YAML file.", show_default=False)]
SetOption = Annotated[
    list[str], typer.Option("--set", metavar="KEY=VALUE", help="Override a key, as in training.epochs=1.")
]
RunOption = Annotated[str | None, typer.Option("--run", help="Only this run of the recipe, as in cc-tuning+en.")]
AgainOption = Annotated[bool, typer.Option("--again", help="Make the stage again even when the store has it.")]


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and debug lines.")] = False,
) -> None:
    """Options of every command."""
    log_to_terminal(debug)


def _plan(recipe: Path, overrides: list[str], *, sources_may_be_missing: bool = False) -> tuple[Plan, ArtifactStore]:
    plan = plan_recipe(load_recipe(recipe, overrides), sources_may_be_missing=sources_may_be_missing)
    return plan, ArtifactStore(plan.recipe.execution.store)


@app.command()
def run(recipe: RecipeArgument, overrides: SetOption = []) -> None:
    """Run the whole recipe through Prefect, and print the results."""

    def reproduce_and_show() -> None:
        # Prefect sets up its own logging when it is imported, which the other commands must not meet.
        from flows.embedded_server import run_reproduce

        planned, store = _plan(recipe, overrides)  # a mistake in the recipe shows before anything starts
        run_reproduce(str(recipe), tuple(overrides))
        show_scores(planned, store)
        folder = planned.recipe.execution.output / planned.recipe.name
        console.print(f"\nReport:      {folder / 'report' / 'index.html'}\nCheckpoints: {folder / 'checkpoints'}")

    raise typer.Exit(in_own_session(lambda: _exit_code_of(reproduce_and_show)))


@app.command()
def plan(recipe: RecipeArgument, overrides: SetOption = []) -> None:
    """Show each stage with its fingerprint, hit or miss, and an estimate; downloads and computes nothing."""
    planned, store = _plan(recipe, overrides, sources_may_be_missing=True)
    show_plan(planned, store, estimate_steps(planned))


@app.command()
def status(recipe: RecipeArgument, overrides: SetOption = []) -> None:
    """Show what the store holds for the recipe: whole, damaged, started or missing."""
    show_status(*_plan(recipe, overrides, sources_may_be_missing=True))


def _stage_command(stage: str, summary: str) -> None:
    def command(
        recipe: RecipeArgument,
        overrides: SetOption = [],
        run: RunOption = None,
        again: AgainOption = False,
    ) -> None:
        planned, store = _plan(recipe, overrides)
        for step in planned.up_to(stage, run):
            if again and step.stage.name == stage:
                store.discard(step.ref)
            _run(step, planned, store)
        if stage == "report":
            console.print(f"Report: {publish(planned, planned.recipe.execution)}")

    app.command(name=stage, help=f"{summary} Runs what it needs first, without a Prefect server.")(command)


def _run(step: Step, planned: Plan, store: ArtifactStore) -> None:
    outcome = run_step(step, store, planned.recipe.execution, logged_progress(step.label))
    how = "cached" if outcome.was_cached else f"{outcome.manifest.seconds:,.1f} s"
    console.print(f"{step.label}: {how}; {outcome.manifest.rows}\n  {store.folder(step.ref)}")


_stage_command("select", "Choose the rows to learn from.")
_stage_command("translate", "Give every row its English version.")
_stage_command("distill", "Make the rows of +SDRRL from the base model's own English answers.")
_stage_command("materialize", "Turn pairs into training examples.")
_stage_command("train", "Train the runs of the recipe.")
_stage_command("transform", "Sample activations and fit the Transform Matrix.")
_stage_command("evaluate", "Answer and score the benchmark items.")
_stage_command("report", "Write the report.")


@app.command(name="train-job")
def train_job(
    recipe: RecipeArgument,
    run: Annotated[str, typer.Option("--run", help="The run to train.")],
    overrides: SetOption = [],
) -> None:
    """Write the job file of a run's training, for ranks that torchrun, accelerate or Slurm starts.

    Runs what training needs first. Prints the file's path on standard output, nothing when training is done; see
    docs/distributed.md.
    """
    planned, store = _plan(recipe, overrides)
    *before, train = planned.up_to("train", run)
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
    planned, store = _plan(recipe, overrides)
    default = planned.recipe.execution.output / planned.recipe.name / "data-card.html"
    page, markdown = write_data_card(planned, store, references, output or default)
    console.print(f"Data card: {page}\nMarkdown:  {markdown}", soft_wrap=True)


@app.command()
def generate(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint directory.", show_default=False)],
    prompt: Annotated[str, typer.Argument(help="What to ask.", show_default=False)],
    english: Annotated[str, typer.Option(help="The English prompt, for --connection parallel.")] = "",
    connection: Annotated[str, typer.Option(help="transform, off or parallel.")] = "transform",
    max_new_tokens: Annotated[int, typer.Option(help="At most this many new tokens.")] = 256,
    temperature: Annotated[float, typer.Option(help="0 is greedy; above, sample.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of the sampling.")] = 0,
    is_english: Annotated[bool, typer.Option(help="The prompt is English (for connection.english: identity).")] = False,
) -> None:
    """Answer a prompt; the answer streams to standard output."""
    generate_text(
        GenerationRequest(checkpoint, prompt, english, connection, max_new_tokens, temperature, seed, is_english),
        sys.stdout,
    )


@app.command()
def doctor() -> None:
    """Say in plain words what this machine can and cannot run."""
    for line in examine(Path.cwd()):
        console.print(line)


def main() -> None:
    """The entry point: a user's mistake is one red line and exit code 2, a traceback only with --debug."""
    os.environ.setdefault("DO_NOT_TRACK", "1")
    sys.exit(_exit_code_of(app))


def _exit_code_of(work: Callable[[], object]) -> int:
    try:
        work()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except (CcTuningError, DataContractError) as error:
        if "--debug" in sys.argv:
            raise
        show_error(error)
        return MISTAKE
    except KeyboardInterrupt:
        show_error(Exception("stopped; finished stages and shards are kept, run the same command to go on"))
        return STOPPED
    return 0


if __name__ == "__main__":
    main()
