"""A run of two workers of which one dies in the middle of a shard, with a record of who made what."""

import logging
import os
import textwrap
from collections import Counter
from pathlib import Path

import pytest

FATES = textwrap.dedent(
    """
    import os, signal, time
    from contextlib import suppress
    from pathlib import Path

    import psutil
    import pyarrow.parquet

    write_table = pyarrow.parquet.write_table
    folder = Path(os.environ["FATES"])
    written = 0

    def wait_until(holds):
        deadline = time.monotonic() + 300
        while not holds():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def meet_fate():
        victim, survivor = folder / "victim", folder / "survivor"
        with suppress(FileExistsError), victim.open("x") as file:
            file.write(str(os.getpid()))
            file.flush()
            wait_until(survivor.exists)
            os.kill(os.getpid(), signal.SIGKILL)
        if not survivor.exists():
            survivor.touch()
            wait_until(lambda: victim.read_text() and not psutil.pid_exists(int(victim.read_text())))
            time.sleep(0.5)  # long enough for being ended with the victim, by a parent that does so

    def write(table, path, **options):
        global written
        inside = Path(str(path).partition("/shards/")[2])
        if inside.name:
            with (folder / "made").open("a") as file:
                file.write(f"{inside.with_name(inside.name[1:].rsplit('.', 2)[0])}\\n")
            written += 1
            if written == 2:
                meet_fate()
        write_table(table, path, **options)

    pyarrow.parquet.write_table = write
    """
)
"""Imported by every new Python process. A worker's first shard is as ever. When both have made their second and nothing
of it is on the disk, one is killed by SIGKILL; the other goes on when that one is gone."""


class WatchedShards:
    """Which shards workers took and made since this was made, by what they say and by what they write."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(FATES)
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
        monkeypatch.setenv("FATES", str(folder))
        caplog.set_level(logging.DEBUG, logger="cc_tuning.runtime.process_workers")
        self._folder, self._caplog = folder, caplog

    @property
    def made(self) -> Counter[str]:
        """How often each shard was made, on the disk or not."""
        return Counter((self._folder / "made").read_text().splitlines())

    @property
    def begun(self) -> Counter[str]:
        """How often each shard was begun by a worker process."""
        words = (record.getMessage().split(" begins ") for record in self._caplog.records)
        return Counter(said[1] for said in words if len(said) == 2)


def finished(shards: Path) -> dict[str, int]:
    """When each finished shard below the folder `shards` was marked."""
    suffix = ".done.json"
    return {
        path.relative_to(shards).as_posix().removesuffix(suffix): path.stat().st_mtime_ns
        for path in shards.rglob(f"*{suffix}")
    }
