"""CC-Tuning (Ye et al. 2025) on one screen: what is done, in which order, once for each row of the paper's Table 1."""

from pathlib import Path

from prefect import flow

from cc_tuning.pipeline.loading import load_recipe
from cc_tuning.pipeline.plan import plan_recipe
from cc_tuning.pipeline.publishing import publish
from flows.fresh import fresh_store
from tasks.distill import distill_answers
from tasks.evaluate import evaluate_run
from tasks.materialize import materialize_rows
from tasks.miniature import make_miniature
from tasks.report import write_report
from tasks.select import select_rows
from tasks.train import train_model
from tasks.transform import fit_transform_matrix
from tasks.translate import translate_rows


@flow(name="reproduce", flow_run_name="reproduce {recipe}", persist_result=False)
def reproduce(recipe: str = "recipes/quickstart.yaml", overrides: tuple[str, ...] = (), fresh: bool = False) -> str:
    """Run a recipe to its report; returns the report's path.

    Args:
        recipe: path of the recipe.
        overrides: `training.epochs=1` and the like.
        fresh: compute everything again, in a store of its own for each day; the nightly does.
    """
    settings = load_recipe(Path(recipe), overrides)
    plan = plan_recipe(settings)
    execution = fresh_store(settings.execution) if fresh else settings.execution

    for part in plan.embedded:  # only when the recipe asks for the embedded default
        make_miniature(part, execution)
    for data in plan.data:
        select_rows(data.select, execution)  # x, y
        translate_rows(data.translate, execution)  # x_en, y_en
        if data.distill:  # for +SDRRL: the base model's own English answers
            distill_answers(data.distill, execution)
    for run in plan.runs:
        if run.materialize and run.train:  # not of the base model as it is
            materialize_rows(run.materialize, execution)
            train_model(run.train, execution)  # English pass, Decision Maker, connection
        if run.transform:
            fit_transform_matrix(run.transform, execution)  # W_T stands in for the English prompt
        evaluate_run(run.evaluate, execution)
    write_report(plan.report, execution)
    return str(publish(plan, execution))
