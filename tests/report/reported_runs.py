"""Runs as a report is told of them: rows of the paper, their seeds, and a base model that nobody tuned."""

from collections.abc import Sequence

from cc_tuning.report.config import ReportedRun

BASE = ReportedRun(name="base", label="Base model", family="base")
CONNECTED = ("cc-tuning", "cc-tuning+mt", "cc-mean", "cc-tuning_v1.0", "cc-tuning_v1.1")
"""Families with a connection, in the made-up artifacts."""

_LABELS = {
    "ml-sft": "ML-SFT", "ml-sft+mt": "ML-SFT +MT", "cc-tuning": "CC-Tuning", "cc-tuning+mt": "CC-Tuning +MT",
    "cc-mean": "CC-Tuning, mean of layers",
}  # fmt: skip
_BASELINES = {
    "ml-sft": "",
    "ml-sft+mt": "ml-sft",
    "cc-tuning": "ml-sft",
    "cc-tuning+mt": "ml-sft+mt",
    "cc-mean": "ml-sft",
}


def runs_of(*families: str) -> tuple[ReportedRun, ...]:
    """One run of each family, held against its baseline where that is among them."""
    return tuple(_run(family, family, None, families) for family in families)


def seeds_of(families: Sequence[str], seeds: Sequence[int], beside: Sequence[str] = ()) -> tuple[ReportedRun, ...]:
    """Every family once per seed; `beside` are other families of the report."""
    known = (*families, *beside)
    return tuple(_run(f"{family}.s{seed}", family, seed, known) for family in families for seed in seeds)


def _run(name: str, family: str, seed: int | None, families: Sequence[str]) -> ReportedRun:
    baseline = _BASELINES[family] if _BASELINES[family] in families else ""
    return ReportedRun(name=name, label=_LABELS[family], family=family, seed=seed, baseline=baseline)
