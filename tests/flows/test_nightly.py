"""Stores of nights: which are kept, which one a run goes on in."""

from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow
from prefect.states import Scheduled
from prefect.testing.utilities import prefect_test_harness

from data_contracts.locks import in_use
from data_contracts.store import ArtifactRef, ArtifactStore
from flows.nightly import Retention, first_start, remove_old_stores, store_of

DATES = ["2026-11-20", "2026-11-21", "2026-11-22", "2026-11-23"]
TONIGHT = "2026-11-24"
ARTIFACT = ArtifactRef("train", "f" * 64)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Where a recipe has its store, beside those of four nights of 1 MB each and things that are none."""
    for date in DATES:
        file = store_of(tmp_path / "nightly", date) / "train" / ("f" * 64) / "weights"
        file.parent.mkdir(parents=True)
        file.write_bytes(bytes(1_000_000))
    for other in ("nightly", "nightly-2026-11-20-of-mine", "another-2026-11-20"):
        (tmp_path / other).mkdir()
    (tmp_path / "nightly-nights.parquet").touch()
    return tmp_path / "nightly"


def kept(store: Path) -> list[str]:
    return [date for date in DATES if store_of(store, date).is_dir()]


@pytest.mark.parametrize(
    ("nights", "gigabytes", "keep", "left"),
    [
        (5, 1.0, [], DATES),
        (3, 1.0, [], DATES[2:]),
        (3, 1.0, ["2026-11-20"], ["2026-11-20", "2026-11-23"]),
        (1, 1.0, [], []),
        (5, 0.0025, [], DATES[2:]),
        (5, 0.0025, ["2026-11-20"], ["2026-11-20", *DATES[2:]]),
    ],
    ids=["all", "number", "the last good one", "tonight alone", "disk", "disk, but for the last good one"],
)
def test_the_oldest_stores_go_first_and_what_is_to_be_kept_stays(
    store: Path, nights: int, gigabytes: float, keep: list[str], left: list[str]
) -> None:
    before = {path.name for path in store.parent.iterdir()}
    removed = remove_old_stores(store, Retention(nights=nights, gigabytes=gigabytes), [TONIGHT, *keep])
    assert kept(store) == left
    assert removed == [date for date in DATES if date not in left]
    gone = {store_of(store, date).name for date in removed}
    assert {path.name for path in store.parent.iterdir()} == before - gone


@pytest.mark.parametrize("by", ["a night's run", "a command that makes an artifact", "nobody"])
def test_a_store_in_use_stays(store: Path, by: str) -> None:
    oldest = store_of(store, DATES[0])
    using: dict[str, AbstractContextManager[None]] = {
        "a night's run": in_use(oldest.with_name(f"{oldest.name}.lock"), "it"),
        "a command that makes an artifact": ArtifactStore(oldest).locked(ARTIFACT),
        "nobody": nullcontext(),
    }
    with using[by]:
        remove_old_stores(store, Retention(nights=1), [TONIGHT])
        assert kept(store) == ([] if by == "nobody" else [DATES[0]])
    remove_old_stores(store, Retention(nights=1), [TONIGHT])
    assert kept(store) == []


@pytest.mark.slow
def test_a_run_over_midnight_is_tried_again_in_the_store_that_it_began_in(tmp_path: Path) -> None:
    before_midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0) - timedelta(seconds=1)
    seen: list[str] = []

    @flow(retries=1, persist_result=False)
    def failing_once() -> None:
        seen.append(store_of(tmp_path / "nightly", f"{first_start():%Y-%m-%d}").name)
        if len(seen) == 1:
            raise OSError("the network is gone")

    with prefect_test_harness(server_startup_timeout=1200):
        with get_client(sync_client=True) as client:
            run = client.create_flow_run(failing_once, state=Scheduled(scheduled_time=before_midnight))
        run_flow(failing_once, flow_run=run)
    assert seen == [f"nightly-{before_midnight:%Y-%m-%d}"] * 2
