"""One small flow per stage: it runs what the stage needs (cached as a rule) and then the stage.

The flows are made from the table of stages, so `flows/stages.py:train` names one without a line here that says so.
"""

from collections.abc import Mapping
from pathlib import Path

from prefect import Flow, flow

from cc_tuning.pipeline.loading import load_recipe
from cc_tuning.pipeline.plan import plan_recipe
from cc_tuning.runtime.stage_table import PIPELINE
from cc_tuning.runtime.step import Stage
from flows.outliving import outlive_worker
from tasks.stages import make


def stage_flow(stage: Stage) -> Flow[..., None]:
    """A flow of the stage's name with the parameters `recipe` and `overrides`."""

    def run_stage(recipe: str = "recipes/quickstart.yaml", overrides: tuple[str, ...] = ()) -> None:
        outlive_worker()
        settings = load_recipe(Path(recipe), overrides)
        for step in plan_recipe(settings).up_to(stage.name):
            make(step, settings.execution)

    run_stage.__name__ = run_stage.__qualname__ = stage.name
    options = flow(
        name=stage.name,
        description=f"{stage.sentence} Runs what it needs first.",
        flow_run_name=f"{stage.name} {{recipe}}",
        persist_result=False,
    )
    return options(run_stage)


FLOWS: Mapping[str, Flow[..., None]] = {stage.name: stage_flow(stage) for stage in PIPELINE}


def __getattr__(name: str) -> Flow[..., None]:
    # Prefect asks the module for the name after the colon of an entrypoint.
    if name not in FLOWS:
        raise AttributeError(f"{__name__} has no flow {name!r}; it has: {', '.join(FLOWS)}")
    return FLOWS[name]
