"""Shards from the plan to English rows: what each must decode, decoding it, joining it, and how far that is.

A segment that stands in many rows is decoded once: by the first shard of its language, in the plan's order, that needs
it. Who that is takes segmentation only, and so is known before anything is translated. So shards can be decoded in any
order, by any worker, and after a kill or when one is made anew, the same segments meet in the same batches.
"""

import hashlib
import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

import polars as pl

from cc_tuning.runtime.jobs import WANTED
from cc_tuning.runtime.progress import Progress
from cc_tuning.translation.decoding import DecodingCounts, Vocabulary, cut_texts, prose_of
from cc_tuning.translation.job import DecodingJob, OnReport, OpenShard, ShardReport, WantedSegment
from cc_tuning.translation.memory import join_shards, sources_of
from cc_tuning.translation.segmentation import Segmenter
from cc_tuning.translation.shard_plan import Shard, is_whole, remove_strays
from data_contracts.parquet import write_parquet

logger = logging.getLogger(__name__)

_DIGEST_BYTES = 16

Decode = Callable[[DecodingJob, OnReport], None]
"""Decodes every shard of a job, with a report for each."""


class Meter:
    """Rows, segments and source tokens of all workers together."""

    def __init__(self, done: int, total: int, progress: Progress) -> None:
        self.counts = DecodingCounts()
        self._done, self._total, self._progress = done, total, progress
        self._started = time.monotonic()
        self._lock = threading.Lock()
        progress(done, total, "rows")

    def report(self, report: ShardReport) -> None:
        """Count a finished shard and tell how far everything is."""
        with self._lock:
            self._done += report.rows
            self.counts.add(report.counts)
            self._progress(self._done, self._total, "rows", self.speed)

    @property
    def speed(self) -> str:
        """The speed of decoding since the start of this run."""
        seconds = max(time.monotonic() - self._started, 1e-9)
        return f"{self.counts.segments / seconds:,.1f} segments/s | {self.counts.tokens / seconds:,.0f} source tokens/s"


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


def plan_decoding(planned: Sequence[Shard], vocabulary: Vocabulary, job: DecodingJob) -> Iterator[OpenShard]:
    """The shards whose segments are not decoded yet; the segments of each are written into `job`'s folder."""
    for language, of_language in groupby(planned, key=lambda shard: shard.language):
        segmenter = Segmenter(language, job.config.max_segment_tokens, vocabulary.count_tokens)
        # Digests, not texts: a language may have millions of segments.
        seen: set[bytes] = set()
        for shard in of_language:
            segments = prose_of(cut_texts(shard.texts, segmenter))
            wanted = sorted(segment for segment in segments if _digest(segment) not in seen)
            seen.update(_digest(segment) for segment in wanted)
            if _is_decoded(shard, wanted, job):
                continue
            frame = pl.DataFrame({"source": pl.Series(wanted, dtype=pl.String)})
            write_parquet(frame, job.wanted(shard.segments_name), WantedSegment)
            yield OpenShard(
                name=shard.segments_name,
                flores_code=language.flores_code,
                rows=shard.rows.height,
                characters=sum(map(len, wanted)),
            )


def _is_decoded(shard: Shard, wanted: list[str], job: DecodingJob) -> bool:
    """Whether the shard's segments are whole, and the ones that this plan wants."""
    if not is_whole(job.finished, shard.segments_name):
        return False
    if sources_of(job.finished, shard.segments_name) == wanted:
        return True
    logger.warning("translate: %s holds segments of another plan; decoded again", shard.segments_name)
    return False


def _digest(segment: str) -> bytes:
    return hashlib.blake2b(segment.encode(), digest_size=_DIGEST_BYTES).digest()


def _log(meter: Meter) -> None:
    counts = meter.counts
    flags = ", ".join(f"{flag} {number:,}" for flag, number in sorted(counts.flags.items()))
    logger.info(
        "translate: %s segments decoded, %s; decoded again %s, improved %s; flagged: %s",
        f"{counts.segments:,}", meter.speed, f"{counts.decoded_again:,}", f"{counts.improved:,}", flags or "none",
    )  # fmt: skip
