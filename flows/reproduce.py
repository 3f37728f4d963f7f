"""CC-Tuning (Ye et al. 2025) on one screen: what is done, in which order, once for each row of the paper's Table 1."""

import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

from prefect import flow

from cc_tuning.pipeline.loading import load_recipe
from cc_tuning.pipeline.plan import plan_recipe
from cc_tuning.pipeline.publishing import publish
from cc_tuning.runtime.execution import Execution
from data_contracts.store import ArtifactStore
from flows.checking import check_before
from flows.outliving import outlive_worker
from tasks.stages import make


@flow(name="reproduce", flow_run_name="reproduce {recipe}", persist_result=False)
def reproduce(recipe: str = "recipes/quickstart.yaml", overrides: tuple[str, ...] = (), fresh: bool = False) -> str:
    """Run a recipe to its report; returns the report's path.

    Args:
        recipe: path of the recipe.
        overrides: `training.epochs=1` and the like.
        fresh: compute everything again, in a store of its own for each day; the nightly does.
    """
    outlive_worker()
    settings = load_recipe(Path(recipe), overrides)
    plan = plan_recipe(settings)
    execution = fresh_store(settings.execution) if fresh else settings.execution
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
    return str(publish(plan, execution))


def fresh_store(execution: Execution) -> Execution:
    """The same execution in `STORE-YYYY-MM-DD`; stores of earlier days, made by this function, are removed.

    So a nightly reproduction computes everything, and still resumes after a kill.
    """
    store = execution.store
    today = store.with_name(f"{store.name}-{datetime.now(UTC):%Y-%m-%d}")
    if store.parent.is_dir():
        of_a_day = re.compile(re.escape(store.name) + r"-\d{4}-\d{2}-\d{2}")
        for folder in store.parent.iterdir():
            if of_a_day.fullmatch(folder.name) and folder.name < today.name:
                shutil.rmtree(folder)
    return execution.model_copy(update={"store": today})
