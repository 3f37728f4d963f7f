"""Work that is cut into shards, any of which any process can do: what a worker is told, and what it tells back.

    folder/wanted/<name>    what a shard is made from, written by the plan and deleted when all is done
    folder/shards/<name>    the finished shard, written by a worker, with its marker

A job says all that decides the bytes of a shard, so it does not matter which worker takes it, where, or when, and a
kill loses at most the shards in flight. Job, reports and failures pass between processes as JSON.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

from pydantic import BaseModel, ConfigDict

from cc_tuning import errors
from cc_tuning.errors import CcTuningError
from cc_tuning.runtime.execution import Execution
from data_contracts import errors as data_errors
from data_contracts.errors import DataContractError
from data_contracts.shards import Shards

SHARDS, WANTED = "shards", "wanted"


class Shard(BaseModel):
    """A part of a job."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """Of its file, wanted and finished, below the folders of both."""

    @property
    def size(self) -> int:
        """How much work it is, in any unit that is the same for all shards of the job."""
        return 1


ShardT = TypeVar("ShardT", bound=Shard)
ReportT = TypeVar("ReportT", bound=BaseModel)


class Job(BaseModel, Generic[ShardT]):
    """Shards to make, and with what."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    execution: Execution
    folder: Path
    """Absolute; every worker must see it."""
    shards: tuple[ShardT, ...] = ()

    @property
    def is_local(self) -> bool:
        """Whether everything it names lies on this machine, so that workers need not ask the hub."""
        return True

    @property
    def environment(self) -> dict[str, str]:
        """Variables of its workers."""
        return {"HF_HUB_OFFLINE": "1"} if self.is_local else {}

    @property
    def finished(self) -> Shards:
        """The shards that are whole."""
        return Shards(self.folder / SHARDS)

    def wanted(self, name: str) -> Path:
        """The file that a shard is made from."""
        return self.folder / WANTED / name

    def of_open_shards(self) -> Self:
        """The same job without the shards that are whole."""
        waiting = tuple(shard for shard in self.shards if not self.finished.is_done(shard.name))
        return self.model_copy(update={"shards": waiting})

    def remove_strays(self) -> None:
        """Delete what an earlier run that cut the work otherwise left in the folders of this job's shards."""
        names = {self.finished.path(shard.name) for shard in self.shards}
        for folder in sorted({path.parent for path in names}):
            for path in sorted(folder.glob("*")):
                name, suffix, _ = path.name.partition(".parquet")
                if path.is_file() and folder / (name + suffix) not in names:
                    path.unlink()

    def split(self, workers: int) -> list[Self]:
        """At most `workers` jobs of about equal work: the largest shard goes to who has least. None is empty."""
        parts: list[list[ShardT]] = [[] for _ in range(min(workers, len(self.shards)))]
        sizes = [0] * len(parts)
        for shard in sorted(self.shards, key=lambda shard: (-shard.size, shard.name)):
            least = sizes.index(min(sizes))
            parts[least].append(shard)
            sizes[least] += shard.size + 1  # the one keeps empty shards from all going to one worker
        return [self.model_copy(update={"shards": tuple(part)}) for part in parts]


Say = Callable[[ReportT], None]
"""Called with each report of a worker: in the worker, and then, from any thread, in the process that started it."""
MakeShard = Callable[[Any, Say[ReportT]], None]
"""Makes one shard, marker last, and says what came of it."""


@dataclass(frozen=True)
class Work(Generic[ReportT]):
    """A kind of work that workers do."""

    name: str
    """For people: `translation`."""
    place: str
    """`package.module:NAME` of this value, where a worker finds it."""
    job: type[Job[Any]]
    report: type[ReportT]
    failure: type[CcTuningError]
    """What a dead worker is to whoever started it."""
    begin: Callable[[Any], MakeShard[ReportT]]
    """Loads what a job needs, once for all its shards."""
    settings: tuple[str, str]
    """The keys of `execution` for the number of workers and for the size of a batch; an error names them."""


class ShardBegun(BaseModel):
    """A worker has loaded what its job needs and is at work on a shard."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    begun: str
    """The shard's name."""


class WorkerFailure(BaseModel):
    """What ended a worker, so that a full disk is still a full disk to the process that started it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    """The name of the exception's class."""
    message: str
    errno: int | None = None
    """Of an operating-system error, with the file it was about."""
    filename: str | None = None

    @classmethod
    def of(cls, error: Exception) -> Self:
        """What to tell of `error`."""
        kind = type(error).__name__
        if isinstance(error, OSError) and error.errno is not None:
            filename = error.filename if isinstance(error.filename, str) else None
            return cls(kind=kind, message=error.strerror or str(error), errno=error.errno, filename=filename)
        return cls(kind=kind, message=str(error))

    def as_error(self, otherwise: type[CcTuningError]) -> Exception:
        """The exception again; `otherwise` where it is none of the two families of errors."""
        if self.errno is not None:
            return OSError(self.errno, self.message, self.filename)
        for family in (errors, data_errors):
            found = getattr(family, self.kind, None)
            if isinstance(found, type) and issubclass(found, CcTuningError | DataContractError):
                return found(self.message)
        return otherwise(self.message)


def make_shards(job: Job[Any], job_file: Path, make: MakeShard[Any], say: Callable[[BaseModel], None]) -> None:
    """Make the shards of `job` in their order while `job_file` is there; `say` is told of each before it is begun."""
    for shard in job.shards:
        if not job_file.exists():
            return
        say(ShardBegun(begun=shard.name))
        make(shard, say)
