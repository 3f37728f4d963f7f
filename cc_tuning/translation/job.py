"""What a decoding worker is told and what it tells back: shards in, a report per finished shard out.

folder/wanted/<language>/<rows>.segments.parquet    WantedSegment, written by the plan, deleted when all is joined
folder/shards/<language>/<rows>.segments.parquet    DecodedSegment, written by a worker, with marker
"""

from collections.abc import Callable

import dataframely as dy
from pydantic import BaseModel, ConfigDict, Field

from cc_tuning.runtime.jobs import Job, Shard
from cc_tuning.runtime.sources import Location
from cc_tuning.text.languages import ENGLISH_FLORES_CODE, Language, by_flores_code
from cc_tuning.translation.config import TranslationConfig
from cc_tuning.translation.decoding import DecodingCounts


class WantedSegment(dy.Schema):
    """A segment to decode; the language is that of the folder the file is in."""

    source = dy.String(primary_key=True, nullable=False, min_length=1)


class OpenShard(Shard):
    """A shard whose segments are still to be decoded; its name is that of their file, wanted and decoded."""

    flores_code: str
    rows: int = Field(ge=1)
    characters: int = Field(ge=0)
    """Of its segments, as a measure of the work."""

    @property
    def language(self) -> Language:
        """Of its rows."""
        return by_flores_code(self.flores_code)

    @property
    def size(self) -> int:
        return self.characters


class DecodingJob(Job[OpenShard]):
    """Shards to decode, and with what."""

    translator: Location
    config: TranslationConfig
    target_flores_code: str = ENGLISH_FLORES_CODE
    """Of the language that every segment is translated into."""

    @property
    def is_local(self) -> bool:
        return self.translator.is_local

    @property
    def target(self) -> Language:
        """The language that every segment is translated into."""
        return by_flores_code(self.target_flores_code)


class ShardReport(BaseModel):
    """A shard was decoded and lies whole on the disk."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shard: str
    rows: int
    counts: DecodingCounts


OnReport = Callable[[ShardReport], None]
"""Called once per finished shard, from any thread."""
