"""Evidence made of item scores that a test writes down, without any artifact."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from cc_tuning.report.config import ReportConfig, ReportedRun
from cc_tuning.report.data_card.counts import DataCounts
from cc_tuning.report.evidence import Evidence, StageRecord
from cc_tuning.report.results import Results
from cc_tuning.report.run_evidence import RunEvidence
from cc_tuning.report.scores import Bootstrap
from data_contracts.schemas import ItemScore
from tests.report.report_artifacts import mean_rows

_OF_RUNS = ("predictions", "training", "transform", "win_rates")

Scores = Mapping[tuple[str, str], float]
"""(language, item_id) → value."""


def score_frame(
    run: str, scores: Mapping[str, Scores], benchmark: str = "MKQA", metric: str = "gold_nll", **columns: Any
) -> pl.DataFrame:
    """ItemScore rows of one run, by kind of connection."""
    rows = [
        {
            "run": run, "connection": connection, "benchmark": benchmark, "language": language, "item_id": item,
            "metric": metric, "group": None, "cluster": None, "value": value,
        } | columns
        for connection, of in scores.items()
        for (language, item), value in of.items()
    ]  # fmt: skip
    strings = dict.fromkeys(("group", "cluster"), pl.String)
    return pl.DataFrame(rows, schema_overrides=strings).select(ItemScore.column_names())


def evidence_of(
    runs: Sequence[ReportedRun],
    item_scores: Mapping[str, pl.DataFrame],
    base_model: str = "miniature",
    samples: int = 2000,
    stages: Sequence[StageRecord] = (),
    **of_runs: Mapping[str, Any],
) -> Evidence:
    """What a part is given; `of_runs`: by a field of RunEvidence, its value for each run by name."""
    config = ReportConfig(name="made-up", runs=tuple(runs), base_model=base_model, bootstrap_samples=samples)
    found = tuple(
        RunEvidence(
            run=run,
            item_scores=item_scores.get(run.name),
            scores=mean_rows(item_scores[run.name]) if run.name in item_scores else None,
            **{
                name: of_runs.get(name, {}).get(run.name)
                for name in ("predictions", "training", "transform", "win_rates")
            },
            embeddings=of_runs.get("embeddings", {}).get(run.name, {}),
        )
        for run in runs
    )
    results = Results(config.families, found, Bootstrap(samples, 0.95, 0))
    return Evidence(
        config=config,
        runs=found,
        results=results,
        stages=tuple(stages),
        items=None,
        answers=None,
        data=DataCounts(),
        pairs=(),
    )
