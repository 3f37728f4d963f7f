"""Item scores of one benchmark as a table: a row for each item in each language, a column for each measurement.

Joins are done once here; what is compared afterwards is columns of one array.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from cc_tuning.evaluation.statistics.units import Cells, Floats, sorted_cells

_ITEM = ("language", "item_id")
Key = tuple[Any, ...]


@dataclass(frozen=True)
class ScoreTable:
    """Scores of one benchmark."""

    rows: pl.DataFrame
    """Language, item_id and group of each of the N rows."""
    cells: Cells
    columns: Mapping[Key, int]
    """Places of the measurements."""
    values: Floats
    """`[N, K]`; not a number where an item was not measured."""

    def column(self, key: Key) -> Floats:
        """`[N]`: one measurement; not a number throughout where it was never made."""
        place = self.columns.get(key)
        return np.full(len(self.values), np.nan) if place is None else self.values[:, place]

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """The groups that items belong to, by name."""
        return tuple(sorted(self.rows["group"].drop_nulls().unique().to_list()))

    def part(self, *, group: str | None = None, language: str | None = None) -> "ScoreTable":
        """The rows of one group of items, of one language, or of both."""
        kept = pl.lit(True)
        if group is not None:
            kept = kept & (pl.col("group") == group)
        if language is not None:
            kept = kept & (pl.col("language") == language)
        mask = self.rows.select(kept.fill_null(False).alias("kept")).to_series()
        places = np.arange(self.rows.height) if len(mask) == 1 and mask[0] else np.flatnonzero(mask.to_numpy())
        languages, language_of_row = np.unique(self.cells.language[places], return_inverse=True)
        cells = Cells(
            tuple(self.cells.languages[at] for at in languages),
            language_of_row.astype(np.intp),
            np.unique(self.cells.unit[places], return_inverse=True)[1].astype(np.intp),
        )
        return ScoreTable(self.rows[places.tolist()], cells, self.columns, self.values[places])


def score_table(scores: pl.DataFrame, names: Sequence[str]) -> ScoreTable:
    """ItemScore rows of one benchmark as a table whose columns are told apart by `names`.

    An item that two measurements have in different groups or clusters has those of the first by name.
    """
    columns = scores.select(names).unique().sort(names).with_row_index("column")
    items = scores.select(*_ITEM, "group", "cluster").unique().sort(*_ITEM, "group", "cluster", nulls_last=True)
    rows, cells = sorted_cells(items.unique(_ITEM, keep="first", maintain_order=True))
    rows = rows.drop("cluster").with_row_index("row")
    placed = (
        scores.select(*names, *_ITEM, "value")
        .join(columns, on=list(names), how="left")
        .join(rows.select("row", *_ITEM), on=_ITEM, how="left")
    )
    values = np.full((rows.height, columns.height), np.nan)
    values[placed["row"].to_numpy(), placed["column"].to_numpy()] = placed["value"].to_numpy()
    places = {key: place for place, key in enumerate(columns.drop("column").rows())}
    return ScoreTable(rows.drop("row"), cells, places, values)
