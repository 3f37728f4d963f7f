"""How a drop of a night's scores is told: an artifact in Prefect's interface, and an event that automations tell of."""

import logging

from prefect.artifacts import create_markdown_artifact
from prefect.events import emit_event

from cc_tuning.report.nights.drops import Drop
from cc_tuning.report.nights.history import Night
from flows.automations import SCORE_DROP

logger = logging.getLogger(__name__)


def tell_drop(night: Night, drop: Drop | None) -> None:
    """Tell of a night's drop, in the log, in Prefect's interface and by the event `SCORE_DROP`; of none, say nothing.

    The event's payload has the message and the comparison. Who is told by which service is a matter of the automations
    that `cc-tuning deploy` makes.
    """
    if drop is None:
        return
    message = f"{night.recipe}, {drop.message}"
    logger.warning("%s", message)
    create_markdown_artifact(message, key="score-drop", description=f"What dropped on {night.date}")
    emit_event(
        event=SCORE_DROP,
        resource={"prefect.resource.id": f"cc-tuning.nightly.{night.recipe}", "prefect.resource.name": night.recipe},
        payload={
            "message": message, "comparison": drop.comparison, "night": night.date, "commit": night.commit,
            "flow_run": night.flow_run,
        },
    )  # fmt: skip
