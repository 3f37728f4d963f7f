"""A training process whose third checkpoint save dies at each of its file operations in turn.

`python -m tests.training.killed_saves JOB.json`: training runs up to that save. Then, for n = 1, 2, ..., the folder of
the Trainer is copied to `killed-n` and a fork of the process saves into the copy, and is gone (`os._exit`, no cleaning
up) before the n-th operation, until one survives all of them. Operations are what Python reports to audit hooks (opens
to write, renames, removals, folders made and removed) and the writing of tensors, which is done outside of Python:
those files are cut in half.
"""

import os
import shutil
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from transformers import TrainerCallback

from cc_tuning.training import run, worker
from cc_tuning.training.job import TrainingJob
from cc_tuning.training.trainer import LengthGroupedTrainer

EVERY, KILLED_STEP = 2, 6
_AUDITED = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link"}


def die_before_operation(number: int) -> None:
    """From now on count this process's file operations, and end it before the one with `number`."""
    done = count(1)

    def is_the_one() -> bool:
        return next(done) == number

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        opens_to_write = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if (opens_to_write or event in _AUDITED) and is_the_one():
            os._exit(9)

    def cut_short(write: Callable[..., Any]) -> Callable[..., Any]:
        def writing(content: Any, path: Any, *arguments: Any, **named: Any) -> None:
            is_killed = is_the_one()
            write(content, path, *arguments, **named)
            if is_killed:
                os.truncate(path, Path(path).stat().st_size // 2)
                os._exit(9)

        return writing

    torch.save = cut_short(torch.save)
    safetensors.torch.save_file = cut_short(safetensors.torch.save_file)
    sys.addaudithook(audit)


class KilledSaves(LengthGroupedTrainer):
    """Saves as ever, apart from the save of `KILLED_STEP`."""

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        if self.state.global_step == KILLED_STEP:
            folder = Path(self.args.output_dir or "")
            for number in count(1):
                copy = shutil.copytree(folder, folder.with_name(f"killed-{number}"))
                child = os.fork()
                if child == 0:
                    self.args.output_dir = str(copy)
                    self.add_callback(EndAfterSave())
                    die_before_operation(number)
                    break
                if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
                    os._exit(0)
        super()._save_checkpoint(model, trial)


class EndAfterSave(TrainerCallback):
    """The last callback of a save that was not killed ends the process."""

    def on_save(self, *arguments: Any, **named: Any) -> None:
        os._exit(0)


if __name__ == "__main__":
    run.LengthGroupedTrainer = KilledSaves
    worker.train(TrainingJob.model_validate_json(Path(sys.argv[1]).read_text(encoding="utf-8")))
