"""Counts of the training rows of a `materialize` artifact, taken while they stream by."""

from collections import Counter
from dataclasses import dataclass, field

import polars as pl

from cc_tuning.training.rows.preference import SEQUENCES


@dataclass
class RowTally:
    """The counts of the rows so far; tokens are without padding."""

    pairs: int = 0
    english_pairs: int = 0
    responses_cut: int = 0
    rows_by_task: Counter[str] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)
    quarantined: Counter[str] = field(default_factory=Counter)
    """Rows by rule."""
    best_quality: float = 0.0
    """The best quality of a pair's translation."""

    def add_pairs(self, pairs: pl.DataFrame) -> None:
        """Count one batch of pairs."""
        self.pairs += pairs.height
        self.best_quality = max(self.best_quality, *pairs["quality"])
        self.english_pairs += pairs.filter(pl.col("origin") == "english").height

    def add_rows(self, fitting: pl.DataFrame, cut: pl.DataFrame, set_aside: pl.DataFrame) -> None:
        """Count one batch of rows: those that fit, before and after responses are cut, and the others."""
        lengths = fitting["input_ids"].list.len()
        kept = cut["input_ids"].list.len()
        self.responses_cut += int((kept < lengths).sum())
        self.rows_by_task.update(cut["task"].to_list())
        self.quarantined.update(set_aside["rule"].to_list())
        self.tokens["tokens"] += int(kept.sum())
        self.tokens["prompt_tokens"] += int(cut["prompt_length"].sum())
        self.tokens["english_tokens"] += int(cut["english_input_ids"].list.len().sum())

    def summary(self) -> dict[str, object]:
        """The contents of `summary.json`."""
        return {
            "pairs": self.pairs,
            "english_pairs": self.english_pairs,
            "rows_by_task": dict(sorted(self.rows_by_task.items())),
            "responses_cut": self.responses_cut,
            **{name: self.tokens[name] for name in ("tokens", "prompt_tokens", "english_tokens")},
        }


@dataclass
class PreferenceTally:
    """The counts of preference rows so far; tokens are those of all four sequences, without padding."""

    pairs: int = 0
    rows: int = 0
    tokens: int = 0
    quarantined: Counter[str] = field(default_factory=Counter)
    """Pairs by rule."""
    best_quality: float = 0.0
    """The best quality of a pair's translation."""

    def add(self, pairs: pl.DataFrame, rows: pl.DataFrame, set_aside: pl.DataFrame) -> None:
        """Count one batch of pairs, the rows made of them, and the others."""
        self.pairs += pairs.height
        self.rows += rows.height
        self.best_quality = max(self.best_quality, *pairs["quality"])
        self.quarantined.update(set_aside["rule"].to_list())
        self.tokens += sum(int(rows[name].list.len().sum()) for name in SEQUENCES)

    def summary(self) -> dict[str, object]:
        """The contents of `summary.json`."""
        return {"pairs": self.pairs, "rows": self.rows, "tokens": self.tokens}
