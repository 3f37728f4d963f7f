"""What a decoding worker is told and what it tells back, both as JSON: shards in, a report per finished shard out.

    folder/wanted/<language>/<rows>.segments.parquet    WantedSegment, written by the plan, deleted when all is joined
    folder/shards/<language>/<rows>.segments.parquet    DecodedSegment, written by a worker, with marker

A job says all that decides a shard's bytes, so that it does not matter which worker takes it, where, or when.
"""

from collections.abc import Callable
from pathlib import Path

import dataframely as dy
from pydantic import BaseModel, ConfigDict, Field

from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.sources import Location
from cc_tuning.text.languages import Language, by_flores_code
from cc_tuning.translation.config import TranslationConfig
from cc_tuning.translation.decoding import DecodingCounts
from data_contracts.shards import Shards

SHARDS, WANTED = "shards", "wanted"


class WantedSegment(dy.Schema):
    """A segment to decode; the language is that of the folder the file is in."""

    source = dy.String(primary_key=True, nullable=False, min_length=1)


class OpenShard(BaseModel):
    """A shard whose segments are still to be decoded."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """Of the file of its segments, wanted and decoded."""
    flores_code: str
    rows: int = Field(ge=1)
    characters: int = Field(ge=0)
    """Of its segments, as a measure of the work."""

    @property
    def language(self) -> Language:
        """Of its rows."""
        return by_flores_code(self.flores_code)


class DecodingJob(BaseModel):
    """Shards to decode, and with what."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    translator: Location
    config: TranslationConfig
    execution: Execution
    folder: Path
    """Of the artifact, absolute; every worker must see it."""
    shards: tuple[OpenShard, ...] = ()

    @property
    def finished(self) -> Shards:
        """The shards that are whole."""
        return Shards(self.folder / SHARDS)

    def wanted(self, name: str) -> Path:
        """The file of the segments that a shard must decode."""
        return self.folder / WANTED / name

    def split(self, workers: int) -> list["DecodingJob"]:
        """At most `workers` jobs of about equal work: the largest shard goes to who has least. None is empty."""
        parts: list[list[OpenShard]] = [[] for _ in range(min(workers, len(self.shards)))]
        characters = [0] * len(parts)
        for shard in sorted(self.shards, key=lambda shard: (-shard.characters, shard.name)):
            least = characters.index(min(characters))
            parts[least].append(shard)
            characters[least] += shard.characters + 1  # the one keeps empty shards from all going to one worker
        return [self.model_copy(update={"shards": tuple(part)}) for part in parts]


class ShardReport(BaseModel):
    """A shard was decoded and lies whole on the disk."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shard: str
    rows: int
    counts: DecodingCounts


OnReport = Callable[[ShardReport], None]
"""Called once per finished shard, from any thread."""
