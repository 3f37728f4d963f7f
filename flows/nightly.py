"""A night: a recipe computed from nothing in a store of its own, its scores kept, held against the last good night.

    STORE-YYYY-MM-DD/         the night's store, by the day (UTC) for which its run was started
    STORE-YYYY-MM-DD.lock     shared by the runs that use it; what nobody uses may be removed
    STORE-nights.parquet      the scores of all nights
    OUTPUT/RECIPE/nights.html the trend of the last of them

The day is that of the run's first start, which Prefect keeps through retries: a run over midnight goes on in its own
store, and so does one that crashed and is tried again a day later.
"""

import logging
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from prefect.context import FlowRunContext
from pydantic import BaseModel, ConfigDict, Field

from cc_tuning.pipeline.plan import Plan
from cc_tuning.report.nights.drops import Drop, find_drop
from cc_tuning.report.nights.history import Night, nights_of, read_history, record
from cc_tuning.report.nights.trend import write_trend
from cc_tuning.runtime.execution import Execution
from data_contracts.artifact_files import objects_below, remove_object
from data_contracts.layout import TREND_PAGE, nights_file
from data_contracts.locks import in_use, is_held, unless_in_use
from data_contracts.store import ArtifactStore
from flows.score_drops import tell_drop

logger = logging.getLogger(__name__)

_GIGABYTE = 1e9


class Retention(BaseModel):
    """Which stores of earlier nights are kept. The one of the last good night always is, and so is one in use."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    nights: int = Field(default=7, ge=1, description="Stores that are kept, tonight's included.")
    gigabytes: float = Field(default=100.0, gt=0, description="Disk that those of earlier nights may take together.")


KEEP_A_WEEK = Retention()


@contextmanager
def store_of_the_night(plan: Plan, retention: Retention) -> Iterator[Execution]:
    """A context with the execution of tonight, which has a store of its own; it ends with the report published.

    Before it, stores of earlier nights go that are not kept. After it, the night's scores are recorded, the trend page
    is written, and a drop against the last good night is told.
    """
    execution = plan.recipe.execution
    date = f"{first_start():%Y-%m-%d}"
    store = store_of(execution.store, date)
    with in_use(_lock_of(store), f"the store of {date}"):
        good = _good_nights(execution.store, plan.recipe.name, date)
        remove_old_stores(execution.store, retention, keep=[date, *(night.date for night in good[:1])])
        # A mirror has what other nights made, and tonight is computed from nothing.
        yield execution.model_copy(update={"store": store, "mirror": ""})
        commit = ArtifactStore(store).manifest(plan.report.ref).commit
        night = Night(plan.recipe.name, date, _flow_run(), commit, plan.report.fingerprint, "good")
        drop = close_night(execution.store, night, execution.output / plan.recipe.name / TREND_PAGE)
        tell_drop(night, drop)


def close_night(store: Path, night: Night, page: Path) -> Drop | None:
    """Hold a night's report against the last good one, record its scores, write the trend page; returns what dropped.

    `store` is the recipe's, beside which the nights have theirs.
    """
    report = report_of(store, night)
    good = _good_nights(store, night.recipe, night.date)
    drop = find_drop(report_of(store, good[0]), report, (good[0].date, night.date)) if good else None
    history = record(history_of(store), replace(night, verdict="dropped" if drop else "good"), report)
    write_trend(history, night.recipe, page)
    return drop


def store_of(store: Path, date: str) -> Path:
    """The store of the night of `date`, beside where the recipe has its own."""
    return store.with_name(f"{store.name}-{date}")


def remove_old_stores(store: Path, retention: Retention, keep: Sequence[str]) -> list[str]:
    """Remove the stores of nights that are beyond number or disk, oldest first; returns the dates of those removed.

    Those of the dates `keep` stay, and those that a run or a command is using at this moment.
    """
    dates = _dates(store)
    candidates = [date for date in dates if date not in keep]
    beyond = max(0, len({*dates, *keep}) - retention.nights)
    removed = [date for date in candidates[:beyond] if _remove(store_of(store, date))]
    left = candidates[beyond:]
    sizes = {date: _bytes_of(store_of(store, date)) for date in left}
    while left and sum(sizes.values()) > retention.gigabytes * _GIGABYTE:
        date = left.pop(0)
        del sizes[date]
        removed += [date] if _remove(store_of(store, date)) else []
    return removed


def _dates(store: Path) -> list[str]:
    """The dates of the nights that have a store, the oldest first."""
    of_a_day = re.compile(re.escape(store.name) + r"-(\d{4}-\d{2}-\d{2})")
    folders = sorted(store.parent.iterdir()) if store.parent.is_dir() else []
    return [found[1] for folder in folders if (found := of_a_day.fullmatch(folder.name)) and folder.is_dir()]


def _remove(store: Path) -> bool:
    """Remove a store unless it is in use, by a night's run or by whoever makes one of its artifacts."""
    with unless_in_use(_lock_of(store)) as is_free:
        if not is_free or any(is_held(lock) for lock in store.glob("*/*.lock")):
            logger.warning("%s is in use and stays", store)
            return False
        leaving = store.with_name(f".{store.name}.removed")  # a removal that is killed leaves no half store
        remove_object(leaving)
        store.rename(leaving)
        shutil.rmtree(leaving)
        logger.info("%s is removed: newer nights are kept", store)
        return True


def _bytes_of(store: Path) -> int:
    return sum(path.lstat().st_size for path in objects_below(store))


def report_of(store: Path, night: Night) -> Path:
    """The folder of a night's report, whether or not it is there still."""
    return store_of(store, night.date) / "report" / night.fingerprint


def _good_nights(store: Path, recipe: str, date: str) -> list[Night]:
    """The good nights before `date` whose report is there, the latest one first."""
    nights = nights_of(read_history(history_of(store)), recipe)
    good = [night for night in nights if night.date < date and night.verdict == "good"]
    return [night for night in good if report_of(store, night).is_dir()]


def history_of(store: Path) -> Path:
    """The table of the nights of `store`."""
    return store.with_name(nights_file(store.name))


def _lock_of(store: Path) -> Path:
    return store.with_name(f"{store.name}.lock")


def first_start() -> datetime:
    """When the run was started for the first time, or was to be, in UTC; Prefect keeps it when a run is tried again."""
    context = FlowRunContext.get()
    began = context.flow_run.expected_start_time if context and context.flow_run else None
    return (began or datetime.now(UTC)).astimezone(UTC)


def _flow_run() -> str:
    context = FlowRunContext.get()
    return str(context.flow_run.id) if context and context.flow_run else ""
