"""Which segments each shard must decode, known before anything is translated.

A segment that stands in many rows is decoded once: by the first shard of its language, in the plan's order, that needs
it. Who that is takes segmentation only. So shards can be decoded in any order, by any worker, and after a kill or when
one is made anew, the same segments meet in the same batches.
"""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from itertools import groupby

import polars as pl

from cc_tuning.translation.decoding import Vocabulary
from cc_tuning.translation.job import DecodingJob, OpenShard, WantedSegment
from cc_tuning.translation.memory import sources_of
from cc_tuning.translation.segmentation import Segmenter
from cc_tuning.translation.shard_plan import Shard, is_whole
from cc_tuning.translation.texts import cut_texts, prose_of
from data_contracts.parquet import write_parquet

logger = logging.getLogger(__name__)

_DIGEST_BYTES = 16


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
