"""What is resampled: units that share nothing with each other, each with all its items in all its languages.

A parallel item is one draw of the world seen in several languages, and the questions about one passage are one passage
seen several times; treating them as independent would make averages look surer than they are (Miller 2024,
arXiv 2411.00640). A unit is therefore `coalesce(cluster, item_id)`.

An average is the mean over languages of the mean over items. Written as a sum over units it is linear in how often
each unit is drawn, up to the number of items of a language, which changes with the draw where units differ in size.
Here that quotient is linearised (Särndal, Swensson and Wretman 1992, section 5.5): no draw can leave a language without
items, and nothing needs to be drawn in strata.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Places = NDArray[np.intp]


@dataclass(frozen=True)
class Cells:
    """The rows of a table of item scores, sorted by unit: which language and which unit each belongs to."""

    languages: tuple[str, ...]
    language: Places
    """`[N]`, places in `languages`."""
    unit: Places
    """`[N]`, rising from 0."""

    @property
    def units(self) -> int:
        """How many units there are."""
        return int(self.unit[-1]) + 1 if len(self.unit) else 0


@dataclass(frozen=True)
class Sample:
    """Means of M measurements as sums over G units; a unit without an item in one has a share of 0."""

    value: Floats
    """`[M]`"""
    shares: Floats
    """`[G, M]`: the weight of each unit in the mean; sums to 1."""
    parts: Floats
    """`[G, M]`: what each unit brings to the mean; sums to `value`."""
    deviations: Floats
    """`[G, M]`: how the mean moves when a unit is drawn once more; sums to 0."""
    squares: Floats
    """`[M]`: the same mean of the squared scores of single items."""
    cells: Floats
    """`[M]`: how many items are behind each mean."""
    languages: Floats
    """`[M]`: in how many languages."""

    @property
    def units(self) -> Places:
        """`[M]`: units that have an item."""
        return (self.shares > 0).sum(axis=0)

    @property
    def unit_values(self) -> Floats:
        """`[G, M]`: the mean of each unit; not a number where it has no item."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(self.shares > 0, self.parts / self.shares, np.nan)

    @property
    def equal_units(self) -> Floats:
        """`[M]`: how many units of equal weight tell as much, 1 / Σ share² (Kish 1965)."""
        return 1 / np.square(self.shares).sum(axis=0)

    @property
    def equal_items(self) -> Floats:
        """`[M]`: how many independent items would tell as much: the variance of single items / error².

        That is the number of items over the design effect (Kish 1965); at least the number of equal units, at most that
        of the items.
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            items = np.where(self.error > 0, (self.squares - self.value**2) / self.error**2, 0.0)
        return np.clip(items, self.equal_units, np.maximum(self.cells, self.equal_units))

    @property
    def error(self) -> Floats:
        """`[M]`: the standard error, √(G/(G − 1) Σ deviation²); 0 where there is one unit."""
        units = self.units
        correction = units / np.maximum(units - 1, 1)
        return np.sqrt(correction * np.square(self.deviations).sum(axis=0))

    def measurements(self, places: Sequence[int]) -> "Sample":
        """Some of the M measurements."""
        at = list(places)
        return Sample(
            self.value[at], self.shares[:, at], self.parts[:, at], self.deviations[:, at], self.squares[at],
            self.cells[at], self.languages[at],
        )  # fmt: skip


def sorted_cells(scores: pl.DataFrame) -> tuple[pl.DataFrame, Cells]:
    """`scores` (columns language, item_id, and cluster where there is one) sorted by unit, and where its rows belong.

    The order depends on the rows alone, so what is drawn from a seed does not depend on how they came.
    """
    clustered = pl.coalesce("cluster", "item_id") if "cluster" in scores.columns else pl.col("item_id")
    rows = scores.with_columns(unit=clustered.cast(pl.String)).sort("unit", "language", "item_id")
    languages = tuple(sorted(rows["language"].unique().to_list()))
    places = {language: place for place, language in enumerate(languages)}
    found = rows.select(
        language=pl.col("language").cast(pl.String).replace_strict(places, return_dtype=pl.Int64),
        unit=pl.col("unit").rle_id().cast(pl.Int64),
    )
    cells = Cells(languages, found["language"].to_numpy().astype(np.intp), found["unit"].to_numpy().astype(np.intp))
    return rows.drop("unit"), cells


def language_sample(values: Floats, cells: Cells, language: int) -> Sample:
    """The mean over the items of one language; `values [N, M]`, not a number where an item was not measured."""
    rows = np.flatnonzero(cells.language == language)
    held = values[rows]
    found = ~np.isnan(held)
    counts = found.sum(axis=0).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.nansum(held, axis=0) / counts
        shares = _sums(found / counts, rows, cells)
        parts = _sums(np.where(found, held / counts, 0.0), rows, cells)
        deviations = _sums(np.where(found, (held - means) / counts, 0.0), rows, cells)
        squares = np.nansum(held**2, axis=0) / counts
    return Sample(means, shares, parts, deviations, squares, counts, (counts > 0).astype(np.float64))


def average_sample(values: Floats, cells: Cells) -> Sample:
    """The mean over languages of the mean over items; a language without a measured item does not count."""
    found = [language_sample(values, cells, place) for place in range(len(cells.languages))]
    present = [sample.cells > 0 for sample in found]
    languages = np.sum(present, axis=0)

    def averaged(name: str) -> Floats:
        parts = (np.where(has, getattr(sample, name), 0.0) for sample, has in zip(found, present, strict=True))
        return np.asarray(sum(parts)) / languages

    with np.errstate(invalid="ignore", divide="ignore"):
        return Sample(
            averaged("value"), averaged("shares"), averaged("parts"), averaged("deviations"),
            averaged("squares"),
            np.sum([sample.cells for sample in found], axis=0), languages.astype(np.float64),
        )  # fmt: skip


def _sums(values: Floats, rows: Places, cells: Cells) -> Floats:
    """`[G, M]`: sums of `values [rows, M]` over the rows of each unit."""
    sums = np.zeros((cells.units, values.shape[1]))
    if len(rows):
        units, first = np.unique(cells.unit[rows], return_index=True)
        sums[units] = np.add.reduceat(values, first, axis=0)
    return sums
