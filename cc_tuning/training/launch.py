"""The training processes of one job: started, watched, and ended with their parent.

torchrun starts each rank in a session of its own, which a signal to torchrun's process group does not reach; so every
rank asks the kernel to be killed when torchrun ends, and torchrun when this process ends
(cc_tuning.runtime.subprocesses).
"""

import logging
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from cc_tuning.errors import TrainingFailed
from cc_tuning.runtime.progress import Progress
from cc_tuning.runtime.subprocesses import progress_lines, run_worker
from cc_tuning.training.job import TRAINER, TrainingJob
from data_contracts.files import written_atomically

logger = logging.getLogger(__name__)

_LAST_LINES_PER_RANK = 12
_ROOT_CAUSE = re.compile(r"Root Cause.*?rank\s*: (?P<rank>\d+).*?exitcode\s*: (?P<code>-?\d+)", re.DOTALL)


def run_job(job: TrainingJob, progress: Progress) -> None:
    """Run `job` in `execution.processes` processes on this machine and return when all of them have succeeded.

    Raises:
        TrainingFailed: a rank failed; the message has the last lines of each.
    """
    logs = job.folder / TRAINER / "logs"
    job_file = write_job(job)
    before = set(_error_logs(logs))
    try:
        run_worker(
            _command(job, job_file, logs),
            name="training",
            failure=TrainingFailed,
            on_line=_reader(progress),
            environment=_environment(job),
        )
    except TrainingFailed as error:
        said = _last_lines([path for path in _error_logs(logs) if path not in before])
        words = [_of_rank(rank, lines) for rank, lines in said]
        if not any(lines for _, lines in said):  # ranks that were killed say nothing; torchrun says at least who was
            words.append(str(error))
        ended = _first_to_end(str(error))
        raise TrainingFailed("\n".join([f"training stopped before its last step{ended}", *words])) from error


def write_job(job: TrainingJob) -> Path:
    """The file that each training process is told: `trainer/job.json` in the job's folder."""
    job_file = job.folder / TRAINER / "job.json"
    with written_atomically(job_file) as temporary:
        temporary.write_text(job.model_dump_json(indent=2), encoding="utf-8")
    return job_file


def _command(job: TrainingJob, job_file: Path, logs: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "cc_tuning.training.torchrun"),
        *("--nnodes", "1", "--nproc-per-node", str(job.execution.processes)),
        *("--rdzv-backend", "loopback", "--rdzv-endpoint", "127.0.0.1:0", "--rdzv-id", "cc-tuning"),
        *("--log-dir", str(logs), "--redirects", "2"),  # 2: stderr of each rank goes to its file
        *("-m", "cc_tuning.training.worker", str(job_file)),
    ]


def _environment(job: TrainingJob) -> dict[str, str]:
    environment = {
        "OMP_NUM_THREADS": str(job.execution.threads),
        "TOKENIZERS_PARALLELISM": "false",
        "GLOO_SOCKET_IFNAME": "lo",
        "NCCL_SOCKET_IFNAME": "lo",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    if job.base_revision is None:
        environment["HF_HUB_OFFLINE"] = "1"
    if job.execution.device == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""
    return environment


def _reader(progress: Progress) -> Callable[[str], None]:
    """Rank zero speaks on stdout: progress as JSON, everything else is a line for the log."""
    forward = progress_lines(progress)

    def on_line(line: str) -> None:
        if line.startswith("{"):
            forward(line)
        else:
            logger.info("%s", line)

    return on_line


def _error_logs(logs: Path) -> list[Path]:
    return sorted(logs.rglob("stderr.log"))


def _last_lines(logs: list[Path]) -> list[tuple[str, list[str]]]:
    """The last lines of each rank on stderr; the rank is the name of the log's folder."""
    texts = ((path.parent.name, path.read_text(encoding="utf-8", errors="replace")) for path in logs)
    return [(rank, text.rstrip().splitlines()[-_LAST_LINES_PER_RANK:]) for rank, text in texts]


def _of_rank(rank: str, lines: list[str]) -> str:
    return f"rank {rank}:\n  " + ("\n  ".join(lines) or "(it said nothing)")


def _first_to_end(torchrun_says: str) -> str:
    """The rank that was the first to fail, in torchrun's summary, and the signal that killed it."""
    cause = _ROOT_CAUSE.search(torchrun_says)
    if cause is None or int(cause["code"]) >= 0:
        return ""
    number = signal.Signals(-int(cause["code"]))
    hint = "; that often means that memory ran out" if number == signal.SIGKILL else ""
    return f": rank {cause['rank']} was killed by {number.name}{hint}"
