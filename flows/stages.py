"""One small flow per stage: it runs what the stage needs (cached as a rule) and then the stage."""

from collections.abc import Callable
from pathlib import Path

from prefect import flow

from cc_tuning.pipeline.loading import load_recipe
from cc_tuning.pipeline.plan import plan_recipe
from cc_tuning.runtime.step import Step
from tasks.distill import distill_answers
from tasks.evaluate import evaluate_run
from tasks.materialize import materialize_rows
from tasks.miniature import make_miniature
from tasks.report import write_report
from tasks.select import select_rows
from tasks.train import train_model
from tasks.transform import fit_transform_matrix
from tasks.translate import translate_rows

TASKS: dict[str, Callable[..., object]] = {
    "world": make_miniature,
    "base_model": make_miniature,
    "translator": make_miniature,
    "select": select_rows,
    "translate": translate_rows,
    "distill": distill_answers,
    "materialize": materialize_rows,
    "train": train_model,
    "transform": fit_transform_matrix,
    "evaluate": evaluate_run,
    "report": write_report,
}


@flow(name="select", flow_run_name="select {recipe}", persist_result=False)
def select(recipe: str = "recipes/quickstart.yaml", overrides: tuple[str, ...] = ()) -> None:
    """Choose the rows to learn from."""
    _run_up_to("select", recipe, overrides)


@flow(name="translate", flow_run_name="translate {recipe}", persist_result=False)
def translate(recipe: str = "recipes/quickstart.yaml", overrides: tuple[str, ...] = ()) -> None:
    """Give every row its English version."""
    _run_up_to("translate", recipe, overrides)


@flow(name="distill", flow_run_name="distill {recipe}", persist_result=False)
def distill(recipe: str = "recipes/quickstart.yaml", overrides: tuple[str, ...] = ("runs=[ml-sft+sdrrl]",)) -> None:
    """Let the base model answer in English, and make the rows of +SDRRL of it; the recipe needs such a run."""
    _run_up_to("distill", recipe, overrides)


@flow(name="materialize", flow_run_name="materialize {recipe}", persist_result=False)
def materialize(recipe: str = "recipes/quickstart.yaml", overrides: tuple[str, ...] = ()) -> None:
    """Turn pairs into training examples, for every run of the recipe."""
    _run_up_to("materialize", recipe, overrides)


@flow(name="train", flow_run_name="train {recipe}", persist_result=False)
def train(recipe: str = "recipes/quickstart.yaml", overrides: tuple[str, ...] = ()) -> None:
    """Train every run of the recipe."""
    _run_up_to("train", recipe, overrides)


@flow(name="transform", flow_run_name="transform {recipe}", persist_result=False)
def transform(recipe: str = "recipes/quickstart.yaml", overrides: tuple[str, ...] = ()) -> None:
    """Fit the Transform Matrix of every CC-Tuning run of the recipe."""
    _run_up_to("transform", recipe, overrides)


@flow(name="evaluate", flow_run_name="evaluate {recipe}", persist_result=False)
def evaluate(recipe: str = "recipes/quickstart.yaml", overrides: tuple[str, ...] = ()) -> None:
    """Evaluate every run of the recipe."""
    _run_up_to("evaluate", recipe, overrides)


@flow(name="report", flow_run_name="report {recipe}", persist_result=False)
def report(recipe: str = "recipes/quickstart.yaml", overrides: tuple[str, ...] = ()) -> None:
    """Write the report."""
    _run_up_to("report", recipe, overrides)


def _run_up_to(stage: str, recipe: str, overrides: tuple[str, ...]) -> None:
    settings = load_recipe(Path(recipe), overrides)
    for step in plan_recipe(settings).up_to(stage):
        run: Callable[[Step, object], object] = TASKS[step.stage.name]
        run(step, settings.execution)
