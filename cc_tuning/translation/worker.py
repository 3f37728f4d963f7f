"""A worker process: `python -m cc_tuning.translation.worker JOB.json` loads the translator once and decodes the shards.

On stdout it says one line of JSON per finished shard (ShardReport) and, at worst, a last one that says what went wrong
(WorkerFailure), so that a full disk is still a full disk to the process that started it.
"""

import logging
import sys
from pathlib import Path

import torch
from pydantic import BaseModel
from transformers.utils.logging import disable_progress_bar

from cc_tuning.errors import CcTuningError, TranslationFailed
from cc_tuning.translation.backends import load_translator
from cc_tuning.translation.job import DecodingJob
from cc_tuning.translation.shard_decoding import decode_shard
from data_contracts.errors import DataContractError


class WorkerFailure(BaseModel):
    """What ended a worker."""

    message: str
    errno: int | None = None
    """Of an operating-system error, with the file it was about."""
    filename: str | None = None

    @classmethod
    def of(cls, error: Exception) -> "WorkerFailure":
        """What to tell of `error`."""
        if isinstance(error, OSError) and error.errno is not None:
            filename = error.filename if isinstance(error.filename, str) else None
            return cls(message=error.strerror or str(error), errno=error.errno, filename=filename)
        return cls(message=str(error))

    @property
    def error(self) -> Exception:
        """As an exception again, for the process that started the worker."""
        if self.errno is None:
            return TranslationFailed(self.message)
        return OSError(self.errno, self.message, self.filename)


def main(job_file: Path) -> None:
    """Decode the job in `job_file`."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    disable_progress_bar()  # stderr is kept for what went wrong
    job = DecodingJob.model_validate_json(job_file.read_text(encoding="utf-8"))
    torch.set_num_threads(job.execution.threads)
    try:
        translator = load_translator(job.translator, job.config, job.execution)
        for shard in job.shards:
            _say(decode_shard(shard, translator, job))
    except (CcTuningError, DataContractError, OSError) as error:
        _say(WorkerFailure.of(error))
        raise


def _say(message: BaseModel) -> None:
    sys.stdout.write(message.model_dump_json() + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
