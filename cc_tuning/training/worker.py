"""One training process (a torchrun rank): `python -m cc_tuning.training.worker JOB.json`."""

import logging
import os
import signal
import sys
from pathlib import Path

import torch

from cc_tuning.errors import CcTuningError
from cc_tuning.runtime.subprocesses import die_with_parent
from cc_tuning.training.distributed import as_launched
from cc_tuning.training.job import TrainingJob
from cc_tuning.training.objectives.table import load_objective
from cc_tuning.training.parquet_rows import read_rows
from cc_tuning.training.run import train_on
from data_contracts.errors import DataContractError


def train(job: TrainingJob) -> None:
    """Train on the rows of the job's parquet file, as `train_on` does.

    Raises:
        ArtifactMismatch: the file of the rows, or one of the base model, is missing or damaged.
    """
    train_on(read_rows(job.rows, load_objective(job.config.objective).contract), job)


def main(job_file: Path) -> int:
    """Run the job of a file; the exit code is 1 after an error a user can act on, which is the last line on stderr."""
    die_with_parent(os.getppid(), signal.SIGKILL)
    is_rank_zero = os.environ.get("RANK", "0") == "0"
    logging.basicConfig(
        stream=sys.stdout if is_rank_zero else sys.stderr, level=logging.WARNING, format="%(message)s", force=True
    )
    logging.getLogger("cc_tuning").setLevel(logging.INFO)
    try:
        train(as_launched(TrainingJob.model_validate_json(job_file.read_text(encoding="utf-8"))))
    except (CcTuningError, DataContractError) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 1
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
