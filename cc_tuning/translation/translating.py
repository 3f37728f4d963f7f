"""Shards from the plan to English rows: what to decode, decoding it, joining it, and how far that is."""

import logging
import shutil
import threading
import time
from collections.abc import Callable

import polars as pl

from cc_tuning.runtime.jobs import WANTED
from cc_tuning.runtime.progress import Progress
from cc_tuning.translation.decoding import Tally, Vocabulary
from cc_tuning.translation.job import DecodingJob, OnReport, ShardReport
from cc_tuning.translation.joining import join_shards
from cc_tuning.translation.planning import plan_decoding
from cc_tuning.translation.shard_plan import Shard, remove_strays

logger = logging.getLogger(__name__)

Decode = Callable[[DecodingJob, OnReport], None]
"""Decodes every shard of a job, with a report for each."""


class Meter:
    """Rows, segments and source tokens of all workers together."""

    def __init__(self, done: int, total: int, progress: Progress) -> None:
        self.tally = Tally()
        self._done, self._total, self._progress = done, total, progress
        self._started = time.monotonic()
        self._lock = threading.Lock()
        progress(done, total, "rows")

    def report(self, report: ShardReport) -> None:
        """Count a finished shard and tell how far everything is."""
        with self._lock:
            self._done += report.rows
            self.tally.add(report.tally)
            self._progress(self._done, self._total, "rows", self.speed)

    @property
    def speed(self) -> str:
        """Of decoding, since the start of this run."""
        seconds = max(time.monotonic() - self._started, 1e-9)
        return f"{self.tally.segments / seconds:,.1f} segments/s | {self.tally.tokens / seconds:,.0f} source tokens/s"


def translate_shards(
    planned: list[Shard], vocabulary: Vocabulary, job: DecodingJob, decode: Decode, progress: Progress
) -> pl.DataFrame:
    """The translations (TranslatedRow) of every planned shard: those that a killed run had finished, and the rest now.

    `job` has no shards yet; it says with what and where to decode.

    Raises:
        TranslationFailed: a worker failed, or the shards together do not hold each row exactly once.
    """
    remove_strays(job.finished.folder, planned)
    open_shards = tuple(plan_decoding(planned, vocabulary, job))
    total = sum(shard.rows.height for shard in planned)
    if len(open_shards) < len(planned):
        finished = len(planned) - len(open_shards)
        logger.info("translate: %d of %d shards were decoded before", finished, len(planned))
    meter = Meter(total - sum(shard.rows for shard in open_shards), total, progress)
    if open_shards:
        decode(job.model_copy(update={"shards": open_shards}), meter.report)
        _log(meter)
    decoded_now = {shard.name for shard in open_shards}
    translated = join_shards(planned, decoded_now, vocabulary, job.config.max_segment_tokens, job.finished)
    shutil.rmtree(job.folder / WANTED, ignore_errors=True)
    return translated


def _log(meter: Meter) -> None:
    tally = meter.tally
    flags = ", ".join(f"{flag} {number:,}" for flag, number in sorted(tally.flags.items()))
    logger.info(
        "translate: %s segments decoded, %s; decoded again %s, improved %s; flagged: %s",
        f"{tally.segments:,}", meter.speed, f"{tally.decoded_again:,}", f"{tally.improved:,}", flags or "none",
    )  # fmt: skip
