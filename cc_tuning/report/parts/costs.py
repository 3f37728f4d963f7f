"""What the connection costs in time: training on the same rows with and without it, and answering.

The paper's Tables 3 and 4 have ratios of 1.12 to 1.16 for training and of about 1.1 for inference with the matrix.
Training seconds are those of the training log, over all resumptions; seconds of answering are those of the whole
evaluation, because kinds of connection share a process and are not timed apart.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

import polars as pl

from cc_tuning.document.blocks import MISSING, Cell, Section, Table, number, numeric
from cc_tuning.report.config import Family
from cc_tuning.report.connection_modes import GOLD_NLL
from cc_tuning.report.evidence import Evidence
from cc_tuning.report.names import listed
from cc_tuning.report.published import INFERENCE_RATIO, PAPER, TRAINING_RATIO, published, published_model
from cc_tuning.report.run_evidence import RunEvidence
from cc_tuning.report.trained_runs import differ_in_connection_only, is_connected, manifest_of

_TEXT = (
    "Times are of the machine that made the artifacts: ratios hold for runs that were made on the same devices, and "
    "only roughly where other work shared them."
)
_ANSWER_NOTE = (
    "Seconds of the evaluation for a thousand requests, where a request is an answer, or a likelihood of an item's "
    "gold answer, under one kind of connection; a resumed evaluation counts its last part only. A connected run "
    f"answers through several kinds; the paper's ratio (Table 4 of {PAPER}) is that of the Transform Matrix alone."
)


@dataclass(frozen=True)
class _Ratio:
    """Seconds of a connected family and of the one without a connection on the same rows."""

    family: Family
    plain: Family
    connected_seconds: float
    plain_seconds: float
    paper: float | None

    @property
    def value(self) -> float:
        return self.connected_seconds / self.plain_seconds


def cost_part(evidence: Evidence) -> Section | None:
    """Seconds of connected runs over those of the same runs without a connection; None where no pair was timed."""
    training = _ratios(evidence, _training_seconds, TRAINING_RATIO)
    answering = _ratios(evidence, _answer_seconds, INFERENCE_RATIO)
    tables = []
    if training:
        note = f"Seconds from the first step to the last; the paper's: Table 3 of {PAPER}."
        tables.append(_table("training-time", "Training, in seconds", training, note))
    if answering:
        title = "Answering, in seconds per 1,000 requests"
        tables.append(_table("answer-time", title, answering, _ANSWER_NOTE))
    sentences = [_TEXT, *_sentence("Training", training)]
    sentences += _sentence("A request, on average over all kinds of connection,", answering)
    return Section("costs", "Time with and without the connection", sentences, tables) if tables else None


def _ratios(evidence: Evidence, seconds: Callable[[Evidence, RunEvidence], float | None], metric: str) -> list[_Ratio]:
    """Every connected family with the first one that was trained alike without a connection, where both were timed."""
    model = published_model(evidence.config.base_model)
    plain = [family for family in evidence.families if is_connected(evidence.stages, family) is False]
    ratios = []
    for family in evidence.families:
        same = [other for other in plain if differ_in_connection_only(evidence.stages, family, other)]
        if is_connected(evidence.stages, family) and same:
            ours, theirs = (_mean_seconds(evidence, each, seconds) for each in (family, same[0]))
            if ours is not None and theirs:
                ratios.append(_Ratio(family, same[0], ours, theirs, _paper_ratio(model, family, metric)))
    return ratios


def _paper_ratio(model: str | None, family: Family, metric: str) -> float | None:
    """The paper times inference of one run, on the Arabic items of XNLI."""
    place = ("", "") if metric == TRAINING_RATIO else ("XNLI", "ar")
    found = published(model, family.name, place[0], metric, place[1]) if model else None
    return found.value if found else None


def _mean_seconds(
    evidence: Evidence, family: Family, seconds: Callable[[Evidence, RunEvidence], float | None]
) -> float | None:
    """Over the seeds of a family; None where one of them was not timed."""
    values = [seconds(evidence, run) for run in evidence.of(family)]
    known = [value for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None


def _training_seconds(evidence: Evidence, run: RunEvidence) -> float | None:
    return run.training.seconds if run.training else None


def _answer_seconds(evidence: Evidence, run: RunEvidence) -> float | None:
    """Seconds for a thousand requests of one run's evaluation."""
    manifest = manifest_of(evidence.stages, "evaluate", run.run.name)
    if manifest is None or run.predictions is None or run.item_scores is None:
        return None
    likelihoods = run.item_scores.filter(pl.col("metric") == GOLD_NLL).height
    requests = run.predictions.height + likelihoods
    return 1000 * manifest.seconds / requests if requests else None


def _table(key: str, title: str, ratios: Sequence[_Ratio], note: str) -> Table:
    rows = [
        [
            Cell(at.family.label, f"against {at.plain.label}"),
            numeric(number(at.plain_seconds, 1)),
            numeric(number(at.connected_seconds, 1)),
            numeric(number(at.value)),
            numeric(MISSING if at.paper is None else number(at.paper)),
        ]
        for at in ratios
    ]
    columns = ["run", "without connection", "with connection", "ratio", "paper's ratio"]
    return Table(key, title, columns, rows, note)


def _sentence(work: str, ratios: Sequence[_Ratio]) -> list[str]:
    if not ratios:
        return []
    parts = [
        f"{number(at.value)} times as long for {at.family.label} as for {at.plain.label}"
        + (f" (the paper: {number(at.paper)})" if at.paper is not None and work == "Training" else "")
        for at in ratios
    ]
    return [f"{work} took {listed(parts)}."]
