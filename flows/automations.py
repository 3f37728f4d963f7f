"""What Prefect's server does by itself about our deployed runs: mark those as crashed that died, and tell people.

A run whose process was killed cannot say so: its last word is "Running". While it lives it sends heartbeats, so the
server waits for the next one, and marks the run as crashed where none comes. All of this concerns runs with the tag
`TAG` only, which prefect.yaml gives to every deployment: the runs of others on the same server are left alone.

Notifications are made of events, so that whoever has a Prefect block of a service is told in one way about runs that
are late, failed or crashed, and about a night whose scores dropped (`flows.score_drops`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.events.actions import CallWebhook, ChangeFlowRunState, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

TAG = "cc-tuning"
HEARTBEAT = "prefect.flow-run.heartbeat"
SCORE_DROP = "cc-tuning.nightly.score-drop"
"""The event of a night whose scores dropped; its payload has `message` and `comparison`."""
CRASHED_AFTER_SECONDS = 150
"""Without a heartbeat. One is sent every 30 seconds, so four may be lost while a server restarts."""
STARTED_WITHIN_SECONDS = 600
"""What a worker may take from claiming a run to its start, which loads torch."""

_RUNS = ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]})
_OURS = ResourceSpecification({"prefect.resource.role": "tag", "prefect.resource.id": f"prefect.tag.{TAG}"})
_NO_LONGER_RUNNING = ("Completed", "Failed", "Cancelled", "Crashed", "Paused", "Suspended", "AwaitingRetry")
_STARTED = ("Running", *_NO_LONGER_RUNNING, "Cached", "Late", "AwaitingConcurrencySlot")
_TOLD = ("Late", "Failed", "Crashed")
_AT_ONCE = timedelta(0)


@dataclass(frozen=True)
class Recipient:
    """A stored Prefect block that takes messages."""

    name: str
    """`TYPE/NAME`, as Prefect writes it."""
    block_id: UUID
    is_webhook: bool


def recovery_automations(crashed_after_seconds: int = CRASHED_AFTER_SECONDS) -> tuple[AutomationCore, ...]:
    """The automations that mark a run as crashed: no heartbeat for so long, or claimed by a worker and never started.

    Prefect's triggers service looks every few seconds, which comes on top.
    """
    silent = f"no heartbeat for {crashed_after_seconds} s: its process was killed, or its machine is gone; run it again"
    stuck = f"claimed by a worker that did not start it within {STARTED_WITHIN_SECONDS} s; run it again"
    return (
        _crashing("silent runs", HEARTBEAT, (HEARTBEAT, *_states(_NO_LONGER_RUNNING)), crashed_after_seconds, silent),
        _crashing(
            "unstarted runs", "prefect.flow-run.Pending", (HEARTBEAT, *_states(_STARTED)), STARTED_WITHIN_SECONDS, stuck
        ),
    )


def notifications(recipients: Sequence[Recipient]) -> tuple[AutomationCore, ...]:
    """For each recipient an automation for runs that are late, failed or crashed, and one for dropped scores."""
    return tuple(
        automation
        for recipient in recipients
        for automation in (
            AutomationCore(
                name=f"{TAG}: tell {recipient.name} of late, failed and crashed runs",
                trigger=_reacting(_states(_TOLD), match=_RUNS, match_related=_OURS),
                actions=[_message(recipient, _RUN_SUBJECT, _RUN_TEXT, comparison="")],
            ),
            AutomationCore(
                name=f"{TAG}: tell {recipient.name} of dropped scores",
                trigger=_reacting({SCORE_DROP}),
                actions=[_message(recipient, "Scores dropped", "{{ event.payload.message }}", _COMPARISON)],
            ),
        )
    )


def keep_automations(wanted: Sequence[AutomationCore]) -> None:
    """Create the automations on the server, or bring those of the same names up to date."""
    with get_client(sync_client=True) as client:
        for automation in wanted:
            known = client.read_automations_by_name(automation.name)
            if not known:
                client.create_automation(automation)
            for each in known:
                client.update_automation(each.id, automation)


_RUN_SUBJECT = "{{ flow.name }}: {{ event.payload.validated_state.name }}"
_RUN_TEXT = (
    "{{ flow.name }}, run {{ flow_run.name }}: {{ event.payload.validated_state.name }}. "
    "{{ event.payload.validated_state.message }}\n{{ flow_run|ui_url }}"
)
_COMPARISON = ', "comparison": {{ event.payload.comparison | tojson }}'


def _states(names: Sequence[str]) -> set[str]:
    return {f"prefect.flow-run.{name}" for name in names}


def _crashing(what: str, after: str, expected: Sequence[str] | set[str], seconds: int, why: str) -> AutomationCore:
    return AutomationCore(
        name=f"{TAG}: mark {what} as crashed",
        trigger=EventTrigger(
            after={after},
            expect=set(expected),
            match=_RUNS,
            match_related=_OURS,
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=seconds),
        ),
        actions=[ChangeFlowRunState(state=StateType.CRASHED, name="Crashed", message=why)],
    )


def _reacting(events: set[str], **matching: ResourceSpecification) -> EventTrigger:
    return EventTrigger(
        expect=events, for_each={"prefect.resource.id"}, posture=Posture.Reactive, threshold=1, within=_AT_ONCE,
        **matching,
    )  # fmt: skip


def _message(recipient: Recipient, subject: str, text: str, comparison: str) -> CallWebhook | SendNotification:
    if not recipient.is_webhook:
        return SendNotification(block_document_id=recipient.block_id, subject=subject, body=text)
    # The key `text` is what Slack's and Mattermost's incoming webhooks show.
    as_json = "{% set text %}" + text + "{% endset %}" + '{"text": {{ text | string | tojson }}' + comparison + "}"
    return CallWebhook(block_document_id=recipient.block_id, payload=as_json)


def recipients_named(names: Mapping[str, UUID]) -> tuple[Recipient, ...]:
    """Recipients by the names of stored blocks, `webhook/NAME` for one that is called with JSON."""
    return tuple(Recipient(name, block, name.startswith("webhook/")) for name, block in sorted(names.items()))
