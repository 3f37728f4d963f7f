"""Shares of wins out of verdicts, with their standard errors.

A verdict is worth 1 for the run, 0 for its baseline and 1/2 for a tie. Both orders of an item's answers are two looks
at one item, so items are the clusters of the standard error:

    p = Σ_i y_i / Σ_i n_i        se² = G / (G − 1) · Σ_i (y_i − n_i p)² / (Σ_i n_i)²

with n_i the verdicts of item i (2, or fewer where the judge refused or a question is open), y_i their worth and G the
number of items with a verdict: the linearised variance of a ratio over clusters (Cochran 1977, chapter 6). With two
verdicts for every item it is the standard error of the mean of the items' means.
"""

import math

import polars as pl

from data_contracts.schemas import WinRate

_KEY = ("run", "baseline", "benchmark", "language")
_WORTH = {"run": 1.0, "tie": 0.5, "baseline": 0.0}


def win_rates(judgements: pl.DataFrame) -> pl.DataFrame:
    """WinRate rows of Judgement rows, one for each run, baseline, benchmark and language."""
    plain = judgements.with_columns(pl.col("benchmark", "order", "verdict").cast(pl.String))
    rows = [
        dict(zip(_KEY, key, strict=True)) | _rates(part)
        for key, part in plain.group_by(*_KEY, maintain_order=True)
    ]  # fmt: skip
    return WinRate.cast(pl.DataFrame(rows, schema=WinRate.column_names())).sort(*WinRate.primary_key())


def _rates(part: pl.DataFrame) -> dict[str, object]:
    decided = part.filter(pl.col("verdict").is_in(list(_WORTH)))
    counts = {verdict: part.filter(pl.col("verdict") == verdict).height for verdict in (*_WORTH, "refused", "open")}
    items = decided.group_by("item_id").agg(
        n=pl.len(),
        y=pl.col("verdict").replace_strict(_WORTH, return_dtype=pl.Float64).sum(),
        verdicts=pl.col("verdict").n_unique(),
    )
    of_both = items.filter(pl.col("n") == 2)
    return {
        "items": part["item_id"].n_unique(),
        "judgements": decided.height,
        **_rate_and_error(items),
        "wins": counts["run"],
        "losses": counts["baseline"],
        "ties": counts["tie"],
        "refused": counts["refused"],
        "open": counts["open"],
        "agreement": _share(of_both.filter(pl.col("verdicts") == 1).height, of_both.height),
        "first_preferred": _first_preferred(decided),
        "prompt_tokens": int(part["prompt_tokens"].sum()),
        "completion_tokens": int(part["completion_tokens"].sum()),
    }


def _rate_and_error(items: pl.DataFrame) -> dict[str, float | None]:
    clusters = items.height
    if not clusters:
        return {"win_rate": None, "standard_error": None}
    n, y = items["n"].to_list(), items["y"].to_list()
    rate = sum(y) / sum(n)
    if clusters == 1:
        return {"win_rate": 100 * rate, "standard_error": None}
    squares = math.fsum((worth - number * rate) ** 2 for worth, number in zip(y, n, strict=True))
    error = math.sqrt(clusters / (clusters - 1) * squares) / sum(n)
    return {"win_rate": 100 * rate, "standard_error": 100 * error}


def _first_preferred(decided: pl.DataFrame) -> float | None:
    named = decided.filter(pl.col("verdict") != "tie")
    first = (pl.col("order") == "run_first") == (pl.col("verdict") == "run")
    return _share(named.filter(first).height, named.height)


def _share(part: int, whole: int) -> float | None:
    return 100 * part / whole if whole else None
