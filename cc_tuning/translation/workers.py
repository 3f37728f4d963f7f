"""The work of a decoding worker, and who does it: this process where one worker is enough, or several (or Ray)."""

from cc_tuning.errors import TranslationFailed
from cc_tuning.runtime.jobs import MakeShard, Say, Work
from cc_tuning.runtime.threads import RunAll
from cc_tuning.runtime.workers import run_here, run_job
from cc_tuning.translation.backends import load_translator
from cc_tuning.translation.decoding import CheckedDecoder, Translator
from cc_tuning.translation.job import DecodingJob, OnReport, OpenShard, ShardReport, WantedSegment
from cc_tuning.translation.memory import keep_segments
from data_contracts.parquet import read_parquet


def decode_job(job: DecodingJob, on_report: OnReport, run_all: RunAll) -> None:
    """Decode every shard of `job` as `job.execution` says, with a report for each.

    Raises:
        TranslationFailed: the translator cannot be loaded, or a worker died.
        ConfigError: there is no such device, or Ray is not installed or too small.
        OSError: a worker could not write.
    """
    workers = job.execution.translation_workers
    if workers == 1 and job.execution.task_runner != "ray":
        run_here(DECODING, job, on_report)
    else:
        run_job(DECODING, job, on_report, run_all, workers)


def decode_shard(shard: OpenShard, translator: Translator, job: DecodingJob) -> ShardReport:
    """Decode what `shard` wants and write it, marker last.

    The batches are made from these segments alone: no other shard has a say in its bytes.
    """
    wanted = read_parquet(job.wanted(shard.name), WantedSegment)["source"].to_list()
    decoder = CheckedDecoder(translator, job.config.retry)
    keep_segments(decoder.decode(wanted, shard.language, job.target), job.finished, shard.name)
    return ShardReport(shard=shard.name, rows=shard.rows, counts=decoder.counts)


def begin_decoding(job: DecodingJob) -> MakeShard[ShardReport]:
    """The function that decodes shards, the translator loaded."""
    translator = load_translator(job.translator, job.config, job.execution)

    def decode(shard: OpenShard, say: Say[ShardReport]) -> None:
        say(decode_shard(shard, translator, job))

    return decode


DECODING = Work(
    name="translation",
    place=f"{__name__}:DECODING",
    job=DecodingJob,
    report=ShardReport,
    failure=TranslationFailed,
    begin=begin_decoding,
    settings=("translation_workers", "translation_batch_tokens"),
)
