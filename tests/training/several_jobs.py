"""Trains jobs one after the other in the same ranks: `python -m tests.training.several_jobs JOB.json ...`.

Starting processes takes longer than these trainings.
"""

import os
import signal
import sys
from pathlib import Path

import torch

from cc_tuning.runtime.subprocesses import die_with_parent
from cc_tuning.training.distributed import as_launched
from cc_tuning.training.job import TrainingJob
from cc_tuning.training.worker import train
from tests.training.gradients import forget_engine

if __name__ == "__main__":
    die_with_parent(os.getppid(), signal.SIGKILL)
    for file in sys.argv[1:]:
        forget_engine()
        train(as_launched(TrainingJob.model_validate_json(Path(file).read_text(encoding="utf-8"))))
    torch.distributed.destroy_process_group()
