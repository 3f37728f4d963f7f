"""The choice among sound rows: a draw by hash, in proportions that the recipe may temper and cap.

A row's place in the draw is the hash of the seed and the row's id, so it depends on neither the source's order nor the
rows around it. With temperature 1 the rows with the lowest places are chosen, whatever their language; with less, each
language gets a quota and the rows with its lowest places fill it. Where answers are ranked, better ranks come before
worse ones and places decide among equals, unranked answers last. In each case, of two numbers of rows without quotas,
the smaller one gives the beginning of what the larger gives.
"""

from collections.abc import Mapping
from fractions import Fraction

import polars as pl

from cc_tuning.selection.config import SelectionConfig
from cc_tuning.selection.sources import ANSWER_RANK


def draw_rows(rows: pl.DataFrame, config: SelectionConfig) -> pl.DataFrame:
    """The chosen rows, sorted by `row_id`; columns `row_id`, `flores_code`, `place` and `answer_rank` are read."""
    languages = rows.group_by("flores_code").len().sort("flores_code")
    sizes: dict[str, int] = dict(languages.iter_rows())
    capacities = {code: min(size, config.max_rows_per_language or size) for code, size in sizes.items()}
    limits = capacities if config.temperature == 1 else tempered_quotas(sizes, capacities, config)
    in_order = rows.sort(ANSWER_RANK, "place", "row_id", nulls_last=True)
    drawn = in_order.with_columns(rank=pl.int_range(pl.len()).over("flores_code"))
    limit = pl.DataFrame(list(limits.items()), schema={"flores_code": pl.String, "limit": pl.Int64}, orient="row")
    within = drawn.join(limit, on="flores_code", maintain_order="left").filter(pl.col("rank") < pl.col("limit"))
    return within.head(config.rows).select(rows.columns).sort("row_id")


def tempered_quotas(sizes: Mapping[str, int], capacities: Mapping[str, int], config: SelectionConfig) -> dict[str, int]:
    """Rows of each language, `config.rows` of them or as many as there are; see `quotas`."""
    weights = {code: Fraction(float(size) ** config.temperature) for code, size in sizes.items()}
    return quotas(weights, capacities, config.rows)


def quotas(weights: Mapping[str, Fraction], capacities: Mapping[str, int], total: int) -> dict[str, int]:
    """Whole shares of `total` in proportion to `weights`, none above its capacity.

    A share above its capacity is cut to it, and the others divide what it leaves, again in proportion. What remains
    after rounding down goes to the largest remainders, among equal ones to the first code. Fractions are exact, so no
    rounding error decides.
    """
    remaining = min(total, sum(capacities.values()))
    given: dict[str, int] = {}
    open_codes = sorted(weights)
    while True:
        weight = sum((weights[code] for code in open_codes), Fraction(0))
        shares = {code: remaining * weights[code] / weight for code in open_codes}
        full = [code for code in open_codes if shares[code] >= capacities[code]]
        if not full:
            break
        given |= {code: capacities[code] for code in full}
        remaining -= sum(capacities[code] for code in full)
        open_codes = [code for code in open_codes if code not in given]
    whole = {code: int(share) for code, share in shares.items()}
    by_remainder = sorted(open_codes, key=lambda code: (whole[code] - shares[code], code))
    for code in by_remainder[: remaining - sum(whole.values())]:
        whole[code] += 1
    return given | whole
