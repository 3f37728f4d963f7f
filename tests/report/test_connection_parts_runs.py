"""Ablations and costs: which runs are held against each other, and what is said of them."""

from typing import Any

import polars as pl
import pytest

from cc_tuning.document.blocks import Section, Table
from cc_tuning.report.config import ReportedRun
from cc_tuning.report.evidence import Evidence, StageRecord
from cc_tuning.report.parts.ablations import ablation_part
from cc_tuning.report.parts.costs import cost_part
from cc_tuning.report.run_evidence import TrainingLog
from cc_tuning.report.trained_runs import Ablation, ablations
from data_contracts.manifest import Manifest, RowCounts
from tests.report.made_evidence import Scores, evidence_of, score_frame

ITEMS = 40
DEFAULT = {"selector": "decision_maker", "source": "ffn", "offset": 0}
PLAIN = {"training_rows": {"fingerprint": "rows"}, "base": {"path": "base"}}


def run(name: str) -> ReportedRun:
    return ReportedRun(name=name, label=name.upper(), family=name)


def record(
    name: str, stage: str = "train", config: dict[str, Any] | None = None, seconds: float = 10.0, rows: str = "rows"
) -> StageRecord:
    inputs = PLAIN | {"training_rows": {"fingerprint": rows}}
    manifest = Manifest(
        stage=stage, version=1, fingerprint=f"{stage}-{name}", label=f"{stage} {name}", config=config or {},
        inputs=inputs, files=[], rows=RowCounts(read=1, kept=1), commit="unknown", versions={}, seconds=seconds,
        peak_memory_bytes=0, finished_at="2026-01-01T00:00:00+00:00",
    )  # fmt: skip
    return StageRecord((name,), manifest)


def trained(name: str, connection: dict[str, Any] | None, rows: str = "rows", **training: Any) -> StageRecord:
    config = {"objective": "sft", "training": {"epochs": 3, "seed": 0} | training, "connection": connection}
    return record(name, config=config, rows=rows)


def connected(**changes: Any) -> dict[str, Any]:
    return DEFAULT | changes


def answers(name: str, right: int) -> pl.DataFrame:
    """The first `right` items answered correctly, with and without the matrix."""
    scores: Scores = {("en", f"item-{n:03d}"): 100.0 * (n < right) for n in range(ITEMS)}
    return score_frame(name, {"off": scores, "transform": scores}, metric="accuracy")


def evidence(stages: list[StageRecord], right: dict[str, int], **of_runs: Any) -> Evidence:
    scores = {name: answers(name, number) for name, number in right.items()}
    return evidence_of([run(name) for name in right], scores, stages=stages, **of_runs)


def found_in(told: Evidence) -> list[Ablation]:
    return list(ablations(told.stages, told.results.families))


def rows_of(section: Section | None, key: str) -> list[list[str]]:
    assert section is not None
    (table,) = [block for block in section.blocks if isinstance(block, Table) and block.key == key]
    return [[f"{cell.text}|{cell.detail}" for cell in row] for row in table.rows]


THREE = [
    trained("cc", connected(), decision_maker_learning_rate=1e-2),
    trained("mean", connected(selector="mean"), decision_maker_learning_rate=None),
    trained("block", connected(source="block"), decision_maker_learning_rate=1e-2),
]


def test_runs_that_differ_in_one_setting_are_an_ablation_of_it() -> None:
    found = {at.setting: list(at.families) for at in found_in(evidence(THREE, {"mean": 9, "cc": 20, "block": 3}))}
    assert found == {"selector": ["decision_maker", "mean"], "source": ["ffn", "block"]}


@pytest.mark.parametrize(
    "other",
    [
        trained("mean", connected(selector="mean", source="block")),
        trained("mean", connected(selector="mean", offset=1)),
        trained("mean", connected(selector="mean"), epochs=1),
        trained("mean", connected(selector="mean"), rows="others"),
        trained("mean", None),
    ],
    ids=["both settings", "another setting", "epochs", "rows", "not connected"],
)
def test_runs_that_differ_in_more_are_none(other: StageRecord) -> None:
    assert not found_in(evidence([THREE[0], other], {"cc": 20, "mean": 9}))
    assert ablation_part(evidence([THREE[0], other], {"cc": 20, "mean": 9})) is None


def test_ablation_says_where_the_papers_choice_is_better_and_by_how_much() -> None:
    section = ablation_part(evidence(THREE, {"cc": 20, "mean": 8, "block": 20}))
    (row,) = rows_of(section, "ablation-selector-0")
    # 20 − 8 of 40 items
    assert row[0] == "Decision Maker − mean of layers|MEAN" and "+30.0|" in row[1]
    assert section is not None
    assert "Decision Maker against mean of layers is better on MKQA" in section.paragraphs[0]
    assert "feed-forward in both" in section.paragraphs[0]
    assert any("feed-forward against whole layer is nowhere clearly different" in at for at in section.paragraphs)


def test_training_time_is_held_against_the_same_rows_without_a_connection() -> None:
    stages = [trained("sft", None), trained("other", None, rows="others"), trained("cc", connected())]
    times = {name: TrainingLog([1, 2], [3.0, 2.0], seconds=seconds) for name, seconds in
             (("sft", 200.0), ("other", 50.0), ("cc", 230.0))}  # fmt: skip
    section = cost_part(evidence(stages, {"other": 1, "sft": 1, "cc": 1}, training=times))
    assert rows_of(section, "training-time") == [["CC|against SFT", "200.0|", "230.0|", "1.15|", "–|"]]
    assert section is not None
    assert "Training took 1.15 times as long for CC as for SFT." in section.paragraphs


def test_answering_time_is_counted_by_request() -> None:
    stages = [trained("sft", None), trained("cc", connected())]
    stages += [record("sft", "evaluate", seconds=8.0), record("cc", "evaluate", seconds=18.0)]
    # a plain run gives 40 answers, a connected one twice as many
    predictions = {"sft": pl.DataFrame({"item_id": range(ITEMS)}), "cc": pl.DataFrame({"item_id": range(2 * ITEMS)})}
    section = cost_part(evidence(stages, {"sft": 1, "cc": 1}, predictions=predictions))
    assert rows_of(section, "answer-time") == [["CC|against SFT", "200.0|", "225.0|", "1.12|", "–|"]]


def test_papers_ratios_stand_beside_ours_for_its_models() -> None:
    runs = [run("ml-sft"), run("cc-tuning")]
    stages = [trained("ml-sft", None), trained("cc-tuning", connected())]
    times = {
        name: TrainingLog([1], [3.0], seconds=seconds) for name, seconds in (("ml-sft", 10.0), ("cc-tuning", 11.0))
    }
    scores = {at.name: answers(at.name, 1) for at in runs}
    told = evidence_of(runs, scores, base_model="Qwen/Qwen2.5-7B", stages=stages, training=times)
    # Ye et al. 2025, Table 3
    assert rows_of(cost_part(told), "training-time")[0][3:] == ["1.10|", "1.13|"]


def test_runs_that_were_not_timed_have_no_costs() -> None:
    stages = [trained("sft", None), trained("cc", connected())]
    assert cost_part(evidence(stages, {"sft": 1, "cc": 1})) is None
    assert cost_part(evidence([], {"sft": 1, "cc": 1})) is None
