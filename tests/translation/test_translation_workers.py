"""Several workers: the same bytes as one, whoever runs them and whatever ends them."""

import os
import shutil
import sys
import textwrap
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest
from translation_runs import CONFIG, files_of, needs_ray, rows_with_own_segments, translate

from cc_tuning.errors import ConfigError, TranslationFailed
from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.sources import Location
from cc_tuning.translation.job import DecodingJob, OpenShard
from data_contracts.errors import StoreUnavailable
from tests.dying_workers import WatchedShards, finished

NUMBER = 12
TWO_PROCESSES = {"translation_workers": 2}
TWO_ACTORS = {"translation_workers": 2, "task_runner": "ray"}
RUNNERS = [
    pytest.param(TWO_PROCESSES, id="two-processes"),
    pytest.param(TWO_ACTORS, id="ray", marks=[needs_ray, pytest.mark.slow]),
]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, tiny_nllb_folder: Path) -> dict[str, bytes]:
    """What one worker in this process makes of the rows."""
    _, artifact = translate(tmp_path_factory.mktemp("one"), rows_with_own_segments(NUMBER), tiny_nllb_folder, 2)
    return files_of(artifact)


def workers_of(parent: int) -> list[psutil.Process]:
    """The processes that decode for `parent`, whoever started them."""
    found = []
    for process in psutil.Process(parent).children(recursive=True):
        try:
            command = " ".join(process.cmdline())
        except psutil.Error:  # it has just ended
            continue
        if "cc_tuning.translation.workers" in command or "ray::ShardActor" in command:
            found.append(process)
    return found


@pytest.mark.parametrize("execution", RUNNERS)
def test_workers_and_their_runner_change_no_byte(
    execution: dict[str, Any], tmp_path: Path, tiny_nllb_folder: Path, undisturbed: dict[str, bytes]
) -> None:
    told: list[tuple[int, int, str]] = []

    def tell(done: int, total: int, unit: str, detail: str = "") -> None:
        assert unit == "rows"
        told.append((done, total, detail))

    rows = rows_with_own_segments(NUMBER)
    outcome, artifact = translate(tmp_path, rows, tiny_nllb_folder, 2, progress=tell, **execution)
    assert files_of(artifact) == undisturbed
    assert outcome.manifest.rows.kept == len(rows)
    assert [done for done, _, _ in told] == list(range(0, len(rows) + 1, 2))
    assert all("segments/s" in detail and "source tokens/s" in detail for _, _, detail in told[1:])


@pytest.mark.parametrize("execution", RUNNERS)
def test_a_killed_worker_is_an_error_and_only_the_shard_it_was_in_is_decoded_again(
    execution: dict[str, Any], tmp_path: Path, tiny_nllb_folder: Path,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    rows = rows_with_own_segments(NUMBER)
    watched = WatchedShards(tmp_path / "fates", monkeypatch, caplog)
    with pytest.raises(TranslationFailed, match=r"killed by signal SIGKILL|worker of translation on Ray died"):
        translate(tmp_path, rows, tiny_nllb_folder, 1, **execution)
    assert not workers_of(os.getpid()), "the other worker was not ended"
    (shards,) = (tmp_path / "store" / "translate").glob("*/shards")
    before = finished(shards)
    (lost,) = watched.made - Counter(before.keys())
    assert watched.made == Counter([*before, lost])
    assert 3 <= len(before) < len(rows) - 1
    _, artifact = translate(tmp_path, rows, tiny_nllb_folder, 1, **execution)
    after = finished(artifact / "shards")
    assert {name: after[name] for name in before} == before
    assert {name for name, times in watched.made.items() if times != 1} == {lost}
    assert (watched.made[lost], len(watched.made)) == (2, len(rows))
    assert execution == TWO_ACTORS or watched.begun == watched.made
    _, undisturbed = translate(tmp_path / "one", rows, tiny_nllb_folder, 1)
    assert files_of(artifact) == files_of(undisturbed)


FULL_DISK = textwrap.dedent(
    """
    import errno, os
    from pathlib import Path
    import pyarrow.parquet
    write_table = pyarrow.parquet.write_table

    def write(table, path, **options):
        if Path(os.environ["FULL_DISK"]).exists() and "/shards/" in str(path) and "00000002" in str(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        write_table(table, path, **options)

    pyarrow.parquet.write_table = write
    """
)
"""Imported by every new Python process: the disk is full for some files while the file $FULL_DISK is there."""


@pytest.mark.parametrize("execution", [pytest.param({}, id="one-process"), *RUNNERS])
def test_a_full_disk_is_said_and_another_run_goes_on(
    execution: dict[str, Any],
    tmp_path: Path,
    tiny_nllb_folder: Path,
    undisturbed: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(FULL_DISK)
    is_full = tmp_path / "full"
    is_full.touch()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("FULL_DISK", str(is_full))
    if not execution:
        import pyarrow.parquet

        monkeypatch.setattr(pyarrow.parquet, "write_table", pyarrow.parquet.write_table)  # restored in the end
        exec(FULL_DISK, {})
    rows = rows_with_own_segments(NUMBER)
    with pytest.raises(StoreUnavailable, match=r"segments\.parquet.*the disk is full"):
        translate(tmp_path, rows, tiny_nllb_folder, 2, **execution)
    is_full.unlink()
    _, artifact = translate(tmp_path, rows, tiny_nllb_folder, 2, **execution)
    assert files_of(artifact) == undisturbed


def test_a_translator_that_workers_cannot_load_is_named(tmp_path: Path, tiny_nllb_folder: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(tiny_nllb_folder, broken)
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(TranslationFailed, match=r"^translator .*broken cannot be loaded"):
        translate(tmp_path, rows_with_own_segments(4), broken, 2, **TWO_PROCESSES)


def test_without_ray_the_error_says_how_to_get_it(
    tmp_path: Path, tiny_nllb_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "cc_tuning.runtime.ray_workers", raising=False)
    with pytest.raises(ConfigError, match=r"cc-tuning\[ray\]"):
        translate(tmp_path, rows_with_own_segments(4), tiny_nllb_folder, 2, **TWO_ACTORS)


@pytest.mark.parametrize("workers", [1, 2, 3, 7, 50])
def test_work_is_split_evenly_and_completely(workers: int, tmp_path: Path) -> None:
    shards = tuple(
        OpenShard(name=f"{index:02d}", flores_code="spa_Latn", rows=1, characters=index * 37 % 100)
        for index in range(20)
    )
    job = DecodingJob(translator=Location("none"), config=CONFIG, execution=Execution(), folder=tmp_path, shards=shards)
    parts = [part.shards for part in job.split(workers)]
    assert sorted((shard for part in parts for shard in part), key=lambda shard: shard.name) == list(shards)
    assert len(parts) == min(workers, len(shards))
    assert all(parts)
    loads = [sum(shard.characters + 1 for shard in part) for part in parts]
    # The bound of giving each to whoever has least: nobody has more than the mean and one shard.
    assert max(loads) <= sum(loads) / len(loads) + 100
