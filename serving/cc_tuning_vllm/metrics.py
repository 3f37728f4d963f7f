"""How often and how long prompts were connected, for Prometheus.

What is counted happens in the workers, and `/metrics` is answered by the front end, two processes apart. So a worker
keeps its counters in a file, in the format by which prometheus_client joins processes, and the front end reads the
files when it is asked. vLLM makes a directory for such files where it has several API servers
(`PROMETHEUS_MULTIPROC_DIR`); else the front end makes one and the workers, which it starts, inherit its name.

A worker on another machine, or started by Ray, has no such directory and counts nothing.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from prometheus_client import REGISTRY
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.multiprocess import MultiProcessCollector
from torch import device

from cc_tuning_vllm.request_mode import MODES
from cc_tuning_vllm.stopwatch import Stopwatch

VLLM_FOLDER, OWN_FOLDER = "PROMETHEUS_MULTIPROC_DIR", "CC_TUNING_METRICS_DIR"
PROMPTS = "cc_tuning:prompts"
PROMPTS_HELP = "Prompts that were read to their end, by how they are connected."
SECONDS = "cc_tuning:connection_seconds"
SECONDS_HELP = "Seconds in which rows were read again to be connected."


class Meter:
    """The counters of one model in one worker."""

    def __init__(self, model_name: str, folder: Path | None) -> None:
        self._model_name = model_name
        self._file = None if folder is None else MmapedDict(str(folder / f"counter_cc-tuning-{os.getpid()}.db"))
        self._stopwatch = Stopwatch()
        self.count_prompts(Counter(dict.fromkeys(MODES, 0)))
        self._add(SECONDS, SECONDS_HELP, {}, 0.0)

    @classmethod
    def of_process(cls, model_name: str, counts: bool) -> "Meter":
        """A meter that writes to where the front end of this process reads, or nowhere unless it `counts`.

        Of several workers that compute the same prompts one counts.
        """
        name = os.environ.get(VLLM_FOLDER) or os.environ.get(OWN_FOLDER)
        return cls(model_name, Path(name) if name and counts else None)

    def count_prompts(self, modes: Iterable[str]) -> None:
        """Count prompts that were read to their end, by their modes."""
        for mode, prompts in Counter(modes).items():
            self._add(PROMPTS, PROMPTS_HELP, {"mode": mode}, prompts)

    @contextmanager
    def timed(self, where: device) -> Iterator[None]:
        """Add the seconds that the device works on what is inside; those of a GPU when it has come so far."""
        with self._stopwatch.running(where):
            yield
        self._add(SECONDS, SECONDS_HELP, {}, self._stopwatch.taken())

    def _add(self, name: str, explanation: str, labels: dict[str, str], amount: float) -> None:
        if self._file is None:
            return
        labels = {"model_name": self._model_name} | labels
        key = mmap_key(name, f"{name}_total", list(labels), list(labels.values()), explanation)
        self._file.write_value(key, self._file.read_value(key)[0] + amount, 0.0)


class WorkersCollector(MultiProcessCollector):
    """The counters of all workers of this process, in a directory that lasts as long as the process."""

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(prefix="cc-tuning-metrics-")
        super().__init__(REGISTRY, path=self._folder.name)
        os.environ[OWN_FOLDER] = self._folder.name


def collect_from_workers() -> None:
    """Make `/metrics` of this process tell what its workers count; before they are started, and twice is once."""
    if not os.environ.get(VLLM_FOLDER) and not os.environ.get(OWN_FOLDER):
        WorkersCollector()
