"""CC-Tuning (Ye et al. 2025) on one screen: what is done, in which order, once for each row of the paper's Table 1."""

from contextlib import nullcontext
from pathlib import Path

from prefect import flow

from cc_tuning.pipeline.loading import load_recipe
from cc_tuning.pipeline.plan import Plan, plan_recipe
from cc_tuning.pipeline.publishing import publish
from cc_tuning.runtime.execution import Execution
from data_contracts.store import ArtifactStore
from flows.checking import check_before
from flows.nightly import KEEP_A_WEEK, Retention, store_of_the_night
from flows.outliving import outlive_worker
from tasks.stages import make


@flow(name="reproduce", flow_run_name="reproduce {recipe}", persist_result=False)
def reproduce(
    recipe: str = "recipes/quickstart.yaml",
    overrides: tuple[str, ...] = (),
    fresh: bool = False,
    retention: Retention = KEEP_A_WEEK,
) -> str:
    """Run a recipe to its report; returns the report's path.

    Args:
        recipe: path of the recipe.
        overrides: `training.epochs=1` and the like.
        fresh: compute everything again, in a store of its own for each day; the nightly does.
        retention: which stores of earlier days are kept, with `fresh`.
    """
    outlive_worker()
    plan = plan_recipe(load_recipe(Path(recipe), overrides))
    place = store_of_the_night(plan, retention) if fresh else nullcontext(plan.recipe.execution)
    with place as execution:
        return str(make_everything(plan, execution))


def make_everything(plan: Plan, execution: Execution) -> Path:
    """All steps of a plan in their order, up to the published report, whose path is returned."""
    check_before(plan, ArtifactStore(execution.store), execution)  # what a stage would stop at hours later

    for items in plan.items:  # only when the recipe asks for published benchmarks
        make(items, execution)
    for part in plan.embedded:  # only when the recipe asks for the embedded default
        make(part, execution)
    for data in plan.data:
        make(data.select, execution)  # x, y
        make(data.translate, execution)  # x_en, y_en
        if data.distill:  # for +SDRRL: the base model's own English answers
            make(data.distill, execution)
    for run in plan.runs:
        if run.materialize and run.train:  # not of the base model as it is
            for step in run.start:  # of the run whose checkpoint it starts from
                make(step, execution)
            make(run.materialize, execution)
            if run.reference:  # of CLO and DPO: what the model says before it is trained
                make(run.reference, execution)
            make(run.train, execution)  # English pass, Decision Maker, connection
        if run.transform:
            make(run.transform, execution)  # W_T stands in for the English prompt
        if run.pivot:  # for competitors: the items' prompts in English, by the translator
            make(run.pivot, execution)
        make(run.evaluate, execution)
    for run in plan.runs:
        if run.judge:  # which of its answers are better than its baseline's
            make(run.judge, execution)
    make(plan.report, execution)
    return publish(plan, execution)
