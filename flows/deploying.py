"""What `cc-tuning deploy` does: deployments of prefect.yaml, their pool, and what the server keeps an eye on.

`prefect deploy` alone makes runs that start; this adds what makes them trusted: the work pool, limits for GPUs,
automations that mark dead runs as crashed, and notifications. It may be repeated: everything is brought up to date.
"""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from uuid import UUID

import httpx
from prefect.blocks.core import Block
from prefect.blocks.notifications import NotificationBlock
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings

from cc_tuning.errors import ConfigError
from flows.automations import (
    CRASHED_AFTER_SECONDS,
    keep_automations,
    notifications,
    recipients_named,
    recovery_automations,
)
from flows.prefect_server import check_prefect_server

POOL = "cc-tuning"
_PROJECT_FILE = Path("prefect.yaml")
_LAST_LINES = 12


def deploy(
    names: Sequence[str],
    webhook: str = "",
    blocks: Sequence[str] = (),
    gpu_limits: Mapping[str, int] | None = None,
    crashed_after_seconds: int = CRASHED_AFTER_SECONDS,
) -> str:
    """Deploy the deployments `names` of prefect.yaml, all of them where none is named; returns what was done, in words.

    `webhook` is an address that gets messages as JSON, `blocks` are stored notification blocks (`slack-webhook/ops`).
    Without either, notifications stay as they are. `gpu_limits` has, by the name of a limit, how many stages may
    compute on GPUs at the same time (`tasks.gpus`).

    Raises:
        ConfigError: there is no prefect.yaml here, no server answers, a block does not exist or takes no messages, or
            Prefect refuses a deployment.
    """
    if not _PROJECT_FILE.is_file():
        raise ConfigError(
            f"there is no {_PROJECT_FILE} in {Path.cwd()}: deployments run in the project's folder; go there"
        )
    if not get_current_settings().api.url:
        raise ConfigError(
            "PREFECT_API_URL is not set, and deployments live on a server that stays: start one with `prefect server "
            "start` and set PREFECT_API_URL=http://127.0.0.1:4200/api"
        )
    check_prefect_server()
    recipients = recipients_named(_message_blocks(webhook, blocks))
    _make_pool()
    for name, slots in (gpu_limits or {}).items():
        with get_client(sync_client=True) as client:
            client.upsert_global_concurrency_limit_by_name(name, slots)
    _deploy(names)
    automations = (*recovery_automations(crashed_after_seconds), *notifications(recipients))
    keep_automations(automations)
    told = ", ".join(recipient.name for recipient in recipients) or "nobody new"
    limits = ", ".join(f"{name} {slots}" for name, slots in (gpu_limits or {}).items())
    deployed = ", ".join(names) or "all of prefect.yaml"
    return (
        f"Deployed: {deployed}; work pool: {POOL}; stages on GPUs at once: {limits or 'as before'}."
        f"\nRuns without a heartbeat for {crashed_after_seconds} s are marked as crashed. Told of trouble: {told}."
    )


def _message_blocks(webhook: str, names: Sequence[str]) -> dict[str, UUID]:
    """The ids of the blocks that get messages, by name; the webhook's is made, or made anew."""
    found = {name: _stored_block(name) for name in names}
    if webhook:
        block = Webhook(method="POST", url=webhook, headers={"Content-Type": "application/json"})
        saved = block.save(POOL, overwrite=True)
        assert isinstance(saved, UUID)  # the synchronous form returns the id itself
        found[f"webhook/{POOL}"] = saved
    return found


def _stored_block(name: str) -> UUID:
    try:
        block = Block.load(name, validate=False)
    except ValueError as error:
        raise ConfigError(
            f"--notify {name}: {error}; write TYPE/NAME of a block that Prefect has (`prefect block ls`)"
        ) from error
    if not isinstance(block, NotificationBlock | Webhook):
        raise ConfigError(f"--notify {name} is a {type(block).__name__}, expected a notification block or a webhook")
    identifier = block._block_document_id
    assert identifier is not None  # it was loaded
    return identifier


def _make_pool() -> None:
    with get_client(sync_client=True) as client:
        try:
            client.read_work_pool(POOL)
        except ObjectNotFound:
            client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
        except httpx.HTTPStatusError as error:
            raise ConfigError(f"Prefect's server refuses: {error}; is PREFECT_API_AUTH_STRING right?") from error


def _deploy(names: Sequence[str]) -> None:
    chosen = [argument for name in names for argument in ("--name", name)] or ["--all"]
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", *chosen]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = "\n  ".join((done.stdout + done.stderr).strip().splitlines()[-_LAST_LINES:])
        raise ConfigError(f"`prefect deploy {' '.join(chosen)}` ended with {done.returncode}:\n  {said}")
