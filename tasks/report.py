"""Task: write the report."""

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.step import Step
from data_contracts.store import ArtifactRef, ArtifactStore
from tasks.perform import perform, state_of
from tasks.retries import worth_retrying


@task(
    name="write report",
    task_run_name="{step.label}",
    tags=["report"],
    retries=1,
    retry_condition_fn=worth_retrying,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def write_report(step: Step, execution: Execution) -> State[ArtifactRef]:
    """`index.html` and `report.md`; the Markdown is shown in Prefect too."""
    outcome = perform(step, execution)
    markdown = (ArtifactStore(execution.store).path(outcome.ref) / "report.md").read_text(encoding="utf-8")
    create_markdown_artifact(markdown, key="report", description="Scores, intervals and diagnostics")
    return state_of(outcome)
