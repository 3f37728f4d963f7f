"""The contract of the table of nights, which outlives every store. It is no artifact's: nothing is made from it."""

import dataframely as dy

from data_contracts.schemas import BENCHMARKS, CONNECTIONS


class NightScore(dy.Schema):
    """A night's headline score of a benchmark in one language, or averaged over its languages (`avg`)."""

    recipe = dy.String(primary_key=True, nullable=False, min_length=1)
    night = dy.String(primary_key=True, nullable=False, regex=r"^\d{4}-\d{2}-\d{2}$")
    run = dy.String(primary_key=True, nullable=False, min_length=1)
    connection = dy.Enum(CONNECTIONS, primary_key=True, nullable=False)
    benchmark = dy.Enum(BENCHMARKS, primary_key=True, nullable=False)
    language = dy.String(primary_key=True, nullable=False)
    metric = dy.String(nullable=False)
    items = dy.Int64(nullable=False, min=1)
    value = dy.Float64(nullable=False)
    ci_low = dy.Float64(nullable=False)
    ci_high = dy.Float64(nullable=False)
    gold_nll = dy.Float64(nullable=True)
    flow_run = dy.String(nullable=False)
    commit = dy.String(nullable=False)
    fingerprint = dy.String(nullable=False, min_length=1)
    verdict = dy.Enum(["good", "dropped"], nullable=False)
