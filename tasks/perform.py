"""What every task does: look in the store, run the stage if it must, show its progress and its counts.

Prefect's own cache is off (`NO_CACHE`): the store is the only source of truth, so that the flow, the per-stage
commands and a deployment run all share it, and a hit is a hit only when every file was re-hashed.
"""

from uuid import UUID

from prefect.artifacts import create_progress_artifact, create_table_artifact, update_progress_artifact
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.states import Completed

from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.progress import Progress, throttled
from cc_tuning.runtime.step import Outcome, Step, run_step
from cc_tuning.runtime.threads import RunAll, in_threads
from data_contracts.store import ArtifactRef, ArtifactStore

SECONDS_BETWEEN_UPDATES = 10.0


def perform(step: Step, execution: Execution, run_all: RunAll = in_threads) -> Outcome:
    """The step's artifact, with a table of its row counts and, while it is made, a progress bar in Prefect."""
    progress = prefect_progress(step)
    outcome = run_step(step, ArtifactStore(execution.store), execution, progress, run_all)
    if outcome.was_cached:
        get_run_logger().info("%s: cached, %s; %s", step.label, step.fingerprint[:12], outcome.manifest.rows)
    else:
        create_table_artifact(key=_key(step, "rows"), table=_row_table(outcome), description=f"Rows of {step.label}")
    return outcome


def state_of(outcome: Outcome) -> State[ArtifactRef]:
    """`Completed`, shown as `Cached` when nothing had to be computed."""
    name = "Cached" if outcome.was_cached else "Completed"
    message = f"{outcome.manifest.label}: {outcome.manifest.rows}"
    return Completed(name=name, message=message, data=outcome.ref)


def prefect_progress(step: Step) -> Progress:
    """A listener that moves a progress artifact and logs one line, both at most once per interval."""
    run_logger = get_run_logger()
    artifact: UUID | None = None
    share = 0.0

    def tell(line: str) -> None:
        nonlocal artifact
        run_logger.info("%s | %s", step.label, line)
        if artifact is None:
            created = create_progress_artifact(progress=share, key=_key(step, "progress"), description=step.label)
            assert isinstance(created, UUID)  # the synchronous form returns the id itself
            artifact = created
        else:
            update_progress_artifact(artifact_id=artifact, progress=share)

    log = throttled(tell, SECONDS_BETWEEN_UPDATES)

    def progress(done: int, total: int, unit: str, detail: str = "") -> None:
        nonlocal share
        share = 100.0 * done / max(total, 1)
        log(done, total, unit, detail)

    return progress


def table(step: Step, what: str, rows: list[dict[str, object]], description: str) -> None:
    """Show `rows` as a table artifact of this step."""
    create_table_artifact(key=_key(step, what), table=rows, description=description)


def _row_table(outcome: Outcome) -> list[dict[str, object]]:
    rows = outcome.manifest.rows
    counts = {"read": rows.read, "kept": rows.kept, "not selected": rows.not_selected, **rows.quarantined}
    return [{"what": name, "rows": count} for name, count in counts.items()]


def _key(step: Step, what: str) -> str:
    # Prefect's artifact keys take lower-case letters, digits and dashes only.
    return f"{step.label}-{what}".lower().replace("+", "-plus-").replace(" ", "-").replace("_", "-")
