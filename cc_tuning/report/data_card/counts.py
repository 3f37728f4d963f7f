"""The counts of a data card, by language.

A language is Aya's code; another code of the same language counts to it, and what has no known code is `unknown`. Under
`ALL` stands the count of all rows together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

ALL, UNKNOWN = "", "unknown"
ORIGINS = ("english", "given", "translated")
LENGTHS = (
    "prompt, characters", "response, characters", "prompt, tokens", "response, tokens", "English prompt, tokens",
)  # fmt: skip


@dataclass(frozen=True)
class Lengths:
    """Of all lengths, sorted, the one in the middle, the one at nine tenths (nearest rank), and the last."""

    median: int
    ninth_decile: int
    longest: int


@dataclass(frozen=True)
class SetAside:
    """How many rows of a language a stage quarantined under a rule."""

    stage: str
    rule: str
    language: str
    rows: int


@dataclass(frozen=True)
class DataCounts:
    """The counts behind the tables; a mapping is by language, with `ALL`, and empty where its stage is missing."""

    read: Mapping[str, int] = field(default_factory=dict)
    """Rows of the source."""
    chosen: Mapping[str, int] = field(default_factory=dict)
    """Rows that `select` kept."""
    near_duplicates: Mapping[str, int] = field(default_factory=dict)
    """Chosen rows whose prompt and response have the words of another chosen row."""
    pairs: Mapping[str, int] = field(default_factory=dict)
    """Rows that `translate` kept."""
    origins: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Pairs by language and where their English comes from."""
    training_rows: Mapping[str, int] = field(default_factory=dict)
    """Rows of the task `native` that `materialize` kept; every setting has the same."""
    tasks: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Training rows by data setting (`plain`, `en`, ...) and task."""
    lengths: Mapping[str, Mapping[str, Lengths]] = field(default_factory=dict)
    """By one of `LENGTHS`, then by language. Tokens of a prompt include the chat template."""
    quality: Mapping[str, float] = field(default_factory=dict)
    """Mean over translated pairs; empty when there are none."""
    flags: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Pairs by language and flag of their translation."""
    set_aside: Sequence[SetAside] = ()

    @property
    def languages(self) -> tuple[str, ...]:
        """Every language of some row, those with most pairs (then chosen rows) first, `unknown` last."""
        found = {
            *self.read,
            *self.chosen,
            *self.pairs,
            *self.training_rows,
            *(part.language for part in self.set_aside),
        } - {ALL}
        return tuple(sorted(found, key=lambda at: (at == UNKNOWN, -self.pairs.get(at, 0), -self.chosen.get(at, 0), at)))

    def rows_set_aside(self, stage: str, language: str = ALL) -> int:
        """Rows that a stage quarantined, of one language or of all."""
        return sum(at.rows for at in self.set_aside if at.stage == stage and language in (ALL, at.language))
