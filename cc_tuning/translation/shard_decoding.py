"""One shard's segments in English: what every worker does, wherever it runs."""

from cc_tuning.text.languages import ENGLISH
from cc_tuning.translation.decoding import CheckedDecoder, Translator
from cc_tuning.translation.job import DecodingJob, OpenShard, ShardReport, WantedSegment
from cc_tuning.translation.memory import keep_segments
from data_contracts.parquet import read_parquet


def decode_shard(shard: OpenShard, translator: Translator, job: DecodingJob) -> ShardReport:
    """Decode what `shard` wants and write it, marker last.

    The batches are made from these segments alone: no other shard has a say in its bytes.
    """
    wanted = read_parquet(job.wanted(shard.name), WantedSegment)["source"].to_list()
    decoder = CheckedDecoder(translator, job.config.retry)
    keep_segments(decoder.decode(wanted, shard.language, ENGLISH), job.finished, shard.name)
    return ShardReport(shard=shard.name, rows=shard.rows, counts=decoder.counts)
